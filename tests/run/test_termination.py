"""SIGTERM and SIGHUP, as schedulers send them: what is in flight ends, the summary is printed, nothing is lost."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import lines, run_of, write

SCRIPT = """
    import sys
    from m1eval.cli.main import main
    from m1eval.run import interrupts
    interrupts.DRAIN = float(sys.argv[1])
    main(sys.argv[2:])
"""
RUNNER = """
    import asyncio
    from pathlib import Path
    from m1eval import Output

    HERE = Path(__file__).parent

    class Runner:
        concurrency = 2

        def __init__(self, model: str, *, begun: str = "begun"):
            self.begun = begun

        async def generate(self, request):
            if request.sample.id.endswith(("07", "08")):
                print("in flight", flush=True)
                while not (HERE / "go").exists():
                    await asyncio.sleep(0.01)
            return Output(text=request.sample.gold)

        async def aclose(self): ...
"""


def started(capitals: Path, drain: float) -> subprocess.Popen[str]:
    """A run that has two requests in flight, which go on until there is a file `go`."""
    folder = capitals.parent
    write(folder / "gated.py", RUNNER)
    script = write(folder / "main.py", SCRIPT)
    command = ["run", "--tasks", str(capitals), "--model", "./gated.py:x", "--out", "x", "--display", "none"]
    process = subprocess.Popen(
        [sys.executable, script, str(drain), *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "in flight\n"
    journal = folder / "x" / "capitals" / "x" / "samples.jsonl"
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 6):
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_what_is_in_flight_ends_and_the_summary_is_printed(capitals, shell, number, code):
    process = started(capitals, 30)
    process.send_signal(number)
    (capitals.parent / "go").touch()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, "| capitals |" in out) == (code, True), err
    assert "interrupted; the same command continues" in err
    done = {line["id"] for line in lines(capitals.parent / "x" / "samples.jsonl")}
    assert {"capitals-07", "capitals-08"} <= done
    assert json.loads((run_of(capitals.parent / "x") / "run.json").read_text())["summary"]["owed"] == 12 - len(done)
    again = shell("run", "--tasks", capitals, "--model", "./gated.py:x", "--out", "x", "--display", "none")
    assert (again.code, len(lines(capitals.parent / "x" / "samples.jsonl"))) == (0, 12), again.err


def test_what_does_not_end_in_time_is_left(capitals):
    process = started(capitals, 0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, "| capitals |" in out) == (143, True), err
    assert len(lines(capitals.parent / "x" / "samples.jsonl")) >= 6


def test_a_second_signal_ends_without_waiting(capitals):
    process = started(capitals, 1000)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    code = process.returncode
    assert (code if code >= 0 else 128 - code) in {129, 143}
    assert len(lines(capitals.parent / "x" / "samples.jsonl")) >= 6
