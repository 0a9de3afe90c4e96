"""Ctrl-C always works: a real process, real signals, and graders that hold the interpreter's lock for ever."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import lines, run_of, write

RUN = ("run", "--tasks", "t.yaml", "--model", "echo", "--out", "x", "--concurrency", "1")
FOREVER = "re.match(r'(a+)+$', 'a' * 60 + 'b')"
SCORER = f"""
    import asyncio, re
    from pathlib import Path
    from m1eval import Score

    BEGUN = Path(__file__).with_suffix(".begun")
    JOURNAL = Path(__file__).with_name("x") / "t" / "echo" / "samples.jsonl"

    def hang():
        BEGUN.touch()
        {FOREVER}

    class Scorer:
        def __init__(self, *, how: str = ""):
            self.how = how

        async def score(self, output, sample, context):
            if sample.id.endswith("03") and not BEGUN.exists():
                while JOURNAL.exists() and JOURNAL.read_bytes().count(b"\\n") < 2:
                    await asyncio.sleep(0.01)
                if self.how == "here":
                    hang()
                elif self.how == "thread":
                    await asyncio.to_thread(hang)
                elif self.how == "python":
                    BEGUN.touch()
                    while True:
                        pass
                else:
                    BEGUN.touch()
                    await context.workers.run(hang, timeout=60)
            return Score(value=1.0, answer="x")
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    write(tmp_path / "hangs.py", SCORER)
    write(tmp_path / "rows.jsonl", "".join(json.dumps({"n": n}) + "\n" for n in range(12)))
    text = "title: T\ndataset: {file: rows.jsonl}\nprompt: '{{ n }}'\ntarget: x\nscorer: {./hangs.py: {how: HOW}}\n"
    return write(tmp_path / "t.yaml", text)


def started(task: Path, how: str, *, in_own_session: bool = False) -> subprocess.Popen[str]:
    """A run that has come to the answer whose grade never ends."""
    task.write_text(task.read_text().replace("HOW", how))
    process = subprocess.Popen(
        [sys.executable, "-m", "m1eval", *RUN],
        cwd=task.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=in_own_session,
    )
    until(lambda: (task.parent / "hangs.begun").exists() or process.poll() is not None)
    time.sleep(0.2)  # into the call that follows
    assert process.poll() is None, process.communicate()
    return process


def until(true: Any) -> None:
    for _ in range(300):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come")


def ended(process: subprocess.Popen[str], presses: int) -> tuple[int, str]:
    """The exit code, as a shell shows it, after a number of Ctrl-Cs, and standard error."""
    try:
        for _ in range(presses):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        _, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        state = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
        raise AssertionError(f"{state[-900:]} it goes on: {process.communicate()}") from None
    return process.returncode if process.returncode >= 0 else 128 - process.returncode, err


def test_the_first_ctrl_c_says_what_it_waits_for_and_what_the_next_one_does(task):
    process = started(task, "worker")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        before.append(line)
        if line.startswith("stopping"):
            break
    assert before[-1] == "stopping: waiting for requests in flight; Ctrl-C again cancels them\n"
    assert process.poll() is None
    code, err = ended(process, 1)
    assert (code, "stopping" in err) == (130, False), "it is said once"


@pytest.mark.parametrize("how", ["here", "thread", "python"])
def test_the_third_ctrl_c_ends_a_run_whatever_holds_it(task, how):
    process = started(task, how)
    code, err = ended(process, 3)
    assert (code, "Traceback" in err) == (130, False), err
    done = lines(run_of(task.parent / "x") / "samples.jsonl")
    ids = {record["id"] for record in done}
    assert len(done) >= 2, "what was finished is on disk, in whole lines"
    assert "t-03" not in ids


@pytest.mark.parametrize("presses", [1, 2])
def test_a_hanging_grade_in_a_worker_does_not_delay_an_interrupt(task, presses):
    process = started(task, "worker")
    if presses == 1:
        process.send_signal(signal.SIGINT)
        time.sleep(1)  # that it does not end can only be seen by waiting
        assert process.poll() is None, "the first one waits for what is in flight"
        process.send_signal(signal.SIGINT)
        code, err = ended(process, 0)
    else:
        code, err = ended(process, 2)
    assert (code, "interrupted; the same command continues" in err, "Traceback" in err) == (130, True, False), err
    assert "t-03" not in {record["id"] for record in lines(run_of(task.parent / "x") / "samples.jsonl")}


def test_ctrl_c_of_a_terminal_reaches_the_workers_too_and_they_pass_it_over(task):
    process = started(task, "worker", in_own_session=True)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)
    _, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    assert (process.returncode, "interrupted" in err) == (130, True), err


def test_check_is_interrupted_too(task):
    task.write_text(task.read_text().replace("HOW", "here").replace("t-03", "t"))
    (task.parent / "hangs.py").write_text((task.parent / "hangs.py").read_text().replace('endswith("03")', "strip()"))
    process = subprocess.Popen(
        [sys.executable, "-m", "m1eval", "check", str(task)],
        cwd=task.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until((task.parent / "hangs.begun").exists)
    code, err = ended(process, 2)
    assert (code, "Traceback" in err) == (130, False), err


def test_an_interrupted_run_goes_on(task, shell):
    process = started(task, "here")
    ended(process, 3)
    journal = run_of(task.parent / "x") / "samples.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"id": "t-03", "rep')  # as a kill in the middle of a write leaves it
    again = shell(*RUN)
    assert again.code == 0, again.err
    assert "torn line" in again.out + again.err
    assert sorted(record["id"] for record in lines(journal)) == [f"t-{n:02}" for n in range(1, 13)]
