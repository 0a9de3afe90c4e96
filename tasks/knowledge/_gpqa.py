"""GPQA's questions with their four options in random order."""

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from m1eval import LazySample

Rows = Sequence[Mapping[str, Any]]
ORDERS = ("fixed", "each_repeat", "simple_evals")
COLUMNS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def questions(
    rows: Rows, *, seed: int, order: Literal["fixed", "each_repeat", "simple_evals"] = "fixed"
) -> Iterator[LazySample]:
    """Rows with `question`, `options`, `answer` (a letter) and `order` (which column became which option).

    `order`: `fixed` shuffles a question's options once, by seed and row; `each_repeat` for each repeat;
    `simple_evals` takes that of its gpqa_eval.py, one generator of seed 0 for all questions of the first repeat, then
    for those of the second and so on, and texts as they are, with the white space around them.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {', '.join(ORDERS[:-1])} or {ORDERS[-1]}, not '{order}'")
    width = len(str(len(rows)))
    orders = _SimpleEvals(len(rows))
    for number in range(len(rows)):
        if order == "simple_evals":
            build = partial(_unstripped, rows, number, orders)
        else:
            build = partial(_stripped, rows, number, seed, order)
        yield LazySample(
            id=f"gpqa_diamond-{number + 1:0{width}}",
            build=partial(build, 0),
            build_repeat=None if order == "fixed" else build,
        )


class _SimpleEvals:
    """simple-evals' option orders, for any number of repeats."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._random = random.Random(0)
        self._orders: list[list[int]] = []

    def of(self, number: int, repeat: int) -> list[int]:
        """The order of one question in one repeat, both from 0."""
        place = repeat * self._count + number
        while len(self._orders) <= place:
            self._orders.append(self._random.sample(range(4), 4))
        return self._orders[place]


def _stripped(rows: Rows, number: int, seed: int, order: str, repeat: int) -> dict[str, Any]:
    texts = [str(rows[number][column]).strip() for column in COLUMNS]
    key = f"{seed} {number}" if order == "fixed" else f"{seed} {number} {repeat}"
    return _row(rows[number], str(rows[number]["Question"]).strip(), texts, random.Random(key).sample(range(4), 4))


def _unstripped(rows: Rows, number: int, orders: _SimpleEvals, repeat: int) -> dict[str, Any]:
    texts = [str(rows[number][column]) for column in COLUMNS]
    return _row(rows[number], str(rows[number]["Question"]), texts, orders.of(number, repeat))


def _row(row: Mapping[str, Any], question: str, texts: list[str], order: list[int]) -> dict[str, Any]:
    options = [texts[i] for i in order]
    return {
        "question": question,
        "options": options,
        "answer": "ABCD"[options.index(texts[0])],
        "order": "".join(map(str, order)),
        "domain": row.get("High-level domain", ""),
    }
