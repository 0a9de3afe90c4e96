"""The judge scorer: whose fault is whose, confidences, the figures of the benchmarks, and what verbatim rubrics ask."""

import asyncio
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import JudgeReply, Message, Output, Sample, Score, UsageError, load
from m1eval.errors import ContextLengthExceeded
from m1eval.stats import calibration_error, hle_calibration_error
from tests.hostile import not_linear

judge = load("scorers", "judge")
YES_NO: dict[str, float | str] = {"YES": 1, "NO": 0}
SIMPLEQA: dict[str, Any] = {
    "verdicts": {"CORRECT": 1, "INCORRECT": 0, "NOT_ATTEMPTED": 0},
    "attempted": {"right": "CORRECT", "none": "NOT_ATTEMPTED"},
}
CONFIDENCES = Path(__file__).with_name("confidences.jsonl")


class Bench:
    """A judge that says or raises one thing after another, the last one for ever."""

    def __init__(self, *replies: str | Exception) -> None:
        self.replies = replies
        self.asked: list[list[Message]] = []

    async def ask(self, messages: list[Message], *, attempt: int = 0, known: Any = None) -> list[JudgeReply]:
        self.asked.append(messages)
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return [JudgeReply(judge="j", key=str(len(self.asked)), text=reply)]


def grade(bench: Bench, answer: str = "Paris", **options: Any) -> Score:
    sample = Sample(id="1", messages=[{"role": "user", "content": "Capital of France?"}], target="Paris")
    options = {"rubric": "Question: {{ question }}\n{{ answer }}", "verdicts": YES_NO} | options
    score: Score = asyncio.run(
        judge.Scorer(**options).score(Output(text=answer), sample, SimpleNamespace(judges=bench))
    )
    return score


# Whose fault it is


def test_a_reply_that_is_cut_off_is_asked_for_again_and_then_the_judges_fault() -> None:
    cut = RuntimeError("judge j: its reply has no end: length")
    assert grade(Bench(cut, "Verdict: YES")).value == 1
    assert grade(Bench("hm", cut, "Verdict: NO")).value == 0
    with pytest.raises(RuntimeError, match="has no end"):
        grade(Bench(cut))
    with pytest.raises(TimeoutError):
        grade(Bench(TimeoutError("the judge took too long")))


@pytest.mark.parametrize("said", ["I cannot judge this.", "Sorry, no.", "", "Verdict: PERHAPS"])
@pytest.mark.parametrize("form", ["line", "json", "letter", "fields"])
def test_a_judge_that_refuses_three_times_is_an_error(said: str, form: str) -> None:
    bench = Bench(said)
    with pytest.raises(ValueError, match="no clear verdict in 3 replies"):
        grade(bench, form=form)
    assert len(bench.asked) == 3


def test_an_answer_that_is_longer_than_the_judges_window_is_wrong() -> None:
    bench = Bench(ContextLengthExceeded("judge j: too long"))
    score = grade(bench, "x" * 10_000)
    assert (score.value, len(bench.asked)) == (0, 1)
    assert "longer than the judge's window" in score.explanation
    with pytest.raises(ContextLengthExceeded):
        grade(bench, "x", rubric="long " * 1000 + "{{ answer }}")


def test_an_endless_answer_is_wrong_unseen() -> None:
    bench = Bench("Verdict: YES")
    score = grade(bench, "x" * (judge.LONGEST_ANSWER + 1), **SIMPLEQA)
    assert (score.value, bench.asked, score.metrics) == (0, [], {"verdict INCORRECT": 1})
    assert grade(bench, "x" * judge.LONGEST_ANSWER).value == 1


def test_empty_and_truncated_answers_are_not_attempted() -> None:
    assert grade(Bench("Verdict: CORRECT"), "  ", **SIMPLEQA).metrics == {"verdict NOT_ATTEMPTED": 1}
    scorer = judge.Scorer(rubric="x", **SIMPLEQA)
    records = [
        SimpleNamespace(id=str(i), value=v, metrics=m, metadata={})
        for i, (v, m) in enumerate([(1.0, {"verdict CORRECT": 1.0}), (0.0, {"verdict INCORRECT": 1.0}), (0.0, {})])
    ]
    figures = scorer.aggregate(records)
    assert figures["NOT_ATTEMPTED rate"] == pytest.approx(1 / 3)
    assert figures["correct given attempted"] == pytest.approx(1 / 2)
    assert figures["F1"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))


# What a benchmark's own rubric asks


def test_a_verbatim_rubric_is_all_that_is_asked() -> None:
    bench = Bench("Verdict: YES")
    grade(bench, " {0} as it is\n", rubric="A: {{ texts.t.format(answer) }}", verbatim=True, system="Be fair.",
          texts=lambda: {"texts": {"t": "<{}>"}})  # fmt: skip
    assert bench.asked == [
        [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "A: < {0} as it is\n>"}]
    ]


def test_the_judges_own_reading_of_the_confidence_counts() -> None:
    options: dict[str, Any] = {"form": "fields", "field": "correct", "confidence": "judge"}
    reply = "extracted_final_answer: Paris\nreasoning: same\ncorrect: yes\nconfidence: {}"
    for said, share in (("85", 0.85), ("85%", 0.85), ("100", 1), ("0", 0), ("none", 1), ("1", 0.01)):
        score = grade(Bench(reply.format(said)), "Confidence: 3%", **options)
        assert score.value == 1, said
        assert score.metrics["confidence"] == pytest.approx(share), said
    score = grade(Bench('{"correct": "no", "confidence": 70, "strict": true}'), **options)
    assert score.value == 0
    assert score.metrics["confidence"] == pytest.approx(0.7)


# Confidence


@pytest.mark.parametrize("row", CONFIDENCES.read_text("utf-8").splitlines())
def test_a_confidence_is_read_as_the_table_says(row: str) -> None:
    text, stated = json.loads(row).values()
    score = grade(Bench("Verdict: YES"), f"The answer.\n{text}", confidence="answer")
    assert score.metrics["confidence"] == pytest.approx(1.0 if stated is None else stated)


@pytest.mark.parametrize("piece", ["confidence ", "Confidence: ", "9", "1.", "confidence (", "**", "_ ", "85% ", "\n"])
def test_reading_a_confidence_takes_linear_time(piece: str) -> None:
    assert not not_linear(lambda text: judge.stated_confidence(piece * (len(text) // len(piece))), 4_000)


def test_a_pattern_may_still_find_the_confidence() -> None:
    with pytest.raises(UsageError, match="answer, judge or a pattern"):
        judge.Scorer(rubric="x", verdicts=YES_NO, confidence="(")


# Figures


def published_behaviour(confidence: list[float], correct: list[float]) -> float:
    """HLE's figure the slow way: sort by confidence, bins of 100, the last one stretched to the end and left out."""
    order = sorted(range(len(confidence)), key=lambda i: confidence[i])
    starts = [i * 100 for i in range(len(order) // 100)]
    total = 0.0
    for start in starts[:-1]:
        inside = order[start : start + 100]
        gap = sum(confidence[i] for i in inside) / 100 - sum(correct[i] for i in inside) / 100
        total += 100 / len(order) * gap**2
    return math.sqrt(total)


@pytest.mark.parametrize("count", [1, 99, 100, 199, 200, 201, 350, 2158])
def test_the_calibration_error_of_hles_code(count: int) -> None:
    draw = random.Random(count)
    sure = [draw.random() for _ in range(count)]
    right = [float(draw.random() < share**2) for share in sure]
    assert hle_calibration_error(sure, right) == pytest.approx(published_behaviour(sure, right), abs=1e-12)
    assert (hle_calibration_error(sure, right) == 0) == (count < 200)
    assert calibration_error(sure, right) > 0


def test_a_conversation_passes_if_any_repeat_does_and_axes_count_alike() -> None:
    cases = [("q1", "a", 1), ("q1", "a", 0), ("q2", "a", 0), ("q2", "a", 0), ("q3", "b", 0), ("q3", "b", 1)]
    records = [SimpleNamespace(id=i, value=float(v), metrics={}, metadata={"axis": axis}) for i, axis, v in cases]
    best = judge.Scorer(rubric="x", verdicts=YES_NO, by="axis", any_repeat=True).aggregate(records)
    assert (best["a"], best["b"], best["mean of axis"]) == (0.5, 1, 0.75)
    mean = judge.Scorer(rubric="x", verdicts=YES_NO, by="axis").aggregate(records)
    assert (mean["a"], mean["b"], mean["mean of axis"]) == (0.25, 0.5, 0.375)
