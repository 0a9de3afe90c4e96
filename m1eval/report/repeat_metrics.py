"""Further metrics of a run below its score, as lines of text."""

from collections.abc import Mapping, Sequence

from m1eval.store.metrics import RepeatMetric
from m1eval.text import plural


def lines(figures: Mapping[str, float | None], repeated: Sequence[RepeatMetric]) -> list[str]:
    """All metrics in one line, those of several answers with 95% intervals; then the samples they leave out."""
    intervals = {figure.name: figure.interval for figure in repeated}
    parts = [_part(name, value, intervals.get(name)) for name, value in figures.items()]
    return [" · ".join(parts), *_left_out(repeated)] if parts else []


def _part(name: str, value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return f"{name} unknown"
    text = f"{name} {value:,.0f}" if value > 1 else f"{name} {value:.3f}"
    return f"{text} (95% {interval[0]:.3f}–{interval[1]:.3f})" if interval else text


def _left_out(repeated: Sequence[RepeatMetric]) -> list[str]:
    """A line for each group of metrics that leave out the same number of samples."""
    alike: dict[int, list[RepeatMetric]] = {}
    for figure in repeated:
        if figure.left_out:
            alike.setdefault(figure.left_out, []).append(figure)
    lines = []
    for number, figures in alike.items():
        total = number + figures[0].samples
        ranges = ", ".join(f"{each.name} {each.bounds[0]:.3f} to {each.bounds[1]:.3f}" for each in figures)
        lines.append(
            f"{number:,} of {plural(total, 'sample')} left out of {_names(figures)} (fewer than k scored answers); "
            f"bounds if the missing answers were all wrong or all right: {ranges}"
        )
    return lines


def _names(figures: Sequence[RepeatMetric]) -> str:
    *most, last = (figure.name for figure in figures)
    return f"{', '.join(most)} and {last}" if most else last
