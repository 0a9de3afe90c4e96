"""Equality of answers: what is the same, what is not, and what no notation can change."""

import asyncio
import string
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m1eval import Output, Sample, Score, UsageError, load
from m1eval.sandbox.workers import Pool

math = load("scorers", "math")
import math_verify  # noqa: E402  - here and not in a worker: `slow` is called directly on texts that end


def same(target: str, answer: str, precision: str = "exact") -> tuple[bool, str]:
    verdict: tuple[bool, str] = math.quick(target, answer, precision) or math.slow(
        target, answer, precision, math_verify
    )
    return verdict


SAME = {
    "ordinals and units": [
        ("12", r"12^{\text{th}}"),
        ("700", "700°C"),
        ("36", r"36 \mathrm{~mL}"),
        ("3e8", r"3\times 10^{8}\text{ m/s}"),
        ("18.90", r"\$18.90"),
        ("90^\\circ", "90"),
        (r"\frac{\pi}{4}", r"45^\circ"),
    ],
    "prose": [
        ("3", "the value of n is 3"),
        ("east", "It is the east"),
        (r"\text{odd}", "an odd function"),
        (r"\text{Tuesday}", "tuesday"),
        ("(C)", r"\text{(C) Plane}"),
    ],
    "lists and brackets": [
        ("(1,2)", "1,2"),
        (r"\{1,2\}", "2,1"),
        ("3,4", r"3 \text{ and } 4"),
        (r"(1,1),(3,2)", r"(1,1) \text{ and } (3,2)"),
        (r"x \in [-2,7]", "[-2, 7]"),
        (r"(-\infty,2]\cup[3,\infty)", r"(-\infty, 2] \cup [3, \infty)"),
        (r"3 \pm 2\sqrt2", r"3-2\sqrt2, 3+2\sqrt2"),
        ("1, x^2-1", "(x-1)(x+1), 1"),
    ],
    "numbers": [
        ("1.5", r"1\frac{1}{2}"),
        (r"2\frac{1}{2}", "5/2"),
        ("0.00000001", "10^{-8}"),
        ("11,\\!111", "11111"),
        (r"-\frac{1}{2}", r"\frac{-1}{2}"),
        ("２", "2"),
        (r"\frac{3}{56}", "0.0535714285714164"),
    ],
    "formulas": [
        (r"\sinh x", r"\frac{e^x-e^{-x}}{2}"),
        ("x+y=2", "2x+2y=4"),
        ("y=2x+1", "y - 2x = 1"),
        (r"\sqrt{x^2}", "|x|"),
        (r"\frac{37}{4}m", r"\frac{37m}{4}"),
        (r"100p^{1/2}", r"Y = 100\sqrt{P}"),
        ("7\\pi", "7π"),
        (r"1+\sqrt{3}i", "1 + i√3"),
        (r"I\frac{d\omega}{dt}+2B\omega=T", r"\frac{d\omega}{dt} = \frac{1}{I}T - \frac{2B}{I}\omega"),
    ],
}

OTHER = {
    "doubt": [("3", "not 3"), ("3", "more than 3"), (r"\text{odd}", "neither odd nor even"), ("8", "3 or 8")],
    "brackets": [("[1,2]", "(1,2)"), ("(1,2)", r"\{1,2\}"), ("(1,2)", "(2,1)"), ("(2,\\infty)", "[2,\\infty)")],
    "lists": [("1,2,3", "1,2"), ("1", "1,2"), ("-2,1", "1"), ("4", r"4, \frac{7}{2}")],
    "numbers": [("1e-8", "2e-8"), ("326.5", "326.53"), ("100", "1"), ("1/3", "0.3333"), ("10", "1 0"), ("6", "6√2")],
    "large numbers": [("2^{40}", "2^{40}+1"), ("10^{12}+1", "10^{12}+2"), ("11111111100", "11111111110")],
    "signs": [(r"\frac65", r"-\\frac{6}{5}"), ("x<3", r"x \le 3"), ("x<3", "x>3"), ("5", "-5")],
    "formulas": [("f(x)=1", r"f(x)=\frac{1}{x}"), (r"\sqrt{x^2}", "x"), ("x+1", "x-1"), ("x+y=2", "x+y=3")],
    "options": [("A", "B"), ("(C)", r"\text{(D) Plane}"), ("A", "None")],
}


@pytest.mark.parametrize("kind", SAME)
def test_one_answer_in_two_notations_is_the_same(kind):
    assert [pair for pair in SAME[kind] if not same(*pair)[0]] == []


@pytest.mark.parametrize("kind", OTHER)
def test_another_answer_is_another_one(kind):
    assert [(pair, same(*pair)) for pair in OTHER[kind] if same(*pair)[0]] == []


def test_a_decimal_reference_may_ask_for_its_own_precision():
    for target, answer in (("1.6", r"\frac{\pi}{2}"), ("4.4e7", "44241304"), ("0.033", "0.0327"), ("50.7", "50.725")):
        assert not same(target, answer)[0]
        assert same(target, answer, "gold") == (True, "rounds to the reference")
    for target, answer in (("1.6", "2"), ("1.60", r"\frac{\pi}{2}"), ("326.5", "327"), ("5", "5.2")):
        assert not same(target, answer, "gold")[0], (target, answer)


NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.fractions(-1000, 1000, max_denominator=999).map(
        lambda f: rf"{'-' * (f < 0)}\frac{{{abs(f.numerator)}}}{{{f.denominator}}}"
    ),
    st.decimals(-1000, 1000, places=3).map(str),
)
LATEX = st.one_of(
    NUMBERS,
    st.lists(NUMBERS, min_size=2, max_size=4).map(", ".join),
    st.lists(NUMBERS, min_size=2, max_size=4).map(lambda v: f"({', '.join(v)})"),
    st.tuples(NUMBERS, st.sampled_from(["x", "\\pi", "\\sqrt{2}", "y^2"])).map(" + ".join),
)
DRESSES = ["${}$", "\\({}\\)", " {} ", "{}.", "\\left. {}", "\\displaystyle {}", "**{}**", "\u200b{}\u200f", "{}\\,"]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(LATEX)
def test_every_answer_equals_itself(text):
    assert same(text, text)[0]


@QUICK
@given(NUMBERS, NUMBERS)
def test_equality_of_numbers_is_symmetric_and_exact(one, other):
    assert same(one, other)[0] == same(other, one)[0]


@QUICK
@given(LATEX, st.sampled_from(DRESSES[:4] + DRESSES[5:]))
def test_markup_around_an_answer_changes_nothing(text, dress):
    assert same(text, dress.replace("{}", text))[0]
    assert same(dress.replace("{}", text), text)[0]


@QUICK
@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_another_integer_is_never_right(one, other):
    assert same(str(one), f"{other:,}")[0] == (one == other)


@QUICK
@given(st.text(string.printable + "πé中\u202e\x00", max_size=300), LATEX)
def test_the_last_box_is_found_behind_any_text(noise, answer):
    text = noise.replace("\\", "/").replace("{", "(").replace("}", ")") + f" so \\boxed{{{answer}}}"
    assert math.final_answer(text) == answer.strip()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_any_text_has_an_answer_or_none_and_a_verdict_or_none(text):
    answer = math.final_answer(text)
    assert answer is None or (answer and len(answer) <= len(text) + 1)
    math.quick("28", text[:200])
    math.quick(text[:200], "28")


# The published rules: which one says what, where they are known to differ.
RULES = {
    ("prm800k", r"\frac{1}{2}", r"\boxed{\frac{2}{4}}"): False,  # a fraction must be reduced
    ("prm800k", r"\frac{1}{2}", r"\boxed{0.5}"): True,
    ("prm800k", "3", r"\boxed{3.0}"): True,
    ("prm800k", "3", r"\boxed{\frac{6}{2}}"): False,  # an integer must be one
    ("prm800k", "(1,2)", r"\boxed{[1,2]}"): False,
    ("prm800k", "10000", r"\boxed{10,000}"): True,
    ("prm800k", "x^2-1", r"\boxed{(x-1)(x+1)}"): True,
    ("prm800k", "5", "The answer is 5."): False,  # only a box counts
    ("qwen", "0.5", r"\boxed{50}"): True,  # percent or not
    ("qwen", "326.5", r"\boxed{326.53}"): True,  # to 1e-4
    ("qwen", r"[2,\infty)", r"\boxed{(2,\infty)}"): True,  # brackets are taken off
    ("qwen", "7", "We count 3 and then 7"): True,  # the last number of the text
    ("qwen", "7", "the answer is 7"): True,
    ("qwen", "7", r"\boxed{8}"): False,
    ("math_verify", "7", "We count 3 and then 7"): True,
    ("math_verify", "0.00000001", r"\boxed{0.00000002}"): True,  # it rounds to six places
    ("math_verify", r"\frac{1}{2}", "It is 1/2."): True,
    ("math_verify", r"\frac{1}{2}", r"\boxed{\frac{1}{3}}"): False,
    ("m1eval", "0.5", r"\boxed{50}"): False,
    ("m1eval", r"\frac{1}{2}", r"\boxed{\frac{2}{4}}"): True,
    ("m1eval", "7", "We count 3 and then 7"): False,
}


@pytest.fixture(scope="module")
def tools():
    workers = Pool(1)
    yield SimpleNamespace(workers=workers)
    asyncio.run(workers.aclose())


@pytest.mark.parametrize("case", RULES, ids=" ".join)
def test_a_published_rule_decides_as_published_and_is_named(tools: Any, case):
    rule, target, text = case
    sample = Sample(id="1", messages=[], target=target)
    score: Score = asyncio.run(math.Scorer(rule=rule, timeout=20).score(Output(text=text), sample, tools))
    assert score.value == RULES[case]
    assert score.explanation
    assert rule == "m1eval" or rule in score.explanation


@pytest.mark.parametrize("rule", ["prm800k", "qwen", "math_verify"])
@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('touch {}')", "\\boxed{{__import__('os').system('touch {}')}}", "9^(9^(2))", "\x00"],
)
def test_no_rule_executes_a_text(tools: Any, tmp_path, rule, text):
    marker = tmp_path / "executed"
    sample = Sample(id="1", messages=[], target="7")
    score = asyncio.run(math.Scorer(rule=rule, timeout=20).score(Output(text=text.format(marker)), sample, tools))
    assert score.value == 0
    assert not marker.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rule": "mine"}, "rule is one of"), ({"precision": "some"}, "precision"), ({"timeout": 0}, "timeout")],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(UsageError, match=message):
        math.Scorer(**options)


CONCLUDING = {
    "We add them up.\n\nSo, the sixth term is 350.": "350",
    "Therefore, the largest angle is 120 degrees.\n\nI think that's it.": "120 degrees",
    "In conclusion, we have confirmed that:\n\n$$\\tan A = 2$$": "\\tan A = 2",
    "Find m + n:\n\nm + n = 25 + 169 = **194**": "194",
    "Thus the value of \\( n \\) is \\( 7 \\).": "7",
    "Alternatively, perhaps 7 would do.": None,
    "Therefore, the value is 12 and we go on with the next ca": None,
    "So it is -\\boxed{256}": "-256",
}


@pytest.mark.parametrize("text", CONCLUDING)
def test_a_finished_text_may_conclude_without_a_box(text):
    assert math.final_answer(text) == CONCLUDING[text]
    if "boxed" not in text:
        assert math.final_answer(text, cut=True) is None, "a text cut at the limit concludes nothing"


@pytest.mark.parametrize("letter", ["(C)", "C", r"\text{(C)}", r"\mathrm{C}"])
@pytest.mark.parametrize("named", [r"\text{(C) Plane}", r"(C)\ \text{a flat plane}", r"\textbf{(C) }Plane"])
def test_the_letter_of_an_option_is_the_option_whichever_is_the_reference(letter, named):
    assert same(named, letter)[0]
    assert same(letter, named)[0]
    for other in (letter.replace("C", "D"), f"{letter}+D", f"{letter}, (D)"):
        assert not same(named, other)[0], other


@pytest.mark.parametrize("gold", ["(A) and (B)", "(A) or B", "(A) if x", "(A) mod p", "(A)bc", "(A)B", "A:B", "A cat"])
def test_a_letter_in_front_of_other_things_names_no_option(gold):
    assert not same(gold, "A")[0]


@pytest.mark.parametrize(
    ("fraction", "decimals", "others"),
    [
        (r"\frac13", ["0.3333333333", "0.33333333333"], ["0.33", "0.33333333", "0.3333333323"]),
        (r"\frac57", ["0.7142857143", "0.7142857142"], ["0.714285714", "0.7142857153"]),
    ],
)
def test_a_fraction_is_a_long_decimal_whichever_is_the_reference(fraction, decimals, others):
    for gold, answer in [(fraction, decimal) for decimal in decimals]:
        assert (same(gold, answer)[0], same(answer, gold)[0]) == (True, True), answer
    for other in others:
        assert not same(other, fraction)[0], other
