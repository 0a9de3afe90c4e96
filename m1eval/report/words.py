"""Numbers as people read them."""


def count(number: float) -> str:
    """12, 2,410, 24.9k, 1.2M."""
    if number >= 1e6:
        return f"{number / 1e6:.1f}M"
    return f"{number / 1e3:.1f}k" if number >= 1e4 else f"{number:,.0f}"


def span(seconds: float) -> str:
    """0.4s, 12s, 31m, 1h12m, 3d4h."""
    if seconds < 1:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, size, below, inner in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // inner}{below}"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def score(value: float | None, stderr: float | None = None) -> str:
    """0.742 ± 0.061, or a dash."""
    if value is None:
        return "–"
    return f"{value:.3f}" if stderr is None else f"{value:.3f} ± {stderr:.3f}"


def short(text: str, most: int = 80) -> str:
    """The text, or its beginning with an ellipsis, `most` characters in all."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
