"""Overhead of a harness in front of a server that costs nothing: ours next to lm-eval and inspect-ai, in one run.

usage: python benchmarks/overhead.py [--n 5000] [--concurrency 128] [--latency 0] [--only m1eval,lm_eval,inspect]

Whole processes against one small OpenAI-compatible server with a fixed answer (`../shared/bench/mock_openai.py`, or
another by --server). The peers' environments are folders `lm_eval` and `inspect` below $PEERS (default: /tmp/peers);
`../shared/bench/README.md` says how they are made. A harness that is not there is left out.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "bench"
PEERS = Path(os.environ.get("PEERS", Path(tempfile.gettempdir(), "peers")))
TASK = """
title: Sums
dataset: {file: items.jsonl}
id: "{{ id }}"
prompt: |
  {{ question }}
  Put your final answer in \\boxed{}.
target: "{{ answer }}"
scorer: contains
generation: {temperature: 0, max_tokens: 64}
"""


class Spent(NamedTuple):
    """Cost of a whole process: exit code, seconds of wall and CPU, peak memory in MB."""

    code: int
    wall: float
    cpu: float
    peak: float


def measured(command: list[str], log: Path | None = None, **how: Any) -> Spent:
    """Run a command to its end; what it prints goes to `log`, or is shown if there is none."""
    begin = time.monotonic()
    with open(log, "wb") if log else open(os.devnull, "wb") as out:  # noqa: PTH123
        process = subprocess.Popen(command, stdout=out, stderr=out if log else None, **how)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime
    return Spent(process.returncode, time.monotonic() - begin, cpu, used.ru_maxrss / 1024)


class Server:
    """The mock server in a process of its own, for a `with` block."""

    def __init__(self, latency: float = 0.0, file: Path = SHARED / "mock_openai.py") -> None:
        if not file.is_file():
            sys.exit(f"no server: {file} is absent; name another with --server")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}/v1"
        self._command = [sys.executable, str(file), "--port", str(port), "--latency", str(latency)]

    def __enter__(self) -> "Server":
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            with suppress(OSError):
                self.stats()
                return self
            time.sleep(0.05)
        raise RuntimeError(f"{' '.join(self._command)} does not answer")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def stats(self) -> dict[str, float]:
        """The counts of the server."""
        with urllib.request.urlopen(f"{self.url}/stats") as reply:
            counts: dict[str, float] = json.load(reply)
        return counts


def harnesses(work: Path, url: str, places: int) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Each harness that is here: its name, its command and what it needs in the environment."""
    items = work / "items.jsonl"
    quiet = {"OPENAI_API_KEY": "x", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    (work / "sums.yaml").write_text(TASK.lstrip())
    ours = [sys.executable, "-m", "m1eval", "run", "--tasks", "sums.yaml", "--model", "http:mock", "--base-url", url]
    yield "m1eval", [*ours, "-j", str(places), "--out", "ours"], {**quiet, "PYTHONPATH": str(ROOT)}
    lm_eval = PEERS / "lm_eval" / "bin" / "lm_eval"
    if lm_eval.exists() and SHARED.is_dir():
        (work / "lm_eval_task").mkdir(exist_ok=True)
        text = (SHARED / "lm_eval_task" / "mock_math.yaml").read_text().replace("ITEMS", str(items))
        (work / "lm_eval_task" / "mock_math.yaml").write_text(text)
        how = f"model=mock,base_url={url}/chat/completions,num_concurrent={places},max_retries=3"
        how += ",tokenized_requests=False"
        peer = [str(lm_eval), "run", "--model", "local-chat-completions", "--model_args", how, "--tasks", "mock_math"]
        peer += ["--include_path", "lm_eval_task", "--apply_chat_template", "--output_path", "lm", "--log_samples"]
        yield "lm_eval", peer, quiet
    inspect = PEERS / "inspect" / "bin" / "inspect"
    if inspect.exists() and SHARED.is_dir():
        shutil.copy(SHARED / "inspect_task" / "mock_math.py", work)
        peer = [str(inspect), "eval", "mock_math.py", "--model", "openai-api/mock/mock", "--log-dir", "inspect"]
        peer += ["--max-connections", str(places), "--max-samples", str(places), "--max-tokens", "64"]
        mock = {"MOCK_API_KEY": "x", "MOCK_BASE_URL": url, "INSPECT_DISPLAY": "none", "ITEMS": str(items)}
        yield "inspect", [*peer, "--temperature", "0"], quiet | mock


def items(file: Path, n: int) -> None:
    """Write `n` questions, half of which the server's answer is right for."""
    draw = random.Random(0)
    with file.open("w") as out:
        for i in range(n):
            x, y = draw.randint(0, 999), draw.randint(0, 999)
            question = f"Item {i}: what is {x} + {y}? " + "x" * 120
            row = {"id": f"q{i}", "question": question, "answer": str(42 if i % 2 else x + y)}
            out.write(json.dumps(row) + "\n")


def main() -> None:
    """Run each harness once (or --rounds times) and print the table with its ratios."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--n", type=int, default=5000)
    ask.add_argument("--concurrency", type=int, default=128)
    ask.add_argument("--latency", type=float, default=0.0)
    ask.add_argument("--only", default="m1eval,lm_eval,inspect")
    ask.add_argument("--server", type=Path, default=SHARED / "mock_openai.py")
    ask.add_argument("--rounds", type=int, default=1)
    args = ask.parse_args()
    results: dict[str, list[tuple[Spent, dict[str, float]]]] = {}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            items(work / "items.jsonl", args.n)
            for name in args.only.split(","):
                with Server(args.latency, args.server) as server:
                    for harness, command, env in harnesses(work, server.url, args.concurrency):
                        if harness != name:
                            continue
                        log = PEERS / f"{name}.log" if PEERS.is_dir() else None
                        spent = measured(command, log, env={**os.environ, **env}, cwd=work)
                        if spent.code:
                            sys.exit(f"{name} ended with {spent.code}; see {log}")
                        results.setdefault(name, []).append((spent, server.stats()))
    ideal = args.n / args.concurrency * args.latency
    print(f"{args.n:,} samples, concurrency {args.concurrency}, latency {args.latency} s (ideal {ideal:.1f} s)\n")
    print(
        "| harness | wall s | samples/s | CPU ms/sample | peak MB | window s | × ours |\n|---|--:|--:|--:|--:|--:|--:|"
    )
    walls = {}
    for name, rounds in results.items():
        spent, stats = sorted(rounds)[len(rounds) // 2]
        walls[name] = spent.wall
        times = f"{spent.wall / walls['m1eval']:.1f}" if "m1eval" in walls else "–"
        figures = f"{spent.wall:.1f} | {args.n / spent.wall:,.0f} | {1000 * spent.cpu / args.n:.2f} | {spent.peak:.0f}"
        print(f"| {name} | {figures} | {stats['seconds']:.2f} | {times} |")


if __name__ == "__main__":
    main()
