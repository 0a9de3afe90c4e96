"""Are the dense kernels of the local runner right, and how near to the memory's speed? For one CUDA GPU.

python benchmarks/gpu/kernels.py [--seconds 115] [--only one|many|prefill|tiles]

First each kernel against PyTorch on fresh random data, its outputs poisoned before: relative Frobenius errors, bf16 and
fp32. Then times, each the median of 25 replays of a CUDA graph whose calls go round buffers larger than the L2 cache.
The shapes are Qwen3-0.6B's. `one` is the decoding of one row, whole steps included, in about 45 seconds; `many` that of
many rows; `prefill` long prompts; `tiles` variants to choose from. What fails prints its error and the run goes on;
what would begin after `--seconds` is left out. A table, then one line of JSON.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BF16, FP32, FP64 = torch.bfloat16, torch.float32, torch.float64
WIDTH, HEADS, KV_HEADS, DIM, FFN, VOCAB, LAYERS = 1024, 16, 8, 128, 3072, 151936, 28
QKV = (HEADS + 2 * KV_HEADS) * DIM
EPS = 1e-6

_package = types.ModuleType("local_parts")
# The operations alone: they need torch and triton, the runner around them more than a bare GPU machine has.
_package.__path__ = [str(Path(__file__).parents[2] / "runners" / "local")]
sys.modules[_package.__name__] = _package


def part(name: str) -> Any:
    """A module of the runner, e.g. `ops.norm`."""
    return importlib.import_module(f"{_package.__name__}.{name}")


class Board:
    """What was found, printed as it comes."""

    def __init__(self, seconds: float) -> None:
        self.begun, self.seconds = time.monotonic(), seconds
        self.errors: dict[str, Any] = {}
        self.times: dict[str, dict[str, float]] = {}

    def attempt(self, name: str, work: Callable[[], None]) -> None:
        """Do it if there is time; a failure is printed, not raised."""
        if time.monotonic() - self.begun > self.seconds:
            print(f"{name:58s} left out: no time")
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001  one kernel that does not compile must not hide the others
            lines = str(error).strip().splitlines() or [""]
            print(f"{name:58s} FAILED {type(error).__name__}: {lines[0][:200]} … {lines[-1][:200]}")
            self.errors[name] = repr(error)[:400]

    def check(self, name: str, found: Callable[[], Any], wanted: Callable[[], Any], bound: float) -> None:
        """Relative Frobenius errors of each output."""

        def work() -> None:
            reference = _tensors(wanted())
            poison()
            outputs = _tensors(found())
            ratios = [relative(a, b) for a, b in zip(outputs, reference, strict=True)]
            good = all(ratio <= bound for ratio in ratios)  # NaN is not
            print(f"{name:58s} {' '.join(f'{ratio:.1e}' for ratio in ratios):24s} {'ok' if good else 'WRONG'}")
            self.errors[name] = ratios if good else f"WRONG {ratios}"

        self.attempt(name, work)

    def time(self, name: str, calls: Sequence[Callable[[], Any]], bytes_moved: float = 0.0, per: int = 0) -> None:
        """Microseconds a call (or a `per`-th of all calls together) and GB/s."""

        def work() -> None:
            micros = replayed(calls) / (per or len(calls))
            speed = bytes_moved / micros / 1e3
            print(f"{name:58s} {micros:10.2f} µs" + (f" {speed:8.0f} GB/s" if bytes_moved else ""))
            self.times[name] = {"us": round(micros, 3), "gb_s": round(speed, 1)}

        self.attempt(name, work)


def replayed(calls: Sequence[Callable[[], Any]], replays: int = 25) -> float:
    """Microseconds of all the calls together, in one CUDA graph."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    for _ in range(3):
        graph.replay()
    spans: list[float] = []
    for _ in range(replays):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        spans.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(spans)


def poison() -> None:
    """Fill the memory that the next outputs will be given with NaN."""
    held = [torch.full((2**bits,), torch.nan, device="cuda") for bits in range(7, 27) for _ in range(3)]
    del held


def relative(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    return float((found.to(FP64) - wanted.to(FP64)).norm() / wanted.to(FP64).norm())


def _tensors(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def drawn(*shape: int, dtype: torch.dtype = BF16, scale: float = 1.0) -> Tensor:
    """Fresh random numbers on the GPU."""
    return (torch.randn(shape, device="cuda") * scale).to(dtype)


def weights(out: int, depth: int, dtype: torch.dtype = BF16) -> Tensor:
    """A matrix whose products stay near one."""
    return drawn(out, depth, dtype=dtype, scale=depth**-0.5)


def up(*tensors: Tensor | None) -> Iterator[Any]:
    """The same numbers in fp64."""
    return (None if tensor is None else tensor.to(FP64) for tensor in tensors)


def cache(tokens: int, rows: int, block: int, dtype: torch.dtype = BF16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keys, values, tables (blocks strewn over the pool) and lengths of `rows` sequences."""
    each = -(-tokens // block)
    keys, values = (drawn(rows * each, block, KV_HEADS, DIM, dtype=dtype) for _ in range(2))
    tables = torch.randperm(rows * each, device="cuda").int().view(rows, each)
    return keys, values, tables, torch.full((rows,), tokens, dtype=torch.int32, device="cuda")


def turned(tokens: int, half: int = DIM // 2) -> tuple[Tensor, Tensor]:
    """A table of cosines and sines."""
    angles = drawn(tokens, half, dtype=FP32)
    return angles.cos(), angles.sin()


# --- correctness ---------------------------------------------------------------------------------------------------


def check_norms(board: Board, dtype: torch.dtype, bound: float, shapes: Sequence[tuple[int, int]]) -> None:
    """Norms and the activation."""
    plain, kernel = part("ops.norm"), part("kernels.norm")
    for rows, width in shapes:
        x, other, scale = drawn(rows, width, dtype=dtype), drawn(rows, width, dtype=dtype), drawn(width, dtype=dtype)
        wide, far, long = up(x, other, scale)
        cases = {
            "rms_norm": ((x, scale, EPS), (wide, long, EPS)),
            "add_norm": ((x, other, scale, EPS, 0.5, 1.5), (wide, far, long, EPS, 0.5, 1.5)),
            "gated_norm": ((x, other, scale, EPS), (wide, far, long, EPS)),
            "silu_mul": ((x,), (wide,)),
        }
        for name, (found, wanted) in cases.items():
            board.check(
                f"check {dtype} {rows}x{width} {name}",
                partial(getattr(kernel, name), *found),
                partial(getattr(plain, f"plain_{name}"), *wanted),
                bound,
            )


def check_rope(board: Board, dtype: torch.dtype, bound: float) -> None:
    """Queries, and both pools wholly: what was not to be written must stay."""
    plain, kernel = part("ops.rope"), part("kernels.rope")
    for tokens, heads, kv_heads, dim, half, normed in ((2, 16, 8, 128, 64, True), (700, 8, 2, 128, 32, False)):
        qkv = drawn(tokens, (heads + 2 * kv_heads) * dim, dtype=dtype)
        norms = [drawn(dim, dtype=dtype) if normed else None for _ in range(2)]
        table, slots = turned(tokens, half), torch.randperm(64 * 16, device="cuda")[:tokens]
        pools = [torch.full((64, 16, kv_heads, dim), 0.01, dtype=dtype, device="cuda") for _ in range(2)]
        copies = list(up(*pools))

        def run(
            function: Any, qkv: Tensor, pools: list[Tensor], norms: list[Any], *middle: Any, slots: Tensor
        ) -> list[Tensor]:
            return [function(qkv, *middle, *pools, slots, *norms), *pools]

        middle = (heads, kv_heads, dim, *table)
        board.check(
            f"check {dtype} rope_and_cache {tokens} tokens, {heads}/{kv_heads} heads of {dim}, {2 * half} turned",
            partial(run, kernel.rope_and_cache, qkv, pools, norms, *middle, slots=slots),
            partial(run, plain.plain_rope_and_cache, *up(qkv), copies, list(up(*norms)), *middle, slots=slots),
            bound,
        )


def check_paged(board: Board, dtype: torch.dtype, bound: float, shapes: Sequence[tuple[int, ...]]) -> None:
    """Decoding attention, with a row of no length in each batch of several."""
    plain, kernel = part("ops.paged"), part("kernels.paged")
    for rows, heads, kv_heads, dim, value_dim, block, longest in shapes:
        each = -(-longest // block)
        keys = drawn(rows * each, block, kv_heads, dim, dtype=dtype)
        values = keys[..., :value_dim] if dim != value_dim else drawn(*keys.shape, dtype=dtype)
        lengths = torch.randint(1, longest + 1, (rows,), dtype=torch.int32, device="cuda")
        lengths[rows // 2] = longest
        if rows > 1:
            lengths[0] = 0
        tables = torch.randperm(rows * each, device="cuda").int().view(rows, each)
        rest = (tables, lengths, dim**-0.5, longest)
        given = (drawn(rows, heads, dim, dtype=dtype), keys, values)

        def run(function: Any, *args: Any) -> Tensor:
            out: Tensor = function(*args)
            if not out.isfinite().all():
                raise ValueError("not finite")
            return out[args[4] > 0]

        board.check(
            f"check {dtype} paged_decode {rows} rows, {heads}/{kv_heads} of {dim}/{value_dim}, {longest} in {block}s",
            partial(run, kernel.paged_decode, *given, *rest),
            partial(run, plain.plain_paged_decode, *up(*given), *rest),
            bound,
        )


def check_turn_and_attend(board: Board, dtype: torch.dtype, bound: float) -> None:
    """The result and both pools; and that the result is the same however often, whoever ends last."""
    plain, rope, kernel = part("ops.paged"), part("ops.rope"), part("kernels.paged")
    for rows, longest in ((1, 300), (5, 500), (1, 5000), (60, 300)):
        each = -(-longest // 64)
        pools = [drawn(rows * each, 64, KV_HEADS, DIM, dtype=dtype) for _ in range(2)]
        copies = list(up(*pools))
        tables = torch.randperm(rows * each, device="cuda").int().view(rows, each)
        lengths = torch.randint(1, longest + 1, (rows,), dtype=torch.int32, device="cuda")
        lengths[rows // 2] = longest
        last = lengths.long() - 1
        slots = tables.gather(1, (last // 64)[:, None]).squeeze(1).long() * 64 + last % 64
        qkv, norms, table = drawn(rows, QKV, dtype=dtype), [drawn(DIM, dtype=dtype) for _ in range(2)], turned(rows)
        end = (EPS, DIM**-0.5, longest)
        ours = partial(kernel.rope_and_attend, qkv, HEADS, *table, *pools, tables, lengths, *norms, *end)

        def wanted(
            qkv: Any = qkv, table: Any = table, copies: Any = copies, slots: Any = slots, norms: Any = norms,
            tables: Any = tables, lengths: Any = lengths, longest: int = longest,
        ) -> list[Tensor]:  # fmt: skip
            wide, *scales = up(qkv, *norms)
            store = (HEADS, KV_HEADS, DIM, *table, *copies, slots, *scales, EPS)
            queries = rope.plain_rope_and_cache(wide, *store)
            return [plain.plain_paged_decode(queries, *copies, tables, lengths, DIM**-0.5, longest), *copies]

        def found(ours: Any = ours, pools: Any = pools) -> list[Tensor]:
            first = ours()
            for _ in range(50):
                if not torch.equal(ours(), first):
                    raise ValueError("not the same again")
            return [first, *pools]

        board.check(f"check {dtype} rope_and_attend {rows} rows of up to {longest}", found, wanted, bound)


def check_rows(board: Board, dtype: torch.dtype, bound: float) -> None:
    """Products for one row."""
    plain, kernel = part("ops.gemv"), part("kernels.gemv")
    x, delta, scale = drawn(1, WIDTH, dtype=dtype), drawn(1, WIDTH, dtype=dtype), drawn(WIDTH, dtype=dtype)
    inner, residual = drawn(1, FFN, dtype=dtype), drawn(1, WIDTH, dtype=dtype)
    down, bias = weights(WIDTH, FFN, dtype), drawn(WIDTH, dtype=dtype)
    qkv, both = weights(QKV, WIDTH, dtype), weights(2 * FFN, WIDTH, dtype)
    cases: dict[str, tuple[tuple[Any, ...], float]] = {
        "linear": ((inner, down, bias, residual), bound),
        "norm_linear": ((x, delta, scale, EPS, qkv, drawn(QKV, dtype=dtype), 0.5, 1.5), bound),
        "norm_gate_up": ((x, delta, scale, EPS, both), bound),
        "head": ((x, qkv), 2e-5),
    }
    for name, (args, allowed) in cases.items():
        wide = [arg.to(FP64) if isinstance(arg, Tensor) else arg for arg in args]
        board.check(
            f"check {dtype} one row {name}",
            partial(getattr(kernel, name), *args),
            partial(functional.linear if name == "head" else getattr(plain, f"plain_{name}"), *wide),
            allowed,
        )


def check_places(board: Board) -> None:
    """What a step begins and ends with, the table of positions and the likeliest tokens, exactly."""

    def work() -> None:
        plain, kernel = part("ops.slot_mapping"), part("kernels.slot_mapping")
        ints = torch.randint(0, 300, (5, 70), device="cuda")
        ints[:, 69] = 0
        tables = torch.randint(0, 99, (70, 40), dtype=torch.int32, device="cuda")[:, :8]
        rows = torch.tensor([3, 69, 5, 69, 68], device="cuda")
        found, wanted = (
            kernel.load_step_inputs(ints, tables, rows, 64),
            plain.plain_load_step_inputs(ints, tables, rows, 64),
        )
        pairs = list(zip((*found[:3], *found[3]), (*wanted[:3], *wanted[3]), strict=True))
        copy = ints.clone()
        kernel.store_step_outputs(ints, rows, found[0] + 1, 69, 1)
        plain.plain_store_step_outputs(copy, rows, found[0] + 1, 69, 1)
        scores = drawn(3, VOCAB, dtype=FP32)
        pairs += [(ints, copy), (part("kernels.sample").argmax(scores), scores.argmax(-1))]
        good = all(torch.equal(a, b) for a, b in pairs)
        print(f"{'check places, likeliest':58s} {'ok' if good else 'WRONG'}")
        board.errors["places"] = good

    board.attempt("check places", work)
    positions, frequencies = torch.tensor([0, 5, 1000, 100_000], device="cuda"), 1e6 ** -drawn(64, dtype=FP32).abs()
    args = positions, frequencies, 1.1
    board.check(
        "check table",
        partial(part("kernels.rope").cos_sin, *args),
        partial(part("ops.rope").plain_cos_sin, *args),
        1e-6,
    )


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
    """Tokens are PyTorch's but where a number lies at an edge; and a row alone has the same token as among others."""

    def work() -> None:
        plain, kernel = part("ops.sample"), part("kernels.sample")
        rows = 220
        scores = drawn(rows, VOCAB, dtype=FP32, scale=scale)
        settings = mixed_settings(rows)
        wanted = plain.plain_sample(scores, **settings)
        poison()
        found = kernel.sample(scores, **settings)
        alone = torch.cat(
            [kernel.sample(scores[i : i + 1], **{k: v[i : i + 1] for k, v in settings.items()}) for i in range(40)]
        )
        greedy = kernel.argmax(scores)
        far = [i for i in (found != wanted).nonzero().flatten().tolist() if not at_an_edge(scores, settings, i, found)]
        good = not far and torch.equal(alone, found[:40]) and torch.equal(greedy, scores.argmax(-1))
        apart = int((found != wanted).sum())
        name = f"check sample, scores times {scale}"
        print(f"{name:58s} {apart} of {rows} differ, {len(far)} far from an edge {'ok' if good else 'WRONG'}")
        board.errors[name] = {"differ": apart, "far": len(far), "good": good}

    board.attempt(f"check sample {scale}", work)


def at_an_edge(scores: Tensor, settings: dict[str, Tensor], row: int, found: Tensor) -> bool:
    """Whether the row's number is as near to the found token's share of the kept mass as rounding may bring it.

    That is 1e-4, and what lies so close to the cutoff that the kernel may keep it or not; if not, what is there.
    """
    plain, kernel = part("ops.sample"), part("kernels.sample")
    one = {name: values[row : row + 1] for name, values in settings.items()}
    token, told = int(found[row]), {name: values.item() for name, values in one.items()}
    chances = (scores[row : row + 1] / one["temperature"]).softmax(-1)
    chances = chances / chances.max()
    cut = plain.cutoffs(chances, one["top_p"], one["top_k"], one["min_p"])
    kept = torch.where(chances >= cut, chances, 0.0).double()[0]
    edges = kept.cumsum(0) / kept.sum()
    close = 2 * kernel.FLOOR / kernel.RUNGS**kernel.PASSES
    doubtful = chances[((chances / cut).log().abs() <= close) & (chances > 0)].double().sum()
    slack = 1e-4 + float(doubtful / kept.sum())
    goal = float(plain.numbers(one["seeds"], one["indices"]))
    below = float(edges[token - 1]) if token else 0.0
    if below - slack <= goal <= float(edges[token]) + slack:
        return True
    print(f"row {row} {told}: token {token} from {below} to {float(edges[token])}, number {goal}, cut {float(cut)},")
    print(f"its chance {float(chances[0, token])}, {int((kept > 0).sum())} kept, best {scores[row].topk(3)}")
    return False


# --- times ---------------------------------------------------------------------------------------------------------


class Layer:
    """The weights and the cache of one layer."""

    def __init__(self, tokens: int = 512, block: int = 64) -> None:
        self.qkv, self.o = weights(QKV, WIDTH), weights(WIDTH, HEADS * DIM)
        self.gate_up, self.down = weights(2 * FFN, WIDTH), weights(WIDTH, FFN)
        self.norms = [drawn(WIDTH) for _ in range(2)] + [drawn(DIM) for _ in range(2)]
        self.cache = cache(tokens, 1, block)

    def bytes(self) -> int:
        """Of the matrices."""
        return sum(2 * matrix.numel() for matrix in (self.qkv, self.o, self.gate_up, self.down))


class Model:
    """All the layers, the head and the numbers of one row at its 300th token."""

    def __init__(self) -> None:
        self.layers = [Layer() for _ in range(LAYERS)]
        for layer in self.layers:  # a row has the same blocks in all layers
            layer.cache = (*layer.cache[:2], *self.layers[0].cache[2:])
        self.head, self.norm = weights(VOCAB, WIDTH), drawn(WIDTH)
        self.frequencies = 1e6 ** -(torch.arange(0, DIM, 2, device="cuda") / DIM)
        self.ints = torch.zeros(5, 2, dtype=torch.int64, device="cuda")
        self.ints[1] = 299
        self.row = torch.zeros(1, dtype=torch.int64, device="cuda")

    def bytes(self) -> int:
        """Of the matrices."""
        return 2 * self.head.numel() + sum(layer.bytes() for layer in self.layers)

    def through(self, x: Tensor, table: Any, slots: Tensor, lengths: Tensor) -> Tensor:
        """One token through the layers, as the runner launches them."""
        gemv, paged = part("ops.gemv"), part("ops.paged")
        delta = x
        for layer in self.layers:
            qkv, x = gemv.norm_linear(x, delta, layer.norms[0], EPS, layer.qkv)
            keys, values, tables, _ = layer.cache
            memory = (keys, values, slots, tables, lengths)
            a = paged.rope_and_attend(qkv, HEADS, *table, *memory, *layer.norms[2:], EPS, DIM**-0.5, 512)
            o = gemv.linear(a.view(1, -1), layer.o)
            h, x = gemv.norm_gate_up(x, o, layer.norms[1], EPS, layer.gate_up)
            delta = gemv.linear(h, layer.down)
        return x + delta

    def step(self) -> Tensor:
        """The next token; the row stays where it is."""
        places, sample = part("ops.slot_mapping"), part("ops.sample")
        ids, positions, _, (slots, lengths) = places.load_step_inputs(self.ints, self.layers[0].cache[2], self.row, 64)
        hidden = self.through(self.head[ids], part("ops.rope").cos_sin(positions, self.frequencies), slots, lengths)
        scores = part("ops.gemv").head(part("ops.norm").rms_norm(hidden, self.norm, EPS), self.head)
        token: Tensor = sample.argmax(scores)
        places.store_step_outputs(self.ints, self.row, token, 1, 0)
        return token


VARIANTS: dict[str, dict[tuple[str, str], Any]] = {
    "as it is": {},
    "turned by a kernel of its own": {("ops.paged", "FUSED"): 0},
    "4 columns a program": {("kernels.gemv", "WIDE"): 4},
    "16 columns a program": {("kernels.gemv", "WIDE"): 16},
    "early 2048": {("kernels.gemv", "EARLY"): 2048},
    "shares of 128": {("kernels.paged", "SHORT"): 128},
    "no dependent launch": {("kernels.pdl", "wanted"): lambda: False},
}


def time_steps(board: Board) -> None:
    """Layers and whole steps of one row, with what may be chosen."""
    model = Model()
    given = drawn(1, WIDTH)
    table = turned(1)
    slots = model.layers[0].cache[2][0, 4:5].long() * 64 + 43
    through = partial(model.through, given, table, slots, torch.full((1,), 300, dtype=torch.int32, device="cuda"))
    first: list[Tensor] = []
    for name, changes in VARIANTS.items():
        before = {(where, what): getattr(part(where), what) for where, what in changes}
        for (where, what), value in changes.items():
            setattr(part(where), what, value)
        board.time(f"layer of 28, {name}", [through], model.layers[0].bytes(), per=LAYERS)
        board.time(f"step of one row, {name}", [model.step], model.bytes())

        def agree() -> None:
            first.append(through())
            print(f"{'':58s} differs from the first by {relative(first[-1], first[0]):.1e}")

        board.attempt(name, agree)
        for (where, what), value in before.items():
            setattr(part(where), what, value)


def _last(kept: tuple[Tensor, ...]) -> Tensor:
    """The slots of the last tokens of a cache in blocks of 64."""
    _, _, tables, lengths = kept
    last = lengths.long() - 1
    return tables.gather(1, (last // 64)[:, None]).squeeze(1).long() * 64 + last % 64


def time_turn_and_attend(board: Board, rows: int, tokens: int = 320) -> None:
    """One kernel against two."""
    paged, rope = part("kernels.paged"), part("kernels.rope")
    moved = 4 * rows * tokens * KV_HEADS * DIM
    sets = [cache(tokens, rows, 64) for _ in range(max(1, min(28, -(-150_000_000 // moved))))]
    qkv, norms, table = drawn(rows, QKV), [drawn(DIM), drawn(DIM)], turned(rows)

    def two(keys: Tensor, values: Tensor, tables: Tensor, lengths: Tensor, slots: Tensor) -> Tensor:
        queries = rope.rope_and_cache(qkv, HEADS, KV_HEADS, DIM, *table, keys, values, slots, *norms, EPS)
        out: Tensor = paged.paged_decode(queries, keys, values, tables, lengths, DIM**-0.5, tokens)
        return out

    one = partial(paged.rope_and_attend, qkv, HEADS, *table)
    end = (*norms, EPS, DIM**-0.5, tokens)
    board.time(f"turn and attend, {rows} rows of {tokens}, one kernel", [partial(one, *s, *end) for s in sets], moved)
    board.time(
        f"turn and attend, {rows} rows of {tokens}, two kernels", [partial(two, *s, _last(s)) for s in sets], moved
    )


def time_rows(board: Board, layers: list[Layer], tiles: list[Any]) -> None:
    """Each product on its own, beside cuBLAS."""
    kernel = part("kernels.gemv")
    x, delta = drawn(1, WIDTH), drawn(1, WIDTH)
    inputs = {"qkv": x, "o": drawn(1, HEADS * DIM), "gate_up": x, "down": drawn(1, FFN)}
    for name, given in inputs.items():
        matrices = [getattr(layer, name) for layer in layers]
        moved = 2 * matrices[0].numel()
        for tile in tiles:
            if name in {"o", "down"}:
                calls = [partial(kernel.linear, given, matrix, tile=tile) for matrix in matrices]
            else:
                ours = kernel.norm_linear if name == "qkv" else kernel.norm_gate_up
                both = zip(layers, matrices, strict=True)
                calls = [partial(ours, x, delta, layer.norms[0], EPS, matrix, tile=tile) for layer, matrix in both]
            board.time(f"one row: {name}, tile {tile or 'own'}", calls, moved)
        if tiles[0] is None:
            board.time(
                f"one row: {name}, cuBLAS alone", [partial(functional.linear, given, m) for m in matrices], moved
            )


def time_head(board: Board, tiles: list[Any]) -> None:
    """The language-model head."""
    weight, x = weights(VOCAB, WIDTH), drawn(1, WIDTH)
    for tile in tiles:
        calls = [partial(part("kernels.gemv").head, x, weight, tile=tile)] * 4
        board.time(f"head of one row, tile {tile or 'own'}", calls, 2 * weight.numel())
    calls = [partial(torch.mm, x, weight.t(), out_dtype=FP32)] * 4
    board.time("head of one row, cuBLAS", calls, 2 * weight.numel())


def time_paged(board: Board, rows: int, tokens: int, block: int, tiles: list[Any], splits: list[Any]) -> None:
    """Attention over caches that the L2 does not hold."""
    kernel = part("kernels.paged")
    moved = 4 * rows * tokens * KV_HEADS * DIM
    sets = [cache(tokens, rows, block) for _ in range(max(1, min(28, -(-150_000_000 // moved))))]
    queries = drawn(rows, HEADS, DIM)
    for tile, split in product(tiles, splits):
        rest = (DIM**-0.5, tokens)
        calls = [partial(kernel.paged_decode, queries, *one, *rest, tile=tile, splits=split) for one in sets]
        name = f"paged {rows} rows of {tokens} in {block}s, tile {tile or 'own'}, splits {split or 'own'}"
        board.time(name, calls, moved)


def time_likeliest(board: Board, rows: int, chunks: list[int | None]) -> None:
    """The greatest of a row."""
    scores = [drawn(rows, VOCAB, dtype=FP32) for _ in range(max(1, 100 // rows))]
    for chunk in chunks:
        calls = [partial(part("kernels.sample").argmax, given, chunk=chunk) for given in scores]
        board.time(f"likeliest of {rows} rows, chunks of {chunk or 'own'}", calls, 4 * scores[0].numel())


def time_sample(board: Board, rows: int, chunks: list[tuple[int, int]]) -> None:
    """Drawing with each kind of filter."""
    kernel = part("kernels.sample")
    scores = drawn(rows, VOCAB, dtype=FP32, scale=3.0)
    one = torch.ones(rows, device="cuda")
    none = torch.zeros(rows, dtype=torch.int32, device="cuda")
    seeds = torch.arange(rows, device="cuda")
    kinds = {
        "no filter": (one, one, none, 0 * one),
        "top_p": (one, 0.95 * one, none, 0 * one),
        "top_k and top_p": (one, 0.95 * one, none + 20, 0 * one),
    }
    for (name, settings), (chunk, warps) in product(kinds.items(), chunks):
        call = partial(kernel.sample, scores, *settings, seeds, seeds, chunk=chunk, warps=warps)
        board.time(f"sample {rows} rows, {name}, chunks of {chunk}, {warps} warps", [call] * 4, 4 * scores.numel())


def time_prefill(board: Board, tokens: int = 32768) -> None:
    """Norms, the activation and the turn for a long prompt."""
    norm, rope = part("kernels.norm"), part("kernels.rope")
    for width in (1024, 4096):
        x, other, scale = drawn(tokens, width), drawn(tokens, width), drawn(width)
        size = 2 * x.numel()
        name = f"prefill {tokens}x{width} "
        board.time(name + "rms_norm", [partial(norm.rms_norm, x, scale, EPS)], 2 * size)
        board.time(name + "add_norm", [partial(norm.add_norm, x, other, scale, EPS)], 4 * size)
        board.time(name + "gated_norm", [partial(norm.gated_norm, x, other, scale, EPS)], 3 * size)
    both = drawn(tokens, 2 * FFN)
    for block in (1024, 512, 2048):
        call = partial(norm.silu_mul, both, block)
        board.time(f"prefill {tokens}x{FFN} silu_mul, block {block}", [call], 3 * both.numel())
    qkv, table, slots = drawn(tokens, QKV), turned(tokens), torch.arange(tokens, device="cuda")
    pools = [drawn(tokens // 256, 256, KV_HEADS, DIM) for _ in range(2)]
    norms = [drawn(DIM) for _ in range(2)]
    given = (qkv, HEADS, KV_HEADS, DIM, *table, *pools, slots, *norms, EPS)
    for tile in (16, 8, 32):
        call = partial(rope.rope_and_cache, *given, tile=tile)
        board.time(f"prefill {tokens} rope_and_cache, {tile} heads a program", [call], 4 * qkv.numel())


def do_one(board: Board) -> None:
    """Decoding one row."""
    for dtype, bound in PRECISIONS:
        check_rows(board, dtype, bound)
        check_turn_and_attend(board, dtype, bound)
    check_places(board)
    told(board, "checked")
    time_steps(board)
    time_likeliest(board, 1, [None, 512, 2048, 4096])
    for rows in (1, 16, 64):
        time_turn_and_attend(board, rows)


def do_many(board: Board) -> None:
    """Decoding many rows, and long ones."""
    shapes = (
        (300, 16, 8, 128, 128, 64, 330),
        (1, 16, 8, 128, 128, 64, 70000),
        (3, 6, 2, 80, 80, 16, 900),
        (3, 128, 1, 576, 512, 64, 2000),
    )
    for dtype, bound in PRECISIONS:
        check_paged(board, dtype, bound, shapes)
    for scale in (3.0, 0.3):
        check_sample(board, scale)
    told(board, "checked")
    for rows, tokens in ((1, 8192), (1, 262144), (64, 320), (256, 320), (32, 8192)):
        time_paged(board, rows, tokens, 64, [None], [None])
    for rows in (64, 128, 256):
        time_turn_and_attend(board, rows)
    for rows in (1, 256):
        time_likeliest(board, rows, [None])
        time_sample(board, rows, [(4096, 8)])


def do_prefill(board: Board) -> None:
    """Long prompts."""
    for dtype, bound in PRECISIONS:
        check_norms(board, dtype, bound, ((3, 576), (1000, 1024), (65, 6144)))
        check_rope(board, dtype, bound)
    told(board, "checked")
    time_prefill(board)


def do_tiles(board: Board) -> None:
    """Variants, so that the best can be chosen."""
    layers = [Layer() for _ in range(LAYERS)]
    time_rows(board, layers, [None, (4, 1024, 4), (8, 1024, 4), (16, 1024, 8), (8, 512, 4), (4, 512, 2), (2, 1024, 2)])
    time_head(board, [None, (16, 512, 4), (32, 1024, 8), (16, 1024, 4)])
    for tokens, rows in ((262144, 1), (320, 256), (8192, 32)):
        time_paged(board, rows, tokens, 64, [(64, 4, 5), (128, 4, 3), (128, 8, 4), (32, 4, 4), (32, 2, 4)], [None])
    for rows in (1, 256):
        time_sample(board, rows, [(8192, 8), (8192, 16), (4096, 4), (2048, 4)])


PRECISIONS = ((BF16, 1.5e-2), (FP32, 2e-5))
PARTS = {"one": do_one, "many": do_many, "prefill": do_prefill, "tiles": do_tiles}


def told(board: Board, what: str) -> None:
    """Say how long it has been."""
    print(f"{what} after {time.monotonic() - board.begun:.0f} s", flush=True)


def main() -> None:
    """Check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=115.0)
    parser.add_argument("--only", choices=PARTS, help="one part; without it all")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA GPU here; the kernels' tests run on a CPU: pytest tests/local/kernels")
    torch.backends.cuda.matmul.allow_tf32 = False
    board = Board(given.seconds)
    for name, work in PARTS.items():
        if given.only in {None, name}:
            board.attempt(name, partial(work, board))
            told(board, name)
    print(json.dumps({"device": torch.cuda.get_device_name(), "checks": board.errors, "times": board.times}))


if __name__ == "__main__":
    main()
