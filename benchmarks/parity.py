"""Compare the local engine's logits and greedy tokens with those of other implementations on the same weights.

    python benchmarks/parity.py [FOLDER ...] [--dtype float32] [--device cpu]

A FOLDER holds config.json, model.safetensors and expected.safetensors: `ids` [prompts, tokens], `logits` [prompts,
tokens, vocab] and `greedy` [1, tokens], which begins like the first prompt and goes on greedily. Without folders, tiny
random models of every architecture that transformers computes rightly are made and compared with it (MiniMax with whole
heads turned: transformers ignores rotary_dim).

`Δlogit` is the largest difference, `KL` the mean divergence of our distribution from the reference's, `pieces` the
largest difference between a prompt read in pieces and token by token. The last line is JSON, the worst of all rows.
Exits with 1 if fp32 differs by more than 1e-3, or in a greedy token.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from m1eval import NullProgress, load

local = load("runners", "local")
safetensors, layers, loader, models, attention_context, kv_cache = (
    import_module(f"{local.__name__}.{name}")
    for name in (
        "weights.safetensors",
        "layers.layers",
        "weights.loader",
        "models",
        "layers.attention_context",
        "layers.kv_cache",
    )
)

EXPECTED = "expected.safetensors"
TOLERANCE = 1e-3
TOKENS = 200
PIECES = (7, 64, 1, 65, 2, 61)
"""How a prompt is cut where reading in pieces is compared with token by token."""
GREEDY = 24
"""Tokens that are drawn from a model of transformers."""

YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}
SMALL = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
SPARSE = {"moe_intermediate_size": 48, "num_experts_per_tok": 2}
LATENT = {"kv_lora_rank": 32, "q_lora_rank": 48, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32}
GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1}
SUMS = {"linear_attn_alpha_factor": 1.7, "full_attn_alpha_factor": 1.7, "mlp_alpha_factor": 1.7, "mlp_beta_factor": 0.8}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {"head_dim": 16},
    "Qwen3": {"head_dim": 32},
    "Qwen3Moe": {"head_dim": 32, "num_experts": 8, "norm_topk_prob": True, **SPARSE},
    "DeepseekV3": {"num_key_value_heads": 4, "rope_parameters": YARN, **LATENT, **GROUPS, **SPARSE},
    "MiniMax": {
        "head_dim": 32,
        "num_local_experts": 4,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        **SUMS,
    },
}
"""Names of transformers' classes, and what is special in their configs."""


class Expected(NamedTuple):
    """Outputs of another implementation; the first `prompt` tokens of `greedy` are the prompt."""

    ids: Tensor
    logits: Tensor
    greedy: list[int]
    prompt: int


class Row(NamedTuple):
    """Measurements of one model."""

    name: str
    tokens: int
    difference: float
    divergence: float
    greedy: bool
    pieces: float

    @property
    def right(self) -> bool:
        """Whether it is as close as fp32 must be; NaN is not."""
        return self.greedy and self.difference <= TOLERANCE and self.pieces <= TOLERANCE


def stored(folder: Path) -> Expected:
    """The stored outputs of another implementation."""
    tensors = load_file(folder / EXPECTED)
    greedy = tensors["greedy"][0].tolist()
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(greedy, tensors["ids"][0].tolist(), strict=False))
    return Expected(tensors["ids"], tensors["logits"], greedy, len(list(alike)))


def random_model(name: str, folder: Path) -> Expected:
    """A random model of transformers, saved into a folder, and its outputs in transformers."""
    import transformers

    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config = getattr(transformers, f"{name}Config")(**SMALL | ARCHITECTURES[name], eos_token_id=None)
    reference = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    chance = torch.Generator().manual_seed(0)
    for tensor in [*reference.parameters(), *(b for n, b in reference.named_buffers() if "correction_bias" in n)]:
        tensor.data.normal_(float(tensor.data.mean() > 0.5), 0.3 if tensor.ndim == 1 else 0.12, generator=chance)
    reference.save_pretrained(folder)
    ids = torch.randint(0, config.vocab_size, (2, TOKENS), generator=chance)

    def scores(ids: Tensor) -> Tensor:
        # Without a cache and with explicit positions: MiniMax's own cache counts its tokens wrongly.
        logits: Tensor = reference(ids, position_ids=torch.arange(ids.shape[1])[None], use_cache=False).logits
        return logits

    with torch.inference_mode():
        greedy = ids[:1, : TOKENS // 2]
        for _ in range(GREEDY):
            greedy = torch.cat((greedy, scores(greedy)[:, -1:].argmax(-1)), 1)
        return Expected(ids, scores(ids), greedy[0].tolist(), TOKENS // 2)


def read(folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The model in a folder; a tokenizer need not be there."""
    checkpoint = safetensors.Safetensors(folder)
    checkpoint.file_of = {name: file for name, file in checkpoint.file_of.items() if file.name != EXPECTED}
    model = models.build(checkpoint.config, layers.LayerContext(dtype))
    loader.fill(model, checkpoint, device=device, progress=NullProgress(), where=str(folder))
    return model


class Reader:
    """One sequence of a model, given tokens in pieces; at most `room`."""

    def __init__(self, model: Any, room: int) -> None:
        weight = next(model.parameters())
        count = -(-room // local.layers.cache_spec.BLOCK_SIZE)
        settings = {"dtype": weight.dtype, "device": weight.device}
        self.cache = kv_cache.KVCache(model.cache_specs, blocks=count + 1, rows=1, snapshots=0, **settings)
        self.model, self.device, self.length = model, weight.device, 0
        self.blocks = np.arange(1, count + 1, dtype=np.int32)
        self.table, self.row = (torch.from_numpy(x).to(self.device) for x in (self.blocks[None], np.zeros(1, np.int64)))

    def __call__(self, ids: Sequence[int]) -> Tensor:
        """Logits [tokens, vocab] after each of the next tokens, on the CPU; a single token takes the decode path."""
        with torch.inference_mode():
            if len(ids) == 1:
                at = torch.tensor([self.length], device=self.device)
                step = attention_context.DecodeContext(self.cache, self.row, self.table, at)
            else:
                sequence = attention_context.PrefillSequence(0, len(ids), self.length + len(ids), self.blocks)
                step = attention_context.PrefillContext(self.cache, [sequence])
            self.length += len(ids)
            logits: Tensor = self.model.logits(self.model(torch.tensor(ids, device=self.device), step))
            return logits.cpu()


def scores(model: Any, ids: Sequence[int], pieces: Sequence[int]) -> Tensor:
    """Logits [tokens, vocab] of a prompt read in pieces of the given sizes, and then token by token."""
    reader, ends = Reader(model, len(ids)), list(itertools.accumulate(pieces))
    cuts = [end for end in ends if end < len(ids)]
    cuts += range((cuts or [0])[-1] + 1, len(ids)) if sum(pieces) < len(ids) else []
    bounds = [0, *cuts, len(ids)]
    return torch.cat([reader(ids[begin:end]) for begin, end in itertools.pairwise(bounds)])


def continued(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    """The prompt and `count` greedy tokens after it."""
    reader, token_ids = Reader(model, len(prompt) + count), list(prompt)
    new = token_ids
    for _ in range(count):
        new = [int(reader(new)[-1].argmax())]
        token_ids = token_ids + new
    return token_ids


def measured(name: str, model: Any, expected: Expected) -> Row:
    """One row of the table."""
    prompts = expected.ids.tolist()
    ours = torch.stack([scores(model, ids, [len(ids)]) for ids in prompts])
    first = prompts[0][:TOKENS]
    apart = scores(model, first, PIECES) - scores(model, first, [])
    theirs, mine = expected.logits.double().log_softmax(-1), ours.double().log_softmax(-1)
    divergence = (theirs.exp() * (theirs - mine)).sum(-1).mean()
    greedy = continued(model, expected.greedy[: expected.prompt], len(expected.greedy) - expected.prompt)
    return Row(
        name,
        expected.ids.numel(),
        (ours - expected.logits).abs().max().item(),
        divergence.item(),
        greedy == expected.greedy,
        apart.abs().max().item(),
    )


def rows(folders: Sequence[Path], dtype: torch.dtype, device: torch.device) -> Iterator[Row]:
    """Measure the given models, or without any those of transformers."""
    for folder in folders:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        yield measured(config["model_type"], read(folder, dtype, device), stored(folder))
    for name in () if folders else ARCHITECTURES:
        with tempfile.TemporaryDirectory() as place:
            expected = random_model(name, Path(place))
            yield measured(name, read(Path(place), dtype, device), expected)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table and the line of JSON."""
    parser = argparse.ArgumentParser(description="The local engine beside other implementations, on the same weights.")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--device", default="cpu", type=torch.device)
    args = parser.parse_args(arguments)
    results: list[Row] = []
    print(f"torch {torch.__version__}, {args.dtype} on {args.device}\n")
    print("| architecture | tokens | max Δlogit | mean KL, nats | greedy equal | pieces |")
    print("|---|--:|--:|--:|:-:|--:|")
    for row in rows(args.folders, getattr(torch, args.dtype), args.device):
        equal = "yes" if row.greedy else "no"
        results.append(row)
        print(
            f"| {row.name} | {row.tokens} | {row.difference:.1e} | {row.divergence:.1e} | {equal} | {row.pieces:.1e} |",
            flush=True,
        )
    worst = {
        "max_abs_dlogit": float(np.max([row.difference for row in results])),
        "kl": float(np.max([row.divergence for row in results])),
        "greedy_equal": all(row.greedy for row in results),
    }
    print(json.dumps(worst))
    return int(args.dtype == "float32" and not all(row.right for row in results))


if __name__ == "__main__":
    sys.exit(main())
