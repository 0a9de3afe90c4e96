# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped,assignment"
"""Products for one row: each program reads some rows of the weights once, as much as it can before it waits.

The sums run in fp32 on the ordinary units, which offs one row keep up with the memory. Weights are loaded before the
activations, so that under dependent launch the memory is busy while the previous kernel ends.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .pdl import launch_options, use_pdl, wait_for_previous

LINEAR, NORM, GATE_UP = 0, 1, 2
Tile = tuple[int, int, int]
"""(columns of a program, depth of one load, warps)."""
MAX_COLUMNS = 16
"""Maximum number of rows of weights for one program."""
PREFETCH = 4096
"""Numbers of each row of weights loaded before the wait: they stay in registers."""


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
    """Enough programs for all processors, with the deepest loads that waste little."""
    waste = {size: triton.cdiv(depth, size) * size - depth for size in (1024, 512, 256)}
    chunk = next((size for size in waste if waste[size] * 8 <= depth), min(waste, key=lambda size: waste[size]))
    tile_columns = MAX_COLUMNS // halves
    while tile_columns > 2 and columns // tile_columns < 256:
        tile_columns //= 2
    return tile_columns, chunk, 4


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
    tile_columns, chunk, warps = tile or tile_for(columns, depth, 2 if kind == GATE_UP else 1)
    chunks = triton.cdiv(depth, chunk)
    use = use_pdl(pdl)
    _row[(triton.cdiv(columns, tile_columns),)](
        x, delta, norm_weight, eps, weight, out if bias is None else bias, out if residual is None else residual,
        out, total, alpha, beta, columns, depth, kind, bias is not None, residual is not None,
        tile_columns, chunk, chunks, min(chunks, PREFETCH // chunk), triton.next_power_of_2(depth), use,
        num_warps=warps, **launch_options(use),
    )  # fmt: skip


@triton.jit
def _row(
    x, delta, norm_weight, eps, weight, bias, residual, out, total, alpha, beta,
    columns: tl.constexpr, depth: tl.constexpr, kind: tl.constexpr, has_bias: tl.constexpr,
    has_residual: tl.constexpr, tile_columns: tl.constexpr, chunk: tl.constexpr, chunks: tl.constexpr,
    prefetched: tl.constexpr, depth_pad: tl.constexpr, pdl: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * tile_columns + tl.arange(0, tile_columns)
    valid = column < columns
    offs = tl.arange(0, chunk)
    start = column.to(tl.int64) * depth
    tiles = ()
    up_tiles = ()
    scales = ()
    for i in tl.static_range(prefetched):
        if kind != 0:
            scales += (tl.load(norm_weight + i * chunk + offs, i * chunk + offs < depth, 0.0),)
        tiles += (_tile(weight, start, valid, i * chunk + offs, depth),)
        if kind == 2:
            up_tiles += (_tile(weight + columns * depth, start, valid, i * chunk + offs, depth),)
    wait_for_previous(pdl)
    inv_rms = 1.0
    if kind != 0:
        inv_rms = _add_inv_rms(x, delta, total, alpha, beta, eps, depth, depth_pad)
    sums = tl.zeros([tile_columns], tl.float32)
    ups = tl.zeros([tile_columns], tl.float32)
    for i in tl.static_range(chunks):
        depth_offs = i * chunk + offs
        value = tl.load(x + depth_offs, depth_offs < depth, 0.0)
        normed = value.to(tl.float32)
        if kind != 0:
            delta_value = tl.load(delta + depth_offs, depth_offs < depth, 0.0).to(tl.float32)
            scale = scales[i] if i < prefetched else tl.load(norm_weight + depth_offs, depth_offs < depth, 0.0)
            added = (alpha * normed + beta * delta_value).to(value.dtype).to(tl.float32)
            normed = (added * inv_rms).to(value.dtype).to(tl.float32) * scale.to(tl.float32)
            normed = normed.to(value.dtype).to(tl.float32)
        tile = tiles[i] if i < prefetched else _tile(weight, start, valid, depth_offs, depth)
        sums += tl.sum(tile.to(tl.float32) * normed[None], 1)
        if kind == 2:
            up_weight = weight + columns * depth
            up_tile = up_tiles[i] if i < prefetched else _tile(up_weight, start, valid, depth_offs, depth)
            ups += tl.sum(up_tile.to(tl.float32) * normed[None], 1)
    dtype = out.dtype.element_ty
    if has_bias:
        sums += tl.load(bias + column, valid, 0.0).to(tl.float32)
    if has_residual:
        sums = sums.to(dtype).to(tl.float32) + tl.load(residual + column, valid, 0.0).to(tl.float32)
    if kind == 2:
        gate = sums.to(dtype).to(tl.float32)
        active = (gate * tl.sigmoid(gate)).to(dtype).to(tl.float32)
        sums = active * ups.to(dtype).to(tl.float32)
    tl.store(out + column, sums.to(dtype), valid)


@triton.jit
def _tile(weight, start, valid, offs, depth: tl.constexpr):
    """A tile of the weights."""
    return tl.load(weight + start[:, None] + offs[None], valid[:, None] & (offs < depth)[None], 0.0)


@triton.jit
def _add_inv_rms(x, delta, total, alpha, beta, eps, depth: tl.constexpr, depth_pad: tl.constexpr):
    """The reciprocal root mean square of alpha * x + beta * delta, which the first program also stores."""
    offs = tl.arange(0, depth_pad)
    value = tl.load(x + offs, offs < depth, 0.0)
    delta_value = tl.load(delta + offs, offs < depth, 0.0).to(tl.float32)
    added = (alpha * value.to(tl.float32) + beta * delta_value).to(value.dtype)
    tl.store(total + offs, added, (offs < depth) & (tl.program_id(0) == 0))
    exact = added.to(tl.float32)
    return tl.rsqrt(tl.sum(exact * exact, 0) / depth + eps)
