"""Sampling the next token of every row, with filters, in one call that never waits for the device.

A token is kept when fewer than `top_k` tokens have a higher probability; of those, when the tokens above it hold less
than `top_p` of the remaining mass; and when its probability is at least `min_p` times the maximum. So ties are kept or
dropped together. The sample is the inverse of the cumulative distribution of the kept tokens, in the order of their
ids, at a random number that depends only on the seed and the index of the token, not on the rest of the batch.
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import accelerated
from .layout import GOLDEN, GREEDY, MIX_1, MIX_2

HEAD = 256
"""Top probabilities first searched for the cutoff."""
CHUNK = 256
"""Tokens whose probabilities are summed before the search for the sampled one."""
WORD = 2**64


def uniform(seed: int, index: int) -> float:
    """The random number in [0, 1) for token `index` of a sequence; the same on every machine and device."""
    return (_mix(_mix(seed) ^ (index % WORD)) >> 11) / 2**53


def _mix(word: int) -> int:
    word = (word + GOLDEN) % WORD
    word = (word ^ (word >> 30)) * MIX_1 % WORD
    word = (word ^ (word >> 27)) * MIX_2 % WORD
    return word ^ (word >> 31)


def uniforms(seeds: Tensor, indices: Tensor) -> Tensor:
    """`uniform` of int64 tensors, as fp64."""
    return _unsigned_shift(_mix_tensor(_mix_tensor(seeds) ^ indices), 11).double() / 2**53


def _mix_tensor(word: Tensor) -> Tensor:
    word = word + _signed(GOLDEN)
    word = (word ^ _unsigned_shift(word, 30)) * _signed(MIX_1)
    word = (word ^ _unsigned_shift(word, 27)) * _signed(MIX_2)
    return word ^ _unsigned_shift(word, 31)


def _unsigned_shift(word: Tensor, bits: int) -> Tensor:
    return (word >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - WORD if word >= WORD // 2 else word


@accelerated
def argmax(logits: Tensor) -> Tensor:
    """The tokens that `sample` gives rows of temperature 0: [rows] int64."""
    best, tokens = logits.max(-1)
    return tokens.masked_fill_(~best.isfinite(), -1)


@accelerated
def sample(
    logits: Tensor,
    temperature: Tensor,
    top_p: Tensor,
    top_k: Tensor,
    min_p: Tensor,
    seeds: Tensor,
    indices: Tensor,
) -> Tensor:
    """One token [rows] int64 for each row of fp32 logits [rows, vocab]; -1 for NaN or where no maximum is finite.

    Settings are [rows]: temperature, top_p, min_p fp32, top_k int32 (0 off), seeds and indices int64. A temperature
    below GREEDY or a top_k of 1 takes the most probable token, the lowest id of equals.
    """
    best, tokens = logits.max(-1)
    valid = best.isfinite()
    rows = (valid & (temperature >= GREEDY) & (top_k != 1)).nonzero().squeeze(-1)
    if len(rows):
        filters = temperature[rows], top_p[rows], top_k[rows], min_p[rows]
        tokens[rows] = sample_filtered(logits[rows], *filters, uniforms(seeds[rows], indices[rows]))
    return tokens.masked_fill_(~valid, -1)


def sample_filtered(
    logits: Tensor, temperature: Tensor, top_p: Tensor, top_k: Tensor, min_p: Tensor, uniform: Tensor
) -> Tensor:
    """Tokens [rows] at random numbers [rows] fp64 in [0, 1) of the filtered distributions; no row is greedy."""
    scaled = functional.pad(logits, (0, -logits.shape[-1] % CHUNK), value=-torch.inf).div_(temperature[:, None])
    probs = scaled.sub_(scaled.amax(-1, keepdim=True)).exp_()
    cutoff = cutoffs(probs, top_p, top_k, min_p)
    if cutoff.any():
        probs.masked_fill_(probs < cutoff[:, None], 0)
    chunks = probs.view(len(probs), -1, CHUNK)
    masses = chunks.sum(-1).double()
    chunk, target = _search(masses, uniform[:, None] * masses.sum(-1, keepdim=True))
    inner = chunks.gather(1, chunk[..., None].expand(-1, -1, CHUNK)).squeeze(1).double()
    return (chunk * CHUNK + _search(inner, target)[0]).squeeze(-1)


def _search(masses: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Index where the running sum of masses [rows, n] exceeds the target [rows, 1], at most the last mass above zero.

    Also the rest of the target there.
    """
    sums = masses.cumsum(-1)
    last = torch.searchsorted(sums, sums[:, -1:].contiguous())
    position = torch.minimum(torch.searchsorted(sums, target, right=True), last)
    return position, target - (sums - masses).gather(-1, position)


def cutoffs(probs: Tensor, top_p: Tensor, top_k: Tensor, min_p: Tensor) -> Tensor:
    """The lowest of probs [rows, vocab], scaled so that the maximum is 1, that each row keeps: [rows], 0 for all."""
    rows, vocab = probs.shape
    result = min_p.clone()
    top_k = torch.where((top_k <= 0) | (top_k > vocab), vocab, top_k.long())
    open_rows = ((top_k < vocab) | (top_p < 1)).nonzero().squeeze(-1)
    width = HEAD
    while len(open_rows):
        width = min(width, vocab)
        remaining = probs if len(open_rows) == rows else probs[open_rows]
        k, p = top_k[open_rows, None], top_p[open_rows, None].double()
        total = remaining.sum(-1, keepdim=True, dtype=torch.float64)
        cutoff, certain = _head_cutoff(remaining.topk(width).values, total, vocab, k, p)
        certain |= width == vocab
        done = open_rows[certain]
        result[done] = torch.maximum(result[done], cutoff[certain])
        open_rows = open_rows[~certain]
        width *= 16
    return result


def _head_cutoff(head: Tensor, total: Tensor, vocab: int, top_k: Tensor, top_p: Tensor) -> tuple[Tensor, Tensor]:
    """The cutoff that the sorted head of each row shows [rows], and whether it is certain without seeing more."""
    width = head.shape[-1]
    lowest = head.gather(-1, top_k.clamp(max=width) - 1)  # of top_k
    limited = top_k <= width
    unlimited = top_k >= vocab  # else the mass that top_p takes its share of is not known yet
    within = head >= lowest
    mass = head.double()
    # Tokens that tie with the last of the head may lie beyond it; they have the same cutoff but add mass.
    hidden_ties = limited & (lowest == head[:, -1:])
    total = torch.where(limited, (mass * within).sum(-1, keepdim=True), total)
    mass_above = mass.cumsum(-1) - mass
    # For equal probabilities, the mass above the first of them counts.
    first = torch.searchsorted(-head, -head)
    nucleus = within & (mass_above.gather(-1, first) < top_p * total)
    nucleus[:, 0] = True
    cutoff = head.gather(-1, nucleus.sum(-1, keepdim=True) - 1)
    ended = ~nucleus[:, -1:]
    certain = torch.where(limited, ~hidden_ties | (top_p >= 1), ended & unlimited)
    return cutoff.squeeze(-1), certain.squeeze(-1)
