"""Results and stored runs in Python: copies, processes, folders that are gone, and how they are shown."""

import copy
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval import Results, UsageError, compare, evaluate, load_task, read, read_results
from m1eval.store.stored import UNFINISHED, StoredRun


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Results, Results]:
    """Two runs, in folders that are named by relative paths."""
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"limit": 4, "repeats": 2, "display": "none"}
    gold = evaluate("needle_small", "echo:gold", out="a", **options)
    return gold, evaluate("needle_small", "echo:wrong", out="b", **options)


def summary_of(results: Results) -> tuple[dict[str, float | None], int, str]:
    return results.scores, len(results.samples), repr(results)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda results: pickle.loads(pickle.dumps(results))])
def test_a_copy_reads_the_same_from_anywhere(sides, tmp_path, monkeypatch, copied):
    results, other = sides
    duplicate = copied(results)
    shown = repr(results)
    monkeypatch.chdir("/")
    assert repr(results) == shown, "the line that names the folder too"
    assert (repr(duplicate), duplicate.to_dict()) == (repr(results), results.to_dict())
    assert duplicate.samples.equals(results.samples)
    assert repr(compare(duplicate, other)) == repr(compare(results, other))


def test_an_unfinished_grading_is_noted_from_anywhere(sides, monkeypatch):
    folder = sides[0][0].path
    (folder / "samples.jsonl.grading").write_text('{"grading": 1, "settings": {}}\n')
    run = StoredRun.open(folder)
    monkeypatch.chdir("/")
    assert UNFINISHED in run.description.notes


def test_results_travel_to_another_process(sides):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(summary_of, (sides[0],)) == summary_of(sides[0])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (shutil.rmtree, "a/needle_small/gold is not a run: there is no such folder"),
        (lambda folder: (folder / "samples.jsonl").unlink(), "a/needle_small/gold is not a run: there is no file samp"),
    ],
)
def test_a_folder_that_is_gone_is_named_in_one_line(sides, broken: Callable[[Path], None], message: str):
    results, other = sides
    duplicate = pickle.loads(pickle.dumps(results))
    broken(results[0].path)
    uses: list[Callable[[], object]] = [
        lambda: compare(results, other),
        lambda: compare(other, duplicate),
        lambda: results.samples,
        lambda: duplicate.answers,
        lambda: list(results[0].records()),
        lambda: duplicate[0].tally,
    ]
    for use in uses:
        with pytest.raises(UsageError, match=f"^{message}"):
            use()
    assert "| needle_small | 1.000 |" in repr(results) == repr(duplicate)
    assert "needle_small of echo:gold" in repr(duplicate[0])


@pytest.mark.parametrize(("missing", "there"), [("run.json", "samples.jsonl"), ("samples.jsonl", "run.json")])
def test_half_a_run_says_what_is_missing(sides, missing, there):
    folder = sides[0][0].path
    (folder / missing).unlink()
    for use in (lambda: read(folder), lambda: read_results(folder), lambda: compare(folder, sides[1])):
        with pytest.raises(UsageError, match=rf"{folder}.* \(there is a {there}, but no {missing}\)"):
            use()


def test_damaged_prompts_are_one_line(sides):
    path = sides[0][0].path / "prompts.zst"
    content = bytearray(path.read_bytes())
    content[30:60] = b"\0" * 30
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read"):
        list(StoredRun(path.parent, {}).prompts())


def test_runs_tasks_and_comparisons_say_what_they_are(sides, tmp_path):
    assert repr(sides[0][0]) == "<StoredRun needle_small of echo:gold: score 1.000, a/needle_small/gold>"
    assert repr(StoredRun.open(sides[0][0].path)) == repr(sides[0][0])
    assert repr(load_task("aime24")).startswith("<Task aime24: 30 rows, ")
    assert "protocol official, " in repr(load_task("gpqa_diamond", protocol="official"))
    compared = compare(*sides, margin=0.1)
    html = compared._repr_html_()
    assert "<td>needle_small</td><td>a/needle_small/gold</td><td>b/needle_small/wrong</td><td>1.000</td>" in html
    assert "<td>worse</td>" in html
    assert "gate" not in compare(*sides)._repr_html_()


def test_a_scorer_that_changes_the_current_folder_does_not_move_the_run(tmp_path, monkeypatch, capitals):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    code = "import os\nfrom m1eval import Score\nclass Scorer:\n    def score(self, output, sample, context):\n"
    code += f"        os.chdir({str(tmp_path / 'elsewhere')!r})\n        return Score(value=1.0, answer='x')\n"
    (tmp_path / "moves.py").write_text(code)
    results = evaluate(str(capitals), "echo:gold", set={"scorer": "./moves.py"}, out="o", display="none")
    assert (len(results.samples), str(results[0].path)) == (12, "o/capitals/gold")
    assert not list((tmp_path / "elsewhere").iterdir())
    assert {"run.json", "samples.jsonl"} <= {file.name for file in (tmp_path / "o/capitals/gold").iterdir()}
