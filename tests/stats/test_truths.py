"""The statistics against simulated models of known accuracy: the small form of `benchmarks/simulated.py`."""

import pytest

from benchmarks import simulated

TRIALS = 300
SMALL = {
    "scores": (
        "0.9 n=30 k=4",
        "0.97 n=10 k=16",
        "uniform n=100 k=1",
        "0.97/0.1 n=30 k=2",
        "F1 n=10 k=1",
        "ratio n=5 k=4",
    ),
    "clusters": ("30 texts of 5 questions k=1", "10 texts of 1 to 9 questions k=1"),
    "limited": ("uniform 50 of 100 k=4", "0.97/0.1 50 of 100 k=1"),
    "losses": ("30% at random n=30 k=4", "60% of the hard half n=30 k=4"),
    "differences": (
        "0.9 n=10 k=1/16",
        "beta(9,1) n=10 k=1/16",
        "0.9 n=30 k=1/16",
        "0.5 n=30 k=1/1",
        "F1 against 0/1 of one mean n=30 k=1/1",
        "better by 0.1 n=30 k=4/4",
    ),
    "gate": ("n=30 k=1, worse by 0.02, allowed 0.02", "n=30 k=16, worse by 0, allowed 0.02"),
    "published": ("0.9 n=30 avg@32 against avg@1", "beta(9,1) n=30 avg@4 against avg@64"),
    "passes": ("pass@2 n=30",),
    "until-se": ("0.9 n=30 k=1 to 0.03", "0.97/0.1 n=30 k=2 to 0.03"),
}
"""Settings by table; those in which the first version was wrong are among them."""


@pytest.mark.parametrize(("table", "setting"), [(table, each) for table, names in SMALL.items() for each in names])
def test_intervals_hold_the_truth_as_often_as_they_promise(table, setting):
    number = [name for name, _ in simulated.TABLES[table]()].index(setting)
    row = simulated.measure(table, number, TRIALS)
    assert any(simulated.promise(name, setting) for name in row.measured) or "bounds hold the truth" in row.measured
    assert simulated.judged(row, TRIALS) == ""
    assert row.measured.get("bounds hold the truth", 1) > 0.9, "they hold what the lost answers were, if not all chance"


def test_what_is_large_enough_is_found():
    """Power: a difference called detectable, and a published score five points off, are found."""
    problems = [
        simulated.measure("power", i, TRIALS)
        for i, (name, _) in enumerate(simulated.TABLES["power"]())
        if "n=30" in name
    ]
    assert all(0.7 < row.measured["found"] < 0.95 for row in problems), problems
    settings = [name for name, _ in simulated.TABLES["published"]()]
    row = simulated.measure("published", settings.index("0.9 n=30 avg@32 against avg@32 + 0.05"), TRIALS)
    assert row.measured["called different"] > 0.8
