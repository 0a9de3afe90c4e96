"""One forward pass as a model sees it: where the tokens stand, and the layers' access to what came before them.

`Reading` computes given tokens of some sequences, `Drawing` one token of each row, asking nothing of the host, so that
it can be captured as a CUDA graph. Both keep keys and values in blocks (see cache.py), states one to a row.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .cache import BLOCK_SIZE, KV, CacheSpec, Latent, State
from .ops.attention import LONG, Pack, Span, attend, attend_packed, packable
from .ops.layout import SlotMapping
from .ops.lightning import lightning_decode, lightning_prefill
from .ops.paged import paged_decode, rope_and_attend
from .ops.rope import rope_and_cache
from .ops.slot_mapping import slot_mapping

Array = np.ndarray[Any, Any]
Table = tuple[Tensor, Tensor]
"""cos and sin, each [tokens, turned dims / 2] fp32."""


class Step(Protocol):
    """What a model is given beside token ids. Layers are counted over all layers of the model."""

    positions: Tensor
    """[tokens] int64."""

    def remember(
        self,
        layer: int,
        qkv: Tensor,
        heads: int,
        table: Table,
        q_norm: Tensor | None = None,
        k_norm: Tensor | None = None,
        eps: float = 1e-6,
    ) -> Tensor:
        """Turn queries and keys to their positions, keep keys and values; queries [tokens, heads, dim] come back.

        qkv [tokens, (heads + 2 kv_heads) dim]: query heads, key heads, value heads; norms [dim] go before the turn.
        """

    def attend(self, layer: int, queries: Tensor, *, scale: float) -> Tensor:
        """Causal softmax attention over what was remembered, this step's tokens included: [tokens, heads, dim]."""

    def attend_latent(
        self, layer: int, q_nope: Tensor, q_rope: Tensor, latent: Tensor, up: Tensor, *, scale: float
    ) -> Tensor:
        """Remember latents and attend (multi-head latent attention, arXiv 2405.04434): [tokens, heads, value dim].

        q_nope [tokens, heads, nope], q_rope [tokens, heads, rope], latent [tokens, rank + rope] (normed latent, then
        the turned key that all heads share), up [heads, nope + value, rank] (latent to keys and values).
        """

    def accumulate(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
        """Lightning attention with the sequence's own state; all [tokens, heads, dim], slopes [heads] fp32."""


class Pools:
    """The memory of all layers: `blocks` blocks, `rows` states (and one spare), `snapshots` saved ones."""

    def __init__(
        self,
        memory: Sequence[CacheSpec],
        *,
        blocks: int,
        rows: int,
        snapshots: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        # On a CPU, memory that was never touched costs nothing; on a GPU, noise that a mask hides may still be NaN.
        new = torch.empty if device.type == "cpu" else torch.zeros
        self.device = device
        self.keys: list[Tensor | None] = []
        self.values: list[Tensor | None] = []
        self.state: list[int] = []
        """Which of the states is a layer's."""
        states = [kind for kind in memory if isinstance(kind, State)]
        for kind in memory:
            shape = (
                (blocks, BLOCK_SIZE, 1, kind.dim)
                if isinstance(kind, Latent)
                else (blocks, BLOCK_SIZE, kind.heads, kind.dim)
            )
            self.keys.append(None if isinstance(kind, State) else new(shape, dtype=dtype, device=device))
            self.values.append(new(shape, dtype=dtype, device=device) if isinstance(kind, KV) else None)
            if isinstance(kind, Latent):
                self.values[-1] = self.keys[-1][..., : kind.values]  # type: ignore[index]
            self.state.append(sum(isinstance(before, State) for before in memory[: len(self.state)]))
        each = (states[0].heads, states[0].dim, states[0].dim) if states else (0, 0, 0)
        self.states = torch.zeros(len(states), rows + 1, *each, device=device)
        self.saved = new((snapshots, len(states), *each), device=device)

    def begin(self, row: int, snapshot: int | None) -> None:
        """Give a row the saved state, or an empty one."""
        if len(self.states):
            self.states[:, row] = 0 if snapshot is None else self.saved[snapshot]

    def save(self, row: int, snapshot: int) -> None:
        """Save a row's state."""
        self.saved[snapshot] = self.states[:, row]

    def kept(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, each [blocks, BLOCK, heads, dim]."""
        keys, values = self.keys[layer], self.values[layer]
        assert keys is not None
        assert values is not None
        return keys, values


def block_bytes(memory: Sequence[CacheSpec], dtype: torch.dtype) -> int:
    """What one block costs in all layers."""
    numbers = sum(kind.heads * kind.dim * 2 for kind in memory if isinstance(kind, KV))
    numbers += sum(kind.dim for kind in memory if isinstance(kind, Latent))
    return numbers * BLOCK_SIZE * dtype.itemsize


def state_bytes(memory: Sequence[CacheSpec]) -> int:
    """What the state of one sequence costs in all layers."""
    return sum(kind.heads * kind.dim**2 * 4 for kind in memory if isinstance(kind, State))


class Part(NamedTuple):
    """`fresh` given tokens of one row, the last of them at place `length` - 1, and the row's blocks."""

    row: int
    fresh: int
    length: int
    blocks: Array

    def slots(self, begin: int) -> Array:
        """Where the pools hold the tokens from place `begin` on."""
        first = begin // BLOCK_SIZE
        used = self.blocks[first : -(-self.length // BLOCK_SIZE), None].astype(np.int64)
        found: Array = (used * BLOCK_SIZE + np.arange(BLOCK_SIZE)).ravel()
        return found[begin - first * BLOCK_SIZE : self.length - first * BLOCK_SIZE]


class Reading:
    """A step over given tokens; each part's tokens stand one after another in the flat batch."""

    def __init__(self, pools: Pools, parts: Sequence[Part]) -> None:
        self.pools, self.parts = pools, parts
        ends = np.cumsum([part.fresh for part in parts]).tolist()
        self.ends = ends
        """Where each part ends in the flat batch."""
        self.begins = [end - part.fresh for end, part in zip(ends, parts, strict=True)]
        places = np.concatenate([np.arange(part.length - part.fresh, part.length) for part in parts])
        slots = np.concatenate([part.slots(part.length - part.fresh) for part in parts])
        self.positions, self.slots = send(np.stack((places, slots)), pools.device)
        self.rows = [(b, e, part.row) for b, e, part in zip(self.begins, ends, parts, strict=True)]
        short = [i for i, part in enumerate(parts) if part.fresh < LONG] if pools.device.type == "cuda" else []
        self.packed = short if len(short) > 1 else []
        self.alone = [i for i in range(len(parts)) if i not in self.packed]
        self.pack = self._pack() if self.packed else None
        self.used = {i: _run(parts[i].blocks[: -(-parts[i].length // BLOCK_SIZE)], pools.device) for i in self.alone}

    def _pack(self) -> Pack:
        parts, device = [self.parts[i] for i in self.packed], self.pools.device
        counts, lengths = [part.fresh for part in parts], [part.length for part in parts]
        tokens = np.concatenate([np.arange(self.begins[i], self.ends[i]) for i in self.packed])
        kept = np.concatenate([part.slots(0) for part in parts])
        bounds = np.cumsum([[0, *counts], [0, *lengths]], axis=1, dtype=np.int32)
        first, second = send(bounds, device)
        return Pack(send(tokens, device), send(kept, device), first, second, max(counts), max(lengths))

    def remember(
        self,
        layer: int,
        qkv: Tensor,
        heads: int,
        table: Table,
        q_norm: Tensor | None = None,
        k_norm: Tensor | None = None,
        eps: float = 1e-6,
    ) -> Tensor:
        """As Step."""
        return _remember(self.pools, layer, qkv, heads, table, self.slots, q_norm, k_norm, eps)

    def attend(self, layer: int, queries: Tensor, *, scale: float) -> Tensor:
        """As Step."""
        keys, values = self.pools.kept(layer)
        if len(self.parts) == 1:
            return attend(queries, Span(self._kept(keys, 0), self._kept(values, 0)), scale)
        out = queries.new_empty(*queries.shape[:2], values.shape[-1])
        alone = list(range(len(self.parts)))
        if self.pack and packable(queries, values.shape[-1]):
            alone, whole = self.alone, len(self.pack.tokens) == len(queries)
            asked = queries if whole else queries[self.pack.tokens]
            seen = attend_packed(asked, keys.flatten(0, 1), values.flatten(0, 1), self.pack, scale)
            if whole:
                return seen
            out[self.pack.tokens] = seen
        for i in alone:
            span = Span(self._kept(keys, i), self._kept(values, i))
            out[self.begins[i] : self.ends[i]] = attend(queries[self.begins[i] : self.ends[i]], span, scale)
        return out

    def _kept(self, pool: Tensor, part: int) -> Tensor:
        """What a pool holds of a part's sequence, [length, heads, dim]; a view where its blocks follow one another."""
        used = self.used.get(part)
        if used is None:
            used = self.used[part] = _run(
                self.parts[part].blocks[: -(-self.parts[part].length // BLOCK_SIZE)], pool.device
            )
        return pool[used].flatten(0, 1)[: self.parts[part].length]

    def attend_latent(
        self, layer: int, q_nope: Tensor, q_rope: Tensor, latent: Tensor, up: Tensor, *, scale: float
    ) -> Tensor:
        """As Step; the latents of the whole sequence become keys and values, which costs least for many queries."""
        pool, _ = self.pools.kept(layer)
        pool.flatten(0, 2)[self.slots] = latent
        nope, rank = q_nope.shape[-1], up.shape[-1]
        queries = torch.cat((q_nope, q_rope), -1)
        out = queries.new_empty(*queries.shape[:2], up.shape[1] - nope)
        for i, (begin, end) in enumerate(zip(self.begins, self.ends, strict=True)):
            kept = self._kept(pool, i)
            made = torch.einsum("hdl,tl->thd", up, kept[:, 0, :rank])
            keys, values = made[..., :nope], made[..., nope:]
            turned = kept[:, :, rank:].expand(-1, keys.shape[1], -1)
            out[begin:end] = attend(queries[begin:end], Span(torch.cat((keys, turned), -1), values), scale)
        return out

    def accumulate(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
        """As Step."""
        states = self.pools.states[self.pools.state[layer]]
        return lightning_prefill(queries, keys, values, slopes, states, self.rows)


class Drawing:
    """A step of one token for each row; `tables` [rows, blocks] int32, `lengths` [rows] int64 before the step.

    `places` are those numbers prepared by another. `apart`: no two rows are of one sequence.
    """

    def __init__(
        self,
        pools: Pools,
        rows: Tensor,
        tables: Tensor,
        lengths: Tensor,
        *,
        places: SlotMapping | None = None,
        apart: bool = True,
    ) -> None:
        self.pools, self.rows, self.tables, self.positions, self.apart = pools, rows, tables, lengths, apart
        self.slots, self.lengths = places or slot_mapping(tables, lengths, BLOCK_SIZE)
        self.longest = tables.shape[1] * BLOCK_SIZE
        self.asked: Callable[..., Tensor] | None = None

    def remember(
        self,
        layer: int,
        qkv: Tensor,
        heads: int,
        table: Table,
        q_norm: Tensor | None = None,
        k_norm: Tensor | None = None,
        eps: float = 1e-6,
    ) -> Tensor:
        """As Step; where rows stand apart the queries are not turned yet, but as they come: `attend` does it all."""
        if not self.apart:
            return _remember(self.pools, layer, qkv, heads, table, self.slots, q_norm, k_norm, eps)
        keys, values = self.pools.kept(layer)
        memory = (keys, values, self.slots, self.tables, self.lengths)
        self.asked = partial(rope_and_attend, qkv, heads, *table, *memory, q_norm, k_norm, eps, longest=self.longest)
        return qkv.view(len(qkv), -1, keys.shape[-1])[:, :heads]

    def attend(self, layer: int, queries: Tensor, *, scale: float) -> Tensor:
        """As Step."""
        if self.asked is not None:
            asked, self.asked = self.asked, None
            return asked(scale=scale)
        keys, values = self.pools.kept(layer)
        return paged_decode(queries, keys, values, self.tables, self.lengths, scale, self.longest)

    def attend_latent(
        self, layer: int, q_nope: Tensor, q_rope: Tensor, latent: Tensor, up: Tensor, *, scale: float
    ) -> Tensor:
        """As Step; the queries are brought to the latents instead, which are read once for all heads."""
        pool, values = self.pools.kept(layer)
        pool.flatten(0, 2)[self.slots] = latent
        nope = q_nope.shape[-1]
        queries = torch.cat((torch.einsum("rhn,hnl->rhl", q_nope, up[:, :nope]), q_rope), -1)
        seen = paged_decode(queries, pool, values, self.tables, self.lengths, scale, self.longest)
        return torch.einsum("rhl,hvl->rhv", seen, up[:, nope:])

    def accumulate(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
        """As Step."""
        states = self.pools.states[self.pools.state[layer]]
        return lightning_decode(queries, keys, values, slopes, states, self.rows)


def send(array: Array, device: torch.device) -> Tensor:
    """An array on the device, without waiting for what the device is doing."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _remember(
    pools: Pools,
    layer: int,
    qkv: Tensor,
    heads: int,
    table: Table,
    slots: Tensor,
    q_norm: Tensor | None,
    k_norm: Tensor | None,
    eps: float,
) -> Tensor:
    keys, values = pools.kept(layer)
    kv_heads, dim = keys.shape[2:]
    return rope_and_cache(qkv, heads, kv_heads, dim, *table, keys, values, slots, q_norm, k_norm, eps)


def _run(blocks: Array, device: torch.device) -> slice | Tensor:
    """Which blocks to read: where they follow one another, as they lie."""
    first = int(blocks[0])
    if (blocks == np.arange(first, first + len(blocks))).all():
        return slice(first, first + len(blocks))
    return send(blocks.astype(np.int64), device)
