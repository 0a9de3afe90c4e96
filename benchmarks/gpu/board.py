"""Measuring kernels on a CUDA GPU: checks against a reference, times of CUDA graphs, random inputs."""

import importlib
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BF16, FP32, FP64 = torch.bfloat16, torch.float32, torch.float64
WIDTH, HEADS, KV_HEADS, DIM, FFN, VOCAB, LAYERS = 1024, 16, 8, 128, 3072, 151936, 28
QKV = (HEADS + 2 * KV_HEADS) * DIM
EPS = 1e-6

_package = types.ModuleType("local_parts")
# The operations alone: they need torch and triton, the runner around them needs more than a bare GPU machine has.
_package.__path__ = [str(Path(__file__).parents[2] / "runners" / "local")]
sys.modules[_package.__name__] = _package


def part(name: str) -> Any:
    """A module of the runner, e.g. `ops.norm`."""
    return importlib.import_module(f"{_package.__name__}.{name}")


class Board:
    """Errors and times, printed as they are measured.

    What would start after `seconds` is left out. `only`: a word in the names of what is run. `dry`: nothing is timed,
    each call runs once, so that its kernel is compiled. `replays` and `warm_ups`: see `replayed`.
    """

    def __init__(
        self, seconds: float, only: str = "", *, dry: bool = False, replays: int = 25, warm_ups: int = 3
    ) -> None:
        self.started, self.seconds, self.only, self.dry = time.monotonic(), seconds, only, dry
        self.replays, self.warm_ups = replays, warm_ups
        self.errors: dict[str, Any] = {}
        self.times: dict[str, dict[str, float]] = {}

    def attempt(self, name: str, work: Callable[[], None]) -> None:
        """Run it if it is selected and there is time."""
        if self.only not in name:
            return
        if time.monotonic() - self.started > self.seconds:
            print(f"{name:62s} left out: no time", flush=True)
            return
        self.guarded(name, work)

    def guarded(self, name: str, work: Callable[[], None]) -> None:
        """Run it; a failure is printed, not raised."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  one kernel that does not compile must not hide the others
            lines = str(error).strip().splitlines() or [""]
            print(f"{name:62s} FAILED {type(error).__name__}: {lines[0][:200]} … {lines[-1][:200]}", flush=True)
            self.errors[name] = f"FAILED {error!r}"[:400]

    def check(self, name: str, kernel: Callable[[], Any], reference: Callable[[], Any], bound: float) -> None:
        """Relative Frobenius errors of each output."""

        def errors() -> list[float]:
            expected = _tensors(reference())
            poison()
            outputs = _tensors(kernel())
            return [relative_error(a, b) for a, b in zip(outputs, expected, strict=True)]

        self.check_errors(name, errors, bound)

    def check_errors(self, name: str, errors: Callable[[], Sequence[float]], bound: float) -> None:
        """Errors that `errors()` computes; it poisons memory itself."""

        def work() -> None:
            values = list(errors())
            good = all(value <= bound for value in values)  # NaN is not
            verdict = "ok" if good else f"WRONG, above {bound}"
            print(f"{name:62s} {' '.join(f'{value:.1e}' for value in values):24s} {verdict}", flush=True)
            self.errors[name] = values if good else f"WRONG {values}"

        self.attempt(name, work)

    def time(self, name: str, calls: Sequence[Callable[[], Any]], bytes_moved: float = 0.0, per: int = 0) -> None:
        """Microseconds per call (or per `per`-th of all calls together) and GB/s."""

        def work() -> None:
            if self.dry:
                calls[0]()
                return
            micros = replayed(calls, self.replays, self.warm_ups) / (per or len(calls))
            speed = bytes_moved / micros / 1e3
            print(f"{name:62s} {micros:10.2f} µs" + (f" {speed:8.0f} GB/s" if bytes_moved else ""), flush=True)
            self.times[name] = {"us": round(micros, 3), "gb_s": round(speed, 1)}

        self.attempt(name, work)


def replayed(calls: Sequence[Callable[[], Any]], replays: int = 25, warm_ups: int = 3) -> float:
    """Microseconds of all the calls together, in one CUDA graph: the median of `replays` after some `warm_ups`."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    for _ in range(warm_ups):
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


def poison(bits: int = 26) -> None:
    """Fill the memory of the next outputs with NaN, those of up to 2^bits elements."""
    filled = [torch.full((2**size,), torch.nan, device="cuda") for size in range(7, bits + 1) for _ in range(3)]
    del filled


def relative_error(output: Tensor, expected: Tensor, dtype: torch.dtype = FP64) -> float:
    """‖output − expected‖ / ‖expected‖, computed in `dtype`."""
    expected = expected.to(dtype)
    return float((output.to(dtype) - expected).norm() / expected.norm())


def _tensors(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def normal(*shape: int, dtype: torch.dtype = BF16, scale: float = 1.0) -> Tensor:
    """Normal random numbers on the GPU."""
    return torch.empty(shape, dtype=dtype, device="cuda").normal_(0, scale)


def weights(out: int, depth: int, dtype: torch.dtype = BF16) -> Tensor:
    """A matrix whose products stay near one."""
    return normal(out, depth, dtype=dtype, scale=depth**-0.5)


def to_fp64(*tensors: Tensor | None) -> Iterator[Any]:
    """The tensors in fp64."""
    return (None if tensor is None else tensor.to(FP64) for tensor in tensors)


def block_tables(rows: int, max_length: int, block: int, lengths: Tensor) -> Any:
    """Tables of `rows` sequences whose blocks lie in random order."""
    blocks = -(-max_length // block)
    tables = torch.randperm(rows * blocks, device="cuda").int().view(rows, blocks)
    return part("ops.layout").BlockTables(tables, lengths, max_length)


def paged_cache(rows: int, tokens: int, block: int, dtype: torch.dtype = BF16) -> tuple[Any, Any]:
    """Cache and block tables of `rows` sequences of `tokens` tokens."""
    shape = (rows * -(-tokens // block), block, KV_HEADS, DIM)
    cache = part("ops.layout").PagedCache(normal(*shape, dtype=dtype), normal(*shape, dtype=dtype))
    lengths = torch.full((rows,), tokens, dtype=torch.int32, device="cuda")
    return cache, block_tables(rows, tokens, block, lengths)


def last_slots(tables: Any, block: int = 64) -> Tensor:
    """Cache slots of the last tokens."""
    last = tables.lengths.long() - 1
    slots: Tensor = tables.tables.gather(1, (last // block)[:, None]).squeeze(1).long() * block + last % block
    return slots


def rotary(tokens: int, half: int = DIM // 2) -> Any:
    """Random rotary angles."""
    angles = normal(tokens, half, dtype=FP32)
    return part("ops.layout").Rotary(angles.cos(), angles.sin())
