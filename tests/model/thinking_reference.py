"""The rules of docs/thinking.md for `<think>`, followed slowly and literally: what the fast split must equal."""

from typing import NamedTuple

OPEN, CLOSE = "<think>", "</think>"
QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»"}


class Mark(NamedTuple):
    start: int
    end: int
    opens: bool


def marks(text: str) -> list[Mark]:
    """The tags, but not those directly between a quotation mark and its counterpart."""
    found = []
    for at in range(len(text)):
        for tag in (OPEN, CLOSE):
            if text.startswith(tag, at):
                end = at + len(tag)
                before, after = text[at - 1] if at else "", text[end] if end < len(text) else ""
                if not before or QUOTES.get(before) != after:
                    found.append(Mark(at, end, tag == OPEN))
    return found


def run_at(text: str, at: int, char: str) -> int:
    """The number of times a character is repeated from a position on."""
    count = 0
    while at + count < len(text) and text[at + count] == char:
        count += 1
    return count


def fence_at(text: str, line: int) -> tuple[int, str, int] | None:
    """Place, character and length of the fence with which a line begins."""
    at = line
    while at < len(text) and text[at] == " ":
        at += 1
    for char in "`~":
        if at - line <= 3 and (count := run_at(text, at, char)) >= 3:
            return at, char, count
    return None


def fences(text: str, begin: int) -> list[tuple[int, int]]:
    """The fenced blocks of the lines that begin at `begin` or later."""
    starts = [0, *(i + 1 for i, char in enumerate(text) if char == "\n")]
    found: list[tuple[int, int]] = []
    for number, line in enumerate(starts):
        opening = fence_at(text, line)
        if line < begin or (found and line < found[-1][1]) or opening is None or number + 1 == len(starts):
            continue
        end = len(text)
        for later in starts[number + 1 :]:
            closing = fence_at(text, later)
            if closing and closing[1] == opening[1] and closing[2] >= opening[2]:
                end = closing[0] + opening[2]
                break
        found.append((line, end))
    return found


def spans(text: str, begin: int) -> list[tuple[int, int]]:
    """The inline code: from a run of backticks to the next one as long on its line."""
    found, at = [], begin
    while at < len(text):
        size = run_at(text, at, "`")
        if not size or (at > 0 and text[at - 1] == "`"):
            at += 1
            continue
        to = at + size
        while to < len(text) and text[to] != "\n":
            count = run_at(text, to, "`")
            if count == size:
                break
            to += count or 1
        if to < len(text) and text[to] == "`":
            found.append((at, to + size))
            at = to + size
        else:
            at += size
    return found


def code_around(text: str, mark: Mark, begin: int) -> int | None:
    """The start of the code that contains a tag, in a text that is parsed from `begin` on."""
    regions = [*fences(text, begin), *spans(text, begin)]
    return next((start for start, end in regions if start <= mark.start and mark.end <= end), None)


def is_mention(
    text: str, all_marks: list[Mark], mark: Mark, begin: int, before: int | None, *, answering: bool, truncated: bool
) -> bool:
    """Whether a tag outside of a think block is only named by the answer that begins at `begin`.

    `before`: where the part before that answer began, of which a fence may still be open.
    """
    code = code_around(text, mark, begin)
    if code is not None:
        if not mark.opens and before is not None and code_around(text, mark, before) is None:
            return False
        within = [other for other in all_marks if other.start >= code]
        return answering or within[0].opens
    if not mark.opens or truncated or any(not later.opens for later in all_marks if later.start > mark.start):
        return False
    line = text[begin : mark.start]
    return line.strip() != "" and not text[: mark.start].rstrip(" \t").endswith("\n")


def without_ends(thought: str) -> str:
    thought = thought.strip()
    thought = thought[len(OPEN) :] if thought.startswith(OPEN) else thought
    return (thought[: -len(CLOSE)] if thought.endswith(CLOSE) else thought).strip()


def split(text: str, opened: bool | None, truncated: bool, reasoning: str | None) -> tuple[str, str, bool]:
    """Answer, thinking, and whether the output ended inside its thinking."""
    if reasoning:
        if not truncated and text.lstrip().startswith(OPEN) and CLOSE not in text:
            text = text.lstrip()[len(OPEN) :].lstrip()
        answer, inline, unfinished = split(text, False, truncated, None)
        thoughts = reasoning if inline in {"", reasoning} else f"{reasoning}\n{inline}"
        unfinished = unfinished or (truncated and not answer.strip())
        return "" if unfinished else answer, thoughts, unfinished
    start = text.strip()
    if truncated and start and len(start) < len(OPEN) and OPEN.startswith(text.lstrip()):
        return "", start, True
    all_marks = marks(text)
    if opened and text.lstrip().startswith(OPEN):
        all_marks.pop(0)
    parts: list[tuple[str, str]] = []  # ("answer" or "thought", text)
    before: int | None = None
    begin, depth, last_close, seen = 0, int(opened is True), None, opened is True
    for mark in all_marks:
        answering = seen or opened is False
        how = {"answering": answering, "truncated": truncated}
        if depth == 0 and is_mention(text, all_marks, mark, begin, before, **how):
            continue
        seen = True
        if mark.opens and depth == 0:
            parts.append(("answer", text[begin : mark.start]))
            begin, last_close, depth = mark.start, None, 1
        elif mark.opens:
            depth += 1
        elif depth > 0:
            depth, last_close = depth - 1, mark.end
            if depth == 0:
                parts.append(("thought", text[begin : mark.end]))
                before, begin = begin, mark.end
        else:
            parts, before, begin = [("thought", text[: mark.end])], begin, mark.end
    if depth > 0 and (truncated or last_close is None or text[last_close:].lstrip().startswith(OPEN)):
        return "", thinking([*parts, ("thought", text[begin:])]), True
    if not seen:
        return ("", text, True) if truncated and opened is None else (text, "", False)
    if depth > 0:
        parts.append(("thought", text[begin:last_close]))
        begin = last_close or 0
    return finished([*parts, ("answer", text[begin:])], truncated)


def thinking(parts: list[tuple[str, str]]) -> str:
    return "\n".join(filter(None, (without_ends(part) for kind, part in parts if kind == "thought")))


def finished(parts: list[tuple[str, str]], truncated: bool) -> tuple[str, str, bool]:
    """The result of an output that ended outside of its thinking."""
    answers = [part for kind, part in parts if kind == "answer" and part.strip()]
    answer = "\n".join([*(part.strip() for part in answers[:-1]), *(part.lstrip() for part in answers[-1:])])
    return answer, thinking(parts), truncated and not answer
