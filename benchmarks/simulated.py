"""Do the statistics keep what they promise? Simulated models of known accuracy; the last line is JSON.

    python benchmarks/simulated.py

1. `m1eval compare` on runs of two echo-like models: 200 seeds with no difference, 200 with one of 10 points.
2. How often 95% intervals hold the truth, and how often a bootstrap p finds what is not there, beside sign flips.
3. Times: avg@32 over 30 problems with 100,000 bootstrap draws.
"""

import json
import math
import random
import tempfile
import time
from pathlib import Path

from m1eval import stats
from m1eval.compare import compare
from m1eval.journal import Record, encoded

SEEDS = 200
SAMPLES = 400
GAP = 0.10
TRIALS = 2000


def main() -> None:
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, gap in (("no difference", 0.0), (f"a difference of {GAP:.2f}", GAP)):
            found = 0
            for seed in range(SEEDS):
                a, b = (write(Path(folder, f"{side}"), seed, shift) for side, shift in (("a", 0.0), ("b", gap)))
                (pair,) = compare([a, b])
                found += pair.p < 0.05
            print(f"compare, {SAMPLES} samples, {name}: p < 0.05 in {found} of {SEEDS}")
            result["found_without" if not gap else "found_with"] = found / SEEDS
    print("\n| n | t interval holds | bootstrap interval holds | sign flips find | bootstrap p finds |")
    print("|--:|--:|--:|--:|--:|")
    for n in (10, 30, 100):
        shares = coverage(n)
        print(f"| {n} | " + " | ".join(f"{100 * share:.1f}%" for share in shares) + " |")
        names = ("t", "bootstrap", "flips", "bootstrap_p")
        result |= {f"{name}_{n}": share for name, share in zip(names, shares, strict=True)}
    made = random.Random(0)
    means = [sum(made.random() < 0.7 for _ in range(32)) / 32 for _ in range(30)]
    begin = time.perf_counter()
    stats.bootstrap(means)
    result["bootstrap_s"] = round(time.perf_counter() - begin, 3)
    begin = time.perf_counter()
    stats.sign_flip([mean - 0.6 for mean in means])
    result["sign_flip_s"] = round(time.perf_counter() - begin, 3)
    print("\n100,000 draws, avg@32 over 30 problems:", end=" ")
    print(f"bootstrap {result['bootstrap_s']} s, sign flips {result['sign_flip_s']} s")
    print(json.dumps(result))


def write(folder: Path, seed: int, shift: float) -> Path:
    """A run of a model that is right with each problem's own chance, in the mean 0.5 + `shift`."""
    folder.mkdir(exist_ok=True)
    problems, answers = random.Random(f"problems {seed}"), random.Random(f"{folder.name} {seed}")
    lines = []
    for i in range(SAMPLES):
        chance = problems.random()
        chance += 2 * shift * (1 - chance)  # one half is missing in the mean, so that the mean rises by `shift`
        right = answers.random() < chance
        record = Record(id=f"s-{i}", repeat=0, outcome="right" if right else "wrong", value=float(right))
        lines.append(encoded(record) + b"\n")
    (folder / "samples.jsonl").write_bytes(b"".join(lines))
    (folder / "run.json").write_text(json.dumps({"task": "simulated", "model": folder.name, "config": {}}))
    return folder


def coverage(n: int) -> tuple[float, float, float, float]:
    """Shares of trials: of intervals that hold the mean, and of tests that find a difference that is not there."""
    made = random.Random(n)
    held = drawn = flips = boots = 0
    for trial in range(TRIALS):
        chances = [made.betavariate(1, 1) for _ in range(n)]
        one, other = ([sum(made.random() < c for _ in range(4)) / 4 for c in chances] for _ in range(2))
        low, high = stats.interval(one)
        held += low <= 0.5 <= high
        low, high = stats.bootstrap(one, draws=1000, seed=trial)
        drawn += low <= 0.5 <= high
        differences = [a - b for a, b in zip(one, other, strict=True)]
        flips += stats.sign_flip(differences, draws=1000, seed=trial) < 0.05
        boots += bootstrap_p(differences, trial) < 0.05
    return held / TRIALS, drawn / TRIALS, flips / TRIALS, boots / TRIALS


def bootstrap_p(differences: list[float], seed: int) -> float:
    """The usual way: how often the centred mean of samples drawn with return is as far from 0."""
    import numpy as np

    values = np.asarray(differences)
    draws = np.random.default_rng(seed).integers(0, len(values), size=(1000, len(values)))
    means = values[draws].mean(axis=1) - values.mean()
    return float((abs(means) >= abs(math.fsum(differences)) / len(values)).mean())


if __name__ == "__main__":
    main()
