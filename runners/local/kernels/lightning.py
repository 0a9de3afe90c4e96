# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Lightning attention in Triton: the same functions as in `ops/lightning.py`, see there for the recurrence.

A prompt is split into segments, so that one long sequence fills the GPU as well as many short ones. Three kernels: the
state that each segment adds by itself (`_segment_states`), the state before each (`_entry_states`), the outputs
(`_outputs`). A sequence of one segment needs only the last. Tokens so far before a segment's end that their decay is
zero in fp32 add nothing and are not read, which saves most of the first kernel on long prompts, except for the flattest
heads.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops.layout import StateSpan

LOG2E = tl.constexpr(1.4426950408889634)
REACH = tl.constexpr(88.0)
"""e^-88 is below the smallest normal number of fp32."""

STATE_TILE = 512
"""Numbers of a state that one program of `_entry_states` carries through a sequence."""


class Tuning(NamedTuple):
    """Tiling of the prefill kernels: `block` tokens at a time, the values' dimension in `split` parts, about `programs`
    programs per multiprocessor, each of at least `min_segment` tokens (except at a sequence's end).
    """

    block: int = 64
    split: int = 2
    warps: int = 4
    stages: int = 2
    state_split: int = 1
    state_warps: int = 8
    state_stages: int = 3
    programs: int = 4
    min_segment: int = 512


class Segmentation(NamedTuple):
    """Segments [n, 4] as begin, end, slot, whether it is its sequence's last; those of long sequences come first.

    `chains` [m, 3]: first segment, number of segments and slot of each sequence that has several; `entries` is the
    number of segments of these.
    """

    segments: Tensor
    chains: Tensor
    entries: int


def lightning_prefill(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor,
    states: Tensor,
    spans: Sequence[StateSpan],
    *,
    tuning: Tuning | None = None,
) -> Tensor:
    """See `ops`; products of bf16 are summed in fp32, fp16 uses tf32, fp32 three products of tf32."""
    tuning = tuning or (Tuning() if q.dtype == torch.bfloat16 else Tuning(block=32, split=4, state_split=4))
    tokens, heads, dim = q.shape
    covered = sum(end - begin for begin, end, _ in spans) == tokens
    out = (torch.empty if covered else torch.zeros)((tokens, heads, dim), dtype=q.dtype, device=q.device)
    length = _length(tokens, heads, _processors(q.device), tuning)
    segmentation = _segment(tuple((int(begin), int(end), int(slot)) for begin, end, slot in spans), length, q.device)
    entry_states = torch.empty((segmentation.entries, heads, dim, dim), dtype=torch.float32, device=q.device)
    width = max(16, triton.next_power_of_2(dim))
    shape = {"dim": dim, "width": width, "block": tuning.block, **_precision(q)}
    strides = (*q.stride()[:2], *k.stride()[:2], *v.stride()[:2], *states.stride()[:2])
    if segmentation.entries:
        split = min(tuning.state_split, width // 16)
        _segment_states[(heads * split, segmentation.entries)](
            k, v, slopes, entry_states, segmentation.segments, *strides[2:6], heads,
            part=width // split, stages=tuning.state_stages, num_warps=tuning.state_warps, **shape,
        )  # fmt: skip
        size = dim * dim
        _entry_states[(triton.cdiv(size, STATE_TILE), heads, len(segmentation.chains))](
            slopes, states, entry_states, segmentation.segments, segmentation.chains, *strides[6:], heads,
            size=size, tile=STATE_TILE, num_warps=4,
        )  # fmt: skip
    split = min(tuning.split, width // 16)
    if len(segmentation.segments):
        _outputs[(heads * split, len(segmentation.segments))](
            q, k, v, out, slopes, states, entry_states, segmentation.segments, *strides, segmentation.entries, heads,
            part=width // split, stages=tuning.stages, num_warps=tuning.warps, **shape,
        )  # fmt: skip
    return out


def lightning_decode(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, slots: Tensor) -> Tensor:
    """See `ops`; each state is read and written once."""
    rows, heads, dim = q.shape
    out = torch.empty((rows, heads, dim), dtype=q.dtype, device=q.device)
    width = triton.next_power_of_2(dim)
    values = min(32, width)
    if rows:
        _decode[(width // values, heads, rows)](
            q, k, v, out, slopes, states, slots,
            *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], *states.stride()[:2], heads,
            dim=dim, width=width, part=values, num_warps=4,
        )  # fmt: skip
    return out


def _precision(q: Tensor) -> dict[str, Any]:
    """Operand type and precision of the products.

    In bf16 the state, the scores and the decayed values are rounded for their products: the worst error of the output
    is then 0.29%, against 0.17% by its own rounding alone; a state split into high and low parts would give 0.24%. fp16
    has too little exponent range for states and scores, so its operands become tf32.

    On a CPU all are fp32, because Triton's interpreter multiplies bf16 as if it were integers.
    """
    if q.dtype == torch.bfloat16 and q.is_cuda:
        return {"operand": tl.bfloat16, "precision": "tf32"}
    return {"operand": tl.float32, "precision": "tf32" if q.dtype == torch.float16 else "tf32x3"}


@lru_cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _length(tokens: int, heads: int, processors: int, tuning: Tuning) -> int:
    """Tokens of a segment: a multiple of the block."""
    segments = max(1, processors * tuning.programs // (heads * tuning.split))
    tokens_each = max(tuning.min_segment, triton.cdiv(tokens, segments))
    return int(triton.cdiv(tokens_each, tuning.block) * tuning.block)


@lru_cache(maxsize=16)  # the same for every lightning layer of a step
def _segment(spans: tuple[StateSpan, ...], length: int, device: torch.device) -> Segmentation:
    several: list[tuple[int, int, int, int]] = []
    single: list[tuple[int, int, int, int]] = []
    chains: list[tuple[int, int, int]] = []
    for begin, end, slot in spans:
        cuts = range(begin, end, length)
        rows = [(at, min(at + length, end), slot, int(at + length >= end)) for at in cuts]
        if len(rows) > 1:
            chains.append((len(several), len(rows), slot))
        (several if len(rows) > 1 else single).extend(rows)
    segments = torch.tensor(several + single, dtype=torch.int64).view(-1, 4)
    return Segmentation(
        segments.to(device), torch.tensor(chains, dtype=torch.int64).view(-1, 3).to(device), len(several)
    )


@triton.jit
def _tile(base, t, left, stride, columns, block: tl.constexpr, dim: tl.constexpr, masked: tl.constexpr):
    """Tokens t to t + block of one head [block, columns], zero beyond the `left` that remain."""
    rows = tl.arange(0, block)
    mask = rows[:, None] < left
    if masked:
        mask = mask & (columns[None, :] < dim)
    return tl.load(base + t * stride + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _carry(state, k, v, slope, left, block: tl.constexpr, operand: tl.constexpr, precision: tl.constexpr):
    """The state after a block with `left` tokens (all, if left >= block).

    The decays are applied to the values: then the tensor cores take the keys as loaded, which saves registers.
    """
    count = tl.minimum(left, block)
    rest = tl.maximum(count - 1 - tl.arange(0, block), 0).to(tl.float32)
    decayed = (v.to(tl.float32) * tl.exp2(-slope * rest)[:, None]).to(operand)
    state = state * tl.exp2(-slope * count.to(tl.float32))
    return tl.dot(tl.trans(k.to(operand)), decayed, state, input_precision=precision)


@triton.jit
def _segment_states(
    k, v, slopes, entry_states, segments, k_token, k_head, v_token, v_head, heads,
    dim: tl.constexpr, width: tl.constexpr, part: tl.constexpr, block: tl.constexpr, stages: tl.constexpr,
    operand: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """entry_states[segment] = the state after the segment alone, from zero; not for the last, which none follows."""
    row = tl.program_id(1)
    head = tl.program_id(0) // (width // part)
    begin, end = tl.load(segments + row * 4), tl.load(segments + row * 4 + 1)
    if tl.load(segments + row * 4 + 3) == 0:
        slope = tl.load(slopes + head)
        begin = tl.maximum(begin, end - (1.0 / tl.maximum(slope, 1e-7) * REACH).to(tl.int64) - 1)
        slope *= LOG2E
        dims = tl.arange(0, width)
        values = (tl.program_id(0) % (width // part)) * part + tl.arange(0, part)
        k += head * k_head
        v += head * v_head
        state = tl.zeros((width, part), tl.float32)
        for t in tl.range(begin, end, block, num_stages=stages):
            left = (end - t).to(tl.int32)
            keys = _tile(k, t, left, k_token, dims, block, dim, dim != width)
            v_tile = _tile(v, t, left, v_token, values, block, dim, dim != width)
            state = _carry(state, keys, v_tile, slope, left, block, operand, precision)
        place = (row.to(tl.int64) * heads + head) * dim * dim
        mask = (dims[:, None] < dim) & (values[None, :] < dim)
        tl.store(entry_states + place + dims[:, None] * dim + values[None, :], state, mask=mask)


@triton.jit
def _entry_states(
    slopes, states, entry_states, segments, chains, state_slot, state_head, heads,
    size: tl.constexpr, tile: tl.constexpr,
):  # fmt: skip
    """entry_states[segment] = the state before the segment, from the states that `_segment_states` stored."""
    head = tl.program_id(1)
    chain = chains + tl.program_id(2) * 3
    first, count, slot = tl.load(chain), tl.load(chain + 1), tl.load(chain + 2)
    at = tl.program_id(0) * tile + tl.arange(0, tile)
    mask = at < size
    slope = tl.load(slopes + head) * LOG2E
    state = tl.load(states + slot * state_slot + head * state_head + at, mask=mask)
    for row in tl.range(first, first + count - 1, num_stages=4):
        place = entry_states + (row * heads + head) * size + at
        left = tl.load(place, mask=mask)
        tl.store(place, state, mask=mask)
        length = tl.load(segments + row * 4 + 1) - tl.load(segments + row * 4)
        state = state * tl.exp2(-slope * length.to(tl.float32)) + left
    tl.store(entry_states + ((first + count - 1) * heads + head) * size + at, state, mask=mask)


@triton.jit(do_not_specialize=["entries"])
def _outputs(
    q, k, v, out, slopes, states, entry_states, segments,
    q_token, q_head, k_token, k_head, v_token, v_head, state_slot, state_head, entries, heads,
    dim: tl.constexpr, width: tl.constexpr, part: tl.constexpr, block: tl.constexpr, stages: tl.constexpr,
    operand: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """The outputs of a segment; that of a sequence's last segment also stores the sequence's state."""
    row = tl.program_id(1)
    head = tl.program_id(0) // (width // part)
    begin, end = tl.load(segments + row * 4), tl.load(segments + row * 4 + 1)
    slot, last = tl.load(segments + row * 4 + 2), tl.load(segments + row * 4 + 3)
    slope = tl.load(slopes + head) * LOG2E
    dims = tl.arange(0, width)
    values = (tl.program_id(0) % (width // part)) * part + tl.arange(0, part)
    tokens = tl.arange(0, block)
    distance = tokens[:, None] - tokens[None, :]
    within = tl.where(distance >= 0, tl.exp2(-slope * tl.maximum(distance, 0).to(tl.float32)), 0.0)
    decays = tl.exp2(-slope * (tokens + 1).to(tl.float32))
    q += head * q_head
    k += head * k_head
    v += head * v_head
    out += head * dim
    state_ptr = states + slot * state_slot + head * state_head
    source = state_ptr
    if row < entries:
        source = entry_states + (row.to(tl.int64) * heads + head) * dim * dim
    square = dims[:, None] * dim + values[None, :]
    inside = (dims[:, None] < dim) & (values[None, :] < dim)
    state = tl.load(source + square, mask=inside, other=0.0)
    for t in tl.range(begin, end, block, num_stages=stages):
        left = (end - t).to(tl.int32)
        queries = _tile(q, t, left, q_token, dims, block, dim, dim != width).to(operand)
        keys = _tile(k, t, left, k_token, dims, block, dim, dim != width)
        v_tile = _tile(v, t, left, v_token, values, block, dim, dim != width).to(operand)
        scores = tl.dot(queries, tl.trans(keys.to(operand)), input_precision=precision) * within
        outputs = tl.dot(queries, state.to(operand), input_precision=precision) * decays[:, None]
        outputs = tl.dot(scores.to(operand), v_tile, outputs, input_precision=precision)
        mask = (tokens[:, None] < left) & (values[None, :] < dim)
        place = out + t * heads * dim + tokens[:, None] * heads * dim + values[None, :]
        tl.store(place, outputs.to(out.dtype.element_ty), mask=mask)
        state = _carry(state, keys, v_tile, slope, left, block, operand, precision)
    if last == 1:
        tl.store(state_ptr + square, state, mask=inside)


@triton.jit
def _decode(
    q, k, v, out, slopes, states, slots,
    q_row, q_head, k_row, k_head, v_row, v_head, state_slot, state_head, heads,
    dim: tl.constexpr, width: tl.constexpr, part: tl.constexpr,
):  # fmt: skip
    """One token of one head, part columns of its state."""
    row, head = tl.program_id(2).to(tl.int64), tl.program_id(1)
    dims = tl.arange(0, width)
    values = tl.program_id(0) * part + tl.arange(0, part)
    decay = tl.exp2(-tl.load(slopes + head) * LOG2E)
    state_ptr = states + tl.load(slots + row) * state_slot + head * state_head + dims[:, None] * dim + values[None, :]
    inside = (dims[:, None] < dim) & (values[None, :] < dim)
    state = tl.load(state_ptr, mask=inside, other=0.0)
    queries = tl.load(q + row * q_row + head * q_head + dims, mask=dims < dim, other=0.0).to(tl.float32)
    key = tl.load(k + row * k_row + head * k_head + dims, mask=dims < dim, other=0.0).to(tl.float32)
    v_tile = tl.load(v + row * v_row + head * v_head + values, mask=values < dim, other=0.0).to(tl.float32)
    state = state * decay + key[:, None] * v_tile[None, :]
    tl.store(state_ptr, state, mask=inside)
    outputs = tl.sum(state * queries[:, None], 0)
    tl.store(out + (row * heads + head) * dim + values, outputs.to(out.dtype.element_ty), mask=values < dim)
