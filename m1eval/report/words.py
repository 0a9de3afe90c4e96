"""Numbers as people read them."""

from collections.abc import Sequence

from m1eval.text import is_are, p_value, plural

__all__ = [
    "format_cost",
    "format_count",
    "format_duration",
    "format_interval",
    "format_score",
    "is_are",
    "p_value",
    "plural",
    "shorten",
]


def format_count(number: float) -> str:
    """12, 2,410, 24.9k, 1.2M."""
    if number >= 1e6:
        return f"{number / 1e6:.1f}M"
    return f"{number / 1e3:.1f}k" if number >= 1e4 else f"{number:,.0f}"


def format_duration(seconds: float) -> str:
    """0.4s, 12s, 31m, 1h12m, 3d4h."""
    if seconds < 1:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, size, below, inner in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // inner}{below}"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def format_score(value: float | None, stderr: float | None = None) -> str:
    """0.742 ± 0.061, or a dash."""
    if value is None:
        return "–"
    return f"{value:.3f}" if stderr is None else f"{value:.3f} ± {stderr:.3f}"


def format_interval(bounds: Sequence[float] | None, *, signed: bool = False) -> str:
    """0.610–0.860, signed as -0.120 to +0.040, or a dash."""
    if bounds is None:
        return "–"
    low, high = bounds
    return f"{low:+.3f} to {high:+.3f}" if signed else f"{low:.3f}–{high:.3f}"


def format_cost(cost: float | None, *, complete: bool = True) -> str:
    """$12.34, $0.0042, ≥ $1.20 where a part is not known, or a dash."""
    if cost is None:
        return "–"
    text = f"${cost:,.2f}" if cost >= 0.995 or not cost else f"${cost:.{_places(cost)}f}"
    return text if complete else f"≥ {text}"


def _places(cost: float) -> int:
    """Decimals that show two figures of a small amount, two at least."""
    return max(2, min(6, 1 - int(f"{cost:e}".partition("e")[2])))


def shorten(text: str, most: int = 80) -> str:
    """The text, or its beginning with an ellipsis, `most` characters in all."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
