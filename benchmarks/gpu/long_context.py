"""A whole `m1eval run` with prompts of a million tokens on one GPU, with a breakdown of its time.

    python benchmarks/gpu/long_context.py [TOKENS]

The model has the M1-mini shape of engine.py, random weights and a tokenizer of one token a byte, so it answers nothing;
what is measured is building the prompt, tokenizing, prefill and decoding. Several questions about one haystack show the
prefix cache: they cost one prefill and a short one each.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from engine import MINI, local, random_model, write_checkpoint  # type: ignore[import-not-found, unused-ignore]

from m1eval import NullProgress, Request, Sampling

NEW = 64
QUESTIONS = 8


def records(out: Path) -> list[dict[str, Any]]:
    """The records of the runs below a folder."""
    journals = sorted(out.glob("*/*/samples.jsonl"))
    return [json.loads(line) for file in journals for line in file.read_text().splitlines()]


def run(folder: Path, out: Path, tokens: int) -> list[dict[str, Any]]:
    """Run both tasks with one sample each, and return their records."""
    code = "import sys; from m1eval.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "run", "--tasks", "needle,mrcr_synth", "--model", f"local:{folder}"]
    command += ["--set", f"lengths=[{tokens}]", "--limit", "1", "--max-tokens", str(NEW), "--out", str(out)]
    command += ["-o", "memory=20", "-o", "batch=8", "--display", "plain"]
    began = time.monotonic()
    subprocess.run(command, check=True)
    print(f"whole command: {time.monotonic() - began:.1f} s")
    return records(out)


def one_text(folder: Path, out: Path, tokens: int) -> list[dict[str, Any]]:
    """A whole run of questions about one text, and its records."""
    code = "import sys; from m1eval.cli.main import main; main(sys.argv[1:])"
    depths = [100 * (i + 0.5) / QUESTIONS for i in range(QUESTIONS)]
    command = [sys.executable, "-c", code, "run", "--tasks", "needle", "--model", f"local:{folder}", "--out", str(out)]
    command += ["--set", f"lengths=[{tokens}]", "--set", "samples=1", "--set", f"depths={depths}"]
    command += ["--set", f"questions_per_haystack={QUESTIONS}", "--max-tokens", "8", "-o", "memory=20", "-o", "batch=8"]
    subprocess.run([*command, "--display", "plain"], check=True)
    return records(out)


async def shared(folder: Path, tokens: int) -> dict[str, float]:
    """Several questions about one text of that length, one after another."""
    runner = local.Runner(str(folder), batch=QUESTIONS, memory=20)
    await runner.start(NullProgress())
    sentence = "The harbour was quiet, and nobody spoke. "
    text = (sentence * (tokens // len(sentence) + 1))[: tokens - 200]
    sampling = Sampling(max_tokens=8)
    seconds = []
    prefilled = []
    for i in range(QUESTIONS):
        began = time.monotonic()
        output = await runner.generate(Request(prompt=f"{text} Question {i}: which?", sampling=sampling))
        seconds.append(time.monotonic() - began)
        prefilled.append(output.usage.prompt - output.usage.cached)
    await runner.aclose()
    return {
        "first_s": seconds[0],
        "others_s": sum(seconds[1:]) / (QUESTIONS - 1),
        "first": prefilled[0],
        "others": max(prefilled[1:]),
    }


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 2**20
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name, "mini"), Path(name, "out")
        folder.mkdir()
        write_checkpoint(folder, MINI, random_model(MINI))
        samples: list[dict[str, Any]] = []
        print("| sample | prompt tokens | build s | tokenize s | prefill s | decode s | new |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for record in run(folder, out, tokens):
            timing, usage = record["timing"], record["usage"]
            build, tokenize, first = (timing.get(key, 0.0) for key in ("build", "tokenize", "first_token"))
            decode = timing["total"] - tokenize - timing.get("queue", 0.0) - first
            new = usage.get("answer", 0) + usage.get("reasoning", 0)
            row = [record["id"], usage["prompt"], build, tokenize, first, decode, new]
            samples.append(
                dict(zip(("id", "prompt", "build", "tokenize", "prefill", "decode", "new"), row, strict=True))
            )
            print(f"| {row[0]} | {row[1]:,} | {build:.2f} | {tokenize:.2f} | {first:.2f} | {decode:.2f} | {new} |")
        print("several questions:", questions := asyncio.run(shared(folder, tokens)))
        print("| question about one text | prompt tokens | not read anew | s |")
        print("|---|--:|--:|--:|")
        for record in (answers := one_text(folder, Path(name, "one"), tokens)):
            usage, seconds = record["usage"], record["timing"]["total"]
            print(f"| {record['id']} | {usage['prompt']:,} | {usage.get('cached', 0):,} | {seconds:.2f} |")
        usages = [record["usage"] for record in answers]
        print(json.dumps({"samples": samples, "questions": questions, "one_text": usages}))


if __name__ == "__main__":
    main()
