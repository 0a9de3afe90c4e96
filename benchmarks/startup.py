"""How long listings take, as whole processes: the median of ten runs each, and what they import that is heavy.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

HEAVY = {"torch", "pandas", "datasets", "numpy", "pyarrow", "sympy", "transformers", "aiohttp", "jinja2", "rich"}
COMMANDS = (["--help"], ["tasks"], ["run", "--help"], ["tasks", "--json"])
RUNS = 10


def main() -> None:
    """Print a table."""
    print("| command | median s | min | max | heavy imports |")
    print("|---|--:|--:|--:|---|")
    for args in COMMANDS:
        command = [sys.executable, "-m", "m1eval", *args]
        subprocess.run(command, check=True, capture_output=True)
        times = []
        for _ in range(RUNS):
            begin = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - begin)
        traced = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "m1eval", *args], check=True, capture_output=True, text=True
        )
        names = {line.rpartition("|")[2].strip().partition(".")[0] for line in traced.stderr.splitlines()}
        heavy = ", ".join(sorted(names & HEAVY)) or "none"
        figures = " | ".join(f"{figure:.3f}" for figure in (statistics.median(times), min(times), max(times)))
        print(f"| `m1eval {' '.join(args)}` | {figures} | {heavy} |")


if __name__ == "__main__":
    main()
