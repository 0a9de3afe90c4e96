"""docs/datasets.md says what the task files say: `python -m tests.tasks.test_datasets_page` writes it."""

# ruff: noqa: E501 - the lines of a table

import re

from m1eval import available
from m1eval.task.definition import Related
from m1eval.yaml_file import YamlFile
from tests.conftest import ROOT
from tests.tasks.conftest import definitions

HEAD = """# Datasets

Tasks read each dataset at one commit, and `run.json` says which one was loaded. Where the hub cannot be reached, the
pinned commit is taken from the cache; another commit never takes its place.

Gated datasets need an account: accept the terms on the dataset's page, create a token at
<https://huggingface.co/settings/tokens> and set `HF_TOKEN` to it. Without either, `--data-dir DIR` reads `DIR/<task>.jsonl`.

| task | dataset | commit | rows | licence | access |
|---|---|---|---:|---|---|
"""
TAIL = """
* `multichallenge` has the authors' revision of 266 conversations. Scores published before it, including those of
  MiniMax-M1, are based on the first edition: `multichallenge_273`, which the group `m1` uses.
* `mrcr` and `mrcr_128k` use the data on which MiniMax-M1's scores were published. In December 2025 the authors
  corrected them (about a tenth of the prompts had extra needles, one answer in twenty was wrong): `--protocol fixed`.
* `mr_niah`: the authors' files of the other lengths are cut off in the middle of a row, so only 2,048 and 10,240 tokens
  can be run.
* `hle`: 2,158 of the rows need no image; the others are left out and counted.
* `babilong`: qa11 to qa20 exist only at 0k.
* `zebralogic`: `allenai/ZebraLogicBench`, the public copy, has no solutions.
"""


def page() -> str:
    """The page as the task files have it."""
    lines = []
    for name, definition in sorted(definitions().items()):
        dataset = definition.dataset
        assert dataset
        title = dataset.hub if dataset.hub != "json" else "/".join(definition.url.split("/")[3:5])
        rows = f"{dataset.rows:,}" if isinstance(dataset.rows, int) else dataset.rows or "not stated"
        mirror, _, commit = dataset.mirror.partition("@")
        copy = f"; or `{mirror}` at `{commit[:7]}`" if mirror else ""
        access = f"gated, `HF_TOKEN`{copy}" if dataset.gated else "open"
        link = f"[{title}]({definition.url})"
        lines.append(
            f"| `{name}` | {link} | `{str(dataset.revision)[:7]}` | {rows} | {definition.licence} | {access} |"
        )
    return HEAD + "\n".join(lines) + "\n" + TAIL


def test_the_page_of_the_datasets_is_what_the_tasks_say():
    assert (ROOT / "docs" / "datasets.md").read_text() == page()


def test_numbers_in_descriptions_are_the_rows():
    for name in ("aime24", "aime25", "amc23", "hmmt_feb_2025", "math500", "minerva_math", "olympiadbench", "gpqa_diamond",
                 "mmlu_pro", "multichallenge", "multichallenge_273", "simpleqa", "zebralogic", "longbench_v2"):  # fmt: skip
        definition = definitions()[name]
        assert definition.dataset
        assert isinstance(definition.dataset.rows, int)
        assert f"{definition.dataset.rows:,}" in definition.description


def test_no_page_says_that_mr_niah_has_a_million_tokens():
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *available("tasks", "**/*.yaml").values()]
    for path in texts:
        for line in path.read_text().splitlines():
            assert not ("niah" in line.lower() and "1M" in line and "MR" in line), f"{path}: {line}"


def test_the_group_of_the_report_has_every_task_with_its_figures():
    members = YamlFile.read(available("tasks", "**/*.yaml")["m1"]).data["tasks"]
    figures = {name for name, each in definitions().items() if "m1" in each.tags and each.baselines}
    assert set(members) == figures - {"longbench_v2_cot"}


def test_rows_of_the_report_that_have_no_task_are_named_with_the_reason():
    members = YamlFile.read(available("tasks", "**/*.yaml")["m1"]).data["tasks"]
    keys = [definitions()[name].baselines for name in members]
    covered = {key.related if isinstance(key, Related) else key for key in keys}
    (said,) = re.findall(r"Five rows .*?\n\n", (ROOT / "docs" / "protocols.md").read_text(), re.DOTALL)
    missing = []
    for key, path in available("results/baselines", "*.yaml").items():
        figures = YamlFile.read(path).data
        if key not in covered and any(each["model"] == "minimax-m1-80k" for each in figures["figures"]):
            missing.append(figures["title"].partition(",")[0])
    assert len(missing) == 5
    assert all(title in said for title in missing), missing


if __name__ == "__main__":
    (ROOT / "docs" / "datasets.md").write_text(page())
