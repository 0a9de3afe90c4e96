"""One forward pass as layers see it: the tokens' positions, and access to the cache of earlier tokens.

`PrefillContext` computes given tokens of some sequences, `DecodeContext` one token of each row without waiting for the
device, so that it can be captured as a CUDA graph. Both cache keys and values in blocks, states one per row.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..ops.attention import LONG, PackedSequences, attend, attend_packed, can_pack
from ..ops.layout import NO_NORM, BlockTables, QKNorm, Rotary, SlotMapping
from ..ops.lightning import lightning_decode, lightning_prefill
from ..ops.paged import paged_decode, rope_and_attend
from ..ops.rope import rope_and_cache
from ..ops.slot_mapping import slot_mapping
from .cache_spec import BLOCK_SIZE
from .kv_cache import KVCache

Array = np.ndarray[Any, Any]


class AttentionContext(Protocol):
    """Positions and attention for a model's forward pass. Layers are counted over all layers of the model."""

    positions: Tensor
    """[tokens] int64."""

    def write_kv(self, layer: int, qkv: Tensor, heads: int, rotary: Rotary, norm: QKNorm = NO_NORM) -> Tensor:
        """Norm and rotate queries and keys, cache keys and values; returns queries [tokens, heads, dim] for `attend`.

        qkv [tokens, (heads + 2 kv_heads) dim]: query heads, key heads, value heads.
        """

    def attend(self, layer: int, queries: Tensor, *, scale: float) -> Tensor:
        """Causal softmax attention over the cached tokens, this step's included: [tokens, heads, dim]."""

    def attend_latent(
        self, layer: int, q_nope: Tensor, q_rope: Tensor, latent: Tensor, up: Tensor, *, scale: float
    ) -> Tensor:
        """Cache latents and attend (multi-head latent attention, arXiv 2405.04434): [tokens, heads, value dim].

        q_nope [tokens, heads, nope], q_rope [tokens, heads, rope], latent [tokens, rank + rope] (normed latent, then
        the rotated key that all heads share), up [heads, nope + value, rank] (latent to keys and values).
        """

    def attend_linear(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
        """Lightning attention with the sequence's own state; all [tokens, heads, dim], slopes [heads] fp32."""


class PrefillSequence(NamedTuple):
    """`num_new` new tokens of one row, the last of them at position `length` - 1, and the row's blocks."""

    row: int
    num_new: int
    length: int
    blocks: Array

    def slots(self, begin: int) -> Array:
        """Cache slots of the tokens from position `begin` on."""
        first = begin // BLOCK_SIZE
        used = self.blocks[first : -(-self.length // BLOCK_SIZE), None].astype(np.int64)
        slots: Array = (used * BLOCK_SIZE + np.arange(BLOCK_SIZE)).ravel()
        return slots[begin - first * BLOCK_SIZE : self.length - first * BLOCK_SIZE]


class PrefillContext:
    """A step over given tokens; the tokens of each sequence are consecutive in the flat batch."""

    def __init__(self, cache: KVCache, sequences: Sequence[PrefillSequence]) -> None:
        self.cache, self.sequences = cache, sequences
        ends = np.cumsum([sequence.num_new for sequence in sequences]).tolist()
        self.ends = ends
        """End of each sequence in the flat batch."""
        self.begins = [end - sequence.num_new for end, sequence in zip(ends, sequences, strict=True)]
        positions = np.concatenate([np.arange(s.length - s.num_new, s.length) for s in sequences])
        slots = np.concatenate([s.slots(s.length - s.num_new) for s in sequences])
        self.positions, self.slots = to_device(np.stack((positions, slots)), cache.device)
        self.spans = [(b, e, s.row) for b, e, s in zip(self.begins, ends, sequences, strict=True)]
        on_gpu = cache.device.type == "cuda"
        short = [i for i, sequence in enumerate(sequences) if sequence.num_new < LONG] if on_gpu else []
        self.packed = short if len(short) > 1 else []
        self.unpacked = [i for i in range(len(sequences)) if i not in self.packed]
        self.pack = self._pack() if self.packed else None
        self.block_index: dict[int, slice | Tensor] = {}
        for i in self.unpacked:
            self._index_blocks(i)

    def _pack(self) -> PackedSequences:
        sequences, device = [self.sequences[i] for i in self.packed], self.cache.device
        counts, lengths = [s.num_new for s in sequences], [s.length for s in sequences]
        tokens = np.concatenate([np.arange(self.begins[i], self.ends[i]) for i in self.packed])
        slots = np.concatenate([s.slots(0) for s in sequences])
        starts = np.cumsum([[0, *counts], [0, *lengths]], axis=1, dtype=np.int32)
        query_starts, key_starts = to_device(starts, device)
        on_device = to_device(tokens, device), to_device(slots, device)
        return PackedSequences(*on_device, query_starts, key_starts, max(counts), max(lengths))

    def write_kv(self, layer: int, qkv: Tensor, heads: int, rotary: Rotary, norm: QKNorm = NO_NORM) -> Tensor:
        """See AttentionContext."""
        return rope_and_cache(qkv, heads, rotary, self.cache.layer(layer), self.slots, norm)

    def attend(self, layer: int, queries: Tensor, *, scale: float) -> Tensor:
        """See AttentionContext."""
        keys, values = self.cache.layer(layer)
        if len(self.sequences) == 1:
            return attend(queries, self._tokens(keys, 0), self._tokens(values, 0), scale)
        out = queries.new_empty(*queries.shape[:2], values.shape[-1])
        unpacked = list(range(len(self.sequences)))
        if self.pack and can_pack(queries, values.shape[-1]):
            unpacked, everything = self.unpacked, len(self.pack.tokens) == len(queries)
            selected = queries if everything else queries[self.pack.tokens]
            attended = attend_packed(selected, keys.flatten(0, 1), values.flatten(0, 1), self.pack, scale)
            if everything:
                return attended
            out[self.pack.tokens] = attended
        for i in unpacked:
            span = slice(self.begins[i], self.ends[i])
            out[span] = attend(queries[span], self._tokens(keys, i), self._tokens(values, i), scale)
        return out

    def _tokens(self, blocks: Tensor, sequence: int) -> Tensor:
        """Cached keys or values of a sequence, [length, heads, dim]; a view where its blocks are consecutive."""
        index = self.block_index.get(sequence)
        if index is None:
            index = self._index_blocks(sequence)
        return blocks[index].flatten(0, 1)[: self.sequences[sequence].length]

    def _index_blocks(self, i: int) -> slice | Tensor:
        """The index of a sequence's blocks: a slice where they are consecutive."""
        sequence = self.sequences[i]
        blocks = sequence.blocks[: -(-sequence.length // BLOCK_SIZE)]
        first = int(blocks[0])
        consecutive = (blocks == np.arange(first, first + len(blocks))).all()
        index = (
            slice(first, first + len(blocks)) if consecutive else to_device(blocks.astype(np.int64), self.cache.device)
        )
        self.block_index[i] = index
        return index

    def attend_latent(
        self, layer: int, q_nope: Tensor, q_rope: Tensor, latent: Tensor, up: Tensor, *, scale: float
    ) -> Tensor:
        """See AttentionContext; latents of the whole sequence become keys and values: cheapest for many queries."""
        latents = self.cache.layer(layer).keys
        latents.flatten(0, 2)[self.slots] = latent
        nope, rank = q_nope.shape[-1], up.shape[-1]
        queries = torch.cat((q_nope, q_rope), -1)
        out = queries.new_empty(*queries.shape[:2], up.shape[1] - nope)
        for i, (begin, end) in enumerate(zip(self.begins, self.ends, strict=True)):
            cached = self._tokens(latents, i)
            expanded = torch.einsum("hdl,tl->thd", up, cached[:, 0, :rank])
            keys, values = expanded[..., :nope], expanded[..., nope:]
            shared = cached[:, :, rank:].expand(-1, keys.shape[1], -1)
            out[begin:end] = attend(queries[begin:end], torch.cat((keys, shared), -1), values, scale)
        return out

    def attend_linear(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
        """See AttentionContext."""
        return lightning_prefill(queries, keys, values, slopes, self.cache.layer_states(layer), self.spans)


class DecodeContext:
    """A step of one token per row; `tables` [rows, blocks] int32, `positions` [rows] int64.

    `mapping`: the slots of these positions, computed if None. `distinct`: no two rows are of one sequence.
    """

    def __init__(
        self,
        cache: KVCache,
        rows: Tensor,
        tables: Tensor,
        positions: Tensor,
        *,
        mapping: SlotMapping | None = None,
        distinct: bool = True,
    ) -> None:
        self.cache, self.rows, self.positions, self.distinct = cache, rows, positions, distinct
        self.slots, lengths = mapping or slot_mapping(tables, positions, BLOCK_SIZE)
        self.tables = BlockTables(tables, lengths, tables.shape[1] * BLOCK_SIZE)
        self.deferred: Callable[..., Tensor] | None = None

    def write_kv(self, layer: int, qkv: Tensor, heads: int, rotary: Rotary, norm: QKNorm = NO_NORM) -> Tensor:
        """See AttentionContext; for distinct rows the queries come back unrotated, as `attend` does everything."""
        cache = self.cache.layer(layer)
        if not self.distinct:
            return rope_and_cache(qkv, heads, rotary, cache, self.slots, norm)
        self.deferred = partial(rope_and_attend, qkv, heads, rotary, cache, self.slots, self.tables, norm)
        return qkv.view(len(qkv), -1, cache.keys.shape[-1])[:, :heads]

    def attend(self, layer: int, queries: Tensor, *, scale: float) -> Tensor:
        """See AttentionContext."""
        if self.deferred is not None:
            operation, self.deferred = self.deferred, None
            return operation(scale)
        return paged_decode(queries, self.cache.layer(layer), self.tables, scale)

    def attend_latent(
        self, layer: int, q_nope: Tensor, q_rope: Tensor, latent: Tensor, up: Tensor, *, scale: float
    ) -> Tensor:
        """See AttentionContext; queries are projected to the latents, which are read once for all heads."""
        cache = self.cache.layer(layer)
        cache.keys.flatten(0, 2)[self.slots] = latent
        nope = q_nope.shape[-1]
        queries = torch.cat((torch.einsum("rhn,hnl->rhl", q_nope, up[:, :nope]), q_rope), -1)
        attended = paged_decode(queries, cache, self.tables, scale)
        return torch.einsum("rhl,hvl->rhv", attended, up[:, nope:])

    def attend_linear(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
        """See AttentionContext."""
        return lightning_decode(queries, keys, values, slopes, self.cache.layer_states(layer), self.rows)


def to_device(array: Array, device: torch.device) -> Tensor:
    """An array on the device, without waiting for what the device is doing."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
