"""Speed of a model on this machine next to the device's limits: memory bandwidth for decode, FLOP/s for prefill.

The bounds are counted, not guessed: bytes of weights and cache that a step must read, and operations of a prompt, over
the rates of a large copy and a large matrix product, both measured in the same run.
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
from .engine.sampling_params import SamplingParams
from .engine.sequence import Sequence
from .layers.cache_spec import BLOCK_SIZE, CacheSpec, KVSpec, block_bytes, state_bytes
from .layers.layers import LMHead
from .layers.moe import Experts, Router
from .models import CausalLM

GREEDY = SamplingParams(0.0, 1.0, 0, 0.0, 0)
SAMPLED = SamplingParams(1.0, 0.95, 0, 0.0, 0)


class DeviceRates(NamedTuple):
    """Measured limits of a device: bytes read and written per second, operations per second."""

    bytes: float
    operations: float


class ModelCosts(NamedTuple):
    """Bytes that a model reads and operations that it computes."""

    weight_bytes: int
    """Bytes of weights that a decode step reads, without experts."""
    expert_bytes: int
    """Bytes of all experts."""
    expert_share: float
    """Fraction of the experts that one token is routed to."""
    flops_per_token: int
    """Operations with weights for one prompt token."""
    flops_per_pair: int
    """Operations in softmax attention for each pair of query and key token."""
    cache_bytes_per_token: float
    """Bytes of KV cache for one token."""
    state_bytes: int
    """Bytes of linear-attention states for one sequence."""


def model_costs(model: CausalLM, dtype: torch.dtype) -> ModelCosts:
    """Costs counted from the modules; attention to latents is not counted."""
    module = cast(nn.Module, model)
    weights = token = experts = 0
    share = 1.0
    top_k = max((part.routing.top_k for part in module.modules() if isinstance(part, Router)), default=1)
    for part in module.modules():
        parameters = list(part.parameters(recurse=False))
        size = sum(parameter.numel() for parameter in parameters)
        if isinstance(part, nn.Embedding):
            continue
        tied = part._tied[0] if isinstance(part, LMHead) else None
        read = [*parameters, *([] if tied is None else [tied.weight])]
        num_bytes = sum(parameter.numel() * parameter.element_size() for parameter in read)
        if isinstance(part, Experts):
            experts, share = experts + num_bytes, top_k / part.count
        else:
            weights += num_bytes
        if not isinstance(part, LMHead):  # only the last token of a prompt goes through it
            token += 2 * (size * top_k // part.count if isinstance(part, Experts) else size)
    memory: Sequence_[CacheSpec] = model.cache_specs
    softmax = [
        part
        for part in module.modules()
        if hasattr(part, "layer") and isinstance(memory[cast(int, part.layer)], KVSpec)
    ]
    pair = sum(4 * cast(int, part.heads) * cast(int, part.dim) for part in softmax if hasattr(part, "dim"))
    return ModelCosts(
        weights, experts, share, token, pair, block_bytes(memory, dtype) / BLOCK_SIZE, state_bytes(memory)
    )


def measure_device(device: torch.device, dtype: torch.dtype) -> DeviceRates:
    """Rates of a large copy and a large matrix product, each the median of several."""
    size = 2**28 if device.type == "cuda" else 2**25
    source = torch.randn(size // 4, device=device)
    target = torch.empty_like(source)
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    copied = _seconds(lambda: target.copy_(source), device)
    multiplied = _seconds(lambda: left @ right, device)
    return DeviceRates(2 * size / copied, 2 * side**3 / multiplied)


def _seconds(call: Any, device: torch.device, times: int = 10) -> float:
    seconds = []
    for _ in range(times + 2):
        _synchronize(device)
        began = time.perf_counter()
        call()
        _synchronize(device)
        seconds.append(time.perf_counter() - began)
    return median(seconds[2:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_all(engine: Engine, sequences: Sequence_[Sequence]) -> float:
    """Seconds to run all sequences together to their ends."""
    began = time.monotonic()
    for sequence in sequences:
        engine.submit(sequence)
    for sequence in sequences:
        sequence.future.result()
    return time.monotonic() - began


def random_sequences(
    count: int, prompt: int, new: int, vocab: int, *, seed: int = 0, sampling_params: SamplingParams = GREEDY
) -> list[Sequence]:
    """Sequences with distinct random prompts that generate exactly `new` tokens."""
    rng = random.Random(f"{seed}/{count}/{prompt}")
    sequences = []
    for i in range(count):
        ids = rng.choices(range(vocab), k=min(prompt, 4096)) * (-(-prompt // 4096))
        sequences.append(
            Sequence(prompt_token_ids=ids[:prompt], max_tokens=new, sampling_params=sampling_params._replace(seed=i))
        )
    return sequences


def prefill(engine: Engine, length: int, vocab: int, *, times: int = 1, seed: int = 0) -> dict[str, float]:
    """Prefill of one prompt: tokens per second, and the time to the first token."""
    durations = []
    for i in range(times):
        durations.append(run_all(engine, random_sequences(1, length, 1, vocab, seed=seed + i + 1)))
    seconds = median(durations)
    return {"prompt": length, "seconds": seconds, "tokens_per_s": length / seconds}


def decode(
    engine: Engine, batch: int, prompt: int, new: int, vocab: int, *, sampling_params: SamplingParams = GREEDY
) -> dict[str, float]:
    """Decode of `batch` concurrent sequences: new tokens per second with prefill, and of the decode steps alone."""
    sequences = random_sequences(batch, prompt, new, vocab, seed=batch, sampling_params=sampling_params)
    seconds = run_all(engine, sequences)
    first, last = max(s.first_token_at for s in sequences), max(s.finished_at for s in sequences)
    decode_rate = batch * (new - 1) / (last - first) if new > 1 else 0.0
    return {
        "batch": batch,
        "prompt": prompt,
        "new": new,
        "seconds": seconds,
        "tokens_per_s": batch * new / seconds,
        "drawing_tokens_per_s": decode_rate,
        "first_token_s": min(s.first_token_at for s in sequences) - min(s.submitted_at for s in sequences),
    }


def decode_bound(work: ModelCosts, rates: DeviceRates, *, batch: int, context: float) -> float:
    """Upper bound of decode in tokens per second: all bytes of a step read at the measured bandwidth.

    Of the experts, the fraction that a batch is expected to read if all are equally likely.
    """
    experts = work.expert_bytes * (1 - (1 - work.expert_share) ** batch)
    step = work.weight_bytes + experts + batch * (context * work.cache_bytes_per_token + 2 * work.state_bytes)
    return batch * rates.bytes / step


def prefill_bound(work: ModelCosts, rates: DeviceRates, length: int) -> float:
    """Upper bound of prefill in tokens per second: all operations at the rate of large matrix products."""
    return rates.operations / (work.flops_per_token + work.flops_per_pair * length / 2)


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in GiB: of the device, or of this process on a CPU."""
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
    """All measurements of one model; by default prompt lengths and batch sizes that suit the device."""
    on_gpu = device.type == "cuda"
    lengths = lengths or ((1024, 32768) if on_gpu else (128, 1024))
    batches = batches or ((1, 32, 256) if on_gpu else (1, 8))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    say("measuring the device")
    device_rates, costs, vocab = measure_device(device, dtype), model_costs(model, dtype), model.vocab_size
    results: dict[str, Any] = {"rates": device_rates._asdict(), "prefill": [], "decode": []}
    for length in [min(length, window - 1) for length in lengths]:
        say(f"prefill of {length} tokens")
        prefill(engine, length, vocab)  # kernels are compiled and libraries set up
        row = prefill(engine, length, vocab, times=3)
        results["prefill"].append(row | {"bound_tokens_per_s": prefill_bound(costs, device_rates, length)})
    prompt = min(256, window - new)
    for batch in [batch for batch in batches if batch <= engine.scheduler.max_num_seqs]:
        say(f"decode with a batch of {batch}")
        decode(engine, batch, prompt, min(new, 8), vocab)
        row = decode(engine, batch, prompt, new, vocab)
        bound = decode_bound(costs, device_rates, batch=batch, context=prompt + new / 2)
        results["decode"].append(row | {"bound_tokens_per_s": bound})
    return results | {"peak_gib": peak_memory(device)}
