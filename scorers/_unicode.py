"""Unicode normalization: equal letters written with different code points."""

from unicodedata import combining, normalize

MOST_MARKS = 100
"""Combining marks on one letter; sorting more of them takes quadratic time, so such a text stays as it is."""


def composed(text: str) -> str:
    """The text in normal form C: a letter and its accent are one character where there is one."""
    if text.isascii():
        return text
    marks = 0
    for character in text:
        marks = marks + 1 if character > "\u02ff" and combining(character) else 0
        if marks > MOST_MARKS:
            return text
    return normalize("NFC", text)
