"""Many small MLPs, of which each token goes through a few: the tokens are sorted by expert, each expert sees its own.

On a GPU a few tokens go through kernels of their own. For many the products are torch's grouped ones, which read the
borders between experts on the device: nothing waits for the host. Sums are taken per token in the order of its experts,
so results do not depend on chance.
"""

from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn import functional

from . import kernels
from .norm import silu_mul

ALIGNED = 8
"""Widths in bf16 must be a multiple of it: grouped products want rows that begin at 16 bytes."""
FEW = 128
"""Up to so many chosen experts, of all tokens together, the kernels read the weights faster than grouped products."""

SEPARATE: ContextVar[bool] = ContextVar("SEPARATE", default=False)
"""Whether a token's sum must not depend, by a rounding, on how many other tokens go through the same experts."""


def experts(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, ids: Tensor, *, foreign: bool = False) -> Tensor:
    """The weighted sum of each token's experts, SwiGLU each.

    x [T, W], gate_up [E, 2F, W], down [E, W, F], weights [T, k] fp32, ids [T, k] int64; [T, W] out. `foreign`: ids
    outside of 0 to E - 1 may occur, which are experts of other ranks and contribute zero.
    """
    groupable = x.dtype == torch.bfloat16 and not (gate_up.shape[2] % ALIGNED or down.shape[2] % ALIGNED)
    if groupable and kernels(x):
        if ids.numel() > FEW:
            return arranged(x, gate_up, down, weights, ids)
        from ..kernels.experts import few

        return few(x, gate_up, down, weights, ids)
    own = ids.flatten()
    if foreign:
        own = own.where((own >= 0) & (own < len(down)), len(down))
    if groupable and x.is_cuda:
        return grouped(x, gate_up, down, weights, own, foreign=foreign)
    separate = SEPARATE.get()
    if x.is_cuda and (separate or torch.cuda.is_current_stream_capturing()):
        return everywhere(x, gate_up, down, weights, own)
    if separate:
        return token_by_token(x, gate_up, down, weights, own)
    return one_by_one(x, gate_up, down, weights, own)


def one_by_one(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, own: Tensor) -> Tensor:
    """The reference, for any device and dtype: a loop over the experts in use; `own` [T * k], E for a foreign one."""
    order = own.argsort(stable=True)
    counts = own.bincount(minlength=len(down) + 1)[: len(down)].tolist()
    share = weights.flatten()[order]
    tokens = order // weights.shape[1]
    out = torch.zeros_like(x)
    begin = 0
    for expert, count in enumerate(counts):
        if count:
            mine = slice(begin, begin + count)
            inner = silu_mul(functional.linear(x[tokens[mine]], gate_up[expert]))
            seen = functional.linear(inner, down[expert]) * share[mine, None]
            out.index_add_(0, tokens[mine], seen.to(x.dtype))
        begin += count
    return out


def token_by_token(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, own: Tensor) -> Tensor:
    """As `one_by_one`, but every product has one row: libraries choose products, and so roundings, by their number."""
    out = torch.zeros_like(x)
    for token, (chosen, shares) in enumerate(zip(own.view_as(weights).tolist(), weights.tolist(), strict=True)):
        row = x[token : token + 1].clone()  # aligned alike wherever it stands in the batch
        for expert, share in sorted(zip(chosen, shares, strict=True)):
            if expert < len(down):
                inner = silu_mul(functional.linear(row, gate_up[expert]))
                out[token] += (functional.linear(inner, down[expert])[0] * share).to(x.dtype)
    return out


def everywhere(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, own: Tensor) -> Tensor:
    """All experts for all tokens, most of them weighted zero: dear, but for CUDA graphs of dtypes without grouping."""
    share = weights.new_zeros(len(x), len(down) + 1).scatter_(1, own.view_as(weights), weights)[:, :-1]
    inner = silu_mul((x @ gate_up.transpose(1, 2)).flatten(0, 1)).view(len(down), len(x), -1)
    return ((inner * share.t()[..., None]).to(x.dtype) @ down.transpose(1, 2)).sum(0)


def arranged(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
    """All experts in two products, sorted and summed by kernels; experts of other ranks are never computed or read."""
    from ..kernels import experts as kernel

    back, ends = kernel.arrange(ids, len(down))
    inner = silu_mul(functional.grouped_mm(kernel.spread(x, back), gate_up.transpose(1, 2), offs=ends))
    return kernel.combine(functional.grouped_mm(inner, down.transpose(1, 2), offs=ends), weights, back)


def grouped(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, own: Tensor, *, foreign: bool) -> Tensor:
    """All experts in two products, in PyTorch alone."""
    chosen = weights.shape[1]
    ranked, order = own.sort(stable=True)
    experts_ = torch.arange(len(down), device=x.device)
    ends = torch.searchsorted(ranked, experts_, right=True, out_int32=True)
    inner = silu_mul(functional.grouped_mm(x[order // chosen], gate_up.transpose(1, 2), offs=ends))
    inner *= weights.flatten()[order, None]  # in fp32, rounded once: as good as weighting the outputs, and smaller
    seen = functional.grouped_mm(inner, down.transpose(1, 2), offs=ends)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    seen = seen[back]
    if foreign:  # rows that no group covers are not computed, and may hold anything
        seen = seen.masked_fill((own == len(down))[:, None], 0)
    return seen.view(len(x), chosen, -1).sum(1)
