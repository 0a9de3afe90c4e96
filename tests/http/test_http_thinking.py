"""Thinking in any form, from the server's reply to the grade, and budgets that follow the form."""

import json
from typing import Any

import pytest

from m1eval import RunnerError, Sampling, UsageError
from m1eval.model.thinking import KNOWN, Form
from tests.conftest import lines, run_of, write
from tests.http.conftest import Loopback, ReceivedRequest, Reply, answer, ask, question, streamed

FORMS = {form.name: form for form in KNOWN}


def replies(form: Form) -> dict[str, tuple[str, str, str]]:
    """Replies by kind: text, finish_reason and expected outcome; the target is 12."""
    close = form.force or form.close
    return {
        "whole": (f"{form.open}Is it 7?{close}\n12", "stop", "right"),
        "wrong": (f"{form.open}12{close}\n7", "stop", "wrong"),
        "cut in the thinking": (f"{form.open}12", "length", "truncated"),
        "cut after the thinking": (f"{form.open}12{close}", "length", "truncated"),
        "ended in the thinking": (f"{form.open}12", "stop", "truncated"),
        "not thinking": ("12", "stop", "right"),
    }


def graded(m1eval: Any, server: Loopback, folder: Any, cases: dict[str, tuple[str, str, str]], *more: Any) -> None:
    """Run a task whose samples get these replies, and check each outcome."""
    task = write(
        folder / "t.yaml",
        """
        title: T
        dataset: {file: t.jsonl}
        id: '{{ q }}'
        prompt: '{{ q }}'
        target: '12'
        scorer: exact
        """,
    )
    (folder / "t.jsonl").write_text("".join(json.dumps({"q": name}) + "\n" for name in cases))

    def reply(request: ReceivedRequest) -> Reply:
        text, finish, _ = cases[request.body["messages"][0]["content"]]
        if request.body.get("stream"):
            return streamed(text)
        return answer(text, finish)

    server.script = reply
    where = ("--model", "http:m", "--base-url", server.url, "--out", folder / "run")
    result = m1eval("run", "--tasks", task, *where, "-o", "stream=no", *more, "--json")
    assert result.code == 0, result.err
    assert {record["id"]: record["outcome"] for record in lines(run_of(folder / "run") / "samples.jsonl")} == {
        name: outcome for name, (_, _, outcome) in cases.items()
    }


def test_every_form_gets_the_right_grade(server: Loopback, m1eval: Any, tmp_path: Any) -> None:
    cases = {f"{name}, {kind}": reply for name, form in FORMS.items() for kind, reply in replies(form).items()}
    assert len(cases) > 200
    graded(m1eval, server, tmp_path, cases)


def test_custom_tags_are_an_option_and_recorded_in_the_run(server: Loopback, m1eval: Any, tmp_path: Any) -> None:
    cases = replies(Form("own", "<my_draft>", "</my_draft>")) | {
        "a known form is content": ("<thought>12</thought>", "stop", "wrong")
    }
    graded(m1eval, server, tmp_path, cases, "-o", "think_tags=<my_draft>,</my_draft>")
    config = json.loads((run_of(tmp_path / "run") / "run.json").read_text())["config"]
    assert config["runner"] == {"think_tags": "<my_draft>,</my_draft>"}


def test_a_profile_determines_the_form_of_thinking(server: Loopback, m1eval: Any, tmp_path: Any) -> None:
    cases = replies(FORMS["harmony"]) | {"stripped": ("final12", "stop", "right")}
    graded(m1eval, server, tmp_path, cases, "--profile", "gpt_oss")


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize(
    ("content", "finish", "expected"),
    [
        ("12", "stop", ("12", False)),
        (None, "stop", ("", False)),  # all of it is thinking to the server, and a draft is never graded
        (None, "length", ("", True)),
        ("It is 12: <reasoning>x</reasoning>", "stop", ("It is 12: <reasoning>x</reasoning>", False)),
        ("<think>Is it 7?</think>12", "stop", ("12", False)),
        ("<thought>Is it 7?</thought>\n12", "stop", ("12", False)),
        ("</think>\n\n12", "stop", ("12", False)),
        ("<|channel|>final<|message|>12<|return|>", "stop", ("12", False)),
        ("<thi", "length", ("", True)),
    ],
)
def test_the_reasoning_field_wins_and_what_is_left_is_the_answer(
    server: Loopback, field: str, content: str | None, finish: str, expected: tuple[str, bool]
) -> None:
    output = ask(server.reply(answer(content, finish, **{field: "7, or"})))
    assert (output.text, output.unfinished_thinking) == expected
    assert output.reasoning.startswith("7, or")


def rendering(tail: str, first: str, asked_for: list[str]) -> Any:
    """A server like llama.cpp's: the first completion is truncated, the second answers."""

    def reply(request: ReceivedRequest) -> Reply:
        if request.path == "/apply-template":
            return Reply({"prompt": f"<user>2+2?<assistant>{tail}"})
        asked_for.append(request.body["prompt"])
        text, finish = (first, "length") if len(asked_for) == 1 else ("12", "stop")
        counts = {"prompt_tokens": 9, "completion_tokens": request.body["max_tokens"] if finish == "length" else 3}
        return Reply({"choices": [{"text": text, "finish_reason": finish}], "usage": counts})

    return reply


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("name", ["think", "seed:think", "magistral", "kimi", "cohere", "gemma4", "harmony", "solar"])
def test_a_budget_ends_the_thinking_of_the_form_in_use(server: Loopback, name: str, opened: bool) -> None:
    form, prompts = FORMS[name], list[str]()
    server.script = rendering(form.open if opened else "", "Is it 7?" if opened else f"{form.open}Is it 7?", prompts)
    output = ask(server, question(think_budget=20, sampling=Sampling(max_tokens=100)))
    assert prompts[1] == f"<user>2+2?<assistant>{form.open}Is it 7?{form.forced_end}"
    assert (output.text, output.metadata["thinking"]["forced"]) == ("12", True)
    assert output.reasoning.startswith("Is it 7?")


def test_a_budget_of_nothing_leaves_the_named_form_empty(server: Loopback) -> None:
    prompts = ["not the first"]
    server.script = rendering("", "never", prompts)
    few = question(think_budget=0, sampling=Sampling(max_tokens=100))
    output = ask(server, few, think_tags="seed:think")
    assert prompts[1] == "<user>2+2?<assistant><seed:think>\n\n</seed:think>\n\n"
    assert (output.text, output.reasoning) == ("12", "")


def test_a_closing_text_of_another_form_is_refused(server: Loopback) -> None:
    with pytest.raises(UsageError, match="think_end must contain </seed:think>"):
        ask(server, think_tags="seed:think", think_end="Enough.</think>")
    server.script = rendering("<seed:think>", "Is it 7?", [])
    with pytest.raises(RunnerError, match="think_end must contain </seed:think>, which ends this model's thinking"):
        ask(server, question(think_budget=20, sampling=Sampling(max_tokens=100)), think_end="Enough.</think>")
