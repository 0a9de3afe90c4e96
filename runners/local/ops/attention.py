"""Causal softmax attention of several query tokens per sequence, where prefill spends most of its time.

On a GPU the products are cuDNN's or FlashAttention's through PyTorch. A chunk of a prompt attends to the tokens before
it in full and to itself causally; the two are merged by their log-sums (arXiv 2112.05682), so that no mask is built.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

LONG = 1024
"""Minimum number of tokens at which a sequence gets a kernel call of its own."""
MASKED = 512
"""Queries per call where a mask has to be built."""


class PackedSequences(NamedTuple):
    """Several short sequences end to end: their `tokens` in the flat batch and the cache `slots` of their keys.

    query_starts and key_starts [sequences + 1] int32, as FlashAttention's cu_seqlens; max_queries and max_keys bound
    the lengths.
    """

    tokens: Tensor
    slots: Tensor
    query_starts: Tensor
    key_starts: Tensor
    max_queries: int
    max_keys: int


def attend(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Causal attention of a sequence's last queries [count, heads, dim]: [count, heads, value dim].

    keys [length, kv_heads, dim] and values [length, kv_heads, value dim], those of this step last.
    """
    count, length = len(queries), len(keys)
    q, k, v = (x.transpose(0, 1)[None] for x in (queries, keys, values))
    if count in (1, length):
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=count > 1, scale=scale, enable_gqa=True)
    elif can_pack(queries, values.shape[-1]):
        out = _merged(q, k, v, length - count, scale)
    else:
        out = torch.cat([_masked(q, k, v, begin, scale) for begin in range(0, count, MASKED)], 2)
    return out[0].transpose(0, 1)


def attend_packed(queries: Tensor, keys: Tensor, values: Tensor, packed: PackedSequences, scale: float) -> Tensor:
    """`attend` for packed sequences in one call; queries [packed tokens, heads, dim], keys and values by cache slot."""
    out: Tensor = torch.ops.aten._flash_attention_forward(
        queries,
        keys[packed.slots],
        values[packed.slots],
        packed.query_starts,
        packed.key_starts,
        packed.max_queries,
        packed.max_keys,
        0.0,
        True,
        False,
        scale=scale,
    )[0]
    return out


def can_pack(queries: Tensor, value_dim: int) -> bool:
    """Whether FlashAttention in PyTorch supports such heads."""
    dim, half = queries.shape[-1], queries.dtype in (torch.bfloat16, torch.float16)
    return queries.is_cuda and half and dim == value_dim and dim <= 256 and dim % 8 == 0


def _masked(q: Tensor, k: Tensor, v: Tensor, begin: int, scale: float) -> Tensor:
    """Attention of MASKED queries from `begin` on, under a mask."""
    count, length = q.shape[2], k.shape[2]
    end = min(begin + MASKED, count)
    ones = torch.ones(end - begin, length, dtype=torch.bool, device=q.device)
    mask = ones.tril(length - count + begin)
    return functional.scaled_dot_product_attention(
        q[:, :, begin:end], k, v, attn_mask=mask, scale=scale, enable_gqa=True
    )


def _merged(q: Tensor, k: Tensor, v: Tensor, prefix: int, scale: float) -> Tensor:
    """Attention to the first `prefix` keys and, causally, to the rest."""
    past, past_sum = _with_log_sum(q, k[:, :, :prefix], v[:, :, :prefix], scale, causal=False)
    chunk, chunk_sum = _with_log_sum(q, k[:, :, prefix:], v[:, :, prefix:], scale, causal=True)
    share = torch.sigmoid(past_sum - chunk_sum)[..., None]
    return torch.lerp(chunk.float(), past.float(), share).to(q.dtype)


def _with_log_sum(q: Tensor, k: Tensor, v: Tensor, scale: float, *, causal: bool) -> tuple[Tensor, Tensor]:
    """Attention [1, heads, count, dim] and its log-sum-exp [1, heads, count]; cuDNN is faster for many queries."""
    aten = torch.ops.aten
    if q.shape[2] >= LONG and q.shape[-1] <= 128:
        out = aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal, False, scale=scale)
    else:
        out = aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False, scale=scale)
    return out[0], out[1].reshape(q.shape[:3])
