"""`f1`: the words that answer and reference share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scorers.grading import grade


def test_f1_counts_shared_words_of_the_best_reference():
    score = grade("f1", "The Eiffel Tower, in Paris", "Eiffel tower | Big Ben", separator="|")
    assert score.value == pytest.approx(2 * 2 / (4 + 2))
    assert grade("f1", "a Big Ben!", "Eiffel tower | Big Ben", separator="|").metrics["exact"] == 1
    assert grade("f1", "", "x").answer is None


@given(st.text(max_size=80).filter(str.strip))
def test_f1_of_a_text_with_itself_is_one(text):
    score = grade("f1", text, text)
    assert score.value == 1
