"""Parsing and formatting of numbers: token counts, durations, scores, costs, plurals."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

_TOKENS = re.compile(r"([0-9]{1,3}(?:_[0-9]{3})+|[0-9]{1,18})(?:\.([0-9]{1,9}))?([kKmM]?)")
UNITS = {"": 1, "k": 2**10, "m": 2**20}
"""The suffixes of token counts: k is 1,024 and m is 1,048,576, in every option and task file.

Windows, prompt lengths and published budgets are powers of two times such units (32k = 32,768; the 80K thinking budget
of MiniMax-M1 is 81,920 tokens), so one binary reading fits them all.
"""
MAX_COUNT = 2**50
FORMS = "write 4096, 32_768, 32k, 1.5k or 1m (k = 1,024, m = 1,048,576)"
"""The forms of a token count, for error messages."""


def parse_tokens(value: object, *, minimum: int = 0) -> int:
    """A count of tokens from 4096, 32_768, 32k, 1.5K or 1m; ValueError with the accepted forms for anything else.

    `k` is 1,024 and `m` is 1,048,576, in small or capital letters. A fraction must give a whole number.
    """
    text = value.strip() if isinstance(value, str) else str(value)
    match = None if isinstance(value, bool | float) else _TOKENS.fullmatch(text)
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_COUNT:
        match = _TOKENS.fullmatch(str(int(value)))
    if not match:
        raise ValueError(f"'{shorten(text, 40)}' is not a number of tokens: {FORMS}")
    whole, fraction, unit = match[1].replace("_", ""), match[2] or "", UNITS[match[3].lower()]
    count, rest = divmod(int(whole + fraction) * unit, int(f"1{'0' * len(fraction)}"))
    if rest:
        raise ValueError(f"'{shorten(text, 40)}' is not a whole number of tokens: {FORMS}")
    if not minimum <= count <= MAX_COUNT:
        bound = f"at least {minimum:,}" if count < minimum else f"at most {MAX_COUNT:,}"
        raise ValueError(f"'{shorten(text, 40)}' is out of range: a number of tokens of {bound}")
    return count


def format_tokens(count: int) -> str:
    """A prompt length: 4k, 128k or 1m where it is that exactly, else the number."""
    for unit in ("m", "k"):
        if count >= UNITS[unit] and count % UNITS[unit] == 0:
            return f"{count // UNITS[unit]}{unit}"
    return f"{count:,}"


def plural(number: int, noun: str, nouns: str = "") -> str:
    """A count with its noun: `1 sample`, `2,410 samples`; `nouns` is a plural that does not just add an s."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def is_are(number: int) -> str:
    """The verb that goes with a count."""
    return "is" if number == 1 else "are"


def format_p(p: float) -> str:
    """A p-value with its sign: `p = 0.034` or `p < 0.001`."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


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
    text = f"${cost:,.2f}" if cost >= 0.995 or not cost else f"${cost:.{_decimals(cost)}f}"
    return text if complete else f"≥ {text}"


def _decimals(cost: float) -> int:
    """Decimals that show two figures of a small amount, two at least."""
    return max(2, min(6, 1 - int(f"{cost:e}".partition("e")[2])))


def shorten(text: str, limit: int = 80) -> str:
    """The text, or its beginning and an ellipsis, `limit` characters in all."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


MAX_NAMES = 60
"""Known names that the message for an unknown one lists."""


def unknown_name(noun: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name, with the nearest known one, or else the known ones, `MAX_NAMES` at most."""
    known = sorted(known)
    same_number = [each for each in known if _without_padding(each) == _without_padding(name)]
    if close := same_number or get_close_matches(name, known, 1):
        return f"unknown {noun} '{name}'; did you mean '{close[0]}'?"
    more = f" and {len(known) - MAX_NAMES:,} more" if len(known) > MAX_NAMES else ""
    return f"unknown {noun} '{name}'; there are {', '.join(known[:MAX_NAMES])}{more}"


def _without_padding(name: str) -> str:
    """A name with its numbers as they are counted: `capitals-09` is `capitals-9`."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name)


def display_path(path: Path) -> str:
    """A path as a person would write it here: relative to the current folder where it is inside."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
