"""MMLU-Pro's questions behind the worked examples of their subject, as its own code asks them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import LazySample

Rows = Sequence[Mapping[str, Any]]
EXAMPLES = 5


def with_examples(rows: Rows, table: Callable[..., Rows]) -> Iterator[LazySample]:
    """Rows with `examples` (question, options, answer in words) of the validation split, five of each subject."""
    worked = table(split="validation", beside="validation")
    examples: dict[str, list[dict[str, Any]]] = {}
    for number in range(len(worked)):
        row = worked[number]
        answer = str(row["cot_content"]).replace("A: Let's think step by step.", "Answer: Let's think step by step.")
        subject_examples = examples.setdefault(str(row["category"]), [])
        subject_examples.append({"question": row["question"], "options": _options(row), "answer": answer})
    for number in range(len(rows)):
        yield LazySample(id=f"mmlu_pro-{rows[number]['question_id']}", build=partial(_question, rows, number, examples))


def _question(rows: Rows, number: int, examples: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    row = rows[number]
    return {**row, "options": _options(row), "examples": examples.get(str(row["category"]), [])[:EXAMPLES]}


def _options(row: Mapping[str, Any]) -> list[str]:
    return [option for option in row["options"] if option != "N/A"]
