"""The last `\\boxed{...}` of a text, for the scorers that look for one."""

import re

_BRACES = re.compile(r"\\\\?(?:boxed|fbox)(?:\s*+\{|\s++([^\s{}$\\]+))|\\.|[{}]", re.DOTALL)
_NAMES = re.compile(r"(?<!\\)\\++(?:boxed|fbox)\s*+")  # from the first backslash of a row, and never again within it
_SPACE = re.compile(r"\s*+")
_MINUS = re.compile(r"(?:^|[=$(\[{\s])\s{0,4}-\s{0,4}\\\\?(?:boxed|fbox)\s*+\{$")


def last_boxed(text: str) -> str:
    r"""The content of the last `\boxed{...}` that is closed and not empty; boxes inside a box are taken off."""
    if "box" not in text:
        return ""
    last = ""
    span = None  # of the content that is the last so far; cut out once, as boxes may stand in boxes
    opened: list[int] = []  # where each open brace's content starts; -1 for a brace that is no box
    for token in _BRACES.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else -1
            if start >= 0 and _SPACE.match(text, start).end() < token.start():  # type: ignore[union-attr]
                span = start, token.start()
        elif token[0].endswith("{") and token[0] != r"\{":
            opened.append(token.end() if len(token[0]) > 1 else -1)
        elif token[1] and (bare := token[1].rstrip(".,;:)")):
            last, span = bare, None
    if span:
        last = text[slice(*span)].strip()
        last = f"-{last}" if _MINUS.search(text, max(0, span[0] - 40), span[0]) else last
    return _NAMES.sub("", last)
