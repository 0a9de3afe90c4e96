"""How fast a model runs here, beside what the device allows: its memory for decoding, its arithmetic for prefill.

The bounds are counted, not guessed: bytes of weights and cache that a step must read, operations that a prompt must
take, over the rates of a large copy and a large matrix product, both measured in the same run.
"""

import random
import resource
import time
from collections.abc import Callable
from collections.abc import Sequence as Sequence_
from statistics import median
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from .engine.engine import Engine
from .engine.memory import GIB
from .engine.sampling import SamplingParams
from .engine.sequence import Sequence
from .layers.cache_spec import BLOCK_SIZE, CacheSpec, KVSpec, block_bytes, state_bytes
from .layers.layers import LMHead
from .layers.moe import Experts, Router
from .models import CausalLM

GREEDY = SamplingParams(0.0, 1.0, 0, 0.0, 0)
SAMPLED = SamplingParams(1.0, 0.95, 0, 0.0, 0)


class Rates(NamedTuple):
    """What a device can do: bytes read and written a second, operations a second."""

    bytes: float
    operations: float


class Work(NamedTuple):
    """What a model must read and compute."""

    weights: int
    """Bytes of weights that a step of decoding reads, experts apart."""
    experts: int
    """Bytes of all experts."""
    share: float
    """Which part of the experts one token goes through."""
    token: int
    """Operations in weights for one token of a prompt."""
    pair: int
    """Operations in softmax attention for each token that one token looks at."""
    kept: float
    """Bytes kept of one token."""
    state: int
    """Bytes of one sequence's states."""


def work(model: CausalLM, dtype: torch.dtype) -> Work:
    """Count it from the modules; attention to latents counts as nothing."""
    module = cast(nn.Module, model)
    weights = token = experts = 0
    share = 1.0
    chosen = max((part.routing.top_k for part in module.modules() if isinstance(part, Router)), default=1)
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        size = sum(parameter.numel() for parameter in own)
        if isinstance(part, nn.Embedding):
            continue
        tied = part._tied[0] if isinstance(part, LMHead) else None
        read = [*own, *([] if tied is None else [tied.weight])]
        held = sum(parameter.numel() * parameter.element_size() for parameter in read)
        if isinstance(part, Experts):
            experts, share = experts + held, chosen / part.count
        else:
            weights += held
        if not isinstance(part, LMHead):  # only the last token of a prompt goes through it
            token += 2 * (size * chosen // part.count if isinstance(part, Experts) else size)
    memory: Sequence_[CacheSpec] = model.cache_specs
    softmax = [
        part
        for part in module.modules()
        if hasattr(part, "layer") and isinstance(memory[cast(int, part.layer)], KVSpec)
    ]
    pair = sum(4 * cast(int, part.heads) * cast(int, part.dim) for part in softmax if hasattr(part, "dim"))
    return Work(weights, experts, share, token, pair, block_bytes(memory, dtype) / BLOCK_SIZE, state_bytes(memory))


def rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """A large copy and a large matrix product, each the median of several."""
    size = 2**28 if device.type == "cuda" else 2**25
    source = torch.randn(size // 4, device=device)
    target = torch.empty_like(source)
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    copied = _seconds(lambda: target.copy_(source), device)
    multiplied = _seconds(lambda: left @ right, device)
    return Rates(2 * size / copied, 2 * side**3 / multiplied)


def _seconds(call: Any, device: torch.device, times: int = 10) -> float:
    found = []
    for _ in range(times + 2):
        _wait(device)
        began = time.perf_counter()
        call()
        _wait(device)
        found.append(time.perf_counter() - began)
    return median(found[2:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ask(engine: Engine, sequences: Sequence_[Sequence]) -> float:
    """Run sequences to their ends, all at once; the seconds it took."""
    began = time.monotonic()
    for sequence in sequences:
        engine.submit(sequence)
    for sequence in sequences:
        sequence.future.result()
    return time.monotonic() - began


def sequences(
    count: int, prompt: int, new: int, vocab: int, *, seed: int = 0, draw: SamplingParams = GREEDY
) -> list[Sequence]:
    """Random prompts that all differ and that nothing ends before `new` tokens."""
    rng = random.Random(f"{seed}/{count}/{prompt}")
    made = []
    for i in range(count):
        ids = rng.choices(range(vocab), k=min(prompt, 4096)) * (-(-prompt // 4096))
        made.append(Sequence(prompt_token_ids=ids[:prompt], max_tokens=new, sampling_params=draw._replace(seed=i)))
    return made


def prefill(engine: Engine, length: int, vocab: int, *, times: int = 1, seed: int = 0) -> dict[str, float]:
    """Prefill of one prompt: tokens a second, and the time to the first token."""
    took = []
    for i in range(times):
        took.append(ask(engine, sequences(1, length, 1, vocab, seed=seed + i + 1)))
    seconds = median(took)
    return {"prompt": length, "seconds": seconds, "tokens_per_s": length / seconds}


def decode(
    engine: Engine, batch: int, prompt: int, new: int, vocab: int, *, draw: SamplingParams = GREEDY
) -> dict[str, float]:
    """`batch` sequences at once: new tokens a second, prefill included, and of the steps of drawing alone."""
    asked = sequences(batch, prompt, new, vocab, seed=batch, draw=draw)
    took = ask(engine, asked)
    first, last = max(s.first_token_at for s in asked), max(s.finished_at for s in asked)
    drawing = batch * (new - 1) / (last - first) if new > 1 else 0.0
    return {
        "batch": batch,
        "prompt": prompt,
        "new": new,
        "seconds": took,
        "tokens_per_s": batch * new / took,
        "drawing_tokens_per_s": drawing,
        "first_token_s": min(s.first_token_at for s in asked) - min(s.submitted_at for s in asked),
    }


def bounds(work: Work, rates: Rates, *, batch: int, context: float) -> float:
    """Tokens a second that decoding can reach when all that must be read is read at the speed of memory.

    Of the experts those are read that some row chooses, as many as to be expected where all are as likely.
    """
    experts = work.experts * (1 - (1 - work.share) ** batch)
    step = work.weights + experts + batch * (context * work.kept + 2 * work.state)
    return batch * rates.bytes / step


def prefill_bound(work: Work, rates: Rates, length: int) -> float:
    """Tokens a second that reading a prompt can reach at the speed of large products."""
    return rates.operations / (work.token + work.pair * length / 2)


def peak(device: torch.device) -> float:
    """The most memory in use so far, GiB: of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def report(
    model: CausalLM,
    engine: Engine,
    *,
    dtype: torch.dtype,
    device: torch.device,
    window: int,
    lengths: Sequence_[int] = (),
    batches: Sequence_[int] = (),
    new: int = 64,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """All figures of one model; lengths of prompts and numbers of sequences that suit the device by default."""
    on_gpu = device.type == "cuda"
    lengths = lengths or ((1024, 32768) if on_gpu else (128, 1024))
    batches = batches or ((1, 32, 256) if on_gpu else (1, 8))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    say("measuring the device")
    device_rates, needs, vocab = rates(device, dtype), work(model, dtype), model.vocab_size
    found: dict[str, Any] = {"rates": device_rates._asdict(), "prefill": [], "decode": []}
    for length in [min(length, window - 1) for length in lengths]:
        say(f"reading a prompt of {length} tokens")
        prefill(engine, length, vocab)  # kernels are compiled and libraries set up
        row = prefill(engine, length, vocab, times=3)
        found["prefill"].append(row | {"bound_tokens_per_s": prefill_bound(needs, device_rates, length)})
    prompt = min(256, window - new)
    for batch in [batch for batch in batches if batch <= engine.scheduler.max_num_seqs]:
        say(f"{batch} sequences at once")
        decode(engine, batch, prompt, min(new, 8), vocab)
        row = decode(engine, batch, prompt, new, vocab)
        bound = bounds(needs, device_rates, batch=batch, context=prompt + new / 2)
        found["decode"].append(row | {"bound_tokens_per_s": bound})
    return found | {"peak_gib": peak(device)}
