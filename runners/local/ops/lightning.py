"""Lightning attention: linear attention with a fixed decay for each head (MiniMax-01, arXiv 2501.08313; 2405.17381).

For each head with slope s, in fp32: KV_t = e^{-s} KV_{t-1} + k_t^T v_t and o_t = q_t KV_t. Decays are only ever
e^{-s n} with n >= 0, so nothing overflows however steep the slope or long the sequence.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from . import kernels

BLOCK = 256

Span = tuple[int, int, int]
"""Tokens [begin, end) of the flat batch and the slot of their sequence's state."""


def lightning_prefill(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, spans: Sequence[Span]) -> Tensor:
    """Outputs [T, heads, dim] of many tokens a sequence; states are carried on in place.

    q, k, v [T, heads, dim], strided views allowed if the last dimension is contiguous; slopes [heads] fp32; states
    [slots, heads, dim, dim] fp32, keys by values; no slot in two spans. Tokens in no span give zeros.
    """
    if kernels(q):
        from ..kernels import lightning

        return lightning.lightning_prefill(q, k, v, slopes, states, spans)
    return plain_prefill(q, k, v, slopes, states, spans)


def lightning_decode(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, slots: Tensor) -> Tensor:
    """Outputs [rows, heads, dim] of one token for each sequence; slots [rows] int64 say where their states are."""
    if kernels(q):
        from ..kernels import lightning

        return lightning.lightning_decode(q, k, v, slopes, states, slots)
    return plain_decode(q, k, v, slopes, states, slots)


def plain_prefill(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, spans: Sequence[Span]) -> Tensor:
    """`lightning_prefill` in PyTorch: blocks of tokens as matrix products in fp32, the state between them."""
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    longest = min(BLOCK, max((end - begin for begin, end, _ in spans), default=1))
    steps = torch.arange(longest + 1, device=q.device)
    powers = (-slopes[:, None] * steps).exp()
    within = powers[:, (steps[:-1, None] - steps[:-1]).clamp_(min=0)].tril()
    for begin, end, slot in spans:
        for t in range(begin, end, BLOCK):
            part = slice(t, min(t + BLOCK, end))
            asked, keys, values = (x[part].transpose(0, 1).float() for x in (q, k, v))
            out[part] = _block(asked, keys, values, powers, within, states[slot]).transpose(0, 1)
    return out


def _block(q: Tensor, k: Tensor, v: Tensor, powers: Tensor, within: Tensor, state: Tensor) -> Tensor:
    """Outputs of one block, all [heads, tokens, dim]; powers[h, n] = e^{-s n}, within[h, i, j] = e^{-s (i - j)}."""
    count = q.shape[1]
    scores = (q @ k.mT).mul_(within[:, :count, :count])
    out = (q @ state).mul_(powers[:, 1 : count + 1, None]).baddbmm_(scores, v)
    left = powers[:, :count].flip(1)[..., None]
    state.mul_(powers[:, count, None, None]).baddbmm_((k * left).mT, v)
    return out


def plain_decode(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, slots: Tensor) -> Tensor:
    """`lightning_decode` in PyTorch."""
    state = states[slots].mul_((-slopes).exp()[:, None, None])
    state += k.float()[..., :, None] * v.float()[..., None, :]
    states[slots] = state
    return (q.float()[..., None, :] @ state).squeeze(-2).to(q.dtype)
