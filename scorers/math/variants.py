r"""Less common ways to write a value, in the common one: `{}_nC_k`, `\nicefrac12`, `12^\circ 30'`, `3万`, `three`.

Each notation here means one thing only; where a notation has two readings, `expression` has both.
"""

import re
from collections.abc import Callable
from fractions import Fraction

_ARGUMENT = r"\{[^{}]*\}|\w"
_CHOICE = re.compile(
    rf"(?<![\w)}}\]^_])(?:\{{\s*\}}\s*)?[\^_]\s*({_ARGUMENT})\s*(?:([CP])|\\(?:text|mathrm)\s*\{{\s*([CP])\s*\}})"
    rf"\s*_\s*({_ARGUMENT})"
)
_SHAPE = r"\\genfrac\s*\{\s*\}\s*\{\s*\}\s*\{\s*\}\s*\{\s*\d?\s*\}"
_CIRCLE = r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))"
_PRIME = r"(?:'|\^\s*(?:\{\s*\\prime\s*\}|\\prime(?![a-zA-Z])))"
_PRIMES = r"(?:''|\"|\^\s*\{\s*\\prime\s*\\prime\s*\})"
_MINUTES = re.compile(
    rf"(?<![\d.])(\d+)\s*{_CIRCLE}\s*(\d+(?:\.\d+)?)\s*{_PRIME}(?!')(?:\s*(\d+(?:\.\d+)?)\s*{_PRIMES})?(?![\w'])"
)
_CIS = re.compile(
    r"(?:\\(?:operatorname|mathrm|text)\s*\{\s*cis\s*\}|\\?(?<![a-zA-Z])cis(?![a-zA-Z]))\s*"
    r"(?:\(([^()]*)\)|\{((?:[^{}]|\{[^{}]*\})*)\}|(-?(?:\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}|\d+(?:\.\d+)?(?:\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ))?"
    r"|\\(?:pi|theta|varphi|phi|alpha)(?![a-zA-Z]))))"
)
_HAN_POWERS = {"万": 4, "萬": 4, "만": 4, "亿": 8, "億": 8, "억": 8, "兆": 12}
_HAN_POWER = re.compile(
    r"(?<![\w.,])(\d+(?:\.\d+)?)\s*(?:\\text\s*\{\s*)?([万萬만亿億억兆])(?![\d〇零一二三四五六七八九十百千万萬亿億兆])"
)
_MARKS = re.compile(r"(?<=[\s\w)}\]!%])\\(?:blacksquare|checkmark|qed|square|Box)(?![a-zA-Z])\s*\Z")
_INFINITY = re.compile(r"([-+]?)\s*(?:\\text\s*\{\s*)?(?:(positive|negative)\s+)?infinity\s*\}?", re.IGNORECASE)
_MISSING = re.compile(r"(?:\\text\s*\{\s*)?(?:(?:the )?limit )?(?:d\.?n\.?e\.?|does not exist)\s*\}?", re.IGNORECASE)


def _common_angle(match: re.Match[str]) -> str:
    """Degrees, minutes and seconds as one number of degrees."""
    value = int(match[1]) + Fraction(match[2]) / 60 + Fraction(match[3] or 0) / 3600
    whole = value.denominator == 1
    return rf"{value}^\circ" if whole else rf"\frac{{{value.numerator}}}{{{value.denominator}}}^\circ"


def _common_choice(match: re.Match[str]) -> str:
    over, under = (part.strip("{} ") for part in (match[1], match[4]))
    return rf"\binom{{{over}}}{{{under}}}" if "C" in (match[2], match[3]) else f"P({over},{under})"


def _common_polar(match: re.Match[str]) -> str:
    angle = next(part for part in match.groups() if part is not None)
    return rf"(\cos({angle})+i\sin({angle}))"


_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\\(?:nicefrac|sfrac|xfrac|flatfrac|ifrac)(?![a-zA-Z])|" + _SHAPE), r"\\frac"),
    (re.compile(r"(?<![\w)}\]])\^\s*\{?(\d+)\}?\s*/\s*_\s*\{?(\d+)\}?"), r"\\frac{\1}{\2}"),
    (re.compile(r"(?<![a-zA-Z^_\\}])\{\s*([-+:=/])\s*\}"), r"\1"),
    (re.compile(r"(?<=\d)\{ ?\}(?=\d)"), " "),
    (re.compile(r"(?<=\d)\s*\{\s*(\\frac\s*(?:\{\d+\}|\d)\s*(?:\{\d+\}|\d))\s*\}"), r"\1"),
    (re.compile(r"(?<=\d)\s*\^\s*(?:\{\s*o\s*\}|o(?![a-zA-Z]))"), r"^\\circ"),
    (re.compile(r"\+\s?\\?/\s?-"), r"\\pm "),
    (re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)"), r"\\times "),
    (re.compile(r"\\backslash(?![a-zA-Z])"), r"\\setminus "),
    (re.compile(r"(?<![\\a-zA-Z{])R(?=\s*\\setminus)"), r"\\mathbb{R}"),
    (_CHOICE, _common_choice),
    (_MINUTES, _common_angle),
    (_CIS, _common_polar),
    (_HAN_POWER, lambda match: rf"{match[1]}\cdot 10^{{{_HAN_POWERS[match[2]]}}}"),
    (_MARKS, ""),
)
_DOTTED = re.compile(r"(?<![\w.,])(\d{1,3}(?:\.\d{3}){2,9})(?:,(\d{1,9}))?(?![\w.,])")

_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: n for n, word in enumerate(_UNITS)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_LONGEST = 120
_SPELLED = re.compile(r"(?:\\text\s*\{)?\s*((?:negative |minus )?)([a-zA-Z]+(?:[ -]+[a-zA-Z]+)*)[ .]*\}?")


def common(text: str) -> str:
    """A tidy text in the common notation; a text that is one number in English words becomes its digits."""
    if spelled := _SPELLED.fullmatch(text) if len(text) <= _LONGEST else None:
        value = _value(spelled[2].lower().replace("-", " ").split())
        if value is not None:
            return f"-{value}" if spelled[1] else str(value)
    if match := _INFINITY.fullmatch(text):
        return r"-\infty" if match[1] == "-" or (match[2] or "").lower() == "negative" else r"\infty"
    if _MISSING.fullmatch(text):
        return r"\text{does not exist}"
    for pattern, plain in _RULES:
        text = pattern.sub(plain, text)
    text = text.rstrip()
    return _DOTTED.sub(lambda match: match[1].replace(".", "") + (f".{match[2]}" if match[2] else ""), text)


def _value(words: list[str]) -> int | None:
    """The number that English words name: `two hundred and five`; None if they are not a number."""
    if words and words[0] == "a" and words[1:2] != ["a"]:
        words = ["one", *words[1:]] if words[1:2] and (words[1] == "hundred" or words[1] in _LARGE) else []
    total, group, before = 0, 0, ""
    for place, word in enumerate(words):
        if word == "and":
            if before not in ("hundred", *_LARGE) or place == len(words) - 1:
                return None
        elif word in _SMALL:
            follows = before in ("", "and", "hundred", *_LARGE) or (before in _TENS and 0 < _SMALL[word] < 10)
            if not follows:
                return None
            group += _SMALL[word]
        elif word == "hundred":
            if not 0 < group < 100:
                return None
            group *= 100
        elif word in _LARGE:
            if not group or (total and total % (1000 * _LARGE[word])):
                return None
            total, group = total + group * _LARGE[word], 0
        else:
            return None
        before = word
    return total + group if words else None
