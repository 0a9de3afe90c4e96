"""Times of the dense kernels, see kernels.py."""

from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu.board import (
    DIM,
    EPS,
    FFN,
    FP32,
    HEADS,
    KV_HEADS,
    LAYERS,
    QKV,
    VOCAB,
    WIDTH,
    Board,
    last_slots,
    normal,
    paged_cache,
    part,
    relative_error,
    rotary,
    weights,
)


class Layer:
    """The weights and the cache of one layer."""

    def __init__(self, tokens: int = 512, block: int = 64) -> None:
        self.qkv, self.o = weights(QKV, WIDTH), weights(WIDTH, HEADS * DIM)
        self.gate_up, self.down = weights(2 * FFN, WIDTH), weights(WIDTH, FFN)
        self.norms = [normal(WIDTH) for _ in range(2)]
        self.qk_norm = part("ops.layout").QKNorm(normal(DIM), normal(DIM), EPS)
        self.cache, self.tables = paged_cache(1, tokens, block)

    def bytes(self) -> int:
        """Bytes of the matrices."""
        return sum(2 * matrix.numel() for matrix in (self.qkv, self.o, self.gate_up, self.down))


class Model:
    """All layers, the head and the inputs of one sequence at its 300th token."""

    def __init__(self) -> None:
        self.layers = [Layer() for _ in range(LAYERS)]
        for layer in self.layers:  # a sequence has the same blocks in all layers
            layer.tables = self.layers[0].tables
        self.head, self.norm = weights(VOCAB, WIDTH), normal(WIDTH)
        self.frequencies = 1e6 ** -(torch.arange(0, DIM, 2, device="cuda") / DIM)
        self.ints = torch.zeros(5, 2, dtype=torch.int64, device="cuda")
        self.ints[1] = 299
        self.row = torch.zeros(1, dtype=torch.int64, device="cuda")

    def bytes(self) -> int:
        """Bytes of the matrices."""
        return 2 * self.head.numel() + sum(layer.bytes() for layer in self.layers)

    def forward(self, x: Tensor, angles: Any, slots: Tensor, lengths: Tensor) -> Tensor:
        """One token through the layers, with the launches of the runner."""
        gemv, paged = part("ops.gemv"), part("ops.paged")
        delta = x
        for layer in self.layers:
            qkv, x = gemv.norm_linear(x, delta, layer.norms[0], EPS, layer.qkv)
            tables = layer.tables._replace(lengths=lengths)
            a = paged.rope_and_attend(qkv, HEADS, angles, layer.cache, slots, tables, layer.qk_norm, DIM**-0.5)
            o = gemv.linear(a.view(1, -1), layer.o)
            h, x = gemv.norm_gate_up(x, o, layer.norms[1], EPS, layer.gate_up)
            delta = gemv.linear(h, layer.down)
        return x + delta

    def step(self) -> Tensor:
        """The next token; the sequence does not advance."""
        steps, sample = part("ops.slot_mapping"), part("ops.sample")
        ids, positions, _, mapping = steps.load_step_inputs(self.ints, self.layers[0].tables.tables, self.row, 64)
        hidden = self.forward(self.head[ids], part("ops.rope").cos_sin(positions, self.frequencies), *mapping)
        scores = part("ops.gemv").head(part("ops.norm").rms_norm(hidden, self.norm, EPS), self.head)
        token: Tensor = sample.argmax(scores)
        steps.store_step_outputs(self.ints, self.row, token, 1, 0)
        return token


VARIANTS: dict[str, dict[tuple[str, str], Any]] = {
    "as it is": {},
    "rotated by a kernel of its own": {("ops.paged", "FUSED"): 0},
    "4 columns a program": {("kernels.gemv", "MAX_COLUMNS"): 4},
    "16 columns a program": {("kernels.gemv", "MAX_COLUMNS"): 16},
    "prefetch 2048": {("kernels.gemv", "PREFETCH"): 2048},
    "splits of 128": {("kernels.paged", "SHORT"): 128},
    "no dependent launch": {("kernels.pdl", "enabled"): lambda: False},
}


def time_steps(board: Board) -> None:
    """Layers and whole steps of one sequence, with each variant."""
    model = Model()
    slots = model.layers[0].tables.tables[0, 4:5].long() * 64 + 43
    lengths = torch.full((1,), 300, dtype=torch.int32, device="cuda")
    forward = partial(model.forward, normal(1, WIDTH), rotary(1), slots, lengths)
    first: list[Tensor] = []
    for name, changes in VARIANTS.items():
        before = {(where, what): getattr(part(where), what) for where, what in changes}
        for (where, what), value in changes.items():
            setattr(part(where), what, value)
        board.time(f"layer of 28, {name}", [forward], model.layers[0].bytes(), per=LAYERS)
        board.time(f"step of one row, {name}", [model.step], model.bytes())

        def agree() -> None:
            first.append(forward())
            print(f"{'':62s} differs from the first by {relative_error(first[-1], first[0]):.1e}")

        board.attempt(name, agree)
        for (where, what), value in before.items():
            setattr(part(where), what, value)


def time_rope_and_attend(board: Board, rows: int, tokens: int = 320) -> None:
    """One kernel against two."""
    paged, rope = part("kernels.paged"), part("kernels.rope")
    moved = 4 * rows * tokens * KV_HEADS * DIM
    caches = [paged_cache(rows, tokens, 64) for _ in range(max(1, min(28, -(-150_000_000 // moved))))]
    inputs = [(cache, last_slots(tables), tables) for cache, tables in caches]
    qkv, angles, norm = normal(rows, QKV), rotary(rows), part("ops.layout").QKNorm(normal(DIM), normal(DIM), EPS)

    def two(cache: Any, slots: Tensor, tables: Any) -> Tensor:
        queries = rope.rope_and_cache(qkv, HEADS, angles, cache, slots, norm)
        out: Tensor = paged.paged_decode(queries, cache, tables, DIM**-0.5)
        return out

    fused = partial(paged.rope_and_attend, qkv, HEADS, angles)
    name = f"rope and attend, {rows} rows of {tokens}"
    board.time(f"{name}, one kernel", [partial(fused, *x, norm, DIM**-0.5) for x in inputs], moved)
    board.time(f"{name}, two kernels", [partial(two, *x) for x in inputs], moved)


def time_gemv(board: Board, layers: list[Layer], tiles: list[Any]) -> None:
    """Each product on its own, next to cuBLAS."""
    kernel = part("kernels.gemv")
    x, delta = normal(1, WIDTH), normal(1, WIDTH)
    inputs = {"qkv": x, "o": normal(1, HEADS * DIM), "gate_up": x, "down": normal(1, FFN)}
    for name, source in inputs.items():
        matrices = [getattr(layer, name) for layer in layers]
        moved = 2 * matrices[0].numel()
        for tile in tiles:
            if name in {"o", "down"}:
                calls = [partial(kernel.linear, source, matrix, tile=tile) for matrix in matrices]
            else:
                ours = kernel.norm_linear if name == "qkv" else kernel.norm_gate_up
                both = zip(layers, matrices, strict=True)
                calls = [partial(ours, x, delta, layer.norms[0], EPS, matrix, tile=tile) for layer, matrix in both]
            board.time(f"one row: {name}, tile {tile or 'own'}", calls, moved)
        if tiles[0] is None:
            board.time(
                f"one row: {name}, cuBLAS alone", [partial(functional.linear, source, m) for m in matrices], moved
            )


def time_head(board: Board, tiles: list[Any]) -> None:
    """The language-model head."""
    weight, x = weights(VOCAB, WIDTH), normal(1, WIDTH)
    for tile in tiles:
        calls = [partial(part("kernels.gemv").head, x, weight, tile=tile)] * 4
        board.time(f"head of one row, tile {tile or 'own'}", calls, 2 * weight.numel())
    calls = [partial(torch.mm, x, weight.t(), out_dtype=FP32)] * 4
    board.time("head of one row, cuBLAS", calls, 2 * weight.numel())


def time_paged(board: Board, rows: int, tokens: int, block: int, tiles: list[Any], splits: list[Any]) -> None:
    """Attention over caches that the L2 does not hold."""
    kernel = part("kernels.paged")
    moved = 4 * rows * tokens * KV_HEADS * DIM
    caches = [paged_cache(rows, tokens, block) for _ in range(max(1, min(28, -(-150_000_000 // moved))))]
    queries = normal(rows, HEADS, DIM)
    for tile, split in product(tiles, splits):
        call = partial(kernel.paged_decode, queries, scale=DIM**-0.5, tile=tile, splits=split)
        calls = [partial(call, *cache) for cache in caches]
        name = f"paged {rows} rows of {tokens} in {block}s, tile {tile or 'own'}, splits {split or 'own'}"
        board.time(name, calls, moved)


def time_argmax(board: Board, rows: int, chunks: list[int | None]) -> None:
    """The maximum of a row."""
    scores = [normal(rows, VOCAB, dtype=FP32) for _ in range(max(1, 100 // rows))]
    for chunk in chunks:
        calls = [partial(part("kernels.sample").argmax, rows_, chunk=chunk) for rows_ in scores]
        board.time(f"argmax of {rows} rows, chunks of {chunk or 'own'}", calls, 4 * scores[0].numel())


def time_sample(board: Board, rows: int, chunks: list[tuple[int, int]]) -> None:
    """Sampling with each kind of filter."""
    kernel = part("kernels.sample")
    scores = normal(rows, VOCAB, dtype=FP32, scale=3.0)
    ones = torch.ones(rows, device="cuda")
    zeros = torch.zeros(rows, dtype=torch.int32, device="cuda")
    seeds = torch.arange(rows, device="cuda")
    kinds = {
        "no filter": (ones, ones, zeros, 0 * ones),
        "top_p": (ones, 0.95 * ones, zeros, 0 * ones),
        "top_k and top_p": (ones, 0.95 * ones, zeros + 20, 0 * ones),
    }
    for (name, settings), (chunk, warps) in product(kinds.items(), chunks):
        call = partial(kernel.sample, scores, *settings, seeds, seeds, chunk=chunk, warps=warps)
        board.time(f"sample {rows} rows, {name}, chunks of {chunk}, {warps} warps", [call] * 4, 4 * scores.numel())


def time_prefill(board: Board, tokens: int = 32768) -> None:
    """Norms, the activation and the rotation for a long prompt."""
    norms, rope = part("kernels.norm"), part("kernels.rope")
    for width in (1024, 4096):
        x, other, scale = normal(tokens, width), normal(tokens, width), normal(width)
        size = 2 * x.numel()
        name = f"prefill {tokens}x{width} "
        board.time(name + "rms_norm", [partial(norms.rms_norm, x, scale, EPS)], 2 * size)
        board.time(name + "add_norm", [partial(norms.add_norm, x, other, scale, EPS)], 4 * size)
        board.time(name + "gated_norm", [partial(norms.gated_norm, x, other, scale, EPS)], 3 * size)
    both = normal(tokens, 2 * FFN)
    for block in (1024, 512, 2048):
        call = partial(norms.silu_mul, both, block)
        board.time(f"prefill {tokens}x{FFN} silu_mul, block {block}", [call], 3 * both.numel())
    layout = part("ops.layout")
    qkv, slots = normal(tokens, QKV), torch.arange(tokens, device="cuda")
    cache = layout.PagedCache(*(normal(tokens // 256, 256, KV_HEADS, DIM) for _ in range(2)))
    norm = layout.QKNorm(normal(DIM), normal(DIM), EPS)
    for tile in (16, 8, 32):
        call = partial(rope.rope_and_cache, qkv, HEADS, rotary(tokens), cache, slots, norm, tile=tile)
        board.time(f"prefill {tokens} rope_and_cache, {tile} heads a program", [call], 4 * qkv.numel())
