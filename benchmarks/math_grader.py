"""The math scorer next to math-verify on recorded outputs: agreement, times, and who is wrong where they differ.

    python benchmarks/math_grader.py ../shared/data

Reads every `*/recorded_*.jsonl*` below the folder whose rows have `gold`, `output` and `verdict`. Ours runs as in a
run: with the options of the task of that benchmark, through `Scorer.score` and its pool of two workers. math-verify
runs on the whole output (LaTeX, then plain expressions), its own timeout of 5 s on. Who is right where ours,
math-verify and the recorded verdict differ was read by hand: math_grader.md. The last line is JSON.
"""

import argparse
import asyncio
import gzip
import json
import logging
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from m1eval import Output, Sample, Score, UsageError, classify, load, split_thinking
from m1eval.sandbox.workers import Pool
from m1eval.task.load import load_tasks

READINGS = Path(__file__).with_name("math_grader.md")
TASKS = {"minerva_math": "minerva_math"}
"""Benchmarks whose task gives the scorer options; the others use its defaults."""
ENDS = ("<|im_end|>", "<｜end▁of▁sentence｜>", "<|endoftext|>")
OF_LETTERS = "pred_by_current_official_regex"
WORKERS = 2


class Graded(NamedTuple):
    """One grader's verdict on one row."""

    right: bool
    answer: str | None
    rule: str
    seconds: float
    errored: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default="", help="files whose path holds this text")
    parser.add_argument("--no-peer", action="store_true", help="leave math-verify out")
    parser.add_argument("--list", action="store_true", help="print every row on which the three differ, as Markdown")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.glob("*/recorded_*.jsonl*") if arguments.only in str(path))
    readings = read_readings(READINGS)
    total: Counter[str] = Counter()
    times: dict[str, list[float]] = {"ours": [], "math-verify": []}
    lines: list[str] = []
    head = (
        "file",
        "n",
        "ours = recorded",
        "math-verify = recorded",
        "errored",
        "mean ms",
        "p99",
        "max s",
        "peer ms",
        "peer max s",
    )
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as peers:
        for path in files:
            table = rows(path)
            name = f"{path.parent.name}/{path.name.partition('.')[0]}"
            if not table:
                print(f"| {name} | – | no gold, output and verdict |" + " |" * (len(head) - 3))
                continue
            ours = asyncio.run(grade_all(table, path.parent.name))
            peer = (
                list(peers.map(math_verify, [(gold(r), r["output"]) for r in table], chunksize=8))
                if not arguments.no_peer
                else ours
            )
            times["ours"] += [one.seconds for one in ours]
            times["math-verify"] += [one.seconds for one in peer]
            print(row(name, table, ours, peer), flush=True)
            for i, (r, one, other) in enumerate(zip(table, ours, peer, strict=True)):
                count(total, readings, name, i, r, one, other, lines)
    if arguments.list:
        print("\n".join(lines))
    aime = [r for path in sorted(arguments.data.glob("aime*/recorded_*.jsonl*")) for r in rows(path)]
    result = summary(total, times) | {"rate_aime": asyncio.run(rate(aime))}
    print(json.dumps(result))


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows with a gold, an output and a verdict; letters (MMLU-Pro) are another scorer's."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [
        r for r in rows if ("gold" in r or "gold_raw" in r) and "output" in r and "verdict" in r and OF_LETTERS not in r
    ]


def gold(r: dict[str, Any]) -> str:
    """The reference as the benchmark prints it, where that was recorded."""
    return str(r["gold_raw"] if isinstance(r.get("gold_raw"), str) else r["gold"])


def answer_part(text: str) -> Output:
    """The output as a runner would hand it over: its thinking split off, an unfinished one marked."""
    for end in ENDS:
        text = text.removesuffix(end)
    for there, here in (
        ("<|begin_of_thought|>", "<think>"),
        ("<|end_of_thought|>", "</think>"),
        ("<|begin_of_solution|>", ""),
        ("<|end_of_solution|>", ""),
    ):
        text = text.replace(there, here)
    if "</think>" not in text and "<think>" not in text:
        return Output(text=text)
    split = split_thinking(text, opened="<think>" not in text)
    return Output(text=split.text, reasoning=split.reasoning, unfinished_thinking=split.unfinished)


async def grade_all(table: Sequence[dict[str, Any]], benchmark: str) -> list[Graded]:
    scorer = scorer_for(benchmark)
    async with Pool(WORKERS) as workers:
        tools = SimpleNamespace(workers=workers)
        await warm(workers)
        gate = asyncio.Semaphore(WORKERS)

        async def one(r: dict[str, Any]) -> Graded:
            output, sample = answer_part(r["output"]), Sample(id="1", messages=[], target=gold(r))
            async with gate:
                begin = time.perf_counter()
                if output.unfinished_thinking:
                    return Graded(False, None, "unfinished thinking", time.perf_counter() - begin)
                try:
                    score: Score = await scorer.score(output, sample, tools)
                except (TimeoutError, RuntimeError) as error:
                    return Graded(False, None, str(error), time.perf_counter() - begin, errored=True)
                right = classify(output, score) == "right"
                return Graded(right, score.answer, score.explanation, time.perf_counter() - begin)

        return list(await asyncio.gather(*(one(r) for r in table)))


async def warm(workers: Pool) -> None:
    """Have the workers import what they need, as a run has after its first samples."""
    scorer = load("scorers", "math").Scorer(timeout=60)
    sample = Sample(id="1", messages=[], target=r"\sqrt{2}")
    tools = SimpleNamespace(workers=workers)
    await asyncio.gather(*(scorer.score(Output(text=r"\boxed{\frac{2}{\sqrt{2}}}"), sample, tools) for _ in range(8)))


def scorer_for(benchmark: str) -> Any:
    if benchmark in TASKS:
        try:
            return load_tasks([TASKS[benchmark]])[0].scorer
        except UsageError:
            pass
    return load("scorers", "math").Scorer()


def math_verify(case: tuple[str, str]) -> Graded:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    wanted, text = case
    begin = time.perf_counter()
    parsed = parse(text, [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()])
    right = bool(verify(parse(rf"\boxed{{{wanted}}}"), parsed))
    return Graded(right, str(parsed[-1]) if parsed else None, "math-verify", time.perf_counter() - begin)


def row(name: str, table: Sequence[dict[str, Any]], ours: Sequence[Graded], peer: Sequence[Graded]) -> str:
    def agree(grades: Sequence[Graded]) -> str:
        return f"{statistics.fmean(g.right == r['verdict'] for g, r in zip(grades, table, strict=True)):.4f}"

    own, theirs = sorted(g.seconds for g in ours), sorted(g.seconds for g in peer)
    cells = [name, str(len(table)), agree(ours), agree(peer), str(sum(g.errored for g in ours))]
    cells += [f"{1000 * statistics.fmean(own):.1f}", f"{1000 * own[int(0.99 * len(own))]:.0f}", f"{own[-1]:.2f}"]
    return "| " + " | ".join([*cells, f"{1000 * statistics.fmean(theirs):.1f}", f"{theirs[-1]:.2f}"]) + " |"


def read_readings(path: Path) -> dict[tuple[str, int], str]:
    """(file, row) -> right, wrong or unclear, from the tables of math_grader.md."""
    readings: dict[tuple[str, int], str] = {}
    for name, numbers, reading in readings_in(path.read_text() if path.is_file() else ""):
        readings |= {(name, number): reading for number in numbers}
    return readings


def readings_in(text: str) -> Iterator[tuple[str, list[int], str]]:
    name = ""
    for line in text.splitlines():
        if heading := re.match(r"### `(.+)`", line):
            name = heading[1]
        elif cell := re.match(r"\| ([\d, ]+) \|.*\| (right|wrong|unclear)\b[^|]*\|$", line):
            yield name, [int(number) for number in cell[1].split(",")], cell[2]


def count(
    total: Counter[str],
    readings: dict[tuple[str, int], str],
    name: str,
    i: int,
    r: dict[str, Any],
    one: Graded,
    other: Graded,
    lines: list[str],
) -> None:
    total["rows"] += 1
    total["errored"] += one.errored
    if one.right == other.right == r["verdict"]:
        return
    total["differ"] += 1
    reading = readings.get((name, i))
    marks = " ".join("yes" if right else "no" for right in (one.right, other.right, r["verdict"]))
    lines.append(f"{name} | {i} | {gold(r)!r} | {one.answer!r} | {marks} | {one.rule} | {reading}")
    if reading is None:
        total["not read"] += 1
    elif reading == "unclear":
        total["unclear"] += 1
    else:
        truth = reading == "right"
        total["ours wrong"] += one.right != truth
        total["math-verify wrong"] += other.right != truth
        total["recorded wrong"] += r["verdict"] != truth


def summary(total: Counter[str], times: dict[str, list[float]]) -> dict[str, Any]:
    keys = ("rows", "errored", "differ", "not read", "unclear", "ours wrong", "math-verify wrong", "recorded wrong")
    result: dict[str, Any] = {key.replace(" ", "_").replace("-", "_"): total[key] for key in keys}
    for name, seconds in times.items():
        key = name.replace("-", "_")
        result[f"{key}_mean_ms"] = round(1000 * statistics.fmean(seconds), 2)
        result[f"{key}_max_s"] = round(max(seconds), 2)
    return result


async def rate(table: Sequence[dict[str, Any]]) -> float | None:
    """AIME-type outputs graded in a second, as the run loop does it: 32 at a time, two workers."""
    if not table:
        return None
    scorer = scorer_for("aime2024")
    async with Pool(WORKERS) as workers:
        tools = SimpleNamespace(workers=workers)
        await warm(workers)
        pairs = [(answer_part(r["output"]), Sample(id="1", messages=[], target=gold(r))) for r in table]
        begin = time.perf_counter()
        for i in range(0, len(pairs), 32):
            await asyncio.gather(*(scorer.score(*pair, tools) for pair in pairs[i : i + 32]))
        return round(len(pairs) / (time.perf_counter() - begin), 1)


if __name__ == "__main__":
    main()
