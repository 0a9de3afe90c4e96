# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped,assignment"
"""Products for one row: each program reads some rows of the weights once, as much of them as it can before it waits.

The sums run in fp32 on the ordinary units, which at one row keep up with the memory. Weights are asked for before the
activations, so that under dependent launch the memory is busy while the kernel before ends.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .pdl import launch_options, use_pdl, wait_for_previous

LINEAR, NORM, GATE_UP = 0, 1, 2
Tile = tuple[int, int, int]
"""(columns a program, depth of one load, warps)."""
WIDE = 16
"""The most rows of weights for one program."""
EARLY = 4096
"""So many numbers of each row of weights are asked for before the wait: they are kept in registers."""


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    *,
    pdl: bool | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """See `ops.gemv.linear`."""
    out = torch.empty(1, weight.shape[0], dtype=x.dtype, device=x.device)
    _launch(LINEAR, x, x, weight, 0.0, weight, bias, residual, out, out, 1.0, 1.0, pdl, tile)
    return out


def norm_linear(
    x: Tensor,
    delta: Tensor,
    norm_weight: Tensor,
    eps: float,
    weight: Tensor,
    bias: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    *,
    pdl: bool | None = None,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """See `ops.gemv.norm_linear`."""
    out = torch.empty(1, weight.shape[0], dtype=x.dtype, device=x.device)
    total = torch.empty(1, x.shape[1], dtype=x.dtype, device=x.device)
    _launch(NORM, x, delta, norm_weight, eps, weight, bias, None, out, total, alpha, beta, pdl, tile)
    return out, total


def norm_gate_up(
    x: Tensor,
    delta: Tensor,
    norm_weight: Tensor,
    eps: float,
    weight: Tensor,
    *,
    pdl: bool | None = None,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """See `ops.gemv.norm_gate_up`."""
    out = torch.empty(1, weight.shape[0] // 2, dtype=x.dtype, device=x.device)
    total = torch.empty(1, x.shape[1], dtype=x.dtype, device=x.device)
    _launch(GATE_UP, x, delta, norm_weight, eps, weight, None, None, out, total, 1.0, 1.0, pdl, tile)
    return out, total


def head(x: Tensor, weight: Tensor, *, pdl: bool | None = None, tile: Tile | None = None) -> Tensor:
    """See `ops.gemv.head`."""
    out = torch.empty(1, weight.shape[0], dtype=torch.float32, device=x.device)
    _launch(LINEAR, x, x, weight, 0.0, weight, None, None, out, out, 1.0, 1.0, pdl, tile)
    return out


def tile_for(columns: int, depth: int, halves: int) -> Tile:
    """Enough programs for all processors, loads as deep as may be."""
    waste = {size: triton.cdiv(depth, size) * size - depth for size in (1024, 512, 256)}
    deep = next((size for size in waste if waste[size] * 8 <= depth), min(waste, key=lambda size: waste[size]))
    wide = WIDE // halves
    while wide > 2 and columns // wide < 256:
        wide //= 2
    return wide, deep, 4


def _launch(
    kind: int,
    x: Tensor,
    delta: Tensor,
    norm_weight: Tensor,
    eps: float,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    out: Tensor,
    total: Tensor,
    alpha: float,
    beta: float,
    pdl: bool | None,
    tile: Tile | None,
) -> None:
    rows, depth = x.shape
    assert rows == 1
    columns = out.shape[1]
    wide, deep, warps = tile or tile_for(columns, depth, 2 if kind == GATE_UP else 1)
    pieces = triton.cdiv(depth, deep)
    use = use_pdl(pdl)
    _row[(triton.cdiv(columns, wide),)](
        x, delta, norm_weight, eps, weight, out if bias is None else bias, out if residual is None else residual,
        out, total, alpha, beta, columns, depth, kind, bias is not None, residual is not None,
        wide, deep, pieces, min(pieces, EARLY // deep), triton.next_power_of_2(depth), use,
        num_warps=warps, **launch_options(use),
    )  # fmt: skip


@triton.jit
def _row(
    x, delta, norm_weight, eps, weight, bias, residual, out, total, alpha, beta,
    columns: tl.constexpr, depth: tl.constexpr, kind: tl.constexpr, has_bias: tl.constexpr,
    has_residual: tl.constexpr, wide: tl.constexpr, deep: tl.constexpr, pieces: tl.constexpr, early: tl.constexpr,
    depth_pad: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * wide + tl.arange(0, wide)
    there = column < columns
    at = tl.arange(0, deep)
    start = column.to(tl.int64) * depth
    tiles = ()
    up_tiles = ()
    scales = ()
    for i in tl.static_range(early):
        if kind != 0:
            scales += (tl.load(norm_weight + i * deep + at, i * deep + at < depth, 0.0),)
        tiles += (_tile(weight, start, there, i * deep + at, depth),)
        if kind == 2:
            up_tiles += (_tile(weight + columns * depth, start, there, i * deep + at, depth),)
    wait_for_previous(pdl)
    root = 1.0
    if kind != 0:
        root = _root(x, delta, total, alpha, beta, eps, depth, depth_pad)
    sums = tl.zeros([wide], tl.float32)
    ups = tl.zeros([wide], tl.float32)
    for i in tl.static_range(pieces):
        place = i * deep + at
        value = tl.load(x + place, place < depth, 0.0)
        part = value.to(tl.float32)
        if kind != 0:
            change = tl.load(delta + place, place < depth, 0.0).to(tl.float32)
            scale = scales[i] if i < early else tl.load(norm_weight + place, place < depth, 0.0)
            part = (alpha * part + beta * change).to(value.dtype).to(tl.float32)
            part = ((part * root).to(value.dtype).to(tl.float32) * scale.to(tl.float32)).to(value.dtype).to(tl.float32)
        tile = tiles[i] if i < early else _tile(weight, start, there, place, depth)
        sums += tl.sum(tile.to(tl.float32) * part[None], 1)
        if kind == 2:
            up_tile = up_tiles[i] if i < early else _tile(weight + columns * depth, start, there, place, depth)
            ups += tl.sum(up_tile.to(tl.float32) * part[None], 1)
    kept = out.dtype.element_ty
    if has_bias:
        sums += tl.load(bias + column, there, 0.0).to(tl.float32)
    if has_residual:
        sums = sums.to(kept).to(tl.float32) + tl.load(residual + column, there, 0.0).to(tl.float32)
    if kind == 2:
        gate = sums.to(kept).to(tl.float32)
        active = (gate * tl.sigmoid(gate)).to(kept).to(tl.float32)
        sums = active * ups.to(kept).to(tl.float32)
    tl.store(out + column, sums.to(kept), there)


@triton.jit
def _tile(weight, start, there, at, depth: tl.constexpr):
    """Some numbers of some rows of the weights."""
    return tl.load(weight + start[:, None] + at[None], there[:, None] & (at < depth)[None], 0.0)


@triton.jit
def _root(x, delta, total, alpha, beta, eps, depth: tl.constexpr, depth_pad: tl.constexpr):
    """The reciprocal root mean square of alpha * x + beta * delta, which the first program also stores."""
    at = tl.arange(0, depth_pad)
    value = tl.load(x + at, at < depth, 0.0)
    change = tl.load(delta + at, at < depth, 0.0).to(tl.float32)
    kept = (alpha * value.to(tl.float32) + beta * change).to(value.dtype)
    tl.store(total + at, kept, (at < depth) & (tl.program_id(0) == 0))
    wide = kept.to(tl.float32)
    return tl.rsqrt(tl.sum(wide * wide, 0) / depth + eps)
