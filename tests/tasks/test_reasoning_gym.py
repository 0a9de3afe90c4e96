"""Reasoning Gym: procedural problems graded by the library's own graders, none of which may run a model's text."""

import asyncio
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import reasoning_gym
from reasoning_gym.factory import DATASETS

from m1eval import Output, Sample, UsageError, classify, load
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.sandbox.workers import Pool
from m1eval.task.load import load_tasks
from tests.conftest import digests

ROOT = Path(__file__).resolve().parents[2]


def samples(*overrides: str, seed: int = 0, name: str = "reasoning_gym") -> Any:
    (gym,) = load_tasks([name], overrides)
    return gym.samples(CharacterTokenizer(), seed)


def graded(pairs: list[tuple[str, Sample]], **options: Any) -> list[Any]:
    async def run() -> list[Any]:
        scorer = load("scorers", "reasoning_gym").Scorer(**options)
        async with Pool(1) as workers:
            tools = SimpleNamespace(workers=workers)
            return [await scorer.score(Output(text=text), sample, tools) for text, sample in pairs]

    return asyncio.run(run())


def test_every_gold_answer_scores_one_and_every_other_text_less():
    every = [sample for chosen in (samples("samples=3"),) for sample in map(chosen.sample, range(len(chosen)))]
    assert len({sample.metadata["dataset"] for sample in every}) == 8
    golds = graded([(sample.gold or "", sample) for sample in every])
    assert [score.value for score in golds] == [1.0] * len(every)
    assert all(score.metrics["reward"] == 1.0 for score in golds)
    wrong = graded([("<answer>certainly not this</answer>", sample) for sample in every])
    assert [score.value for score in wrong] == [0.0] * len(every)
    assert {classify(Output(text="x"), score) for score in wrong} == {"wrong"}


def test_an_answer_on_which_the_library_raises_is_wrong():
    chosen = samples("samples=1", 'kinds=["prime_factorization"]')
    sample = chosen.sample(0)
    answers = ["two times three", "1/0", "x × y", sample.target, f"{sample.target} × 2"]
    scores = graded([(f"<answer>{text}</answer>", sample) for text in answers])
    assert [score.value for score in scores] == [0, 0, 0, 1, 0]
    assert "ends the library's grader (invalid literal" in scores[0].explanation
    assert {classify(Output(text="x"), score) for score in scores[:3]} == {"wrong"}
    sample.metadata["digest"] += 1
    with pytest.raises(LookupError, match="versions differ"):
        graded([("<answer>two times three</answer>", sample)])


def test_the_small_variant_has_gold_answers_that_score_one():
    chosen = samples(name="reasoning_gym_small")
    every = [chosen.sample(i) for i in range(len(chosen))]
    assert [score.value for score in graded([(s.gold or "", s) for s in every])] == [1.0] * 16


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        ("So <answer>7</answer>", "7", "the last <answer>"),
        ("<answer>5</answer> no, <answer>\n 7 \n</answer> it is", "7", "the last <answer>"),
        ("<answer>two\nlines</answer>", "two\nlines", "the last <answer>"),
        ("I say \\boxed{5}. <answer>7</answer>", "7", "the last <answer>"),
        ("First \\boxed{5},\nthen \\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "the last \\boxed"),
        ("It is\n<answer>7", "7", "an unclosed <answer>"),
        ("7", "7", "a single line"),
        ("  7 \n", "7", "a single line"),
        ("It may be 7.\nOr 8.", None, "no <answer>"),
        ("a\n\\boxed{7", None, "no <answer>"),
        ("<answer> </answer>", None, "the last <answer>"),
        ("", None, "empty answer"),
        (" \n ", None, "empty answer"),
    ],
)
def test_the_final_answer_is_found_by_one_rule_that_is_named(text, answer, rule):
    found, by = load("scorers", "reasoning_gym").final_answer(text)
    assert found == answer
    assert by.startswith(rule)


def test_an_output_without_a_final_answer_is_unparsed():
    sample = samples("samples=1").sample(0)
    (score,) = graded([("Let me see.\nI do not know.", sample)])
    assert (score.value, score.answer) == (0.0, None)
    assert classify(Output(text="Let me see."), score) == "unparsed"


def test_a_reward_below_one_counts_only_if_asked_for():
    chosen = samples("kinds=[spell_backward]", "samples=8")
    sample = next(s for s in map(chosen.sample, range(8)) if len(s.target) > 4)
    near = f"<answer>{sample.target[:-1]}{'a' if sample.target[-1] != 'a' else 'b'}</answer>"
    (strict,), (partial,) = graded([(near, sample)]), graded([(near, sample)], partial=True)
    reward = 1 - 1 / len(sample.target)
    assert (strict.value, strict.metrics["reward"]) == (0.0, pytest.approx(reward))
    assert partial.value == pytest.approx(reward)
    assert classify(Output(text=near), partial) == "partial"


def test_a_problem_that_cannot_be_made_again_is_an_error_and_no_grade():
    sample = samples("samples=1").sample(0)
    sample.metadata["digest"] += 1
    with pytest.raises(LookupError, match="versions differ"):
        graded([(sample.gold or "", sample)])


def test_the_same_problems_are_made_in_any_process():
    assert len(digests("reasoning_gym", ["samples=2"], 3, list(range(16)))) == 1


def test_neighbouring_seeds_share_no_problem():
    first, second = (samples("kinds=[chain_sum]", "samples=20", seed=seed) for seed in (0, 1))
    questions = [{chosen.sample(i).metadata["question"] for i in range(20)} for chosen in (first, second)]
    assert not questions[0] & questions[1]


def test_a_level_makes_the_problems_harder():
    easy, hard = (samples("kinds=[chain_sum]", "samples=5", f"level={level}") for level in (0, 4))
    lengths = [sum(len(chosen.sample(i).metadata["question"]) for i in range(5)) for chosen in (easy, hard)]
    assert lengths[1] > lengths[0] + 20


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kinds=[countdown]", "'countdown' is left out, its grader would run the model's answer as code"),
        ("kinds=[list_functions]", "'list_functions' is left out, it makes another problem each time"),
        ("kinds=[chainsum]", "reasoning-gym has no dataset 'chainsum'"),
        ("samples=0", "samples is 0"),
        ("level=hard", "level is 'default' or a number from 0, not 'hard'"),
    ],
)
def test_options_that_cannot_be_used_are_an_error_in_one_line(override, message):
    with pytest.raises(UsageError, match=message) as error:
        samples(override)
    assert "\n" not in str(error.value)


def test_every_dataset_whose_code_can_evaluate_text_is_left_out_or_was_read():
    """The library's source decides: a new version with another `eval` fails here until someone has read it."""
    read = {
        "basic_arithmetic",  # evaluates its own problem
        "bitwise_arithmetic",  # evaluates its own problem
        "number_sorting",  # evaluates the reference, which it wrote itself
        "propositional_logic",  # a parser of its own that evaluates nothing
    }
    sources = {
        name: inspect.getsource(importlib.import_module(kind.__module__)) for name, (kind, _) in DATASETS.items()
    }
    evaluating = {name for name, text in sources.items() if re.search(r"\b(eval|exec|parse_expr|sympify)\(", text)}
    assert len(sources) > 90
    left_out = importlib.import_module("m1eval.plugins.tasks.reasoning._reasoning_gym").LEFT_OUT
    assert evaluating - read == set(left_out) - {"list_functions"}


def test_the_library_is_the_version_that_was_read():
    assert reasoning_gym.__version__.startswith("0.1.")


def test_the_demo_without_the_package_says_in_one_line_what_to_install(tmp_path):
    code = "import sys; sys.modules['reasoning_gym'] = None; from m1eval.cli.main import main; main(sys.argv[1:])"
    command = [
        sys.executable,
        "-c",
        code,
        "run",
        "--tasks",
        "demo",
        "--model",
        "echo:gold",
        "--out",
        str(tmp_path / "x"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("a package that is not installed: reasoning_gym.  pip install 'm1eval[gym]'\n")
    assert not (tmp_path / "x").exists()
