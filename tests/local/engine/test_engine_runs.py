"""Whole runs with the local engine: repeats give one answer, and a run goes on only where its answers would repeat."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine_schedules import models
from tests.conftest import run_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny MiniMax-M1 with a tokenizer of bytes."""
    return models.write(tmp_path_factory.mktemp("minimax_m1"), "minimax_m1")


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Path]:
    """Write a task with prompts of these lengths; a letter is a token."""

    def make(*lengths: int) -> Path:
        rows = [{"id": str(n), "text": "".join(chr(97 + (i * i + n) % 26) for i in range(n))} for n in lengths]
        (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        file = tmp_path / "t.yaml"
        file.write_text("title: T\ndataset: {file: t.jsonl}\nprompt: '{{ text }}'\ntarget: x\nscorer: exact\n")
        return file

    return make


def answers(out: Path) -> dict[str, set[str]]:
    """The different texts of each sample."""
    texts: dict[str, set[str]] = {}
    for line in (run_of(out) / "samples.jsonl").read_text().splitlines():
        record = json.loads(line)
        texts.setdefault(record["id"], set()).add(record["text"])
    return texts


def test_greedy_repeats_of_a_hybrid_model_are_one_answer(
    m1eval: Callable[..., Any], task: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    lengths = (65, 127, 128, 129, 193, 300, 448, 511)
    done = m1eval(
        *("run", "--tasks", task(*lengths), "--model", f"local:{folder}", "--repeats", 8, "--max-tokens", 6),
        *("--set", "generation.temperature=0", "-o", "device=cpu", "-o", "batch=16", "--out", tmp_path / "x"),
    )
    assert done.code == 0, done.err
    texts_by_id = answers(tmp_path / "x")
    assert len(texts_by_id) == len(lengths)
    assert {name for name, texts in texts_by_id.items() if len(texts) > 1} == set()
    assert len({text for texts in texts_by_id.values() for text in texts}) > 1


def test_an_invariant_run_goes_on_only_in_the_same_shapes(
    m1eval: Callable[..., Any], task: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    file = task(70, 80)

    def run(out: str, repeats: int, *options: str) -> Any:
        options_ = [word for option in ("device=cpu", *options) for word in ("-o", option)]
        where = ("--model", f"local:{folder}", "--max-tokens", 3, "--repeats", repeats, "--out", tmp_path / out)
        return m1eval("run", "--tasks", file, *where, *options_)

    assert run("loose", 1, "batch=4").code == 0
    assert run("loose", 2, "batch=8").code == 0
    assert run("pinned", 1, "invariant=true", "batch=4").code == 0
    metadata = json.loads((run_of(tmp_path / "pinned") / "run.json").read_text())
    assert metadata["runner"]["pinned"]["batch"] == metadata["config"]["runner"]["batch"] == 4
    refused = run("pinned", 2, "invariant=true", "batch=8")
    assert refused.code == 2
    (line,) = refused.err.strip().splitlines()
    assert "batch: 4, now 8" in line
    assert "chunk: 512" in run("pinned", 2, "invariant=true", "batch=4", "chunk=64").err
    threads = metadata["config"]["runner"]["threads"]
    assert f"threads: {threads}" in run("pinned", 2, "invariant=true", "batch=4", f"threads={threads + 1}").err
    assert run("pinned", 2, "invariant=true", "batch=4", "prefix_cache=false").code == 0


def test_the_number_of_slots_that_fit_is_pinned(
    m1eval: Callable[..., Any], task: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    """Less memory gives fewer slots for states, with otherwise the same options."""
    where = ("--tasks", task(70, 80), "--model", f"local:{folder}", "--max-tokens", 3, "--out", tmp_path / "x")
    invariant = ("-o", "device=cpu", "-o", "invariant=true", "-o", "batch=64", "-o", "window=256")
    assert m1eval("run", *where, *invariant).code == 0
    refused = m1eval("run", *where, *invariant, "--repeats", 2, "-o", "memory=0.003")
    assert refused.code == 2
    (line,) = refused.err.strip().splitlines()
    assert "batch: 64" in line
    assert m1eval("run", *where, *invariant, "--repeats", 2, "-o", "memory=1").code == 0
