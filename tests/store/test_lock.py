"""One command at a time in a folder: the lock of a run."""

import os
import subprocess
import sys
from typing import Any

from benchmarks.crash import starts
from m1eval.store import files
from tests.conftest import write


def test_of_many_commands_at_once_one_runs(tmp_path):
    codes, requests = starts(tmp_path, 5, 4)
    assert (codes, requests) == ([0, 2, 2, 2], 5)


def test_fifty_times_two_commands_at_once_in_one_folder(tmp_path):
    """Each of two processes takes the folder as a run does; exactly one may, however they meet."""
    script = """
        import sys
        from pathlib import Path
        from m1eval.errors import UsageError
        from m1eval.store.journal import Journal
        for n in range(50):
            sys.stdin.readline()
            try:
                journal = Journal(Path(sys.argv[1]) / str(n))
                print("took", flush=True)
            except UsageError:
                journal = None
                print("refused", flush=True)
            sys.stdin.readline()
            if journal:
                journal.discard()
            print("left", flush=True)
    """
    file = write(tmp_path / "take.py", script)
    pair = [
        subprocess.Popen([sys.executable, file, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = []
    for _ in range(50):
        for part in ("take", "leave"):
            for each in pair:
                assert each.stdin is not None
                each.stdin.write("\n")
                each.stdin.flush()
            answers = [each.stdout.readline().strip() for each in pair if each.stdout]
            if part == "take":
                outputs.append(sorted(answers))
    for each in pair:
        each.communicate()
    assert outputs == [["refused", "took"]] * 50


def test_a_lock_on_a_file_that_is_gone_does_not_count(tmp_path, monkeypatch):
    path = tmp_path / "samples.jsonl"
    first = files.locked(path)
    opened = os.open

    def late(*args: Any) -> int:  # the other run ends, and takes its empty journal away, between open and lock
        number = opened(*args)
        monkeypatch.setattr(os, "open", opened)
        path.unlink()
        first.close()
        return number

    monkeypatch.setattr(os, "open", late)
    with files.locked(path) as file:
        assert files.is_at(file, path)
