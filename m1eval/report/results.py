"""Results and comparisons as text and HTML, for Python sessions and notebooks."""

from collections.abc import Iterable, Sequence
from html import escape

from m1eval import terminal
from m1eval.analysis.compare import Comparison, Skipped
from m1eval.report import comparison, table
from m1eval.report.markdown import markdown
from m1eval.store.stored import StoredRun
from m1eval.text import format_interval, format_p


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
    return _html_table(*table.wide_cells(runs), [*table.all_notes(runs), *notes])


def comparisons_as_text(pairs: Sequence[Comparison], skipped: Sequence[Skipped]) -> str:
    """The comparisons as `m1eval compare` prints them."""
    return "\n".join(map(terminal.cell, comparison.all_lines(pairs, skipped)))


def comparisons_as_html(pairs: Sequence[Comparison], skipped: Sequence[Skipped]) -> str:
    """The comparisons as an HTML table, one row each, and a list of the tasks that were skipped."""
    head = ["task", "A", "B", "score A", "score B", "Δ", "95%, these problems", "p", "samples"]
    head += ["gate"] * any(pair.gate for pair in pairs)
    rows = [
        [
            *(pair.task, pair.a, pair.b, *(f"{score:.3f}" for score in pair.scores), f"{pair.difference:+.3f}"),
            format_interval(pair.these_problems.interval, signed=True),
            format_p(pair.these_problems.p).removeprefix("p ").removeprefix("= "),
            str(pair.samples),
            *filter(None, [pair.gate]),
        ]
        for pair in pairs
    ]
    return _html_table(head, rows, [f"skipped {each.task}: {each.reason}" for each in skipped])


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str]) -> str:
    header = "".join(f"<th>{_html(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{_html(text)}</td>" for text in row) + "</tr>" for row in rows)
    items = "".join(f"<li>{_html(note)}</li>" for note in notes)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table><ul>{items}</ul>"


def _html(text: str) -> str:
    return escape(terminal.cell(text))
