"""Verdicts that must agree with each other and with arithmetic of 90 digits, over random expressions."""

import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mpmath.ctx_mp import MPContext

from benchmarks.mutations import different, grade
from m1eval import load

math = load("scorers", "math")
REFERENCES = Path(__file__).with_name("references.txt").read_text().splitlines()
_DIGITS = 90


@cache
def mp() -> Any:
    """An arithmetic of its own: mpmath's precision belongs to other tests."""
    context = MPContext()
    context.dps = _DIGITS
    return context


def drawn(draw: random.Random, depth: int) -> tuple[str, Any]:
    """An expression and its value; values stay between what can be told apart."""
    if not depth:
        n = draw.randint(2, 12)
        return draw.choice(
            [
                (str(n), mp().mpf(n)),
                (rf"\sqrt{{{n}}}", mp().sqrt(n)),
                (rf"\frac{{{n}}}{{7}}", mp().mpf(n) / 7),
                (r"\pi", +mp().pi),
                ("e", +mp().e),
            ]
        )
    (one, a), (other, b) = drawn(draw, depth - 1), drawn(draw, draw.randint(0, depth - 1))
    forms = [
        (f"{one}+{other}", a + b),
        (f"{one}-({other})", a - b),
        (rf"({one})\cdot({other})", a * b),
        (f"({one})({other})", a * b),
        (f"({one})^2", a**2),
        (rf"\sin({one})", mp().sin(a)),
        (f"-({one})+{other}", b - a),
    ]
    if b:
        forms.append((rf"\frac{{{one}}}{{{other}}}", a / b))
    if a > 0:
        forms.append((rf"\sqrt{{{one}}}", mp().sqrt(a)))
        forms.append((rf"\ln({one})", mp().log(a)))
    return draw.choice(forms)


def expressions(seed: int, many: int) -> Iterator[tuple[random.Random, str, Any]]:
    draw = random.Random(seed)
    while many:
        text, value = drawn(draw, draw.randint(1, 3))
        if mp().mpf(10) ** -30 < abs(value) < mp().mpf(10) ** 12:
            many -= 1
            yield draw, text, value


@pytest.mark.parametrize("seed", range(3))
def test_an_expression_rewritten_is_the_same_and_one_next_to_it_is_not(seed):
    wrong = []
    for draw, text, _ in expressions(seed, 25):
        n, digits = draw.randint(2, 9), draw.randint(12, 45)
        same = draw.choice(
            [f"({text})+{n}-{n}", rf"\frac{{{n}({text})}}{{{n}}}", rf"\frac{{1}}{{\frac{{1}}{{{text}}}}}",
             rf"({text})(\sin^2({n})+\cos^2({n}))", rf"({text})+\ln({n})-\ln({n})"]
        )  # fmt: skip
        near = draw.choice(
            [
                f"({text})+10^{{-{digits}}}",
                rf"({text})-\frac{{{n}}}{{7^{{{digits}}}}}",
                f"({text})(1+2^{{-{3 * digits}}})",
            ]
        )
        for other, expected in ((same, True), (near, False)):
            verdicts = [grade(pair) for pair in ((text, other), (other, text))]
            wrong += [(text, other, verdict) for verdict in verdicts if verdict[0] is not expected]
    assert not wrong


@pytest.mark.parametrize("seed", range(3, 5))
def test_a_decimal_of_many_digits_is_the_value_and_one_with_another_digit_or_fewer_is_not(seed):
    wrong = []
    for draw, text, value in expressions(seed, 25):
        if abs(value * 5040 - mp().nint(value * 5040)) < mp().mpf(10) ** -60:
            continue  # a fraction
        digits = mp().nstr(value, 15, strip_zeros=False, min_fixed=-30, max_fixed=30)
        places = [answer.start() for answer in re.finditer(r"(?<![-0.])[1-9]|(?<=[1-9])\d", digits)][:6]
        at = draw.choice(places)
        changed = f"{digits[:at]}{(int(digits[at]) + draw.randint(1, 8)) % 10}{digits[at + 1 :]}"
        few = mp().nstr(value, 4, min_fixed=-30, max_fixed=30)
        for answer, expected in ((digits, True), (changed, False), (few, False)):
            if (verdict := grade((text, answer)))[0] is not expected:
                wrong.append((text, answer, verdict))
    assert not wrong


def test_large_integers_differ_by_one():
    draw, wrong = random.Random(5), []
    for _ in range(40):
        base, exponent, offset = draw.randint(2, 30), draw.randint(5, 200), draw.randint(-50, 50)
        value = base**exponent + offset
        power = rf"{base}^{{{exponent}}}{offset:+d}"
        for reference in (power, str(value)):
            for answer, expected in (
                (f"{value:,}", True),
                (power, True),
                (str(value + 1), False),
                (f"{value - 1:,}", False),
            ):
                if (verdict := grade((reference, answer)))[0] is not expected:
                    wrong.append((reference, answer, verdict))
    assert not wrong


DRESS = [
    *(r"\displaystyle {}", "${}$", "{}.", r"\,{}\,", r"\boldsymbol{{{}}}", "{{{}}}", "\n{}\n", r"\color{{blue}}{{{}}}"),
    *("\ufeff{}", "\u200b{}\u200b", r"\({}\)", "**{}**", r"\quad {} \quad", r"\Large {}"),
]


def test_markup_around_an_answer_changes_no_verdict():
    draw, changed = random.Random(6), []
    for text in REFERENCES[::3]:
        wrong_ones = [other for _, other in different(text)]
        for answer in [text, *draw.sample(wrong_ones, min(2, len(wrong_ones)))]:
            expected = grade((text, answer))[0]
            dressed = draw.sample(DRESS, 4)
            verdicts = [(dress, grade((text, dress.format(answer)))) for dress in dressed]
            changed += [(text, answer, *verdict) for verdict in verdicts if verdict[1][0] is not expected]
    assert not changed


TEXTS = [
    "We get $\\boxed{{{}}}$.",
    "Some work.\n\nTherefore the answer is ${}$.",
    "Some work.\n\n**Final Answer**\n\n${}$",
    "Some work.\n\nThe final answer is \\({}\\).",
    "Some work.\n<answer>{}</answer>",
]


@pytest.mark.parametrize("form", TEXTS)
def test_a_reference_in_a_text_is_right_and_a_changed_one_is_wrong(form):
    draw, wrong = random.Random(form), []
    for text in REFERENCES[draw.randint(0, 3) :: 4]:
        changed = [other for _, other in different(text)]
        others = draw.sample(changed, min(1, len(changed)))
        for value, expected in [(text, True), *((other, False) for other in others)]:
            answer = math.final_answer(form.format(value), values=math.how_many(text))
            verdict = grade((text, answer)) if answer else (None, "no answer")
            if verdict[0] is not expected:
                wrong.append((text, value, answer, verdict))
    assert not wrong
