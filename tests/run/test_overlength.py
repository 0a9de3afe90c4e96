"""Prompts longer than the context window: the policy skips, truncates or fails, and says what it did."""

import pytest

from m1eval import Sample
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.run.overlength import Overlength
from tests.conftest import Characters, lines, run_of

OVER = ("run", "--tasks", "needle", "--lengths", "4k,8k", "--set", "depths=[50]", "--max-tokens", "100")


@pytest.mark.parametrize("policy", ["skip", "truncate_middle", "fail"])
def test_prompts_beyond_the_window_follow_the_policy(m1eval, tmp_path, policy):
    args = (
        *OVER,
        "-o",
        "window=6000",
        "--set",
        f"overlength={policy}",
        "--out",
        tmp_path / "x",
        "--model",
        "echo:gold",
    )
    result = m1eval(*args)
    records = lines(run_of(tmp_path / "x") / "samples.jsonl")
    outcomes = sorted(record["outcome"] for record in records)
    expected = {
        "skip": (["right"] * 2, "2 samples are left out: their prompts are longer than the context window"),
        "truncate_middle": (
            ["right"] * 4,
            "2 prompts were longer than the context window, and their middles were cut out",
        ),
        "fail": (["refused_context"] * 2 + ["right"] * 2, "2 of 4 outputs were refused"),
    }[policy]
    assert outcomes == expected[0]
    assert expected[1] in result.out
    if policy == "truncate_middle":
        cut = [record for record in records if record["metadata"].get("cut_tokens")]
        assert [record["usage"]["prompt"] <= 5900 for record in cut] == [True, True]
    again = m1eval(*args)
    assert expected[1] in again.out  # known from the run's folder, nothing is asked again
    summary = m1eval(*args, "--json").json()["runs"][0]
    assert (summary["skipped"], summary["owed"]) == (2 if policy == "skip" else 0, 0)
    assert len(lines(run_of(tmp_path / "x") / "samples.jsonl")) == len(records)


def test_without_a_window_the_policy_says_that_it_is_not_applied(m1eval, tmp_path):
    result = m1eval(*OVER, "--set", "overlength=skip", "--model", "echo:gold", "--out", tmp_path / "x")
    assert "overlength: skip is not applied, the model's window is not known" in result.out


@pytest.mark.parametrize("tokenizer", [Characters(), CharacterTokenizer()])
def test_a_shortened_prompt_keeps_both_its_ends_whole_characters_and_fits(tokenizer):
    text = "Anfang " + "Größe – 漢字 🙂 " * 400 + " Ende"
    fit = Overlength("truncate_middle", tokenizer, 50)
    sample = Sample(id="s", messages=[{"role": "system", "content": "short"}, {"role": "user", "content": text}])
    fitted = fit.apply(sample, 1000)
    assert fitted is not None
    assert tokenizer.count(fitted.messages) <= 950
    assert tokenizer.count(fitted.messages) > 900
    content = fitted.messages[1]["content"]
    assert content.startswith("Anfang Größe")
    assert content.endswith("🙂  Ende")
    assert "\ufffd" not in content
    assert sample.messages[1]["content"] == text
    assert fit.truncated == {"s"}
