"""One file per architecture, found by the `model_type` of its config.json: `KEYS`, `class Config`, `class Model`.

`KEYS` are the keys of config.json that it reads; any other that may matter is refused by name (see config_keys.py).

A Model is made as `Model(config, setting)` from what `Config.read(dict)` returned, and has `memory` (what its layers
keep of the past, for the cache), `window` and `vocab_size`, `ignored` (patterns of tensors in checkpoints that it does
not use), maybe `sliding` (see sliding_window.py), `forward(ids, step)` giving hidden states [tokens, width] before the
last norm, and `logits(hidden)`.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from m1eval import RunnerError

from ..cache import CacheSpec
from ..layers import LayerContext
from ..sliding_window import check_window
from ..step import Step
from ..weights.config_keys import WHERE, check_keys


class Language(Protocol):
    """What the engine and the loader need of an architecture."""

    memory: Sequence[CacheSpec]
    window: int
    vocab_size: int
    ignored: Sequence[str]

    def __call__(self, ids: Tensor, step: Step) -> Tensor:
        """Hidden states [tokens, width] of token ids [tokens]."""

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 scores [rows, vocab] of the next token."""


def known() -> list[str]:
    """The architectures there are files for."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))


def build(config: Mapping[str, Any], context: LayerContext, *, window: int | None = None) -> nn.Module:
    """The model that a config.json describes, its weights not yet there; RunnerError if none of ours fits.

    Sequences of up to `window` tokens (those the model is made for) must be computed exactly.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in known():
        raise RunnerError(f"local has no architecture {str(kind)[:60]!r}; there are {', '.join(known())}")
    module = importlib.import_module(f"{__name__}.{kind}")
    fields = module.Config.read(config)
    check_keys(config, module.KEYS)
    try:
        with torch.device("meta"):
            model: nn.Module = module.Model(fields, context)
    except (RuntimeError, OverflowError, ZeroDivisionError) as error:
        raise RunnerError(f"{WHERE}: no model can have these sizes ({_line(error)})") from error
    check_window(getattr(model, "sliding", None), window or cast(Language, model).window)
    return model


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
