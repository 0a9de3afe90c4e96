"""The local engine on one GPU, on random weights in bf16: throughput, memory and their bounds, next to transformers.

    python benchmarks/gpu/engine.py [--parts rates,dense,mini,long,repeats,again,load,peers] [--json FILE]

Shapes: `dense` is that of Qwen3-0.6B, `mini` a MiniMax-M1 of 2.06 billion parameters (16 layers, seven lightning to one
softmax, hidden 2048, 16 heads of 128, 4 key heads, 8 experts of width 2048 of which 2 are used, vocabulary 32,000).
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from m1eval import NullProgress, Request, Sampling, load

local = load("runners", "local")
bench, models, layers, sequence = (
    import_module(f"{local.__name__}.{name}") for name in ("bench", "models", "layers.layers", "engine.sequence")
)

GPU = torch.device("cuda")
DENSE: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}
MINI = {
    "model_type": "minimax_m1",
    "hidden_size": 2048,
    "intermediate_size": 2048,
    "num_hidden_layers": 16,
    "attn_type_list": [int(i % 8 == 7) for i in range(16)],
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "rotary_dim": 64,
    "vocab_size": 32000,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "postnorm": True,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e7,
    "max_position_embeddings": 2**20 + 4096,
    "tie_word_embeddings": False,
    **{f"layernorm_{kind}_alpha": 32**0.25 for kind in ("full_attention", "linear_attention", "mlp")},
}


def random_model(config: dict[str, Any]) -> Any:
    """A model of that shape with random weights on the GPU."""
    how = layers.LayerContext(torch.bfloat16)
    model = models.build(config, how)
    torch.manual_seed(0)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            weight = torch.empty_like(parameter, device=GPU)
            weight = weight.normal_(1.0 if weight.ndim == 1 else 0.0, 0.02)
            setattr(module, name, torch.nn.Parameter(weight, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(GPU))
    return model.eval()


def engine(model: Any, window: int, **options: Any) -> Any:
    return local.Runner("random", device="cuda", **options).build_engine(model, window)


def dense(note: Callable[[str, Any], None]) -> None:
    """Qwen3-0.6B: prompts of 256 tokens, 128 new ones; a prompt of 32k."""
    model = random_model(DENSE)
    rates, work = bench.measure_device(GPU, torch.bfloat16), bench.model_costs(model, torch.bfloat16)
    running = engine(model, 40960)
    for batch in (1, 64, 256):
        bench.decode(running, batch, 256, 128, 151936)  # graphs are captured
        runs = [bench.decode(running, batch, 256, 128, 151936) for _ in range(3)]
        best = sorted(runs, key=lambda row: row["tokens_per_s"])[1]
        best["bound_tokens_per_s"] = bench.decode_bound(work, rates, batch=batch, context=320)
        note(f"dense decode {batch}", best)
    for batch in (1, 256):
        bench.decode(running, batch, 256, 32, 151936, sampling_params=bench.SAMPLED)
        note(f"dense sampled {batch}", bench.decode(running, batch, 256, 128, 151936, sampling_params=bench.SAMPLED))
    bench.prefill(running, 32768, 151936)
    bound = {"bound_tokens_per_s": bench.prefill_bound(work, rates, 32768)}
    note("dense prefill 32768, five in a row", {**bench.prefill(running, 32768, 151936, times=5), **bound})
    apart = []
    for i in range(5):  # the GPU's clock drops under load
        time.sleep(2)
        apart.append(bench.prefill(running, 32768, 151936, seed=100 + i))
    note("dense prefill 32768, two seconds apart", {**sorted(apart, key=lambda row: row["seconds"])[2], **bound})
    running.close()


def mini(note: Callable[[str, Any], None]) -> None:
    """M1-mini: prefill at several lengths, decoding, and decoding after a long context."""
    model = random_model(MINI)
    rates, work = bench.measure_device(GPU, torch.bfloat16), bench.model_costs(model, torch.bfloat16)
    note("mini parameters", sum(parameter.numel() for parameter in model.parameters()))
    running = engine(model, 2**18 + 4096, batch=32, memory=12)
    bench.prefill(running, 40000, 32000)
    for length in (8192, 32768, 131072, 262144):
        first = bench.prefill(running, length, 32000)
        figures = {**bench.prefill(running, length, 32000, times=3, seed=10), "first_time_s": first["seconds"]}
        note(f"mini prefill {length}", {**figures, "bound_tokens_per_s": bench.prefill_bound(work, rates, length)})
    for batch in (1, 32):
        bench.decode(running, batch, 512, 16, 32000)
        figures = bench.decode(running, batch, 512, 64, 32000)
        note(
            f"mini decode {batch}",
            {**figures, "bound_tokens_per_s": bench.decode_bound(work, rates, batch=batch, context=544)},
        )
    for context in (1024, 2**18):
        bench.decode(running, 1, context, 8, 32000)
        figures = bench.decode(running, 1, context, 128, 32000)
        note(f"mini decode behind {context}", figures)
    running.close()


def long(note: Callable[[str, Any], None]) -> None:
    """M1-mini: one prompt of 2^20 tokens, with the peak of memory."""
    model = random_model(MINI)
    torch.cuda.reset_peak_memory_stats()
    running = engine(model, 2**20 + 4096, batch=4, memory=12)
    bench.prefill(running, 40000, 32000)
    figures = bench.prefill(running, 2**20, 32000)
    note("mini prefill 1M", {**figures, "peak_gib": bench.peak_memory(GPU)})
    running.close()


def repeats(note: Callable[[str, Any], None]) -> None:
    """M1-mini: 32 repeats of one prompt of 128k tokens."""
    model = random_model(MINI)
    running = engine(model, 2**17 + 4096, batch=32, memory=16)
    bench.prefill(running, 40000, 32000)
    bench.decode(running, 32, 512, 8, 32000)
    single = bench.prefill(running, 2**17, 32000)
    prompt = bench.random_sequences(1, 2**17, 64, 32000, seed=99)[0].prompt_token_ids

    def requests() -> list[Any]:
        hashes = import_module(f"{local.__name__}.engine.block_pool").hash_blocks(prompt)
        return [
            sequence.Sequence(prompt_token_ids=prompt, max_tokens=64, sampling_params=bench.GREEDY, block_hashes=hashes)
            for _ in range(32)
        ]

    before = running.scheduler.num_prompt_tokens
    seconds = bench.run_all(running, sequences := requests())
    num_prefilled = running.scheduler.num_prompt_tokens - before
    again = bench.run_all(running, requests())  # all blocks are cached now: the cost of 32 decodes alone
    note(
        "mini repeats",
        {
            "prefilled_tokens": num_prefilled,
            "prompt": len(prompt),
            "seconds": seconds,
            "one_prefill_s": single["seconds"],
            "decodes_s": again,
            "ratio": seconds / (single["seconds"] + again),
            "same_tokens": len({tuple(s.output_token_ids) for s in sequences}),
        },
    )
    running.close()


def again(note: Callable[[str, Any], None]) -> None:
    """Check that graphs, cache and slots leak nothing between requests: each alone, before and after many others."""
    for name, config in (("mini", MINI), ("dense", DENSE)):
        running = engine(random_model(config), 4096, batch=64, memory=16)
        vocab = config["vocab_size"]

        def alone(running: Any = running, vocab: int = vocab) -> list[list[int]]:
            sequences = [
                *bench.random_sequences(3, 300, 64, vocab, seed=1),
                *bench.random_sequences(3, 700, 64, vocab, seed=2, sampling_params=bench.SAMPLED),
            ]
            for one in sequences:
                bench.run_all(running, [one])
            return [one.output_token_ids for one in sequences]

        before = alone()
        for sampling_params in (bench.SAMPLED, bench.GREEDY):
            bench.run_all(
                running, bench.random_sequences(150, 500, 100, vocab, seed=3, sampling_params=sampling_params)
            )
        same = sum(a == b for a, b in zip(before, alone(), strict=True))
        note(f"{name} the same after a crowd", {"requests": len(before), "same": same})
        running.close()


def load_time(note: Callable[[str, Any], None]) -> None:
    """A checkpoint of the dense shape from disk to the first token, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder, DENSE, random_model(DENSE))
        gc.collect()
        torch.cuda.empty_cache()
        began = time.monotonic()
        out = subprocess.run(
            [sys.executable, __file__, "--first-token", name], check=True, capture_output=True, text=True
        ).stdout
        note("dense load", {"seconds": time.monotonic() - began, **json.loads(out.splitlines()[-1])})


def first_token(folder: str) -> None:
    async def go() -> dict[str, float]:
        began = time.monotonic()
        runner = local.Runner(folder)
        await runner.start(NullProgress())
        started = time.monotonic()
        await runner.generate(Request(prompt="Hello", sampling=Sampling(max_tokens=1)))
        answered = time.monotonic()
        await runner.aclose()
        return {"start_s": started - began, "first_token_s": answered - started}

    print(json.dumps(asyncio.run(go())))


def write_checkpoint(folder: Path, config: dict[str, Any], model: Any) -> None:
    """Save a random model as a checkpoint in its own names, with a tokenizer of one token a byte."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    places = import_module(f"{local.__name__}.weights.loader").weight_slots(model)
    save_file(
        {name: slot.view.cpu().contiguous().clone() for name, slot in places.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(config))
    core = Tokenizer(
        BPE(vocab={word: i for i, word in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
    )


def peers(note: Callable[[str, Any], None]) -> None:
    """The same shapes in transformers, greedy and with its cache, in this very run."""
    transformers: Any = import_module("transformers")

    note("transformers", transformers.__version__)
    config = transformers.Qwen3Config(**{k: v for k, v in DENSE.items() if k != "model_type"})
    peer(note, "dense", transformers.Qwen3ForCausalLM, config, (1, 64, 256), 256, (32768,))
    layers_ = ["full_attention" if i % 8 == 7 else "linear_attention" for i in range(MINI["num_hidden_layers"])]
    fields = {k: v for k, v in MINI.items() if k in SHARED}
    factors = {f"{kind}_alpha_factor": 32**0.25 for kind in ("full_attn", "linear_attn", "mlp")}
    config = transformers.MiniMaxConfig(**fields, **factors, layer_types=layers_)
    peer(note, "mini", transformers.MiniMaxForCausalLM, config, (1, 32), 512, (8192, 32768, 131072))


SHARED = {
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size", "num_local_experts", "num_experts_per_tok", "rms_norm_eps"),
    *("max_position_embeddings", "tie_word_embeddings"),
}
"""Keys that the published config and transformers' MiniMax share (which rotates whole heads; that takes as long)."""


def peer(
    note: Callable[[str, Any], None],
    shape: str,
    kind: Any,
    config: Any,
    batches: tuple[int, ...],
    prompt: int,
    lengths: tuple[int, ...],
) -> None:
    """`generate` and prefill by one model of transformers; the second of two calls counts."""
    with torch.device("cuda"):
        model = kind(config).to(torch.bfloat16).eval()

    def timed(call: Callable[[], Any]) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return time.perf_counter() - began

    with torch.inference_mode():
        for batch in batches:
            ids = torch.randint(0, config.vocab_size, (batch, prompt), device="cuda")
            arguments = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
            for new in (4, NEW):
                seconds = timed(
                    lambda new=new, ids=ids, given=arguments: model.generate(  # type: ignore[misc]
                        ids, max_new_tokens=new, min_new_tokens=new, **given
                    )
                )
            note(f"transformers {shape} decode {batch}", {"new": NEW, "tokens_per_s": batch * NEW / seconds})
        for length in lengths:
            ids = torch.randint(0, config.vocab_size, (1, length), device="cuda")
            torch.cuda.reset_peak_memory_stats()
            for _ in range(2):
                seconds = timed(lambda ids=ids: model(ids, logits_to_keep=1))  # type: ignore[misc]
            note(
                f"transformers {shape} prefill {length}",
                {"tokens_per_s": length / seconds, "peak_gib": bench.peak_memory(GPU)},
            )


def rates(note: Callable[[str, Any], None]) -> None:
    """Rates of the device: a copy and a matrix product."""
    note("rates", bench.measure_device(GPU, torch.bfloat16)._asdict())


NEW = 64
"""Tokens that transformers draws; it takes a while."""

PARTS = {
    "rates": rates,
    "dense": dense,
    "mini": mini,
    "long": long,
    "repeats": repeats,
    "again": again,
    "load": load_time,
    "peers": peers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--first-token", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_token:
        first_token(options.first_token)
        return
    results: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}

    def note(name: str, value: Any) -> None:
        results[name] = value
        plain = value if not isinstance(value, dict) else {k: float(f"{v:.4g}") for k, v in value.items()}
        print(f"{name}: {plain}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))

    for name in options.parts.split(","):
        began = time.monotonic()
        try:
            PARTS[name](note)
        except Exception:  # noqa: BLE001  the other parts are still worth their time
            traceback.print_exc()
        gc.collect()
        torch.cuda.empty_cache()
        print(f"[{name}: {time.monotonic() - began:.1f} s]", flush=True)
    table(results)
    print(json.dumps(results))


def table(results: dict[str, Any]) -> None:
    """Tokens per second next to the device's bound and transformers."""
    print("\n| tokens a second | ours | bound | transformers | ratio |\n|---|--:|--:|--:|--:|")
    for name, row in results.items():
        if isinstance(row, dict) and "tokens_per_s" in row and not name.startswith("transformers"):
            ours, bound = row["tokens_per_s"], row.get("bound_tokens_per_s")
            theirs = results.get(f"transformers {name.split(',')[0]}", {}).get("tokens_per_s")
            cells = [f"{ours:,.0f}", f"{bound:,.0f}" if bound else "", *([f"{theirs:,.0f}"] if theirs else [""])]
            print(f"| {name} | {' | '.join(cells)} | {f'{ours / theirs:.1f}' if theirs else ''} |")


if __name__ == "__main__":
    main()
