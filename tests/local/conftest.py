"""Small random Llama models with a byte tokenizer, saved as transformers saves them, and the engine around them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from m1eval import load

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


class Tiny(NamedTuple):
    """A folder, and the reference model that was saved into it."""

    folder: Path
    reference: Any


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tiny]:
    """Save a random LlamaForCausalLM that never ends; `shard` splits it into files of that size."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(*, shard: str = "1GB", template: str | None = CHATML, seed: int = 0, **config: Any) -> Tiny:
        folder = tmp_path_factory.mktemp("llama")
        torch.manual_seed(seed)
        shape = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6}
        rest = {"num_key_value_heads": 2, "vocab_size": 261, "max_position_embeddings": 512, "rms_norm_eps": 1e-5}
        ids = {"bos_token_id": 257, "eos_token_id": None, "pad_token_id": 258}
        reference: Any = LlamaForCausalLM(LlamaConfig(**{**shape, **rest, **ids, **config}))
        reference.eval()
        for name, parameter in reference.named_parameters():
            parameter.data.normal_(1.0 if "norm" in name else 0.0, 0.3 if parameter.ndim == 1 else 0.15)
        reference.save_pretrained(folder, max_shard_size=shard)
        save_tokenizer(folder, template)
        return Tiny(folder, reference)

    return make


@pytest.fixture(scope="session")
def llama(tiny: Callable[..., Tiny]) -> Tiny:
    """The plainest of them."""
    return tiny()


def save_tokenizer(folder: Path, template: str | None) -> None:
    """One token a byte, one merged one, and four of the chat format."""
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

    def start(model: Any, *, batch: int = 8, chunk: int = 64, window: int = 512) -> Any:
        device = torch.device("cpu")
        cache = local.cache.Cache(model.memory, slots=batch, window=window, dtype=torch.float32, device=device)
        started.append(local.engine.Engine(model, cache, batch=batch, chunk=chunk))
        return started[-1]

    yield start
    for one in started:
        one.close()
