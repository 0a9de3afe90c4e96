"""A text made plain for the search of a letter: one form of each letter, no markup, no LaTeX styles.

Everything here takes linear time.
"""

import re
from functools import cache

LETTERS = "ABCDEFGHIJ"

CYRILLIC = "АВСЕНІ"
LOOKALIKES = {**dict(zip(CYRILLIC, "ABCEHI", strict=True)), **dict(zip("ΑΒΕΗΙ", "ABEHI", strict=True))}
"""Cyrillic and Greek capitals that look like Latin ones, and are typed for them."""

ARABIC = {"أ": "A", "ا": "A", "ب": "B", "ج": "C", "د": "D", "ه": "E", "و": "F"}
"""The letters with which options are numbered in Arabic."""

_TAG = re.compile(
    r"</?(?:b|strong|i|em|u|span|p|div|code|mark|font|big|small|h[1-6]|li|option|choice|letter|label)(?:\s[^<>]{0,80})?>",
    re.IGNORECASE,
)
_BREAK = re.compile(r"<br\s{0,3}/?>", re.IGNORECASE)
_STYLE = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|sc|up|md|normal)?|math(?:bf|it|rm|sf|tt|cal|bb|frak|scr|normal)|bf|it|rm|sf|tt|bfseries"
    r"|itshape|boldsymbol|bm|pmb|mbox|hbox|emph|underline|ensuremath|operatorname|displaystyle|textstyle|large|Large"
    r"|LARGE|huge|Huge|left|right|big|Big|bigl|bigr)(?![A-Za-z])\*?"
)
_COLOUR = re.compile(r"\\(?:textcolor|color|colorbox)\s{0,3}\{[A-Za-z0-9!]{1,40}\}")
_SPACE = re.compile(r"\\(?:[,;:! ]|quad(?![A-Za-z])|qquad(?![A-Za-z]))|~")
_MATH = re.compile(r"\\[()\[\]]|\$+")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")


def plain(text: str) -> str:
    """The text without emphasis, tags, styles, dollar signs and other forms of letters."""
    text = text if text.isascii() else text.translate(_forms())
    if "~~" in text:
        text = _STRUCK.sub(" ", text)
    if "<|" in text:
        text = text.replace("<|begin_of_box|>", "\\boxed{").replace("<|end_of_box|>", "}")
    text = text.replace("*", "").replace("`", "").replace("\r", "\n")
    if "<" in text:
        text = _TAG.sub(" ", _BREAK.sub("\n", text))
    if "\\" in text:
        text = _SPACE.sub(" ", _STYLE.sub(" ", _COLOUR.sub(" ", text).replace("\\{", "{").replace("\\}", "}")))
    return _MATH.sub(" ", text) if "$" in text or "\\" in text else text


def lowered(text: str) -> str:
    """Small letters, each at the place of its capital."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


@cache
def _forms() -> dict[int, str | None]:
    table: dict[int, str | None] = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
    for first in (0x1D400 + 52 * style for style in range(13)):  # mathematical alphabets
        table |= {first + i: chr(65 + i) for i in range(26)} | {first + 26 + i: chr(97 + i) for i in range(26)}
    for first in (0x24B6, 0x1F110, 0x1F130, 0x1F150, 0x1F170):  # in circles, parentheses and squares
        table |= {first + i: chr(65 + i) for i in range(26)}
    table |= {0x24D0 + i: chr(97 + i) for i in range(26)} | {0x249C + i: chr(97 + i) for i in range(26)}
    table |= dict.fromkeys((173, 8203, 8204, 8205, 8206, 8207, 8288, 65038, 65039, 65279))
    table |= dict.fromkeys((*range(8234, 8239), *range(8294, 8298)))
    table |= dict.fromkeys((160, *range(8192, 8203), 8239, 8287, 12288), " ")
    table |= {0x2028: "\n", 0x2029: "\n", 0x85: "\n", 0x3001: ",", 0x3002: ".", 0x060C: ",", 0x061F: "?", 0x20DD: None}
    table |= {0xFE13: ":", 0xA789: ":", 0x2236: ":", 0x0589: ":", 0x1361: ":"}
    return table | {0x0903: ":", 0x0983: ":", 0x0964: "."}  # visarga written for a colon, and danda
