"""One model on several GPUs of a machine next to one GPU: agreement of answers, and speed-up.

    python benchmarks/gpu/parallel.py [--gpus N] [--shapes dense,mini] [--json FILE]

Shapes are those of engine.py, random weights in bf16, read from a checkpoint. Sums over ranks round differently from
those on one GPU, and with random weights many tokens are nearly as likely as the most likely one. So the number of
tokens that agree is reported together with the differences in the logprobs of given tokens.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from engine import (  # type: ignore[import-not-found, unused-ignore]
    DENSE,
    MINI,
    bench,
    local,
    random_model,
    sequence,
    write_checkpoint,
)

from m1eval import NullProgress

SHAPES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {"dense": (DENSE, (1, 64, 256)), "mini": (MINI, (1, 32))}
"""A config, and how many sequences at once."""
PROMPT = 32768
GIVEN, NEW = 512, 128


def measured(folder: Path, batches: tuple[int, ...], gpus: int) -> dict[str, Any]:
    """Speeds, tokens and logprobs of one checkpoint on `gpus` GPUs."""
    runner = local.Runner(str(folder), gpus=gpus, window=PROMPT + 4096, batch=max(batches), memory=16)
    results: dict[str, Any] = {"gpus": gpus}
    try:
        began = time.monotonic()
        asyncio.run(runner.start(NullProgress()))
        results["start_s"] = time.monotonic() - began
        engine, vocab = runner._engine, runner.tokenizer.backend.get_vocab_size()
        bench.prefill(engine, PROMPT, vocab)
        results[f"prefill {PROMPT}"] = bench.prefill(engine, PROMPT, vocab, times=3)["tokens_per_s"]
        for batch in batches:
            bench.decode(engine, batch, 256, 8, vocab)  # graphs are captured
            bench.decode(engine, batch, 256, NEW, vocab)
            results[f"decode {batch}"] = bench.decode(engine, batch, 256, NEW, vocab)["drawing_tokens_per_s"]
        sequences = bench.random_sequences(8, 256, NEW, vocab, seed=7)
        scored = bench.random_sequences(4, GIVEN, 0, vocab, seed=8)
        scored = [
            sequence.Sequence(
                prompt_token_ids=one.prompt_token_ids,
                max_tokens=0,
                sampling_params=one.sampling_params,
                num_scored=GIVEN - 1,
            )
            for one in scored
        ]
        bench.run_all(engine, sequences)
        bench.run_all(engine, scored)
        results["tokens"] = [one.output_token_ids for one in sequences]
        results["logprobs"] = [score.logprob for one in scored for score in one.prompt_logprobs]
        results["peak_gib"] = bench.peak_memory(torch.device("cuda", 0))
    finally:
        asyncio.run(runner.aclose())
    return results


def agreement(one: dict[str, Any], several: dict[str, Any]) -> dict[str, float]:
    """The common prefix of greedy answers, and the differences of logprobs in nats."""
    pairs = [list(zip(*both, strict=True)) for both in zip(one["tokens"], several["tokens"], strict=True)]
    same = [next((i for i, (a, b) in enumerate(pair) if a != b), len(pair)) for pair in pairs]
    apart = [abs(a - b) for a, b in zip(one["logprobs"], several["logprobs"], strict=True)]
    return {
        "same_tokens_from_start": sum(same) / len(same),
        "of": NEW,
        "logprob_mean_difference": sum(apart) / len(apart),
        "logprob_largest_difference": max(apart),
    }


def compared(name: str, gpus: int) -> dict[str, Any]:
    """One shape on one GPU and on several, printed as a table."""
    config, batches = SHAPES[name]
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), config, random_model(config))
        gc.collect()
        torch.cuda.empty_cache()
        single = measured(Path(folder), batches, 1)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        several = measured(Path(folder), batches, gpus)
    print(f"\n| {name} | 1 GPU | {gpus} GPUs | ratio |\n|---|--:|--:|--:|")
    for key in [key for key in single if isinstance(single[key], float)]:
        print(f"| {key} | {single[key]:,.1f} | {several[key]:,.1f} | {several[key] / single[key]:.2f} |")
    agreed = agreement(single, several)
    print(", ".join(f"{key} {value:.4g}" for key, value in agreed.items()), flush=True)
    figures = [
        {key: value for key, value in each.items() if key not in ("tokens", "logprobs")} for each in (single, several)
    ]
    return {"one": figures[0], "several": figures[1], "agreement": agreed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if (there := torch.cuda.device_count()) < options.gpus:
        print(f"this needs {options.gpus} GPUs, and there are {there}: nothing was measured")
        return
    results: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    results |= {name: compared(name, options.gpus) for name in options.shapes.split(",")}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
