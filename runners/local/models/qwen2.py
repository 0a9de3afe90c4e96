"""Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115): Llama with biases on queries, keys and values.

Parameter names are those of `Qwen2ForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from typing import ClassVar

from ..config.fields import Positions
from . import llama
from .llama import Model

__all__ = ["Config", "Model"]

KEYS = llama.KEYS - {"attention_bias", "mlp_bias"} | {"max_window_layers"}


class Config(llama.Config, kw_only=True, frozen=True):
    """The fields of config.json that matter."""

    max_position_embeddings: Positions = 32768
    qkv_bias: bool = True

    KEYS: ClassVar[frozenset[str]] = KEYS
    WINDOW: ClassVar[int | None] = 4096
