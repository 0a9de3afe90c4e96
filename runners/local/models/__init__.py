"""One file per architecture, found by the `model_type` of its config.json: `class Config`, `class Model`.

A Model is made as `Model(config, setting)` from what `Config.read(dict)` returned, and has `memory` (what its layers
keep of the past, for the cache), `window` and `vocab_size`, `ignored` (patterns of tensors in checkpoints that it does
not use), `forward(ids, step)` giving hidden states [tokens, width] before the last norm, and `logits(hidden)`.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from m1eval import RunnerError

from ..cache import Memory
from ..layers import Setting
from ..step import Step


class Language(Protocol):
    """What the engine and the loader need of an architecture."""

    memory: Sequence[Memory]
    window: int
    vocab_size: int
    ignored: Sequence[str]

    def __call__(self, ids: Tensor, step: Step) -> Tensor:
        """Hidden states [tokens, width] of token ids [tokens]."""

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 scores [rows, vocab] of the next token."""


def known() -> list[str]:
    """The architectures there are files for."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem != "__init__")


def build(config: Mapping[str, Any], how: Setting) -> nn.Module:
    """The model that a config.json describes, its weights not yet there; RunnerError if none of ours fits."""
    kind = str(config.get("model_type"))
    if kind not in known():
        raise RunnerError(f"local has no architecture '{kind}'; there are {', '.join(known())}")
    module = importlib.import_module(f"{__name__}.{kind}")
    with torch.device("meta"):
        model: nn.Module = module.Model(module.Config.read(config), how)
    return model
