"""Qwen3 (arXiv 2505.09388): Llama with an RMSNorm on each head of queries and keys, before rotation.

Parameter names are those of `Qwen3ForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from typing import ClassVar

from ..config.fields import Count, Positions
from . import llama
from .llama import Model

__all__ = ["Config", "Model"]

KEYS = llama.KEYS - {"mlp_bias"} | {"max_window_layers"}


class Config(llama.Config, kw_only=True, frozen=True):
    """The fields of config.json that matter."""

    head_dim: Count = 128
    max_position_embeddings: Positions = 32768
    qk_norm: bool = True

    KEYS: ClassVar[frozenset[str]] = KEYS
    WINDOW: ClassVar[int | None] = 4096
