"""The tokenizer inside a GGUF file: byte-level BPE with a known pre-tokenizer, or SentencePiece BPE with scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Core

from m1eval import RunnerError

from .files import assemble, chat_templates, from_folder, gguf_stop_token_ids, gguf_templates, read_json
from .model_tokenizer import ModelTokenizer
from .pretokenizers import NAMES, pre_tokenizer

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6
"""Token types of GGUF; 1 is a normal token."""
_SPACE = "▁"
_REMEDY = "put the model's tokenizer.json next to the file"
_NUM_SAMPLED = 512
_MAX_MERGED = 1 << 28
"""Maximum characters over all splits of all tokens into two; vocabularies in use have some 20 million."""


def from_gguf_file(file: Path, meta: Mapping[str, Any]) -> ModelTokenizer:
    """The tokenizer of a GGUF file; a tokenizer.json or chat template in its folder takes precedence.

    RunnerError if the tokenizer.json is another model's.
    """
    folder = file.parent
    if (folder / "tokenizer.json").exists():
        tokenizer = from_folder(folder, meta)
        _check_same(tokenizer.backend, meta, folder / "tokenizer.json", file)
        return tokenizer
    sources = chat_templates(folder, read_json(folder / "tokenizer_config.json").get("chat_template"))
    return from_gguf(meta, str(file), sources)


def _check_same(core: Core, meta: Mapping[str, Any], tokenizer_json: Path, file: Path) -> None:
    words = meta.get("tokenizer.ggml.tokens")
    if not isinstance(words, list) or not words:
        return
    sampled_ids = range(0, len(words), max(1, len(words) // _NUM_SAMPLED))
    num_equal = sum(core.id_to_token(i) == words[i] for i in sampled_ids)
    if num_equal < 0.9 * len(sampled_ids):
        raise RunnerError(
            f"{tokenizer_json} is of another model than {file.name} "
            f"({num_equal} of {len(sampled_ids)} tokens agree): move it away"
        )


def from_gguf(
    meta: Mapping[str, Any], where: str = "the GGUF file", sources: Mapping[str, str] | None = None
) -> ModelTokenizer:
    """The tokenizer from the keys `tokenizer.*` of a GGUF file; RunnerError if unsupported or malformed."""
    kind, pre = meta.get("tokenizer.ggml.model"), meta.get("tokenizer.ggml.pre", "default")
    pretokenizer = pre_tokenizer(pre) if isinstance(pre, str) else None
    if kind != "llama" and (kind != "gpt2" or pretokenizer is None):
        raise RunnerError(
            f"{where} has a tokenizer '{kind}' with pre-tokenizer '{pre}', and local builds llama, and gpt2 with "
            f"{', '.join(NAMES)}; {_REMEDY}"
        )
    words = _read_list(meta, "tokens", str, where)
    kinds = _read_list(meta, "token_type", int, where, len(words)) if "tokenizer.ggml.token_type" in meta else []
    kinds = kinds or [1] * len(words)
    vocab = {word: i for i, word in enumerate(words)}
    if len(vocab) < len(words):
        duplicate = next(word for i, word in enumerate(words) if vocab[word] != i)
        raise RunnerError(f"{where}: its vocabulary has the token '{duplicate[:40]}' twice; {_REMEDY}")
    if pretokenizer is None:
        core, adds_bos = _sentencepiece(meta, words, vocab, kinds, where), True
    else:
        pairs = _merges(meta, vocab, where)
        core = Core(models.BPE(vocab=vocab, merges=pairs, ignore_merges=pretokenizer.whole_words))
        core.pre_tokenizer = pre_tokenizers.Sequence(pretokenizer.steps)
        if pretokenizer.normalizer:
            core.normalizer = pretokenizer.normalizer
        core.decoder, adds_bos = decoders.ByteLevel(), pretokenizer.adds_bos
    for kind_to_add in (CONTROL, USER_DEFINED):
        added = [word for word, type_ in zip(words, kinds, strict=True) if type_ == kind_to_add and word]
        core.add_tokens([AddedToken(word, special=kind_to_add == CONTROL, normalized=False) for word in added])
    specials = _special_tokens(meta, words, where, sentencepiece=pretokenizer is None)
    _add_bos(core, meta, specials, default=adds_bos)
    return assemble(core, sources or gguf_templates(meta), specials, gguf_stop_token_ids(meta, len(words)), where)


def _read_list(meta: Mapping[str, Any], name: str, type_: type, where: str, size: int | None = None) -> list[Any]:
    values = meta.get(f"tokenizer.ggml.{name}")
    if not isinstance(values, list) or not values or not all(isinstance(value, type_) for value in values):
        raise RunnerError(f"{where}: tokenizer.ggml.{name} is not a list of {type_.__name__}; {_REMEDY}")
    if size is not None and len(values) != size:
        raise RunnerError(f"{where}: tokenizer.ggml.{name} has {len(values)} entries for {size} tokens; {_REMEDY}")
    return values


def _merges(meta: Mapping[str, Any], vocab: Mapping[str, int], where: str) -> list[tuple[str, str]]:
    pairs = []
    for merge in _read_list(meta, "merges", str, where):
        left, _, right = merge.partition(" ")
        if missing := [word for word in (left, right, left + right) if word not in vocab]:
            raise RunnerError(
                f"{where}: the merge '{merge[:60]}' needs '{missing[0][:40]}', which is not a token; {_REMEDY}"
            )
        pairs.append((left, right))
    return pairs


def _sentencepiece(
    meta: Mapping[str, Any], words: Sequence[str], vocab: Mapping[str, int], kinds: Sequence[int], where: str
) -> Core:
    """SentencePiece BPE, which merges the adjacent pair with the best score: merges in the order of scores."""
    scores = _read_list(meta, "scores", float, where, len(words))
    usable = {word for word, kind in zip(words, kinds, strict=True) if kind in (1, USER_DEFINED, UNUSED)}
    if sum(len(word) ** 2 for word in usable) > _MAX_MERGED:
        longest = max(map(len, usable))
        raise RunnerError(f"{where}: its tokens are longer than any in use (up to {longest:,} characters); {_REMEDY}")
    ranked = sorted((word for word in usable if len(word) > 1), key=lambda word: (-scores[vocab[word]], vocab[word]))
    merges = [
        (word[:i], word[i:])
        for word in ranked
        for i in range(1, len(word))
        if word[:i] in usable and word[i:] in usable
    ]
    unknown = next((word for word, kind in zip(words, kinds, strict=True) if kind == UNKNOWN), None)
    core = Core(models.BPE(vocab=dict(vocab), merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = bool(meta.get("tokenizer.ggml.add_space_prefix", True))
    spaces = normalizers.Replace(" ", _SPACE)
    core.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces]) if prefix else spaces
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    core.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    return core


def _special_tokens(
    meta: Mapping[str, Any], words: Sequence[str], where: str, *, sentencepiece: bool
) -> dict[str, str]:
    defaults = {"bos": 1, "eos": 2, "unknown": 0} if sentencepiece else {}
    specials = {}
    for theirs, ours in {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}.items():
        i = meta.get(f"tokenizer.ggml.{theirs}_token_id", defaults.get(theirs))
        if isinstance(i, int) and 0 <= i < len(words):
            specials[f"{ours}_token"] = words[i]
        elif i is not None and i != 0xFFFFFFFF:
            raise RunnerError(f"{where}: tokenizer.ggml.{theirs}_token_id is {str(i)[:40]} of {len(words)} tokens")
    return specials


def _add_bos(core: Core, meta: Mapping[str, Any], specials: Mapping[str, str], *, default: bool) -> None:
    """Start raw prompts with BOS if `add_bos_token` says so."""
    bos = specials.get("bos_token")
    if bos is None or not meta.get("tokenizer.ggml.add_bos_token", default):
        return
    i = core.token_to_id(bos)
    core.post_processor = processors.TemplateProcessing(single=[bos, "$A"], special_tokens=[(bos, i)])
