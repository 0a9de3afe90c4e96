"""The Llama of this project against that of transformers, on random weights in fp32."""

import random
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import Silent, load
from tests.local.conftest import LLAMA3

local = load("runners", "local")
layers = import_module(f"{local.__name__}.layers")
Cache = local.cache.Cache
Sequence = local.engine.Sequence
read_model = local.loading.load
Draw = local.sampling.Draw

CPU = torch.device("cpu")
GREEDY = Draw(0.0, 1.0, 0, 0.0, 0)
CONFIGS: dict[str, dict[str, Any]] = {
    "grouped queries": {},
    "one key head": {"num_key_value_heads": 1},
    "all key heads": {"num_key_value_heads": 6},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 16},
    "llama3 rope": {"rope_parameters": LLAMA3},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}},
    "sharded": {"shard": "60KB"},
}


def read(folder: Any, dtype: torch.dtype = torch.float32) -> Any:
    return read_model(folder, dtype=dtype, device=CPU, progress=Silent()).model


def scores(model: Any, ids: list[int], pieces: list[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Logits of every token, computed in pieces of the given sizes."""
    cache = Cache(model.memory, slots=1, window=512, dtype=dtype, device=CPU)
    place, begin, found = cache.take(), 0, []
    with torch.inference_mode():
        for size in pieces:
            step = cache.plan([(place, size)])
            found.append(model.logits(model(torch.tensor(ids[begin : begin + size]), step)))
            begin += size
    return torch.cat(found)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(name: str, tiny: Callable[..., Any]) -> None:
    folder, reference = tiny(**CONFIGS[name])
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (name == "sharded")
    ids = torch.randint(0, 256, (150,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.inference_mode():
        wanted = reference(torch.tensor([ids])).logits[0]
    model = read(folder)
    assert wanted.std() > 0.1
    for pieces in ([150], [1] * 150, [64, 64, 22], [7, 1, 100, 1, 1, 40]):
        assert (scores(model, ids, pieces) - wanted).abs().max() < 1e-4, pieces


def test_old_rope_fields_of_a_config_mean_the_same(tiny: Callable[..., Any]) -> None:
    import json

    folder, reference = tiny(rope_parameters=LLAMA3)
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    (folder / "config.json").write_text(json.dumps(config))
    ids = list(range(100))
    with torch.inference_mode():
        wanted = reference(torch.tensor([ids])).logits[0]
    assert (scores(read(folder), ids, [100]) - wanted).abs().max() < 1e-4


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
    sequences = [Sequence(prompt=prompt, limit=rng.randrange(1, 60), draw=GREEDY) for prompt in prompts]
    for sequence in sequences:
        running.submit(sequence)
    for sequence in sequences:
        sequence.future.result(timeout=30)
        with torch.inference_mode():
            out = llama.reference.generate(
                torch.tensor([sequence.prompt]),
                attention_mask=torch.ones(1, len(sequence.prompt), dtype=torch.long),
                do_sample=False,
                min_new_tokens=sequence.limit,
                max_new_tokens=sequence.limit,
                eos_token_id=None,
            )
        assert sequence.tokens == out[0, len(sequence.prompt) :].tolist()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 40])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_for_few_rows_is_a_linear_layer(rows: int, bias: bool) -> None:
    torch.manual_seed(rows)
    x, weight, offset = torch.randn(rows, 24), torch.randn(17, 24), torch.randn(17) if bias else None
    found = layers.linear(x, weight, offset)
    assert found.is_contiguous()
    torch.testing.assert_close(found, torch.nn.functional.linear(x, weight, offset))
