"""Output of `m1eval compare`."""

from collections.abc import Sequence
from typing import Any

from m1eval import terminal
from m1eval.analysis.compare import Comparison, Effect, Skipped
from m1eval.store.config import setting_text
from m1eval.text import format_count, format_interval, format_p, is_are, plural, shorten

NAMES = 12
"""Flipped samples that are listed by name."""


def show(pairs: Sequence[Comparison], skipped: Sequence[Skipped] = ()) -> None:
    """Print the comparisons, then the skipped tasks."""
    for text in all_lines(pairs, skipped):
        terminal.line(text)


def all_lines(pairs: Sequence[Comparison], skipped: Sequence[Skipped] = ()) -> list[str]:
    """The lines of several comparisons, with an empty one between them."""
    text: list[str] = []
    for number, pair in enumerate(pairs):
        text += [*([""] if number else []), *lines(pair, several=len(pairs) + len(skipped) > 1)]
    return [*text, *([""] if skipped else []), *(f"skipped {each.task}: {each.reason}" for each in skipped)]


def lines(pair: Comparison, *, several: bool = False) -> list[str]:
    """One comparison: settings, scores, the difference with its uncertainty, tokens and flips."""
    changed = "; ".join(f"{key} {_setting(one)} → {_setting(other)}" for key, (one, other) in pair.config.items())
    texts = [
        f"A {pair.a}   B {pair.b}" + (f"   {pair.task}" if several else ""),
        f"config  {changed or 'the same'}",
        f"score   {pair.scores[0]:.3f} → {pair.scores[1]:.3f}   Δ {pair.difference:+.3f}   (paired, {_size(pair)})",
        f"        over problems: {_effect(pair)}",
        f"        with these problems fixed: {_effect(pair.these_problems)}",
        _detectable(pair),
        _tokens(pair),
        f"both right {pair.both_right} · both wrong {pair.both_wrong} · only A {len(pair.only_a)} · "
        f"only B {len(pair.only_b)}{_named('only B', pair.only_b)}{_named('only A', pair.only_a)}",
    ]
    if max(pair.repeats) > 1:
        texts.append("a sample is right if at least half of its answers are")
    if pair.other_prompts:
        texts.append(f"{plural(pair.other_prompts, 'sample')} with different prompts in A and B")
    if pair.left_out:
        texts.append(f"{plural(pair.left_out, 'sample')} {is_are(pair.left_out)} scored in only one run and left out")
    if any(pair.errored):
        texts += _errored_lines(pair)
    if pair.gate is not None:
        texts.append(_gate(pair))
    return texts


def _effect(effect: Effect) -> str:
    p = format_p(effect.p)
    if effect.p_adjusted is not None:
        p += f", adjusted {format_p(effect.p_adjusted).removeprefix('p ').removeprefix('= ')}"
    return f"95% interval of Δ {format_interval(effect.interval, signed=True)}, {p}"


def _detectable(pair: Comparison) -> str:
    detectable = pair.these_problems.minimum_detectable
    if detectable is None:
        return "        no difference is detectable with so few answers (80% power at the 5% level)"
    return f"        minimum detectable Δ on these problems {detectable:.3f} (80% power at the 5% level)"


def _size(pair: Comparison) -> str:
    sides = [
        str(low) if low == high else f"{low}–{high}" for low, high in zip(pair.repeats_least, pair.repeats, strict=True)
    ]
    repeats = "" if sides == ["1", "1"] else f" × {' and '.join(dict.fromkeys(sides))}"
    return f"{plural(pair.samples, 'sample')}{_clusters(pair)}{repeats}"


def _clusters(pair: Comparison) -> str:
    if pair.clusters == pair.samples:
        return ""
    if pair.cluster is not None:
        return f" in {plural(pair.clusters, 'cluster')} by {pair.cluster}"
    return f" on {plural(pair.clusters, 'text')}"


def _gate(pair: Comparison) -> str:
    low, high = pair.these_problems.limits
    allowed = f"{pair.margin or 0:g}"
    reason = {
        "worse": f"B is worse by more than {allowed}: the difference is at most {high:+.3f}",
        "not worse": f"B is not worse by more than {allowed}: the difference is at least {low:+.3f}",
        "inconclusive": f"B may be worse by more than {allowed}: the difference is between {low:+.3f} and {high:+.3f}",
    }[pair.gate or "inconclusive"]
    return f"gate    {pair.gate}: {reason} (one-sided 95% limits, these problems fixed)"


def _tokens(pair: Comparison) -> str:
    one, other = pair.tokens
    growth = f"   {100 * (other / one - 1):+.0f}%" if one and other is not None else ""
    shown = " → ".join("–" if each is None else format_count(each) for each in (one, other))
    return f"tokens  {shown}{growth}   truncated {100 * pair.truncated[0]:.1f}% → {100 * pair.truncated[1]:.1f}%"


def _errored_lines(pair: Comparison) -> list[str]:
    assert pair.difference_bounds is not None
    return [
        f"errored and left out: A {pair.errored[0]:,}, B {pair.errored[1]:,}; bounds of Δ over all samples "
        f"{format_interval(pair.difference_bounds, signed=True)}; hard problems may error more often",
        f"Δ if errored answers counted: {pair.difference_errors_wrong:+.3f} as wrong, "
        f"{pair.difference_errors_right:+.3f} as right",
    ]


def _named(title: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return f"     {title}: {' '.join(names[:NAMES])}{rest}"


def _setting(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "–" if value is None else shorten(" ".join(setting_text(value).split()), 40)
