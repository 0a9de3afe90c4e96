"""Tiny random checkpoints of every architecture, and their logits computed in one plain pass."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from m1eval import NullProgress

from .drive import drive, make
from .schedule import BLOCK, Ask, Schedule, check, local, same

models, layers, loader, executor, sizing, attention_context, kv_cache, sample = (
    import_module(f"{local.__name__}.{name}")
    for name in (
        "models",
        "layers.layers",
        "weights.loader",
        "engine.executor",
        "engine.memory",
        "layers.attention_context",
        "layers.kv_cache",
        "ops.sample",
    )
)

SHAPE: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
SPARSE = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 32}
LATENT = {"kv_lora_rank": 32, "q_lora_rank": 48, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32}
GROUPS = {"n_routed_experts": 8, "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1}
GROUPS |= {"num_experts_per_tok": 3, "moe_intermediate_size": 32}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": SPARSE,
    "minimax_m1": {
        "num_hidden_layers": 4,
        "attn_type_list": [0, 1, 0, 0],
        "rotary_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "postnorm": True,
    },
    "deepseek_v3": {"num_key_value_heads": 4, "head_dim": 16, **LATENT, **GROUPS},
}
"""Settings of each architecture in addition to SHAPE."""


def write(folder: Path, kind: str, seed: int = 0) -> Path:
    """Save a random model with a tokenizer of one token a byte, and return its folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": kind, **SHAPE, **ARCHITECTURES[kind]}
    chance = torch.Generator().manual_seed(seed)
    weights = {}
    for name, slot in loader.weight_slots(models.build(config, layers.LayerContext())).items():
        scale, middle = (0.1, 0.0) if len(slot.shape) > 1 else (0.1, float("norm" in name))
        scale *= 1.5 if name.startswith("lm_head") else 3 if name.startswith("model.embed") else 1
        weights[name] = torch.randn(slot.shape, generator=chance) * scale + middle
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    _tokenizer(folder)
    return folder


def _tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    words = {word: i for i, word in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(BPE(vocab=words, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")


def read(folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The model in a folder."""
    return loader.load(folder, dtype=dtype, device=device, progress=NullProgress()).model


def device(model: Any, schedule: Schedule, dtype: torch.dtype, where: torch.device) -> Any:
    """The model runner that executes the batches of a schedule."""
    config = sizing.EngineConfig(
        dtype=dtype,
        device=where,
        max_num_seqs=schedule.batch,
        window=schedule.window,
        chunk_size=schedule.chunk,
        cache_bytes=None,
        graphs=schedule.graphs,
        invariant=schedule.invariant,
    )
    snapshots = schedule.snapshots if has_states(model) else 0
    return executor.build_model_runner(model, config, sizing.Capacity(schedule.blocks, snapshots, schedule.batch))


def has_states(model: Any) -> bool:
    """Whether some layers keep a recurrent state per sequence."""
    return any(type(kind).__name__ == "LinearStateSpec" for kind in model.cache_specs)


@torch.inference_mode()
def logits(model: Any, ids: list[int], dtype: torch.dtype, where: torch.device) -> Tensor:
    """Logits after each token [tokens, vocab] on the CPU, prefilled in one step into a cache of their own."""
    count = -(-len(ids) // BLOCK)
    cache = kv_cache.KVCache(model.cache_specs, blocks=count + 1, rows=1, snapshots=0, dtype=dtype, device=where)
    blocks = np.arange(1, count + 1, dtype=np.int32)
    sequence = attention_context.PrefillSequence(0, len(ids), len(ids), blocks)
    step = attention_context.PrefillContext(cache, [sequence])
    scores: Tensor = model.logits(model(torch.tensor(ids, device=where), step))
    return scores.cpu()


def run(model: Any, schedule: Schedule, dtype: torch.dtype, where: torch.device, within: float) -> tuple[Any, float]:
    """Run a schedule on an engine over a model; return the engine and the largest logprob difference.

    AssertionError unless every answer is right: that of the plain pass, or, of an invariant engine, to the bit the one
    that the request gets alone.
    """
    states, worst = has_states(model), 0.0
    engine = make(device(model, schedule, dtype, where), schedule, states=states)
    for ask, output in zip(schedule.asks, drive(engine, schedule), strict=True):
        if output.future.cancelled():
            continue
        if error := output.future.exception():
            raise error
        if schedule.invariant:
            alone = schedule.alone(ask)
            (expected,) = drive(make(device(model, alone, dtype, where), alone, states=states), alone)
            same(ask, output, expected)
        else:
            worst = max(worst, verify(model, ask, output, where, within))
    return engine, worst


def verify(model: Any, ask: Ask, output: Any, where: torch.device, within: float) -> float:
    """The largest difference of any logprob from the plain pass; AssertionError where a token is wrong.

    For fp32. A sampled token may differ only if logits within `within` allow it.
    """
    total = len(ask.prompt)
    scores = logits(model, [*ask.prompt, *output.output_token_ids], torch.float32, where)
    logprobs = scores.log_softmax(-1)
    worst = [0.0]

    def token(place: int, token: int, logprob: float) -> None:
        row, index = scores[place - 1], place - total
        if ask.logprobs:
            worst[0] = max(worst[0], abs(logprob - logprobs[place - 1, token].item()))
        if ask.sampling_params.greedy:
            assert row.max() - row[token] <= 2 * within, f"token {index} of {total} is less likely than another"
        else:
            assert _drawn(row, ask.sampling_params, index, token, within), (
                f"token {index} of {total} is not the one sampled"
            )

    check(ask, output, token)
    assert len(output.prompt_logprobs) == ask.num_scored
    for place, one in enumerate(output.prompt_logprobs, total - ask.num_scored):
        row, target = scores[place - 1], ask.prompt[place]
        worst[0] = max(worst[0], abs(one.logprob - logprobs[place - 1, target].item()))
        gap = row[target] - row[torch.arange(len(row)) != target].max()
        assert gap.abs() <= 2 * within or one.is_greedy == bool(gap > 0), "whether it is the likeliest"
    assert worst[0] <= within, f"a logprob is off by {worst[0]:.2g}"
    return worst[0]


def _drawn(row: Tensor, draw: Any, index: int, token: int, within: float) -> bool:
    near = row + (torch.rand(32, len(row), generator=torch.Generator().manual_seed(0)) * 2 - 1) * within
    rows = torch.cat((row[None], near))
    count = len(rows)
    reals = [torch.full((count,), value) for value in (draw.temperature, draw.top_p, draw.min_p)]
    top_k = torch.full((count,), draw.top_k, dtype=torch.int32)
    seeds, indices = (torch.full((count,), value, dtype=torch.int64) for value in (draw.seed, index))
    return token in sample.sample(rows, reals[0], reals[1], top_k, reals[2], seeds, indices).tolist()
