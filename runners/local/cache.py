"""What the model remembers of running sequences, behind three words: `take` a place, `plan` a step, `give` it back.

Here every place is one slot of a padded block [slots, 2, heads, positions, dim] per layer, which grows with what is
needed and shrinks again. Slots stay dense (the last one moves into a hole), so that decoding reads views, not copies.
A paged cache, or the states of linear attention, can take its room: models know `Step` only, the engine `Cache` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

BLOCK = 64


class KV(NamedTuple):
    """What a softmax layer keeps of a token: a key and a value, each [heads, dim]."""

    heads: int
    dim: int


@dataclass(eq=False, slots=True)
class Place:
    """Where one sequence is kept; `length` tokens of it are known."""

    slot: int
    length: int = 0


class Span(NamedTuple):
    """Tokens of one place in a step: `begin` to `end` in the flat batch, after which the place holds `length`."""

    begin: int
    end: int
    slot: int
    length: int


class Cache:
    """Keys and values of all running sequences, at most `slots` of them with `window` tokens each."""

    def __init__(
        self, memory: Sequence[KV], *, slots: int, window: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.most = (slots, window)
        self.places: list[Place] = []
        shapes = [(0, 2, layer.heads, 0, layer.dim) for layer in memory]
        self.blocks = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]

    @property
    def room(self) -> tuple[int, int]:
        """Slots and positions for which there is memory now."""
        return self.blocks[0].shape[0], self.blocks[0].shape[3]

    def take(self) -> Place:
        """A place for a new sequence."""
        assert len(self.places) < self.most[0], "no slot is free"
        self.places.append(Place(len(self.places)))
        return self.places[-1]

    def give(self, place: Place) -> None:
        """Free a place; its memory goes to others, or back to the system when much is unused."""
        last = self.places.pop()
        if last is not place:
            for block in self.blocks:
                block[place.slot, :, :, : last.length] = block[last.slot, :, :, : last.length]
            last.slot = place.slot
            self.places[last.slot] = last
        slots, positions = self.room
        longest = max((held.length for held in self.places), default=0)
        if 4 * len(self.places) <= slots or 4 * longest + BLOCK < positions:
            self._resize(len(self.places), longest)

    def clear(self) -> None:
        """Free all places."""
        self.places.clear()
        self._resize(0, 0)

    def plan(self, batch: Sequence[tuple[Place, int]]) -> "Step":
        """Make room for so many further tokens of each place, and describe the step that computes them."""
        spans: list[Span] = []
        for place, count in batch:
            place.length += count
            begin = spans[-1].end if spans else 0
            spans.append(Span(begin, begin + count, place.slot, place.length))
        slots, positions = self.room
        longest = max(span.length for span in spans)
        if len(self.places) > slots or longest > positions:
            grown = positions if longest <= positions else max(longest, positions * 3 // 2)
            self._resize(len(self.places) if len(self.places) <= slots else max(len(self.places), 2 * slots), grown)
        return Step(self.blocks, spans)

    def _resize(self, slots: int, positions: int) -> None:
        slots, positions = min(slots, self.most[0]), min(-(-positions // BLOCK) * BLOCK, self.most[1])
        for i, old in enumerate(self.blocks):
            _, _, heads, _, dim = old.shape
            # Zeros, not noise: what the mask hides is still multiplied, and 0 x NaN is NaN.
            new = old.new_zeros((slots, 2, heads, positions, dim))
            kept, known = min(slots, old.shape[0]), min(positions, old.shape[3])
            new[:kept, :, :, :known] = old[:kept, :, :, :known]
            self.blocks[i] = new


class Step:
    """One forward pass as the model sees it: flat tokens, their positions, and attention to what came before."""

    def __init__(self, blocks: Sequence[Tensor], spans: Sequence[Span]) -> None:
        self.blocks = blocks
        device = blocks[0].device
        self.positions = _joined([torch.arange(s.length - (s.end - s.begin), s.length) for s in spans], device)
        self.slots = _joined([torch.tensor([s.slot]).expand(s.end - s.begin) for s in spans], device)
        self.last = [span.end - 1 for span in spans]
        """Where each sequence's newest token stands in the flat batch."""
        self.padded, alone = _parted(spans)
        self.single = [_Single(span, device) for span in alone]
        if self.padded:
            self._pad(device)

    def _pad(self, device: torch.device) -> None:
        slots = [span.slot for span in self.padded]
        lengths = torch.tensor([span.length for span in self.padded], device=device)
        self.longest = max(span.length for span in self.padded)
        self.dense = slots == list(range(len(slots)))
        self.rows = torch.tensor(slots, device=device)
        begins = [span.begin for span in self.padded]
        leading = begins == list(range(len(begins)))
        self.picked = slice(len(begins)) if leading else torch.tensor(begins, device=device)
        hidden = torch.arange(self.longest, device=device) >= lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=self.blocks[0].dtype, device=device)
        self.mask = mask.masked_fill_(hidden, -torch.inf)[:, None, None]

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, *, scale: float) -> Tensor:
        """Remember keys and values [tokens, kv_heads, dim], and return what queries [tokens, heads, dim] see."""
        block = self.blocks[layer]
        block[self.slots, :, :, self.positions] = torch.stack((keys, values), 1)
        seen = torch.empty_like(queries)
        if self.padded:
            seen[self.picked] = self._decode(block, queries[self.picked], scale)
        for single in self.single:
            seen[single.span.begin : single.span.end] = single.attend(block, queries, scale)
        return seen

    def _decode(self, block: Tensor, queries: Tensor, scale: float) -> Tensor:
        """One query per sequence; those that share a key head go as one matrix, so that each key is read once."""
        rows, heads, dim = queries.shape
        kept = block[:rows] if self.dense else block[self.rows, :, :, : self.longest]
        keys, values = kept[:, 0, :, : self.longest], kept[:, 1, :, : self.longest]
        grouped = queries.reshape(rows, keys.shape[1], -1, dim)
        seen = scaled_dot_product_attention(grouped, keys, values, attn_mask=self.mask, scale=scale)
        return seen.reshape(rows, heads, dim)


class _Single:
    """A sequence that attends for itself: prompts, and one that is far longer than the others."""

    def __init__(self, span: Span, device: torch.device) -> None:
        self.span = span
        count = span.end - span.begin
        self.whole = count == span.length
        self.mask: Tensor | None = None
        if not self.whole and count > 1:
            ones = torch.ones(count, span.length, dtype=torch.bool, device=device)
            self.mask = ones.tril(span.length - count)

    def attend(self, block: Tensor, queries: Tensor, scale: float) -> Tensor:
        span = self.span
        keys, values = block[span.slot : span.slot + 1, :, :, : span.length].unbind(1)
        own = queries[span.begin : span.end].transpose(0, 1)[None]
        seen = scaled_dot_product_attention(
            own, keys, values, attn_mask=self.mask, is_causal=self.whole, scale=scale, enable_gqa=True
        )
        return seen[0].transpose(0, 1)


def _parted(spans: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """Spans of one token that are worth padding to one length, and those that attend for themselves."""
    lengths = sorted(span.length for span in spans if span.end - span.begin == 1)
    bound = 2 * lengths[len(lengths) // 2] + BLOCK if len(lengths) > 1 else 0
    padded = [span for span in spans if span.end - span.begin == 1 and span.length <= bound]
    return padded, [span for span in spans if span not in padded]


def _joined(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    return torch.cat(tuple(parts)).to(device)
