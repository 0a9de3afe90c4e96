"""Qwen2, Qwen3 and Qwen3-MoE of this project against those of transformers, on random weights in fp32."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from m1eval import RunnerError
from tests.local.conftest import read, scores

YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("qwen2", {}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 6}),
    "qwen2, window as long as the model's": ("qwen2", {"use_sliding_window": True, "sliding_window": 512}),
    "qwen2, yarn": ("qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", {}),
    "qwen3, tied": ("qwen3", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "qwen3, biases": ("qwen3", {"attention_bias": True, "head_dim": 8}),
    "qwen3, yarn": ("qwen3", {"rope_parameters": YARN}),
    "qwen3_moe, weights of the softmax": ("qwen3_moe", {"norm_topk_prob": False}),
    "qwen3_moe, renormalised": ("qwen3_moe", {"norm_topk_prob": True}),
    "qwen3_moe, one expert": ("qwen3_moe", {"norm_topk_prob": False, "num_experts_per_tok": 1}),
    "qwen3_moe, all experts": ("qwen3_moe", {"norm_topk_prob": True, "num_experts_per_tok": 8}),
    "qwen3_moe, every second layer": ("qwen3_moe", {"decoder_sparse_step": 2}),
    "qwen3_moe, some layers dense": ("qwen3_moe", {"mlp_only_layers": [0, 2]}),
}
PIECES = ([100], [64, 36], [7, 1, 60, 1, 1, 30])
IDS = torch.randint(0, 256, (100,), generator=torch.Generator().manual_seed(1)).tolist()


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(name: str, tiny: Callable[..., Any]) -> None:
    kind, config = CONFIGS[name]
    folder, reference = tiny(kind, **config)
    with torch.inference_mode():
        expected = reference(torch.tensor([IDS])).logits[0]
    model = read(folder)
    assert expected.std() > 0.1
    for i, pieces in enumerate(PIECES):
        actual = scores(model, IDS, pieces, scattered=i % 2 == 1)
        assert (actual - expected).abs().max() < 1e-4, pieces


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "qwen3_moe"])
def test_token_by_token_is_the_same(kind: str, tiny: Callable[..., Any]) -> None:
    model = read(tiny(kind).folder)
    ids = IDS[:70]
    assert (scores(model, ids, [1] * 70) - scores(model, ids)).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["qwen2", "qwen3_moe"])
def test_a_sliding_window_that_would_slide_is_refused(kind: str, tiny: Callable[..., Any]) -> None:
    folder = tiny(kind).folder
    file = folder / "config.json"
    sliding = {"use_sliding_window": True, "sliding_window": 100, "max_window_layers": 1}
    config = {key: value for key, value in json.loads(file.read_text()).items() if key != "layer_types"}
    file.write_text(json.dumps(config | sliding))
    with pytest.raises(RunnerError, match="a sliding window of 100 tokens is not built in"):
        read(folder)


def test_no_layer_slides_below_max_window_layers(tiny: Callable[..., Any]) -> None:
    sliding = {"use_sliding_window": True, "sliding_window": 10, "max_window_layers": 3}
    folder, reference = tiny("qwen2", **sliding)
    with torch.inference_mode():
        expected = reference(torch.tensor([IDS])).logits[0]
    assert (scores(read(folder), IDS) - expected).abs().max() < 1e-4
