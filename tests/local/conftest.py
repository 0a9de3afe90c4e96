"""Small random models with a byte tokenizer, saved as transformers saves them; their logits; an engine around them."""

import json
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from m1eval import NullProgress, load

CPU = torch.device("cpu")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
"""Rotary positions scaled as Llama 3 does it."""


SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 261,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 257,
    "eos_token_id": None,
    "pad_token_id": 258,
}
OWN: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "qwen3_moe": {"head_dim": 16, "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24},
}
"""Config keys that the architectures need besides SHAPE."""
CLASSES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "qwen3_moe": "Qwen3Moe"}


class Tiny(NamedTuple):
    """A folder, and the reference model that was saved into it."""

    folder: Path
    reference: Any


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tiny]:
    """Save a random model of transformers that never ends; `shard` splits it into files of that size."""
    import transformers

    def make(
        kind: str = "llama", *, shard: str = "1GB", template: str | None = CHATML, seed: int = 0, **config: Any
    ) -> Tiny:
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(seed)
        settings = getattr(transformers, f"{CLASSES[kind]}Config")(**{**SHAPE, **OWN[kind], **config})
        reference: Any = getattr(transformers, f"{CLASSES[kind]}ForCausalLM")(settings)
        reference.eval()
        for name, parameter in reference.named_parameters():
            parameter.data.normal_(1.0 if "norm" in name else 0.0, 0.3 if parameter.ndim == 1 else 0.15)
        reference.save_pretrained(folder, max_shard_size=shard)
        save_tokenizer(folder, template)
        return Tiny(folder, reference)

    return make


@pytest.fixture(scope="session")
def llama(tiny: Callable[..., Tiny]) -> Tiny:
    """A tiny Llama."""
    return tiny()


def read(folder: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """The model in a folder or a GGUF file; `shard` for a part of it."""
    local = load("runners", "local")
    return local.weights.loader.load(folder, dtype=dtype, device=CPU, progress=NullProgress(), **settings).model


def scores(
    model: Any,
    ids: Sequence[int],
    pieces: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    scattered: bool = False,
) -> torch.Tensor:
    """Logits of every token [tokens, vocab], computed in pieces of these sizes; pieces of one token are decode steps.

    `scattered`: the cache lies in blocks that are not contiguous.
    """
    with torch.inference_mode():
        logits: torch.Tensor = model.logits(hidden(model, ids, pieces, dtype, scattered=scattered))
        return logits


def hidden(
    model: Any,
    ids: Sequence[int],
    pieces: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    scattered: bool = False,
) -> torch.Tensor:
    """The hidden states that `scores` makes logits of."""
    local = load("runners", "local")
    layers = f"{local.__name__}.layers"
    attention_context, kv_cache = (import_module(f"{layers}.{name}") for name in ("attention_context", "kv_cache"))
    size = local.layers.cache_spec.BLOCK_SIZE
    needed = -(-len(ids) // size)
    cache = kv_cache.KVCache(model.cache_specs, blocks=2 * needed + 1, rows=2, snapshots=0, dtype=dtype, device=CPU)
    blocks = np.arange(1, needed + 1, dtype=np.int32) * (2 if scattered else 1)
    tables = torch.from_numpy(blocks[::-1].copy() if scattered else blocks)[None]
    hidden, begin, row = [], 0, 1
    with torch.inference_mode():
        for count in pieces or [len(ids)]:
            end = begin + count
            if count == 1:
                step = attention_context.DecodeContext(cache, torch.tensor([row]), tables, torch.tensor([begin]))
            else:
                used = tables[0].numpy()[: -(-end // size)]
                sequence = attention_context.PrefillSequence(row, count, end, used)
                step = attention_context.PrefillContext(cache, [sequence])
            hidden.append(model(torch.tensor(ids[begin:end]), step))
            begin = end
    assert begin == len(ids)
    return torch.cat(hidden)


def save_tokenizer(folder: Path, template: str | None) -> None:
    """Save a tokenizer with a token per byte, a merged one, and four of the chat format."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: i for i, word in enumerate([*alphabet, "th"])}
    core = Tokenizer(models.BPE(vocab=words, merges=[("t", "h")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(word, normalized=False) for word in ("<|im_start|>", "<|im_end|>")])
    core.add_tokens([AddedToken(word, normalized=False) for word in ("<think>", "</think>")])
    core.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<|im_start|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if template:
        (folder / "chat_template.jinja").write_text(template)


@pytest.fixture
def engine() -> Iterator[Callable[..., Any]]:
    """Start an engine over a model; it is closed after the test."""
    local = load("runners", "local")
    started: list[Any] = []

    def start(model: Any, *, batch: int = 8, chunk: int = 64, window: int = 512, **options: Any) -> Any:
        runner = local.Runner(device="cpu", batch=batch, chunk=chunk, **options)
        started.append(runner.build_engine(model, window))
        return started[-1]

    yield start
    for one in started:
        one.close()
