"""The same command again continues a run: nothing finished is asked again, and other settings are refused."""

import json

import pytest

from m1eval.store.prompts import read_prompts
from tests.conftest import lines, run_of, write
from tests.run.test_run import expected, keys


def test_the_same_command_again_asks_nothing(m1eval, capitals, tmp_path):
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    first = m1eval(*command)
    before = (run_of(tmp_path / "x") / "samples.jsonl").read_bytes()
    again = m1eval(*command)
    assert again.json() == first.json()
    assert (run_of(tmp_path / "x") / "samples.jsonl").read_bytes() == before


def test_errored_samples_are_tried_again_and_never_doubled(shell, capitals, tmp_path):
    write(
        tmp_path / "runners" / "flaky.py",
        """
        import pathlib
        from m1eval import Output

        class Runner:
            def __init__(self, model):
                self.calls = 0

            async def generate(self, request):
                self.calls += 1
                if self.calls % 3 == 0:
                    raise ValueError("every third request fails")
                return Output(text=request.sample.gold)

            async def aclose(self):
                pathlib.Path("calls").write_text(str(self.calls))
        """,
    )
    command = ("run", "--tasks", capitals, "--model", "flaky:x", "--out", "x", "--json")
    owed = 12
    for _ in range(4):
        result = shell(*command)
        assert int((tmp_path / "calls").read_text()) == owed
        run = result.json()["runs"][0]
        errored = owed // 3
        assert (run["outcomes"]["right"], run["outcomes"]["errored"]) == (12 - errored, errored)
        assert (run["score"], result.code) == (1.0, 3 if errored else 0)
        assert keys(tmp_path / "x") == expected(12, 1)
        owed = errored
    errors = [line["error"] for line in lines(run_of(tmp_path / "x") / "samples.jsonl") if line["outcome"] == "errored"]
    assert errors == []


def test_repeats_and_limit_grow_and_keep_what_is_there(m1eval, capitals, tmp_path):
    base = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    m1eval(*base, "--limit", 4)
    first = lines(run_of(tmp_path / "x") / "samples.jsonl")
    m1eval(*base, "--limit", 8, "--repeats", 2)
    m1eval(*base, "--repeats", 2)
    assert keys(tmp_path / "x") == expected(12, 2)
    assert lines(run_of(tmp_path / "x") / "samples.jsonl")[: len(first)] == first
    result = m1eval(*base)
    assert result.code == 2
    assert "was made with other settings (repeats: 2, now 1); a run can grow, not shrink" in result.err
    assert keys(tmp_path / "x") == expected(12, 2)


def test_a_task_with_stop_strings_continues(m1eval, capitals, tmp_path):
    capitals.write_text(capitals.read_text() + "generation: {stop: ['###', END]}\n")
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    assert m1eval(*command, "--limit", 4).code == 0
    assert m1eval(*command).code == 0
    assert keys(tmp_path / "x") == expected(12, 1)
    assert "generation.stop" in m1eval(*command, "--set", "generation.stop=['###']").err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--set", "generation.temperature=0.5"), "generation.temperature: not set, now 0.5"),
        (("--seed", "1"), "seed: 0, now 1"),
        (("-o", "window=99"), "runner.window: not set, now 99"),
        (("--set", "prompt=other"), "prompt: What is the capital of {{ country }}?, now other"),
    ],
)
def test_another_configuration_is_refused_by_name(m1eval, capitals, tmp_path, change, words):
    base = ("run", "--tasks", capitals, "--out", tmp_path / "x", "--model", "echo:gold")
    m1eval(*base)
    before = (run_of(tmp_path / "x") / "samples.jsonl").read_bytes()
    result = m1eval(*base, *change)
    assert result.code == 2
    assert f"was made with other settings ({words}); --out elsewhere, or --redo" in result.err
    assert result.err.count("\n") == 1
    assert (run_of(tmp_path / "x") / "samples.jsonl").read_bytes() == before
    assert m1eval(*base, *change, "--redo").code == 0


def test_other_data_or_another_scorer_is_refused(shell, capitals, tmp_path):
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", "x")
    shell(*command)
    data = tmp_path / "capitals.jsonl"
    data.write_text(data.read_text().replace("Paris", "Lyon"))
    result = shell(*command)
    assert result.code == 2
    assert "(data file: " in result.err


def test_what_does_not_matter_may_change(m1eval, capitals, tmp_path):
    base = ("run", "--tasks", capitals, "--out", tmp_path / "x", "--model", "echo:gold")
    m1eval(*base)
    capitals.write_text(
        capitals.read_text().replace("title: Capitals", "# a remark\ntitle: Capital cities\ntags: [geo]")
    )
    assert m1eval(*base, "-o", "latency=0.001", "--concurrency", 3).code == 0


def test_the_folder_of_another_task(m1eval, capitals, tmp_path):
    m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    run_folder = run_of(tmp_path / "x")
    for tasks in ("needle", f"needle,{capitals}"):
        result = m1eval("run", "--tasks", tasks, "--model", "echo:gold", "--limit", 1, "--out", run_folder)
        assert (result.code, "is itself the folder of a run (capitals with echo:gold)" in result.err) == (2, True)
    strange = tmp_path / "y" / "capitals" / "gold"
    strange.mkdir(parents=True)
    (strange / "samples.jsonl").write_text("{}\n")
    result = m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "y")
    assert (result.code, "holds samples.jsonl without run.json" in result.err) == (2, True)


def test_answers_in_a_torn_end_or_line_are_asked_again(m1eval, capitals, tmp_path):
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x", "--display", "none")
    m1eval(*command)
    journal = run_of(tmp_path / "x") / "samples.jsonl"
    whole = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*whole[:3], b'{"id": "capi\n', *whole[4:11], whole[11][:40]]))
    prompts = run_of(tmp_path / "x") / "prompts.zst"
    prompts.write_bytes(prompts.read_bytes()[:-5])
    result = m1eval(*command)
    assert result.code == 0
    assert keys(tmp_path / "x") == expected(12, 1)
    assert "samples.jsonl:4: torn line; its sample is run again" in result.out
    assert "samples.jsonl:12: torn line; its sample is run again" in result.out
    assert sorted(row["id"] for row in read_prompts(prompts)) == sorted(name for name, _ in expected(12, 1))


def test_continuing_a_finished_run_changes_nothing_of_what_it_says(m1eval, capitals, tmp_path):
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    m1eval(*command, "-o", "latency=0.2", "--limit", 4)
    before = (run_of(tmp_path / "x") / "run.json").read_bytes()
    m1eval(*command, "--limit", 4)
    assert (run_of(tmp_path / "x") / "run.json").read_bytes() == before
    first = json.loads(before)
    m1eval(*command, "-o", "latency=0.2")
    then = json.loads((run_of(tmp_path / "x") / "run.json").read_text())
    assert then["created"] == first["created"]
    assert then["seconds"] > first["seconds"] >= 0.2, "the time of all commands is added up"
    assert then["summary"]["samples"] == 12
