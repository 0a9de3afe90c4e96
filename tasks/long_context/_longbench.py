"""LongBench v2 with reasoning, in the two turns of its authors (THUDM/LongBench, pred.py, `--cot`)."""

from collections.abc import Mapping
from typing import Any

from m1eval import Context, Output, Request, Runner, Sample

ASK = """\
Please read the following text and answer the questions below.

The text is too long and omitted here.

What is the correct answer to this question: {question}
Choices:
(A) {choice_A}
(B) {choice_B}
(C) {choice_C}
(D) {choice_D}

Let’s think step by step: {reasons}

Based on the above, what is the single, most likely answer choice? Format your response as follows: \
"The correct answer is (insert answer here)"."""


async def reasoned(sample: Sample, runner: Runner, context: Context) -> Output:
    """Ask for reasons with the text, then for the letter with only the reasons; usage is the sum of both."""
    first = await runner.generate(Request(messages=sample.messages))
    if first.finish_reason == "refused_context" or first.unfinished_thinking:
        return first
    question = second_turn(sample.metadata, first.text)
    last = await runner.generate(Request(messages=[{"role": "user", "content": question}]))
    for name in ("prompt", "cached", "reasoning", "answer"):
        setattr(last.usage, name, getattr(last.usage, name) + getattr(first.usage, name))
    last.timing.total += first.timing.total
    last.reasoning = "\n\n".join(filter(None, (first.reasoning, first.text, last.reasoning)))
    return last


def second_turn(row: Mapping[str, Any], reasons: str) -> str:
    """The second question, which quotes the reasons."""
    columns = {key: str(row[key]).strip() for key in ("question", "choice_A", "choice_B", "choice_C", "choice_D")}
    return ASK.format(**columns, reasons=reasons.strip())
