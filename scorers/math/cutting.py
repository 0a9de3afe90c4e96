"""Cut a tidy text at its top level: outside all brackets, environments and groups."""

import re
from typing import NamedTuple

_BRACKETS = (
    r"(?P<open>\\begin\{[^{}]*\}|\\[{(]|\\(?:langle|lfloor|lceil)(?![a-zA-Z])|[(\[{])"
    r"|(?P<close>\\end\{[^{}]*\}|\\[})]|\\(?:rangle|rfloor|rceil)(?![a-zA-Z])|[)\]}])|\\[a-zA-Z]+|."
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


class Group(NamedTuple):
    """Values and the brackets around them, `""` for a bare list: `(1,2]` is `(]` and 1, 2."""

    brackets: str
    values: list[str]


def split_top_level(text: str, separator: str) -> list[str]:
    """The parts between the matches of a pattern at the top level; one part if there is no match."""
    return split_with_separators(text, separator)[0]


def split_with_separators(text: str, separator: str) -> tuple[list[str], list[str]]:
    """The parts, stripped, and the separators between them."""
    parts, separators, depth, start = [], [], 0, 0
    for match in re.finditer(f"(?P<sep>{separator})|{_BRACKETS}", text, re.DOTALL):
        if match["sep"] is not None and depth <= 0:
            parts.append(text[start : match.start()].strip())
            separators.append(match["sep"].strip())
            start = match.end()
        elif match["open"] or (match["sep"] or "")[:1] in ("(", "["):
            depth += 1
        elif match["close"]:
            depth -= 1
    return [*parts, text[start:].strip()], separators


def outer_brackets(text: str) -> Group | None:
    r"""The brackets around a whole text, `\langle` as `(`, and their content as the only value."""
    text = re.sub(r"\\langle(?![a-zA-Z])", "(", re.sub(r"\\rangle(?![a-zA-Z])", ")", text))
    text = re.sub(r"\\([{}])", r"\1", text).strip()
    if len(text) < 2 or text[0] not in _PAIRS or text[-1] not in ")]}":
        return None
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and i < len(text) - 1:
            return None
    return Group(text[0] + text[-1], [text[1:-1].strip()]) if depth == 0 else None


def is_balanced(text: str) -> bool:
    """Whether no bracket is closed before it is opened or left open; any kind closes any other, as in `[1,2)`."""
    depth = 0
    for match in re.finditer(_BRACKETS, text, re.DOTALL):
        depth += bool(match["open"]) - bool(match["close"])
        if depth < 0:
            return False
    return depth == 0


def rename_letters(text: str, letters: dict[str, str]) -> str:
    """The text with single letters exchanged, not those of commands and words."""
    return re.sub(
        r"\\(?:text|operatorname)\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z]", lambda match: letters.get(match[0], match[0]), text
    )
