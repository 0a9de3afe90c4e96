"""The local engine on one GPU, on random weights in bf16: throughput, memory and their bounds, beside transformers.

    python benchmarks/gpu/engine.py [--parts rates,dense,mini,long,repeats,load,peers] [--json FILE]

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

from m1eval import Request, Sampling, Silent, load

local = load("runners", "local")
bench, models, layers, sequence = (
    import_module(f"{local.__name__}.{name}") for name in ("bench", "models", "layers", "sequence")
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
    how = layers.Setting(torch.bfloat16)
    model = models.build(config, how)
    torch.manual_seed(0)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            made = torch.empty_like(parameter, device=GPU)
            made = made.normal_(1.0 if made.ndim == 1 else 0.0, 0.02)
            setattr(module, name, torch.nn.Parameter(made, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(GPU))
    return model.eval()


def engine(model: Any, window: int, **options: Any) -> Any:
    return local.Runner("random", device="cuda", **options).engine(model, window)


def dense(note: Callable[[str, Any], None]) -> None:
    """Qwen3-0.6B: prompts of 256 tokens, 128 new ones; a prompt of 32k."""
    model = random_model(DENSE)
    rates, work = bench.rates(GPU, torch.bfloat16), bench.work(model, torch.bfloat16)
    running = engine(model, 40960)
    for batch in (1, 64, 256):
        bench.decode(running, batch, 256, 128, 151936)  # graphs are captured
        found = [bench.decode(running, batch, 256, 128, 151936) for _ in range(3)]
        best = sorted(found, key=lambda row: row["tokens_per_s"])[1]
        best["bound_tokens_per_s"] = bench.bounds(work, rates, batch=batch, context=320)
        note(f"dense decode {batch}", best)
    for batch in (1, 256):
        bench.decode(running, batch, 256, 32, 151936, draw=bench.SAMPLED)
        note(f"dense sampled {batch}", bench.decode(running, batch, 256, 128, 151936, draw=bench.SAMPLED))
    bench.prefill(running, 32768, 151936)
    bound = {"bound_tokens_per_s": bench.prefill_bound(work, rates, 32768)}
    note("dense prefill 32k, five in a row", {**bench.prefill(running, 32768, 151936, times=5), **bound})
    apart = []
    for i in range(5):  # under load the clock of the GPU sinks
        time.sleep(2)
        apart.append(bench.prefill(running, 32768, 151936, seed=100 + i))
    note("dense prefill 32k, two seconds apart", {**sorted(apart, key=lambda row: row["seconds"])[2], **bound})
    running.close()


def mini(note: Callable[[str, Any], None]) -> None:
    """M1-mini: prefill at several lengths, decoding, and decoding behind a long context."""
    model = random_model(MINI)
    rates, work = bench.rates(GPU, torch.bfloat16), bench.work(model, torch.bfloat16)
    note("mini parameters", sum(parameter.numel() for parameter in model.parameters()))
    running = engine(model, 2**18 + 4096, batch=32, memory=12)
    bench.prefill(running, 40000, 32000)
    for length in (8192, 32768, 131072, 262144):
        first = bench.prefill(running, length, 32000)
        found = {**bench.prefill(running, length, 32000, times=3, seed=10), "first_time_s": first["seconds"]}
        note(f"mini prefill {length}", {**found, "bound_tokens_per_s": bench.prefill_bound(work, rates, length)})
    for batch in (1, 32):
        bench.decode(running, batch, 512, 16, 32000)
        found = bench.decode(running, batch, 512, 64, 32000)
        note(
            f"mini decode {batch}", {**found, "bound_tokens_per_s": bench.bounds(work, rates, batch=batch, context=544)}
        )
    for context in (1024, 2**18):
        bench.decode(running, 1, context, 8, 32000)
        found = bench.decode(running, 1, context, 128, 32000)
        note(f"mini decode behind {context}", found)
    running.close()


def long(note: Callable[[str, Any], None]) -> None:
    """M1-mini: one prompt of 2^20 tokens, with the peak of memory."""
    model = random_model(MINI)
    torch.cuda.reset_peak_memory_stats()
    running = engine(model, 2**20 + 4096, batch=4, memory=12)
    bench.prefill(running, 40000, 32000)
    found = bench.prefill(running, 2**20, 32000)
    note("mini prefill 1M", {**found, "peak_gib": bench.peak(GPU)})
    running.close()


def repeats(note: Callable[[str, Any], None]) -> None:
    """M1-mini: 32 repeats of one prompt of 128k tokens."""
    model = random_model(MINI)
    running = engine(model, 2**17 + 4096, batch=32, memory=16)
    bench.prefill(running, 40000, 32000)
    bench.decode(running, 32, 512, 8, 32000)
    one = bench.prefill(running, 2**17, 32000)
    prompt = bench.sequences(1, 2**17, 64, 32000, seed=99)[0].prompt

    def asked() -> list[Any]:
        found = import_module(f"{local.__name__}.cache").keys(prompt)
        return [sequence.Sequence(prompt=prompt, limit=64, draw=bench.GREEDY, keys=found) for _ in range(32)]

    before = running.scheduler.read
    took = bench.ask(running, sequences := asked())
    read = running.scheduler.read - before
    again = bench.ask(running, asked())  # now all is there: what 32 decodings cost by themselves
    note(
        "mini repeats",
        {
            "prefilled_tokens": read,
            "prompt": len(prompt),
            "seconds": took,
            "one_prefill_s": one["seconds"],
            "decodes_s": again,
            "ratio": took / (one["seconds"] + again),
            "same_tokens": len({tuple(s.tokens) for s in sequences}),
        },
    )
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
        await runner.start(Silent())
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

    places = import_module(f"{local.__name__}.loading").places(model)
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
    with torch.device("cuda"):
        model = transformers.Qwen3ForCausalLM(config).to(torch.bfloat16).eval()
    with torch.inference_mode():
        for batch in (1, 64, 256):
            ids = torch.randint(0, 151936, (batch, 256), device="cuda")
            for new in (4, 64):
                torch.cuda.synchronize()
                began = time.perf_counter()
                model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=new,
                    min_new_tokens=new,
                    do_sample=False,
                    pad_token_id=0,
                )
                torch.cuda.synchronize()
            took = time.perf_counter() - began
            note(f"transformers dense decode {batch}", {"new": 64, "tokens_per_s": batch * 64 / took})
        ids = torch.randint(0, 151936, (1, 32768), device="cuda")
        for _ in range(2):
            torch.cuda.synchronize()
            began = time.perf_counter()
            model(ids, logits_to_keep=1)
            torch.cuda.synchronize()
        note("transformers dense prefill 32k", {"tokens_per_s": 32768 / (time.perf_counter() - began)})


def rates(note: Callable[[str, Any], None]) -> None:
    """What the device does: a copy and a product."""
    note("rates", bench.rates(GPU, torch.bfloat16)._asdict())


PARTS = {
    "rates": rates,
    "dense": dense,
    "mini": mini,
    "long": long,
    "repeats": repeats,
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
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}

    def note(name: str, value: Any) -> None:
        found[name] = value
        plain = value if not isinstance(value, dict) else {k: float(f"{v:.4g}") for k, v in value.items()}
        print(f"{name}: {plain}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))

    for name in options.parts.split(","):
        began = time.monotonic()
        try:
            PARTS[name](note)
        except Exception:  # noqa: BLE001  the other parts are still worth their time
            traceback.print_exc()
        gc.collect()
        torch.cuda.empty_cache()
        print(f"[{name}: {time.monotonic() - began:.1f} s]", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
