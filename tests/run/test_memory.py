"""Memory is that of the prompts in flight, however long they are and however many there are."""

import re
import subprocess
import sys

import pytest

# The kernel's own high-water mark of the process; getrusage would count the tests' memory before the exec, too.
MEASURED = """
import sys
from m1eval.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    assert not left.code
print(open("/proc/self/status").read(), file=sys.stderr)
"""


def peak(tmp_path, *args: object) -> float:
    """Peak megabytes of a whole run."""
    command = ["run", "--model", "echo:gold", "--out", tmp_path / "x", "--json", *args]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, command)], capture_output=True, text=True, check=True, timeout=200
    )
    match = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert match
    return int(match[1]) / 1024


@pytest.mark.timeout(300)
def test_eight_conversations_of_a_million_tokens(tmp_path):
    """About 20 s: 32 MB of text are made, several prompts wait for their answer at a time."""
    lengths = ("--set", "lengths=[1048576]", "--set", "samples=8")
    assert peak(tmp_path, "--tasks", "mrcr_synth", *lengths, "-o", "latency=4") < 400


def test_a_hundred_thousand_samples(tmp_path):
    """Only a few are asked; the others are known by number and not held."""
    (tmp_path / "t.jsonl").write_text('{"q": "a question of some length, as there are many"}\n' * 100_000)
    keys = "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: x\nscorer: exact\n"
    (tmp_path / "t.yaml").write_text(keys)
    assert peak(tmp_path, "--tasks", tmp_path / "t.yaml", "--limit", 10) < 200
