"""Thinking tags as special tokens, as added tokens or as plain text: the answer is what follows them."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from m1eval import Output, Request, Sampling, load
from m1eval.model.thinking import DEFAULT, KNOWN

local = load("runners", "local")
Sequence_ = local.engine.sequence.Sequence
SamplingParams = local.engine.sampling_params.SamplingParams

END, TOOL = "<|im_end|>", "<|tool|>"


def make_tokenizer(folder: Path, tags: str) -> Any:
    """A byte tokenizer in which the thinking tags are `special`, `added`, `text`, or only the closing one special."""
    words = {word: i for i, word in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=words, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(word, normalized=False) for word in (END, TOOL, "<pad>")])
    if tags in ("special", "added", "closing"):
        names = ("</think>",) if tags == "closing" else ("<think>", "</think>")
        core.add_tokens([AddedToken(word, special=tags != "added", normalized=False) for word in names])
    core.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END, "pad_token": "<pad>"}))
    return local.tokenizer.files.from_folder(folder)


def output(
    tokenizer: Any, ids: Sequence[int], *, opened: bool, stop: Sequence[str] = (), finish: str = "stop"
) -> Output:
    """The runner's Output for these tokens."""
    sequence = Sequence_(
        prompt_token_ids=[1],
        max_tokens=10**6,
        sampling_params=SamplingParams.from_sampling(Sampling(), 0),
        stop_token_ids=tokenizer.stop_token_ids,
    )
    watch = local.tokenizer.streaming.StopStringMatcher(tokenizer.decode_output, stop, opened=opened) if stop else None
    for token in ids:
        sequence.output_token_ids.append(token)
        if watch and watch(token):
            break
    sequence.finish_reason = finish
    form = DEFAULT if opened else None
    result: Output = local.output.make_output(tokenizer, sequence, watch, None, form, KNOWN, time.monotonic())
    return result


@pytest.fixture(params=["special", "added", "text", "closing"])
def tokenizer(request: Any, tmp_path: Path) -> Any:
    return make_tokenizer(tmp_path, request.param)


def test_a_draft_is_not_graded(tokenizer: Any) -> None:
    written = f"<think>ROME?</think>Paris!{END}"
    for text, opened in ((written, False), (written.removeprefix("<think>"), True)):
        result = output(tokenizer, tokenizer.encode(text), opened=opened)
        assert (result.text, result.reasoning, result.unfinished_thinking) == ("Paris!", "ROME?", False)
        assert result.usage.reasoning + result.usage.answer == len(tokenizer.encode(text))


def test_thinking_that_is_cut_is_unfinished(tokenizer: Any) -> None:
    for text, opened in (("<think>ROME?", False), ("ROME?", True)):
        result = output(tokenizer, tokenizer.encode(text), opened=opened, finish="length")
        assert (result.text, result.unfinished_thinking) == ("", True)


def test_stop_strings_and_budgets_see_the_tags(tokenizer: Any) -> None:
    result = output(tokenizer, tokenizer.encode("a\n\nb</think>c\n\nd"), opened=True, stop=("\n\n",))
    assert (result.text, result.reasoning) == ("c", "a\n\nb")
    result = output(tokenizer, tokenizer.encode("<think>a\n\nb</think>c\n\nd"), opened=False, stop=("\n\n",))
    assert (result.text, result.reasoning) == ("c", "a\n\nb")
    for opened, text in ((True, "abc</think>and more"), (False, "<think>abc</think>and more")):
        budget = local.tokenizer.streaming.ThinkingBudget(tokenizer, 40, "!</think>", opened=opened)
        assert not any(budget(token) for token in tokenizer.encode(text))
        assert budget.count == len(tokenizer.encode(text.removesuffix("and more")))


def test_a_budget_sees_a_closing_tag_that_is_spelt_out(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, "special")
    budget = local.tokenizer.streaming.ThinkingBudget(tokenizer, 12, "!</think>", opened=True)
    spelt = [tokenizer.backend.token_to_id(c) for c in "abc</think>and_much_more_after_it"]
    assert not any(budget(token) for token in spelt)
    assert budget.count == len("abc</think>")


def test_other_special_tokens_are_in_no_answer(tokenizer: Any) -> None:
    ids = tokenizer.encode(f"<think>a{TOOL}b</think>x {TOOL}y<pad>{END}")
    result = output(tokenizer, ids, opened=False)
    assert (result.text, result.reasoning) == ("x y", "ab")
    plain = output(tokenizer, tokenizer.encode(f"{TOOL}x{TOOL} y{END}"), opened=False)
    assert plain.text == "x y"


def test_names_that_are_written_out_stay_in_the_answer(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path, "special")
    spelt = [tokenizer.backend.token_to_id(c) for c in TOOL]
    ids = [*tokenizer.encode(f"<think>a</think>{TOOL}x"), *spelt, *tokenizer.encode(f"y{END}")]
    assert output(tokenizer, ids, opened=False).text == f"x{TOOL}y"


def test_an_answer_is_served_without_its_draft(tmp_path: Path, tiny: Any) -> None:
    """Through the engine: a model that always writes the same token, which is the closing tag."""
    import torch
    from safetensors.torch import load_file, save_file

    from tests.local.test_runner import ask

    tokenizer = make_tokenizer(tmp_path, "special")
    folder = tiny(vocab_size=len(tokenizer.backend.get_vocab()), template="{{ messages[0].content }}<think>\n").folder
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.zeros_like(tensors["model.norm.weight"])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    request = Request(messages=[{"role": "user", "content": "q"}], think_budget=3, sampling=Sampling(max_tokens=9))
    (answer,) = ask(folder, request, think_end="</think>")
    assert not answer.unfinished_thinking
    assert answer.reasoning
    assert answer.text
    assert "</think>" not in answer.text
    assert answer.metadata["thinking"]["forced"]
