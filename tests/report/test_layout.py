"""Tables on terminals of any width: task names wrap, figures are whole."""

import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from m1eval.report import layout
from m1eval.report.markdown import markdown
from tests.conftest import run_of, write

NAMES = [
    "needle",
    "org--model-with-a-name-that-goes-on/and_on_for_some_sixty_characters",
    "長い名前のタスク長い名前のタスク長い名前のタスク長い名前の",
    "📐📏 geometry 📐📏 geometry 📐📏",
    "x" * 60,
]
HEAD = ["task", "score", "95% interval", "n", "k", "tokens/sample", "truncated", "errored", "time", "cost"]
FIGURES = ["0.742", "0.610–0.860", "490 of 500", "1–32 of 64", "1.2M", "100.0%", "12,345", "3d4h", "≥ $1,234.56"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_figure_is_cut_and_no_line_is_too_wide(width):
    text = layout.aligned(HEAD, [[name, *FIGURES] for name in NAMES], width)
    assert "…" not in text
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for figure in FIGURES:
        assert text.count(figure) == len(NAMES)
    if width in (40, 200):  # as lists, and without wrapping
        squeezed = re.sub(r"\s", "", text)
        assert all(re.sub(r"\s", "", name) in squeezed for name in NAMES)


def test_names_wrap_before_the_table_becomes_lists():
    rows = [[NAMES[1], "0.742", "0.610–0.860", "30"]]
    assert layout.aligned(HEAD[:4], rows, 60).splitlines()[0].split() == ["task", "score", "95%", "n"]
    lists = layout.aligned(HEAD[:4], rows, 35).splitlines()
    assert [line.split() for line in lists[-3:]] == [
        ["score", "0.742"],
        ["95%", "interval", "0.610–0.860"],
        ["n", "30"],
    ]


@given(st.text(max_size=80), st.integers(min_value=2, max_value=40))
@example(":0⺀", 2)  # a wide character after a break
@settings(max_examples=200, deadline=None)
def test_wrapping_keeps_every_character(text, width):
    lines = layout.wrapped(text, width)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert max(map(cell_len, lines)) <= width


def test_markdown_is_padded_by_cells_and_escapes_bars():
    text = markdown(["task", "score"], [["日本", "0.5"], ["a|b", "0.25"]])
    assert text.splitlines() == ["| task | score |", "|------|------:|", "| 日本 |   0.5 |", "| a\\|b |  0.25 |"]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_tables_of_a_run_on_a_terminal(tmp_path, columns):
    name = "a_task_whose_name_takes_sixty_characters_of_the_sixty_there_"
    rows = [{"problem": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(1, 9)]
    write(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    keys = "dataset: {file: rows.jsonl}\nprompt: '{{ problem }}'\ntarget: '{{ answer }}'\nscorer: math\n"
    write(tmp_path / f"{name}.yaml", f"title: T\n{keys}baselines: aime_2024\nrepeats: 3\n")
    command = [sys.executable, "-m", "m1eval", "run", "--tasks", f"./{name}.yaml", "--model", "echo:gold,wrong,error"]
    try:
        main, terminal = pty.openpty()
    except OSError as error:
        pytest.skip(f"this machine lends no pseudo-terminal: {error}")
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50"}
    process = subprocess.Popen(
        [*command, "--display", "none", "--out", "x"], stdout=terminal, stderr=terminal, env=env, cwd=tmp_path
    )
    os.close(terminal)
    seen = b""
    while process.poll() is None or select.select([main], [], [], 0.1)[0]:
        if select.select([main], [], [], 0.1)[0]:
            try:
                seen += os.read(main, 65536)
            except OSError:
                break
    os.close(main)
    assert process.wait(20) == 3
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()).replace("\r", "")
    summary = json.loads((run_of(tmp_path / "x") / "run.json").read_text())["summary"]
    tables = screen[: screen.index("95% interval: conf")]
    low, high = summary["interval"]
    for figure in (f"{summary['score']:.3f}", f"{low:.3f}–{high:.3f}", "0.860", "0.914", "0.857"):
        assert figure in tables
    assert len(re.findall(r"[-+]0\.\d{3} to [-+][01]\.\d{3}", tables)) == 3
    assert "…" not in tables
    assert max(cell_len(line) for line in tables.splitlines()) <= columns
