"""Results as tables."""

import json
import math
from typing import Any

import pytest
from pyarrow import parquet

import m1eval as package
from m1eval.store.parquet import write_parquet
from m1eval.store.record import Record
from tests.conftest import ROOT, run_of


@pytest.fixture
def results(m1eval, capitals, tmp_path):
    for model in ("echo:gold", "echo:wrong,truncated"):
        m1eval("run", "--tasks", capitals, "--model", model, "--repeats", 2, "--out", tmp_path / "r" / model[5:])
    return tmp_path / "r"


def test_read_gives_a_dataframe_over_many_runs(results):
    frame = package.read(f"{results}/**")
    assert len(frame) == 2 * 12 * 2
    assert {"task", "model", "path", "id", "repeat", "outcome", "value", "text", "reasoning"} <= set(frame)
    assert {"prompt_tokens", "answer_tokens", "total_seconds", "metadata"} <= set(frame)
    means = frame.groupby("model")["value"].mean()
    assert dict(means) == {"echo:gold": 1.0, "echo:wrong,truncated": 0.0}
    assert {row["country"] for row in frame["metadata"]} >= {"France", "Italy", "Spain", "Peru"}


def test_several_folders_or_patterns_are_read_as_one_table(results):
    gold, other = results / "gold", f"{results}/wrong*"
    for read in (package.read, package.read_results):
        assert list(read([gold, other]).model.unique()) == ["echo:gold", "echo:wrong,truncated"]
        assert len(read([gold, results])) == len(read(results)), "each run once"
        assert read((gold,)).equals(read(gold))
        with pytest.raises(package.UsageError, match=f"no finished samples of a run in {results}/none$"):
            read([gold, results / "none"])
        wrong: Any
        for wrong in ([], [3], 3):
            with pytest.raises(package.UsageError, match="is not a folder"):
                read(wrong)


def test_a_parquet_file_is_written_next_to_the_journal(results):
    import pandas

    table = pandas.read_parquet(run_of(results / "gold") / "samples.parquet")
    assert len(table) == 24
    assert set(table["outcome"]) == {"right"}
    assert table["value"].dtype == float
    assert table["repeat"].dtype == int


def test_reading_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(package.UsageError, match="no finished samples of a run in"):
        package.read(str(tmp_path / "**"))


def recipe():
    """The code of README's section on pandas."""
    text = (ROOT / "README.md").read_text().partition("## Results in pandas")[2]
    return text.partition("```python\n")[2].partition("```")[0]


@pytest.mark.parametrize(("model", "repeats"), [("echo:gold,wrong,error", 3), ("echo:error", 2), ("echo:wrong", 1)])
def test_the_recipe_of_the_readme_gives_the_scores_of_the_table(
    m1eval, capitals, tmp_path, monkeypatch, model, repeats
):
    monkeypatch.chdir(tmp_path)
    result = m1eval("run", "--tasks", capitals, "--model", model, "--repeats", repeats, "--json")
    (shown,) = result.json()["runs"]
    names: dict[str, Any] = {}
    exec(recipe(), names)
    assert list(names["scores"].index) == [("capitals", model)]
    score = names["scores"].iloc[0]
    assert math.isnan(score) if shown["score"] is None else score == pytest.approx(shown["score"], abs=1e-12)
    counted = {outcome: n for (_, _, outcome), n in names["outcomes"].items()}
    assert counted == {outcome: n for outcome, n in shown["outcomes"].items() if n}


def test_an_errored_answer_has_no_value_anywhere(m1eval, capitals, tmp_path):
    import pandas

    folder = tmp_path / "r"
    m1eval("run", "--tasks", capitals, "--model", "echo:wrong,error", "--out", folder)
    folder = run_of(folder)
    frames = [package.read(str(folder)), pandas.read_parquet(folder / "samples.parquet")]
    frames.append(pandas.read_json(folder / "samples.jsonl", lines=True))
    for frame in frames:
        assert 0 < (frame["outcome"] == "errored").sum() < 12
        assert (frame["value"].isna() == (frame["outcome"] == "errored")).all()
        assert frame["value"].mean() == 0
    sums = package.read_results(str(folder))
    assert list(sums["answers"] + sums["errored"]) == [1] * 12
    assert (sums["score"].isna() == (sums["answers"] == 0)).all()


def test_lines_that_a_later_one_supersedes_are_read_once(m1eval, capitals, tmp_path):
    folder = tmp_path / "r"
    m1eval("run", "--tasks", capitals, "--model", "echo:gold,error", "--out", folder)
    folder = run_of(folder)
    journal = folder / "samples.jsonl"
    written = journal.read_text().splitlines(keepends=True)
    errored = next(line for line in written if '"errored"' in line)
    right = next(line for line in written if '"right"' in line)
    wrong = json.dumps({**json.loads(right), "outcome": "wrong", "value": 0.0})
    journal.write_text("".join([errored, *written, right, wrong + "\n", errored, right.rstrip("\n")]))
    frame = package.read(str(folder))
    number = sum('"right"' in line for line in written)
    assert dict(frame["outcome"].value_counts()) == {"right": number, "errored": 12 - number}


def test_parquet_has_the_logprobs(tmp_path):
    table = tmp_path / "samples.parquet"
    written = [[-0.5, -1.0], None, [], [0.0]]
    write_parquet(
        (Record(id="a", repeat=i, outcome="right", value=1.0, logprobs=each) for i, each in enumerate(written)), table
    )
    assert parquet.read_table(table)["logprobs"].to_pylist() == written
