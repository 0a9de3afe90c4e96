"""math-verify's own metric on a whole output, with its defaults: formulas, boxes among them, and plain expressions.

Its plain arithmetic is read without `eval`, and its time-outs are off: the pool of workers keeps the time.
"""

import logging
from typing import Any

from .expressions import parsed


def grade(text: str, gold: str, math_verify: Any) -> tuple[str | None, bool]:
    """The answer found in a text, and whether it is the reference, which is parsed in a box."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    math_verify.parser.parse_expr = parsed
    boxed = [math_verify.LatexExtractionConfig(boxed_match_priority=0)]
    reference = math_verify.parse(rf"\boxed{{{gold}}}", boxed, parsing_timeout=None)
    answers = math_verify.parse(text, parsing_timeout=None)
    right = bool(reference) and bool(math_verify.verify(reference, answers, timeout_seconds=None))
    return (str(answers[-1])[:1000] if answers else None), right
