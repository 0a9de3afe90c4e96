"""The Llama of this project against that of transformers, on random weights in fp32."""

import json
import random
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import RunnerError, load
from tests.local.conftest import LLAMA3, read, scores

local = load("runners", "local")
rotary = import_module(f"{local.__name__}.layers.rotary")
Sequence = import_module(f"{local.__name__}.engine.sequence").Sequence
SamplingParams = local.engine.sampling_params.SamplingParams

GREEDY = SamplingParams(0.0, 1.0, 0, 0.0, 0)
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "grouped queries": {},
    "one key head": {"num_key_value_heads": 1},
    "all key heads": {"num_key_value_heads": 6},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 16},
    "one layer": {"num_hidden_layers": 1},
    "llama3 rope": {"rope_parameters": LLAMA3},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}},
    "yarn": {"rope_parameters": YARN, "head_dim": 32},
    "yarn, its range not rounded": {"rope_parameters": {**YARN, "truncate": False, "beta_fast": 8}, "head_dim": 32},
    "yarn with mscale": {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.2}, "head_dim": 32},
    "yarn with a factor for attention": {"rope_parameters": {**YARN, "attention_factor": 1.3}},
    "dynamic, never stretched": {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    "sharded": {"shard": "60KB"},
}
PIECES = ([100], [64, 36], [7, 1, 60, 1, 1, 30])
IDS = torch.randint(0, 256, (100,), generator=torch.Generator().manual_seed(1)).tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(name: str, tiny: Callable[..., Any]) -> None:
    folder, reference = tiny(**CONFIGS[name])
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (name == "sharded")
    with torch.inference_mode():
        expected = reference(torch.tensor([IDS])).logits[0]
    model = read(folder)
    assert expected.std() > 0.1
    for i, pieces in enumerate(PIECES if name != "grouped queries" else [*PIECES, [1] * 100]):
        actual = scores(model, IDS, pieces, scattered=i % 2 == 1)
        assert (actual - expected).abs().max() < 1e-4, pieces


def test_dynamic_positions_are_those_of_transformers_token_by_token(tiny: Callable[..., Any]) -> None:
    """For a prompt in one pass transformers scales all of it, so the same tokens differ by how they are fed."""
    rope = {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 10000.0}
    folder, reference = tiny(rope_parameters=rope, max_position_embeddings=40, num_hidden_layers=2)
    ids = IDS[:90]
    past, expected = None, []
    with torch.inference_mode():
        for token in ids:
            out = reference(torch.tensor([[token]]), past_key_values=past, use_cache=True)
            past = out.past_key_values
            expected.append(out.logits[0])
    model = read(folder)
    assert model.window == 120
    for pieces in ([90], [30, 1, 1, 20, 38], [1] * 90):
        assert (scores(model, ids, pieces) - torch.cat(expected)).abs().max() < 1e-4, pieces


def test_old_rope_fields_of_a_config_mean_the_same(tiny: Callable[..., Any]) -> None:
    folder, reference = tiny(rope_parameters=LLAMA3)
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    (folder / "config.json").write_text(json.dumps(config))
    with torch.inference_mode():
        expected = reference(torch.tensor([IDS])).logits[0]
    assert (scores(read(folder), IDS) - expected).abs().max() < 1e-4


def test_a_rope_that_is_unknown_or_lacks_a_field_is_refused() -> None:
    with pytest.raises(RunnerError, match="rope_type 'longrope' is not built in; there are default, linear"):
        rotary.Rope(8, 1e4, {"rope_type": "longrope"})
    with pytest.raises(RunnerError, match="rope_type 'yarn' needs original_max_position_embeddings"):
        rotary.Rope(8, 1e4, {"rope_type": "yarn", "factor": 2.0})


@pytest.mark.parametrize("interleaved", [True, False])
def test_rotated_heads_keep_their_length_and_their_products_by_distance(interleaved: bool) -> None:
    torch.manual_seed(0)
    rope = rotary.Rope(16, 1e4, {})
    one, other = torch.randn(2, 1, 3, 16, dtype=torch.float64).float()

    def rotated(x: torch.Tensor, place: int) -> torch.Tensor:
        actual: torch.Tensor = rotary.rotate(x, rope(torch.tensor([place])), interleaved)
        return actual

    torch.testing.assert_close(rotated(one, 9).norm(dim=-1), one.norm(dim=-1))
    products = [(rotated(one, begin + 7) * rotated(other, begin)).sum(-1) for begin in (0, 30, 200)]
    torch.testing.assert_close(products[0], products[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(products[0], products[2], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(products[0], (one * other).sum(-1), atol=0.1)
    pair = rotated(torch.eye(16)[None, :1], 1)[0, 0].nonzero().flatten().tolist()
    assert pair == ([0, 1] if interleaved else [0, 8])


def test_bfloat16_stays_near_fp32(llama: Any) -> None:
    ids = list(range(60))
    exact = scores(read(llama.folder), ids, [60])
    rough = scores(read(llama.folder, torch.bfloat16), ids, [50, *[1] * 10], torch.bfloat16)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_a_batch_of_any_lengths_gives_the_tokens_of_transformers(llama: Any, engine: Callable[..., Any]) -> None:
    rng = random.Random(0)
    prompts = [[rng.randrange(256) for _ in range(rng.choice((1, 3, 30, 90, 200)))] for _ in range(20)]
    running = engine(read(llama.folder))
    sequences = [
        Sequence(prompt_token_ids=prompt, max_tokens=rng.randrange(1, 60), sampling_params=GREEDY) for prompt in prompts
    ]
    for sequence in sequences:
        running.submit(sequence)
    for sequence in sequences:
        sequence.future.result(timeout=30)
        with torch.inference_mode():
            out = llama.reference.generate(
                torch.tensor([sequence.prompt_token_ids]),
                attention_mask=torch.ones(1, len(sequence.prompt_token_ids), dtype=torch.long),
                do_sample=False,
                min_new_tokens=sequence.max_tokens,
                max_new_tokens=sequence.max_tokens,
                eos_token_id=None,
            )
        assert sequence.output_token_ids == out[0, len(sequence.prompt_token_ids) :].tolist()
