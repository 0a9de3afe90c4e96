"""The last `\\boxed{...}` of a text, for the scorers that look for one."""

import re

_BRACES = re.compile(r"\\\\?(?:boxed|fbox)(?:\s*+\{|\s++([^\s{}$\\]+))|\\.|[{}]", re.DOTALL)
_MINUS = re.compile(r"(?:^|[=$(\[{\s])\s{0,4}-\s{0,4}\\\\?(?:boxed|fbox)\s*+\{$")


def last_boxed(text: str) -> str:
    r"""The content of the last `\boxed{...}` that is closed and not empty; boxes inside a box are taken off."""
    if "box" not in text:
        return ""
    last = ""
    opened: list[int] = []  # where each open brace's content starts; -1 for a brace that is no box
    for token in _BRACES.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else -1
            if start >= 0:
                inside = text[start : token.start()].strip()
                minus = inside and _MINUS.search(text, max(0, start - 40), start)
                last = (f"-{inside}" if minus else inside) or last
        elif token[0].endswith("{") and token[0] != r"\{":
            opened.append(token.end() if len(token[0]) > 1 else -1)
        elif token[1]:
            last = token[1].rstrip(".,;:)") or last
    return re.sub(r"\\+(?:boxed|fbox)\s*", "", last)
