"""Tokenizers inside GGUF files, files next to them, and split files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from m1eval import RunnerError, load
from tests.local.tokenizer.test_files import CHATML, byte_level, sentencepiece

local = load("runners", "local")
from_gguf = local.tokenizer.gguf.from_gguf
from_gguf_file = local.tokenizer.gguf.from_gguf_file
NAMES = local.tokenizer.pretokenizers.NAMES

BASE = "<|endoftext|>"


@pytest.fixture(scope="module")
def meta() -> dict[str, Any]:
    """The keys of a byte-level tokenizer, as converters write them: the end token is that of the base model."""
    model = json.loads(byte_level().to_str())["model"]
    words = [*sorted(model["vocab"], key=model["vocab"].get), BASE, "<|im_start|>", "<|im_end|>", "<tool>"]
    size = len(words)
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [1] * (size - 4) + [3, 3, 3, 4],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.bos_token_id": size - 4,
        "tokenizer.ggml.eos_token_id": size - 4,
        "tokenizer.chat_template": CHATML,
    }


@pytest.fixture(scope="module")
def pieces() -> tuple[dict[str, Any], Tokenizer]:
    """The keys of a SentencePiece tokenizer and the one they are of: the score of a token is its place."""
    core = sentencepiece()
    model = json.loads(core.to_str())["model"]
    words = sorted(model["vocab"], key=model["vocab"].get)
    merged = list(dict.fromkeys("".join(merge) for merge in model["merges"]))
    scores = {word: -float(i) for i, word in enumerate(merged)}
    kinds = [{"<unk>": 2, "<s>": 3, "</s>": 3}.get(word, 6 if word.startswith("<0x") else 1) for word in words]
    keys = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.scores": [scores.get(word, -1e6) for word in words],
        "tokenizer.ggml.token_type": kinds,
    }
    return keys, core


def test_turns_end_where_the_template_ends_them_and_the_base_model_too(meta: dict[str, Any]) -> None:
    tokenizer = from_gguf(meta)
    size = len(meta["tokenizer.ggml.tokens"])
    assert tokenizer.stop_token_ids == {size - 4, size - 2}
    named = from_gguf(meta | {"tokenizer.ggml.eot_token_id": size - 3, "tokenizer.ggml.eom_token_id": 7})
    assert named.stop_token_ids == {size - 4, size - 3, size - 2, 7}
    assert from_gguf({k: v for k, v in meta.items() if "chat_template" not in k}).stop_token_ids == {size - 4}


def test_token_types_decide_what_is_special(meta: dict[str, Any]) -> None:
    tokenizer = from_gguf(meta)
    size = len(meta["tokenizer.ggml.tokens"])
    ids = tokenizer.encode("a<|im_end|>b<tool>")
    assert [i for i in ids if i >= size - 4] == [size - 2, size - 1]
    assert tokenizer.decode_plain(ids) == "ab<tool>"


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "tekken"])
@pytest.mark.parametrize("said", [True, False, None])
def test_raw_prompts_begin_as_the_file_says(pre: str, said: bool | None, meta: dict[str, Any]) -> None:
    keys = meta | {"tokenizer.ggml.pre": pre} | ({} if said is None else {"tokenizer.ggml.add_bos_token": said})
    tokenizer = from_gguf(keys)
    begins = pre != "gpt-2" if said is None else said
    bos = meta["tokenizer.ggml.bos_token_id"]
    assert tokenizer.encode_raw("ab") == [bos] * begins + tokenizer.encode("ab")
    assert tokenizer.encode_raw(f"{BASE}ab") == [bos, *tokenizer.encode("ab")]
    assert tokenizer.encode("ab")[:1] != [bos]


def test_templates_of_all_names_are_found(meta: dict[str, Any]) -> None:
    keys = meta | {
        "tokenizer.chat_templates": ["tool_use"],
        "tokenizer.chat_template.tool_use": "T{{ tools | length }}",
    }
    tokenizer = from_gguf(keys)
    assert tokenizer.render([{"role": "user", "content": "x"}], [{}]) == "T1"
    assert tokenizer.render([{"role": "user", "content": "x"}]).startswith("<|im_start|>user\nx")


@pytest.mark.parametrize("name", NAMES)
def test_every_pre_tokenizer_keeps_the_text(name: str, meta: dict[str, Any]) -> None:
    tokenizer = from_gguf(meta | {"tokenizer.ggml.pre": name})
    for text in ("It's 12345 naïve  中文字 Ünï\r\n\tx==1 XMLHttp's 😀", " ", "\n\n a"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("llama-bpe", "I'M 12345 ok\n\n x", ["I", "'M", " ", "123", "45", " ok", "\n\n", " x"]),
        ("qwen2", "I'M 12345", ["I", "'M", " ", "1", "2", "3", "4", "5"]),
        ("deepseek-r1-qwen", "a12 b", ["a", "1", "2", " b"]),
        ("deepseek-v3", "中文ab 1234x, y", ["中文", "ab", " ", "123", "4", "x", ",", " y"]),
        ("tekken", "camelCase 12/\n", ["camel", "Case", " ", "1", "2", "/\n"]),
        ("gpt-4o", "camelCase's 1234", ["camel", "Case's", " ", "123", "4"]),
        ("kimi-k2", "漢字ab 1234", ["漢字", "ab", " ", "123", "4"]),
        ("smollm", "a12", ["a", "1", "2"]),
        ("gpt-2", "it's 12345", ["it", "'s", " 12345"]),
        ("deepseek-coder", "a\n(b) 12", ["a", "\n", "(", "b", ")", " ", "1", "2"]),
        ("qwen35", "नमस्ते 12", ["नमस्ते", " ", "1", "2"]),
        ("smaug-bpe", "x1234", ["x", "123", "4"]),
    ],
)
def test_words_are_cut_as_the_model_was_trained(name: str, text: str, words: list[str], meta: dict[str, Any]) -> None:
    core = from_gguf(meta | {"tokenizer.ggml.pre": name}).backend
    assert [text[begin:end] for _, (begin, end) in core.pre_tokenizer.pre_tokenize_str(text)] == words


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="abehlorTwx 12,.\n日ñ😀▁", max_size=30))
def test_scores_make_the_same_tokens_as_merges(text: str, pieces: tuple[dict[str, Any], Tokenizer]) -> None:
    keys, core = pieces
    tokenizer = from_gguf(keys)
    assert tokenizer.encode(text) == core.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(tokenizer.encode(text)) == core.decode(core.encode(text, add_special_tokens=False).ids)
    assert tokenizer.encode_raw(text) == [1, *tokenizer.encode(text)]


def test_the_space_before_a_text_may_be_switched_off(pieces: tuple[dict[str, Any], Tokenizer]) -> None:
    tokenizer = from_gguf(pieces[0] | {"tokenizer.ggml.add_space_prefix": False})
    assert tokenizer.decode(tokenizer.encode(" the fox")) == " the fox"
    assert tokenizer.encode("the") != from_gguf(pieces[0]).encode("the")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokenizer.ggml.pre": "falcon"}, "pre-tokenizer 'falcon'"),
        ({"tokenizer.ggml.pre": 7}, "pre-tokenizer '7'"),
        ({"tokenizer.ggml.model": "t5"}, "a tokenizer 't5'"),
        ({"tokenizer.ggml.model": "bert"}, "a tokenizer 'bert'"),
        ({"tokenizer.ggml.tokens": "abc"}, "tokens is not a list of str"),
        ({"tokenizer.ggml.tokens": []}, "tokens is not a list of str"),
        ({"tokenizer.ggml.token_type": [1]}, "token_type has 1 entries"),
        ({"tokenizer.ggml.merges": ["a"]}, "the merge 'a' needs ''"),
        ({"tokenizer.ggml.merges": ["zz zz"]}, "the merge 'zz zz' needs 'zz'"),
        ({"tokenizer.ggml.merges": 3}, "merges is not a list of str"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, "eos_token_id is 1000000 of"),
        ({"tokenizer.ggml.bos_token_id": "x"}, "bos_token_id is x of"),
        ({"tokenizer.chat_template": "{{ 1 +"}, "the chat template 'default' is broken"),
        ({"tokenizer.chat_template": "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3}, "does not end"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(change: dict[str, Any], said: str, meta: dict[str, Any]) -> None:
    with pytest.raises(RunnerError) as caught:
        from_gguf(meta | change, "x.gguf")
    assert said in str(caught.value)
    assert "x.gguf" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("longer", [["a" * 100_000], ["a" * n for n in range(2, 1200)]], ids=["one", "many"])
def test_tokens_too_long_to_be_cut_in_every_way_are_refused(
    longer: list[str], pieces: tuple[dict[str, Any], Tokenizer]
) -> None:
    keys = pieces[0]
    vocabulary = set(keys["tokenizer.ggml.tokens"])
    longer = [word for word in longer if word not in vocabulary]
    extended = {
        "tokenizer.ggml.tokens": [*keys["tokenizer.ggml.tokens"], *longer],
        "tokenizer.ggml.scores": [*keys["tokenizer.ggml.scores"], *(-1e6 - n for n in range(len(longer)))],
        "tokenizer.ggml.token_type": [*keys["tokenizer.ggml.token_type"], *[1] * len(longer)],
    }
    with pytest.raises(RunnerError, match=r"x\.gguf: its tokens are longer than any in use"):
        from_gguf(keys | extended, "x.gguf")


def test_a_duplicate_token_is_named(meta: dict[str, Any]) -> None:
    words = [*meta["tokenizer.ggml.tokens"][:-1], BASE]
    with pytest.raises(RunnerError, match=r"'<\|endoftext\|>' twice"):
        from_gguf(meta | {"tokenizer.ggml.tokens": words})


def test_tokenizer_files_next_to_a_gguf_file_take_precedence(meta: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    (tmp_path / "chat_template.jinja").write_text("J{{ messages[0].content }}<tool>")
    assert from_gguf_file(file, meta).render([{"role": "user", "content": "a"}]) == "Ja<tool>"
    (tmp_path / "chat_template.jinja").unlink()
    from_gguf(meta).backend.save(str(tmp_path / "tokenizer.json"))
    size = len(meta["tokenizer.ggml.tokens"])
    tokenizer = from_gguf_file(file, meta | {"tokenizer.ggml.pre": "not built in"})
    assert tokenizer.render([{"role": "user", "content": "x"}]).startswith("<|im_start|>user\nx"), (
        "the file's own template"
    )
    assert tokenizer.stop_token_ids == {size - 4, size - 2}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "C", "eos_token": "<tool>"}))
    tokenizer = from_gguf_file(file, meta)
    assert (tokenizer.render([{"role": "user", "content": "x"}]), tokenizer.stop_token_ids) == (
        "C",
        {size - 4, size - 1},
    )


def test_a_tokenizer_of_another_model_is_ignored(meta: dict[str, Any], tmp_path: Path) -> None:
    sentencepiece().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(RunnerError, match=r"tokenizer\.json is of another model than x\.gguf"):
        from_gguf_file(tmp_path / "x.gguf", meta)


def write_parts(folder: Path, count: int, **wrong: Any) -> list[Path]:
    """Four tensors over this many files."""
    files = [folder / f"m-{no:05}-of-{count:05}.gguf" for no in range(1, count + 1)]
    for no, file in enumerate(files):
        writer = gguf.GGUFWriter(file, "llama")
        writer.add_uint16("split.no", wrong.get("no", no))
        writer.add_uint16("split.count", wrong.get("parts", count))
        writer.add_int32("split.tensors.count", wrong.get("tensors", 4))
        for i in range(no, 4, count):
            writer.add_tensor(f"t{wrong.get('name', i)}", np.full((2, 3), i, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return files


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_are_one_file_whichever_is_named(count: int, tmp_path: Path) -> None:
    files = write_parts(tmp_path, count)
    for file in files:
        _, stored = local.weights.gguf.gguf_split.read(file)
        assert {name: tensor.data.view(np.float32)[0, 0] for name, tensor in stored.items()} == {
            f"t{i}": i for i in range(4)
        }
    shutil.copy(files[0], tmp_path / "mmproj-x.gguf")
    assert local.weights.loader._find_gguf(tmp_path) == files[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"parts": 3}, "one of 3 parts"),
        ({"no": 0}, "claims to be part 1"),
        ({"tensors": 5}, "have 4 tensors instead of 5"),
        ({"name": "x"}, "repeats tx"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    files = write_parts(tmp_path, 4 if "name" in wrong else 2, **wrong)
    with pytest.raises(RunnerError, match=said):
        local.weights.gguf.Gguf(files[0])


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    files = write_parts(tmp_path, 3)
    files[1].unlink()
    for file in (files[0], files[2]):
        with pytest.raises(RunnerError, match=r"lacks 1 of 3 parts, e\.g\. m-00002-of-00003\.gguf"):
            local.weights.gguf.Gguf(file)


def test_a_model_in_parts_is_the_same_model(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """Split as llama.cpp does: the keys in the first part, tensors over all."""
    from tests.local.conftest import read, scores
    from tests.local.weights.test_gguf import write_gguf

    folder, reference = tiny(vocab_size=261)
    whole = tmp_path / "whole.gguf"
    write_gguf(whole, reference, folder, gguf.GGMLQuantizationType.F32)
    expected = scores(read(whole), [1, 2, 3])
    meta, stored = local.weights.gguf.gguf_split.read(whole)
    reader = gguf.GGUFReader(whole)
    names = list(stored)
    (tmp_path / "parts").mkdir()
    for no in range(2):
        file = tmp_path / "parts" / f"m-{no + 1:05}-of-00002.gguf"
        writer = gguf.GGUFWriter(file, "llama")
        if no == 0:
            for field in reader.fields.values():
                if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                    kind = field.types[0]
                    writer.add_key_value(field.name, field.contents(), kind, field.types[-1])
        writer.add_uint16("split.no", no)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(names))
        for name in names[no::2]:
            writer.add_tensor(name, np.array(stored[name].data.view(np.float32).reshape(stored[name].shape)))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    assert meta["general.architecture"] == "llama"
    for source in (tmp_path / "parts", tmp_path / "parts" / "m-00002-of-00002.gguf"):
        assert (scores(read(source), [1, 2, 3]) - expected).abs().max() == 0
