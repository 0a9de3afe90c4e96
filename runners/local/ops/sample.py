"""Drawing the next token of every row, with filters, in one call that asks nothing of the device.

A token is kept when fewer than `top_k` tokens are likelier; of those, when the likelier hold less than `top_p` of what
is left; and when its probability is no less than `min_p` times the greatest. So ties stand or fall together. The draw
is the inverse of the cumulative distribution of the kept tokens, in the order of their ids, at a number that depends on
the seed and the index of the token alone: what else is in the batch changes nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import kernels

HEAD = 256
CHUNK = 256
COLD = 1e-5
"""Below this temperature the likeliest token is taken: scores over temperature would overflow."""

WORD = 2**64
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014)."""


def number(seed: int, index: int) -> float:
    """The random number in [0, 1) for token `index` of a sequence; the same on every machine and device."""
    return (_mix(_mix(seed) ^ (index % WORD)) >> 11) / 2**53


def _mix(word: int) -> int:
    word = (word + GOLDEN) % WORD
    word = (word ^ (word >> 30)) * FIRST % WORD
    word = (word ^ (word >> 27)) * SECOND % WORD
    return word ^ (word >> 31)


def numbers(seeds: Tensor, indices: Tensor) -> Tensor:
    """`number` of int64 tensors, as fp64."""
    return _unsigned_shift(_mixed(_mixed(seeds) ^ indices), 11).double() / 2**53


def _mixed(word: Tensor) -> Tensor:
    word = word + _signed(GOLDEN)
    word = (word ^ _unsigned_shift(word, 30)) * _signed(FIRST)
    word = (word ^ _unsigned_shift(word, 27)) * _signed(SECOND)
    return word ^ _unsigned_shift(word, 31)


def _unsigned_shift(word: Tensor, bits: int) -> Tensor:
    return (word >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - WORD if word >= WORD // 2 else word


def argmax(scores: Tensor) -> Tensor:
    """What `sample` gives rows of a temperature of 0."""
    if kernels(scores):
        from ..kernels import sample as kernel

        return kernel.argmax(scores)
    return plain_argmax(scores)


def plain_argmax(scores: Tensor) -> Tensor:
    """`argmax` in PyTorch."""
    best, tokens = scores.max(-1)
    return tokens.masked_fill_(~best.isfinite(), -1)


def sample(
    scores: Tensor,
    temperature: Tensor,
    top_p: Tensor,
    top_k: Tensor,
    min_p: Tensor,
    seeds: Tensor,
    indices: Tensor,
) -> Tensor:
    """One token [rows] int64 for each row of fp32 scores [rows, vocab]; -1 for NaN or where no maximum is finite.

    Settings are [rows]: temperature, top_p, min_p fp32, top_k int32 (0 off), seeds and indices int64. A temperature
    below COLD or a top_k of 1 takes the likeliest token, the lowest id of equals.
    """
    if kernels(scores):
        from ..kernels import sample as kernel

        return kernel.sample(scores, temperature, top_p, top_k, min_p, seeds, indices)
    return plain_sample(scores, temperature, top_p, top_k, min_p, seeds, indices)


def plain_sample(
    scores: Tensor,
    temperature: Tensor,
    top_p: Tensor,
    top_k: Tensor,
    min_p: Tensor,
    seeds: Tensor,
    indices: Tensor,
) -> Tensor:
    """`sample` in PyTorch."""
    best, tokens = scores.max(-1)
    valid = best.isfinite()
    rows = (valid & (temperature >= COLD) & (top_k != 1)).nonzero().squeeze(-1)
    if len(rows):
        filters = temperature[rows], top_p[rows], top_k[rows], min_p[rows]
        tokens[rows] = draw(scores[rows], *filters, numbers(seeds[rows], indices[rows]))
    return tokens.masked_fill_(~valid, -1)


def draw(scores: Tensor, temperature: Tensor, top_p: Tensor, top_k: Tensor, min_p: Tensor, goals: Tensor) -> Tensor:
    """Tokens [rows] at these goals [rows] fp64 in [0, 1) of the filtered distributions; no row is greedy."""
    scaled = functional.pad(scores, (0, -scores.shape[-1] % CHUNK), value=-torch.inf).div_(temperature[:, None])
    chances = scaled.sub_(scaled.amax(-1, keepdim=True)).exp_()
    cut = cutoffs(chances, top_p, top_k, min_p)
    if cut.any():
        chances.masked_fill_(chances < cut[:, None], 0)
    chunks = chances.view(len(chances), -1, CHUNK)
    masses = chunks.sum(-1).double()
    chunk, goal = _reached(masses, goals[:, None] * masses.sum(-1, keepdim=True))
    inner = chunks.gather(1, chunk[..., None].expand(-1, -1, CHUNK)).squeeze(1).double()
    return (chunk * CHUNK + _reached(inner, goal)[0]).squeeze(-1)


def _reached(masses: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Where the running sum of masses [rows, n] passes the goal [rows, 1], at the last mass there is at the latest.

    Also what is left of the goal there.
    """
    sums = masses.cumsum(-1)
    last = torch.searchsorted(sums, sums[:, -1:].contiguous())
    at = torch.minimum(torch.searchsorted(sums, goal, right=True), last)
    return at, goal - (sums - masses).gather(-1, at)


def cutoffs(chances: Tensor, top_p: Tensor, top_k: Tensor, min_p: Tensor) -> Tensor:
    """The least of chances [rows, vocab], which are 1 at the greatest, that each row keeps: [rows], 0 for all."""
    rows, vocab = chances.shape
    cut = min_p.clone()
    top_k = torch.where((top_k <= 0) | (top_k > vocab), vocab, top_k.long())
    open_rows = ((top_k < vocab) | (top_p < 1)).nonzero().squeeze(-1)
    width = HEAD
    while len(open_rows):
        width = min(width, vocab)
        part = chances if len(open_rows) == rows else chances[open_rows]
        k, p = top_k[open_rows, None], top_p[open_rows, None].double()
        whole = part.sum(-1, keepdim=True, dtype=torch.float64)
        found, sure = _head_cutoff(part.topk(width).values, whole, vocab, k, p)
        sure |= width == vocab
        done = open_rows[sure]
        cut[done] = torch.maximum(cut[done], found[sure])
        open_rows = open_rows[~sure]
        width *= 16
    return cut


def _head_cutoff(head: Tensor, whole: Tensor, vocab: int, top_k: Tensor, top_p: Tensor) -> tuple[Tensor, Tensor]:
    """The cutoff that the sorted head of each row shows [rows], and whether it is sure without seeing more."""
    width = head.shape[-1]
    limit = head.gather(-1, top_k.clamp(max=width) - 1)  # of the last of top_k
    limited = top_k <= width
    unlimited = top_k >= vocab  # else the whole, of which top_p takes its share, is not known yet
    within = head >= limit
    mass = head.double()
    # Tokens that tie with the last of the head may stand beyond it; they are the same cutoff but more mass.
    hidden_ties = limited & (limit == head[:, -1:])
    total = torch.where(limited, (mass * within).sum(-1, keepdim=True), whole)
    before = mass.cumsum(-1) - mass
    # Equal chances share what stands before the first of them.
    first = torch.searchsorted(-head, -head)
    kept = within & (before.gather(-1, first) < top_p * total)
    kept[:, 0] = True
    cut = head.gather(-1, kept.sum(-1, keepdim=True) - 1)
    ended = ~kept[:, -1:]
    sure = torch.where(limited, ~hidden_ties | (top_p >= 1), ended & unlimited)
    return cut.squeeze(-1), sure.squeeze(-1)
