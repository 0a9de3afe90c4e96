"""Markdown tables that read well as text too, and on a terminal tables that fit its width."""

from collections.abc import Collection, Sequence

from m1eval import terminal
from m1eval.report.layout import aligned, padded, width_of


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0,)) -> str:
    """A table for standard output; columns of `words` are aligned left and wrap."""
    if terminal.is_terminal():
        return aligned(head, rows, terminal.console().width, words)
    return markdown(head, rows, words)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0,)) -> str:
    """A Markdown table, its columns padded so that it reads well as text too; columns of `words` are aligned left."""
    lines = [[_markdown_cell(text) for text in row] for row in (head, *rows)]
    widths = [max(map(width_of, column)) for column in zip(*lines, strict=True)]
    if len(head) - 1 in words:
        widths[-1] = width_of(lines[0][-1])  # long words at the end need no padding
    left = [i in words for i in range(len(head))]
    rule = "|".join("-" * (width + 1) + ("-" if words else ":") for width, words in zip(widths, left, strict=True))
    first, *others = (f"| {' | '.join(map(padded, line, widths, left))} |" for line in lines)
    return "\n".join([first, f"|{rule}|", *others])


def _markdown_cell(text: str) -> str:
    return terminal.cell(text).replace("|", "\\|")
