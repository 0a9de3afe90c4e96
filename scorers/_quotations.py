"""Finds quotations and JSON objects in a judge's reply, so that no quotation is taken for a verdict.

Quotations are: lines that begin with `>`; fenced code; text in double quotes, over several lines too; text
between the marks of the rubric; what follows "the response says:" and the like. Everything takes linear time.
"""

import re
from collections.abc import Iterator

_FENCE = re.compile(r"[ \t]{0,3}+(`{3,}+|~{3,}+)")
_MARK = re.compile(r"\s*+\[(begin|end) [0-9a-f]{16}\]\s*+\Z")
INTRODUCTION = re.compile(
    r"\b(?:says?|said|states?|stated|writes?|wrote|reads?|claims?|claimed|quotes?|quoted|contains?|contained|includes?"
    r"|included|ends?|ended|concludes?|concluded|grades? itself|graded itself)"
    r"(?: (?:with|by|in|as|the|this|that|an?|its|own|following|follows|last|final|line|lines|verdict|json|object|block"
    r"|text)){0,6}[^\w:]*+:[^\w]*+\Z",
    re.IGNORECASE,
)
_BLOCK = re.compile(r"^[ \t]*+>.*", re.MULTILINE)
_OPENING = {"“": "”", "„": "“", "«": "»", "「": "」", "『": "』", "《": "》", "‹": "›", "〝": "〞"}
_QUOTE = re.compile('["“”„«»「」『』《》‹›〝〞]')
_VERDICT = re.compile(r"[\s*_#-]*+verdict[\s*_]*:", re.IGNORECASE)


def own_lines(text: str) -> Iterator[str | None]:
    """The lines of a text, None for quotations and code."""
    fence, marked, introduced = "", False, False
    quoted = _quoted(_BLOCK.sub(lambda line: " " * len(line[0]), text))
    offset = 0
    for line in text.split("\n"):
        inside = bool(quoted[offset >> 3] >> (offset & 7) & 1) if offset < len(text) else False
        offset += len(line) + 1
        mark, edge = _MARK.match(line), _FENCE.match(line)
        if mark:
            marked = mark[1] == "begin"
        if fence:
            if edge and edge[1].startswith(fence) and not line[edge.end() :].strip():
                fence = ""
            yield None
        elif edge:
            fence = edge[1]
            yield None
        else:
            is_own = not (mark or marked or inside or introduced or line.lstrip().startswith(">"))
            yield line if is_own or not line.strip() else None
            if line.strip():
                introduced = bool(INTRODUCTION.search(line[-200:])) and not _VERDICT.match(line)


def _quoted(text: str) -> bytearray:
    """One bit for each character: whether a line that starts there starts inside double quotes."""
    bits = bytearray(len(text) // 8 + 1)
    for start, end in _quotations(text):
        place = text.find("\n", start, end)
        while place >= 0:
            bits[place + 1 >> 3] |= 1 << (place + 1 & 7)
            place = text.find("\n", place + 1, end)
    return bits


def _quotations(text: str) -> Iterator[tuple[int, int]]:
    """Offsets of double-quoted passages; one that never closes runs to the end."""
    closing, start = "", 0
    for mark in _QUOTE.finditer(text):
        if closing:
            if mark[0] == closing:
                yield start, mark.start()
                closing = ""
        elif mark[0] in _OPENING or (mark[0] == '"' and _opens(text, mark.start())):
            closing, start = _OPENING.get(mark[0], '"'), mark.start()
    if closing:
        yield start, len(text)


def _opens(text: str, place: int) -> bool:
    """Whether a straight quote opens a quotation; one after a number or a word does not."""
    return not text[max(0, place - 1) : place].strip() or text[place - 1] in "([{*_:>-—"


def open_quote(text: str) -> bool:
    """Whether a text ends inside double quotes."""
    last = None
    for last in _quotations(text):  # noqa: B007 - the last one is what is looked for
        pass
    return last is not None and last[1] == len(text)


def mentioned(text: str, start: int, end: int) -> bool:
    """Whether a span is in quotes or backticks, or follows "says:" and the like."""
    marks = text[max(0, start - 1) : start], text[end : end + 1]
    return all(mark and mark in "\"'`“”«»「」‘’" for mark in marks) or bool(
        INTRODUCTION.search(text[max(0, start - 200) : start])
    )


def block_quoted(text: str, place: int) -> bool:
    return text[text.rfind("\n", 0, place) + 1 : place].lstrip().startswith(">")


def last_fence(text: str) -> tuple[str, str] | None:
    """The text before the fenced code that ends a text, and the code; None if it does not end in one."""
    body, newline, last = text.rpartition("\n")
    edge = _FENCE.match(last)
    if not newline or not edge or last[edge.end() :].strip():
        return None
    start = body.rfind(f"\n{edge[1]}")
    if start < 0 and not body.startswith(edge[1]):
        return None
    inside = body[start + 1 :].partition("\n")[2]
    return text[: start + 1], inside


def objects(text: str) -> Iterator[tuple[int, int]]:
    """Offsets of the complete outermost `{...}` of a text; braces in their strings do not count."""
    start, depth, quoted = -1, 0, False
    for token in re.finditer(r'\\.|["{}]', text, re.DOTALL):
        character = token[0]
        if character == '"':
            quoted = bool(depth) and not quoted
        elif character == "{" and not quoted:
            start = token.start() if depth == 0 else start
            depth += 1
        elif character == "}" and depth and not quoted:
            depth -= 1
            if depth == 0:
                yield start, token.end()
