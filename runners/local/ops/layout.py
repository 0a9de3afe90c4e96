"""Data layouts that operations and their kernels share; the only module of `ops` that kernels import."""

from typing import Literal, NamedTuple

from torch import Tensor

LAST, LENGTH, SEED, INDEX, TOP_K = range(5)
"""Rows of the `ints` tensor [5, slots] int64: last token id, length, seed, index of the next token, top_k."""
GREEDY = 1e-5
"""Temperature below which sampling is greedy: scores over temperature would overflow."""
GOLDEN, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014)."""

StateSpan = tuple[int, int, int]
"""Tokens [begin, end) of the flat batch and the slot of their sequence's state."""


class SlotMapping(NamedTuple):
    """Cache slots of a step's tokens: slots [rows] int64, block * size + offset; lengths with them, int32."""

    slots: Tensor
    lengths: Tensor


class StepInputs(NamedTuple):
    """Inputs of a decode step: ids and positions [rows] int64, block tables [rows, blocks] int32, slot mapping."""

    ids: Tensor
    positions: Tensor
    tables: Tensor
    mapping: SlotMapping


class Rotary(NamedTuple):
    """cos and sin of the tokens' rotary angles, each [tokens, rotary dims / 2] fp32."""

    cos: Tensor
    sin: Tensor


class QKNorm(NamedTuple):
    """RMSNorm weights [dim] for each head of queries and of keys; None: not normalised."""

    query: Tensor | None = None
    key: Tensor | None = None
    eps: float = 1e-6


NO_NORM = QKNorm()


class PagedCache(NamedTuple):
    """One layer's cache: keys [blocks, block, kv_heads, dim], values [blocks, block, kv_heads, value dim].

    Values may be a view into keys.
    """

    keys: Tensor
    values: Tensor


class BlockTables(NamedTuple):
    """Block tables and lengths of each row's sequence.

    tables [rows, max blocks] int32, the blocks of each sequence in order; lengths [rows] int32, 0 for padding.
    `max_length` is known without asking the device: no length is greater.
    """

    tables: Tensor
    lengths: Tensor
    max_length: int


class Routing(NamedTuple):
    """Routing of a token to its `top_k` experts, and their weights from the router's scores.

    `scoring` is over all experts; with `groups`, only experts of the best `top_groups` are chosen (a group is rated by
    its two best experts); `renormalise` divides the chosen weights by their sum plus `eps`; `scaling` multiplies them.
    """

    top_k: int
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    renormalise: bool = True
    groups: int = 1
    top_groups: int = 1
    scaling: float = 1.0
    eps: float = 0.0
