"""Lightning attention: linear attention with a fixed decay for each head (MiniMax-01, arXiv 2501.08313; 2405.17381).

For each head with slope s, in fp32: KV_t = e^{-s} KV_{t-1} + k_t^T v_t and o_t = q_t KV_t. Decays are only ever
e^{-s n} with n >= 0, so nothing overflows however steep the slope or long the sequence.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from . import accelerated
from .layout import StateSpan

BLOCK = 256


@accelerated
def lightning_prefill(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, spans: Sequence[StateSpan]
) -> Tensor:
    """Outputs [T, heads, dim] of many tokens per sequence; states are updated in place.

    q, k, v [T, heads, dim], strided views allowed if the last dimension is contiguous; slopes [heads] fp32; states
    [slots, heads, dim, dim] fp32, keys by values; no slot in two spans. Tokens outside the spans give zeros.

    Blocks of tokens as matrix products in fp32, with the state between them.
    """
    out = torch.zeros(q.shape, dtype=q.dtype, device=q.device)
    longest = min(BLOCK, max((end - begin for begin, end, _ in spans), default=1))
    steps = torch.arange(longest + 1, device=q.device)
    powers = (-slopes[:, None] * steps).exp()
    within = powers[:, (steps[:-1, None] - steps[:-1]).clamp_(min=0)].tril()
    for begin, end, slot in spans:
        for t in range(begin, end, BLOCK):
            block = slice(t, min(t + BLOCK, end))
            queries, keys, values = (x[block].transpose(0, 1).float() for x in (q, k, v))
            out[block] = _block(queries, keys, values, powers, within, states[slot]).transpose(0, 1)
    return out


def _block(q: Tensor, k: Tensor, v: Tensor, powers: Tensor, within: Tensor, state: Tensor) -> Tensor:
    """Outputs of one block, all [heads, tokens, dim]; powers[h, n] = e^{-s n}, within[h, i, j] = e^{-s (i - j)}."""
    count = q.shape[1]
    scores = (q @ k.mT).mul_(within[:, :count, :count])
    out = (q @ state).mul_(powers[:, 1 : count + 1, None]).baddbmm_(scores, v)
    decays = powers[:, :count].flip(1)[..., None]
    state.mul_(powers[:, count, None, None]).baddbmm_((k * decays).mT, v)
    return out


@accelerated
def lightning_decode(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, states: Tensor, slots: Tensor) -> Tensor:
    """Outputs [rows, heads, dim] of one token per sequence; slots [rows] int64 index their states."""
    state = states[slots].mul_((-slopes).exp()[:, None, None])
    state += k.float()[..., :, None] * v.float()[..., None, :]
    states[slots] = state
    return (q.float()[..., None, :] @ state).squeeze(-2).to(q.dtype)
