"""Length × depth as a picture: shaded blocks for a terminal, SVG for everything else; a fixed scale from 0 to 1."""

from html import escape as _escape

from m1eval import terminal
from m1eval.analysis.by_length import Grid
from m1eval.store.tally import Tally

BLOCKS = " ░▒▓█"
SCALE = ((0, 34, 78), (60, 77, 110), (124, 123, 120), (188, 175, 111), (255, 234, 70))
"""Cividis (Nuñez, Anderton, Renslow 2018), which colour-blind readers see as others do."""
FEW = 5
"""Samples in a cell below which it is marked."""
WIDTH, HEIGHT, LEFT, TOP = 76, 30, 130, 56


def blocks(grid: Grid, title: str) -> str:
    """Lines of text: a block shaded by the score and the score itself in every cell."""
    grid, title = _plain(grid), terminal.cell(title)
    rows = [f"{title}: {grid.name} × prompt tokens, 0 {BLOCKS[1:]} 1"]
    left = max(len(name) for name in [*grid.rows, grid.name])
    width = max(9, *(len(name) for name in grid.columns)) + 1
    rows.append(f"{grid.name:>{left}} " + "".join(f"{name:>{width}}" for name in grid.columns))
    for row in grid.rows:
        cells = [_block(grid, row, column) for column in grid.columns]
        rows.append(f"{row:>{left}} " + "".join(f"{cell:>{width}}" for cell in cells))
    if any(map(_few, grid.cells.values())):
        rows.append(f"* fewer than {FEW} samples")
    return "\n".join(rows)


def escape(text: str) -> str:
    """Text for XML, which holds no control characters."""
    return _escape(terminal.cell(text))


def _plain(grid: Grid) -> Grid:
    """The grid with names that can be printed."""
    cells = {(terminal.cell(row), column): tally for (row, column), tally in grid.cells.items()}
    return grid._replace(name=terminal.cell(grid.name), rows=list(map(terminal.cell, grid.rows)), cells=cells)


def svg(grid: Grid, title: str) -> str:
    """A self-contained SVG picture without scripts or fonts; the cells' tooltips have the number of samples."""
    width, height = LEFT + WIDTH * len(grid.columns) + 20, TOP + HEIGHT * len(grid.rows) + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        _text(LEFT, 22, title, "start", size=15),
        _text(LEFT - 10, TOP - 10, grid.name, "end"),
    ]
    for i, column in enumerate(grid.columns):
        parts.append(_text(LEFT + WIDTH * i + WIDTH / 2, TOP - 10, column, "middle"))
    for j, row in enumerate(grid.rows):
        y = TOP + HEIGHT * j
        parts.append(_text(LEFT - 10, y + HEIGHT / 2 + 4, row, "end"))
        for i, column in enumerate(grid.columns):
            parts += _cell(grid, row, column, LEFT + WIDTH * i, y)
    parts += _legend(TOP + HEIGHT * len(grid.rows) + 20)
    if any(map(_few, grid.cells.values())):
        parts.append(_text(LEFT + 190, TOP + HEIGHT * len(grid.rows) + 30, f"* fewer than {FEW} samples", "start"))
    return "\n".join([*parts, "</svg>\n"])


def _block(grid: Grid, row: str, column: str) -> str:
    tally = grid.cells.get((row, column))
    if tally is None or tally.score is None:
        return "–"
    shade = BLOCKS[min(len(BLOCKS) - 1, int(tally.score * (len(BLOCKS) - 1) + 0.5))]
    return f"{shade * 2} {tally.score:.2f}{'*' if _few(tally) else ''}"


def _cell(grid: Grid, row: str, column: str, x: float, y: float) -> list[str]:
    tally = grid.cells.get((row, column))
    value = tally.score if tally else None
    size = f'x="{x}" y="{y}" width="{WIDTH - 2}" height="{HEIGHT - 2}"'
    if tally is None or value is None:
        return [f'<rect {size} fill="none" stroke="#bbb"/>']
    tip = escape(f"{grid.name} {row}, {column}: {value:.3f}, {_size(tally)}")
    ink = "#000" if value > 0.5 else "#fff"
    shown = f"{value:.2f}{'*' if _few(tally) else ''}"
    return [
        f'<g><title>{tip}</title><rect {size} fill="{_colour(value)}"/>',
        f"{_text(x + WIDTH / 2 - 1, y + HEIGHT / 2 + 3, shown, 'middle', ink)}</g>",
    ]


def _size(tally: Tally) -> str:
    """Samples, and answers if there are more."""
    samples = f"{tally.samples} sample{'s' if tally.samples > 1 else ''}"
    return samples if tally.scored == tally.samples else f"{samples}, {tally.scored} answers"


def _few(tally: Tally | None) -> bool:
    return tally is not None and 0 < tally.samples < FEW


def _legend(y: float) -> list[str]:
    steps = 20
    parts = [
        f'<rect x="{LEFT + i * 8}" y="{y}" width="8" height="10" fill="{_colour(i / (steps - 1))}"/>'
        for i in range(steps)
    ]
    return [*parts, _text(LEFT, y + 26, "0", "start"), _text(LEFT + steps * 8, y + 26, "1", "end")]


def _colour(value: float) -> str:
    at = min(1.0, max(0.0, value)) * (len(SCALE) - 1)
    low = min(int(at), len(SCALE) - 2)
    mixed = (a + (b - a) * (at - low) for a, b in zip(SCALE[low], SCALE[low + 1], strict=True))
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def _text(x: float, y: float, text: str, anchor: str, fill: str = "#000", size: int = 12) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}" font-size="{size}">{escape(text)}</text>'
