"""Grades one answer with a scorer, without a run."""

import asyncio
from typing import Any

from m1eval import Output, Sample, Score, load


def grade(name: str, text: str, target: str, tools: Any = None, **options: Any) -> Score:
    sample = Sample(id="1", messages=[], target=target)
    score: Score = asyncio.run(load("scorers", name).Scorer(**options).score(Output(text=text), sample, tools))
    return score
