"""Version, README, CONTRIBUTING and docs agree with the code."""

import inspect
import re

import pytest

import m1eval
from m1eval import available, load
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="the texts are in the checkout only")


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_version_is_the_same_everywhere():
    (version,) = re.findall(r'^version = "(.+)"$', text("pyproject.toml"), re.MULTILINE)
    newest = re.search(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)
    assert newest
    assert version == m1eval.__version__ == newest[1]


@pytest.mark.parametrize("name", sorted(available("runners")))
def test_every_option_of_a_runner_is_documented(name):
    section = text("docs/runners.md").partition(f"## `{name}`")[2].partition("\n## ")[0]
    for option in inspect.signature(load("runners", name).Runner).parameters:
        assert option == "model" or f"`{option}`" in section, option


def test_every_key_of_a_task_is_documented():
    from m1eval.task.definition import Dataset, Definition

    documented = text("docs/tasks.md")
    for key in (*Definition.__struct_fields__, *Dataset.__struct_fields__):
        assert f"`{key}`" in documented or f"`.{key}`" in documented or f"`dataset.{key}`" in documented, key


def pages() -> list[str]:
    names = ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md"))]
    return names + [f"{kind}/README.md" for kind in ("tasks", "scorers", "runners")]


def test_every_link_of_a_page_leads_somewhere():
    for page in pages():
        for link in re.findall(r"\]\(([^)#]+)\)", text(page)):
            if "://" not in link:
                assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"


def test_every_path_on_a_page_exists():
    for page in pages():
        for path in re.findall(r"`((?:m1eval|runners|scorers|tasks|tests|benchmarks|docs)/[\w/.-]+)`", text(page)):
            if path != "scorers/city.py" and "NAME" not in path:  # what the reader writes
                assert (ROOT / path).exists(), f"{page}: {path}"


def test_the_readme_names_every_task(m1eval):
    shown = text("README.md")
    groups = {"demo", "aime", "m1"}
    small = {name for name in available("tasks", "**/*.yaml") if name.endswith("_small")}
    for name in set(available("tasks", "**/*.yaml")) - small - groups:
        assert f"`{name}`" in shown, name


def test_the_task_of_the_readme_is_sound(m1eval, tmp_path):
    (block,) = re.findall(r"```yaml\n(title: Capitals.*?)```", text("README.md"), re.DOTALL)
    (tmp_path / "capitals.yaml").write_text(block)
    (tmp_path / "capitals.jsonl").write_text('{"country": "France", "city": "Paris"}\n')
    assert len(block.splitlines()) <= 10, "ten lines are promised"
    result = m1eval("check", tmp_path / "capitals.yaml")
    assert (result.code, result.out.partition(":")[0].split()) == (0, ["passed", "capitals"])


def test_the_plugins_of_contributing_run(shell, tmp_path):
    scorer, runner = re.findall(r"```python\n(.*?)```", text("CONTRIBUTING.md"), re.DOTALL)
    for kind, code in (("scorers", scorer), ("runners", runner)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "mine.py").write_text(code)
    (tmp_path / "t.yaml").write_text("title: T\ndataset: {file: t.jsonl}\nprompt: Hi\ntarget: HELLO\nscorer: mine\n")
    (tmp_path / "t.jsonl").write_text("{}\n")
    result = shell("run", "--tasks", "./t.yaml", "--model", "mine:x", "--json")
    assert (result.code, result.json()["runs"][0]["score"]) == (0, 1.0), result.err
