"""How long a run with a long journal takes to go on: `python -m benchmarks.journal [--records 1000000]`.

The journal is written by the code that writes it in a run. Then the same command goes on with one sample owed: measured
are the whole process's time until its first request, and its peak memory.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from m1eval.store.prompts import encode_frame
from m1eval.store.record import Record, encode_json
from m1eval.types import Timing, Usage

ROOT = Path(__file__).resolve().parents[1]
RUNNER = """
import sys, time
from m1eval import Output

class Runner:
    concurrency = 1

    def __init__(self, model):
        pass

    async def generate(self, request):
        print("first request", time.time(), open("/proc/self/status").read(), file=sys.stderr)
        return Output(text="x")

    async def aclose(self):
        pass
"""
TASK = "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: x\nscorer: exact\n"


RUN = Path("x") / "t" / "x"
"""The folder of the run below that of the benchmark."""


def prepare(folder: Path, samples: int, repeats: int) -> list[str]:
    """A run's folder in which all but the last repeat of the last sample is done; returns its command."""
    with (folder / "t.jsonl").open("w") as rows:
        for i in range(samples):
            rows.write(json.dumps({"q": f"question {i}"}) + "\n")
    (folder / "t.yaml").write_text(TASK)
    (folder / "runners").mkdir()
    (folder / "runners" / "first.py").write_text(RUNNER)
    command = [sys.executable, "-m", "m1eval", "run", "--tasks", "t.yaml", "--model", "first:x", "--out", "x"]
    command += ["--repeats", str(repeats), "--display", "none"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "--limit", "1"], cwd=folder, env=env, check=True, capture_output=True)
    text, usage, timing = "Some reasoning. " * 12, Usage(prompt=120, answer=60), Timing(queue=0.1, total=2.5)
    width = len(str(samples))
    out = folder / RUN
    with (out / "samples.jsonl").open("wb") as journal, (out / "prompts.zst").open("wb") as prompts:
        for i in range(samples):
            name = f"t-{i + 1:0{width}}"
            prompts.write(encode_frame(name, encode_json([{"role": "user", "content": f"question {i}"}])))
            for repeat in range(repeats - (i == samples - 1)):
                right = (i + repeat) % 3 > 0
                record = Record(id=name, repeat=repeat, outcome="right" if right else "wrong", value=float(right))
                record.text, record.usage, record.timing, record.target = text, usage, timing, "x"
                record.answer, record.seed, record.time = "x", 12345, 1.7e9
                journal.write(encode_json(record) + b"\n")
    meta = json.loads((out / "run.json").read_text())
    meta["config"]["limit"] = None
    (out / "run.json").write_text(json.dumps(meta))
    return command


def main() -> None:
    """Print the table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--records", type=int, default=1_000_000)
    ask.add_argument("--repeats", type=int, nargs="*", default=[1, 4, 32])
    args = ask.parse_args()
    print("| records | samples | repeats | journal MB | s to the first request | peak MB |")
    print("|--:|--:|--:|--:|--:|--:|")
    for repeats in args.repeats:
        with tempfile.TemporaryDirectory() as place:
            folder, samples = Path(place), args.records // repeats
            command = prepare(folder, samples, repeats)
            size = (folder / RUN / "samples.jsonl").stat().st_size / 2**20
            begin = time.time()
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            run = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            assert run.stderr is not None
            log = ""
            while "VmHWM" not in log and (line := run.stderr.readline().decode()):
                log += line
            run.kill()  # what comes after, the end of the run, is not measured
            run.wait()
            first = re.search(r"first request ([\d.]+)", log)
            peak = re.search(r"VmHWM:\s+(\d+) kB", log)
            assert first, log
            assert peak, log
            seconds, peak_mb = float(first[1]) - begin, int(peak[1]) / 1024
            print(f"| {samples * repeats:,} | {samples:,} | {repeats} | {size:,.0f} | {seconds:.1f} | {peak_mb:.0f} |")


if __name__ == "__main__":
    main()
