r"""Faults of references: texts that are empty, half a command or never closed."""

import re
import unicodedata
from collections.abc import Iterator

from .notation import depth
from .published import LONGEST

DEEPEST = 50  # brackets within brackets; parsers take forever on more, and no answer has them
_DOLLARS = re.compile(r"(?<!\\)\$+\s*\Z")
_AT_END = re.compile(r"(?<!\\)(?:\\\\)*(?:\\|(?:\\sqrt|[_^])\s*)\Z")
_HALF_COMMAND = re.compile(
    r"\\(?:[dtc]?fra|sqr?|tex|lef|rig|righ|inft|cdo|time|alph|bet|thet|math[rb]?|begi|boxe?|pmatri)(?![a-zA-Z])"
)
_COMMAND = re.compile(r"\\(?:(?P<two>[dtc]?frac|[dt]?binom)|sqrt(?:\s*\[[^\]]*\])?)(?![a-zA-Z])")
_ARGUMENT = re.compile(r"\s*(?:\{|[^\s{}&$,;)\]])")


def reference_fault(gold: str) -> str | None:
    """Reason that a text cannot be a reference: empty, too long or deep, unclosed, half a command; None if it can."""
    if not gold.strip():
        return "it is empty"
    if odd := _control_character(gold):
        return f"it has the character U+{ord(odd):04X}"
    if len(gold) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    if depth(gold) > DEEPEST:
        return f"its brackets are nested deeper than {DEEPEST}"
    return _unclosed(gold) or ("it has half a command, or a sign with nothing to act on" if _unfinished(gold) else None)


def _control_character(gold: str) -> str:
    """A control character, as a form feed that was once the f of a command, or half a surrogate pair."""
    odd = (letter for letter in gold if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\t\n\r")
    return next(odd, "")


def _unclosed(gold: str) -> str | None:
    depths = [depth_after for _, depth_after in _brace_depths(gold)]
    if depths and (depths[-1] or min(depths) < 0):
        return "its braces do not match"
    if gold.count(r"\begin{") != gold.count(r"\end{"):
        return "an environment is not closed"
    return "its brackets do not match" if _unpaired_bracket(gold) else None


def _unpaired_bracket(gold: str) -> bool:
    """Whether a bracket has no partner. `[2,5[` has two of them, and `1)` or `(E)` may count or name something."""
    left, right = (len(re.findall(rf"\\{side}(?![a-z])", gold)) for side in ("left", "right"))
    if left != right:
        return True
    if re.search(r"\\(?:left|right)\s*\.|(?<![^\s,;{])\w\)", gold):
        return False
    return len(re.findall(r"[()\[\]]", gold)) % 2 == 1


def _unfinished(gold: str) -> bool:
    r"""Whether a text ends within a command, or a fraction, a root, an index or an exponent has nothing to act on."""
    text = _DOLLARS.sub("", gold)
    if _AT_END.search(text) or _HALF_COMMAND.search(text):
        return True
    for match in _COMMAND.finditer(text):
        end = _end_of_argument(text, match.end()) if match["two"] else match.end()
        if not _ARGUMENT.match(text, end):
            return True
    return False


def _end_of_argument(text: str, start: int) -> int:
    """The end of a command's first argument."""
    start += len(text[start:]) - len(text[start:].lstrip())
    if text[start : start + 1] != "{":
        return start + len(re.match(r"\\[a-zA-Z]+|.?", text[start:], re.DOTALL)[0])  # type: ignore[index]
    closings = (start + end for end, depth_after in _brace_depths(text[start:]) if depth_after == 0)
    return next(closings, len(text))


def _brace_depths(text: str) -> Iterator[tuple[int, int]]:
    """The end of each brace, escaped ones aside, and how many are open after it."""
    level = 0
    for token in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if len(token[0]) == 1:
            level += 1 if token[0] == "{" else -1
            yield token.end(), level
