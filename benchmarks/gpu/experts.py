"""Check and time the kernels for mixtures of experts. For one CUDA GPU.

    python benchmarks/gpu/experts.py [--seconds 55] [--only WORD]

First each against PyTorch on fresh random data, the memory of its outputs filled with NaN before: errors are relative
Frobenius norms against fp32. Then times of the way in PyTorch (`old`) and of the kernels (`new`): medians of 20 replays
of a CUDA graph of four layers, whose weights together exceed the L2 cache. Last variants of the tiles. What fails
prints its error and the run goes on; what would start after `--seconds` is left out. A table, then one line of JSON.
Before all that, parallel processes compile the kernels, each for a part of the run: one alone takes minutes.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2]))  # the project's root, for a script only its own folder is there

from benchmarks.gpu.board import BF16, FP32, Board, normal, part, poison, relative_error

LAYERS = 4
POISONED_BITS = 27
"""Outputs have up to 2^27 elements."""


class Shape(NamedTuple):
    """A model's experts; `copies` of the weights, `tokens` to try."""

    name: str
    experts: int
    top_k: int
    width: int
    inner: int
    gate: torch.dtype
    copies: int
    tokens: tuple[int, ...]


SHAPES = (
    Shape("M1-mini", 8, 2, 2048, 2048, FP32, 4, (1, 4, 32, 64, 128, 256, 32768)),
    Shape("Qwen3-30B-A3B", 128, 8, 2048, 768, BF16, 1, (1, 4, 16, 32, 256, 32768)),
    Shape("M1", 32, 2, 6144, 9216, FP32, 1, (1, 4, 32, 64, 256, 4096)),
)


class Layer(NamedTuple):
    """One layer's tokens, weights, and what its router chose."""

    x: Tensor
    gate: Tensor
    gate_up: Tensor
    down: Tensor
    weights: Tensor
    ids: Tensor


def stacks(shape: Shape) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Router, gate and up, down; of every layer, though some share theirs."""
    unique = [
        (
            normal(shape.experts, shape.width, dtype=shape.gate, scale=shape.width**-0.5),
            normal(shape.experts, 2 * shape.inner, shape.width, scale=shape.width**-0.5),
            normal(shape.experts, shape.width, shape.inner, scale=shape.inner**-0.5),
        )
        for _ in range(shape.copies)
    ]
    return [unique[i % shape.copies] for i in range(LAYERS)]


def layers(shape: Shape, weights: list[tuple[Tensor, Tensor, Tensor]], tokens: int) -> list[Layer]:
    """Layers whose tokens, and so whose experts, differ; one where tokens are many."""
    result = []
    for gate, gate_up, down in weights[: LAYERS if tokens <= 1024 else 1]:
        x = normal(tokens, shape.width)
        share, ids = reference_route(x, gate, shape.top_k)
        result.append(Layer(x, gate, gate_up, down, share, ids))
    return result


def reference_route(x: Tensor, gate: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The router in PyTorch."""
    scores = part("ops.gemv").head.reference(x, gate).softmax(-1)
    chosen: tuple[Tensor, Tensor] = part("ops.router").choose(scores, None, routing(top_k))
    return chosen


def routing(top_k: int) -> Any:
    """A softmax router of `top_k` experts."""
    return part("ops.layout").Routing(top_k)


def exact(layer: Layer) -> Tensor:
    """The experts in fp32, one after the other; ids out of range are left out."""
    out = torch.zeros(layer.x.shape, device="cuda")
    for expert in range(len(layer.down)):
        token, k = (layer.ids == expert).nonzero(as_tuple=True)
        if len(token):
            gate, up = (layer.x[token].float() @ layer.gate_up[expert].float().t()).chunk(2, -1)
            output = (functional.silu(gate) * up) @ layer.down[expert].float().t()
            out.index_add_(0, token, output * layer.weights[token, k, None])
    return out


def few(layer: Layer, **options: Any) -> Tensor:
    kernel = part("kernels.experts").experts
    out: Tensor = kernel(layer.x, layer.gate_up, layer.down, layer.weights, layer.ids, **options)
    return out


def many(layer: Layer) -> Tensor:
    operation = part("ops.experts").sorted_by_kernels
    out: Tensor = operation(layer.x, layer.gate_up, layer.down, layer.weights, layer.ids)
    return out


def old(layer: Layer) -> Tensor:
    ids = layer.ids.flatten()
    operation = part("ops.experts").grouped
    out: Tensor = operation(layer.x, layer.gate_up, layer.down, layer.weights, ids, foreign=False)
    return out


def check_route(board: Board, name: str, layer: Layer) -> None:
    """Weights against fp64, and that all but near ties choose the same experts."""
    router, top_k = part("kernels.router"), layer.ids.shape[1]
    scores = layer.x.double() @ layer.gate.double().t()
    best, ids = scores.softmax(-1).topk(top_k)
    best = best / best.sum(-1, keepdim=True)

    def weights() -> list[float]:
        poison(POISONED_BITS)
        return [relative_error(router.route(layer.x, layer.gate, None, routing(top_k))[0], best, FP32)]

    def differing() -> list[float]:
        poison(POISONED_BITS)
        return [float((router.route(layer.x, layer.gate, None, routing(top_k))[1] != ids).float().mean())]

    def logits() -> list[float]:
        poison(POISONED_BITS)
        return [relative_error(router.logits(layer.x, layer.gate), scores, FP32)]

    board.check_errors(f"{name} router weights", weights, 3e-5)
    board.check_errors(f"{name} router, share of other experts", differing, 1e-3)
    board.check_errors(f"{name} router logits", logits, 1e-5)


def check_sort(board: Board, name: str, layer: Layer, first: int) -> None:
    """Against a stable sort, with the ids moved by `first`."""

    def wrong() -> list[float]:
        own, flat = len(layer.down) - first, layer.ids.flatten() - first
        poison(POISONED_BITS)
        places, ends = part("kernels.experts").sort_by_expert(layer.ids - first, own)
        inside = (flat >= 0) & (flat < own)
        pairs = flat.where(inside, own).argsort(stable=True)[: int(inside.sum())]
        right = places[pairs] == torch.arange(len(pairs), device="cuda")
        good = (
            right.all() & (places[~inside] == -1).all() & (ends == flat[inside].bincount(minlength=own).cumsum(0)).all()
        )
        return [float(~good)]

    board.check_errors(f"{name} sort, ids from {-first}", wrong, 0.0)


def check(board: Board, shape: Shape, weights: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    """All kernels at some numbers of tokens, also with experts of other ranks."""
    max_tokens = shape.tokens[-1]
    for tokens in (1, 5, 32, max_tokens):
        layer = layers(shape, weights, tokens)[0]
        name = f"check {shape.name} {tokens}"
        check_route(board, name, layer)
        cut = shape.experts // 2
        away = layer._replace(ids=layer.ids - cut)
        ways: list[tuple[str, Callable[[Layer], Tensor]]] = [("sorted", many)]
        if tokens <= 64:
            ways.append(("few", few))
        for (way, call), (suffix, case) in [(a, b) for a in ways for b in (("", layer), (", other ranks", away))]:

            def error(call: Callable[[Layer], Tensor] = call, case: Layer = case) -> list[float]:
                expected = exact(case)
                poison(POISONED_BITS)
                output = call(case)
                return [relative_error(output, expected, FP32) if expected.any() else float(output.abs().max())]

            board.check_errors(f"{name} {way}{suffix}", error, 0.008)
        for first in (0, cut):
            check_sort(board, name, layer, first)


def weight_bytes(shape: Shape, used_layers: list[Layer]) -> float:
    """Bytes of the weights of the experts in use, per layer."""
    used = sum(len(set(layer.ids.flatten().tolist())) for layer in used_layers) / len(used_layers)
    return used * 3 * shape.width * shape.inner * 2


def time_ways(board: Board, shape: Shape, weights: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Routers and experts, old and new."""
    router = part("kernels.router")
    for tokens in shape.tokens:
        cases = layers(shape, weights, tokens)
        name, moved = f"{shape.name} {tokens}", weight_bytes(shape, cases) if tokens <= 1024 else 0.0
        board.time(f"{name} router old", [partial(reference_route, a.x, a.gate, shape.top_k) for a in cases])
        board.time(
            f"{name} router new", [partial(router.route, a.x, a.gate, None, routing(shape.top_k)) for a in cases]
        )
        board.time(f"{name} experts old", [partial(old, a) for a in cases], moved)
        board.time(f"{name} experts sorted", [partial(many, a) for a in cases], moved)
        if tokens * shape.top_k <= 256:
            board.time(f"{name} experts few", [partial(few, a) for a in cases], moved)
        if tokens == shape.tokens[-1]:
            time_parts(board, name, shape, cases[0])


def time_parts(board: Board, name: str, shape: Shape, layer: Layer) -> None:
    """Everything around the products of many tokens."""
    kernel, router = part("kernels.experts"), part("kernels.router")
    places, ends = kernel.sort_by_expert(layer.ids, shape.experts)
    size = 2 * layer.x.numel()
    for table, warps in ((8192, 8), (16384, 8), (4096, 4)):
        call = partial(kernel.sort_by_expert, layer.ids, shape.experts, table=table, warps=warps)
        board.time(f"{name} sort, table {table}, {warps} warps", [call])
    rows = kernel.permute(layer.x, places)
    for block, warps in ((2048, 4), (2048, 8), (1024, 4), (4096, 8)):
        variant = f"block {block}, {warps} warps"
        moved = size * (1 + shape.top_k)
        board.time(
            f"{name} permute, {variant}", [partial(kernel.permute, layer.x, places, block=block, warps=warps)], moved
        )
        call = partial(kernel.unpermute, rows, layer.weights, places, block=block, warps=warps)
        board.time(f"{name} unpermute, {variant}", [call], moved)
    inner = functional.grouped_mm(rows, layer.gate_up.transpose(1, 2), offs=ends)
    half = part("ops.norm").silu_mul(inner)
    board.time(f"{name} silu_mul", [partial(part("ops.norm").silu_mul, inner)], 3 * half.numel() * 2)
    board.time(f"{name} product 1", [partial(functional.grouped_mm, rows, layer.gate_up.transpose(1, 2), offs=ends)])
    board.time(f"{name} product 2", [partial(functional.grouped_mm, half, layer.down.transpose(1, 2), offs=ends)])
    for tile in ((64, 128, 4, 3, 128), (64, 64, 4, 4, 128), (128, 64, 8, 4, 128), (32, 128, 4, 4, 128)):
        call = partial(router.route, layer.x, layer.gate, None, routing(shape.top_k), tile=tile)
        board.time(f"{name} router {tile}", [call], size)


def time_silu(board: Board, tokens: int = 32768) -> None:
    """SiLU of q, k and v in a tensor with a gate."""
    wide = normal(tokens, 8192)
    qkv = wide[:, :6144]
    moved = 4 * qkv.numel()
    board.time(f"silu {tokens}x6144 of 8192, old", [partial(functional.silu, qkv)], moved)
    for block, warps in ((2048, 4), (1024, 4), (2048, 8)):
        call = partial(part("kernels.silu").silu_, qkv, block=block, warps=warps)
        board.time(f"silu {tokens}x6144 of 8192, in place, block {block}, {warps} warps", [call], moved)


def time_tiles(board: Board, shape: Shape, weights: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Variants of the products for few tokens, both with the same tile, and of the router."""
    router = part("kernels.router")
    tiles = ((32, 128, 4, 3), (16, 128, 4, 4), (16, 256, 4, 3), (32, 256, 8, 3), (64, 128, 4, 3), (64, 64, 4, 5))
    for tokens in (32, 1):
        cases = layers(shape, weights, tokens)
        moved = weight_bytes(shape, cases)
        for tile in tiles:
            calls = [partial(few, layer, tiles=(tile, tile)) for layer in cases]
            board.time(f"{shape.name} {tokens} few {tile}", calls, moved)
        for cut in ((16, 128, 4, 2, 32), (16, 256, 4, 2, 32), (16, 64, 4, 4, 128), (16, 128, 2, 4, 16)):
            calls = [
                partial(router.route, layer.x, layer.gate, None, routing(shape.top_k), tile=cut) for layer in cases
            ]
            board.time(f"{shape.name} {tokens} router {cut}", calls)


PARTS: dict[str, Callable[[Board, Shape, list[tuple[Tensor, Tensor, Tensor]]], None]] = {
    "check": check,
    "ways": time_ways,
    "tiles": time_tiles,
}


def compile_all(seconds: float) -> None:
    """Have other processes run everything once, so that the kernels are in Triton's cache."""
    command = [sys.executable, __file__, "--dry"]
    parts = [f"{shape.name}/{name}" for shape in SHAPES for name in PARTS]
    running = [subprocess.Popen([*command, what], stdout=subprocess.DEVNULL) for what in parts]
    end = time.monotonic() + seconds
    for child in running:
        try:
            child.wait(max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main() -> None:
    """Check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=55.0)
    parser.add_argument("--only", default="", help="only checks and times whose name has this in it")
    parser.add_argument("--dry", metavar="SHAPE/PART", help="run a part once, to compile its kernels")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA GPU here; the kernels' tests run on a CPU: pytest tests/local/kernels")
    torch.backends.cuda.matmul.allow_tf32 = False
    board = Board(args.seconds, args.only, dry=bool(args.dry), replays=20, warm_ups=1)
    if not args.dry and not args.only:
        compile_all(args.seconds / 2)
        print(f"compiled in {time.monotonic() - board.started:.0f} s", flush=True)
    board.guarded("silu", partial(time_silu, board))
    for shape in SHAPES:
        names = [name for name in PARTS if args.dry in {None, f"{shape.name}/{name}"}]
        weights = stacks(shape) if names else []
        for name in names:
            board.guarded(f"{shape.name} {name}", partial(PARTS[name], board, shape, weights))
        del weights
        torch.cuda.empty_cache()
        print(f"{time.monotonic() - board.started:.0f} s", flush=True)
    print(json.dumps({"device": torch.cuda.get_device_name(), "checks": board.errors, "times": board.times}))


if __name__ == "__main__":
    main()
