"""The tokenizer of a model's folder: tokenizer.json and its companion files, read as Hugging Face transformers does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Core

from m1eval import RunnerError
from m1eval.model.chat_template import ChatTemplate

from .checks import MAX_ID, check
from .model_tokenizer import ModelTokenizer

_MAX_BYTES = {"tokenizer.json": 1 << 27}
_MAX_BYTES_OTHER = 1 << 24
"""Maximum file size in bytes; the largest tokenizer.json in use have some 35 MB."""
NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""The special tokens that transformers names."""
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")


def from_folder(folder: Path, gguf: Mapping[str, Any] | None = None) -> ModelTokenizer:
    """The tokenizer from tokenizer.json and its companion files; RunnerError naming what is missing or wrong.

    With `split_special_tokens`, special tokens written out in a text are plain text, as in transformers.
    The prefix of raw prompts comes from the post-processor of tokenizer.json: as in transformers, `add_bos_token` of
    tokenizer_config.json is for tokenizers without such a file.
    `gguf`: the keys of a GGUF file in the folder, for its end tokens and chat template.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        raise RunnerError(f"{folder} has no tokenizer.json; convert its tokenizer with transformers' save_pretrained")
    tree, text = _read_tokenizer_json(file)
    check(tree, text, file)
    config, special_map = read_json(folder / "tokenizer_config.json"), read_json(folder / "special_tokens_map.json")
    legacy = "added_tokens_decoder" not in config
    names = {**config, **(special_map if legacy else {k: v for k, v in special_map.items() if k not in config})}
    added = _added_tokens(folder, tree, config, legacy=legacy)
    core = _build_core(file, tree, text, added)
    specials = _special_tokens(folder, names)
    _mark_special(core, added, [*specials.values(), *_extra_special_tokens(folder, names)])
    core.encode_special_tokens = bool(config.get("split_special_tokens"))
    stop_token_ids = {
        *_parse_stop_ids(
            folder / "generation_config.json", read_json(folder / "generation_config.json").get("eos_token_id")
        ),
        *_parse_stop_ids(folder / "config.json", read_json(folder / "config.json").get("eos_token_id")),
        *gguf_stop_token_ids(gguf or {}),
    }
    sources = chat_templates(folder, config.get("chat_template")) or gguf_templates(gguf or {})
    return assemble(core, sources, specials, stop_token_ids, str(folder))


def from_file(file: Path) -> ModelTokenizer:
    """The tokenizer from a file of any name, with the chat template and special tokens in its folder."""
    tree, text = _read_tokenizer_json(file)
    check(tree, text, file)
    config = read_json(file.parent / "tokenizer_config.json")
    names = {**read_json(file.parent / "special_tokens_map.json"), **config}
    sources = chat_templates(file.parent, config.get("chat_template"))
    core = _build_core(file, tree, text, {})
    return assemble(core, sources, _special_tokens(file.parent, names), set(), str(file))


def assemble(
    core: Core, sources: Mapping[str, str], specials: Mapping[str, str], stop_token_ids: set[int], where: str
) -> ModelTokenizer:
    """A tokenizer whose stop tokens come from its files, its end token and its chat template.

    The template is included because files derived from a base model often name only its end of text. A checkpoint that
    names no end token has none.
    """
    template = ChatTemplate(sources, specials, where) if sources else None
    ids = {name: i for name, text in specials.items() if (i := core.token_to_id(text)) is not None}
    stop_token_ids |= {ids["eos_token"]} if "eos_token" in ids else set()
    if stop_token_ids and template and (after := template.after_answer()):
        stop_token_ids |= end_of_turn_ids(core, after)
    return ModelTokenizer(core, template, frozenset(stop_token_ids), hidden_ids=frozenset(ids.values()))


def end_of_turn_ids(core: Core, after: str) -> set[int]:
    """The token that a chat template puts after the text of an answer, if it is an added token."""
    after = after.lstrip()
    candidates = [
        (len(t.content), i) for i, t in core.get_added_tokens_decoder().items() if after.startswith(t.content)
    ]
    return {max(candidates)[1]} if candidates else set()


def _read_tokenizer_json(file: Path) -> tuple[dict[str, Any], str]:
    text = read_text(file)
    return _parse_object(file, text), text


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is no file; RunnerError in one line for other content."""
    return _parse_object(file, read_text(file)) if file.exists() else {}


def _parse_object(file: Path, text: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RunnerError(f"{file} is not JSON ({reason}): download it again") from error
    if not isinstance(tree, dict):
        raise RunnerError(f"{file} does not hold a JSON object: download it again")
    return tree


def read_text(file: Path) -> str:
    """The text of a file in UTF-8; RunnerError in one line if it is not one, or larger than any in use."""
    if not file.is_file():
        raise RunnerError(f"{file} is not a file: download it again")
    size, limit = file.stat().st_size, _MAX_BYTES.get(file.name, _MAX_BYTES_OTHER)
    if size > limit:
        raise RunnerError(f"{file} has {size:,} bytes, and at most {limit:,} are read")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RunnerError(f"{file} is not UTF-8 ({error.reason} at byte {error.start}): download it again") from error
    except OSError as error:
        raise RunnerError(f"{file} cannot be read: {error.strerror}") from error


def chat_templates(folder: Path, configured: Any) -> dict[str, str]:
    """The chat templates of a model's folder by name, searched in the order of transformers."""
    sources: dict[str, str] = {}
    if (file := folder / "chat_template.jinja").exists():
        sources["default"] = read_text(file)
    extra_folder = folder / "additional_chat_templates"
    sources |= (
        {file.stem: read_text(file) for file in sorted(extra_folder.glob("*.jinja"))} if extra_folder.is_dir() else {}
    )
    if sources:
        return sources
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


def _added_tokens(
    folder: Path, tree: Mapping[str, Any], config: Mapping[str, Any], *, legacy: bool
) -> dict[int, AddedToken]:
    """Added tokens by id, from the file that takes precedence in transformers."""
    added: dict[int, AddedToken] = {}
    if not legacy:
        where = folder / "tokenizer_config.json"
        listed = config["added_tokens_decoder"]
        if not isinstance(listed, dict):
            raise RunnerError(f"{where}: added_tokens_decoder must be an object of ids")
        for key, value in listed.items():
            added[_parse_id(where, key, key)] = _parse_added_token(where, value)
        _check_unique(where, added)
        return added
    where = folder / "added_tokens.json"
    names = {**config, **read_json(folder / "special_tokens_map.json")}
    special = {*_special_tokens(folder, names).values(), *_extra_special_tokens(folder, names)}
    for name, value in read_json(where).items():
        is_special = name in special
        i = _parse_id(where, value, name)
        if i in added:
            raise RunnerError(f"{where}: '{added[i].content}' and '{name}' have the same id {i}: remove one")
        added[i] = AddedToken(name, normalized=not is_special, special=is_special)
    listed_tokens = tree.get("added_tokens")
    for entry in listed_tokens if isinstance(listed_tokens, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            i, token = entry["id"], _parse_added_token(folder / "tokenizer.json", entry)
            if i in added and added[i].content != token.content:
                raise RunnerError(
                    f"{where}: '{added[i].content}' has id {i}, which tokenizer.json gives to '{token.content}'"
                )
            added[i] = token
    return added


def _check_unique(where: Path, added: Mapping[int, AddedToken]) -> None:
    seen: dict[str, int] = {}
    for i, token in added.items():
        if token.content in seen:
            raise RunnerError(f"{where}: the added token '{token.content}' has two ids, {seen[token.content]} and {i}")
        seen[token.content] = i


def _parse_id(where: Path, value: Any, name: str) -> int:
    try:
        token_id = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else -1
    except ValueError:
        token_id = -1
    if not 0 <= token_id <= MAX_ID:
        raise RunnerError(f"{where}: '{str(value)[:40]}' is not a token id (of '{name[:40]}')")
    return token_id


def _parse_added_token(where: Path, value: Any) -> AddedToken:
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, str) or not content:
        raise RunnerError(f"{where}: an added token has no text: {str(value)[:60]}")
    flags = {flag: value[flag] for flag in _FLAGS if flag in value}
    if wrong := [flag for flag, value in flags.items() if not isinstance(value, bool)]:
        raise RunnerError(f"{where}: {wrong[0]} of the added token '{content}' must be true or false")
    return AddedToken(content, **flags)


def _special_tokens(folder: Path, names: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token` and other named special tokens that are set."""
    specials = {}
    for key, value in names.items():
        if not key.endswith("_token") or key.startswith("add_") or value is None:
            continue
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            specials[key] = text
        elif key.removesuffix("_token") in NAMED and not isinstance(value, bool):
            raise RunnerError(f"{folder / 'tokenizer_config.json'}: {key} must be a text, and is {str(value)[:40]}")
    return specials


def _extra_special_tokens(folder: Path, names: Mapping[str, Any]) -> list[str]:
    """Special tokens without a name."""
    texts = []
    for key in ("extra_special_tokens", "additional_special_tokens"):
        listed = names.get(key) or []
        if isinstance(listed, dict):
            listed = list(listed.values())
        if not isinstance(listed, list):
            raise RunnerError(f"{folder / 'tokenizer_config.json'}: {key} must be a list")
        for value in listed:
            text = value.get("content") if isinstance(value, dict) else value
            if not isinstance(text, str):
                raise RunnerError(
                    f"{folder / 'tokenizer_config.json'}: {key} has {str(value)[:40]}, which is not a text"
                )
            texts.append(text)
    return texts


def _build_core(file: Path, tree: dict[str, Any], text: str, added: Mapping[int, AddedToken]) -> Core:
    """The tokenizer with all added tokens at their ids."""
    vocab = tree["model"]["vocab"]
    ids = vocab if isinstance(vocab, dict) else {entry[0]: i for i, entry in enumerate(vocab)}
    own_ids = {entry["content"]: entry["id"] for entry in tree.get("added_tokens") or []}
    names = {i: name for name, i in (ids | own_ids).items()}
    new_ids = {}
    for i, token in sorted(added.items()):
        old_id = own_ids.get(token.content, ids.get(token.content))
        if old_id is None and i not in names:
            new_ids[token.content] = i
        elif old_id != i:
            other = f"is {old_id} in" if old_id is not None else f"is '{names[i]}' in"
            raise RunnerError(f"{file.parent}: the added token '{token.content}' has id {i}, which {other} {file.name}")
    if new_ids and isinstance(vocab, dict):  # else tokenizers would number them in order of addition
        vocab.update(new_ids)
        text = json.dumps(tree, ensure_ascii=False)
    core = load_core(text, file)
    core.add_tokens([token for _, token in sorted(added.items())])
    for token_text, i in (own_ids | new_ids).items():
        if (place := core.token_to_id(token_text)) != i:
            raise RunnerError(f"{file}: the added token '{token_text}' has id {i}, but its position gives {place}")
    return core


def load_core(text: str, file: Path) -> Core:
    """The tokenizer from the text of a tokenizer.json; RunnerError in one line."""
    try:
        return Core.from_str(text)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":  # of Rust; a BaseException
            raise RunnerError(f"{file}: {' '.join(str(error).split())[:300]}") from None
        raise


def _mark_special(core: Core, added: Mapping[int, AddedToken], texts: list[str]) -> None:
    by_text = {token.content: token for token in added.values()}
    core.add_special_tokens([by_text.get(text) or AddedToken(text, normalized=False, special=True) for text in texts])


def _parse_stop_ids(file: Path, value: Any) -> list[int]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise RunnerError(f"{file}: eos_token_id must be a token id or a list of them, and is {str(value)[:40]}")
    return [i for i in ids if i >= 0]


def gguf_stop_token_ids(meta: Mapping[str, Any], size: int = MAX_ID + 1) -> set[int]:
    """The tokens that end generation named in a GGUF file."""
    ids = {meta.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")}
    return {i for i in ids if isinstance(i, int) and 0 <= i < size}


def gguf_templates(meta: Mapping[str, Any]) -> dict[str, str]:
    """The chat templates in a GGUF file, by name: `tokenizer.chat_template` and `tokenizer.chat_template.NAME`."""
    key = "tokenizer.chat_template"
    sources = {name.removeprefix(f"{key}."): text for name, text in meta.items() if name.startswith(f"{key}.")}
    if key in meta:
        sources["default"] = meta[key]
    return (
        {name: text for name, text in sources.items() if isinstance(text, str) and text} if "default" in sources else {}
    )
