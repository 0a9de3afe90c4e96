"""Experts of a mixture, small MLPs of which each token uses a few: tokens are sorted by expert, one product per expert.

On a GPU a few tokens have kernels of their own. For many the products are torch's grouped ones, which read the
boundaries between experts on the device: nothing waits for the host. Sums are taken per token in the order of its
experts, so results are deterministic.
"""

from contextvars import ContextVar

import torch
from torch import Tensor
from torch.nn import functional

from . import accelerated, use_kernels
from .norm import silu_mul

ALIGNED = 8
"""Widths in bf16 must be a multiple of it: grouped products need rows that start at 16 bytes."""
FEW = 128
"""Up to this many (token, expert) pairs the kernels read the weights faster than grouped products."""

SEPARATE: ContextVar[bool] = ContextVar("SEPARATE", default=False)
"""Whether a token's sum must not depend, by a rounding, on how many other tokens use the same experts."""


def _groupable(x: Tensor, gate_up: Tensor, down: Tensor) -> bool:
    return x.dtype == torch.bfloat16 and not (gate_up.shape[2] % ALIGNED or down.shape[2] % ALIGNED)


def _are_few(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, ids: Tensor, *, foreign: bool = False) -> bool:
    return ids.numel() <= FEW and _groupable(x, gate_up, down)


@accelerated(when=_are_few)
def experts(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, ids: Tensor, *, foreign: bool = False) -> Tensor:
    """The weighted sum of each token's experts, SwiGLU each.

    x [T, W], gate_up [E, 2F, W], down [E, W, F], weights [T, k] fp32, ids [T, k] int64; [T, W] out. `foreign`: ids
    outside 0 to E - 1 may occur, which are experts of other ranks and contribute zero.
    """
    groupable = _groupable(x, gate_up, down)
    if groupable and use_kernels(x):
        return sorted_by_kernels(x, gate_up, down, weights, ids)
    local_ids = ids.flatten()
    if foreign:
        local_ids = local_ids.where((local_ids >= 0) & (local_ids < len(down)), len(down))
    if groupable and x.is_cuda:
        return grouped(x, gate_up, down, weights, local_ids, foreign=foreign)
    separate = SEPARATE.get()
    if x.is_cuda and (separate or torch.cuda.is_current_stream_capturing()):
        return dense(x, gate_up, down, weights, local_ids)
    if separate:
        return token_by_token(x, gate_up, down, weights, local_ids)
    return expert_by_expert(x, gate_up, down, weights, local_ids)


def expert_by_expert(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, local_ids: Tensor) -> Tensor:
    """A loop over the experts in use, for any device and dtype; local_ids [T * k], E for experts of other ranks."""
    order = local_ids.argsort(stable=True)
    counts = local_ids.bincount(minlength=len(down) + 1)[: len(down)].tolist()
    sorted_weights = weights.flatten()[order]
    tokens = order // weights.shape[1]
    out = torch.zeros_like(x)
    begin = 0
    for expert, count in enumerate(counts):
        if count:
            span = slice(begin, begin + count)
            inner = silu_mul(functional.linear(x[tokens[span]], gate_up[expert]))
            weighted = functional.linear(inner, down[expert]) * sorted_weights[span, None]
            out.index_add_(0, tokens[span], weighted.to(x.dtype))
        begin += count
    return out


def token_by_token(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, local_ids: Tensor) -> Tensor:
    """`expert_by_expert` with one row per product: libraries choose products, and so roundings, by the row count."""
    out = torch.zeros_like(x)
    for token, (ids, token_weights) in enumerate(
        zip(local_ids.view_as(weights).tolist(), weights.tolist(), strict=True)
    ):
        row = x[token : token + 1].clone()  # the same alignment wherever it lies in the batch
        for expert, weight in sorted(zip(ids, token_weights, strict=True)):
            if expert < len(down):
                inner = silu_mul(functional.linear(row, gate_up[expert]))
                out[token] += (functional.linear(inner, down[expert])[0] * weight).to(x.dtype)
    return out


def dense(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, local_ids: Tensor) -> Tensor:
    """All experts for all tokens, most of them weighted zero: slow, for CUDA graphs of dtypes without grouping."""
    scattered = weights.new_zeros(len(x), len(down) + 1).scatter_(1, local_ids.view_as(weights), weights)[:, :-1]
    inner = silu_mul((x @ gate_up.transpose(1, 2)).flatten(0, 1)).view(len(down), len(x), -1)
    return ((inner * scattered.t()[..., None]).to(x.dtype) @ down.transpose(1, 2)).sum(0)


def sorted_by_kernels(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
    """All experts in two products, sorted and summed by kernels; experts of other ranks are never computed or read."""
    from ..kernels import experts as kernel

    places, ends = kernel.sort_by_expert(ids, len(down))
    inner = silu_mul(functional.grouped_mm(kernel.permute(x, places), gate_up.transpose(1, 2), offs=ends))
    return kernel.unpermute(functional.grouped_mm(inner, down.transpose(1, 2), offs=ends), weights, places)


def grouped(x: Tensor, gate_up: Tensor, down: Tensor, weights: Tensor, local_ids: Tensor, *, foreign: bool) -> Tensor:
    """All experts in two products, in PyTorch alone."""
    top_k = weights.shape[1]
    sorted_ids, order = local_ids.sort(stable=True)
    expert_ids = torch.arange(len(down), device=x.device)
    ends = torch.searchsorted(sorted_ids, expert_ids, right=True, out_int32=True)
    inner = silu_mul(functional.grouped_mm(x[order // top_k], gate_up.transpose(1, 2), offs=ends))
    inner *= weights.flatten()[order, None]  # in fp32, rounded once: as good as weighting the outputs, and smaller
    outputs = functional.grouped_mm(inner, down.transpose(1, 2), offs=ends)
    places = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    outputs = outputs[places]
    if foreign:  # rows that no group covers are not computed, and may hold anything
        outputs = outputs.masked_fill((local_ids == len(down))[:, None], 0)
    return outputs.view(len(x), top_k, -1).sum(1)
