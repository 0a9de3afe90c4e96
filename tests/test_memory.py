"""Memory is that of the prompts in flight, however long they are and however many there are."""

import os
import subprocess
import sys

import pytest


def peak(tmp_path, *args: object) -> float:
    """Peak megabytes of a whole run."""
    command = [sys.executable, "-m", "m1eval", "run", "--model", "echo:gold", "--out", tmp_path / "x", "--json", *args]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.timeout(300)
def test_eight_conversations_of_a_million_tokens(tmp_path):
    """About 20 s: 32 MB of text are made, several prompts wait for their answer at a time."""
    lengths = ("--set", "lengths=[1048576]", "--set", "samples=8")
    assert peak(tmp_path, "--tasks", "mrcr_synth", *lengths, "-o", "latency=4") < 400


def test_a_hundred_thousand_samples(tmp_path):
    """Only a few are asked; the others are known by number and not held."""
    (tmp_path / "t.jsonl").write_text('{"q": "a question of some length, as there are many"}\n' * 100_000)
    (tmp_path / "t.yaml").write_text(
        "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: x\nscorer: exact\n"
    )
    assert peak(tmp_path, "--tasks", tmp_path / "t.yaml", "--limit", 10) < 200
