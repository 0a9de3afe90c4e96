# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Device functions of flash decoding: loading paged keys and values, the online softmax, merging splits."""

import triton
import triton.language as tl

from .pdl import wait_for_previous


@triton.jit
def split_sizes(length, chunk: tl.constexpr, splits, single: tl.constexpr, min_split: tl.constexpr):
    """Tokens per split of a row, a multiple of the chunk, and the number of splits, at least one."""
    size = (length + splits - 1) // splits
    size = tl.maximum((size + chunk - 1) // chunk * chunk, chunk)
    if not single:
        size = tl.maximum(size, (min_split + chunk - 1) // chunk * chunk)
    return size, tl.maximum(tl.cdiv(length, size), 1)


@triton.jit
def attend_tokens(
    q, q_rest, maximum, total, sums, begin, end, keys, values, table, scale, k_block, k_token, v_block, v_token,
    dim: tl.constexpr, main: tl.constexpr, rest: tl.constexpr, rest_pad: tl.constexpr, value_dim: tl.constexpr,
    value_pad: tl.constexpr, block: tl.constexpr, chunk: tl.constexpr,
):  # fmt: skip
    """Add the tokens from `begin` to `end` to the running maximum, total of weights and weighted sums of values."""
    rest_offs = main + tl.arange(0, rest_pad)
    for first in tl.range(begin, end, chunk):
        k_row, v_row, inside = token_offsets(first, end, table, k_block, k_token, v_block, v_token, block, chunk)
        logits = tl.dot(q, load_keys(keys, k_row, inside, main).to(q.dtype), input_precision="ieee")
        if rest > 0:
            k_rest = tl.load(keys + k_row[None] + rest_offs[:, None], inside[None] & (rest_offs < dim)[:, None], 0.0)
            logits = tl.dot(q_rest, k_rest.to(q.dtype), logits, input_precision="ieee")
        v_tile = load_values(values, v_row, inside, value_dim, value_pad)
        maximum, total, sums = accumulate(logits * scale, v_tile.to(q.dtype), inside, maximum, total, sums)
    return maximum, total, sums


@triton.jit
def token_offsets(
    first, end, table, k_block, k_token, v_block, v_token, block: tl.constexpr, chunk: tl.constexpr
):  # fmt: skip
    """Offsets of the keys and of the values of `chunk` tokens from `first` on, and which of them come before `end`."""
    offs = tl.arange(0, chunk)
    inside = first + offs < end
    if block % chunk == 0:  # splits start at multiples of the chunk: one block holds all of it
        block_id = tl.load(table + first // block).to(tl.int64)
        in_block = first % block + offs
    else:
        block_id = tl.load(table + (first + offs) // block, inside, 0).to(tl.int64)
        in_block = (first + offs) % block
    return block_id * k_block + in_block * k_token, block_id * v_block + in_block * v_token, inside


@triton.jit
def load_keys(keys, row, inside, dim: tl.constexpr):
    """Keys of a chunk [dim, chunk]."""
    return tl.load(keys + row[None] + tl.arange(0, dim)[:, None], inside[None], 0.0)


@triton.jit
def load_values(values, row, inside, dim: tl.constexpr, pad: tl.constexpr):
    """Values of a chunk [chunk, dim]."""
    offs = tl.arange(0, pad)
    return tl.load(values + row[:, None] + offs[None], inside[:, None] & (offs < dim)[None], 0.0)


@triton.jit
def accumulate(logits, values, inside, maximum, total, sums):
    """One step of the online softmax: logits [heads, chunk] in powers of two, values [chunk, dim]."""
    logits = tl.where(inside[None], logits, float("-inf"))
    new_maximum = tl.maximum(maximum, tl.max(logits, 1))
    probs = tl.exp2(logits - new_maximum[:, None])
    decay = tl.exp2(maximum - new_maximum)
    total = total * decay + tl.sum(probs, 1)
    sums = tl.dot(probs.to(values.dtype), values, sums * decay[:, None], input_precision="ieee")
    return new_maximum, total, sums


@triton.jit
def store_split(
    maximum, total, sums, head, is_head, out, partials, log_sums, splits, value_dim: tl.constexpr,
    value_pad: tl.constexpr, single: tl.constexpr,
):  # fmt: skip
    """Store the result of a single split, or that of one of several for the kernel that merges them."""
    offs = tl.arange(0, value_pad)
    mask = is_head[:, None] & (offs < value_dim)[None]
    result = sums / tl.maximum(total, 1e-30)[:, None]
    if single:
        tl.store(out + head[:, None] * value_dim + offs[None], result.to(out.dtype.element_ty), mask)
    else:
        split = tl.program_id(1)
        tl.store(partials + (head[:, None] * splits + split) * value_dim + offs[None], result, mask)
        log_sum = tl.maximum(maximum, -1e30) + tl.log2(tl.maximum(total, 1e-30))  # finite without any token
        tl.store(log_sums + head * splits + split, log_sum, is_head)


@triton.jit(do_not_specialize=["splits"])
def merge_splits(
    partials, log_sums, lengths, out, heads: tl.constexpr, value_dim: tl.constexpr, tile: tl.constexpr,
    batch: tl.constexpr, chunk: tl.constexpr, min_split: tl.constexpr, pdl: tl.constexpr, splits,
):  # fmt: skip
    """Merge the splits, one program per head."""
    head = tl.program_id(0).to(tl.int64)
    offs = tl.program_id(1) * tile + tl.arange(0, tile)
    wait_for_previous(pdl)
    used = split_sizes(tl.load(lengths + head // heads), chunk, splits, False, min_split)[1]
    maximum = tl.full([], float("-inf"), tl.float32)
    total = tl.zeros([], tl.float32)
    sums = tl.zeros([tile], tl.float32)
    for first in tl.range(0, used, batch):
        split = first + tl.arange(0, batch)
        valid = split < used
        log_sum = tl.load(log_sums + head * splits + split, valid, float("-inf"))
        partial = tl.load(
            partials + (head * splits + split[:, None]) * value_dim + offs[None],
            valid[:, None] & (offs < value_dim)[None], 0.0,
        )  # fmt: skip
        new_maximum = tl.maximum(maximum, tl.max(log_sum, 0))
        decay = tl.exp2(maximum - new_maximum)
        factor = tl.exp2(log_sum - new_maximum)
        total = total * decay + tl.sum(factor, 0)
        sums = sums * decay + tl.sum(partial * factor[:, None], 0)
        maximum = new_maximum
    tl.store(out + head * value_dim + offs, (sums / total).to(out.dtype.element_ty), offs < value_dim)
