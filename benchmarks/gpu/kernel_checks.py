"""Checks of the dense kernels against PyTorch, see kernels.py."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu.board import (
    DIM,
    EPS,
    FFN,
    FP32,
    FP64,
    HEADS,
    KV_HEADS,
    QKV,
    VOCAB,
    WIDTH,
    Board,
    block_tables,
    last_slots,
    normal,
    part,
    poison,
    rotary,
    to_fp64,
    weights,
)


def check_norms(board: Board, dtype: torch.dtype, bound: float, shapes: Sequence[tuple[int, int]]) -> None:
    """Norms and the activation."""
    operations, kernels = part("ops.norm"), part("kernels.norm")
    for rows, width in shapes:
        x, other, scale = normal(rows, width, dtype=dtype), normal(rows, width, dtype=dtype), normal(width, dtype=dtype)
        wide, far, long = to_fp64(x, other, scale)
        cases = {
            "rms_norm": ((x, scale, EPS), (wide, long, EPS)),
            "add_norm": ((x, other, scale, EPS, 0.5, 1.5), (wide, far, long, EPS, 0.5, 1.5)),
            "gated_norm": ((x, other, scale, EPS), (wide, far, long, EPS)),
            "silu_mul": ((x,), (wide,)),
        }
        for name, (args, exact) in cases.items():
            board.check(
                f"check {dtype} {rows}x{width} {name}",
                partial(getattr(kernels, name), *args),
                partial(getattr(operations, name).reference, *exact),
                bound,
            )


def check_rope(board: Board, dtype: torch.dtype, bound: float) -> None:
    """Queries and the whole cache: slots that are not written must keep their values."""
    operation, kernel, layout = part("ops.rope"), part("kernels.rope"), part("ops.layout")
    for tokens, heads, kv_heads, dim, half, normed in ((2, 16, 8, 128, 64, True), (700, 8, 2, 128, 32, False)):
        qkv = normal(tokens, (heads + 2 * kv_heads) * dim, dtype=dtype)
        norms = [normal(dim, dtype=dtype) if normed else None for _ in range(2)]
        angles, slots = rotary(tokens, half), torch.randperm(64 * 16, device="cuda")[:tokens]
        shape = (64, 16, kv_heads, dim)
        cache = layout.PagedCache(*(torch.full(shape, 0.01, dtype=dtype, device="cuda") for _ in range(2)))

        def run(function: Any, qkv: Tensor, cache: Any, norms: list[Any], *middle: Any, slots: Tensor) -> list[Tensor]:
            return [function(qkv, *middle, cache, slots, part("ops.layout").QKNorm(*norms)), *cache]

        exact = layout.PagedCache(*to_fp64(*cache))
        reference = operation.rope_and_cache.reference
        board.check(
            f"check {dtype} rope_and_cache {tokens} tokens, {heads}/{kv_heads} heads of {dim}, {2 * half} rotated",
            partial(run, kernel.rope_and_cache, qkv, cache, norms, heads, angles, slots=slots),
            partial(run, reference, qkv.to(FP64), exact, list(to_fp64(*norms)), heads, angles, slots=slots),
            bound,
        )


def check_paged(board: Board, dtype: torch.dtype, bound: float, shapes: Sequence[tuple[int, ...]]) -> None:
    """Decoding attention, with one sequence of length 0 in each larger batch."""
    operation, kernel, layout = part("ops.paged"), part("kernels.paged"), part("ops.layout")
    for rows, heads, kv_heads, dim, value_dim, block, longest in shapes:
        keys = normal(rows * -(-longest // block), block, kv_heads, dim, dtype=dtype)
        values = keys[..., :value_dim] if dim != value_dim else normal(*keys.shape, dtype=dtype)
        lengths = torch.randint(1, longest + 1, (rows,), dtype=torch.int32, device="cuda")
        lengths[rows // 2] = longest
        if rows > 1:
            lengths[0] = 0
        queries, cache = normal(rows, heads, dim, dtype=dtype), layout.PagedCache(keys, values)
        rest = (block_tables(rows, longest, block, lengths), dim**-0.5)

        def run(function: Any, queries: Tensor, cache: Any, tables: Any, scale: float) -> Tensor:
            out: Tensor = function(queries, cache, tables, scale)
            if not out.isfinite().all():
                raise ValueError("not finite")
            return out[tables.lengths > 0]

        exact = (queries.to(FP64), layout.PagedCache(*to_fp64(*cache)))
        board.check(
            f"check {dtype} paged_decode {rows} rows, {heads}/{kv_heads} of {dim}/{value_dim}, {longest} in {block}s",
            partial(run, kernel.paged_decode, queries, cache, *rest),
            partial(run, operation.paged_decode.reference, *exact, *rest),
            bound,
        )


def check_rope_and_attend(board: Board, dtype: torch.dtype, bound: float) -> None:
    """The result and the cache; and that the result is the same on every call, whichever program ends last."""
    layout, kernel = part("ops.layout"), part("kernels.paged").rope_and_attend
    rope_and_cache, paged_decode = part("ops.rope").rope_and_cache, part("ops.paged").paged_decode
    for rows, longest in ((1, 300), (5, 500), (1, 5000), (60, 300)):
        lengths = torch.randint(1, longest + 1, (rows,), dtype=torch.int32, device="cuda")
        lengths[rows // 2] = longest
        tables = block_tables(rows, longest, 64, lengths)
        shape = (rows * -(-longest // 64), 64, KV_HEADS, DIM)
        cache = layout.PagedCache(*(normal(*shape, dtype=dtype) for _ in range(2)))
        exact = layout.PagedCache(*to_fp64(*cache))
        qkv, angles, slots = normal(rows, QKV, dtype=dtype), rotary(rows), last_slots(tables)
        norm = layout.QKNorm(normal(DIM, dtype=dtype), normal(DIM, dtype=dtype), EPS)
        call = partial(kernel, qkv, HEADS, angles, cache, slots, tables, norm, DIM**-0.5)

        def reference(
            qkv: Any = qkv, angles: Any = angles, exact: Any = exact, slots: Any = slots, norm: Any = norm,
            tables: Any = tables,
        ) -> list[Tensor]:  # fmt: skip
            wide, *scales = to_fp64(qkv, *norm[:2])
            exact_norm = norm._replace(query=scales[0], key=scales[1])
            queries = rope_and_cache.reference(wide, HEADS, angles, exact, slots, exact_norm)
            return [paged_decode.reference(queries, exact, tables, DIM**-0.5), *exact]

        def output(call: Any = call, cache: Any = cache) -> list[Tensor]:
            first = call()
            for _ in range(50):
                if not torch.equal(call(), first):
                    raise ValueError("not the same again")
            return [first, *cache]

        board.check(f"check {dtype} rope_and_attend {rows} rows of up to {longest}", output, reference, bound)


def check_gemv(board: Board, dtype: torch.dtype, bound: float) -> None:
    """Matrix-vector products."""
    operations, kernels = part("ops.gemv"), part("kernels.gemv")
    x, delta, scale = normal(1, WIDTH, dtype=dtype), normal(1, WIDTH, dtype=dtype), normal(WIDTH, dtype=dtype)
    inner, residual = normal(1, FFN, dtype=dtype), normal(1, WIDTH, dtype=dtype)
    down, bias = weights(WIDTH, FFN, dtype), normal(WIDTH, dtype=dtype)
    qkv, both = weights(QKV, WIDTH, dtype), weights(2 * FFN, WIDTH, dtype)
    cases: dict[str, tuple[tuple[Any, ...], float]] = {
        "linear": ((inner, down, bias, residual), bound),
        "norm_linear": ((x, delta, scale, EPS, qkv, normal(QKV, dtype=dtype), 0.5, 1.5), bound),
        "norm_gate_up": ((x, delta, scale, EPS, both), bound),
        "head": ((x, qkv), 2e-5),
    }
    for name, (args, allowed) in cases.items():
        wide = [arg.to(FP64) if isinstance(arg, Tensor) else arg for arg in args]
        board.check(
            f"check {dtype} one row {name}",
            partial(getattr(kernels, name), *args),
            partial(functional.linear if name == "head" else getattr(operations, name).reference, *wide),
            allowed,
        )


def check_steps(board: Board) -> None:
    """Inputs and outputs of a step and argmax, exactly, and rotary angles."""

    def work() -> None:
        operation, kernel = part("ops.slot_mapping"), part("kernels.slot_mapping")
        ints = torch.randint(0, 300, (5, 70), device="cuda")
        ints[:, 69] = 0
        tables = torch.randint(0, 99, (70, 40), dtype=torch.int32, device="cuda")[:, :8]
        rows = torch.tensor([3, 69, 5, 69, 68], device="cuda")
        state = (ints, tables, rows, 64)
        inputs, expected = kernel.load_step_inputs(*state), operation.load_step_inputs.reference(*state)
        pairs = list(zip((*inputs[:3], *inputs[3]), (*expected[:3], *expected[3]), strict=True))
        copy = ints.clone()
        kernel.store_step_outputs(ints, rows, inputs.ids + 1, 69, 1)
        operation.store_step_outputs.reference(copy, rows, inputs.ids + 1, 69, 1)
        scores = normal(3, VOCAB, dtype=FP32)
        pairs += [(ints, copy), (part("kernels.sample").argmax(scores), scores.argmax(-1))]
        good = all(torch.equal(a, b) for a, b in pairs)
        print(f"{'check steps, argmax':62s} {'ok' if good else 'WRONG'}")
        board.errors["steps"] = good

    board.attempt("check steps", work)
    positions, frequencies = torch.tensor([0, 5, 1000, 100_000], device="cuda"), 1e6 ** -normal(64, dtype=FP32).abs()
    args = positions, frequencies, 1.1
    kernel, reference = part("kernels.rope").cos_sin, part("ops.rope").cos_sin.reference
    board.check("check cos_sin", partial(kernel, *args), partial(reference, *args), 1e-6)


def mixed_settings(rows: int) -> dict[str, Tensor]:
    """Sampling settings of all sorts."""

    def of(values: list[float], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device="cuda").repeat(-(-rows // len(values)))[:rows].contiguous()

    return {
        "temperature": of([1.0, 0.6, 0.0, 1.3, 1.0], FP32),
        "top_p": of([0.95, 1.0, 0.5, 0.8, 0.999, 1.0, 0.95], FP32),
        "top_k": of([0, 20, 0, 500, 0, 1, 0, 0, 5, 0, 0], torch.int32),
        "min_p": of([0.0, 0.0, 0.05], FP32),
        "seeds": torch.randint(-(2**62), 2**62, (rows,), device="cuda"),
        "indices": torch.randint(0, 10**6, (rows,), device="cuda"),
    }


def check_sample(board: Board, scale: float) -> None:
    """Tokens are PyTorch's except where a random number lies at an edge; the batch changes no row's token."""

    def work() -> None:
        operation, kernel = part("ops.sample"), part("kernels.sample")
        rows = 220
        scores = normal(rows, VOCAB, dtype=FP32, scale=scale)
        settings = mixed_settings(rows)
        expected = operation.sample.reference(scores, **settings)
        poison()
        tokens = kernel.sample(scores, **settings)
        alone = torch.cat(
            [kernel.sample(scores[i : i + 1], **{k: v[i : i + 1] for k, v in settings.items()}) for i in range(40)]
        )
        greedy = kernel.argmax(scores)
        differing = (tokens != expected).nonzero().flatten().tolist()
        far = [i for i in differing if not at_an_edge(scores, settings, i, int(tokens[i]))]
        good = not far and torch.equal(alone, tokens[:40]) and torch.equal(greedy, scores.argmax(-1))
        apart = len(differing)
        name = f"check sample, scores times {scale}"
        print(f"{name:62s} {apart} of {rows} differ, {len(far)} far from an edge {'ok' if good else 'WRONG'}")
        board.errors[name] = {"differ": apart, "far": len(far), "good": good}

    board.attempt(f"check sample {scale}", work)


def at_an_edge(scores: Tensor, settings: dict[str, Tensor], row: int, token: int) -> bool:
    """Whether rounding may explain the token: the row's random number lies at the edge of its share of the probs mass.

    The slack is 1e-4 and the mass so close to the cutoff that the kernel may keep it or not. Prints details if not.
    """
    operation, kernel = part("ops.sample"), part("kernels.sample")
    own_settings = {name: values[row : row + 1] for name, values in settings.items()}
    values = {name: tensor.item() for name, tensor in own_settings.items()}
    chances = (scores[row : row + 1] / own_settings["temperature"]).softmax(-1)
    chances = chances / chances.max()
    cut = operation.cutoffs(chances, own_settings["top_p"], own_settings["top_k"], own_settings["min_p"])
    probs = torch.where(chances >= cut, chances, 0.0).double()[0]
    edges = probs.cumsum(0) / probs.sum()
    close = 2 * kernel.FLOOR / kernel.RUNGS**kernel.PASSES
    doubtful = chances[((chances / cut).log().abs() <= close) & (chances > 0)].double().sum()
    slack = 1e-4 + float(doubtful / probs.sum())
    target = float(operation.uniforms(own_settings["seeds"], own_settings["indices"]))
    below = float(edges[token - 1]) if token else 0.0
    if below - slack <= target <= float(edges[token]) + slack:
        return True
    span = f"from {below} to {float(edges[token])}"
    print(f"row {row} {values}: token {token} {span}, number {target}, cut {float(cut)},")
    print(f"its chance {float(chances[0, token])}, {int((probs > 0).sum())} kept, best {scores[row].topk(3)}")
    return False
