"""Ctrl-C at any moment of the command's start and end: 130, and never a traceback."""

import random
import signal
import subprocess
import sys

import pytest

from m1eval import early

RUN = ("run", "--tasks", "./capitals.yaml", "--model", "echo", "-o", "latency=0.3", "-j", "4", "--display", "none")


def interrupted(cwd, words, after):
    """Exit code and standard error of a command that gets SIGINT while it is imported.

    `after`: how many lines about imports come before, from the first of m1eval's own on; they are left out.
    """
    command = [sys.executable, "-X", "importtime", "-m", "m1eval", *words]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        said, seen = [], -1
        for line in run.stderr:
            said.append(line)
            if seen >= 0 or "m1eval" in line:
                seen += 1
                if seen == after:
                    run.send_signal(signal.SIGINT)
    return run.returncode, [line for line in said if not line.startswith("import time:")]


@pytest.mark.parametrize("part", range(4))
def test_at_any_moment_of_the_start(capitals, tmp_path, part):
    """Twenty moments in all, drawn at random from each quarter of the imports."""
    draw = random.Random()
    for _ in range(5):
        after = draw.randrange(part * 60, part * 60 + 60)
        code, output = interrupted(tmp_path, RUN, after)
        assert code == 130, (after, output)
        assert output in ([], [early.MESSAGE + "\n"]), after


def test_an_interrupt_at_the_first_line_ends_quietly_with_130(tmp_path):
    for _ in range(5):
        code, output = interrupted(tmp_path, ("--help",), 0)
        assert (code, output) == (130, [])


def test_an_import_that_swallows_every_exception_does_not_swallow_ctrl_c(tmp_path):
    """As `from _ssl import x` turns KeyboardInterrupt into a TypeError; outside of an import it is raised as usual."""
    interrupt = "os.kill(os.getpid(), signal.SIGINT)"
    greedy = f"import os, signal\ntry:\n    {interrupt}\n    signal.pause()\nexcept BaseException:\n    pass\n"
    (tmp_path / "greedy.py").write_text(greedy)
    start = f"import os, signal, sys; sys.path.insert(0, {str(tmp_path)!r}); from m1eval import early\n"
    start += "signal.signal(signal.SIGINT, early._leave); assert early.watch()\n"
    codes = []
    for code in ("import greedy; print('went on')", f"{interrupt}; signal.pause()"):
        done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)
        codes.append((done.returncode, done.stdout, done.stderr.splitlines()[-1:]))
    assert codes == [(130, "", [early.MESSAGE]), (-signal.SIGINT, "", ["KeyboardInterrupt"])]


def test_after_the_last_line_of_the_output(tmp_path):
    """No traceback, whether the signal still comes in time or not."""
    command = [sys.executable, "-m", "m1eval", "tasks"]
    for _ in range(3):
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            assert run.stdout is not None
            assert run.stderr is not None
            for line in run.stdout:
                if b" groups" in line:
                    run.send_signal(signal.SIGINT)
            assert run.stderr.read() in (b"", early.MESSAGE.encode() + b"\n")
        assert run.returncode in {0, 130, -signal.SIGINT}


def test_a_program_that_imports_the_package_keeps_its_own_interrupts():
    for argv in ("['-c']", "['x/m1eval']", "['-m']"):
        code = f"import sys, signal; sys.argv = {argv}; import m1eval.cli.main\n"
        code += "print(signal.getsignal(signal.SIGINT).__name__)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "default_int_handler\n"
