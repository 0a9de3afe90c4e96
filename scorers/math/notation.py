"""Normalizes notations of one answer: LaTeX and Unicode stripped, numbers parsed exactly, lists split."""

import re
import string
from fractions import Fraction
from typing import NamedTuple

from . import characters, variants
from .quantities import split_unit
from .undress import unbraced, undress

_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname|bf|rm)\s*\{([^{}]*)\}")
_ORDINAL = re.compile(
    r"(?<=\d)\s*+(?:\^\s*+)?(?:\{\s*+)?\\?(?:text|mathrm|textsuperscript|rm)?\s*+(?:\{\s*+)?"
    r"(?:st|nd|rd|th)\}*+(?: [a-z]+$|$|(?=\\text))"
)
_POWERS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_POWER = re.compile(r"(?<=\d) ?(?:\\text ?\{)? ?(thousand|million|billion|trillion)\b ?\}?", re.IGNORECASE)
_GROUPS = re.compile(r"(?<!\d)(\d{1,3})((?:(?:,|\{,\}| )\d{3})+)(?![\d,])")
_PAIR = re.compile(r"\s*\(\s*-?\d+,\d|(?:[^,]|,(?! +\d))*\d, +\d")
_INDIAN = re.compile(r"(?<![\d,])\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])")
_DECIMAL = r"(?:\d++(?:\.\d*+)?|\.\d++)"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<whole>\d+)?\\frac(?:\{{(?P<over>-?{_DECIMAL})\}}|(?P<o>\d))(?:\{{(?P<under>{_DECIMAL})\}}|(?P<u>\d))"
    rf"|(?P<a>{_DECIMAL})/(?P<b>{_DECIMAL})"
    rf"|(?P<base>{_DECIMAL})(?:(?:\\times|\\cdot|\*)10\^\{{?(?P<ten>[+-]?\d{{1,4}})\}}?|[eE](?P<e>[+-]?\d{{1,4}}))?"
    r"|10\^\{?(?P<only>[+-]?\d{1,4})\}?)"
)
_MOST_EXPONENT = 400
"""Powers of ten beyond this are left to algebra, which has a limit of time and memory."""


_DOTS = re.compile(r"(?<=\d\d)(?<!\d\.\d)\.{3,}(?!\d)|(?<=[,+])\s?\.{3,}\s?(?=[,+])")
_BOLD = re.compile(r"(?<![\w)}*])\*\*(?=[^\s*])([^*]+)(?<=\S)\*\*(?![\w({\\*])")
_TYPED_SIGN = re.compile(r"(?<![<>=\\-])([<>])=\s?(?![<>=])")
_SYNONYMS = [
    (re.compile(rf"{pattern}(?![a-zA-Z])"), plain.replace("\\", r"\\"))
    for pattern, plain in (
        (r"\\[dtc]frac", r"\frac"), (r"\\(?:leq|leqslant|leqq)", r"\le"), (r"\\(?:geq|geqslant|geqq)", r"\ge"),
        (r"\\lt", "<"), (r"\\gt", ">"), (r"\\(?:neq|not ?=)", r"\ne"), (r"\\[lr]vert", "|"), (r"\\[lr]Vert", r"\|"),
        (r"\\lbrace", r"\{"), (r"\\rbrace", r"\}"), (r"\\(?:lbrack)", "["), (r"\\rbrack", "]"), (r"\\colon", ":"),
        (r"\\varnothing", r"\emptyset"), (r"\\mathbb *R", r"\mathbb{R}"), (r"\\mathbb *Z", r"\mathbb{Z}"),
        (r"\\(?:R|Reals)", r"\mathbb{R}"), (r"\\overrightarrow", r"\vec"), (r"\\widehat", r"\hat"),
        (r"\\bar", r"\overline"), (r"\\bigcup", r"\cup"), (r"\\bigcap", r"\cap"),
        (r"\\(?:c?dots|dots[bcmio]|hdots)", r"\ldots"),
    )
]  # fmt: skip


class Number(NamedTuple):
    """An exact value, and the worth of its last written digit (None for an integer or a fraction)."""

    value: Fraction
    place: Fraction | None = None


def tidy(text: str) -> str:
    """Text without the markup around an answer: math delimiters, styles, trailing punctuation, Unicode for LaTeX."""
    text = re.sub(r"\s+", " ", characters.english_list_words(characters.plain(text)))
    text = _POWER.sub(lambda match: rf"\cdot 10^{{{_POWERS[match[1].lower()]}}}", text)
    text = re.sub(r"\\?\$|(?<!\\)\\[()\[\]]", "", _BOLD.sub(r"\1", text))
    text = _DOTS.sub(r"\\ldots ", text)
    if r"\begin" not in text:
        text = re.sub(r"\\\\(?=[a-zA-Z])", r"\\", text)
    text = _BOLD.sub(r"\1", undress(text))
    text = re.sub(r"(?<=[\w)}])\s*\*\*\s*(-?\d+|[a-zA-Z])", r"^{\1}", text).replace("**", "")
    text = _TYPED_SIGN.sub(lambda match: "\\le " if match[1] == "<" else "\\ge ", text)
    for pattern, plain in _SYNONYMS:
        text = pattern.sub(plain, text)
    return variants.common(unbraced(text.strip().rstrip(f".,;:\\{string.whitespace}")))


def bare(text: str) -> str:
    """The tidy text for comparison as text: no styles, no degree sign, no blanks but between digits."""
    text = re.sub(r"\\!|\^\s*\{?\s*\\circ\s*\}?", "", text)
    text = re.sub(r"\\[,;: ]|~", " ", text)
    text = re.sub(r"([_^])\s*\{([^{}\\])\}", r"\1\2", text)
    return re.sub(r"\s+(?!(?<=\d\s)\d)", "", re.sub(r"\s+", " ", _WRAPPED.sub(r"\1", text)))


def words(text: str) -> list[str]:
    """The words of a prose answer without styles, articles and punctuation, in small letters."""
    plain = re.sub(r"[\\{}$^_~.,:;!?()\"'-]", " ", _WRAPPED.sub(r" \1 ", text))
    return [word for word in plain.lower().split() if word not in {"a", "an", "the"}]


def is_prose(text: str) -> bool:
    """Whether a tidy text is words alone, without a digit or a formula."""
    plain = _WRAPPED.sub(r" \1 ", text)
    match = re.findall(r"[A-Za-z]+", plain)
    return bool(match) and max(map(len, match)) > 1 and not re.search(r"[\d\\^_=+*/<>]", plain)


def without_unit(text: str) -> str:
    """A tidy text without the unit behind its number and without an ordinal's ending."""
    return split_unit(_ORDINAL.sub("", text), reference=True)[0]


def number(text: str) -> Number | None:
    """The number that a tidy text is, thousands separators and unit dropped; None for all else."""
    if len(text) > 1000 or not re.search(r"\d", text) or _PAIR.match(text):
        return None
    plain = bare(without_unit(text))
    plain = _INDIAN.sub(lambda match: match[0].replace(",", ""), plain)
    plain = _GROUPS.sub(lambda match: match[1] + re.sub(r"\D", "", match[2]), plain).replace("{,}", ".")
    if plain.startswith("(") and plain.endswith(")"):
        plain = plain[1:-1]
    match = _NUMBER.fullmatch(plain)
    if match is None:
        return None
    sign = -1 if match["sign"] == "-" else 1
    over, under = match["over"] or match["o"] or match["a"], match["under"] or match["u"] or match["b"]
    if over:
        if not Fraction(under) or (match["whole"] and "-" in over):
            return None
        part = Fraction(over) / Fraction(under)
        return Number(sign * (Fraction(match["whole"] or 0) + part))
    exponent = int(match["ten"] or match["e"] or match["only"] or 0)
    if abs(exponent) > _MOST_EXPONENT:
        return None
    base, ten = match["base"] or "1", Fraction(10) ** exponent
    decimals = len(base.partition(".")[2])
    scientific = bool(match["ten"] or match["e"])
    place = ten / 10**decimals if decimals or scientific else None
    return Number(sign * Fraction(base) * ten, place)


def split(text: str) -> list[str]:
    """A list's values: the text cut at the commas, semicolons and "and" outside all brackets."""
    text = re.sub(r"(?:\\text\s*\{\s*(?:and|or)\s*\}|(?<=[\s,])(?:and|or)(?=\s))", ",", text)
    text = _GROUPS.sub(lambda match: match[0].replace("{,}", ""), text.replace(r"\!", ""))
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character in ",;" and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    parts_kept = [part.strip().strip("\\").strip() if part.endswith("\\") else part.strip() for part in parts]
    return [part for part in parts_kept if part]


def depth(text: str) -> int:
    """The nesting depth of brackets of any kind."""
    deepest = now = 0
    for character in re.findall(r"[(\[{}\])]", text):
        now += 1 if character in "([{" else -1
        deepest = max(deepest, now)
    return deepest
