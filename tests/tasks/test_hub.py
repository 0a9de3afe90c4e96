"""Every task that takes rows from the hub is read through the hub's own interface, in the form that is published."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import run_of, write
from tests.tasks import hub_rows
from tests.tasks.conftest import definitions, pins

TASKS = sorted(definitions())
FEWER: dict[str, list[str]] = {
    "ruler_qa_1": ["lengths=[1024]", "samples=3"],
    "ruler_qa_2": ["lengths=[1024]", "samples=3"],
    "babilong": ["lengths=[0k, 1M]", "samples=2"],
}
"""Options that make a task small."""
SAMPLES = {
    "aime24": 3, "aime25": 3, "amc23": 3, "hmmt_feb_2025": 3, "math500": 3, "minerva_math": 3, "olympiadbench": 3,
    "gpqa_diamond": 3, "hle": 3, "mmlu_pro": 3, "multichallenge": 4, "multichallenge_273": 4, "simpleqa": 3,
    "zebralogic": 3, "mrcr": 3, "mrcr_128k": 2, "graphwalks": 3, "longbench_v2": 4, "longbench_v2_cot": 4,
    "infinitebench": 22, "babilong": 20, "ruler_qa_1": 3, "ruler_qa_2": 3, "mr_niah": 4,
}  # fmt: skip
"""The number of samples of each task in the stand-ins."""

AGREES = """
import json, re
from m1eval import Output

class Runner:
    def __init__(self, model):
        self.asked = {}

    async def generate(self, request):
        text = request.messages[-1]["content"]
        answer = re.findall(r"\\[begin (\\w+)\\]\\n(.*?)\\n\\[end \\1\\]", text, re.DOTALL)[-1][1].strip()
        verdict = answer if answer in ("YES", "NO") else "CORRECT" if "CORRECT" in text else "YES"
        self.asked[text] = turn = self.asked.get(text, 0) + 1
        return Output(text=f"Verdict: {verdict}" if turn == 1 else json.dumps({"reasoning": "", "verdict": verdict}))

    async def aclose(self): ...
"""
"""A judge that finds every answer right, in the form that it is asked for."""


def overrides(name: str, url: str) -> list[str]:
    """Overrides that make a task small, and take files that are not on the hub from this machine."""
    dataset = definitions()[name].dataset
    assert dataset
    sets = list(FEWER.get(name, []))
    if dataset.hub == "json":
        elsewhere = url.replace("127.0.0.1", "localhost")  # `datasets` takes addresses of the hub for its own
        sets.append(f"dataset.files={json.dumps([f'{elsewhere}/raw/{Path(each).name}' for each in dataset.files])}")
    return [part for text in sets for part in ("--set", text)]


def test_every_task_of_the_hub_has_a_stand_in():
    assert set(TASKS) == set(SAMPLES)
    assert set(pins()) - {"json"} == set(hub_rows.FILES)
    for name in TASKS:
        dataset = definitions()[name].dataset
        assert dataset
        assert re.fullmatch("[0-9a-f]{40}", str(dataset.revision)), f"{name}: a branch is not a pin"
        if dataset.hub == "json":
            assert all(str(dataset.revision) in url and Path(url).name in hub_rows.OUTSIDE for url in dataset.files)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_read_from_the_hub_and_its_gold_answers_are_right(hub, send, tmp_path, name):
    judge = write(tmp_path / "agrees.py", AGREES)
    sets = overrides(name, hub.url)
    judged = ["--judge", f"{judge}:x"] if "judge" in definitions()[name].scorer else []
    run = ["run", "-t", name, "-m", "echo:gold", "-k", "1", "--json", "--display", "none", "--out", "out"]
    checked, done = send([["check", name, "--json", *sets], [*run, *sets, *judged]])
    assert (checked.code, done.code) == (0, 0), (checked, done)
    (result,) = json.loads(checked.out)
    assert result["verdict"] == "passed", result
    assert f"{SAMPLES[name]} samples" in result["text"]
    (summary,) = json.loads(done.out)["runs"]
    assert (summary["score"], summary["samples"]) == (1.0, SAMPLES[name])
    dataset = definitions()[name].dataset
    assert dataset
    tables = json.loads((run_of(tmp_path / "out") / "run.json").read_text())["data"]["tables"]
    assert {each["hub"] for each in tables} == {dataset.hub}
    assert {each["commit"] for each in tables} == {None if dataset.hub == "json" else dataset.revision}


def test_rows_that_need_an_image_are_counted(hub, send, tmp_path):
    judge = write(tmp_path / "agrees.py", AGREES)
    run = ["run", "-t", "hle", "-m", "echo:gold", "--json", "--judge", f"{judge}:x", "--out", "out"]
    checked, done = send([["check", "hle"], run])
    note = "1 of 4 rows need an image and are left out"
    assert note in checked.out
    assert f"hle: {note}" in done.err
    assert json.loads((run_of(tmp_path / "out") / "run.json").read_text())["data"]["notes"] == [note]
