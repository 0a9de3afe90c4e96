"""Answer extraction and stripping of evaluation/parser.py of QwenLM/Qwen2.5-Math."""

import re
from contextlib import suppress

from .prm800k import braced_fractions, slashed

_NUMBER = re.compile(r"-?\d*\.?\d+")
_UNITS = (
    *("east", "degree", "mph", "kmph", "ft", "m sqaure", " m east", "sq m", "deg", "mile", "q .", "monkey", "prime"),
    *("ratio", "profit of rs", "rd", "o", "gm", "p . m", "lb", "tile", "per", "dm", "lt", "gain", "ab", "way", "west"),
    *(
        "a .",
        "b .",
        "c .",
        "d .",
        "e .",
        "f .",
        "g .",
        "h .",
        "t",
        "a",
        "h",
        "no change",
        "men",
        "soldier",
        "pie",
        "bc",
    ),
    *("excess", "st", "inches", "noon", "percent", "by", "gal", "kmh", "c", "acre", "rise", "a . m", "th", "π r 2"),
    *("sq", "mark", "l", "toy", "coin", "sq . m", "gallon", "° f", "profit", "minw", "yr", "women", "feet", "am", "pm"),
    *("hr", "cu cm", "square", "v â € ™", "are", "rupee", "rounds", "cubic", "cc", "mtr", "s", "ohm", "number", "kmph"),
    *("day", "hour", "minute", "min", "second", "man", "woman", "sec", "cube", "mt", "sq inch", "mp", "∏ cm ³"),
    *("hectare", "more", "sec", "unit", "cu . m", "cm 2", "rs .", "rs", "kg", "g", "month", "km", "m", "cm", "mm"),
    *("apple", "liter", "loss", "yard", "pure", "year", "increase", "decrease", "d", "less", "Surface", "litre"),
    *("pi sq m", "s .", "metre", "meter", "inch"),
)
"""Units, each also with an s after it; a dot matches any character there. The order matters."""
_UNIT_PATTERNS = [
    (unit.partition(".")[0], re.compile(rf"(^|\W){unit}($|\W)")) for unit in [*_UNITS, *(f"{unit}s" for unit in _UNITS)]
]
_NAMES = [f"{name}{sign}" for sign in ("=", r"\in", r"\to") for name in "xyz"]
_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {word: number for number, word in enumerate(_SMALL)}
_WORDS |= {word: 10 * number for number, word in enumerate(_TENS, 2)}
_WORDS |= {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_DIGITS = _SMALL[:10]


def last_answer(text: str) -> str:
    """The answer of an output as written there: Minerva's form, the last box, "answer is", else the last number."""
    text = text.replace("ки", "")
    if "final answer is $" in text and "$. I hope" in text:
        answer = text.partition("final answer is $")[2].partition("$. I hope")[0].strip()
    elif "boxed" in text:
        answer = text.rpartition("boxed")[2]
        answer = _closed(answer) if answer.startswith("{") else answer.partition("$")[0].strip()
    elif words := next((words for words in ("he answer is", "final answer is") if words in text), None):
        answer = text.rpartition(words)[2].strip()
    elif "答案是" in text:
        answer = text.split("答案是")[1].strip().partition("\n\n")[0].strip()
    else:
        answer = _last_number(text.replace(",", ""))
    return re.sub(r"\n\s*", "", answer).removeprefix(":").removesuffix(".").removesuffix("/")


def _last_number(text: str) -> str:
    number = ""
    for match in _NUMBER.finditer(text):
        number = match[0]
    return number


def _closed(text: str) -> str:
    """The content of the braces that a text begins with; all of it where they are not closed."""
    depth = 0
    for place in re.finditer("[{}]", text):
        depth += 1 if place[0] == "{" else -1
        if not depth:
            return text[1 : place.start()]
    return text[1:]


def stripped(text: str) -> str:
    """A string as Qwen's code compares it: no units, styles and blanks, words as numbers, fractions with braces."""
    text = _undressed(text)
    for _ in range(2):
        for start, unit in _UNIT_PATTERNS:
            if start in text:
                text = unit.sub(r"\1\2", text) or text
    for gone in (r"^{\circ}", r"^\circ", r"\$", "$", r"\(", r"\)"):
        text = text.replace(gone, "")
    number = spoken(text)
    text = text if number is None else str(number)
    text = re.sub(r"\\text\{(.*?)\}", r"\1", text)
    for name in _NAMES:
        text = text.replace(name, "")
    text = text.replace(r"\emptyset", "{}").replace(r"(-\infty,\infty)", r"\mathbb{R}")
    text = text.replace(r"\%", "").replace("%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = text.replace("infinity", r"\infty")
    if r"\infty" not in text:
        text = text.replace("inf", r"\infty")
    text = text.replace(r"+\inity", r"\infty").replace("and", "").replace(r"\mathbf", "")
    text = re.sub(r"\\mbox{.*?}", "", text)
    if "j" in text and "i" not in text:
        text = text.replace("j", "i")
    return _numbers(text)


def _undressed(text: str) -> str:
    text = text.strip().replace("\n", "").rstrip(".").replace(r"\!", "")
    text = re.sub(r"\\begin\{array\}\{.*?\}", r"\\begin{pmatrix}", text)
    text = re.sub(r"\\end\{array\}", r"\\end{pmatrix}", text).replace("bmatrix", "pmatrix")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for long in ("neq", "leq", "geq"):
        text = text.replace(f"\\{long}", f"\\{long[:2]}")
    text = text.replace(r"\left", "").replace(r"\right", "").replace(r"\{", "{").replace(r"\}", "}")
    return re.sub(r"\\text{.*?}$", "", text).strip() or text


def _numbers(text: str) -> str:
    """Decimals without a bare point, no short name in front, roots and fractions with braces, no blanks."""
    text = re.sub(r"(\d+)\.0*([^\d])", r"\1\2", text)
    text = re.sub(r"(\d+)\.0*$", r"\1", text)
    if not text:
        return text
    text = f"0{text}" if text.startswith(".") else text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text).replace(" ", "")
    return slashed(braced_fractions(text, lenient=True), lambda side: side if "sqrt" in side else int(side))


def spoken(text: str) -> int | float | None:
    """The number that the English number words in a text make up, as the package word2number reads them."""
    text = text.replace("-", " ").lower()
    if text.isdigit():
        return _int(text)
    words = [word for word in text.split() if word in _WORDS or word == "point"]
    if not words or any(words.count(once) > 1 for once in ("thousand", "million", "billion", "point")):
        return None
    decimals: list[str] = []
    if "point" in words:
        place = words.index("point")
        words, decimals = words[:place], words[place + 1 :]
    places = [words.index(scale) if scale in words else -1 for scale in ("billion", "million", "thousand")]
    if -1 < places[2] < max(places[:2]) or -1 < places[1] < places[0]:
        return None
    total: int | float = 0
    with suppress(IndexError):
        total = _scaled(words, places)
        return total + _decimals(decimals) if decimals else total
    return None


def _int(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:  # a digit such as ², or more of them than Python reads
        return None


def _scaled(words: list[str], places: list[int]) -> int:
    """Billions, millions, thousands and the rest added up; IndexError where a scale has no number before it.

    The rest follows the smallest scale that is not the last word, so "a million two thousand" has its two twice.
    """
    if len(words) <= 1:
        return _WORDS[words[0]] if words else 0
    total, start = 0, 0
    for place, scale in zip(places, (10**9, 10**6, 1000), strict=True):
        if place >= 0:
            total += _hundreds(words[start:place]) * scale
            start = place + 1
    rest = next((place for place in reversed(places) if -1 < place < len(words) - 1), None)
    if rest is not None or not start:
        total += _hundreds(words[0 if rest is None else rest + 1 :])
    return total


def _hundreds(words: list[str]) -> int:
    """Up to four number words as one number; of more than four the first alone counts."""
    numbers = [_WORDS[word] for word in words]
    if len(numbers) == 2:
        return numbers[0] * numbers[1] if 100 in numbers else sum(numbers)
    if len(numbers) in (3, 4):
        return numbers[0] * numbers[1] + sum(numbers[2:])
    return numbers[0]


def _decimals(words: list[str]) -> float:
    return float("0." + "".join(str(_DIGITS.index(word)) for word in words)) if set(words) <= set(_DIGITS) else 0
