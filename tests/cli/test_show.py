"""`m1eval show`: answers as a reader wants them, and as JSON lines."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result, lines, run_of, write


@pytest.fixture
def folder(m1eval: Callable[..., Result], tmp_path: Path) -> Path:
    """A run with a right, a wrong and an errored answer."""
    write(
        tmp_path / "said.py",
        """
        import m1eval
        from m1eval import Output, Usage

        class Runner(m1eval.Runner):
            def __init__(self, model): ...

            async def generate(self, request):
                text = request.messages[-1]["content"]
                if text.startswith("fails"):
                    raise RuntimeError("the server said no")
                return Output(text=text.split()[0], reasoning="secret thoughts", usage=Usage(prompt=1200, answer=3))
        """,
    )
    questions = ["yes or no?", "no " + "very " * 400 + "long?", "fails"]
    write(tmp_path / "t.jsonl", "".join(json.dumps({"q": question}) + "\n" for question in questions))
    write(
        tmp_path / "t.yaml",
        'title: T\ndataset: {file: t.jsonl}\nprompt: "{{ q }}"\ntarget: "yes"\nscorer: exact\n',
    )
    m1eval("run", "-t", tmp_path / "t.yaml", "-m", tmp_path / "said.py:m", "--out", tmp_path / "x", "--display=none")
    return run_of(tmp_path / "x")


def test_an_answer_is_shown_with_what_decided(m1eval: Callable[..., Result], folder: Path):
    shown = m1eval("show", folder, "--id", "t-1")
    [record] = [each for each in lines(folder / "samples.jsonl") if each["id"] == "t-1"]
    assert shown.code == 0
    assert shown.out.splitlines()[:5] == [
        f"t-1  repeat 0  right  score 1  ({record['explanation']})",
        "tokens: prompt 1,200, reasoning 0, answer 3",
        "target: yes",
        "answer: yes",
        "prompt: user: yes or no?",
    ]
    assert "reasoning: 15 characters" in shown.out
    assert "secret thoughts" in m1eval("show", folder, "--full").out


def test_outcomes_ids_and_a_limit_choose(m1eval: Callable[..., Result], folder: Path):
    wrong = m1eval("show", folder, "--outcome", "wrong")
    assert wrong.out.startswith("t-2  repeat 0  wrong  score 0")
    assert "characters…]" in wrong.out
    assert "characters…]" not in m1eval("show", folder, "--outcome", "wrong", "--full").out
    assert "error: RuntimeError: the server said no" in m1eval("show", folder, "--outcome", "errored").out
    both = m1eval("show", folder, "--id", "t-1,t-2", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in both] == ["t-1", "t-2"]
    assert len(m1eval("show", folder, "--json", "--limit", 2).out.splitlines()) == 2
    several = m1eval("show", folder, "--outcome", "right,wrong", "--outcome", "right", "--json").out.splitlines()
    assert sorted(json.loads(line)["outcome"] for line in several) == ["right", "wrong"]
    unknown = m1eval("show", folder, "--outcome", "right,rong")
    assert (unknown.code, unknown.err) == (2, "Error: --outcome: unknown outcome 'rong'; did you mean 'wrong'?\n")
    assert m1eval("show", folder, "--ids", "t-1,t-2", "--json").out.splitlines() == both
    none = m1eval("show", folder, "--id", "t-1", "--outcome", "wrong")
    assert (none.code, none.out, none.err) == (0, "", "no answer matches\n")


def test_an_unknown_id_is_an_error_with_the_nearest_one(m1eval: Callable[..., Result], folder: Path):
    close = m1eval("show", folder, "--id", "t-1,t-22")
    assert (close.code, close.out) == (2, "")
    assert close.err == "Error: --id: unknown sample 't-22'; did you mean 't-2'?\n"
    padded = m1eval("show", folder, "--id", "t-01")
    assert padded.err == "Error: --id: unknown sample 't-01'; did you mean 't-1'?\n"
    other = m1eval("show", folder, "--id", "nobody")
    assert (other.code, other.err) == (2, "Error: --id: unknown sample 'nobody'; there are t-1, t-2, t-3\n")


def test_a_folder_of_runs_is_an_error_that_lists_them(m1eval: Callable[..., Result], folder: Path, tmp_path: Path):
    m1eval("run", "-t", tmp_path / "t.yaml", "-m", "echo:gold", "--out", tmp_path / "x", "--display=none")
    result = m1eval("show", tmp_path / "x")
    first, second = tmp_path / "x" / "t" / "gold", folder
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"Error: {tmp_path / 'x'} holds 2 runs: {first}, {second}; name one, as in m1eval show {first}\n"
    )


def test_json_lines_are_records_with_their_prompts(m1eval: Callable[..., Result], folder: Path):
    answers = [json.loads(line) for line in m1eval("show", folder, "--json").out.splitlines()]
    assert [(each["value"], each["messages"][0]["role"]) for each in answers] == [
        (1, "user"),
        (0, "user"),
        (None, "user"),
    ]
    assert {"text", "reasoning", "usage", "digest"} <= set(answers[0])


def test_a_folder_that_is_not_a_run_is_refused(m1eval: Callable[..., Result], tmp_path: Path):
    assert "is not the folder of a run" in m1eval("show", tmp_path).err
    assert m1eval("show", tmp_path).code == 2
