"""One file per architecture, found by the `model_type` of its config.json: `KEYS`, `class Config`, `class Model`.

`KEYS` are the keys of config.json that it reads; any other that may matter is refused by name (see config/keys.py).

A Model is built as `Model(config, layer_context)` from the result of `Config.read(dict)`. It has `cache_specs` (what
each layer caches), `window` and `vocab_size`, `ignored` (patterns of checkpoint tensors that it does not use), maybe
`sliding` (see sliding_window.py), `forward(ids, attention_context)` with hidden states [tokens, width] before the last
norm, and `logits(hidden)`.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from m1eval import RunnerError

from ..config.keys import CONFIG, check_keys
from ..layers.attention_context import AttentionContext
from ..layers.cache_spec import CacheSpec
from ..layers.layers import LayerContext
from ..layers.sliding_window import check_window


class CausalLM(Protocol):
    """An architecture as the engine and the loader use it."""

    cache_specs: Sequence[CacheSpec]
    window: int
    vocab_size: int
    ignored: Sequence[str]

    def __call__(self, ids: Tensor, context: AttentionContext) -> Tensor:
        """Hidden states [tokens, width] of token ids [tokens]."""

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 logits [rows, vocab] of the next token."""


def architectures() -> list[str]:
    """Names of the supported architectures."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))


def build(config: Mapping[str, Any], context: LayerContext, *, window: int | None = None) -> nn.Module:
    """The model that a config.json describes, without weights; RunnerError if no architecture fits.

    Sequences of up to `window` tokens (default: the model's window) must be computed exactly.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in architectures():
        raise RunnerError(f"local has no architecture {str(kind)[:60]!r}; there are {', '.join(architectures())}")
    module = importlib.import_module(f"{__name__}.{kind}")
    fields = module.Config.read(config)
    check_keys(config, module.KEYS)
    try:
        with torch.device("meta"):
            model: nn.Module = module.Model(fields, context)
    except (RuntimeError, OverflowError, ZeroDivisionError) as error:
        raise RunnerError(f"{CONFIG}: no model can have these sizes ({_first_line(error)})") from error
    check_window(getattr(model, "sliding", None), window or cast(CausalLM, model).window)
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
