"""Tokenizer folders in every common form through this loader and through transformers: ids, texts, prompts, ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from m1eval import RunnerError, load

local = load("runners", "local")
from_folder = local.tokenizer.files.from_folder

CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's 12,345 o'clock, isn't it?",
    "def f(x):\n    return x + 1  # naïve café\r\n",
    "日本語のテキスト、漢字とかな。 한국어 Привет мир",
] * 3

TEXTS = [
    "",
    " ",
    "a",
    "Hello, world!",
    "  two  spaces\t\ttabs\n\n\nlines \r\n end ",
    "it's IT'S 1 12 123 1234 ½ ² ٣٤",
    "e\u0301 a\u0308 naïve ﬁ Å",
    "日本語 한국어 😀 👩‍👩‍👧 \u200b\u00a0x",
    "x==1 && {y: [0]} // ok\n",
    "<s>hi</s> <|im_end|> </think><think>",
    "a<tool>b <tool> c",
    "A<|im_start|>user\nB<|im_end|>",
    "x" * 100,
    "\u0000\ufffd",
]


def byte_level(*, pattern: str | None = None, digits: bool = False, nfc: bool = False) -> Tokenizer:
    core = Tokenizer(models.BPE())
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if pattern:
        steps.append(pre_tokenizers.Split(Regex(pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None))
    core.pre_tokenizer = pre_tokenizers.Sequence(steps)
    core.decoder = decoders.ByteLevel()
    core.normalizer = normalizers.NFC() if nfc else None
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return core


def sentencepiece() -> Tokenizer:
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    core.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    core.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=special[:3], show_progress=False)
    )
    tree = json.loads(core.to_str())
    tree["pre_tokenizer"] = None
    vocab = tree["model"]["vocab"]
    vocab |= {word: len(vocab) + i for i, word in enumerate(special[3:])}
    core = Tokenizer.from_str(json.dumps(tree))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(steps)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return core


def unigram() -> Tokenizer:
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(vocab_size=150, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False),
    )
    return core


def wordpiece() -> Tokenizer:
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[SEP]"]
    core.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return core


QWEN = local.tokenizer.pretokenizers.QWEN2
CORES: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "byte-level, digits": lambda: byte_level(digits=True),
    "byte-level, qwen": lambda: byte_level(pattern=QWEN, nfc=True),
    "byte-level, o200k": lambda: byte_level(pattern=local.tokenizer.pretokenizers.O200K),
    "sentencepiece": sentencepiece,
    "unigram": unigram,
    "wordpiece": wordpiece,
}


def decoder_entry(content: str, **flags: bool) -> dict[str, Any]:
    defaults = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    return {"content": content, **defaults, **flags}


def with_decoder(size: int, *, hole: int = 0) -> dict[str, Any]:
    entries = [
        decoder_entry("<|im_start|>"),
        decoder_entry("<|im_end|>"),
        decoder_entry("<think>", special=False),
        decoder_entry("</think>"),
        decoder_entry("<tool>", lstrip=True, rstrip=True),
        decoder_entry("ok", single_word=True, special=False),
    ]
    ids = {str(size + hole + i): entry for i, entry in enumerate(entries)}
    return {"added_tokens_decoder": ids, "eos_token": "<|im_end|>", "additional_special_tokens": ["<tool>"]}


Files = dict[str, dict[str, Any]]
BESIDE: dict[str, Callable[[int], Files]] = {
    "nothing": lambda size: {},
    "added_tokens_decoder": lambda size: {"tokenizer_config.json": with_decoder(size)},
    "added_tokens.json": lambda size: {
        "tokenizer_config.json": {"eos_token": "<|im_end|>"},
        "added_tokens.json": {"<|im_start|>": size, "<|im_end|>": size + 1, "<think>": size + 2, "</think>": size + 3},
    },
    "special_tokens_map.json": lambda size: {
        "tokenizer_config.json": {},
        "added_tokens.json": {"<|im_end|>": size, "<tool>": size + 1},
        "special_tokens_map.json": {
            "eos_token": decoder_entry("<|im_end|>", lstrip=True),
            "extra_special_tokens": ["<tool>"],
        },
    },
    "without ids": lambda size: {
        "tokenizer_config.json": {"eos_token": "<|im_end|>", "pad_token": "<pad>", "extra_special_tokens": ["<tool>"]}
    },
    "add_bos_token": lambda size: {
        "tokenizer_config.json": with_decoder(size) | {"bos_token": "<|im_start|>", "add_bos_token": True}
    },
    "split_special_tokens": lambda size: {"tokenizer_config.json": with_decoder(size) | {"split_special_tokens": True}},
    "no add_bos_token": lambda size: {"tokenizer_config.json": with_decoder(size) | {"add_bos_token": False}},
}


@pytest.fixture(scope="module")
def trained() -> Callable[[str], str]:
    cached: dict[str, str] = {}
    return lambda name: cached.setdefault(name, CORES[name]().to_str())


def both(folder: Path, core: str, files: Files) -> tuple[Any, Any]:
    """The tokenizer of a folder here and in transformers."""
    from transformers import AutoTokenizer

    (folder / "tokenizer.json").write_text(core)
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name, content in {"tokenizer_config.json": {}, **files}.items():
        (folder / name).write_text(json.dumps(config | content if name == "tokenizer_config.json" else content))
    auto: Any = AutoTokenizer
    return from_folder(folder), auto.from_pretrained(folder)


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("kind", CORES)
def test_a_folder_is_read_as_transformers_reads_it(kind: str, beside: str, trained: Any, tmp_path: Path) -> None:
    core = trained(kind)
    size = Tokenizer.from_str(core).get_vocab_size()
    ours, theirs = both(tmp_path, core, BESIDE[beside](size))
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), text
    for text in TEXTS[3:5]:
        begun = theirs.encode(text)
        raw = ours.encode_raw(text)
        assert raw == begun[: len(raw)], text
        assert len(begun) - len(raw) <= 1, "an end token is not put after what is to be continued"
    for i in range(len(theirs)):
        assert ours.decode([i]) == theirs.decode([i])
        added = theirs.added_tokens_decoder.get(i)
        assert (i in ours.special_ids) == bool(added and added.special)
    if theirs.eos_token_id is not None:
        assert theirs.eos_token_id in ours.stop_token_ids


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=30))
def test_any_text_has_the_tokens_of_transformers(text: str, pair: Any) -> None:
    ours, theirs = pair
    ids = ours.encode(text)
    assert ids == theirs.encode(text, add_special_tokens=False)
    assert ours.decode(ids) == theirs.decode(ids)
    assert ours.decode_plain(ids) == theirs.decode(ids, skip_special_tokens=True)


@pytest.fixture(scope="module", params=["byte-level, qwen", "sentencepiece"])
def pair(request: Any, trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    core = trained(request.param)
    size = Tokenizer.from_str(core).get_vocab_size()
    return both(tmp_path_factory.mktemp("pair"), core, {"tokenizer_config.json": with_decoder(size)})


def test_ids_need_not_follow_the_vocabulary(trained: Any, tmp_path: Path) -> None:
    core = trained("byte-level")
    size = Tokenizer.from_str(core).get_vocab_size()
    (tmp_path / "tokenizer.json").write_text(core)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(with_decoder(size, hole=100)))
    tokenizer = from_folder(tmp_path)
    assert tokenizer.encode("<|im_start|>a<|im_end|>") == [size + 100, *tokenizer.encode("a"), size + 101]
    assert tokenizer.decode([size + 103]) == "</think>"
    assert tokenizer.stop_token_ids == {size + 101}


CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.tool_calls %}{{- message.tool_calls | tojson }}{%- endif %}"
    "{{- message.content }}{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if tools %}{{- tools | tojson }}{%- endif %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": [1, "é"]}}}
TALKS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "be\nbrief"}, {"role": "user", "content": " <b>ß</b> "}],
    [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "r"},
        {"role": "user", "content": "😀"},
    ],
]


@pytest.mark.parametrize("where", ["chat_template.jinja", "chat_template.json", "tokenizer_config.json", "named"])
def test_prompts_are_rendered_as_transformers_renders_them(where: str, trained: Any, tmp_path: Path) -> None:
    core = trained("byte-level")
    config = with_decoder(Tokenizer.from_str(core).get_vocab_size())
    templates: Any = CHATML
    if where == "named":
        templates = [{"name": "default", "template": "D" + CHATML}, {"name": "tool_use", "template": "T" + CHATML}]
    if where == "chat_template.jinja":
        (tmp_path / where).write_text(CHATML)
    elif where == "chat_template.json":
        config["chat_template"] = templates  # transformers reads the other file for processors only
        (tmp_path / where).write_text(json.dumps({"chat_template": CHATML}))
    else:
        config["chat_template"] = templates
    ours, theirs = both(tmp_path, core, {"tokenizer_config.json": config})
    tools = [{"type": "function", "function": {"name": "f", "description": "<é>", "parameters": {}}}]
    for talk in TALKS:
        for some in ([], tools):
            expected = theirs.apply_chat_template(talk, tools=some or None, add_generation_prompt=True, tokenize=False)
            assert ours.render(talk, some) == expected
            assert ours.encode(expected) == theirs.encode(expected, add_special_tokens=False)


TURNS = {
    "chatml": (CHATML, "<|im_end|>"),
    "llama 3": (
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
        "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        "<|eot_id|>",
    ),
    "gemma": (
        "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ m.content }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        "<end_of_turn>",
    ),
    "llama 2": (
        "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}",
        "</s>",
    ),
    "harmony": (
        "{% for m in messages %}{% if m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>{% else %}"
        "<|start|>assistant<|channel|>final<|message|>{{ m.content }}{{ '<|return|>' if loop.last else '<|end|>' }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        "<|return|>",
    ),
    "glm": (
        "[gMASK]{% for m in messages %}{{ '<|user|>' if m.role == 'user' else '<|assistant|>' }}\n{{ m.content }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
        "<|user|>",
    ),
    "words": ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", None),
    "refuses": ("{{ raise_exception('no') }}", None),
}
SPECIAL = (
    "<|im_start|> <|im_end|> <|start_header_id|> <|end_header_id|> <|eot_id|> <start_of_turn> <end_of_turn> <s> </s>"
)
SPECIAL += " <|start|> <|channel|> <|message|> <|end|> <|return|> <|user|> <|assistant|> <think> </think> <|endoftext|>"


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("kind", TURNS)
def test_a_turn_ends_where_the_template_ends_it(kind: str, special: bool, trained: Any, tmp_path: Path) -> None:
    """The files name the end token of the base model alone."""
    template, end = TURNS[kind]
    core = Tokenizer.from_str(trained("byte-level"))
    core.add_tokens([AddedToken(word, special=special, normalized=False) for word in SPECIAL.split()])
    core.save(str(tmp_path / "tokenizer.json"))
    base = core.token_to_id("<|endoftext|>")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": base}))
    (tmp_path / "chat_template.jinja").write_text(template)
    tokenizer = from_folder(tmp_path)
    assert tokenizer.stop_token_ids == {base} | ({core.token_to_id(end)} if end else set())


def test_conflicting_ids_are_named(trained: Any, tmp_path: Path) -> None:
    core = trained("byte-level")
    (tmp_path / "tokenizer.json").write_text(core)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"added_tokens_decoder": {"5": decoder_entry("<x>")}}))
    with pytest.raises(RunnerError, match=r"'<x>' has id 5, which is '.+' in tokenizer\.json"):
        from_folder(tmp_path)
    config.write_text(json.dumps({"added_tokens_decoder": {"900": decoder_entry("<x>"), "901": decoder_entry("<x>")}}))
    with pytest.raises(RunnerError, match=r"tokenizer_config\.json: the added token '<x>' has two ids, 900 and 901"):
        from_folder(tmp_path)
    config.unlink()
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<x>": 900, "<y>": 900}))
    with pytest.raises(RunnerError, match=r"added_tokens\.json: '<x>' and '<y>' have the same id 900"):
        from_folder(tmp_path)
