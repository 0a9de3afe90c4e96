"""Tables on a terminal: aligned columns, and numbers that are never cut.

Where the terminal is too narrow, columns of words wrap; where that is not enough, each row becomes a short list.
"""

from collections.abc import Collection, Sequence

from m1eval import terminal

GAP = 2
NARROWEST = 12
"""Cells to which a column of words may shrink."""
BREAKS = " _-/:,;·"
"""Characters after which a long word may go on in the next line."""


def fits(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a table fits in `width` cells without wrapping."""
    return sum(_natural(head, rows)) + GAP * (len(head) - 1) <= width


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], width: int, words: Collection[int] = (0,)) -> str:
    """A table of at most `width` cells; columns of `words` wrap, numbers never do."""
    head, rows = [terminal.cell(text) for text in head], [[terminal.cell(text) for text in row] for row in rows]
    widths = _natural(head, rows)
    room = width - GAP * (len(head) - 1)
    if sum(widths) > room:  # headers wrap first
        widths = [max(_piece(name), *(width_of(row[i]) for row in rows)) for i, name in enumerate(head)]
    while sum(widths) > room:
        widest = max(words, key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= NARROWEST:
            return _lists(head, rows, width)
        widths[widest] = max(NARROWEST, widths[widest] - (sum(widths) - room))
    lines = []
    for number, row in enumerate([head, *rows]):
        cells = [wrapped(text, widths[i]) if i in words or number == 0 else [text] for i, text in enumerate(row)]
        for line in range(max(map(len, cells))):
            parts = [
                padded(cell[line] if line < len(cell) else "", widths[i], i in words) for i, cell in enumerate(cells)
            ]
            lines.append((" " * GAP).join(parts).rstrip())
        if number == 0:
            lines.append("─" * (sum(widths) + GAP * (len(head) - 1)))
    return "\n".join(lines)


def wrapped(text: str, width: int) -> list[str]:
    """A text as lines of at most `width` cells, broken between words if possible."""
    if width_of(text) <= width:
        return [text]
    lines, line = [], ""
    for character in text:
        while line and width_of(line + character) > width:  # twice if what follows the break is still too wide
            cut = max((line.rfind(mark) + 1 for mark in BREAKS), default=0)
            cut = cut if cut > len(line) // 3 else len(line)
            lines.append(line[:cut].rstrip())
            line = line[cut:]
        line += character
    return [*lines, line]


def width_of(text: str) -> int:
    """Cells that a terminal takes for a text."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _lists(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Rows as lists: the first cell of each, then a line for each other cell."""
    label = min(max(map(width_of, head[1:])), max(NARROWEST, width // 2))
    lines = []
    for row in rows:
        lines += wrapped(row[0], width)
        for name, text in zip(head[1:], row[1:], strict=True):
            if text == "–":  # in a list, what is not there needs no line
                continue
            names, texts = wrapped(name, label), wrapped(text, max(NARROWEST, width - label - 2 * GAP))
            for i in range(max(len(names), len(texts))):
                left, right = (part[i] if i < len(part) else "" for part in (names, texts))
                lines.append(f"{' ' * GAP}{padded(left, label, True)}{' ' * GAP}{right}".rstrip())
    return "\n".join(lines)


def _piece(text: str) -> int:
    """Cells of the longest part of a header that cannot be broken."""
    return max(map(width_of, text.replace("/", "/ ").split()), default=0)


def _natural(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width_of, column)) for column in zip(head, *rows, strict=True)]


def padded(text: str, width: int, left: bool) -> str:
    """A text padded with spaces to a width in cells."""
    space = " " * (width - width_of(text))
    return text + space if left else space + text
