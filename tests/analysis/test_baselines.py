"""Published scores: what their files say, and what is said about a wrong file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from m1eval import UsageError
from m1eval.analysis import baselines
from m1eval.task.load import load_tasks
from tests.conftest import ROOT

SHARED = Path(os.environ.get("M1EVAL_SHARED", ROOT.parent / "shared"))
TABLE = [
    "aime_2024",
    "aime_2025",
    "fullstackbench",
    "gpqa_diamond",
    "hle_no_tools",
    "livecodebench_2408_2505",
    "longbench_v2",
    "math_500",
    "mmlu_pro",
    "multichallenge",
    "openai_mrcr_128k",
    "openai_mrcr_1m",
    "simpleqa",
    "swe_bench_verified",
    "tau_bench_airline",
    "tau_bench_retail",
    "zebralogic",
]
ODD = """\
benchmark: mine
title: Mine
unit: percent
note: none
figures:
  - model: a
    score: 50
    metric: accuracy
    protocol: {text: none}
    source: here
    by: me
    confidence: high
"""


def test_every_benchmark_of_the_table_has_its_file():
    assert set(TABLE) <= set(baselines.available())


@pytest.mark.parametrize("key", TABLE)
def test_a_file_is_whole_and_says_what_must_match(key):
    baseline = baselines.read(key)
    assert baseline.benchmark == key
    assert baseline.note.startswith("Comparable: ")
    assert [figure.model for figure in baseline.figures[:2]] == ["minimax-m1-80k", "minimax-m1-40k"]
    for figure in baseline.figures:
        assert figure.source
        assert figure.protocol.text
        assert figure.model == figure.model.lower()


@pytest.mark.parametrize(
    ("key", "model", "score"),
    [
        ("aime_2024", "minimax-m1-80k", 86.0),
        ("aime_2024", "deepseek-r1-0528", 91.4),
        ("aime_2025", "openai-o3", 88.9),
        ("math_500", "qwen3-235b-a22b:thinking", 96.2),
        ("livecodebench_2408_2505", "deepseek-r1", 55.9),
        ("fullstackbench", "claude-4-opus:thinking", 70.3),
        ("hle_no_tools", "minimax-m1-40k", 7.2),
        ("zebralogic", "seed-thinking-v1.5", 84.4),
        ("swe_bench_verified", "gemini-2.5-pro-06-05", 67.2),
        ("openai_mrcr_128k", "minimax-m1-80k", 73.4),
        ("openai_mrcr_128k", "minimax-m1-40k", 76.1),
        ("openai_mrcr_1m", "minimax-m1-80k", 56.2),
        ("openai_mrcr_1m", "minimax-m1-40k", 58.6),
        ("tau_bench_retail", "minimax-m1-40k", 67.8),
        ("tau_bench_retail", "minimax-m1-80k", 63.5),
        ("gpqa_diamond", "qwen3-0.6b:thinking", 27.9),
    ],
)
def test_figures_typed_in_from_the_reports(key, model, score):
    assert [figure.score for figure in baselines.read(key).of([model])] == [score]


def test_all_figures_of_the_table_are_those_of_the_collected_reports():
    path = SHARED / "baselines.yaml"
    if not path.is_file():
        pytest.skip(f"no {path}: the collection of published scores is not here")
    table = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["minimax_m1_table2"]
    assert set(table["rows"]) == set(TABLE)
    for key, row in table["rows"].items():
        ours = {f.model: f for f in baselines.read(key).figures if f.source.startswith("MiniMax-M1 technical report")}
        assert {model: figure.score for model, figure in ours.items()} == row
        assert {m: f.protocol.thinking for m, f in ours.items()} == {m: table["extended_thinking"][m] for m in row}


def test_a_model_without_a_cell_in_the_table_has_no_figure_of_it():
    assert {f.model for f in baselines.read("openai_mrcr_1m").figures} == {
        "minimax-m1-80k",
        "minimax-m1-40k",
        "gemini-2.5-pro-06-05",
    }
    assert "deepseek-r1" not in {f.model for f in baselines.read("tau_bench_airline").figures}


def test_the_protocol_of_m1_is_in_numbers():
    (figure,) = baselines.read("aime_2024").of(["minimax-m1-40k"])
    protocol = figure.protocol
    assert (protocol.repeats, protocol.temperature, protocol.top_p, protocol.thinking) == (32, 1.0, 0.95, "40K")


def test_the_star_of_the_table_is_in_the_subset():
    starred = {f.model for f in baselines.read("hle_no_tools").figures if f.protocol.subset == "text only (starred)"}
    assert starred == {
        "minimax-m1-80k",
        "minimax-m1-40k",
        "qwen3-235b-a22b:thinking",
        "deepseek-r1-0528",
        "deepseek-r1",
    }


def test_reports_that_disagree_are_named_with_their_source():
    (r1,) = baselines.read("livecodebench_2408_2505").of(["deepseek-r1"])
    assert r1.conflict == "63.5 (DeepSeek-R1-0528 model card)"
    (o3,) = baselines.read("mmlu_pro").of(["openai-o3"])
    assert o3.conflict is not None
    assert o3.conflict.startswith("85.9 ")


def test_every_task_that_names_a_baseline_names_one_that_exists():
    for name in ("mrcr", "mrcr_synth", "mrcr_small"):
        (loaded,) = load_tasks([name])
        assert loaded.baselines is not None
        assert loaded.baselines[0] in baselines.available()


def test_a_key_or_model_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'aime_2024'"):
        baselines.read("aime2024")
    with pytest.raises(UsageError, match="did you mean 'deepseek-r1'"):
        baselines.read("aime_2024").of(["deepseek-r"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("score: 50", "score: fifty", "mine.yaml:7: figures.0.score: expected `float`, got `str`"),
        ("score: 50", "score: 150", "mine.yaml:7: 150.0 is not a percentage"),
        ("    metric", "    metrik", "mine.yaml:8: unknown key 'metrik'"),
        ("by: me", "by: me\n    by: you", "mine.yaml:12: duplicate key 'by'"),
        ("benchmark: mine", "benchmark: yours", "mine.yaml:1: benchmark is 'yours', but the file is named mine.yaml"),
        ("confidence: high", "confidence: sure", "mine.yaml:12: figures.0.confidence"),
        ("{text: none}", "{text: none", "mine.yaml:1?[0-9]: not valid YAML"),
        ("unit: percent", "unit: elo", "mine.yaml:3: unit: unknown value 'elo'; there are percent"),
    ],
)
def test_a_wrong_file_is_an_error_at_its_line(tmp_path, old, new, message):
    folder = tmp_path / "results" / "baselines"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(ODD.replace(old, new, 1))
    script = (
        "from m1eval import UsageError; from m1eval.analysis import baselines\n"
        "try:\n    print(baselines.read('mine').figures[0].score)\n"
        "except UsageError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert re.search(message, done.stdout)


def test_the_users_own_folder_adds_figures(tmp_path):
    folder = tmp_path / "results" / "baselines"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(ODD)
    script = "from m1eval.analysis import baselines\n"
    script += "print(baselines.read('mine').figures[0].score, len(baselines.available()))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["50.0", str(len(baselines.available()) + 1)]


def test_every_file_is_sound_and_none_names_a_place_of_its_maker():
    for key in baselines.available():
        baseline = baselines.read(key)
        assert baseline.note.startswith("Comparable: "), key
        assert baseline.figures, key
        for figure in baseline.figures:
            assert not re.search(r"stored cop|find_string|read_file|\bid \d{6}", figure.source), (key, figure.source)


def test_windows_of_livecodebench_never_mix():
    windows = [key for key in baselines.available() if key.startswith("livecodebench")]
    assert len(windows) >= 4
    (r1,) = baselines.read("livecodebench_2408_2505").of(["deepseek-r1"])
    (older,) = baselines.read("livecodebench_v5_2410_2502").of(["deepseek-r1"])
    assert (r1.score, older.score) == (55.9, 64.3)


def test_the_command_lists_the_benchmarks_and_the_figures_of_one(m1eval):
    listed = m1eval("baselines")
    assert listed.code == 0
    assert re.search(r"^aime_2024 +\d+ scores  AIME 2024$", listed.out, re.MULTILINE)
    one = m1eval("baselines", "aime_2024").out
    assert re.search(r"\| minimax-m1-80k +\| +86 \| +avg@32 T=1.0 thinking 80K \|", one)
    assert "sources: " in one
    data = m1eval("baselines", "aime_2024", "--json").json()
    assert {"benchmark", "title", "unit", "note", "figures"} == set(data)
    assert len(m1eval("baselines", "--json").json()) == len(baselines.available())
    wrong = m1eval("baselines", "aime2024")
    assert (wrong.code, wrong.err) == (2, "Error: unknown baseline 'aime2024'; did you mean 'aime_2024'?\n")
