"""Checks what runners and scorers return, so that everything that is recorded can be read back.

Plugins return numbers of many types: numpy scalars, fractions, tensors of one element. Those that are plainly a number
become one; anything else is an error that names the file it came from, before it is counted or written.
"""

import math
import numbers
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from m1eval.text import display_path
from m1eval.types import FinishReason, JudgeReply, Output, Score, Timing, Usage

MAX_TOKENS = 2**53
"""Token counts from here on cannot be right, and could not be kept exactly."""
MAX_AMOUNT = 1e12
"""Dollars or seconds of one answer from here on cannot be right, and the sum of many would be infinite."""

COUNTS = ("prompt", "shared", "cached", "reasoning", "answer")
"""Fields of Usage that are numbers of tokens."""
_FINISH_REASONS = frozenset(get_args(FinishReason))


def as_number(value: Any) -> float:
    """A float from anything that is plainly one real number; TypeError or ValueError otherwise.

    Accepts bool, int, float, Fraction, Decimal, numpy scalars and arrays or tensors without dimensions.
    """
    if type(value) is float:
        return value
    if not isinstance(value, numbers.Number | Decimal):
        item = getattr(value, "item", None)
        if item is None or tuple(getattr(value, "shape", (1,))) != ():
            raise TypeError(f"{_describe_value(value)} is not a number")
        value = item()
    if isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real):
        raise TypeError(f"{_describe_value(value)} is not a real number")
    if not isinstance(value, numbers.Real | Decimal):
        raise TypeError(f"{_describe_value(value)} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{_describe_value(value)} is too large") from None


def as_score(score: Any, scorer_file: Path) -> Score:
    """The score that a scorer returned, with plain numbers and text; ValueError that names the scorer's file."""
    try:
        return _plain_score(score)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{display_path(scorer_file)}: {error}") from None


def _plain_score(score: Any) -> Score:
    if not isinstance(score, Score):
        raise TypeError(f"the scorer returned {_describe_value(score)}, not a Score")
    try:
        value = as_number(score.value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the scorer gave a value that cannot be used: {error}") from None
    if not 0 <= value <= 1:  # not for NaN either
        raise ValueError(f"the scorer gave {value}, which is not in [0, 1]")
    if not isinstance(score.metrics, Mapping):
        raise TypeError(f"the metrics of the score are {_describe_value(score.metrics)}, not a dict")
    if not all(isinstance(verdict, JudgeReply) for verdict in score.verdicts):
        raise TypeError("the verdicts of the score are not a list of JudgeReply")
    return Score(
        value=abs(value),  # -0.0 is 0
        answer=None if score.answer is None else _as_text(score.answer),
        explanation=_as_text(score.explanation),
        metrics=_plain_metrics(score.metrics),
        verdicts=list(score.verdicts),
    )


def _plain_metrics(metrics: Mapping[Any, Any]) -> dict[str, float]:
    """Metrics as floats; those that are None or not finite are left out."""
    plain = {}
    for name, value in metrics.items():
        try:
            number = math.nan if value is None else as_number(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"metric '{name}': {error}") from None
        if math.isfinite(number):
            plain[_as_text(name)] = number
    return plain


def as_metrics(metrics: Any) -> dict[str, float | None]:
    """Aggregate metrics of a scorer with plain numbers; those that are not finite become None."""
    if not isinstance(metrics, Mapping):
        raise TypeError(f"figures are {_describe_value(metrics)}, not a dict")
    plain: dict[str, float | None] = {}
    for name, value in metrics.items():
        try:
            number = None if value is None else as_number(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"figure '{name}': {error}") from None
        plain[_as_text(name)] = number if number is not None and math.isfinite(number) else None
    return plain


def as_output(output: Any) -> Output:
    """The output that a runner or an episode returned, with plain numbers and text; TypeError if it is not one.

    Counts and times that cannot be right are not known and become 0, a cost None. Changes the output in place.
    """
    if not isinstance(output, Output):
        raise TypeError(f"{_describe_value(output)} was returned in place of an Output")
    as_usage(output.usage)
    as_timing(output.timing)
    output.retries = _count(output.retries)
    for name in ("text", "reasoning"):
        if not isinstance(text := getattr(output, name), str):
            raise TypeError(f"the output's {name} is {_describe_value(text)}, not a str")
    output.error = None if output.error is None else _as_text(output.error)
    if output.finish_reason not in _FINISH_REASONS:
        reasons = ", ".join(sorted(_FINISH_REASONS))
        raise ValueError(f"the output's finish_reason is {output.finish_reason!r}, not one of {reasons}")
    if not isinstance(output.metadata, Mapping):
        raise TypeError(f"the output's metadata is {_describe_value(output.metadata)}, not a dict")
    if output.logprobs is not None:
        output.logprobs = _logprobs(output.logprobs)
    return output


def as_usage(usage: Usage) -> Usage:
    """The same usage with plain numbers: counts that cannot be right become 0, a cost None."""
    for name in COUNTS:
        if type(count := getattr(usage, name)) is not int or not 0 <= count < MAX_TOKENS:
            setattr(usage, name, _count(count))
    usage.shared = min(usage.shared, usage.prompt)
    if usage.cost is not None:
        cost = _finite(usage.cost)
        usage.cost = cost if cost is not None and 0 <= cost < MAX_AMOUNT else None
    return usage


def as_timing(timing: Timing) -> Timing:
    """The same timing with plain numbers: seconds that cannot be right become 0."""
    for name in timing.__struct_fields__:
        seconds = _finite(getattr(timing, name))
        setattr(timing, name, seconds if seconds is not None and 0 <= seconds < MAX_AMOUNT else 0.0)
    return timing


def add_usage(usage: Usage, other: Usage) -> None:
    """Add another usage in place; a cost that one of them lacks is the other's."""
    for name in COUNTS:
        setattr(usage, name, getattr(usage, name) + getattr(other, name))
    if other.cost is not None:
        usage.cost = (usage.cost or 0.0) + other.cost


def total_usage(usages: Iterable[Usage]) -> Usage:
    """The sum of usages."""
    total = Usage()
    for usage in usages:
        add_usage(total, usage)
    return total


def _count(value: Any) -> int:
    number = _finite(value)
    return int(number) if number is not None and 0 <= number < MAX_TOKENS else 0


def _finite(value: Any) -> float | None:
    try:
        number = as_number(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _logprobs(values: Any) -> list[float] | None:
    """Log probabilities as floats; None if one of them is not a number, as the others mean nothing without it."""
    logprobs = [_finite(value) for value in values]
    return [number for number in logprobs if number is not None] if None not in logprobs else None


def _as_text(value: Any) -> str:
    return value if type(value) is str else str(value)


def _describe_value(value: Any) -> str:
    """A value and its type, short."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type(value).__name__})"
