# mypy: disable-error-code="no-untyped-call"
"""Check and time lightning attention on a GPU, with every way of splitting the work, in about a minute.

    python benchmarks/gpu/lightning.py [SECONDS]

16 heads of 128 in bf16, q, k and v as views of one tensor [tokens, heads, 3, 128], as the model has them. Rates count
the bytes of q, k, v and the output once each; in decode those of the state, read and written. Times are medians by
device events. Where flash-linear-attention (PyPI: flash-linear-attention, fla-core) is installed, its
`chunk_lightning_attn` is timed next to ours. After SECONDS (default 80) the rest is skipped and named.
The last line is JSON.
"""

import importlib
import importlib.util
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root: a script has only its own folder

from benchmarks.gpu.board import part

lightning = part("kernels.lightning")
prefill_reference = part("ops.lightning").lightning_prefill.reference

HEADS, DIM, LAYERS = 16, 128, 80
LENGTHS = (2**15, 2**17, 2**20)
ROWS = (1, 32, 256)
LIMIT = 1e-2

Tuning = lightning.Tuning
DEFAULT = Tuning()
VARIANTS: dict[str, Any] = {
    "default": DEFAULT,
    "8 warps": DEFAULT._replace(warps=8),
    "stages 3": DEFAULT._replace(stages=3),
    "whole values, 8 warps": DEFAULT._replace(split=1, warps=8),
    "16 programs": DEFAULT._replace(programs=16),
    "8 programs": DEFAULT._replace(programs=8),
    "segments of 256": DEFAULT._replace(programs=16, min_segment=256),
    "stages 3, states in halves": DEFAULT._replace(stages=3, state_split=2, state_warps=4),
    "states in halves": DEFAULT._replace(state_split=2, state_warps=4),
    "block 32": DEFAULT._replace(block=32, stages=3),
    "values in halves, block 128": DEFAULT._replace(block=128, warps=8),
}


def slopes(layer: int = 0) -> Tensor:
    """The slopes of one layer of an M1 with 16 heads: they get flatter with the layer."""
    heads = 2.0 ** (-8 * torch.arange(1, HEADS + 1, device="cuda") / HEADS)
    return heads * (1 - layer / (LAYERS - 1) + 1e-5)


def random_qkv(
    tokens: int, seed: int, dtype: torch.dtype = torch.bfloat16, heads: int = HEADS, dim: int = DIM
) -> Tensor:
    """Normal random numbers [tokens, heads, 3, dim]."""
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(tokens, heads, 3, dim, generator=generator, device="cuda", dtype=dtype)


def reference(qkv: Tensor, decay: Tensor, states: Tensor, spans: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
    """Outputs and states in fp64 from the closed form: every pair of tokens of a sequence, no blocks."""
    q, k, v = (x.double().transpose(0, 1) for x in qkv.unbind(2))
    out, states = torch.zeros_like(q), states.double()
    for begin, end, slot in spans:
        part = slice(begin, end)
        steps = torch.arange(end - begin, device="cuda", dtype=torch.float64)
        rate = -decay.double()[:, None]
        apart = (rate[..., None] * (steps[:, None] - steps).clamp_(min=0)).exp_().tril_()
        out[:, part] = (q[:, part] @ k[:, part].mT).mul_(apart) @ v[:, part]
        out[:, part] += (q[:, part] * (rate * (steps + 1)).exp()[..., None]) @ states[slot]
        left = (rate * steps.flip(0)).exp()[..., None]
        decay_all = (rate * (end - begin)).exp()[..., None]
        states[slot] = states[slot] * decay_all + (k[:, part] * left).mT @ v[:, part]
    return out.transpose(0, 1), states


def error(output: Tensor, expected: Tensor) -> float:
    """Relative Frobenius error; NaN stays NaN and passes no limit."""
    return float((output.double() - expected).norm() / expected.norm())


def poison(tokens: int, dim: int, dtype: torch.dtype) -> None:
    """Leave NaN in the memory that the next output and the entering states are likely to get."""
    out = torch.full((tokens, HEADS, dim), torch.nan, dtype=dtype, device="cuda")
    entering = [torch.full((n, HEADS, dim, dim), torch.nan, device="cuda") for n in (4, 8, 12, 16)]
    del out, entering


def check(tuning: Any, seed: int, dtype: torch.dtype = torch.bfloat16, dim: int = DIM) -> tuple[float, float]:
    """Errors of outputs and states: three sequences of several and of one segment, one slot left alone."""
    spans = [(0, 2309, 2), (2309, 2310, 0), (2310, 3000, 3)]
    tuning = tuning and tuning._replace(min_segment=256, programs=1)
    qkv = random_qkv(3000, seed, dtype, dim=dim)
    worst = [0.0, 0.0]
    for layer in (0, 40, 78):
        decay = slopes(layer)
        states = torch.randn(4, HEADS, dim, dim, device="cuda")
        expected_out, after = reference(qkv, decay, states, spans)
        poison(3000, dim, dtype)
        out = lightning.lightning_prefill(*qkv.unbind(2), decay, states, spans, tuning=tuning)
        assert torch.equal(states[1], after[1].float()), "a state was written that no span names"
        errors = (error(out, expected_out), error(states, after))
        worst = [max(a, b) if math.isfinite(b) else math.inf for a, b in zip(worst, errors, strict=True)]
    return worst[0], worst[1]


def check_decode(dtype: torch.dtype) -> float:
    """The worst error of 300 tokens one by one, outputs and states."""
    qkv, decay = random_qkv(600, 7, dtype), slopes()
    states = torch.randn(5, HEADS, DIM, DIM, device="cuda")
    expected_out, after = reference(qkv, decay, states, [(0, 300, 4), (300, 600, 1)])
    slots = torch.tensor([4, 1], device="cuda")
    rows = [qkv[[t, 300 + t]].unbind(2) for t in range(300)]
    out = torch.stack([lightning.lightning_decode(*row, decay, states, slots) for row in rows])
    return max(error(out.transpose(0, 1).flatten(0, 1), expected_out), error(states, after))


def check_long(qkv: Tensor) -> float:
    """The end of a prompt whose offsets do not fit 32 bits, against PyTorch started 32k tokens before the end."""
    decay, tokens = slopes(), len(qkv)
    states, expected = (torch.zeros(1, HEADS, DIM, DIM, device="cuda") for _ in range(2))
    out = lightning.lightning_prefill(*qkv.unbind(2), decay, states, [(0, tokens, 0)])
    tail = qkv[-(2**15) :].float()
    expected_out = prefill_reference(*tail.unbind(2), decay, expected, [(0, len(tail), 0)])
    return max(error(out[-4096:], expected_out[-4096:].double()), error(states, expected.double()))


def timed(call: Callable[[], object], times: int = 10, inner: int = 1) -> float:
    """Median milliseconds of one call; `inner` calls between two events where one is short."""
    call()
    torch.cuda.synchronize()
    milliseconds = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(inner):
            call()
        end.record()
        end.synchronize()
        milliseconds.append(float(begin.elapsed_time(end)) / inner)
    return statistics.median(milliseconds)


def replayed(call: Callable[[], object]) -> float:
    """Median milliseconds of a call inside a CUDA graph of twenty."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(20):
            call()
    return timed(graph.replay) / 20


def copy_rate() -> float:
    """TB/s of a device copy, read and written bytes counted."""
    source = torch.randn(2**30, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return 2 * source.numel() * 2 / timed(lambda: target.copy_(source)) / 1e9


def prefill_rates(qkv: Tensor, tuning: Any, spans: list[tuple[int, int, int]], layer: int = 0) -> dict[str, float]:
    """Milliseconds and TB/s of one call."""
    tokens = spans[-1][1]
    q, k, v = qkv[:tokens].unbind(2)
    states, decay = torch.zeros(len(spans), HEADS, DIM, DIM, device="cuda"), slopes(layer)
    ms = timed(lambda: lightning.lightning_prefill(q, k, v, decay, states, spans, tuning=tuning))
    return {"ms": ms, "TB/s": 4 * tokens * HEADS * DIM * 2 / ms / 1e9}


def peer_rates(qkv: Tensor, tokens: int) -> dict[str, float]:
    """Rates of flash-linear-attention's kernel, whose slopes are a similar formula."""
    chunk = importlib.import_module("fla.ops.lightning_attn").chunk_lightning_attn
    q, k, v = (x[None].contiguous() for x in qkv[:tokens].unbind(2))  # it would copy views at every call
    states = torch.zeros(1, HEADS, DIM, DIM, device="cuda")
    ms = timed(lambda: chunk(q, k, v, 0, LAYERS, scale=1.0, initial_state=states, output_final_state=True))
    return {"ms": ms, "TB/s": 4 * tokens * HEADS * DIM * 2 / ms / 1e9}


def decode_rates(rows: int) -> dict[str, float]:
    """Milliseconds and TB/s of one step of `rows` sequences, their states scattered over the slots."""
    q, k, v = random_qkv(rows, 3).unbind(2)
    states = torch.zeros(2 * rows, HEADS, DIM, DIM, device="cuda")
    slots, decay = torch.randperm(2 * rows, device="cuda")[:rows], slopes()
    ms = replayed(lambda: lightning.lightning_decode(q, k, v, decay, states, slots))
    return {"ms": ms, "TB/s": 2 * rows * HEADS * DIM * DIM * 4 / ms / 1e9}


def guarded(results: dict[str, Any], name: str, call: Callable[[], Any]) -> Any:
    """The call's result, stored under the name; a failure is printed and the run goes on."""
    try:
        results[name] = call()
    except Exception as problem:  # noqa: BLE001  # one variant that does not compile must not cost the others
        results[name] = None
        print(f"{name}: {type(problem).__name__}: {str(problem).strip()[:300]}", flush=True)
    torch.cuda.synchronize()
    return results[name]


def main() -> None:
    """Print the tables, then JSON."""
    started, seconds = time.perf_counter(), float(sys.argv[1]) if len(sys.argv) > 1 else 80.0
    results: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    results["copy TB/s"] = copy_rate()
    print(f"{results['device']}, torch {torch.__version__}, device copy {results['copy TB/s']:.2f} TB/s")
    qkv = random_qkv(max(LENGTHS), 1)
    print("| variant | output error | state error | " + " | ".join(f"{n:,} ms (TB/s)" for n in LENGTHS) + " |")
    print("|---|--:|--:|" + "--:|" * len(LENGTHS), flush=True)
    for seed, (name, tuning) in enumerate(VARIANTS.items(), 100):
        if time.perf_counter() - started > seconds:
            print(f"skipped: {name}")
            continue
        errors = guarded(results, f"errors, {name}", lambda t=tuning, s=seed: check(t, s))  # type: ignore[misc]
        if errors is None:
            continue
        rates = [
            guarded(results, f"{n}, {name}", lambda n=n, t=tuning: prefill_rates(qkv, t, [(0, n, 0)]))  # type: ignore[misc]
            for n in LENGTHS
        ]
        cells = [f"{rate['ms']:.3f} ({rate['TB/s']:.2f})" if rate else "failed" for rate in rates]
        right = "" if all(e < LIMIT for e in errors) else " WRONG"
        print(f"| {name}{right} | {errors[0]:.1e} | {errors[1]:.1e} | " + " | ".join(cells) + " |", flush=True)
        if name == "default":
            peer(results, qkv)
            rest(results, qkv)
    print(f"{time.perf_counter() - started:.0f} s")
    print(json.dumps(results))


def peer(results: dict[str, Any], qkv: Tensor) -> None:
    """flash-linear-attention's row of the table."""
    if importlib.util.find_spec("fla") is None:
        print("| flash-linear-attention: not installed | | | | | |")
        return
    rates = [guarded(results, f"{n}, fla", lambda n=n: peer_rates(qkv, n)) for n in LENGTHS]  # type: ignore[misc]
    cells = [f"{rate['ms']:.3f} ({rate['TB/s']:.2f})" if rate else "failed" for rate in rates]
    print("| flash-linear-attention | | | " + " | ".join(cells) + " |", flush=True)


def rest(results: dict[str, Any], qkv: Tensor) -> None:
    """Measurements of the default tuning alone."""
    many = [(256 * i, 256 * (i + 1), i) for i in range(200)]
    cases: dict[str, Callable[[], Any]] = {
        "error at the end of 1M tokens": lambda: check_long(qkv),
        "errors fp32": lambda: check(None, 11, torch.float32),
        "errors fp16, dim 64": lambda: check(None, 12, torch.float16, 64),
        "errors bf16, dim 96": lambda: check(None, 13, torch.bfloat16, 96),
        "error of decode fp32": lambda: check_decode(torch.float32),
        "error of decode bf16": lambda: check_decode(torch.bfloat16),
        "200 sequences of 256": lambda: prefill_rates(qkv, None, many),
        "1M tokens, layer 40": lambda: prefill_rates(qkv, None, [(0, len(qkv), 0)], 40),
        "1M tokens, layer 78, the flattest": lambda: prefill_rates(qkv, None, [(0, len(qkv), 0)], 78),
        **{f"decode, {rows} rows": lambda rows=rows: decode_rates(rows) for rows in ROWS},  # type: ignore[misc]
    }
    for name, call in cases.items():
        value = guarded(results, name, call)
        if isinstance(value, dict):
            print(f"  {name}: {value['ms']:.4f} ms, {value['TB/s']:.2f} TB/s")
        elif value is not None:
            print(f"  {name}: {', '.join(f'{v:.1e}' for v in (value if isinstance(value, tuple) else [value]))}")
    print(flush=True, end="")


if __name__ == "__main__":
    main()
