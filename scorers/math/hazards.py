"""References that may take a computer algebra system forever, and what tells whether one does."""

import logging
import re
import time
from contextlib import suppress
from typing import Any

from . import numeric, values
from .notation import tidy, without_unit

_GROWING = re.compile(
    r"!|\\(?:[dt]?binom|sum|prod|int|lim|tbinom)(?![a-zA-Z])|\^\s*(?:\{[^{}]*\^|\{[^{}]*\{|\{?-?\d{4}|\()|\d{200}"
)
_SERIES = re.compile(r"\\(?:sum|prod)(?![a-zA-Z])")

UNREAD = (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""Errors that the library raises for texts it cannot read: not a hazard, other rules may read them."""


def may_explode(text: str) -> bool:
    """Whether a text holds what may grow beyond all limits: factorials, binomials, sums, powers of powers."""
    return bool(_GROWING.search(text))


def evaluate(text: str, math_verify: Any) -> float:
    """Parse a text and compute its value as the comparison with an answer would; for a worker process.

    Gives the seconds of processor time that it took.
    """
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own timeouts are off
    start = time.process_time()
    if _SERIES.search(text) and values.has_values(without_unit(tidy(text))):
        return time.process_time() - start  # half a minute in the library, for a sum up to n, and no hazard here
    with suppress(*UNREAD):
        _evaluate(text, math_verify)
    return time.process_time() - start


def _evaluate(text: str, math_verify: Any) -> None:
    latex = [math_verify.LatexExtractionConfig(boxed_match_priority=0)]
    parsed = math_verify.parse(rf"\boxed{{{without_unit(text)}}}", latex, parsing_timeout=None)
    if parsed:
        numeric.same(parsed[0], parsed[0])
