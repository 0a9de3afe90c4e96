"""Results and comparisons as text and HTML, for Python sessions and notebooks."""

from collections.abc import Iterable, Sequence
from html import escape

from m1eval import terminal
from m1eval.analysis.compare import Comparison, Skipped
from m1eval.report import comparison, table
from m1eval.report.markdown import markdown
from m1eval.store.stored import StoredRun


def as_text(runs: Sequence[StoredRun], notes: Iterable[str] = ()) -> str:
    """The table of the runs in Markdown, with the published scores, and the notes below it."""
    if not runs:
        return "no runs"
    lines = [*table.all_notes(runs), *notes]
    return "\n".join([markdown(*table.wide_cells(runs)), "", *map(terminal.cell, lines)])


def as_html(runs: Sequence[StoredRun], notes: Iterable[str] = ()) -> str:
    """The same as an HTML table and a list of notes."""
    if not runs:
        return "<p>no runs</p>"
    head, rows = table.wide_cells(runs)
    header = "".join(f"<th>{_html(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{_html(text)}</td>" for text in row) + "</tr>" for row in rows)
    items = "".join(f"<li>{_html(note)}</li>" for note in [*table.all_notes(runs), *notes])
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table><ul>{items}</ul>"


def comparisons_as_text(pairs: Sequence[Comparison], skipped: Sequence[Skipped]) -> str:
    """The comparisons as `m1eval compare` prints them."""
    return "\n".join(map(terminal.cell, comparison.all_lines(pairs, skipped)))


def _html(text: str) -> str:
    return escape(terminal.cell(text))
