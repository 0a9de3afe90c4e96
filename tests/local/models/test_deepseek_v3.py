"""DeepSeek-V3 against transformers, on random weights in fp32, and its checkpoints in fp8."""

import json
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from m1eval import RunnerError, load
from tests.local.conftest import Tiny, read, save_tokenizer, scores
from tests.local.weights.test_fp8 import quantise

local = load("runners", "local")
models, layers, loader, sharding, cache_spec, fp8 = (
    import_module(f"{local.__name__}.{name}")
    for name in ("models", "layers.layers", "weights.loader", "layers.sharding", "layers.cache_spec", "weights.fp8")
)

SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 40,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 12,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
    "max_position_embeddings": 512,
    "eos_token_id": None,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "as published, smaller": {"rope_parameters": YARN},
    "not stretched": {},
    "mscale of its own": {"rope_parameters": YARN | {"mscale": 0.707}},
    "queries without a latent": {"q_lora_rank": None},
    "halves rotated": {"rope_interleave": False},
    "biases": {"attention_bias": True},
    "weights of experts not normed": {"norm_topk_prob": False},
    "one group": {"n_group": 1, "topk_group": 1},
    "dense": {"first_k_dense_replace": 3},
    "tied": {"tie_word_embeddings": True},
}
IDS = torch.randint(0, 97, (150,), generator=torch.Generator().manual_seed(1)).tolist()

Make = Callable[..., Tiny]


@pytest.fixture(scope="session")
def deepseek(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Save a random DeepseekV3ForCausalLM."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    def make(**config: Any) -> Tiny:
        folder = tmp_path_factory.mktemp("deepseek_v3")
        reference: Any = DeepseekV3ForCausalLM(DeepseekV3Config(**SHAPE | config))
        reference.eval()
        torch.manual_seed(0)
        for name, parameter in reference.named_parameters():
            parameter.data.normal_(1.0 if "norm" in name else 0.0, 0.3 if parameter.ndim == 1 else 0.15)
        for name, buffer in reference.named_buffers():
            if "correction" in name:
                buffer.normal_(0.0, 0.3)
        reference.save_pretrained(folder)
        save_tokenizer(folder, None)
        return Tiny(folder, reference)

    return make


@pytest.mark.filterwarnings("ignore:The explicitly set RoPE scaling factor")
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_transformers(name: str, deepseek: Make) -> None:
    folder, reference = deepseek(**CONFIGS[name])
    with torch.inference_mode():
        expected = reference(torch.tensor([IDS])).logits[0]
    model = read(folder)
    assert expected.std() > 0.3
    for pieces in (
        [150],
        [64, 64, 22],
        [7, 1, 100, 1, 1, 40],
        *([[1] * 150] if name == "as published, smaller" else []),
    ):
        assert (scores(model, IDS, pieces, scattered=len(pieces) == 3) - expected).abs().max() < 1e-4, pieces


def test_old_fields_of_a_config_mean_the_same(deepseek: Make, tmp_path: Path) -> None:
    """Published config: rope_scaling with a type, rope_theta next to it, and nothing on interleaving or head sizes."""
    folder, _ = deepseek(rope_parameters=YARN)
    config = json.loads((folder / "config.json").read_text())
    rope = {
        key: value for key, value in config.pop("rope_parameters").items() if key not in {"rope_type", "rope_theta"}
    }
    for name in ("rope_interleave", "head_dim", "qk_head_dim"):
        del config[name]
    config |= {"rope_theta": 10000, "rope_scaling": {**rope, "type": "yarn"}, "topk_method": "noaux_tc"}
    config |= {"scoring_func": "sigmoid", "moe_layer_freq": 1}
    old = copied(folder, tmp_path / "old", config, load_file(folder / "model.safetensors"))
    assert torch.equal(scores(read(old), IDS), scores(read(folder), IDS))


def test_the_layer_that_predicts_a_second_token_is_ignored(deepseek: Make, tmp_path: Path) -> None:
    folder, _ = deepseek()
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    last = {name: tensor.clone() for name, tensor in weights.items() if "layers.2." in name}
    extra = {name.replace("layers.2.", "layers.3."): tensor for name, tensor in last.items()}
    extra |= {"model.layers.3.eh_proj.weight": torch.ones(32, 64), "model.layers.3.enorm.weight": torch.ones(32)}
    extended = copied(folder, tmp_path / "more", config, weights | extra)
    assert torch.equal(scores(read(extended), IDS), scores(read(folder), IDS))
    none = copied(folder, tmp_path / "none", config | {"num_nextn_predict_layers": 0}, weights | extra)
    with pytest.raises(RunnerError, match=r"unknown: model\.layers\.3\."):
        read(none)


def copied(source: Path, folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> Path:
    """The same model with another config or other weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    return folder


@pytest.mark.parametrize("size", [1, 2])
def test_a_checkpoint_in_fp8_is_its_dequantised_twin(size: int, deepseek: Make, tmp_path: Path) -> None:
    """Blocks of 16 x 16, so that there are several, ragged ones, and borders of ranks that are none of blocks."""
    folder, _ = deepseek(num_nextn_predict_layers=0)
    config = json.loads((folder / "config.json").read_text())
    quantised, plain = {}, {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        quantised[name] = plain[name] = tensor
        if tensor.ndim == 2 and not any(part in name for part in ("embed", "lm_head", "gate.weight")):
            stored, scales = quantise(tensor, (16, 16))
            quantised |= {name: stored, f"{name}_scale_inv": scales}
            plain[name] = fp8.dequantize(stored, scales, (16, 16))
    quantization = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [16, 16], "activation_scheme": "dynamic"}
    rough = copied(folder, tmp_path / "fp8", config | {"quantization_config": quantization}, quantised)
    twin = copied(folder, tmp_path / "twin", config, plain)
    for rank in range(size):
        actual, expected = (dict(read(at, shard=sharding.Shard(rank, size)).named_parameters()) for at in (rough, twin))
        assert len(actual) == len(expected) > 40
        for name, tensor in expected.items():
            assert torch.equal(actual[name], tensor), name
    if size == 1:
        apart = (scores(read(rough), IDS) - scores(read(folder), IDS)).abs()
        assert 1e-3 < apart.median() < 0.15, "near, and not the same"


R1: dict[str, Any] = SHAPE | {
    "model_type": "deepseek_v3",
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "n_group": 8,
    "topk_group": 4,
    "num_experts_per_tok": 8,
    "routed_scaling_factor": 2.5,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "max_position_embeddings": 163840,
    "rope_theta": 10000,
    "rope_scaling": {**YARN, "factor": 40, "original_max_position_embeddings": 4096},
}
"""The dimensions of the published config.json."""


def test_the_published_model_has_its_sizes() -> None:
    model = models.build(R1, layers.LayerContext(torch.bfloat16))
    weights = sum(
        math.prod(slot.shape) for name, slot in loader.weight_slots(model).items() if "correction" not in name
    )
    assert weights == 671_026_404_352
    assert model.cache_specs == [cache_spec.MLASpec(576, 512)] * 61
    assert model.window == 163_840
    attention = model.model.layers[60].self_attn
    assert attention.scale == pytest.approx(192**-0.5 * (0.1 * math.log(40) + 1) ** 2)
    assert model.model.rope.scale == 1.0


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("changed", [{}, {"q_lora_rank": None}], ids=["latent queries", "plain queries"])
def test_ranks_together_compute_what_one_does_alone(size: int, changed: dict[str, Any], deepseek: Make) -> None:
    folder, _ = deepseek(**changed)
    parts: list[torch.Tensor] = [torch.empty(0)] * size
    barrier = threading.Barrier(size, timeout=30)

    class Rank(sharding.Shard):  # type: ignore[misc, name-defined]
        def all_reduce(self, x: torch.Tensor) -> torch.Tensor:
            parts[self.rank] = x
            barrier.wait()
            total = torch.stack(parts).sum(0)
            barrier.wait()
            return x.copy_(total)

    ranks = [read(folder, shard=Rank(rank, size)) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        actual = list(pool.map(lambda model: scores(model, IDS, [90, 1, 59]), ranks))
    alone = scores(read(folder), IDS)
    assert all((one - alone).abs().max() < 1e-4 for one in actual)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scoring_func": "softmax"}, "scoring_func 'softmax'"),
        ({"topk_method": "group_limited_greedy"}, "topk_method"),
        ({"moe_layer_freq": 2}, "moe_layer_freq 2"),
        ({"q_lora_rank": None, "attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"kv_lora_rank": None}, "kv_lora_rank"),
    ],
)
def test_configs_that_do_not_fit_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RunnerError, match=said):
        models.build(SHAPE | {"model_type": "deepseek_v3"} | changed, layers.LayerContext())
