"""Run the local engine under random schedules and compare every answer with that of the request alone.

    python -m benchmarks.engine_schedules [--schedules N] [--seed N] [--models] [--dtype float32]

Without --models no model is computed: a device that holds symbols in place of numbers sees at once what reads memory
that is not what it is taken for, with and without states, with steps that fail, and for an invariant engine any other
way of computing a token. With --models all architectures do it on tiny random weights on a CPU, against one plain pass
over all tokens; with `--dtype bfloat16` only `invariant`, to the bit. Prints a table; exits with 1 if anything differs.
The seed and number on its line reproduce a schedule.
"""

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from . import models, symbolic
from .schedule import random_schedule

Case = tuple[str, Callable[[random.Random], tuple[Any, float]]]


def symbolic_cases() -> Iterator[Case]:
    """Cases that run without a model, by name."""
    for states in (False, True):
        for mode in ("", "failing", "invariant"):

            def run(rng: random.Random, states: bool = states, mode: str = mode) -> tuple[Any, float]:
                schedule = random_schedule(rng, failing=mode == "failing", invariant=mode == "invariant")
                return symbolic.run(schedule, states=states), 0.0

            yield f"symbols {'with states ' if states else ''}{mode}", run


def model_cases(dtype: torch.dtype, within: float) -> Iterator[Case]:
    """Cases that run on tiny models."""
    cpu = torch.device("cpu")
    for kind in models.ARCHITECTURES:
        with tempfile.TemporaryDirectory() as name:
            model = models.read(models.write(Path(name) / kind, kind), dtype, cpu)
        for invariant in (False, True) if dtype == torch.float32 else (True,):

            def run(rng: random.Random, model: Any = model, invariant: bool = invariant) -> tuple[Any, float]:
                schedule = random_schedule(rng, invariant=invariant, requests=6)
                return models.run(model, schedule, dtype, cpu, within)

            yield f"{kind} {str(dtype).removeprefix('torch.')}{' invariant' if invariant else ''}", run


def main() -> int:
    """Run all cases; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description="The local engine under random schedules.")
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", action="store_true")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--within", type=float, default=1e-5, help="how far logprobs in fp32 may differ, in nats")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = model_cases(getattr(torch, args.dtype), args.within) if args.models else symbolic_cases()
    wrong = 0
    print("| case | schedules | preempted | worst Δlogprob | wrong | first wrong | s |\n|---|--:|--:|--:|--:|---|--:|")
    for name, run in cases:
        begin, failed, worst, preempted = time.monotonic(), [], 0.0, 0
        for number in range(args.schedules):
            try:
                engine, apart = run(random.Random(f"{args.seed}:{number}"))
                worst, preempted = max(worst, apart), preempted + engine.scheduler.num_preempted
            except Exception as error:  # noqa: BLE001  each schedule by itself
                failed.append(number)
                message = traceback.format_exception_only(error)[-1].strip() + f" (seed {args.seed}, schedule {number})"
                print(message, file=sys.stderr)
        seconds, first = time.monotonic() - begin, failed[0] if failed else ""
        print(
            f"| {name} | {args.schedules} | {preempted} | {worst:.1e} | {len(failed)} | {first} | {seconds:.0f} |",
            flush=True,
        )
        wrong += len(failed)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
