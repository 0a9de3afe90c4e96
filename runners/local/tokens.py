"""Text to tokens and back: a model's tokenizer with its chat template, and stop strings watched while tokens come."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Core

from m1eval import Message, RunnerError
from m1eval.thinking import DEFAULT, KNOWN, Follower, Form

from .template import ChatTemplate

CONTROL, USER_DEFINED = 3, 4
"""Token types of GGUF that are recognised in text."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class ModelTokenizer:
    """The tokenizer of a model; a `m1eval.Tokenizer`. Special tokens written out in a text are recognised as such."""

    def __init__(self, core: Core, template: ChatTemplate | None, ends: frozenset[int]) -> None:
        core.no_truncation()
        core.no_padding()
        self.core, self.template, self.ends = core, template, ends

    def encode(self, text: str) -> list[int]:
        """Token ids of text, nothing added."""
        ids: list[int] = self.core.encode(text, add_special_tokens=False).ids
        return ids

    def encode_raw(self, text: str) -> list[int]:
        """Token ids of a raw prompt, begun as the model wants it (Llama's begin token, say), but never twice."""
        plain, begun = self.encode(text), self.core.encode(text).ids
        added = len(begun) - len(plain)
        return plain if plain[:added] == begun[:added] else begun

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self.core.decode(list(ids), skip_special_tokens=False)

    def answer(self, ids: Sequence[int]) -> str:
        """The text of token ids that a model wrote, special tokens left out."""
        return self.core.decode(list(ids), skip_special_tokens=True)

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the whole prompt."""
        return len(self.encode(self.render(messages)))

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The prompt's text; RunnerError without a chat template, ValueError if it refuses the messages."""
        if self.template is None:
            raise RunnerError(
                "the model has no chat template: put a chat_template.jinja into its folder, or ask by prompt"
            )
        return self.template.render(messages, tools)

    def thinking_end(self, form: Form = DEFAULT) -> int | None:
        """The token that closes thinking, if it is one token."""
        found: int | None = self.core.token_to_id(form.close)
        return found


def from_folder(folder: Path) -> ModelTokenizer:
    """From tokenizer.json and the files beside it; RunnerError naming what is missing."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise RunnerError(f"{folder} has no tokenizer.json; convert its tokenizer with transformers' save_pretrained")
    try:
        core = Core.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise RunnerError(f"{file}: {error}") from error
    config, generation = _json(folder / "tokenizer_config.json"), _json(folder / "generation_config.json")
    specials = {
        key: text
        for key, value in {**_json(folder / "special_tokens_map.json"), **config}.items()
        if key.endswith("_token") and isinstance(text := value["content"] if isinstance(value, dict) else value, str)
    }
    ends = {*_ids(generation.get("eos_token_id")), *_ids(_json(folder / "config.json").get("eos_token_id"))}
    if "eos_token" in specials:
        ends |= set(_ids(core.token_to_id(specials["eos_token"])))
    sources = _sources(folder, config.get("chat_template"))
    return ModelTokenizer(core, ChatTemplate(sources, specials) if sources else None, frozenset(ends))


def from_gguf(meta: Mapping[str, Any]) -> ModelTokenizer:
    """From the keys `tokenizer.*` of a GGUF file: byte-level BPE of a known pre-tokenizer, else RunnerError."""
    kind, pre = meta.get("tokenizer.ggml.model"), meta.get("tokenizer.ggml.pre", "default")
    splits = _splits()
    if kind != "gpt2" or pre not in splits:
        raise RunnerError(
            f"the GGUF file has a tokenizer '{kind}' with pre-tokenizer '{pre}', and local builds gpt2 with "
            f"{', '.join(splits)}; put the model's tokenizer.json beside the file"
        )
    words: list[str] = meta["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ", 1)) for pair in meta["tokenizer.ggml.merges"]]
    core = Core(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(splits[pre])
    core.decoder = decoders.ByteLevel()
    kinds = meta["tokenizer.ggml.token_type"]
    for wanted in (CONTROL, USER_DEFINED):
        added = [word for word, kind in zip(words, kinds, strict=True) if kind == wanted]
        special = wanted == CONTROL
        core.add_tokens([AddedToken(word, special=special, normalized=False) for word in added])
    named = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
    specials = {
        f"{ours}_token": words[meta[f"tokenizer.ggml.{theirs}_token_id"]]
        for theirs, ours in named.items()
        if f"tokenizer.ggml.{theirs}_token_id" in meta
    }
    ends = [meta[key] for name in ("eos", "eot", "eom") if (key := f"tokenizer.ggml.{name}_token_id") in meta]
    source = meta.get("tokenizer.chat_template")
    return ModelTokenizer(core, ChatTemplate({"default": source}, specials) if source else None, frozenset(ends))


def _splits() -> dict[str, list[Any]]:
    """Pre-tokenizers by their GGUF name; the patterns are those of the models' own tokenizer.json."""
    gpt2 = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    llama3 = _split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}")
    qwen2 = _split(rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}")
    smollm = [pre_tokenizers.Digits(individual_digits=True), *gpt2]
    return {"gpt-2": gpt2, "smollm": smollm, "llama-bpe": llama3, "qwen2": qwen2}


def _split(pattern: str) -> list[Any]:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def _sources(folder: Path, configured: Any) -> dict[str, str]:
    """The chat templates of a model's folder, in the order in which transformers looks for them."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return {"default": file.read_text(encoding="utf-8")}
    source = _json(folder / "chat_template.json").get("chat_template") or configured
    if isinstance(source, list):
        return {entry["name"]: entry["template"] for entry in source}
    return {"default": source} if source else {}


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def _ids(value: int | list[int] | None) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


class Stream:
    """Tokens to text as they come: each piece is whole characters, and the pieces join to the text of all tokens.

    (With byte tokens that are no UTF-8, a byte-fallback decoder may replace more of them when it sees them together.)
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.ids: list[int] = []
        self.told = 0  # how many of ids are in pieces already; they stay as context for the next one

    def push(self, token: int) -> str:
        """The text that a further token completes; empty while a character is unfinished."""
        self.ids.append(token)
        before, now = self.decode(self.ids[: self.told]), self.decode(self.ids)
        if len(now) <= len(before) or now.endswith("\ufffd"):
            return ""
        self.ids, self.told = self.ids[self.told :], len(self.ids) - self.told
        return now[len(before) :]

    def flush(self) -> str:
        """What is left at the end, broken characters as U+FFFD."""
        piece = self.decode(self.ids)[len(self.decode(self.ids[: self.told])) :]
        self.told = len(self.ids)
        return piece


class Watch:
    """Looks for stop strings in the answer while it comes; `text` is the answer before the first one.

    They end the answer, not the thinking: inside a think block, opened by the prompt or the model, none is looked for.
    `opened`: the form of thinking that the prompt leaves open, or whether it does; `tags`: the forms that the model
    may open.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        stops: Sequence[str],
        *,
        opened: Form | bool | None,
        tags: Sequence[Form] = KNOWN,
    ) -> None:
        self.stream, self.stops = Stream(decode), [stop for stop in stops if stop]
        self.longest = max(map(len, self.stops), default=0)
        self.thought = Follower(opened, tags)
        self.text: str | None = None
        self._pieces: list[str] = []
        self._length = 0
        self._tail = ""  # the end of what was written, in which a stop string may have begun

    def __call__(self, token: int) -> bool:
        """Whether a stop string is complete with this token."""
        piece = self.stream.push(token)
        if not piece:
            return False
        self.thought.push(piece)
        self._pieces.append(piece)
        self._length += len(piece)
        window = self._tail + piece
        self._tail = window[max(0, len(window) - self.longest + 1) :] if self.longest > 1 else ""
        if self.thought.inside:
            return False
        begin = self._length - len(window)
        found = [at for stop in self.stops if (at := window.find(stop, max(0, self.thought.answer - begin))) >= 0]
        if found:
            self.text = "".join(self._pieces)[: begin + min(found)]
        return bool(found)


class Budget:
    """Counts thinking tokens, and says which tokens must come when there are as many as are allowed.

    `end`: the text that ends thinking; None, or one that does not close the form in use: that form's own. `opened`,
    `tags`: as for a Watch.
    """

    def __init__(
        self,
        tokenizer: ModelTokenizer,
        most: int,
        end: str | None,
        *,
        opened: Form | bool | None,
        tags: Sequence[Form] = KNOWN,
    ) -> None:
        self.most, self.end, self.tokenizer = most, end, tokenizer
        self.stream, self.thought = Stream(tokenizer.answer), Follower(opened, tags)
        form = self.thought.form
        self.close = tokenizer.thinking_end(form) if form and not form.channels else None
        self.count = 0
        self.forced = False

    def first(self) -> list[int]:
        """What must come before anything is drawn."""
        return self._force() if self.thought.inside and self.most <= 0 else []

    def __call__(self, token: int) -> list[int]:
        """What must come after this token, mostly nothing."""
        if self.thought.inside is False:
            return []
        if self.close is None:
            self.thought.push(self.stream.push(token))
        elif token == self.close:
            self.thought.inside = False
        self.count += 1
        return self._force() if self.thought.inside and self.count >= self.most else []

    def _force(self) -> list[int]:
        self.thought.inside, self.forced = False, True
        form = self.thought.form or DEFAULT
        return self.tokenizer.encode(self.end if self.end is not None and form.ends(self.end) else form.end)
