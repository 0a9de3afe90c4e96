"""Results as tables."""

import pytest

import m1eval as package


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


def test_parquet_stands_beside_the_journal(results):
    import pandas

    table = pandas.read_parquet(results / "gold" / "samples.parquet")
    assert len(table) == 24
    assert set(table["outcome"]) == {"right"}
    assert table["value"].dtype == float
    assert table["repeat"].dtype == int


def test_a_place_without_runs(tmp_path):
    with pytest.raises(package.UsageError, match="no finished samples of a run in"):
        package.read(str(tmp_path / "**"))
