"""`regex`: what a pattern finds, patterns that never end, options that are wrong."""

import pytest

from m1eval import UsageError, load
from tests.scorers.grading import grade


def test_a_pattern_finds_the_answer(tools):
    assert grade("regex", "Result: 7\nResult: 8", "8", tools, pattern=r"Result: (\d+)").value == 1
    assert grade("regex", "Result: 7\nResult: 8", "7", tools, pattern=r"Result: (\d+)", take="first").value == 1
    assert grade("regex", "RESULT: x", "X", tools, pattern=r"result: (.+)", flags="i", ignore_case=True).value == 1
    assert grade("regex", "nothing", "8", tools, pattern=r"\d+").answer is None


def test_a_pattern_that_never_ends_is_given_up(tools):
    grade("regex", "a", "a", tools, pattern="a", timeout=30)
    score = grade("regex", "a" * 40 + "b", "a", tools, pattern=r"(a+)+c", timeout=0.5)
    assert (score.value, score.answer is None) == (0, False), "it ends on prose: the answer is out of the ordinary"
    with pytest.raises(TimeoutError, match="nor on plain prose"):
        grade("regex", "Some words, and some more of them to read", "a", tools, pattern=r"(\S+\s?)*!", timeout=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": "a", "take": "all"}, "take"),
        ({"pattern": "a", "flags": "q"}, "flags"),
    ],
)
def test_a_wrong_option_of_regex_is_named(options, message):
    with pytest.raises(UsageError, match=message):
        load("scorers", "regex").Scorer(**options)
