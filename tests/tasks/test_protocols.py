"""Protocols: the `official` ones ask what the benchmarks' own code asks, byte for byte, and say so truthfully."""

import hashlib
import json
import os
import random
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import pytest

from benchmarks.protocols import DIGESTS, REPOSITORIES, digest, ours
from m1eval import UsageError
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.plugins import available
from m1eval.task.load import load_tasks
from m1eval.task.published_texts import constant
from m1eval.task.task import Task
from tests.conftest import ROOT, lines, run_of, write

ROWS = json.loads((ROOT / "tests/tasks/official_rows.json").read_text("utf-8"))
RECORDED = json.loads(DIGESTS.read_text("utf-8"))
PUBLISHED = {"simpleqa", "hle", "multichallenge", "zebralogic", "babilong", "infinitebench"}
"""Tasks whose `official` protocol reads texts of the authors at run time."""
TEXTS = Path(os.environ.get("M1EVAL_TEXTS", ROOT / "tests" / "no-such-folder"))
"""A folder with the files of the authors."""


def test_there_is_a_digest_of_every_official_prompt() -> None:
    official = {name for name in available("tasks", "**/*.yaml") if "official" in _protocols(name)}
    assert official - set(RECORDED) == {
        "math500",  # PRM800K publishes a grader and no prompt for chat models
        "graphwalks",  # the prompts are the data set's
        "multichallenge_273",  # includes multichallenge, with other rows
    }
    assert {name for name in RECORDED if load_tasks([name], protocol="official")[0].definition.texts} == PUBLISHED


def _protocols(name: str) -> set[str]:
    tasks = load_tasks([name])
    return set(tasks[0].definition.protocols) if tasks[0].name == name else set()


@pytest.mark.parametrize("name", sorted(REPOSITORIES))
def test_the_official_prompts_are_those_of_the_benchmarks_own_code(name: str) -> None:
    if name in PUBLISHED and not TEXTS.is_dir():
        pytest.skip("M1EVAL_TEXTS names no folder with the files of the benchmarks' authors")
    assert digest(ours(name, TEXTS, ROWS)) == RECORDED[name]


def test_the_options_of_gpqa_are_permuted_as_simple_evals_does(tmp_path: Path) -> None:
    task, samples = _gpqa(tmp_path, "official", 7)
    drawn = random.Random(0)
    for repeat in range(3):
        for number in range(7):
            order = drawn.sample(range(4), 4)
            sample = samples.sample(number, repeat)
            assert sample.metadata["order"] == "".join(map(str, order))
            assert sample.target == "ABCD"[order.index(0)]
            assert f"{sample.target}) right {number}" in sample.messages[-1]["content"]
    assert (task.definition.repeats, task.definition.generation.max_tokens) == (10, 2048)


def test_repeats_of_gpqa_can_be_built_in_any_order(tmp_path: Path) -> None:
    _, samples = _gpqa(tmp_path, "official", 5)
    backwards = {(n, r): samples.sample(n, r).messages for r in (2, 1, 0) for n in (4, 2, 0, 1, 3)}
    _, samples = _gpqa(tmp_path, "official", 5)
    assert backwards == {(n, r): samples.sample(n, r).messages for n in range(5) for r in range(3)}


def test_by_default_the_options_keep_their_order_and_may_be_drawn_for_each_repeat(tmp_path: Path) -> None:
    _, fixed = _gpqa(tmp_path, None, 4)
    assert not fixed.varies(0)
    assert fixed.sample(1, 0).messages == fixed.sample(1, 5).messages
    _, drawn = _gpqa(tmp_path, None, 4, "order=each_repeat")
    assert drawn.varies(0)
    assert len({drawn.sample(1, repeat).metadata["order"] for repeat in range(12)}) > 4
    with pytest.raises(UsageError, match="order is fixed, each_repeat or simple_evals, not 'x'"):
        _gpqa(tmp_path, None, 4, "order=x")


def _gpqa(folder: Path, protocol: str | None, count: int, *overrides: str):
    rows = [
        {"Question": f"Q{i}?", "Correct Answer": f"right {i}", **{f"Incorrect Answer {j}": f"w{j}" for j in (1, 2, 3)}}
        for i in range(count)
    ]
    write(folder / "gpqa_diamond.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (task,) = load_tasks(["gpqa_diamond"], overrides, protocol=protocol)
    return task, task.samples(CharacterTokenizer(), 0, folder)


def test_a_run_with_prompts_of_their_own_for_repeats_grades_each_by_its_own_order(m1eval, tmp_path: Path) -> None:
    _gpqa(tmp_path, None, 6)
    arguments = ("--tasks", "gpqa_diamond", "--model", "echo:gold", "--protocol", "official", "--data-dir", tmp_path)
    run = ("run", *arguments, "--out", tmp_path / "r", "--json")
    (summary,) = m1eval(*run, "--repeats", "3").json()["runs"]
    assert summary["score"] == 1
    records = lines(run_of(tmp_path / "r") / "samples.jsonl")
    assert len(records) == 18
    orders = {(record["id"], record["repeat"]): record["metadata"]["order"] for record in records}
    assert len({orders["gpqa_diamond-1", repeat] for repeat in range(3)}) > 1
    assert {"pass@3"} <= set(summary["figures"])
    assert "maj@3" not in summary["figures"], "the same letter means another option in another repeat"
    (more,) = m1eval(*run, "--repeats", "5").json()["runs"]
    assert more["outcomes"]["right"] == 30


def test_a_protocol_that_no_task_has_is_an_error_and_one_that_some_have_is_noted(m1eval, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="task olympiadbench: unknown protocol 'official'"):
        load_tasks(["olympiadbench"], protocol="official")
    tasks = load_tasks(["olympiadbench", "aime24"], protocol="official")
    assert [task.protocol for task in tasks] == ["default", "official"]
    assert load_tasks(["olympiadbench"], protocol="greedy")[0].definition.generation.temperature == 0


def test_the_plan_names_the_protocol(m1eval, tmp_path: Path) -> None:
    _gpqa(tmp_path, None, 3)
    run = ("run", "--tasks", "gpqa_diamond", "--model", "echo:gold", "--data-dir", tmp_path, "--dry-run")
    assert "protocol default (others: official)" in m1eval(*run).out
    assert "protocol official (others: default)" in m1eval(*run, "--protocol", "official").out
    assert m1eval(*run, "--protocol", "official", "--json").json()["plans"][0]["protocol"] == "official"
    checked = m1eval("check", "gpqa_diamond", "--data-dir", tmp_path, "--protocol", "official")
    assert checked.code == 0, checked.out
    assert "empty scores 0 (protocol official)" in checked.out


# Published texts


GRADER = 'import nothing_that_exists\nT = """\nQ: {question}\nA: {answer} of {{x}}\n""".strip()\nraise SystemExit\n'


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder and the address at which a real server gives its files out."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False  # so that `server_close` waits until each connection is closed
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep downloads for one test."""
    monkeypatch.setenv("M1EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", str(tmp_path / "downloads"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)


def _task(folder: Path, url: str, data: str = GRADER, constant: str = "T") -> Path:
    sha = hashlib.sha256(data.encode()).hexdigest()
    write(folder / "rows.jsonl", '{"question": "Who?", "answer": "Ann"}\n')
    return write(
        folder / "mine.yaml",
        f"""
        title: Mine
        dataset: {{file: rows.jsonl}}
        prompt: "{{{{ texts.asked.format(question=question, answer=1) }}}}"
        target: "{{{{ answer }}}}"
        scorer: exact
        texts:
          asked: {{url: "{url}", sha256: {sha}, constant: {constant}}}
        """,
    )


def _prompt(path: Path, folder: Path | None = None) -> str:
    (task,) = load_tasks([str(path)])
    return str(task.samples(CharacterTokenizer(), 0, folder).sample(0).messages[0]["content"])


def test_a_published_text_is_downloaded_and_kept(tmp_path: Path, served: tuple[str, Path]) -> None:
    url, folder = served
    (folder / "grader.py").write_text(GRADER)
    path = _task(tmp_path, f"{url}/grader.py")
    assert _prompt(path) == "Q: Who?\nA: 1 of {x}"
    (folder / "grader.py").unlink()
    assert _prompt(path) == "Q: Who?\nA: 1 of {x}", "it is in the cache"


def test_a_published_text_may_lie_in_the_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "grader.py").write_text(GRADER)
    path = _task(tmp_path, "http://127.0.0.1:9/a/grader.py")
    write(folder / "mine.jsonl", '{"question": "Why?", "answer": "Ann"}\n')
    assert _prompt(path, folder) == "Q: Why?\nA: 1 of {x}"


def test_without_a_network_the_error_names_the_file_and_the_folder(tmp_path: Path, m1eval) -> None:
    path = _task(tmp_path, "http://127.0.0.1:9/a/grader.py")
    with pytest.raises(
        UsageError, match=r"mine.yaml:\d+: 'asked' is a text of the benchmark's authors, read from http"
    ):
        _prompt(path)
    result = m1eval("run", "--tasks", path, "--model", "echo:gold", "--out", tmp_path / "r")
    assert result.code == 2
    assert "put the file grader.py into a folder and give it with --data-dir" in result.err
    assert not (run_of(tmp_path / "r") / "samples.jsonl").exists() or not lines(
        run_of(tmp_path / "r") / "samples.jsonl"
    )


def test_another_version_of_a_text_is_refused(tmp_path: Path, served: tuple[str, Path]) -> None:
    url, folder = served
    (folder / "grader.py").write_text(GRADER + "# changed\n")
    with pytest.raises(UsageError, match="it is another version"):
        _prompt(_task(tmp_path, f"{url}/grader.py"))


def test_a_text_that_is_not_there_or_no_literal_is_named(tmp_path: Path, served: tuple[str, Path]) -> None:
    url, folder = served
    (folder / "grader.py").write_text(GRADER)
    with pytest.raises(UsageError, match=r"grader.py: 'no constant X'|grader.py: no constant X"):
        _prompt(_task(tmp_path, f"{url}/grader.py", constant="X"))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("X = 'a'", "a"),
        ("X = ' a\\n'.strip()", "a"),
        ("X = {'a': 'b' 'c'}", {"a": "bc"}),
        ("X = 'old'\nX = 'new'", "new"),
        ("def X(name):\n    if name:\n        return 'sum'\n    return 'other'", "sum"),
    ],
)
def test_a_constant_is_read_without_running_the_file(source: str, value: object) -> None:
    assert constant(f"import absent\nassert False\n{source}\n", "X") == value


@pytest.mark.parametrize(
    "source",
    [
        "Y = 1",
        "X = open('x')",
        "X = f'{y}'",
        "X = __import__('os').system('x')",
        "X = 'a'.format()",
        "X = y",
        "def X(): pass",
    ],
)
def test_what_is_no_literal_is_refused(source: str) -> None:
    with pytest.raises((ValueError, LookupError)):
        constant(source, "X")


def test_the_texts_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    (task,) = load_tasks(["simpleqa"], protocol="official")
    assert isinstance(task, Task)
    stored = task.resolved()["task"]["texts"]["grader"]
    assert stored["sha256"].startswith("d61a8f97")
    assert "ee3b0318d8d1d9d72755a4120879be65f7c07e9e" in stored["url"]


# What the documentation says


def _documented() -> dict[str, list[str]]:
    text = (ROOT / "docs" / "protocols.md").read_text("utf-8")
    table = text[text.index("| task | theirs |") : text.index("The limits of 20")]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines()[2:] if line]
    return {row[0].strip("`"): row for row in rows}


@pytest.mark.parametrize("name", sorted({*REPOSITORIES, "math500", "graphwalks"}))
def test_the_table_of_protocols_is_what_the_tasks_say(name: str) -> None:
    _, theirs, prompt, sampling, rule, _ = _documented()[name]
    (task,) = load_tasks([name], protocol="official")
    definition, text = task.definition, task.path.read_text("utf-8")
    commit = theirs.split(",")[0].split()[1]
    assert len(commit) == 7
    assert name == "longbench_v2_cot" or commit in text
    assert all(commit in text.url for text in definition.texts.values())
    assert bool(definition.texts) == ("read at run time" in prompt + rule)
    generation = definition.generation
    if generation.max_tokens is not None and generation.max_tokens != 81920:
        assert f"{generation.max_tokens:,} tokens" in sampling
    if "task's temperature" in sampling:
        assert generation.temperature == 1.0
    elif generation.temperature is not None:
        assert ("greedy" in sampling or "temperature 0" in sampling) == (generation.temperature == 0) or (
            f"temperature {generation.temperature:g}" in sampling
        )
    assert ("repeats" in sampling) == (definition.repeats > 1)
    if definition.repeats > 1:
        assert f"{definition.repeats} repeats" in sampling
    assert f"`{task._scorer[0]}`" in rule or task._scorer[0] in ("judge", "choice")
    if "rule" in (options := task._scorer[1]) and options["rule"] != "simple_evals":
        assert f"`{options['rule']}`" in rule
    assert "rule" in options or ", rule `" not in rule


def test_every_task_with_an_official_protocol_is_in_the_table() -> None:
    assert set(_documented()) == {*REPOSITORIES, "math500", "graphwalks"}


@pytest.mark.parametrize("name", ["simpleqa", "hle", "multichallenge_273"])
def test_figures_that_rest_on_the_authors_rubric_are_compared_under_official_alone(name: str) -> None:
    (default,), (official,) = load_tasks([name]), load_tasks([name], protocol="official")
    assert default.baselines is not None
    assert official.baselines == (default.baselines[0], True)
    assert default.baselines[1] is False
