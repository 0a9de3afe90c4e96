"""Lengths of prompts as people write them: numbers, 32k, 1m, a range of powers of two, or `auto`."""

from collections.abc import Sequence

from m1eval import Tokenizer
from m1eval.option_names import runner_option
from m1eval.text import parse_tokens

Lengths = str | int | Sequence[str | int]
FIRST = 4_096
"""The shortest length of `auto`."""


def lengths_of(lengths: Lengths, tokenizer: Tokenizer) -> list[int]:
    """Token counts, in order, each once; `4k-1m` is every power of two in between; ValueError for anything else.

    `auto` is every power of two from 4,096 to the model's window; where the last one is the window itself, a sixteenth
    of it is left for the answer.
    """
    parts = lengths.split(",") if isinstance(lengths, str) else [lengths] if isinstance(lengths, int) else lengths
    return list(dict.fromkeys(length for part in parts for length in _lengths(str(part).strip().lower(), tokenizer)))


def _lengths(text: str, tokenizer: Tokenizer) -> list[int]:
    if text == "auto":
        return _rungs(getattr(tokenizer, "context_window", None))
    first, dash, last = text.partition("-")
    if dash:
        low, high = _number(first), _number(last)
        rungs = [2**i for i in range(64) if low <= 2**i <= high]
        if not rungs:
            raise ValueError(f"there is no power of two between {first} and {last}")
        return rungs
    return [_number(text)]


def _number(text: str) -> int:
    try:
        return parse_tokens(text, minimum=1)
    except ValueError as error:
        raise ValueError(f"{error}, or a range such as 4k-1m, or auto") from None


def _rungs(window: int | None) -> list[int]:
    if not window:
        raise ValueError(
            f"auto needs the model's window, which this runner does not tell: {runner_option('window', 'TOKENS')}"
        )
    rungs = [2**i for i in range(64) if FIRST <= 2**i < window]
    return [*rungs, window - window // 16] if window & (window - 1) == 0 and window > FIRST else rungs or [window // 2]
