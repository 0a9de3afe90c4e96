"""The question sets: each can be loaded and graded from a data folder, by either protocol, and with a profile."""

import json
import os
from pathlib import Path

import pytest

from m1eval import UsageError
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task import profiles
from m1eval.task.load import load_tasks
from m1eval.task.task import Task
from tests.conftest import ROOT, lines, run_of, write

SHARED = Path(os.environ.get("M1EVAL_SHARED", ROOT.parent / "shared"))
SETS = {
    "aime24": 30,
    "aime25": 30,
    "math500": 500,
    "amc23": 40,
    "hmmt_feb_2025": 30,
    "minerva_math": 272,
    "olympiadbench": 675,
    "mmlu_pro": 12032,
    "simpleqa": 4326,
    "multichallenge": 273,
}
GPQA: dict[str, object] = {
    "Question": "Which is the lightest?",
    "Correct Answer": "hydrogen\n",
    **{f"Incorrect Answer {i}": f"metal {i}" for i in (1, 2, 3)},
    "High-level domain": "Chemistry",
}
ZEBRA: dict[str, object] = {
    "id": "lgp-test-2x2-1",
    "puzzle": "There are 2 houses.",
    "solution": {"header": ["House", "Name", "Pet"], "rows": [["1", "Ann", "cat"], ["2", "Bob", "dog"]]},
}
HLE: list[dict[str, object]] = [
    {"id": "a", "question": "1 + 1?", "answer": "2", "answer_type": "exactMatch", "image": "", "category": "Math"},
    {"id": "b", "question": "What is shown?", "answer": "x", "image": "data:image/png;base64,AA", "category": "Other"},
]
GATED: dict[str, list[dict[str, object]]] = {"gpqa_diamond": [GPQA] * 6, "zebralogic": [ZEBRA], "hle": HLE}
"""Rows in the form of the datasets that are gated and so are not here."""


def data(folder: Path, name: str) -> Path:
    if name in GATED:
        write(folder / f"{name}.jsonl", "\n".join(json.dumps(row) for row in GATED[name]) + "\n")
        return folder
    path = SHARED / "data" / "by_task"
    if not path.is_dir():
        pytest.skip(f"no {path}; set M1EVAL_SHARED")
    return path


OFFICIAL = ("aime24", "aime25", "math500", "amc23", "hmmt_feb_2025", "minerva_math", "gpqa_diamond")
"""Sets whose official prompts need neither worked examples nor texts that are read at run time."""


@pytest.mark.parametrize(
    ("name", "protocol"), [*((name, None) for name in (*SETS, *GATED)), *((name, "official") for name in OFFICIAL)]
)
def test_a_set_has_all_its_samples_with_distinct_ids(tmp_path, name, protocol):
    (task,) = load_tasks([name], protocol=protocol)
    samples = task.samples(CharacterTokenizer(), 0, data(tmp_path, name))
    assert len(samples) == SETS.get(name, len(samples)) > 0
    assert len({samples.id(i) for i in range(min(len(samples), 500))}) == min(len(samples), 500)


@pytest.mark.parametrize("name", [*SETS, *GATED])
def test_the_definition_of_a_set_names_its_source_and_the_sampling_of_the_paper(name):
    (task,) = load_tasks([name])
    definition = task.definition
    assert definition.source
    assert definition.licence
    assert definition.description
    assert definition.dataset
    assert definition.dataset.revision
    assert (definition.generation.temperature, definition.generation.top_p) == (1.0, 0.95)
    assert definition.generation.max_tokens == 81920


@pytest.mark.parametrize("name", [*SETS, *GATED])
def test_the_gold_answers_of_a_set_are_graded_right(m1eval, tmp_path, name):
    result = m1eval("check", name, "--data-dir", data(tmp_path, name))
    assert result.code == 0, result.out


def one(name: str, folder: Path, protocol: str | None = None) -> tuple[Task, str]:
    (task,) = load_tasks([name], protocol=protocol)
    sample = task.samples(CharacterTokenizer(), 0, data(folder, name)).sample(0)
    return task, "\n".join(str(message["content"]) for message in sample.messages)


def test_the_options_of_gpqa_are_in_a_drawn_order_with_the_right_letter(tmp_path):
    (task,) = load_tasks(["gpqa_diamond"])
    samples = task.samples(CharacterTokenizer(), 0, data(tmp_path, "gpqa_diamond"))
    built = [samples.sample(i) for i in range(6)]
    for sample in built:
        right = "ABCD".index(sample.target)
        assert sample.metadata["options"][right] == "hydrogen"
        assert f"{sample.target}) hydrogen\n" in sample.messages[0]["content"]
    assert len({sample.target for sample in built}) > 1
    again = task.samples(CharacterTokenizer(), 0, data(tmp_path, "gpqa_diamond"))
    assert [again.sample(i).target for i in range(6)] == [sample.target for sample in built]


def test_the_questions_of_hle_with_a_picture_are_left_out(tmp_path):
    (task,) = load_tasks(["hle"])
    samples = task.samples(CharacterTokenizer(), 0, data(tmp_path, "hle"))
    assert [samples.id(i) for i in range(len(samples))] == ["hle-a"]


def test_the_puzzle_shows_the_form_of_its_grid(tmp_path):
    _, prompt = one("zebralogic", tmp_path)
    assert '"House 1": {"Name": "...", "Pet": "..."},' in prompt
    assert "Ann" not in prompt
    assert json.loads(prompt[prompt.index('{"reasoning"') :])["solution"]["House 2"] == {"Name": "...", "Pet": "..."}


def test_the_official_protocol_changes_prompt_rule_and_repeats(tmp_path):
    plain, prompt = one("gpqa_diamond", tmp_path)
    official, other = one("gpqa_diamond", tmp_path, "official")
    assert (plain.definition.repeats, official.definition.repeats) == (32, 10)
    assert official.definition.scorer == {"choice": {"options": 4, "rule": "simple_evals"}}
    assert official.definition.generation.temperature == 0.5
    assert official.definition.generation.top_p is None
    assert "'Answer: $LETTER'" in other
    assert "'Answer: $LETTER'" not in prompt


@pytest.mark.parametrize(
    ("name", "scorer"),
    [
        ("infinitebench", {"infinitebench": {"rule": "first"}}),
        ("graphwalks", {"graphwalks": {"rule": "card"}}),
        ("zebralogic", {"logic_grid": {"rule": "zeroeval"}}),
    ],
)
def test_the_official_protocol_names_the_published_rule(name, scorer):
    (task,) = load_tasks([name], protocol="official")
    assert task.definition.scorer == scorer


def test_the_official_protocol_of_mmlu_pro_shows_five_worked_examples(tmp_path):
    row = {"question": "What is 2 + 2?", "options": ["3", "4", "N/A"], "answer": "B", "category": "math"}
    worked = [
        {
            **row,
            "question": f"Example {i}",
            "cot_content": f"A: Let's think step by step. It is {i}. The answer is (B).",
        }
        for i in range(7)
    ]
    other = {**worked[0], "question": "Another subject", "category": "law"}
    for name, found in (("mmlu_pro", [{**row, "question_id": 70}]), ("mmlu_pro_validation", [other, *worked])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in found))
    (task,) = load_tasks(["mmlu_pro"], protocol="official")
    sample = task.samples(CharacterTokenizer(), 0, tmp_path).sample(0)
    prompt = sample.messages[0]["content"]
    assert sample.id == "mmlu_pro-70"
    assert prompt.startswith(
        "The following are multiple choice questions (with answers) about math. Think step by step"
    )
    assert prompt.count("Question:\n") == 6
    assert (
        "Example 4\nOptions:\nA. 3\nB. 4\nAnswer: Let's think step by step. It is 4. The answer is (B).\n\nQ" in prompt
    )
    assert "Another subject" not in prompt
    assert prompt.rstrip("\n").endswith("What is 2 + 2?\nOptions:\nA. 3\nB. 4\nAnswer: Let's think step by step.")


def test_a_protocol_that_is_not_there_is_named_and_a_task_without_any_is_kept(m1eval):
    result = m1eval("run", "--tasks", "aime24", "--model", "echo:gold", "--protocol", "offical")
    assert (result.code, result.err) == (
        2,
        "Error: task aime24: unknown protocol 'offical'; did you mean 'official'?\n",
    )
    (needle,) = load_tasks(["needle_small"], protocol="official")
    assert needle.definition == load_tasks(["needle_small"])[0].definition


def test_a_wrong_key_of_a_protocol_is_an_error_at_its_line(capitals):
    capitals.write_text(capitals.read_text() + "protocols:\n  official:\n    generation: {temprature: 0}\n")
    assert load_tasks([str(capitals)])[0].definition.protocols
    with pytest.raises(UsageError, match=r"capitals\.yaml:8: unknown key 'temprature'; did you mean 'temperature'"):
        load_tasks([str(capitals)], protocol="official")


def test_a_profile_lays_its_sampling_upon_the_task_and_set_has_the_last_word():
    qwen = profiles.read("qwen3")
    (task,) = load_tasks(["aime24"], profile=qwen)
    generation = task.definition.generation
    assert (generation.temperature, generation.top_k, generation.min_p, generation.max_tokens) == (0.6, 20, 0, 38912)
    (other,) = load_tasks(["math500"], profile=qwen)
    assert other.definition.generation.max_tokens == 32768
    (mine,) = load_tasks(["aime24"], ["generation.temperature=0.3"], profile=qwen)
    assert mine.definition.generation.temperature == 0.3


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-8B", "qwen3"),
        ("Qwen3-235B-A22B-Thinking-2507", "qwen3_2507"),
        ("deepseek-ai/DeepSeek-R1", "deepseek_r1"),
        ("DeepSeek-R1-0528", "deepseek_r1_0528"),
        ("MiniMaxAI/MiniMax-M1-80k", "minimax_m1"),
        ("openai/gpt-oss-120b", "gpt_oss"),
        ("llama-3.1-8b", None),
    ],
)
def test_a_profile_is_found_by_the_models_name(model, name):
    assert profiles.find_matching(model) == name


def test_a_profile_by_flag_is_in_the_plan_and_in_the_run(m1eval, tmp_path):
    rows = tmp_path / "aime24.jsonl"
    rows.write_text('{"problem": "1+1?", "answer": 2}\n')
    run = ("run", "--tasks", "aime24", "--model", "echo:gold", "--data-dir", tmp_path, "--profile", "deepseek_r1")
    (plan,) = m1eval(*run, "--dry-run", "--json").json()["plans"]
    assert plan["config"]["task"]["generation"] == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 32768}
    assert m1eval(*run, "--out", tmp_path / "r", "-k", 1).code == 0
    assert len(lines(run_of(tmp_path / "r") / "samples.jsonl")) == 1
    unfit = m1eval(*run[:-1], "auto")
    assert (unfit.code, "no profile fits the model 'gold'" in unfit.err) == (2, True)
    assert "did you mean 'qwen3'" in m1eval(*run[:-1], "qwen").err


@pytest.mark.parametrize("name", profiles.available())
def test_every_profile_is_sound_and_says_its_source(name):
    profile = profiles.read(name)
    assert profile.source
    assert profile.title


def test_rows_that_were_read_go_through_a_function_next_to_the_task(m1eval, tmp_path):
    write(
        tmp_path / "_pairs.py",
        """
        def pairs(rows, *, seed, most=2):
            for number in range(min(most, len(rows))):
                yield {"q": rows[number]["q"] * 2, "seed": seed}
        """,
    )
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"q": letter}) + "\n" for letter in "abc"))
    task = write(
        tmp_path / "t.yaml",
        """
        title: T
        dataset: {file: t.jsonl, generate: _pairs.pairs}
        options: {most: 2}
        prompt: "{{ q }}{{ seed }}"
        target: "{{ q }}"
        scorer: exact
        """,
    )
    (loaded,) = load_tasks([str(task)])
    samples = loaded.samples(CharacterTokenizer(), 7)
    assert [samples.sample(i).messages[0]["content"] for i in range(len(samples))] == ["aa7", "bb7"]
    assert any(key.startswith("generator ") for key in loaded.resolved()["digests"])
    task.write_text(task.read_text().replace("_pairs.pairs", "_pairs.none"))
    assert "has no function 'none'" in m1eval("check", task).err + m1eval("check", task).out


def test_a_folder_without_data_for_a_member_of_a_group_leaves_it_out(m1eval, tmp_path):
    write(tmp_path / "aime24.jsonl", '{"problem": "1+1?", "answer": 2}\n')
    result = m1eval("check", "aime", "--data-dir", tmp_path)
    assert result.code == 0
    assert "passed   aime24" in result.out
    assert "skipped  aime25: no data in" in result.out
    assert m1eval("check", "aime25", "--data-dir", tmp_path).code == 1, "named alone it must be there"


def test_a_score_is_set_against_the_published_figures(m1eval, tmp_path):
    rows = [json.dumps({"problem": f"{i} + {i}?", "answer": 2 * i}) for i in range(1, 31)]
    (tmp_path / "aime24.jsonl").write_text("\n".join(rows) + "\n")
    run = ("run", "--tasks", "aime24", "--data-dir", tmp_path, "-k", 4, "--display", "none")
    shown = m1eval(*run, "--model", "echo:gold,wrong", "--out", tmp_path / "a").out
    line = next(line for line in shown.splitlines() if line.startswith("| aime24 | MiniMax-M1-80k "))
    _, _, _, published, here, difference, interval, p, differs, _ = (cell.strip() for cell in line.split("|"))
    low, high = map(float, interval.split(" to "))
    assert published == "0.860"
    assert float(difference) == pytest.approx(float(here) - 0.86, abs=0.0011)
    assert low < float(difference) < high < 0
    assert p == "< 0.001"
    assert differs.startswith("repeats 4 (there 32)")
    assert "adjusted for 3 comparisons" in shown
    assert "pass@4" in shown
    assert "maj@4" in shown
    partial = m1eval(*run, "--model", "echo:gold,wrong", "--limit", 10, "--out", tmp_path / "b").out
    assert "subset 10 of 30" in partial
