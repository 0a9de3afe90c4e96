"""A run: what is requested and written, how interruptions end it, and that nothing finished is lost."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from m1eval.store.prompts import read_prompts
from tests.conftest import GONE, lines, run_of, write


def keys(path: Path) -> Counter[tuple[str, int]]:
    return Counter((line["id"], line["repeat"]) for line in lines(path / "samples.jsonl"))


def expected(samples: int, repeats: int) -> Counter[tuple[str, int]]:
    return Counter((f"capitals-{i:02d}", r) for i in range(1, samples + 1) for r in range(repeats))


def test_every_sample_and_repeat_is_written_once(m1eval, capitals, tmp_path):
    result = m1eval(
        "run", "--tasks", capitals, "--model", "echo:gold", "--repeats", 3, "--out", tmp_path / "x", "--json"
    )
    assert result.code == 0
    assert keys(tmp_path / "x") == expected(12, 3)
    run = result.json()["runs"][0]
    assert (run["score"], run["samples"], run["repeats"], run["partial"]) == (1.0, 12, 3, False)
    assert run["outcomes"]["right"] == 36
    seeds = [line["seed"] for line in lines(run_of(tmp_path / "x") / "samples.jsonl")]
    assert len(set(seeds)) == 36, "every repeat has its own seed"


@pytest.mark.parametrize(
    ("script", "outcome"),
    [("gold", "right"), ("wrong", "wrong"), ("truncated", "truncated"), ("garbled", "wrong"), ("error", "errored")],
)
def test_echo_answers_by_script(m1eval, capitals, tmp_path, script, outcome):
    result = m1eval("run", "--tasks", capitals, "--model", f"echo:{script}", "--out", tmp_path / "x", "--json")
    run = result.json()["runs"][0]
    assert run["outcomes"][outcome] == 12
    assert run["score"] == {"gold": 1.0, "error": None}.get(script, 0.0)
    assert result.code == (3 if script == "error" else 0)


def test_a_truncated_draft_is_kept_and_not_graded(m1eval, capitals, tmp_path):
    m1eval("run", "--tasks", capitals, "--model", "echo:truncated", "--out", tmp_path / "x")
    line = lines(run_of(tmp_path / "x") / "samples.jsonl")[0]
    assert (line["outcome"], line.get("answer"), line.get("text", "")) == ("truncated", None, "")
    assert line["target"] in line["reasoning"], "the draft holds the right answer"


def test_a_prompt_longer_than_the_window_is_an_outcome(m1eval, capitals, tmp_path):
    result = m1eval(
        "run", "--tasks", capitals, "--model", "echo:gold", "-o", "window=11", "--out", tmp_path / "x", "--json"
    )
    outcomes = result.json()["runs"][0]["outcomes"]
    assert outcomes["refused_context"] + outcomes["right"] == 12
    assert outcomes["refused_context"] > 0
    refused = [line for line in lines(run_of(tmp_path / "x") / "samples.jsonl") if line["outcome"] == "refused_context"]
    assert re.match(r"prompt has \d+ tokens, the window is 11", refused[0]["error"])


def test_prompts_are_kept_once_and_long_ones_as_a_hash(m1eval, tmp_path):
    rows = [{"text": "short"}, {"text": "long " * 100_000}]
    write(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    task = write(
        tmp_path / "t.yaml", "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ text }}'\ntarget: x\nscorer: exact\n"
    )
    m1eval("run", "--tasks", task, "--model", "echo:gold", "--repeats", 3, "--out", tmp_path / "x")
    short, long = read_prompts(run_of(tmp_path / "x") / "prompts.zst")
    assert short["messages"] == [{"role": "user", "content": "short"}]
    assert "messages" not in long
    assert (long["bytes"] > 500_000, len(long["sha256"])) == (True, 64)
    assert (run_of(tmp_path / "x") / "prompts.zst").stat().st_size < 1000


def test_a_second_run_in_a_folder_that_is_in_use_is_refused(shell, capitals, tmp_path):
    command = [sys.executable, "-m", "m1eval", "run", "--tasks", str(capitals), "--model", "echo:gold", "--out", "x"]
    first = subprocess.Popen([*command, "-o", "latency=600"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: any(tmp_path.rglob("run.json")))
        result = shell(*command[3:])
        words = "Error: x/capitals/gold is being written by another run; wait, or --out elsewhere\n"
        assert (result.code, result.err) == (2, words)
    finally:
        first.kill()  # it holds the folder until then, however slow the machine is
        first.wait()
    assert shell(*command[3:]).code == 0
    assert keys(tmp_path / "x") == expected(12, 1)


def test_kill_9_at_any_time_loses_and_doubles_nothing(tmp_path, capitals, shell):
    command = [
        sys.executable,
        "-m",
        "m1eval",
        "run",
        "--tasks",
        str(capitals),
        "--model",
        "echo:gold",
        "--repeats",
        "5",
    ]
    command += ["-o", "latency=0.05", "--concurrency", "2", "--out", "x", "--display", "none"]
    for kept in (5, 20, 35):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        _wait(lambda n=kept, running=process: _count(tmp_path / "x") >= n or running.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 35 <= _count(tmp_path / "x") < 60
    assert shell(*command[3:]).code == 0
    assert keys(tmp_path / "x") == expected(12, 5)


def test_ctrl_c_drains_and_the_same_command_continues(tmp_path, capitals, shell):
    command = [sys.executable, "-m", "m1eval", "run", "--tasks", str(capitals), "--model", "echo:gold"]
    command += ["--concurrency", "4", "--out", "x", "-o"]
    process = subprocess.Popen(
        [*command, "latency=3"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait(lambda: _count(tmp_path / "x") >= 4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted; the same command continues" in err
    assert "capitals" in out
    assert _count(tmp_path / "x") == 8, "what was in flight is finished, nothing new is begun"
    assert shell(*command[3:], "latency=0").code == 0
    assert keys(tmp_path / "x") == expected(12, 1)


def test_a_second_ctrl_c_ends_without_waiting(tmp_path, capitals):
    write(
        tmp_path / "runners" / "patient.py",
        """
        import asyncio
        from pathlib import Path

        class Runner:
            def __init__(self, model):
                pass

            async def generate(self, request):
                Path("asked").touch()
                await asyncio.Event().wait()

            async def aclose(self):
                pass
        """,
    )
    command = [sys.executable, "-m", "m1eval", "run", "--tasks", str(capitals), "--model", "patient:x", "--out", "x"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    assert process.stderr.readline().startswith("capitals 0/12")
    _wait((tmp_path / "asked").exists)
    process.send_signal(signal.SIGINT)
    time.sleep(1)  # that it does not end can only be seen by waiting
    assert process.poll() is None, "the first one waits for what is in flight"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, "interrupted" in err, "Traceback" in err) == (130, True, False)


def test_a_full_disk_stops_the_run_and_keeps_whole_lines(tmp_path):
    """A limit on the size of files makes the kernel refuse the write, half-way through a line."""
    rows = "".join(json.dumps({"text": f"{i} " + "word " * 800}) + "\n" for i in range(40))
    write(tmp_path / "t.jsonl", rows)
    task = write(
        tmp_path / "t.yaml", "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ text }}'\ntarget: x\nscorer: exact\n"
    )
    command = [sys.executable, "-m", "m1eval", "run", "--tasks", str(task), "--model", "echo", "--out", "x"]
    small = 50_000
    full = subprocess.run(
        [*command, "--concurrency", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small)),
    )
    assert full.returncode == 3, full.stderr
    assert "samples.jsonl: File too large; what is finished is kept" in full.stderr
    assert "Traceback" not in full.stderr
    records = lines(run_of(tmp_path / "x") / "samples.jsonl")
    assert 5 < len(records) < 40
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False).returncode == 0
    after = lines(run_of(tmp_path / "x") / "samples.jsonl")
    assert after[: len(records)] == records
    assert len({line["id"] for line in after}) == len(after) == 40


def test_a_folder_that_cannot_be_written(m1eval, capitals, tmp_path):
    (tmp_path / "file").write_text("")
    result = m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "file" / "x")
    assert result.code == 2
    assert "cannot be written: Not a directory; --out another folder" in result.err
    assert m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "file").code == 2


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_to_write(m1eval, capitals, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    denied = m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "closed" / "x")
    assert (denied.code, "Permission denied" in denied.err) == (2, True)


def test_a_runner_that_fails_at_all_ends_the_run_with_one_line(shell, capitals, tmp_path):
    write(tmp_path / "runners" / "gone.py", GONE)
    result = shell("run", "--tasks", capitals, "--model", "gone:x", "--out", "x", "--display", "none")
    assert (result.code, result.err) == (4, "Error: the server is gone; start it again\n")
    assert _count(tmp_path / "x") == 3
    assert shell("run", "--tasks", capitals, "--model", "gone:x", "--out", "x", "--display", "none").code == 4
    assert _count(tmp_path / "x") == 6


def test_an_episode_asks_as_often_as_it_likes(m1eval, tmp_path):
    write(
        tmp_path / "_twice.py",
        """
        from m1eval import Request

        async def run(sample, runner, context):
            first = await runner.generate(Request(messages=sample.messages))
            more = [{"role": "assistant", "content": first.text}, {"role": "user", "content": "Sure?"}]
            return await runner.generate(Request(messages=[*sample.messages, *more]))
        """,
    )
    write(tmp_path / "t.jsonl", '{"q": "a"}\n')
    task = write(
        tmp_path / "t.yaml",
        "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: Sure?\nscorer: exact\nepisode: _twice.run\n",
    )
    result = m1eval("run", "--tasks", task, "--model", "echo", "--out", tmp_path / "x", "--json")
    assert result.json()["runs"][0]["score"] == 1.0


def test_run_json_says_what_was_run(m1eval, capitals, tmp_path):
    m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--seed", 3, "--out", tmp_path / "x")
    meta = json.loads((run_of(tmp_path / "x") / "run.json").read_text())
    assert meta["config"]["seed"] == 3
    assert meta["config"]["task"]["prompt"] == "What is the capital of {{ country }}?"
    assert set(meta["config"]["digests"]) == {"scorer", "scorer _columns.py", "scorer _unicode.py", "data"}
    assert {"command", "versions", "git", "hardware", "created", "finished", "summary", "files", "runner"} <= set(meta)
    assert meta["summary"]["score"] == 1.0


def _count(path: Path) -> int:
    journal = run_of(path) / "samples.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def _wait(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def test_odd_outputs_and_scores_do_not_end_a_run(shell, capitals, tmp_path):
    write(
        tmp_path / "runners" / "odd.py",
        r"""
        from m1eval import Output

        class Runner:
            def __init__(self, model):
                pass

            async def generate(self, request):
                return Output(text="half \ud83d a character", tool_calls=[{"made of": object}])

            async def aclose(self):
                pass
        """,
    )
    write(
        tmp_path / "scorers" / "exact.py",
        """
        from m1eval import Score

        class Scorer:
            async def score(self, output, sample, context):
                value = {"Paris": float("nan"), "Rome": 7.0}.get(sample.target, 0.5)
                return Score(value=value, answer="x", metrics={"a": float("inf"), "b": 1.0})
        """,
    )
    result = shell("run", "--tasks", capitals, "--model", "odd:x", "--out", "x", "--json")
    run = result.json()["runs"][0]
    assert (run["outcomes"]["partial"], run["outcomes"]["errored"], result.code) == (10, 2, 3)
    read = {line["target"]: line for line in lines(run_of(tmp_path / "x") / "samples.jsonl")}
    assert read["Lima"]["text"] == "half ? a character"
    assert read["Lima"]["metrics"] == {"b": 1.0}
    assert read["Paris"]["error"] == "ValueError: scorers/exact.py: the scorer gave nan, which is not in [0, 1]"
    assert (run_of(tmp_path / "x") / "samples.parquet").exists()


def test_keys_never_reach_the_disk(shell, capitals, tmp_path):
    options = ("-o", 'headers={"x-key": "s3cret-header"}', "-o", "retries=0", "-o", "connect_timeout=1")
    shell(
        *("run", "--tasks", capitals, "--model", "http:m", "--base-url", "http://me:s3cret-login@127.0.0.1:9/v1"),
        *(*options, "--out", "x"),
        env={"OPENAI_API_KEY": "s3cret-key"},
    )
    shell("run", "--tasks", capitals, "--model", "echo:gold", "--out", "y", env={"OPENAI_API_KEY": "s3cret-key"})
    written = [path for path in (*tmp_path.glob("x/**/*"), *tmp_path.glob("y/**/*")) if path.is_file()]
    assert run_of(tmp_path / "y") / "run.json" in written
    for path in written:
        assert b"s3cret" not in path.read_bytes(), path


@pytest.mark.parametrize("odd", ["raise SystemExit(0)", "raise asyncio.CancelledError", "sys.exit('gone')"])
def test_a_runner_that_ends_by_itself_ends_only_its_sample(shell, capitals, tmp_path, odd):
    write(
        tmp_path / "runners" / "odd.py",
        "import asyncio\nimport sys\nfrom m1eval import Output\nclass Runner:\n    asked = 0\n"
        "    def __init__(self, model): ...\n    async def generate(self, request):\n        self.asked += 1\n"
        f"        if self.asked == 4:\n            {odd}\n        return Output(text=request.sample.gold)\n"
        "    async def aclose(self): ...\n",
    )
    result = shell("run", "--tasks", capitals, "--model", "odd:x", "-j", "1", "--out", "x", "--json")
    (run,) = result.json()["runs"]
    assert (result.code, run["answers"], run["outcomes"]["errored"], run["finished"]) == (3, 11, 1, True)
    assert len(lines(tmp_path / "x" / "samples.jsonl")) == 12
