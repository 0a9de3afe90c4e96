"""The tokenizer of a model's folder: tokenizer.json and the files beside it, read as Hugging Face transformers does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Core

from m1eval import RunnerError
from m1eval.model.chat_template import ChatTemplate

from .checks import HIGHEST_ID, check
from .model_tokenizer import ModelTokenizer

_LARGEST = {"tokenizer.json": 1 << 27}
_LARGEST_OTHER = 1 << 24
"""Bytes of a file that are read; the largest tokenizer.json in use have some 35 MB."""
NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""The tokens that transformers gives a name."""
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")


def from_folder(folder: Path, gguf: Mapping[str, Any] | None = None) -> ModelTokenizer:
    """From tokenizer.json and the files beside it; RunnerError naming what is missing or wrong.

    With `split_special_tokens`, special tokens written out in a text are text, as in transformers.
    What a raw prompt begins with is said by the post-processor of tokenizer.json: as in transformers, `add_bos_token`
    of tokenizer_config.json is for tokenizers without such a file.
    `gguf`: the keys of a GGUF file that the folder belongs to, for end tokens and a chat template of its own.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        raise RunnerError(f"{folder} has no tokenizer.json; convert its tokenizer with transformers' save_pretrained")
    tree, text = _tree(file)
    check(tree, text, file)
    config, map_ = read_json(folder / "tokenizer_config.json"), read_json(folder / "special_tokens_map.json")
    legacy = "added_tokens_decoder" not in config
    names = {**config, **(map_ if legacy else {k: v for k, v in map_.items() if k not in config})}
    added = _added(folder, tree, config, legacy=legacy)
    core = _core(file, tree, text, added)
    specials = _specials(folder, names)
    _mark_special(core, added, [*specials.values(), *_extra(folder, names)])
    core.encode_special_tokens = bool(config.get("split_special_tokens"))
    ends = {
        *_ids(folder / "generation_config.json", read_json(folder / "generation_config.json").get("eos_token_id")),
        *_ids(folder / "config.json", read_json(folder / "config.json").get("eos_token_id")),
        *gguf_ends(gguf or {}),
    }
    sources = chat_templates(folder, config.get("chat_template")) or gguf_templates(gguf or {})
    return assemble(core, sources, specials, ends, str(folder))


def from_file(file: Path) -> ModelTokenizer:
    """From a tokenizer file of any name, with the chat template and special tokens beside it."""
    tree, text = _tree(file)
    check(tree, text, file)
    config = read_json(file.parent / "tokenizer_config.json")
    names = {**read_json(file.parent / "special_tokens_map.json"), **config}
    sources = chat_templates(file.parent, config.get("chat_template"))
    core = _core(file, tree, text, {})
    return assemble(core, sources, _specials(file.parent, names), set(), str(file))


def assemble(
    core: Core, sources: Mapping[str, str], specials: Mapping[str, str], ends: set[int], where: str
) -> ModelTokenizer:
    """A tokenizer that ends where its files, its end token or its chat template say that a turn ends.

    The template is asked because files made of a base model name that one's end of text alone. A checkpoint that names
    no end at all has none.
    """
    template = ChatTemplate(sources, specials, where) if sources else None
    ids = {name: i for name, text in specials.items() if (i := core.token_to_id(text)) is not None}
    ends |= {ids["eos_token"]} if "eos_token" in ids else set()
    if ends and template and (after := template.after_answer()):
        ends |= turn_end(core, after)
    return ModelTokenizer(core, template, frozenset(ends), hidden_ids=frozenset(ids.values()))


def turn_end(core: Core, after: str) -> set[int]:
    """The token with which a chat template goes on after the text of an answer, if it is an added one."""
    after = after.lstrip()
    found = [(len(t.content), i) for i, t in core.get_added_tokens_decoder().items() if after.startswith(t.content)]
    return {max(found)[1]} if found else set()


def _tree(file: Path) -> tuple[dict[str, Any], str]:
    text = read_text(file)
    return _parsed(file, text), text


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is no file; RunnerError in one line if it is anything else."""
    return _parsed(file, read_text(file)) if file.exists() else {}


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RunnerError(f"{file} is not JSON ({said}): download it again") from error
    if not isinstance(found, dict):
        raise RunnerError(f"{file} holds no JSON object: download it again")
    return found


def read_text(file: Path) -> str:
    """The text of a file in UTF-8; RunnerError in one line if it is no such file, or larger than any in use."""
    if not file.is_file():
        raise RunnerError(f"{file} is not a file: download it again")
    size, most = file.stat().st_size, _LARGEST.get(file.name, _LARGEST_OTHER)
    if size > most:
        raise RunnerError(f"{file} has {size:,} bytes, and at most {most:,} are read")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunnerError(f"{file} is not UTF-8 ({error.reason} at byte {error.start}): download it again") from error
    except OSError as error:
        raise RunnerError(f"{file} cannot be read: {error.strerror}") from error


def chat_templates(folder: Path, configured: Any) -> dict[str, str]:
    """The chat templates of a model's folder by name, in the order in which transformers looks for them."""
    found: dict[str, str] = {}
    if (file := folder / "chat_template.jinja").exists():
        found["default"] = read_text(file)
    more = folder / "additional_chat_templates"
    found |= {file.stem: read_text(file) for file in sorted(more.glob("*.jinja"))} if more.is_dir() else {}
    if found:
        return found
    where = folder / "tokenizer_config.json"
    if source := read_json(folder / "chat_template.json").get("chat_template"):
        where, configured = folder / "chat_template.json", source
    return _named_templates(where, configured)


def _named_templates(where: Path, source: Any) -> dict[str, str]:
    if not source:
        return {}
    if isinstance(source, str):
        return {"default": source}
    if isinstance(source, list) and all(isinstance(entry, dict) for entry in source):
        source = {entry.get("name"): entry.get("template") for entry in source}
    if isinstance(source, dict) and all(isinstance(part, str) for pair in source.items() for part in pair):
        return dict(source)
    raise RunnerError(f"{where}: chat_template must be a text, or a list of objects with name and template")


def _added(folder: Path, tree: Mapping[str, Any], config: Mapping[str, Any], *, legacy: bool) -> dict[int, AddedToken]:
    """Added tokens by id, from the file that transformers would believe."""
    found: dict[int, AddedToken] = {}
    if not legacy:
        where = folder / "tokenizer_config.json"
        listed = config["added_tokens_decoder"]
        if not isinstance(listed, dict):
            raise RunnerError(f"{where}: added_tokens_decoder must be an object of ids")
        for key, value in listed.items():
            found[_id(where, key, key)] = _token(where, value)
        _check_unique(where, found)
        return found
    where = folder / "added_tokens.json"
    names = {**config, **read_json(folder / "special_tokens_map.json")}
    special = {*_specials(folder, names).values(), *_extra(folder, names)}
    for name, value in read_json(where).items():
        is_special = name in special
        i = _id(where, value, name)
        if i in found:
            raise RunnerError(f"{where}: '{found[i].content}' and '{name}' have the same id {i}: remove one")
        found[i] = AddedToken(name, normalized=not is_special, special=is_special)
    own = tree.get("added_tokens")
    for entry in own if isinstance(own, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            i, token = entry["id"], _token(folder / "tokenizer.json", entry)
            if i in found and found[i].content != token.content:
                raise RunnerError(
                    f"{where}: '{found[i].content}' has id {i}, which tokenizer.json gives to '{token.content}'"
                )
            found[i] = token
    return found


def _check_unique(where: Path, added: Mapping[int, AddedToken]) -> None:
    seen: dict[str, int] = {}
    for i, token in added.items():
        if token.content in seen:
            raise RunnerError(f"{where}: the added token '{token.content}' has two ids, {seen[token.content]} and {i}")
        seen[token.content] = i


def _id(where: Path, value: Any, name: str) -> int:
    try:
        found = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else -1
    except ValueError:
        found = -1
    if not 0 <= found <= HIGHEST_ID:
        raise RunnerError(f"{where}: '{str(value)[:40]}' is not a token id (of '{name[:40]}')")
    return found


def _token(where: Path, value: Any) -> AddedToken:
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, str) or not content:
        raise RunnerError(f"{where}: an added token has no text: {str(value)[:60]}")
    flags = {flag: value[flag] for flag in _FLAGS if flag in value}
    if wrong := [flag for flag, given in flags.items() if not isinstance(given, bool)]:
        raise RunnerError(f"{where}: {wrong[0]} of the added token '{content}' must be true or false")
    return AddedToken(content, **flags)


def _specials(folder: Path, names: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token` and its like; those that are not set are left out."""
    found = {}
    for key, value in names.items():
        if not key.endswith("_token") or key.startswith("add_") or value is None:
            continue
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[key] = text
        elif key.removesuffix("_token") in NAMED and not isinstance(value, bool):
            raise RunnerError(f"{folder / 'tokenizer_config.json'}: {key} must be a text, and is {str(value)[:40]}")
    return found


def _extra(folder: Path, names: Mapping[str, Any]) -> list[str]:
    """Special tokens without a name."""
    found = []
    for key in ("extra_special_tokens", "additional_special_tokens"):
        listed = names.get(key) or []
        if isinstance(listed, dict):
            listed = list(listed.values())
        if not isinstance(listed, list):
            raise RunnerError(f"{folder / 'tokenizer_config.json'}: {key} must be a list")
        for value in listed:
            text = value.get("content") if isinstance(value, dict) else value
            if not isinstance(text, str):
                raise RunnerError(f"{folder / 'tokenizer_config.json'}: {key} has {str(value)[:40]}, which is no text")
            found.append(text)
    return found


def _core(file: Path, tree: dict[str, Any], text: str, added: Mapping[int, AddedToken]) -> Core:
    """The tokenizer with all added tokens at their ids."""
    vocab = tree["model"]["vocab"]
    ids = vocab if isinstance(vocab, dict) else {entry[0]: i for i, entry in enumerate(vocab)}
    own = {entry["content"]: entry["id"] for entry in tree.get("added_tokens") or []}
    names = {i: name for name, i in (ids | own).items()}
    fresh = {}
    for i, token in sorted(added.items()):
        there = own.get(token.content, ids.get(token.content))
        if there is None and i not in names:
            fresh[token.content] = i
        elif there != i:
            other = f"is {there} in" if there is not None else f"is '{names[i]}' in"
            raise RunnerError(f"{file.parent}: the added token '{token.content}' has id {i}, which {other} {file.name}")
    if fresh and isinstance(vocab, dict):  # by itself, tokenizers would number them as they come
        vocab.update(fresh)
        text = json.dumps(tree, ensure_ascii=False)
    core = load_core(text, file)
    core.add_tokens([token for _, token in sorted(added.items())])
    for token_text, i in (own | fresh).items():
        if (place := core.token_to_id(token_text)) != i:
            raise RunnerError(f"{file}: the added token '{token_text}' has id {i}, but by its place it is {place}")
    return core


def load_core(text: str, file: Path) -> Core:
    """What tokenizers makes of the text of a tokenizer.json; RunnerError in one line."""
    try:
        return Core.from_str(text)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":  # of Rust; a BaseException
            raise RunnerError(f"{file}: {' '.join(str(error).split())[:300]}") from None
        raise


def _mark_special(core: Core, added: Mapping[int, AddedToken], texts: list[str]) -> None:
    known = {token.content: token for token in added.values()}
    core.add_special_tokens([known.get(text) or AddedToken(text, normalized=False, special=True) for text in texts])


def _ids(file: Path, value: Any) -> list[int]:
    found = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in found):
        raise RunnerError(f"{file}: eos_token_id must be a token id or a list of them, and is {str(value)[:40]}")
    return [i for i in found if i >= 0]


def gguf_ends(meta: Mapping[str, Any], size: int = HIGHEST_ID + 1) -> set[int]:
    """The tokens that end generation, as far as a GGUF file names them."""
    ids = {meta.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")}
    return {i for i in ids if isinstance(i, int) and 0 <= i < size}


def gguf_templates(meta: Mapping[str, Any]) -> dict[str, str]:
    """The chat templates in a GGUF file, by name: `tokenizer.chat_template` and `tokenizer.chat_template.NAME`."""
    key = "tokenizer.chat_template"
    found = {name.removeprefix(f"{key}."): text for name, text in meta.items() if name.startswith(f"{key}.")}
    if key in meta:
        found["default"] = meta[key]
    return {name: text for name, text in found.items() if isinstance(text, str) and text} if "default" in found else {}
