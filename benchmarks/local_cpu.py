"""The local engine next to transformers' generate on the same weights: new tokens a second on a CPU, in one run.

    OMP_NUM_THREADS=1 python benchmarks/local_cpu.py [THREADS]

SmolLM2-135M-Instruct in fp32, greedy, prompts of about 45 tokens, 64 new tokens for each; batches of 1, 16 and 32. Each
side is warmed up once, then they take turns; the median of three is printed. Loading is not counted.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from m1eval import NullProgress, Request, Sampling, load

NEW = 64
BATCHES = (1, 16, 32)
TURNS = 3
QUESTIONS = (
    "Tell a story about a lighthouse.",
    "Describe a city by a river in the rain.",
    "Explain how bread is made.",
)


def reference(runner: Any) -> Any:
    """transformers' Llama with the weights of the started runner."""
    loader, loaded = load("runners", "local").weights.loader, runner._loaded
    weights = {name: slot.view.clone() for name, slot in loader.weight_slots(loaded.model).items()}
    config = loader.Gguf(loaded.source).config
    fields = {key: value for key, value in config.items() if key not in {"model_type", "rope_parameters"}}
    model: Any = LlamaForCausalLM(LlamaConfig(**fields))
    model.eval()
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    return model


async def ours(runner: Any, batch: int) -> int:
    """New tokens of one batch of concurrent requests."""
    sampling = Sampling(temperature=0, max_tokens=NEW)
    prompts = [[{"role": "user", "content": f"{QUESTIONS[i % 3]} Begin with {i}."}] for i in range(batch)]
    outputs = await asyncio.gather(*(runner.generate(Request(messages=a, sampling=sampling)) for a in prompts))
    return sum(output.usage.output for output in outputs)


def theirs(model: Any, runner: Any, batch: int) -> int:
    """The same by generate, padded on the left."""
    tokenizer = runner.tokenizer
    prompts = [
        tokenizer.encode(tokenizer.render([{"role": "user", "content": f"{QUESTIONS[i % 3]} Begin with {i}."}]))
        for i in range(batch)
    ]
    longest = max(map(len, prompts))
    ids = torch.tensor([[2] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=2, eos_token_id=2
        )
    new = out[:, longest:]
    ends = (new == 2).int().cumsum(1) <= 1
    return int((ends & (torch.arange(new.shape[1]) < NEW)).sum())


def timed(call: Callable[[], int]) -> float:
    """Tokens a second of one call."""
    begin = time.perf_counter()
    tokens = call()
    return tokens / (time.perf_counter() - begin)


def main() -> None:
    """Print a table."""
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    runner = load("runners", "local").Runner("smollm2", batch=max(BATCHES), threads=threads)
    loop = asyncio.new_event_loop()
    begin = time.perf_counter()
    loop.run_until_complete(runner.start(NullProgress()))
    print(f"torch {torch.__version__}, {threads} thread(s); loaded in {time.perf_counter() - begin:.1f} s\n")
    model = reference(runner)
    print("| batch | local tokens/s | transformers tokens/s | ratio |")
    print("|--:|--:|--:|--:|")
    for batch in BATCHES:

        def local_side(batch: int = batch) -> int:
            return loop.run_until_complete(ours(runner, batch))

        sides: tuple[Callable[[], int], ...] = (local_side, partial(theirs, model, runner, batch))
        for side in sides:
            side()
        rates = [[timed(side) for side in sides] for _ in range(TURNS)]
        local, other = (statistics.median(column) for column in zip(*rates, strict=True))
        print(f"| {batch} | {local:.1f} | {other:.1f} | {local / other:.2f} |", flush=True)
    loop.run_until_complete(runner.aclose())
    loop.close()


if __name__ == "__main__":
    main()
