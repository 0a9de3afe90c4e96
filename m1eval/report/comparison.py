"""`m1eval compare`: what it prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m1eval import description, terminal
from m1eval.compare import Pair
from m1eval.report.words import count, interval, p_value, plural, short

NAMES = 12
"""Flipped samples that are named."""


def show(pairs: Sequence[Pair]) -> None:
    """Print the comparisons, a block each."""
    for number, pair in enumerate(pairs):
        if number:
            terminal.line()
        for text in lines(pair, several=len(pairs) > 1):
            terminal.line(text)


def lines(pair: Pair, *, several: bool = False) -> list[str]:
    """One comparison: settings first, then scores, tokens and flips."""
    changed = "; ".join(f"{key} {_setting(one)} → {_setting(other)}" for key, (one, other) in pair.config.items())
    error = f" (standard error {pair.stderr:.3f})" if pair.stderr is not None else ""
    p = p_value(pair.p)
    if pair.p_adjusted is not None:
        p += f", adjusted {p_value(pair.p_adjusted)}"
    most = dict.fromkeys(pair.repeats)
    repeats = plural(pair.samples, "sample") + ("" if [*most] == [1] else f" × {' and '.join(map(str, most))}")
    one, other = pair.tokens
    growth = f"   {100 * (other / one - 1):+.0f}%" if one else ""
    found = [
        f"A {pair.a}   B {pair.b}" + (f"   {pair.task}" if several else ""),
        f"config  {changed or 'the same'}",
        f"score   {pair.scores[0]:.3f} → {pair.scores[1]:.3f}   Δ {pair.difference:+.3f}{error}   {p} "
        f"(paired, {repeats})",
        f"tokens  {count(one)} → {count(other)}{growth}   "
        f"truncated {100 * pair.truncated[0]:.1f}% → {100 * pair.truncated[1]:.1f}%",
        f"both right {pair.both_right} · both wrong {pair.both_wrong} · only A {len(pair.only_a)} · "
        f"only B {len(pair.only_b)}{_named('only B', pair.only_b)}{_named('only A', pair.only_a)}",
    ]
    if pair.interval is not None:
        found.append(f"Δ lies in {interval(pair.interval, signed=True)} (95%)" + _needed(pair))
    if pair.left_out:
        are = "is" if pair.left_out == 1 else "are"
        found.append(f"{plural(pair.left_out, 'sample')} {are} scored on one side only and left out")
    if any(pair.errored):
        found.append(f"errored and left out: A {pair.errored[0]:,}, B {pair.errored[1]:,}{_bounds(pair)}")
    return found


def _bounds(pair: Pair) -> str:
    """What the errored answers might do to the difference of the runs."""
    bounds = [description.read(Path(folder)).score_bounds for folder in (pair.a, pair.b)]
    if bounds[0] is None or bounds[1] is None:
        return ""
    (low_a, high_a), (low_b, high_b) = bounds
    low, high = low_b - high_a, high_b - low_a
    warning = "; hard problems may err more often" if high - low > 0.01 else ""
    return f"; whatever they were, Δ of all samples is between {low:+.3f} and {high:+.3f}{warning}"


def _needed(pair: Pair) -> str:
    if pair.samples_needed is None or pair.p < 0.05:
        return ""
    return f"; about {pair.samples_needed:,} samples would show a difference of this size"


def _named(title: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return f"     {title}: {' '.join(names[:NAMES])}{more}"


def _setting(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "–" if value is None else short(" ".join(str(value).split()), 40)
