"""`--redo` replaces a run: the earlier one is kept until the new one has answers, whatever ends the command."""

import json
import shutil
import subprocess
import sys
import time

import pytest

from benchmarks.crash import redo
from m1eval.store import folder as folders
from tests.conftest import lines, run_of, write
from tests.http.conftest import Reply
from tests.serving import Closed
from tests.store.run_folders import file_contents, folder_of, run_command


def test_redo_replaces_a_run(m1eval, capitals, tmp_path):
    m1eval(*run_command(capitals, tmp_path / "x"))
    before = file_contents(folder_of(tmp_path / "x"))
    result = m1eval(*run_command(capitals, tmp_path / "x", "--redo", "--repeats", 2))
    assert (result.code, len(lines(folder_of(tmp_path / "x") / "samples.jsonl"))) == (0, 24)
    assert not folders.aside_path(folder_of(tmp_path / "x")).exists()
    assert set(file_contents(folder_of(tmp_path / "x"))) == set(before)


def test_redo_of_a_server_that_does_not_answer_changes_nothing(m1eval, server, capitals, tmp_path):
    shutil.copy(capitals, tmp_path / "b.yaml")
    command = ("run", "--model", "http:m", "--out", tmp_path / "x", "--display", "none")
    both = ("--tasks", f"{capitals},{tmp_path / 'b.yaml'}")
    server.reply(Reply({"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}]}))
    assert m1eval(*command, *both, "--base-url", server.url).code == 0
    runs = [tmp_path / "x" / name / "m" for name in ("capitals", "b")]
    before = [file_contents(run) for run in runs]
    shutil.copy(capitals, tmp_path / "new.yaml")
    with Closed() as port:
        closed = ("--base-url", f"http://127.0.0.1:{port}/v1", "-o", "patience=0", "--redo")
        assert m1eval(*command, *both, *closed).code == 4
        assert m1eval(*command, "--tasks", tmp_path / "new.yaml", *closed).code == 4
    assert [file_contents(run) for run in runs] == before
    assert sorted((tmp_path / "x").rglob("*/")) == sorted({each for run in runs for each in (run.parent, run)})


def test_redo_with_errors_alone_leaves_the_earlier_run(m1eval, capitals, tmp_path):
    runner = write(
        tmp_path / "moody.py",
        """
        from m1eval import Output

        class Runner:
            def __init__(self, model, *, fails=False):
                self.fails = fails

            async def generate(self, request):
                if self.fails:
                    raise ValueError("not today")
                return Output(text=request.sample.gold)

            async def aclose(self):
                pass
        """,
    )
    command = ("run", "--tasks", capitals, "--model", f"{runner}:gold", "--out", tmp_path / "x", "--display", "none")
    assert m1eval(*command).code == 0
    before = file_contents(folder_of(tmp_path / "x"))
    result = m1eval(*command, "-o", "fails=true", "--redo")
    assert (result.code, "the earlier run is back in place" in result.out) == (3, True)
    assert file_contents(folder_of(tmp_path / "x")) == before


def test_what_a_redo_with_errors_alone_took_is_kept_with_the_earlier_run(m1eval, capitals, tmp_path):
    runner = """
        from m1eval import Output, Usage

        class Broken(RuntimeError):
            usage = Usage(prompt=10, answer=90, cost=0.25)

        class Runner:
            def __init__(self, model: str): ...

            async def generate(self, request):
                if (FLAG).exists():
                    raise Broken("it broke")
                return Output(text=request.sample.gold, usage=Usage(prompt=10, answer=1, cost=0.01))

            async def aclose(self): ...
    """
    flag = f"__import__('pathlib').Path({str(tmp_path / 'broken')!r})"
    file = write(tmp_path / "mine.py", runner.replace("FLAG", flag))
    command = ("run", "--tasks", capitals, "--model", f"{file}:m", "--out", tmp_path / "x", "--display", "none")
    assert m1eval(*command).code == 0
    run = run_of(tmp_path / "x")
    before = file_contents(run)
    (tmp_path / "broken").touch()
    result = m1eval(*command, "--redo")
    assert (result.code, "the earlier run is back in place" in result.out) == (3, True), result.err
    known, now = json.loads(before["run.json"]), json.loads((run / "run.json").read_text())
    gone = now.pop("superseded")
    assert (gone["prompt"], gone["answer"], gone["cost"]) == (120, 1080, pytest.approx(3))
    assert now == known
    assert {**file_contents(run), "run.json": b""} == {**before, "run.json": b""}
    (tmp_path / "broken").unlink()
    limited = m1eval(*command, "--repeats", 2, "--max-tokens-total", 1300)
    assert "stopped by --max-tokens-total 1300: 1,332 tokens used" in limited.err


@pytest.mark.parametrize("answered", [False, True])
def test_a_kill_at_any_step_of_redo_is_put_right_by_the_next_command(tmp_path, answered):
    """Each system call that changes a folder is made the last one in turn, as a kill would."""
    script = """
        import os, sys
        from pathlib import Path
        from m1eval.store import files, folder
        left = int(sys.argv[3])
        def counted(call):
            def count(*args, **kwargs):
                global left
                if left == 0:
                    os._exit(9)
                left -= 1
                return call(*args, **kwargs)
            return count
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        run = Path(sys.argv[1])
        with files.locked(run / "samples.jsonl"):
            folder.move_aside(run)
            (run / "samples.jsonl").write_text(sys.argv[2])
            (run / "run.json").write_text("new")
            folder.drop_aside(run) if sys.argv[2] else folder.put_back(run)
        print("done")
    """
    file = write(tmp_path / "redo.py", script)
    line = '{"id":"a","repeat":0,"outcome":"right","value":1.0}\n' if answered else ""
    old = {"samples.jsonl": b"old", "run.json": b"old", "prompts.zst": b"old", "samples.parquet": b"old"}
    new = {"samples.jsonl": line.encode(), "run.json": b"new"}
    for last in range(40):
        run = tmp_path / f"r{last}"
        run.mkdir()
        for name, content in old.items():
            (run / name).write_bytes(content)
        done = subprocess.run([sys.executable, file, run, line, str(last)], capture_output=True, text=True, check=False)
        while folders.aside_path(run).exists():
            folders.recover(run)
        state = file_contents(run)
        assert state == old or (answered and state == new), (last, state)
        if done.stdout:
            break
    else:
        pytest.fail("it never came to its end")
    assert (state == new) is answered


def test_kills_of_redo_leave_the_earlier_run_or_a_new_one_with_answers(tmp_path):
    redone = redo(tmp_path, samples=12, kills=2, places=3, latency=0.05, seed=int(time.time()))
    assert (redone.lost, redone.back + redone.begun) == (0, 2)
