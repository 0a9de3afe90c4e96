"""The split between thinking and answer, case by case; the cases are a file so that others can run them too."""

import gc
import json
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m1eval import Output, Score, classify, split_thinking
from m1eval.model.thinking import DEFAULT, KNOWN, Form, ThinkingFollower, opened_by, parse_forms
from m1eval.model.thinking.forms import FORMS
from m1eval.task import profiles
from tests.conftest import ROOT
from tests.model import thinking_reference as reference

CASES = [json.loads(line) for line in (ROOT / "tests/data/thinking_conformance.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_a_text_is_split_as_its_conformance_case_says(case):
    split = split_thinking(
        case["text"],
        opened=case["opened"],
        truncated=case["truncated"],
        reasoning=case["reasoning"],
        tags=parse_forms(case["tags"]) if "tags" in case else None,
    )
    assert (split.text, split.unfinished) == (case["answer"], case["unfinished"])
    if "thoughts" in case:
        assert split.reasoning == case["thoughts"]
    assert "\\boxed{7}" not in split.text, "a draft must never be graded"


def test_the_cases_cover_what_harnesses_get_wrong():
    names = " ".join(case["case"] for case in CASES)
    for subject in (
        "closed block",
        "closing tag only",
        "truncated",
        "without tag",
        "nested",
        "repeated",
        "plain answer",
    ):
        assert subject in names
    for subject in ("reasoning field", "inline code", "fence", "quoted"):
        assert subject in names
    shown = "".join(case["text"] for case in CASES)
    for form in KNOWN:
        assert form.opens.search(shown), form.name
        assert form.closes.search(shown), form.name


def test_tags_can_be_given():
    split = split_thinking("[THINK]a[/THINK]b", tags=("[THINK]", "[/THINK]"))
    assert split == ("b", "a", False)


def test_a_truncated_draft_is_truncated_whatever_the_grader_says():
    output = Output(text="", unfinished_thinking=True, finish_reason="length")
    assert classify(output, Score(value=1.0, answer="7")) == "truncated"


# Against the rules, followed slowly
SOUP = [
    "<think>",
    "</think>",
    "<think>",
    "</think>",
    "a",
    "\n",
    "`",
    "``",
    "```",
    "~~~",
    "    ",
    " ",
    '"',
    "“",
    "”",
    " b ",
]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(SOUP), max_size=24).map("".join),
    st.sampled_from([None, True, False]),
    st.booleans(),
    st.sampled_from([None, "", "Hm."]),
)
def test_any_text_is_split_as_the_rules_say(text, opened, truncated, reasoning):
    split = split_thinking(text, opened=opened, truncated=truncated, reasoning=reasoning)
    assert split == reference.split(text, opened, truncated, reasoning)
    assert not (split.unfinished and split.text)


@pytest.mark.parametrize("form", KNOWN, ids=lambda form: form.name)
@settings(max_examples=15, deadline=None)
@given(
    parts=st.lists(st.sampled_from([0, 1, "a", "\n", "`", "```", '"', " b ", "<|end|>", "assistant"]), max_size=16),
    truncated=st.booleans(),
    opened=st.sampled_from([None, True, False]),
)
def test_any_text_in_any_form_is_split_without_a_tag_left_in_front(form, parts, truncated, opened):
    text = "".join((form.open, form.close)[part] if isinstance(part, int) else part for part in parts)
    split = split_thinking(text, opened=opened, truncated=truncated)
    assert not (split.unfinished and split.text)
    assert not form.opens.match(split.text)


@given(st.text(max_size=200))
def test_a_plain_answer_is_kept_whole(text):
    if not any(mark in text for form in KNOWN for mark in (form.open, form.close, *form.marks)):
        assert split_thinking(text).text == text


@pytest.mark.parametrize("form", KNOWN, ids=lambda form: form.name)
def test_a_draft_that_is_cut_anywhere_is_never_the_answer(form):
    whole = f"{form.open}draft 7{form.force or form.close}"
    for end in range(1, len(whole) + 1):
        split = split_thinking(whole[:end], opened=False, truncated=True)
        if not (form.open[0].isalpha() and end <= len(form.open) // 2):
            assert split.text == "", whole[:end]
            assert split.unfinished
        within = split_thinking(f"{'draft 7'}{whole[len(form.open) :][:end]}", opened=True, truncated=True, tags=form)
        assert within.unfinished


# What it costs
UNITS = {
    "closing tags": "</think>",
    "opening tags": "<think>",
    "blocks": "<think>a</think>",
    "closing, then opening": "</think><think>",
    "lines of a backtick": "`\n",
    "backticks": "`",
    "code spans": "`a` ",
    "tilde fences": "~~~\n",
    "fences": "```\n",
    "fences with a language": "```a\n",
    "tags in code": "`<think>` ",
    "tags in fences": "```\n<think>\n",
    "closing tags in fences": "```\n</think>\n```\n",
    "quoted tags": '"<think>"',
    "quoted closing tags": '"</think>"',
    "less-than signs": "<",
    "closing beginnings": "</",
    "line breaks": "\n",
    "blanks": " ",
    "cut brackets": "[THINK",
    "brackets": "[THINK]",
    "channels": "<|channel|>analysis<|message|>",
    "channel tokens": "<|channel|>",
    "turns": "<|start|>assistant",
    "ends": "<|end|>",
    "whole turns": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "constraints": "<|constrain|>",
    "stripped turns": "assistantfinal",
    "stripped channels": "assistantanalysis",
    "attributes": "<think a=",
    "long attributes": "<think " + "=" * 300,
    "blanks in tags": "<think" + " " * 20,
    "words": "<thought>",
    "closing words": "</thought>",
    "closing words in prose": " </thought> x",
    "all closing texts": "".join(form.close for form in KNOWN),
    "all opening texts": "".join(form.open for form in KNOWN),
    "details": "<details ",
    "reasoning details": '<details type="reasoning">',
    "closing details": "</details>",
    "phrases": "Here is my thought process:",
    "tags on lines": "\n<think>",
    "tags in lines": "x <think> `</think>`",
}
STARTS = ("", "<thought>", "<|channel|>final<|message|>", '<details type="reasoning">x</details>')


def growing(size: int) -> str:
    """Runs of backticks, each longer than the one before."""
    runs: list[str] = []
    total = 0
    while total < size:
        runs.append("`" * (len(runs) + 1))
        total += len(runs) + 1
    return "a".join(runs)


def text_of(kind: str, size: int) -> str:
    if kind == "growing backticks":
        return growing(size)
    if kind == "nested":
        return "<think>" * (size // 15) + "</think>" * (size // 15)
    return UNITS[kind] * (size // len(UNITS[kind]) + 1)


def seconds(text: str, opened: bool | None, truncated: bool) -> float:
    """The least CPU time of three."""
    times = []
    for _ in range(3):
        begin = time.process_time()
        split_thinking(text, opened=opened, truncated=truncated)
        times.append(time.process_time() - begin)
    return min(times)


@pytest.mark.parametrize("kind", [*UNITS, "growing backticks", "nested"])
def test_four_times_the_text_takes_four_times_the_time(kind):
    """Sixteen times, if it were quadratic."""
    gc.disable()
    try:
        for number, start in enumerate(STARTS):
            opened, truncated = (None, False, True, None)[number], number == 3
            small = seconds(start + text_of(kind, 20_000), opened, truncated)
            large = seconds(start + text_of(kind, 80_000), opened, truncated)
            assert large < 10 * max(small, 0.003), (start, small, large)
    finally:
        gc.enable()


def test_a_megabyte_of_anything_is_split_in_no_time():
    """Far over the minute that is given, if any part of it were quadratic."""
    script = (
        "from tests.model.test_thinking import UNITS, text_of\n"
        "from m1eval import split_thinking\n"
        "for kind in ('closing tags', 'blocks', 'lines of a backtick', 'growing backticks', 'whole turns'):\n"
        "    split_thinking(text_of(kind, 1_000_000))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=True)


# While it is written
def followed(text: str, size: int, opened: Form | None = None) -> tuple[bool | None, int]:
    follower = ThinkingFollower(opened)
    for start in range(0, len(text), size):
        follower.push(text[start : start + size])
    return follower.inside, follower.answer


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("form", KNOWN, ids=lambda form: form.name)
def test_thinking_is_followed_while_it_is_written(form, size):
    text = f"\n {form.open}a\n\nb{form.force or form.close}"
    assert followed(f"{text}c", size) == (False, len(text))
    assert followed(f"\n {form.open}a\n\nb", size)[0] is True
    assert followed(text.partition(form.open)[2] + "c", size, form) == (False, len(text.partition(form.open)[2]))
    assert followed("a plain answer", size)[0] is False
    assert followed(" \n", size)[0] is None


@pytest.mark.parametrize("unit", [" ", "<", "a", "</think>", "<think", "<|channel|>"])
def test_following_costs_the_same_at_each_token(unit):
    """A million pieces of white space took a copy of all of them each, once."""

    def spent(count: int) -> float:
        follower, pieces = ThinkingFollower(None), [unit] * count
        begin = time.process_time()
        for piece in pieces:
            follower.push(piece)
        return time.process_time() - begin

    small, large = (min(spent(count) for _ in range(3)) for count in (5_000, 20_000))
    assert large < 10 * max(small, 0.003)


# The forms and their names
@pytest.mark.parametrize("form", KNOWN, ids=lambda form: form.name)
def test_a_prompt_tells_which_form_it_leaves_open(form):
    found = opened_by(f"<user>2+2?<assistant>{form.open}\n")
    assert found is not None
    assert found.open == form.open
    assert opened_by(f"<user>2+2?<assistant>{form.open}\n\n{form.close}\n\n") is None
    assert opened_by(f"<user>What does {form.open} mean?<assistant>") is None


def test_forms_are_named_by_name_or_by_their_texts():
    assert parse_forms("think") == (DEFAULT,)
    assert parse_forms("Seed:Think") == parse_forms("seed_think") == parse_forms("<seed:think>,</seed:think>")
    assert [form.open for form in parse_forms("<a>,</a>; harmony")] == ["<a>", "<|channel|>analysis<|message|>"]
    assert parse_forms({"open": "<a>", "close": "</a>"}) == parse_forms(["<a>", "</a>"]) == parse_forms("<a>,</a>")
    assert parse_forms(["harmony", "think"]) == (FORMS["harmony"], DEFAULT)
    for form in KNOWN:
        assert form in FORMS.values()
        assert form.ends(form.forced_end)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "name a form"),
        ("thnk", "no form of thinking 'thnk'"),
        ("<a>", "no form of thinking '<a>'"),
        ("<a>,<a>", "must differ"),
        ("<a>,", "must be two"),
        (",</a>", "must be two"),
        ({"open": "<a>"}, "name a form"),
        ({"open": "<a>", "close": 3}, "must be two"),
        ([], "name a form"),
        (7, "name a form"),
        (True, "name a form"),
        ([7], "name a form"),
    ],
)
def test_what_names_no_form_is_one_line(value, said):
    with pytest.raises(ValueError, match=said) as error:
        parse_forms(value)
    assert "\n" not in str(error.value)


def test_a_profile_names_its_form_and_an_option_has_the_last_word(m1eval, shell, capitals, tmp_path):
    assert profiles.read("gpt_oss").think_tags == ["harmony", "think"]
    run = ("run", "--tasks", capitals, "--model", "echo:gold", "--profile", "gpt_oss", "--dry-run", "--json")
    (plan,) = m1eval(*run).json()["plans"]
    assert plan["config"]["runner"] == {"think_tags": ["harmony", "think"]}
    (plan,) = m1eval(*run, "-o", "think_tags=<a>,</a>").json()["plans"]
    assert plan["config"]["runner"] == {"think_tags": "<a>,</a>"}
    wrong = tmp_path / "runners" / "profiles" / "mine.yaml"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("title: T\nmodels: []\nsource: S\nthink_tags: {open: <a>, close: <a>}\n")
    result = shell("run", "--tasks", capitals, "--model", "echo:gold", "--profile", "mine")
    assert result.code == 2
    assert "mine.yaml:4: the texts that open and close thinking must differ" in result.err


@pytest.mark.parametrize("runner", ["echo:gold", "http:m"])
def test_wrong_think_tags_are_one_line(runner, m1eval, capitals):
    url = ("--base-url", "http://127.0.0.1:1/v1") if runner.startswith("http") else ()
    result = m1eval("run", "--tasks", capitals, "--model", runner, *url, "-o", "think_tags=<a>,<a>", "--dry-run")
    assert result.code != 0
    assert "think_tags: the texts that open and close thinking must differ" in result.err
    assert len(result.err.strip().splitlines()) == 1
