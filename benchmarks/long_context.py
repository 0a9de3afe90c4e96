"""Cost, exactness and variety of prompts of an exact length, next to RULER's and lm-eval's own.

    python benchmarks/long_context.py FOLDER [FOLDER ...] [--ruler CHECKOUT --python PYTHON] [--samples N] [--only PART]

Each FOLDER has a tokenizer.json, of which benchmarks/bpe.py makes large ones; the first is timed, all are checked for
exact lengths. `--ruler` is a checkout of NVIDIA/RULER, `--python` an interpreter that has what its generator and
lm-eval's need (pip install nltk wonderwords transformers scipy pyyaml tenacity lm-eval). Every figure is a whole
process: wall time and peak memory. PART: build, exact, variety, peers.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

MILLION = 2**20
PATIENCE = 600
"""Seconds after which lm-eval's generator is stopped, which rebuilds the prompt for every 25 lines of it."""
FIRST = """
import sys, time
from pathlib import Path
begin = time.perf_counter()
from m1eval.task.load import load_tasks
from m1eval.model.tokenizers import TokenizerFile
tokenizer = TokenizerFile(Path(sys.argv[1]) / "tokenizer.json")
ready = time.perf_counter()
(needle,) = load_tasks(["needle"], [f"lengths=[{sys.argv[2]}]", "samples=2"])
samples = needle.samples(tokenizer, 0)
times = []
for number in range(len(samples)):
    at = time.perf_counter()
    samples.sample(number)
    times.append(time.perf_counter() - at)
print(ready - begin, times[0], sum(times[1:]) / len(times[1:]), max(times[1:]))
"""
EXACT = """
import sys
from pathlib import Path
from random import Random
from m1eval.task.load import load_tasks
from m1eval.model.tokenizers import TokenizerFile
tokenizer = TokenizerFile(Path(sys.argv[1]) / "tokenizer.json")
random, worst, total, count = Random(0), 0, 0, 0
kinds = [("needle", []), ("multi_needle", []), ("nolima_synth", []), ("mrcr_synth", []), ("ruler_generated", [])]
room = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50}
while count < int(sys.argv[2]):
    lengths = [random.randrange(1200, 20_000), random.randrange(1200, 70_000)]
    name, more = kinds[count // 16 % len(kinds)]
    (loaded,) = load_tasks([name], [f"lengths={lengths}", *more])
    samples = loaded.samples(tokenizer, count)
    for number in random.sample(range(len(samples)), 16):
        sample = samples.sample(number)
        answer = room[sample.metadata["subtask"].split("_")[0]] if name == "ruler_generated" else 0
        off = tokenizer.count(sample.messages) - (sample.metadata["length"] - answer)
        worst, total, count = max(worst, abs(off), key=abs), total + abs(off), count + 1
print(count, worst, total / count)
"""
LM_EVAL = """
import sys, time
from transformers import PreTrainedTokenizerFast
from lm_eval.tasks.ruler.niah_utils import TEMPLATE
from lm_eval.tasks.ruler.prepare_niah import generate_samples, get_haystack
tokenizer = PreTrainedTokenizerFast(tokenizer_file=sys.argv[1] + "/tokenizer.json")
begin = time.perf_counter()
generated = generate_samples(get_haystack(type_haystack="repeat"), max_seq_length=int(sys.argv[2]), template=TEMPLATE,
    type_haystack="repeat", type_needle_k="words", type_needle_v="numbers", num_samples=int(sys.argv[3]),
    TOKENIZER=tokenizer)
rows = list(generated)
print(time.perf_counter() - begin, [row["length"] for row in rows][:3])
"""


def measured(
    command: list[str], env: dict[str, str], cwd: Path | None = None, limit: float = 3600.0
) -> tuple[float, float, str]:
    """Seconds, peak MB and output of a process; infinitely many seconds if it was stopped after `limit`."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env={**os.environ, **env}, cwd=cwd)
        killer = threading.Timer(limit, process.kill)
        killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if process.returncode == -signal.SIGKILL and time.perf_counter() - begin >= limit:
        return float("inf"), usage.ru_maxrss / 1024, ""
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:200]} failed with {process.returncode}: {text[-500:]}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024, text


def build(folder: Path) -> None:
    """Samples of `needle` one after another, and whole runs of a hundred."""
    print("| what | tokens | first sample, cold s | each further s | slowest further s | process s | peak MB |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for tokens in (131_072, MILLION):
        for cache_state in ("cold", "kept pages"):
            with tempfile.TemporaryDirectory() as cache:
                env = {"M1EVAL_CACHE": cache}
                command = [sys.executable, "-c", FIRST, str(folder), str(tokens)]
                if cache_state != "cold":
                    measured(command, env)
                seconds, memory, text = measured(command, env)
            _, first, mean, peak = map(float, text.split())
            figures = f"{first:.2f} | {mean:.3f} | {peak:.3f} | {seconds:.1f} | {memory:.0f}"
            print(f"| needle, {cache_state} | {tokens:,} | {figures} |", flush=True)
    print("\n| whole command | samples | wall s | peak MB |")
    print("|---|--:|--:|--:|")
    for task, more in (
        ("needle", ("samples=20",)),
        ("multi_needle", ("samples=25", "questions_per_haystack=4")),
        ("mrcr_synth", ("samples=4",)),
    ):
        with tempfile.TemporaryDirectory() as out:
            command = [
                sys.executable,
                "-m",
                "m1eval",
                "run",
                "--tasks",
                task,
                "--lengths",
                "1m",
                "--model",
                "echo:gold",
            ]
            command += ["--tokenizer", str(folder), "--out", f"{out}/run", "--json"]
            command += [word for option in more for word in ("--set", option)]
            seconds, memory, text = measured(command, {"M1EVAL_CACHE": f"{out}/cache"})
        samples = text.partition('"samples": ')[2].partition(",")[0]
        print(f"| m1eval run --tasks {task} --lengths 1m | {samples} | {seconds:.1f} | {memory:.0f} |", flush=True)


def exact(folders: list[Path], samples: int) -> None:
    """The largest difference between a prompt's tokens, counted as a whole, and those asked for."""
    print("| tokenizer | samples | largest difference, tokens | mean |")
    print("|---|--:|--:|--:|")
    for folder in folders:
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, "-c", EXACT, str(folder), str(samples)]
            _, _, text = measured(command, {"M1EVAL_CACHE": cache})
        made, worst, mean = text.split()
        print(f"| {folder.name} | {made} | {worst} | {float(mean):.2f} |", flush=True)


def variety(texts: list[Path]) -> None:
    """How much of a million tokens comes again, for the project's grammar and for texts given."""
    import zstandard

    from m1eval import plugins

    file = Path(__file__).resolve().parents[1] / "tasks" / "long_context" / "_haystack" / "corpus.py"
    corpora: Any = plugins.import_file("tasks", file, file.name)
    print("| text | MB | sentences | of them different | different runs of 8 words | of 12 words | zstd -19 |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in ["story", *map(str, texts)]:
        corpus = corpora.load_corpus(name)
        pages: list[str] = []
        for volume in range(16 if corpus.volumes is None else corpus.volumes):
            pages += corpus.pages(volume)
            if sum(map(len, pages)) > 4_800_000:
                break
        text = "".join(pages)
        ends = [0, *(match.end() for match in corpora.SENTENCE_END.finditer(text))]
        sentences = [text[a:b].strip() for a, b in pairwise(ends)]
        long = [sentence for sentence in sentences if len(sentence) > 20]
        words = text.split()
        runs = [len({hash(tuple(words[i : i + n])) for i in range(len(words) - n)}) / (len(words) - n) for n in (8, 12)]
        packed = len(zstandard.ZstdCompressor(level=19).compress(text.encode())) / len(text.encode())
        shares = f"{len(set(long)) / len(long):.4%} | {runs[0]:.2%} | {runs[1]:.2%} | {packed:.3f}"
        print(f"| {Path(name).name} | {len(text) / 1e6:.1f} | {len(long):,} | {shares} |", flush=True)


def peers(folder: Path, ruler: Path | None, python: str) -> None:
    """One noise-haystack sample of a million tokens by each generator, in a process of its own."""
    print("| generator | tokens | samples | wall s | peak MB |")
    print("|---|--:|--:|--:|--:|")
    for tokens in (131_072, MILLION):
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "m1eval", "run", "--tasks", "ruler_generated", "--model", "echo:gold"]
            command += ["--set", f"lengths=[{tokens}]", "--set", "subtasks=[niah_single_1]", "--set", "samples=1"]
            command += ["--tokenizer", str(folder), "--out", f"{out}/run", "--json"]
            seconds, memory, _ = measured(command, {"M1EVAL_CACHE": f"{out}/cache"})
            print(f"| m1eval run, cold | {tokens:,} | 1 | {seconds:.1f} | {memory:.0f} |", flush=True)
            if ruler:
                seconds, memory = _ruler(ruler, python, folder, tokens, Path(out))
                print(f"| RULER niah.py | {tokens:,} | 1 | {seconds:.1f} | {memory:.0f} |", flush=True)
        command = [python, "-c", LM_EVAL, str(folder), str(tokens), "1"]
        seconds, memory, _ = measured(command, {"HF_HUB_OFFLINE": "1"}, limit=PATIENCE)
        shown = f"{seconds:.1f}" if seconds < PATIENCE else f"stopped after {PATIENCE}"
        print(f"| lm-eval prepare_niah.py | {tokens:,} | 1 | {shown} | {memory:.0f} |", flush=True)


def _ruler(ruler: Path, python: str, folder: Path, tokens: int, out: Path) -> tuple[float, float]:
    suffix = "mentioned in the provided text"
    template = (
        "Some special magic {type_needle_v} are hidden within the following text. Make sure to memorize it. "
        "I will quiz you about the {type_needle_v} afterwards.\n{context}\n"
        f"What are all the special magic {{type_needle_v}} for {{query}} {suffix}? "
        f"The special magic {{type_needle_v}} for {{query}} {suffix} are"
    )
    command = [python, "niah.py", "--save_dir", str(out), "--save_name", "niah", "--tokenizer_path", str(folder)]
    command += ["--tokenizer_type", "hf", "--max_seq_length", str(tokens), "--tokens_to_generate", "128"]
    command += ["--num_samples", "1", "--type_haystack", "noise", "--template", template]
    seconds, memory, _ = measured(command, {"HF_HUB_OFFLINE": "1"}, ruler / "scripts" / "data" / "synthetic")
    return seconds, memory


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--ruler", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--texts", nargs="*", type=Path, default=[])
    parser.add_argument("--only", choices=("build", "exact", "variety", "peers"))
    arguments = parser.parse_args()
    folders = [folder.resolve() for folder in arguments.folders]
    parts: dict[str, Callable[[], None]] = {
        "build": lambda: build(folders[0]),
        "exact": lambda: exact(folders, arguments.samples),
        "variety": lambda: variety(arguments.texts),
        "peers": lambda: peers(folders[0], arguments.ruler and arguments.ruler.resolve(), arguments.python),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            part()
            print(flush=True)


if __name__ == "__main__":
    main()
