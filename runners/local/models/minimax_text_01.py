"""MiniMax-Text-01 (arXiv 2501.08313), which MiniMax-M1 was trained from: the same architecture, fields and names."""

from .minimax_m1 import KEYS, Config, Model

__all__ = ["KEYS", "Config", "Model"]
