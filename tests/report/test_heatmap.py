"""The heat map of scores by length and depth, as text and as a picture."""

import re
from pathlib import Path
from xml.etree import ElementTree

from m1eval.analysis import by_length
from m1eval.report import heatmap
from tests.analysis.entries import entry


def test_many_depths_are_put_into_tenths_and_cells_without_samples_stay_open():
    entries = [entry(i, 1.0, length=4096 * (1 + i % 2), depth=i) for i in range(0, 96)]
    grid = by_length.grid(entries)
    assert grid is not None
    assert grid.rows == [f"{low}–{low + 10}" for low in range(0, 100, 10)]
    assert grid.columns == ["4k", "8k"]
    one = by_length.grid([entry(0, 0.4, length=10, depth=5), entry(1, 1.0, length=2000, depth=7.5)])
    assert one is not None
    text, picture = heatmap.blocks(one, "t"), heatmap.svg(one, "<t> & co")
    assert (text.count("–"), picture.count('fill="none"')) == (2, 2)
    assert "▒▒ 0.40" in text
    ElementTree.fromstring(picture)


def test_the_picture_has_no_scripts_and_opens_alone(tmp_path):
    grid = by_length.grid([entry(i, 1.0, length=4096, depth=10 * i) for i in range(3)])
    assert grid is not None
    picture = heatmap.svg(grid, "needle")
    Path(tmp_path / "x.svg").write_text(picture)
    assert not re.search(r"<script|href|url\(", picture)


def test_cells_say_how_few_samples_they_hold():
    entries = [entry(i // 2, 1.0, length=4096, depth=50) for i in range(4)]
    entries += [entry(100 + i, 0.0, length=8192, depth=50) for i in range(5)]
    grid = by_length.grid(entries)
    assert grid is not None
    text, picture = heatmap.blocks(grid, "t"), heatmap.svg(grid, "t")
    assert "1.00*" in text
    assert "0.00*" not in text
    assert "* fewer than 5 samples" in text
    assert "depth 50, 4k: 1.000, 2 samples, 4 answers" in picture
    assert "depth 50, 8k: 0.000, 5 samples<" in picture
    assert "* fewer than 5 samples" in picture
