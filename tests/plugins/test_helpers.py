"""Helpers next to a task: one import path in every process, and a digest of what the task imports."""

import gc
import importlib
import inspect
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from m1eval import plugins
from m1eval.plugins import imported_files, imports
from tests.conftest import ROOT, run_of, write

LONG_CONTEXT = "m1eval.plugins.tasks.long_context"
TASK = """
title: T
dataset: {generate: _rows.rows}
prompt: "{{ q }}"
target: "{{ q }}"
scorer: exact
"""


def test_a_built_in_helper_has_one_name_however_it_is_imported() -> None:
    path = ROOT / "tasks/long_context/_needle.py"
    module = plugins.import_file("tasks", path, "helper")
    assert module.__name__ == f"{LONG_CONTEXT}._needle"
    assert importlib.import_module(f"{LONG_CONTEXT}._needle") is module
    corpus = importlib.import_module(f"{LONG_CONTEXT}._haystack.corpus")
    assert plugins.import_file("tasks", ROOT / "tasks/long_context/_haystack/corpus.py", "helper") is corpus
    assert corpus.load_corpus is inspect.getmodule(module).load_corpus  # type: ignore[union-attr]


def test_functions_of_helpers_run_in_worker_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built-in ones, those of a helper package too, and the user's: two folders of the same name, no collision."""
    monkeypatch.setenv("M1EVAL_FILES", "")
    functions = [importlib.import_module(f"{LONG_CONTEXT}._haystack.corpus").digest]
    for number, root in enumerate(("one", "two")):
        folder = tmp_path / root / "tasks" / "area"
        write(folder / "_parts" / "__init__.py", f"from .. import _up\nNUMBER = {number} + _up.ZERO\n")
        write(folder / "_up.py", "ZERO = 0\n")
        write(folder / "_same.py", "from ._parts import NUMBER\ndef same(_):\n    return NUMBER\n")
        functions.append(plugins.import_file("tasks", folder / "_same.py", "same").same)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        digest, *numbers = [pool.submit(function, b"").result() for function in functions]
    assert (digest, numbers) == (functions[0](b""), [0, 1])


def test_the_user_has_areas_of_tasks_too(tmp_path: Path, shell: Any) -> None:
    """A helper of `tasks/area/` imports one of `tasks/`, and its function runs in the scorers' worker processes."""
    write(tmp_path / "tasks" / "_words.py", "WORD = 'moon'\n")
    write(tmp_path / "tasks" / "area" / "__init__.py", "raise SystemExit('not imported')\n")
    helper = """
        from m1eval import Output
        from .._words import WORD

        def rows():
            yield {"q": WORD}

        def double(text):
            return __name__ + " " + text + WORD

        async def ask(sample, runner, context):
            return Output(text=await context.workers.run(double, sample.target, timeout=20))
        """
    write(tmp_path / "tasks" / "area" / "_rows.py", helper)
    write(tmp_path / "tasks" / "area" / "mine.yaml", TASK + "episode: _rows.ask\n")
    result = shell("run", "-t", "mine", "-m", "echo:gold", "--out", "x")
    assert result.code == 0, result.err
    (record,) = (run_of(tmp_path / "x") / "samples.jsonl").read_text().splitlines()
    name, text = json.loads(record)["text"].split()
    assert text == "moonmoon"
    assert name.startswith("m1eval.plugins.tasks_")
    assert name.endswith(".area._rows")
    digests = json.loads((run_of(tmp_path / "x") / "run.json").read_text())["config"]["digests"]
    assert {"generator _rows.py", "generator _words.py", "episode _rows.py", "episode _words.py"} <= set(digests)


def test_what_a_helper_imports_decides_and_its_neighbours_do_not(tmp_path: Path) -> None:
    write(
        tmp_path / "_rows.py",
        """
        import m1eval.plugins.tasks.reasoning._reasoning_gym as gym
        from m1eval.plugins.scorers import math
        from ._pack.inner import x

        def rows():
            from . import _late
            return open("data.txt")
        """,
    )
    write(tmp_path / "_late.py", "from ._later import *\n")
    write(tmp_path / "_later.py", "from . import _late, _missing\n")
    write(tmp_path / "_pack" / "__init__.py", "")
    write(tmp_path / "_pack" / "inner.py", "from ..more import y\nfrom .. import _late\nfrom ... import _outside\n")
    write(tmp_path / "more" / "__init__.py", "y = 1\n")
    for name in ("_other.py", "data.txt", "_pack/unused.py", "more/unused.py", "../_outside.py"):
        write(tmp_path / name, "x = 1\n")
    files = imported_files("tasks", tmp_path / "_rows.py")
    helpers = {name for name, path in files.items() if path.is_relative_to(tmp_path)}
    assert helpers == {"_late.py", "_later.py", "_pack/__init__.py", "inner.py", "more/__init__.py"}
    assert {"_reasoning_gym.py", "math/__init__.py"} < set(files)


def test_a_helper_of_ours_that_the_users_file_imports_decides(tmp_path: Path) -> None:
    scorer = write(tmp_path / "mine.py", "from ._unicode import normal\n")
    assert imported_files("scorers", scorer) == {"_unicode.py": ROOT / "scorers/_unicode.py"}
    write(tmp_path / "_unicode.py", "normal = str\n")
    assert imported_files("scorers", scorer) == {"_unicode.py": tmp_path / "_unicode.py"}


@pytest.mark.parametrize("kind", ["tasks", "scorers"])
def test_every_imported_file_of_a_built_in_plugin_is_found(kind: str) -> None:
    """A plugin's digests cover all files of its kind that importing it really imports."""
    pattern = "_*.py" if kind == "tasks" else "*.py"
    for file in sorted((ROOT / kind).rglob(pattern)):
        if "_" in file.parent.name[:1] or (file.parent / "__init__.py").exists():
            continue
        module = plugins.import_file(kind, file, file.name)
        covered = {file, *imported_files(kind, file).values()}
        names = {name: sys.modules[name] for name in _imported_names(module)}
        for name, other in names.items():
            if name.startswith(f"m1eval.plugins.{kind}."):
                assert Path(str(other.__file__)) in covered, (file, name)


def _imported_names(module: Any) -> set[str]:
    """The modules that the names of a module come from, of ours."""
    origins = {getattr(value, "__module__", None) or getattr(value, "__name__", "") for value in vars(module).values()}
    return {name for name in origins if isinstance(name, str) and name in sys.modules and "plugins" in name}


def test_threads_may_parse_at_the_same_time() -> None:
    source, before = "x = [(1 + 2) * f(3) for y in z]\n" * 30, gc.get_threshold()

    def let_others_run(*_: object) -> None:
        time.sleep(0)

    gc.callbacks.append(let_others_run)
    gc.set_threshold(50)
    try:
        with ThreadPoolExecutor(4) as threads:
            trees = list(threads.map(imports.parse, [source] * 40))
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(let_others_run)
    assert {len(tree.body) for tree in trees} == {30}
