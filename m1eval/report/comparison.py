"""`m1eval compare`: what it prints."""

from collections.abc import Sequence
from typing import Any

from m1eval import terminal
from m1eval.compare import Pair
from m1eval.report.words import count, short

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
    error = f" ± {pair.stderr:.3f}" if pair.stderr is not None else ""
    p = f"p = {_p(pair.p)}"
    if pair.p_adjusted is not None:
        p += f", adjusted {_p(pair.p_adjusted)}"
    most = dict.fromkeys(pair.repeats)
    repeats = f"{pair.samples} samples" + ("" if [*most] == [1] else f" × {' and '.join(map(str, most))}")
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
        found.append(f"Δ lies in {pair.interval[0]:+.3f} … {pair.interval[1]:+.3f} (95%)" + _needed(pair))
    if pair.left_out:
        found.append(f"{pair.left_out} samples are scored on one side only and left out")
    if any(pair.errored):
        found.append(f"errored and left out: A {pair.errored[0]}, B {pair.errored[1]}")
    return found


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


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
