"""Causal softmax attention of several given tokens per sequence: what reading a prompt spends its time on.

On a GPU the products are cuDNN's or FlashAttention's through PyTorch. A piece of a prompt attends to what came before
it in full and to itself causally; the two are joined by their log-sums (arXiv 2112.05682), so that no mask is built.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

LONG = 1024
"""From so many tokens on a sequence gets a kernel of its own."""
MASKED = 512
"""Queries at once where a mask has to be built."""


class Span(NamedTuple):
    """A sequence's keys [length, kv_heads, dim] and values [length, kv_heads, value dim], those of this step last."""

    keys: Tensor
    values: Tensor


class Pack(NamedTuple):
    """Many short sequences end to end: `tokens` are theirs in the flat batch, `kept` the places of their keys in pools.

    counts and lengths [sequences + 1] int32: where each one's tokens and keys begin; `most` and `longest` bound them.
    """

    tokens: Tensor
    kept: Tensor
    counts: Tensor
    lengths: Tensor
    most: int
    longest: int


def attend(queries: Tensor, span: Span, scale: float) -> Tensor:
    """Causal attention of one sequence's queries [count, heads, dim], its last ones: [count, heads, value dim]."""
    count, length = len(queries), len(span.keys)
    q, k, v = (x.transpose(0, 1)[None] for x in (queries, span.keys, span.values))
    if count in (1, length):
        found = functional.scaled_dot_product_attention(q, k, v, is_causal=count > 1, scale=scale, enable_gqa=True)
    elif packable(queries, span.values.shape[-1]):
        found = _joined(q, k, v, length - count, scale)
    else:
        found = torch.cat([_masked(q, k, v, begin, scale) for begin in range(0, count, MASKED)], 2)
    return found[0].transpose(0, 1)


def attend_packed(queries: Tensor, keys: Tensor, values: Tensor, pack: Pack, scale: float) -> Tensor:
    """The same for all of a pack in one call; queries [pack's tokens, heads, dim], keys and values pools by token."""
    found: Tensor = torch.ops.aten._flash_attention_forward(
        queries,
        keys[pack.kept],
        values[pack.kept],
        pack.counts,
        pack.lengths,
        pack.most,
        pack.longest,
        0.0,
        True,
        False,
        scale=scale,
    )[0]
    return found


def packable(queries: Tensor, value_dim: int) -> bool:
    """Whether FlashAttention in PyTorch takes such heads."""
    dim, half = queries.shape[-1], queries.dtype in (torch.bfloat16, torch.float16)
    return queries.is_cuda and half and dim == value_dim and dim <= 256 and dim % 8 == 0


def _masked(q: Tensor, k: Tensor, v: Tensor, begin: int, scale: float) -> Tensor:
    """Attention of some of the queries, under a mask."""
    count, length = q.shape[2], k.shape[2]
    end = min(begin + MASKED, count)
    ones = torch.ones(end - begin, length, dtype=torch.bool, device=q.device)
    mask = ones.tril(length - count + begin)
    return functional.scaled_dot_product_attention(
        q[:, :, begin:end], k, v, attn_mask=mask, scale=scale, enable_gqa=True
    )


def _joined(q: Tensor, k: Tensor, v: Tensor, before: int, scale: float) -> Tensor:
    """Attention to the first `before` keys and, causally, to the rest."""
    past, past_sum = _part(q, k[:, :, :before], v[:, :, :before], scale, causal=False)
    own, own_sum = _part(q, k[:, :, before:], v[:, :, before:], scale, causal=True)
    share = torch.sigmoid(past_sum - own_sum)[..., None]
    return torch.lerp(own.float(), past.float(), share).to(q.dtype)


def _part(q: Tensor, k: Tensor, v: Tensor, scale: float, *, causal: bool) -> tuple[Tensor, Tensor]:
    """Attention [1, heads, count, dim] and the log of its sums [1, heads, count]; for long ones cuDNN's is quicker."""
    if q.shape[2] >= LONG and q.shape[-1] <= 128:
        found = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal, False, scale=scale)
    else:
        found = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False, scale=scale)
    return found[0], found[1].reshape(q.shape[:3])
