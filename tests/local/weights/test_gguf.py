"""GGUF files: the model they were made from, and quantised blocks by their formulas."""

import json
import struct
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from m1eval import RunnerError, load
from tests.local.conftest import LLAMA3, scores
from tests.local.weights.test_load import read, refused

local = load("runners", "local")
gguf_file = import_module(f"{local.__name__}.weights.gguf")
layers = import_module(f"{local.__name__}.layers.layers")
architectures = local.models.architectures


ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
}


def write_gguf(file: Path, reference: Any, folder: Path, kind: gguf.GGMLQuantizationType) -> None:
    """Write a model as llama.cpp's converter does, rotary dimensions interleaved, matrices quantised."""
    config = reference.config
    model = ARCHITECTURES[config.model_type]
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[model])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if model in (gguf.MODEL_ARCH.QWEN3, gguf.MODEL_ARCH.QWEN3MOE):
        writer.add_key_length(config.head_dim)
    if model == gguf.MODEL_ARCH.QWEN3MOE:
        writer.add_expert_count(config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if config.rope_parameters["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(config.rope_parameters["factor"])
        writer.add_rope_scaling_orig_ctx_len(config.rope_parameters["original_max_position_embeddings"])
    _write_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text()))
    if config.rope_parameters["rope_type"] == "llama3":
        size = config.hidden_size // config.num_attention_heads
        plain = config.rope_parameters["rope_theta"] ** -(torch.arange(0, size, 2) / size)
        writer.add_tensor("rope_freqs.weight", (plain / reference.model.rotary_emb.inv_freq).numpy())
    for name, values in _stored(reference, model):
        part = name.split(".")[-2]
        if part in heads and model == gguf.MODEL_ARCH.LLAMA:
            split = values.reshape(heads[part], 2, -1, *values.shape[1:])
            values = np.ascontiguousarray(split.swapaxes(1, 2).reshape(values.shape))  # noqa: PLW2901
        stored_kind = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(stored_name(name, model), gguf.quants.quantize(values, stored_kind), raw_dtype=stored_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_tokenizer(writer: Any, tokenizer: dict[str, Any]) -> None:
    words = dict(tokenizer["model"]["vocab"])
    added = {entry["content"]: entry for entry in tokenizer["added_tokens"]}
    words |= {word: entry["id"] for word, entry in added.items()}
    names = sorted(words, key=lambda word: words[word])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types([(3 if added[name]["special"] else 4) if name in added else 1 for name in names])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)


def _stored(reference: Any, model: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of the tensors, the stacks of experts parted into gate and up as the converter does."""
    tied = reference.config.tie_word_embeddings
    for name, tensor in reference.state_dict().items():
        values = tensor.numpy()
        if name.endswith("gate_up_proj"):
            for part, half in zip(("gate", "up"), np.split(values, 2, 1), strict=True):
                yield name.replace("gate_up_proj", f"{part}_proj.weight"), np.ascontiguousarray(half)
        elif "experts" in name:
            yield f"{name}.weight", values
        elif not (tied and name == "lm_head.weight"):
            yield name, values


def stored_name(name: str, model: Any) -> str:
    mapping = gguf.get_tensor_name_map(model, 3)
    return str(mapping.get_name(name, try_suffixes=(".weight", ".bias")))


YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"attention_bias": True}),
        ("qwen2", {}),
        ("qwen2", {"rope_parameters": YARN}),
        ("qwen3", {}),
        ("qwen3", {"tie_word_embeddings": True}),
        ("qwen3_moe", {"norm_topk_prob": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value) or "plain",
)
def test_a_gguf_file_is_the_model_it_was_made_from(
    architecture: str, config: dict[str, Any], tiny: Any, tmp_path: Path
) -> None:
    folder, reference = tiny(architecture, **config)
    file = tmp_path / "tiny.gguf"
    write_gguf(file, reference, folder, gguf.GGMLQuantizationType.F32)
    with torch.inference_mode():
        expected = reference(torch.tensor([list(range(100))])).logits[0]
    for source in (file, tmp_path):
        loaded = read(source)
        assert (scores(loaded.model, list(range(100))) - expected).abs().max() < 1e-4
    assert loaded.tokenizer.encode("thé <|im_end|></think>") == read(folder).tokenizer.encode("thé <|im_end|></think>")
    assert loaded.tokenizer.stop_token_ids == {258}


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_1", "Q8_0"])
def test_quantised_weights_are_read_at_their_quantised_values(kind: str, tiny: Any, tmp_path: Path) -> None:
    folder, reference = tiny(hidden_size=64, num_attention_heads=4, intermediate_size=96)
    quantised = gguf.GGMLQuantizationType[kind]
    write_gguf(tmp_path / "tiny.gguf", reference, folder, quantised)
    with torch.inference_mode():
        exact = reference(torch.tensor([list(range(60))])).logits[0]
    for parameter in reference.parameters():
        if parameter.ndim == 2:
            stored = gguf.quants.quantize(parameter.data.numpy(), quantised)
            parameter.data.copy_(torch.from_numpy(gguf.quants.dequantize(stored, quantised)))
    with torch.inference_mode():
        expected = reference(torch.tensor([list(range(60))])).logits[0]
    logits = scores(read(tmp_path / "tiny.gguf").model, list(range(60)))
    assert (logits - expected).abs().max() < 1e-4
    assert (logits - exact).abs().max() > 1e-4


def nibbles(block: bytes) -> list[int]:
    """The low halves of all bytes, then the high ones."""
    return [byte & 15 for byte in block] + [byte >> 4 for byte in block]


def half(block: bytes) -> float:
    return float(struct.unpack("<e", block)[0])


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def q4_0(block: bytes) -> list[float]:
    return [half(block[:2]) * (q - 8) for q in nibbles(block[2:])]


def q4_1(block: bytes) -> list[float]:
    return [half(block[:2]) * q + half(block[2:4]) for q in nibbles(block[4:])]


def q8_0(block: bytes) -> list[float]:
    return [half(block[:2]) * signed(q) for q in block[2:]]


def q4_k(block: bytes) -> list[float]:
    """256 numbers: two halves, eight 6-bit scales and minima in twelve bytes, the numbers 64 to 32 bytes."""
    packed, numbers = block[4:16], []
    for part in range(8):
        if part < 4:
            scale, minimum = packed[part] & 63, packed[part + 4] & 63
        else:
            scale = packed[part + 4] & 15 | packed[part - 4] >> 6 << 4
            minimum = packed[part + 4] >> 4 | packed[part] >> 6 << 4
        pair = nibbles(block[16 + 32 * (part // 2) : 48 + 32 * (part // 2)])
        chosen = pair[32:] if part % 2 else pair[:32]
        numbers += [half(block[:2]) * scale * q - half(block[2:4]) * minimum for q in chosen]
    return numbers


def q6_k(block: bytes) -> list[float]:
    """256 numbers: 4 low bits each, 2 high bits each, sixteen signed scales, and last what they are scaled by."""
    low, high, scales, scale = block[:128], block[128:192], block[192:208], half(block[208:])
    numbers = []
    for at in range(256):
        part, place = divmod(at % 128, 32)
        byte = low[at // 128 * 64 + part % 2 * 32 + place]
        bits = high[at // 128 * 32 + place] >> 2 * part & 3
        q = (byte >> 4 if part > 1 else byte & 15) + 16 * bits - 32
        numbers.append(scale * signed(scales[at // 16]) * q)
    return numbers


@pytest.mark.parametrize("pieces", ["at once", "in pieces"])
@pytest.mark.parametrize(
    ("kind", "formula", "scales"),
    [("Q4_0", q4_0, [0]), ("Q4_1", q4_1, [0, 2]), ("Q8_0", q8_0, [0]), ("Q4_K", q4_k, [0, 2]), ("Q6_K", q6_k, [208])],
)
def test_quantised_blocks_mean_what_their_formula_says(
    kind: str, formula: Any, scales: list[int], pieces: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of random bytes with random scales, against each format's definition written out number by number."""
    quantised = gguf.GGMLQuantizationType[kind]
    numbers, size = gguf.GGML_QUANT_SIZES[quantised]
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, (6, 2, size), dtype=np.uint8)
    for at in scales:
        raw[..., at : at + 2] = rng.uniform(-1, 1, (6, 2, 1)).astype("<f2").view(np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "blocks.gguf", "llama")
    writer.add_token_list(["a"])
    writer.add_tensor("token_embd.weight", raw.reshape(6, -1), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if pieces == "in pieces":
        monkeypatch.setattr(gguf_file, "_CHUNK", 4 * size)
    file = gguf_file.Gguf(tmp_path / "blocks.gguf")
    tensor = file.tensor("model.embed_tokens.weight")
    expected = torch.tensor([[x for block in row for x in formula(bytes(block))] for row in raw])
    assert file.shapes() == {"model.embed_tokens.weight": [6, 2 * numbers]}
    torch.testing.assert_close(tensor, expected, atol=1e-5, rtol=1e-5)
    part = (slice(1, 5), slice(32, 64))
    assert file.tensor("model.embed_tokens.weight", part).equal(tensor[part])
    assert expected.std() > 0.1


def test_a_quantisation_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    quantised = gguf.GGMLQuantizationType.Q8_K
    size = gguf.GGML_QUANT_SIZES[quantised][1]
    writer = gguf.GGUFWriter(tmp_path / "blocks.gguf", "llama")
    writer.add_tensor("output_norm.weight", np.zeros((1, size), dtype=np.uint8), raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(RunnerError, match=r"output_norm\.weight is quantised as Q8_K, not readable"):
        gguf_file.Gguf(tmp_path / "blocks.gguf").tensor("model.norm.weight")


def test_a_gguf_file_cut_short_is_refused(tiny: Callable[..., Any], tmp_path: Path) -> None:
    folder, reference = tiny()
    file = tmp_path / "cut.gguf"
    write_gguf(file, reference, folder, gguf.GGMLQuantizationType.F32)
    content = file.read_bytes()
    for kept in (len(content) - 100, len(content) // 2, 2000, 100):
        file.write_bytes(content[:kept])
        assert f"{file} is not a GGUF file, or is damaged" in refused(file)
