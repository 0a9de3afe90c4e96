"""Output of a run: the table with published scores, JSON and nothing else, plain progress, exit codes."""

import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest

from m1eval.text import format_count, format_duration, format_score
from tests.conftest import write

COLUMNS = ["task", "score", "95% interval", "n", "k", "tokens/sample", "truncated", "time"]


@pytest.fixture
def aime(tmp_path):
    """Two problems of our own under the names of real tasks."""
    for name in ("aime24", "aime25"):
        rows = [{"problem": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(1, 9)]
        write(tmp_path / "data" / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return ("run", "--tasks", "aime", "--data-dir", tmp_path / "data", "--out", tmp_path / "x", "--repeats", 2)


def table(text, number=0):
    """A table of an output by its number: header, rule and rows."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)[number]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables.splitlines()]
    return rows[0], rows[1], rows[2:]


def test_the_table_is_markdown_with_the_published_figures(m1eval, aime):
    result = m1eval(*aime, "--model", "echo:gold,truncated")
    assert result.code == 0
    head, rule, rows = table(result.out)
    assert head == [*COLUMNS, "MiniMax-M1-80k", "DeepSeek-R1-0528", "Qwen3-235B"]
    assert all(re.fullmatch(r"-+:?", cell) for cell in rule)
    assert [row[0] for row in rows] == ["aime24", "aime25"]
    assert [row[-3:] for row in rows] == [["0.860", "0.914", "0.857"], ["0.769", "0.875", "0.815"]]
    assert re.fullmatch(r"0\.\d{3}", rows[0][1])
    assert re.fullmatch(r"0\.\d{3}–[01]\.\d{3}", rows[0][2])
    assert rows[0][3:5] == ["8", "2"]
    assert re.search(r"aime24: \d+ of 16 outputs hit the token limit before an answer and count as wrong", result.out)
    assert "published, AIME 2024: MiniMax-M1-80k avg@32 T=1.0 thinking 80K" in result.out
    assert "x/aime24" in result.out


def test_errors_are_left_out_and_both_means_are_shown(m1eval, aime):
    result = m1eval(*aime, "--model", "echo:gold,error")
    assert result.code == 3
    head, _, rows = table(result.out)
    assert head[7] == "errored"
    assert rows[0][1].startswith("1.000")
    assert re.search(
        r"aime24: \d+ answers errored and are left out \(the score is 0\.\d{3} if counted as wrong, "
        r"1\.000 if counted as right; it is biased upwards if hard problems error more often\); "
        r"the same command retries them",
        result.out,
    )


def test_a_limited_run_is_marked_partial(m1eval, aime):
    result = m1eval(*aime, "--model", "echo:gold", "--limit", 3)
    assert table(result.out)[2][0][3] == "3 of 8"
    assert "aime24: partial: 3 of 8 samples; not comparable with a full run" in result.out


def test_figures_of_other_data_are_marked(m1eval, tmp_path):
    command = ("run", "--tasks", "mrcr_synth", "--limit", 1, "--set", "lengths=[2048]", "--model", "echo:gold")
    result = m1eval(*command, "--out", tmp_path / "x")
    assert table(result.out)[2][0][-3:] == ["~0.734", "~0.515", "~0.277"]
    assert "published on other data of the same form, not directly comparable" in result.out


def test_json_is_all_that_stands_on_standard_output(m1eval, aime):
    result = m1eval(*aime, "--model", "echo:gold", "--json", "--display", "plain")
    runs = result.json()["runs"]
    assert [run["task"] for run in runs] == ["aime24", "aime25"]
    assert set(runs[0]) == {
        *("task", "model", "protocol", "samples", "samples_chosen", "samples_in_set", "skipped", "partial"),
        *("repeats", "repeats_most", "repeats_asked", "answers", "answers_wanted", "owed", "finished"),
        *(
            "score",
            "stderr",
            "interval",
            "these_problems",
            "score_bounds",
            "score_with_errors",
            "outcomes",
            "clusters",
            "unlike",
        ),
        *("tokens", "tokens_errored", "tokens_per_answer", "truncated_prompts", "cost", "cost_complete"),
        *("seconds", "request_seconds", "changed", "figures", "figure_intervals", "notes", "published", "path"),
    }
    assert set(runs[0]["outcomes"]) == {
        *("right", "wrong", "partial", "truncated", "unparsed", "refused_context", "errored")
    }
    assert set(runs[0]["tokens"]) == {"prompt", "cached", "reasoning", "answer"}
    assert result.out.count("\n") == 1
    assert "aime24 16/16" in result.err


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--model", "echo:gold"), 0),
        (("--model", "echo:gold", "--fail-under", "0.9"), 0),
        (("--model", "echo:wrong", "--fail-under", "0.9"), 1),
        (("--model", "echo:error"), 3),
        (("--model", "echo:nonsense"), 2),
        (("--model", "echo:gold", "--repeats", "0"), 2),
        (("--model", "echo:gold", "--no-such-option"), 2),
    ],
)
def test_the_exit_code_says_how_the_command_ended(m1eval, aime, more, code):
    assert m1eval(*aime, *more).code == code


def test_a_score_below_the_gate_is_named(m1eval, aime):
    assert "aime24: 0 is below --fail-under 0.9" in m1eval(*aime, "--model", "echo:wrong", "--fail-under", "0.9").err


def test_lengths_that_no_task_takes_are_said_by_the_option_s_own_name(m1eval, aime):
    result = m1eval(*aime, "--model", "echo:gold", "--lengths", "4k")
    assert (result.code, result.err.startswith("Error: --lengths: none of these tasks")) == (2, True)


def test_without_a_command_one_line_says_where_they_are_listed(m1eval):
    result = m1eval()
    assert (result.code, result.err) == (2, "Error: no command given; see m1eval --help\n")


def test_a_redo_that_lacks_answers_says_that_it_does_not_continue(m1eval, aime):
    advice = "with --redo the same command starts over"
    assert advice in m1eval(*aime, "--model", "echo:gold,error", "--redo").err
    assert advice not in m1eval(*aime, "--model", "echo:gold,error").err
    assert advice not in m1eval(*aime, "--model", "echo:gold", "--redo").err


def test_a_folder_that_is_not_there_is_not_named(m1eval, aime, tmp_path):
    result = m1eval(*aime, "--model", "echo:gold", "--max-tokens-total", 1)
    assert (result.code, (tmp_path / "x").exists()) == (3, False)
    assert "x/aime24" not in result.out


def test_run_is_the_default_command(shell, aime):
    result = shell(*aime[1:], "--model", "echo:gold", "--json")
    assert result.json()["runs"][0]["score"] == 1.0


def test_options_from_the_environment(shell, aime):
    result = shell(*aime, "--json", env={"M1EVAL_RUN_MODEL": "echo:gold", "M1EVAL_RUN_LIMIT": "2"})
    assert result.json()["runs"][0]["samples"] == 2


def test_a_dry_run_shows_everything_and_runs_nothing(m1eval, aime, tmp_path):
    result = m1eval(*aime, "--model", "echo:gold", "--dry-run")
    assert result.code == 0
    assert not (tmp_path / "x").exists()
    for words in (
        "aime24 · echo:gold · 8 samples × 2 repeats",
        "0 of 16 answers done",
        "output at most 1.3M tokens",
        'task.generation: {"temperature": 1.0, "top_p": 0.95, "max_tokens": 81920}',
        "What is 1 + 1?",
    ):
        assert words in result.out
    m1eval(*aime, "--model", "echo:gold", "--limit", 3)
    (plan, _) = m1eval(*aime, "--model", "echo:gold", "--dry-run", "--json").json()["plans"]
    assert (plan["done"], plan["owed"], plan["samples"]) == (6, 10, 8)
    m1eval(*aime, "--model", "echo:gold")
    assert "output at most 0 tokens" in m1eval(*aime, "--model", "echo:gold", "--dry-run").out
    again = m1eval(*aime, "--model", "echo:gold", "--temperature", 0, "--dry-run", "--redo").out
    assert "0 of 16 answers done" in again
    unlimited = ("--set", "generation.max_tokens=null", "--dry-run")
    assert "output unlimited" in m1eval(*aime, "--model", "echo:wrong", *unlimited).out


def test_plain_progress_counts_outcomes_and_tokens(shell, aime):
    result = shell(*aime, "--model", "echo:gold,wrong", "-o", "latency=0.3", "--concurrency", 4, "--display", "plain")
    line = result.err.splitlines()[-1]
    assert re.match(
        r"aime25 16/16 · score 0\.\d+ \(95% 0\.\d+–[01]\.\d+\)   right \d+ · wrong \d+ · out [\d.,k]+ tok/s · in ", line
    )
    assert "ETA" in result.err
    assert "in flight 0/4 · retries 0" in line


def test_the_live_display_of_a_terminal(tmp_path, aime):
    command = [sys.executable, "-m", "m1eval", *map(str, aime), "--model", "echo:gold,truncated", "-o", "latency=0.4"]
    try:
        main, terminal = pty.openpty()
    except OSError as error:
        pytest.skip(f"this machine lends no pseudo-terminal: {error}")
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "110", "LINES": "40"}
    process = subprocess.Popen([*command, "--concurrency", "4"], stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    seen = b""
    while process.poll() is None or select.select([main], [], [], 0.2)[0]:
        if select.select([main], [], [], 0.2)[0]:
            try:
                seen += os.read(main, 65536)
            except OSError:
                break
    os.close(main)
    assert process.wait(20) == 0
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    for words in (
        "aime24 · echo:gold,truncated · 8 × 2 · max 81,920 tokens",
        "16/16",
        "ETA",
        "tok/s",
        "truncated",
        "━",
    ):
        assert words in screen
    heads = [line for line in screen.splitlines() if " · max 81,920 tokens" in line]
    assert not any("/" in head for head in heads), "a folder that does not fit is not cut but left out"
    assert "MiniMax-M1-80k" in screen, "the table follows, aligned"
    assert "|--" not in screen


def test_numbers_as_people_read_them():
    assert [format_count(n) for n in (12, 2410, 24_900, 1_200_000)] == ["12", "2,410", "24.9k", "1.2M"]
    assert [format_duration(s) for s in (0.44, 12, 61, 1860, 4320, 273_600)] == [
        "0.4s",
        "12s",
        "1m01s",
        "31m00s",
        "1h12m",
        "3d4h",
    ]
    assert [format_score(None), format_score(0.5), format_score(0.7416, 0.0611)] == ["–", "0.500", "0.742 ± 0.061"]


def test_the_list_does_not_take_the_rows_that_samples_are_made_of_for_samples(m1eval):
    assert re.search(r"ruler_qa_1 +ruler +generated", m1eval("tasks", "--tag", "long-context").out)
