"""Odd values for every option of every command and runner: one line, a documented exit code, nothing written elsewhere.

The commands are those of tests/odd.py; `python -m benchmarks.odd_commands` tries all pairs of options.
"""

import random
from pathlib import Path

import pytest

from m1eval.cli.main import cli
from tests import odd
from tests.serving import Closed


@pytest.fixture(autouse=True)
def folder(m1eval, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the commands, with a task of one sample and a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable is read once, at the import
    odd.make(tmp_path)
    assert m1eval("run", *odd.NEEDED["run"], "--out", "runs/t").code == 0
    return tmp_path


PARTS = [(name, part) for name in sorted(cli.commands) for part in range(4 if name == "run" else 1)]


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_odd_values_end_in_one_line(m1eval, name, part):
    parts = sum(known == name for known, _ in PARTS)
    problems = odd.all_wrong(m1eval, list(odd.odd_commands(name))[part::parts])
    assert not problems, problems


def test_there_are_more_than_a_thousand_of_them():
    assert sum(1 for name in cli.commands for _ in odd.odd_commands(name)) > 1000


@pytest.mark.parametrize("seed", range(3))
def test_odd_pairs_of_options_end_in_one_line(m1eval, seed):
    pairs = [words for name in cli.commands for words in odd.odd_pairs(name)]
    problems = odd.all_wrong(m1eval, random.Random(seed).sample(pairs, 100))
    assert not problems, problems


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize(("runner", "model"), [("echo", "echo:gold"), ("http", "http:m"), ("local", "local:./nowhere")])
def test_odd_options_of_runners_end_in_one_line(m1eval, runner, model, part):
    """Nothing listens on the server's port, and the checkpoint does not exist: no command gets beyond its start."""
    with Closed() as port:
        base = {"base_url": f"http://127.0.0.1:{port}/v1", "patience": "0", "retries": "0"}
        always = base if runner == "http" else {}
        problems = odd.all_wrong(m1eval, list(odd.odd_options(runner, model, always))[part::3])
    assert not problems, problems


def test_every_runner_has_options_that_are_tried():
    for runner in ("echo", "http", "local"):
        assert len(odd.runner_options(runner)) >= 4
