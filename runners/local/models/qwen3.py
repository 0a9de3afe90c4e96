"""Qwen3 (arXiv 2505.09388): Llama with an RMSNorm on each head of queries and keys, before they are turned.

Parameter names are those of `Qwen3ForCausalLM` in Hugging Face transformers, against which it is tested.
"""

from . import llama
from .llama import Model

__all__ = ["Config", "Model"]


class Config(llama.Config, kw_only=True, frozen=True):
    """The fields of config.json that matter."""

    head_dim: int = 128
    qk_norm: bool = True
