"""Numbers and words as people write and read them: counts of tokens, plurals, p-values."""

import re

_TOKENS = re.compile(r"([0-9]{1,3}(?:_[0-9]{3})+|[0-9]{1,18})(?:\.([0-9]{1,9}))?([kKmM]?)")
UNITS = {"": 1, "k": 2**10, "m": 2**20}
"""What the suffixes of token counts mean: k is 1,024 and m is 1,048,576, in every option and task file.

Windows, prompt lengths and published budgets are powers of two times such units (32k = 32,768; the 80K thinking budget
of MiniMax-M1 is 81,920 tokens), so one binary reading fits them all.
"""
MOST_TOKENS = 2**50
FORMS = "write 4096, 32_768, 32k, 1.5k or 1m (k = 1,024, m = 1,048,576)"
"""The forms of a token count, for error messages."""


def parse_tokens(value: object, *, least: int = 0) -> int:
    """A count of tokens from 4096, 32_768, 32k, 1.5K or 1m; ValueError with the accepted forms for anything else.

    `k` is 1,024 and `m` is 1,048,576, in small or capital letters. A fraction must give a whole number.
    """
    text = value.strip() if isinstance(value, str) else str(value)
    found = None if isinstance(value, bool | float) else _TOKENS.fullmatch(text)
    if isinstance(value, float) and value.is_integer() and abs(value) <= MOST_TOKENS:
        found = _TOKENS.fullmatch(str(int(value)))
    if not found:
        raise ValueError(f"'{_short(text)}' is not a number of tokens: {FORMS}")
    whole, fraction, unit = found[1].replace("_", ""), found[2] or "", UNITS[found[3].lower()]
    count, rest = divmod(int(whole + fraction) * unit, int(f"1{'0' * len(fraction)}"))
    if rest:
        raise ValueError(f"'{_short(text)}' is not a whole number of tokens: {FORMS}")
    if not least <= count <= MOST_TOKENS:
        bound = f"at least {least:,}" if count < least else f"at most {MOST_TOKENS:,}"
        raise ValueError(f"'{_short(text)}' is out of range: a number of tokens of {bound}")
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


def p_value(p: float) -> str:
    """A p-value with its sign: `p = 0.034` or `p < 0.001`."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
