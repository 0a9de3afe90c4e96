"""Whether a letter at a place of a text is given as the answer, or is a word, a formula or one of several."""

from typing import NamedTuple

from . import words
from .grammar import (
    APART,
    BESIDE,
    BINOMIALS,
    CLOSING,
    CONTINUED,
    DIGITS,
    ENDS,
    LISTED,
    MANNER,
    NEXT_WORD,
    OPTION_FORMULA,
    SPECIES,
    SUFFIX,
    UNSPACED,
    VERBAL,
)
from .letters import ARABIC, CYRILLIC, LOOKALIKES


class Letter(NamedTuple):
    """A letter and the offset of its end; the letter is "" for several."""

    letter: str
    end: int


def latin(character: str) -> str:
    """The Latin letter that a character represents."""
    return LOOKALIKES.get(character) or ARABIC.get(character) or character.upper()


def letter_at(text: str, place: int, *, opened: str = "", strict: bool = False, cut: bool = False) -> Letter | None:
    """The letter given at an offset; None if there is a word, a formula or a question.

    `opened`: the brackets and quotation marks before it. `strict`: nothing but punctuation may follow. `cut`: the text
    ended at a token limit, so that a letter at its very end may be the beginning of something else.
    """
    character = text[place]
    end = _end_of_closing(text, place + 1, opened)
    dressed = end > place + 1
    if other := _second_letter(text, end, small=character.islower()):
        return Letter("" if other != latin(character) else latin(character), end)
    if suffix := SUFFIX.match(text, end):
        return Letter(latin(character), suffix.end())
    if _continues(text, end, dressed=dressed) or (cut and not dressed and ENDS.match(text, end)):
        return None
    if MANNER.match(text, end):
        return Letter(latin(character), end)
    if not dressed and (word := NEXT_WORD.match(text, end)) and not _may_follow(character, word[1], strict=strict):
        return None
    return Letter(latin(character), end)


def _end_of_closing(text: str, place: int, opened: str) -> int:
    """The end of the brackets and quotation marks after a letter."""
    end = place
    while (match := CLOSING.match(text, end)) and match.end() > end:
        end = match.end()
        if end - place > 8:
            break
    if text[end : end + 1] in ("'", "’") and ("'" in opened or "‘" in opened) and not text[end + 1 : end + 2].isalnum():
        return end + 1
    return end


def _second_letter(text: str, end: int, *, small: bool) -> str:
    """Another letter that is given next to the one that ends here."""
    if APART.match(text, end):
        return ""
    match = LISTED.match(text, end) or BESIDE.match(text, end)
    if not match or match["letter"].islower() != small or VERBAL.match(text, match.end()):
        return ""
    word = NEXT_WORD.match(text, match.end())
    if match["letter"] in "AIаАВСЕaei" and not match["close"] and word and word[1].islower():
        return latin(match["letter"]) if word[1] in words.CONNECTIVES and match["letter"] in "A" else ""
    return latin(match["letter"])


def _continues(text: str, end: int, *, dressed: bool) -> bool:
    """Whether a letter is part of something longer, or asked rather than said."""
    following = text[end : end + 1]
    if following.isalnum() and not dressed:
        return not UNSPACED.match(following) or following in "型语語超股座罩吗嗎"
    if (name := SPECIES.match(text, end)) and name[1] in BINOMIALS:
        return True
    if text[end - 1] in CYRILLIC and DIGITS.match(text, end):
        return True  # a Russian preposition before a number
    if text[end - 1] == ")" and OPTION_FORMULA.match(text, end):
        return False
    return bool(CONTINUED.match(text, end))


def _may_follow(character: str, word: str, *, strict: bool) -> bool:
    """Whether a word behind an undressed letter leaves it a letter, as in "A because", not as in "A cat"."""
    if strict and word in ("as", "so", "that", "where", "when", "if", "to", "in"):
        return False  # "choose C so that"
    if word.lower() in words.CONNECTIVES or UNSPACED.match(word):
        return True
    if strict or character.islower() or character in "AI" or character in LOOKALIKES or character in ARABIC:
        return False
    return word.lower() not in words.NOUNS and word not in BINOMIALS
