"""The capitals task is the same in README.md, docs/first_task.md and docs/examples/, and its grader works."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

EXAMPLE = ROOT / "docs/examples/capitals.yaml"
pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="the pages are in the checkout only")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/first_task.md"])
def test_the_pages_show_the_example(page):
    assert blocks(page, "yaml") == [EXAMPLE.read_text()]


def test_the_rows_are_those_of_the_example():
    rows = (EXAMPLE.parent / "capitals.jsonl").read_text().splitlines()
    (shown,) = blocks("docs/first_task.md", "json")
    assert set(shown.splitlines()) < set(rows)
    assert "the fifty in" in (ROOT / "docs/first_task.md").read_text()
    assert len(rows) == 50


def test_the_grader_counts_a_city_without_its_accent(shell, tmp_path):
    shutil.copytree(EXAMPLE.parent, tmp_path, dirs_exist_ok=True)
    (grader,) = blocks("docs/first_task.md", "python")
    (tmp_path / "scorers").mkdir()
    (tmp_path / "scorers/city.py").write_text(grader)
    (tmp_path / "grade.py").write_text("""
import m1eval
print(m1eval.grade("./capitals.yaml", "Bogotá", "The capital of Colombia is Bogota.")[1])
""")
    for scorer, outcome in (("contains", "wrong"), ("city", "right")):
        task = EXAMPLE.read_text().replace("scorer: contains", f"scorer: {scorer}")
        (tmp_path / "capitals.yaml").write_text(task)
        result = shell("check", "./capitals.yaml")
        assert (result.code, result.out.partition(":")[0].split()) == (0, ["passed", "capitals"])
        graded = subprocess.run([sys.executable, "grade.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert graded.stdout.strip() == outcome
