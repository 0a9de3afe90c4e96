"""Cost of prompts of a million tokens: wall time and peak memory of a whole `m1eval run` on the echo runner.

    python benchmarks/long_prompts.py [TOKENS ...]

`in flight` holds all eight prompts at once (each waits two minutes for its answer's first token to come, so to speak);
`one by one` shows that memory does not grow with the number of samples.
"""

import os
import subprocess
import sys
import tempfile
import time

SAMPLES = 8


def measured(task: str, tokens: int, *more: str) -> tuple[float, float]:
    """Seconds and peak MB of one run."""
    command = [
        sys.executable,
        "-m",
        "m1eval",
        "run",
        "--tasks",
        task,
        "--set",
        f"lengths=[{tokens}]",
        "--limit",
        str(SAMPLES),
    ]
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--set", "samples=8", "--model", "echo:gold", "--out", f"{folder}/x", "--json", *more],
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{task} at {tokens} tokens failed with {process.returncode}")
        return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    print("| task | tokens | samples | held | wall s | peak MB |")
    print("|---|--:|--:|---|--:|--:|")
    for tokens in map(int, sys.argv[1:] or ["131072", "1048576"]):
        for task in ("mrcr_synth", "needle"):
            for held, more in (("one by one", ("-j", "1")), ("in flight", ("-o", "latency=20"))):
                seconds, memory = measured(task, tokens, *more)
                print(f"| {task} | {tokens:,} | {SAMPLES} | {held} | {seconds:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
