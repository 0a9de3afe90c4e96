"""The description of a run: in time proportional to its samples, and of runs without a plan."""

import json
import time

import pytest

from m1eval.model.model import Model
from m1eval.report.table import cells as table_cells
from m1eval.run.run import Run
from m1eval.store import description
from m1eval.store.journal_state import JournalState
from m1eval.store.stored import StoredRun
from m1eval.task.load import load_tasks


def test_a_description_takes_time_in_proportion_to_the_samples(tmp_path):
    def took(number: int) -> float:
        rows = (
            {"id": f"s{i}", "repeat": 0, "outcome": "errored" if i % 7 == 0 else "wrong", "error": "x"}
            for i in range(number)
        )
        (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = JournalState(tmp_path / "samples.jsonl")
        begin = time.process_time()
        description.describe({"config": {"repeats": 1}}, done, tmp_path)
        return time.process_time() - begin

    took(100)
    small = min(took(2_000) for _ in range(3))
    assert took(20_000) < 40 * small, "ten times the samples"


def test_a_run_that_was_stopped_before_its_samples_were_known_is_described(tmp_path):
    run = Run(load_tasks(["needle_small"])[0], Model("echo:gold", {}), tmp_path / "x").open()
    about = StoredRun.open(tmp_path / "x").description
    run.close()
    assert (about.task, about.model, about.samples, about.answers, about.score) == (
        "needle_small",
        "echo:gold",
        0,
        0,
        None,
    )
    head, (row,) = table_cells([about])
    assert dict(zip(head, row, strict=True))["score"] == "–"


@pytest.mark.parametrize(
    "forged",
    [{"summary": {"figure_intervals": [1]}}, {"plan": {"samples": 0}}, {"changed": {}}, {"strangers": ["s"]}, {}],
)
def test_a_folder_without_a_plan_is_described_by_its_journal(tmp_path, forged):
    (tmp_path / "run.json").write_text(json.dumps({"task": "t", "config": {"repeats": 2}, **forged}))
    rows = [{"id": f"s{i % 3}", "repeat": i // 3, "outcome": "right", "value": 1.0} for i in range(5)]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    about = StoredRun.open(tmp_path).description
    assert (about.samples, about.answers, about.answers_wanted, about.repeats, about.repeats_most) == (3, 5, 6, 1, 2)
    assert not about.finished
