"""Run the engine under random schedules on a GPU and compare every answer with that of the request alone.

    python benchmarks/gpu/engine_schedules.py [--device cuda] [--schedules N] [--requests N] [--seed N] [--only NAME]

For every architecture, on tiny random weights: fp32 with steps launched ahead, with and without CUDA graphs, against
one plain pass over all tokens, in which logprobs may differ by `--within` nats (1e-4: kernels cut their sums
otherwise); and bf16 with `invariant`, to the bit against each request alone. A schedule has `--requests` mixed
requests, most of them at once, in too few blocks: shared beginnings, repeats, forced tokens, stops, scored texts,
cancellations, preemptions. Where the plain pass gives another token although the request alone gives the same, two
tokens or two experts were as good as equal, and rounding decided: those are counted as ties. Then
`m1eval run --repeats 8` on a tiny MiniMax must give one greedy answer to each prompt. Prints a table, and exits with 1
if anything differs.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.engine_schedules import models  # noqa: E402
from benchmarks.engine_schedules.drive import drive, make  # noqa: E402
from benchmarks.engine_schedules.schedule import Ask, Schedule, random_schedule, same  # noqa: E402

LENGTHS = (65, 127, 128, 129, 193, 300, 448, 511)
"""Prompts of the whole command, in tokens."""
HEADER = "| architecture | dtype | engine | schedules | requests | preempted | worst Δlogprob | ties | differing | s |"


class Results(NamedTuple):
    """Results of some schedules."""

    requests: int = 0
    preempted: int = 0
    worst: float = 0.0
    ties: int = 0
    differing: tuple[str, ...] = ()

    def __add__(self, other: Any) -> "Results":
        worst = max(self.worst, other.worst)
        differing = self.differing + other.differing
        requests, preempted = self.requests + other.requests, self.preempted + other.preempted
        return Results(requests, preempted, worst, self.ties + other.ties, differing)


def schedule(rng: random.Random, requests: int, *, graphs: bool, invariant: bool) -> Schedule:
    """A schedule of `requests` requests, most of them concurrent, over few blocks."""
    asks: list[Ask] = []
    while len(asks) < requests:
        asks += random_schedule(rng).asks
    asks = [replace(ask, max_tokens=min(ask.max_tokens, 70)) for ask in asks[:requests] if len(ask.prompt) < 600]
    # Some answers grow by more blocks than are kept free for them, so that others are preempted.
    asks = [replace(ask, max_tokens=200) if ask.max_tokens > 1 and i % 3 == 0 else ask for i, ask in enumerate(asks)]
    needed = -(-max(len(ask.prompt) + max(ask.max_tokens, 1) for ask in asks) // 64)
    return Schedule(
        asks=tuple(asks),
        batch=32,
        chunk=rng.choice((128, 512, 2048)),
        blocks=needed + rng.choice((8, 30)),
        snapshots=rng.choice((2, 16)),
        ahead=True,
        graphs=graphs,
        invariant=invariant,
    )


def run(model: Any, workload: Schedule, dtype: torch.dtype, device: torch.device, within: float) -> Results:
    """Run a schedule and compare its answers with the expected ones."""
    states, worst, differing, counted, ties = models.has_states(model), 0.0, [], 0, 0
    engine = make(models.device(model, workload, dtype, device), workload, states=states)
    sequences = drive(engine, workload)
    # One device for all of them alone: with every block workload back, it is as good as a new one for each.
    by_itself = workload.alone(max(workload.asks, key=lambda ask: len(ask.prompt) + ask.max_tokens))
    reference = make(models.device(model, by_itself, dtype, device), by_itself, states=states)
    for number, (ask, sequence) in enumerate(zip(workload.asks, sequences, strict=True)):
        if sequence.future.cancelled():
            continue
        counted += 1
        try:
            if error := sequence.future.exception():
                raise error
            if workload.invariant:
                same(ask, sequence, alone(reference, by_itself, ask))
            else:
                worst = max(worst, models.verify(model, ask, sequence, device, within))
        except Exception as error:  # noqa: BLE001  each answer by itself
            tie = not (workload.invariant or sequence.future.exception())
            if tie and sequence.output_token_ids == alone(reference, by_itself, ask).output_token_ids:
                ties += 1
            else:
                differing.append(f"request {number}: {type(error).__name__}: {error}")
    return Results(counted, engine.scheduler.num_preempted, worst, ties, tuple(differing))


def alone(reference: Any, by_itself: Schedule, ask: Ask) -> Any:
    """The answer to a request that runs alone."""
    (sequence,) = drive(reference, replace(by_itself, asks=(replace(ask, arrive=0, cancel=None),)))
    return sequence


def command(device: str, folder: Path) -> Results:
    """Greedy repeats of a tiny MiniMax through the whole command."""
    models.write(folder / "model", "minimax_m1")
    rows = [{"id": str(n), "text": "".join(chr(97 + (i * i + n) % 26) for i in range(n))} for n in LENGTHS]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "t.yaml").write_text(
        "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ text }}'\ntarget: x\nscorer: exact\n"
    )
    code = "import sys; from m1eval.cli.main import main; main(sys.argv[1:])"
    words = ["run", "--tasks", str(folder / "t.yaml"), "--model", f"local:{folder / 'model'}", "--repeats", "8"]
    words += ["--max-tokens", "8", "--set", "generation.temperature=0", "-o", f"device={device}", "-o", "memory=1"]
    words += ["-o", "dtype=float32", "-o", "batch=32", "--out", str(folder / "x"), "--display", "plain"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return Results(differing=(done.stderr.strip(),))
    answers: dict[str, set[str]] = {}
    (journal,) = (folder / "x").glob("*/*/samples.jsonl")
    lines = journal.read_text().splitlines()
    for record in map(json.loads, lines):
        answers.setdefault(record["id"], set()).add(record["text"])
    differing = tuple(f"{len(texts)} answers to {name} tokens" for name, texts in answers.items() if len(texts) > 1)
    return Results(len(lines), differing=differing)


def row(name: str, dtype: str, engine: str, schedules: int, results: Results, began: float) -> bool:
    """Print a row of the table; return whether nothing differed."""
    print(
        f"| {name} | {dtype} | {engine} | {schedules} | {results.requests} | {results.preempted} | "
        f"{results.worst:.1e} | {results.ties} | {len(results.differing)} | {time.monotonic() - began:.0f} |",
        flush=True,
    )
    for line in results.differing[:5]:
        print(f"{name} {dtype} {engine}: {line}", file=sys.stderr, flush=True)
    return not results.differing


def main() -> int:
    """Run all cases; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description="The engine under random schedules on a GPU.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--schedules", type=int, default=1)
    parser.add_argument("--requests", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, default=1e-4)
    parser.add_argument("--only", default="", help="architectures, by commas; 'command' for the whole command")
    args = parser.parse_args()
    device, only = torch.device(args.device), args.only.split(",") if args.only else [*models.ARCHITECTURES]
    only += [] if args.only else ["command"]
    sound = True
    print(HEADER, "|---|---|---|--:|--:|--:|--:|--:|--:|--:|", sep="\n", flush=True)
    for kind in (kind for kind in models.ARCHITECTURES if kind in only):
        for dtype, graphs in ((torch.float32, False), (torch.float32, True), (torch.bfloat16, True)):
            began, total, invariant = time.monotonic(), Results(), dtype == torch.bfloat16
            with tempfile.TemporaryDirectory() as name:
                model = models.read(models.write(Path(name) / kind, kind), dtype, device)
            for number in range(args.schedules):
                rng = random.Random(f"{args.seed}:{number}")
                workload = schedule(rng, args.requests, graphs=graphs, invariant=invariant)
                total += run(model, workload, dtype, device, args.within)
            how = ("invariant, " if invariant else "ahead, ") + ("graphs" if graphs else "no graphs")
            sound &= row(kind, str(dtype).removeprefix("torch."), how, args.schedules, total, began)
    if "command" in only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as name:
            sound &= row("minimax_m1", "float32", "m1eval run", 1, command(args.device, Path(name)), began)
    return int(not sound)


if __name__ == "__main__":
    sys.exit(main())
