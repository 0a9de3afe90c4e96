"""Finds `\\boxed{...}` and similar boxes in a text."""

import re
from typing import NamedTuple

_BRACES = re.compile(r"\\\\?(?:boxed|fbox)(?:\s*+\{|\s++([^\s{}$\\]+))|\\.|[{}]", re.DOTALL)
_NAMES = re.compile(r"(?<!\\)\\++(?:boxed|fbox)\s*+")  # from the first backslash of a row, and never again within it
_SPACE = re.compile(r"\s*+")
_MINUS = re.compile(r"(?:^|[=$(\[{\s])\s{0,4}-\s{0,4}\\\\?(?:boxed|fbox)\s*+\{$")


def last_boxed(text: str) -> str:
    r"""The content of the last closed, non-empty `\boxed{...}`, without the boxes inside it."""
    if "box" not in text:
        return ""
    last = ""
    span = None  # of the last content so far; sliced once, as boxes may be nested
    opened: list[int] = []  # where each open brace's content starts; -1 for a brace that is not a box's
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


_COMMAND = (
    r"(?:\\\\?(?:[bB]oxed|BOXED|[fb]box|framebox|tcbox(?:math)?|doublebox|ovalbox)"
    r"|(?<![A-Za-z\\])boxed|\x08oxed|\x0cbox)"
)
_FORMS = re.compile(
    rf"(?P<open>{_COMMAND}\s*+(?:\[[^\]\n]{{0,80}}\]\s*+)?\{{|\\\\?f?colorbox(?:\{{[^{{}}\n]{{0,40}}\}}){{1,2}}\{{)"
    rf"|{_COMMAND}\s{{0,4}}(?:\\\{{(?P<escaped>(?:[^{{}}\\\n]|\\(?![{{}}])|\\\{{[^{{}}\n]{{0,200}}\\\}}|\{{[^{{}}\n]{{0,200}}\}}){{1,300}}+)\\\}}"
    r"|\((?P<round>[^()\n]{1,100})\)|\[(?P<square>[^\[\]\n]{1,100})\]|(?P<command>\\[a-zA-Z]{1,12}(?:\{[^{}\n]{0,100}\}){1,2}))"
    r"|\\\\?(?:boxed|fbox)(?:\s++(?P<bare>[^\s{}$\\()\[\]]++)|(?P<digits>-?\d[\d.,/]*+))"
    r"|\\.|[{}]",
    re.DOTALL,
)
_NEGATIVE = re.compile(r"(?:^|[=$(\[{\s])\s{0,4}-\s{0,4}\Z")
_BULLET = re.compile(r"(?<![\[$(])(?:\n|\A)[ \t]*-[ \t]+\Z")


class Box(NamedTuple):
    """A box: its content with a minus sign before it, and the offsets of its command and its end."""

    content: str
    start: int
    end: int


def boxes(text: str, *, limit: int = 50, unclosed: bool = False) -> list[Box]:
    r"""The last closed, non-empty boxes of a text, in every form models write; nested ones are left out.

    `unclosed`: if there is no other box, the last one that is never closed, up to the end of its formula or line.
    """
    if "box" not in text and "oxed" not in text:
        return []
    spans: list[tuple[int, int, int, int]] = []  # the box's and its content's span
    opened: list[tuple[int, int]] = []  # of each open brace, where its box and content start; -1 if it is not a box
    for token in _FORMS.finditer(text):
        if token[0] == "}":
            box, start = opened.pop() if opened else (-1, -1)
            if box >= 0 and _SPACE.match(text, start).end() < token.start():  # type: ignore[union-attr]
                while spans and spans[-1][0] >= box:
                    spans.pop()
                spans.append((box, token.end(), start, token.start()))
        elif token["open"]:
            opened.append((token.start(), token.end()))
        elif token[0] == "{":
            opened.append((-1, -1))
        elif kind := next((name for name in _SHORT if token[name]), ""):
            if kind == "bare" and token["bare"].rstrip(".,;:").isalpha() and len(token["bare"]) > 2:
                continue  # "the \boxed notation"
            start, end = token.span(kind)
            if kind in ("round", "square") and re.search("[,;]", token[kind]):
                start, end = start - 1, end + 1
            spans.append((token.start(), token.end(), start, end))
    if not spans and unclosed:
        box, start = next(((box, start) for box, start in reversed(opened) if box >= 0), (-1, -1))
        rest = _FORMULA_END.split(text[start : start + 500], maxsplit=1)[0].strip() if box >= 0 else ""
        missing = max(0, len(re.findall(r"(?<!\\)\{", rest)) - len(re.findall(r"(?<!\\)\}", rest)))
        return (
            [Box(rest + "}" * missing, box, len(text))]
            if re.search(r"\w", rest) and len(rest) < _LONGEST_UNCLOSED
            else []
        )
    return [_box(text, *span) for span in spans[-limit:]]


_SHORT = ("escaped", "round", "square", "command", "bare", "digits")
_FORMULA_END = re.compile(r"\$|\n|\\[)\]]")
_LONGEST_UNCLOSED = 200
_COMMENT = re.compile(r"(?<!\\)%[ \t]*[A-Za-z][^\n]*\n")


def _box(text: str, box: int, end: int, start: int, stop: int) -> Box:
    content = _COMMENT.sub("\n", text[start:stop]).strip()
    content = content.rstrip(".,;:") if text[stop - 1 : stop] != "}" and stop == end else content
    minus = _NEGATIVE.search(text, max(0, box - 40), box) and not _BULLET.search(text, max(0, box - 40), box)
    return Box(_NAMES.sub("", f"-{content}" if minus else content), box, end)
