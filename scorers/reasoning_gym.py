"""The grade of a reasoning-gym problem by the library's own `score_answer` for that kind of problem.

Source: the Python package reasoning-gym (open-thought/reasoning-gym). Its rewards are made for training: many problems
give a share for answers that are only near (a right prefix, the reference inside a longer text, 0.01 for trying). An
evaluation wants to know what was solved, so a reward below 1 is 0 here; `metrics.reward` keeps it as the library gave
it, and `partial: true` makes it the value.
"""

import json
import re
import zlib
from functools import cache
from typing import Any

import m1eval
from m1eval import Context, Output, Sample, Score, UsageError
from m1eval.text import shorten

from ._columns import text_in

_OPEN, _CLOSE = "<answer>", "</answer>"
_BRACE = re.compile(r"[{}]")


class Scorer(m1eval.Scorer):
    """Takes the final answer out of the output and has the library grade it in a worker process.

    The answer is the last `<answer>…</answer>` (the library's convention; an unclosed last tag runs to the end), else
    the last `\\boxed{…}`, else the whole output if it is a single line. Metadata of the sample: `dataset`, `config`
    (JSON), `index` and `digest`; the worker makes the problem again from them and raises if it differs, as
    with another version of the library. `timeout`: seconds for one grade. An answer that takes longer, or on which the
    library raises an error, is wrong if the library's own answer is graded; if that is not, the sample is errored.
    """

    def __init__(self, *, partial: bool = False, timeout: float = 30.0) -> None:
        self.partial = partial
        self.timeout = timeout

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Grade the final answer; an output without one is unparsed."""
        answer, rule = final_answer(output.text, cut=output.finish_reason == "length")
        if answer is None:
            return Score(value=0.0, explanation=f"reasoning_gym: {rule}")
        row = sample.metadata
        problem = (
            *(text_in(sample, column, "reasoning_gym") for column in ("dataset", "config")),
            *(_whole_number(sample, column) for column in ("index", "digest")),
        )
        try:
            reward = await context.workers.run(grade, *problem, answer, timeout=self.timeout)
        except Exception as error:
            if isinstance(error, RuntimeError) and not isinstance(error, RecursionError):
                raise  # the worker process was lost
            await context.workers.run(grade, *problem, sample.target, timeout=self.timeout)
            late = isinstance(error, TimeoutError)
            why = (
                f"is not graded in {self.timeout:g} s" if late else f"ends the library's grader ({shorten(str(error))})"
            )
            explanation = f"reasoning_gym: {rule} {why}; counted as wrong"
            return Score(value=0.0, answer=answer, explanation=explanation, metrics={"reward": 0.0})
        return Score(
            value=reward if self.partial or reward >= 1 else 0.0,
            answer=answer,
            explanation=f"reasoning_gym: {row['dataset']} gives {reward:.3g} for {rule}",
            metrics={"reward": reward},
        )

    def gold(self, sample: Sample) -> str:
        """The library's own answer, tagged."""
        return f"<answer>{sample.target}</answer>"


def _whole_number(sample: Sample, column: str) -> int:
    value = text_in(sample, column, "reasoning_gym")
    if not value.lstrip("-").isdecimal():
        raise UsageError(f"scorer reasoning_gym: sample {sample.id} has no whole number in column '{column}'")
    return int(value)


def final_answer(text: str, *, cut: bool = False) -> tuple[str | None, str]:
    """The final answer in an output (None if there is none) and the rule that found it.

    `cut`: the text ended at a token limit; then only an answer that is closed is whole.
    """
    if (tagged := _last_tagged(text)) is not None:
        return tagged.strip() or None, "the last <answer>"
    if not cut and _OPEN in text:
        return text.rpartition(_OPEN)[2].strip() or None, "an unclosed <answer>"
    if (boxed := _last_boxed(text)) is not None:
        return boxed.strip() or None, "the last \\boxed"
    line = text.strip()
    if line and "\n" not in line and not cut:
        return line, "a single line"
    return None, "no <answer>, no \\boxed and not a single line" if line else "empty answer"


def grade(dataset: str, config: str, index: int, digest: int, answer: str) -> float:
    """The library's reward for an answer to problem `index`; LookupError if the problem has changed."""
    maker = _dataset(dataset, config)
    entry = maker[index]
    if fingerprint(entry) != digest:
        raise LookupError(f"reasoning-gym made another problem for {dataset} {index} than was asked; versions differ")
    return min(1.0, max(0.0, float(maker.score_answer(answer, entry))))


def fingerprint(entry: dict[str, Any]) -> int:
    """A checksum of a problem's question and answer."""
    return zlib.crc32(f"{entry['question']}\0{entry['answer']}".encode())


@cache
def _dataset(name: str, config: str) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(name, **json.loads(config))


def _last_tagged(text: str) -> str | None:
    """The content of the last pair of tags; each opening tag is closed by the next closing one."""
    last = None
    start = text.find(_OPEN)
    while start >= 0 and (end := text.find(_CLOSE, start)) >= 0:
        last = start + len(_OPEN), end
        start = text.find(_OPEN, end)
    return text[slice(*last)] if last else None


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start : brace.start()]
    return None
