"""Tokenizer files that are broken or meant to harm: one line that names the file, soon, in bounded memory."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from m1eval import RunnerError, load

local = load("runners", "local")
from_folder = local.tokenizer.files.from_folder

VOCAB = {chr(i): i - 32 for i in range(32, 127)}


def tree(**model: Any) -> dict[str, Any]:
    core = Tokenizer(models.BPE(vocab=VOCAB, merges=[]))
    core.decoder = decoders.Fuse()
    content: dict[str, Any] = json.loads(core.to_str())
    content["model"] |= model
    return content


def replace(pattern: Any, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps)}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


DEEP: dict[str, Any] = {"type": "NFC"}
for _ in range(40):
    DEEP = sequence(DEEP)
ADDED = {"content": "<x>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}

TREES: dict[str, tuple[Any, str]] = {
    "a list": ([], "does not hold a JSON object"),
    "no model": ({"version": "1.0"}, "has no model"),
    "a model of text": ({"model": "BPE"}, "has no model"),
    "a vocabulary of text": (tree(vocab="abc"), "vocab must be an object"),
    "an empty vocabulary": (tree(vocab={}), "vocabulary is empty"),
    "a negative id": (tree(vocab={"a": -1}), "has the id -1"),
    "an id of 2^40": (tree(vocab={"a": 2**40}), "has the id 1099511627776"),
    "an id of 4e9": (tree(vocab={"a": 0, "b": 4_000_000_000}), "has the id 4000000000"),
    "an id of text": (tree(vocab={"a": "0"}), "has the id 0"),
    "one id twice": (tree(vocab={"a": 0, "b": 0}), "'a' and 'b' have the same id 0"),
    "merges of text": (tree(merges="a b"), "merges must be a list"),
    "a merge of one": (tree(merges=["a"]), "is not a pair"),
    "a merge of three": (tree(merges=[["a", "b", "c"]]), "is not a pair"),
    "a merge of numbers": (tree(merges=[[1, 2]]), "is not a pair"),
    "a merge into nothing": (tree(merges=["a b"]), "needs 'ab'"),
    "a merge of nothing": (tree(merges=[["é", "b"]]), "needs 'é'"),
    "an unknown model": (tree(type="Magic"), ""),
    "a prefix longer than the token": (
        tree(continuing_subword_prefix="###", merges=[["a", "b"]]),
        "does not start with",
    ),
    "scores of text": (tree(vocab=[["a", "x"]], type="Unigram"), "score of 'a'"),
    "scores alone": (tree(vocab=[1, 2], type="Unigram"), "entry 0"),
    "an unknown id beyond": (tree(vocab=[["a", 0.0]], type="Unigram", unk_id=7), "unk_id is 7"),
    "added tokens of text": (tree() | {"added_tokens": "x"}, "added_tokens must be a list"),
    "an added token without text": (tree() | {"added_tokens": [{"id": 5}]}, "no text"),
    "an added token of 2^40": (tree() | {"added_tokens": [{**ADDED, "id": 2**40}]}, "no text, or no id"),
    "one added id twice": (
        tree() | {"added_tokens": [{**ADDED, "id": 95}, {**ADDED, "id": 95, "content": "<y>"}]},
        "same id 95",
    ),
    "an added id that leaves a gap": (tree() | {"added_tokens": [{**ADDED, "id": 500}]}, "its position gives 95"),
    "very many added tokens": (tree() | {"added_tokens": [{}] * 200_000}, "at most"),
    "a catastrophic pattern": (tree() | {"normalizer": replace({"Regex": "(a+)+$"}, "b")}, "fail on a short text"),
    "another": (tree() | {"normalizer": replace({"Regex": "(x+x+)+y"}, "b")}, "fail on a short text"),
    "a catastrophic split": (tree() | {"pre_tokenizer": split("(a|a)*c|(\\d+)*!x")}, "fail on a short text"),
    "a broken pattern": (tree() | {"normalizer": replace({"Regex": "(("}, "b")}, ""),
    "ten times a thousand": (
        tree() | {"normalizer": sequence(*[replace({"String": "a"}, "a" * 1000)] * 10)},
        "as long",
    ),
    "something for nothing": (tree() | {"normalizer": replace({"String": ""}, "a" * 1000)}, "replaces an empty string"),
    "a long beginning": (tree() | {"normalizer": {"type": "Prepend", "prepend": "a" * 10**6}}, "times as long"),
    "many beginnings": (tree() | {"normalizer": sequence(*[{"type": "Prepend", "prepend": "a" * 90}] * 9)}, "as long"),
    "a growing decoder": (
        tree() | {"decoder": {"type": "Sequence", "decoders": [replace({"String": "a"}, "a" * 1000)] * 9}},
        "times as long",
    ),
    "many rules": (tree() | {"normalizer": sequence(*[{"type": "NFC"}] * 1000)}, "too many rules"),
    "deep rules": (tree() | {"normalizer": DEEP}, "too many rules"),
    "a rule of text": (tree() | {"normalizer": "NFC"}, "rule without a type"),
    "a rule of an unknown type": (tree() | {"normalizer": {"type": "Explode"}}, ""),
    "a broken table": (
        tree() | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        "fail on a short text",
    ),
    "a long beginning of every text": (
        tree()
        | {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "a", "type_id": 0}}] * 10**5
                + [{"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"a": {"id": "a", "ids": [1], "tokens": ["a"]}},
            }
        },
        "pieces",
    ),
    "a long beginning in one piece": (
        tree()
        | {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"a": {"id": "a", "ids": [1] * 10**5, "tokens": ["a"] * 10**5}},
            }
        },
        "pieces",
    ),
}


def refused(folder: Path, said: str, name: str) -> None:
    with pytest.raises(RunnerError) as caught:
        from_folder(folder)
    text = str(caught.value)
    assert said in text
    assert name in text
    assert "\n" not in text
    assert len(text) < 700


@pytest.mark.parametrize("kind", TREES)
def test_a_hostile_tokenizer_is_refused_in_one_line(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, message = TREES[kind]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    refused(tmp_path, message, "tokenizer.json")
    if message:
        assert capfd.readouterr().err == "", "nothing else is printed"


BROKEN: dict[str, bytes] = {
    "no text at all": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "very deep": b"[" * 200_000,
    "a very large number": b'{"model": ' + b"9" * 5000 + b"}",
}
FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "config.json")


@pytest.mark.parametrize("name", [*FILES, "added_tokens.json", "chat_template.json"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree()))
    (tmp_path / name).write_bytes(BROKEN[kind])
    refused(tmp_path, name, name)


@pytest.mark.parametrize("name", [*FILES, "chat_template.jinja"])
def test_a_folder_in_the_place_of_a_file_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree()))
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    refused(tmp_path, "is not a file", name)


def test_a_template_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree()))
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    refused(tmp_path, "is not UTF-8", "chat_template.jinja")


CONFIGS: list[tuple[str, Any, str]] = [
    ("tokenizer_config.json", {"chat_template": 7}, "chat_template must be"),
    ("tokenizer_config.json", {"chat_template": [1]}, "chat_template must be"),
    ("tokenizer_config.json", {"chat_template": [{"name": 1, "template": "x"}]}, "chat_template must be"),
    ("tokenizer_config.json", {"chat_template": [{"name": "tool_use", "template": "x"}]}, "none is called default"),
    ("tokenizer_config.json", {"chat_template": "{% for %}"}, "is broken in line 1"),
    ("tokenizer_config.json", {"chat_template": "{{ " + "(" * 9999}, "is broken in line 1"),
    ("tokenizer_config.json", {"chat_template": "x" * (1 << 21)}, "is broken"),
    ("tokenizer_config.json", {"eos_token": ["x"]}, "eos_token must be a text"),
    ("tokenizer_config.json", {"bos_token": {"content": 3}}, "bos_token must be a text"),
    ("tokenizer_config.json", {"added_tokens_decoder": []}, "must be an object of ids"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"x": ADDED}}, "'x' is not a token id"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"-3": ADDED}}, "'-3' is not a token id"),
    ("tokenizer_config.json", {"added_tokens_decoder": {str(2**40): ADDED}}, "is not a token id"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"95": "x"}}, "has no text"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"95": {"content": ""}}}, "has no text"),
    (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"95": {**ADDED, "lstrip": "yes"}}},
        "lstrip of the added token",
    ),
    ("tokenizer_config.json", {"extra_special_tokens": "x"}, "must be a list"),
    ("tokenizer_config.json", {"additional_special_tokens": [3]}, "which is not a text"),
    ("added_tokens.json", {"<x>": "y"}, "'y' is not a token id"),
    ("added_tokens.json", {"<x>": -1}, "'-1' is not a token id"),
    ("generation_config.json", {"eos_token_id": "x"}, "eos_token_id must be"),
    ("generation_config.json", {"eos_token_id": [1, None]}, "eos_token_id must be"),
    ("config.json", {"eos_token_id": {"a": 1}}, "eos_token_id must be"),
]


@pytest.mark.parametrize(("name", "content", "said"), CONFIGS, ids=range(len(CONFIGS)))
def test_values_of_the_wrong_type_are_named(name: str, content: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree()))
    (tmp_path / name).write_text(json.dumps(content))
    refused(tmp_path, said, str(tmp_path))


def test_rules_of_tokenizers_in_use_are_not_tried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.tokenizer.files.check.__globals__["subprocess"], "run", None)
    core = Tokenizer(models.BPE(vocab=VOCAB, merges=[]))
    core.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"), normalizers.Lowercase()]
    )
    steps = local.tokenizer.pretokenizers.pre_tokenizer("deepseek-v3").steps
    core.pre_tokenizer = pre_tokenizers.Sequence(steps)
    core.save(str(tmp_path / "tokenizer.json"))
    from_folder(tmp_path)


def test_an_unusual_pattern_that_does_no_harm_is_accepted(tmp_path: Path) -> None:
    content = tree() | {"pre_tokenizer": split("[a-z]+(?:'[a-z]+)?|[0-9]{1,2}|\\s+|."), "normalizer": {"type": "NFKC"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert from_folder(tmp_path).decode(from_folder(tmp_path).encode("it's 12")) == "it's 12"


@pytest.mark.parametrize("kind", ["a catastrophic pattern", "one id twice"])
def test_the_command_line_says_it_in_one_line(
    kind: str, llama: Any, tmp_path: Path, m1eval: Callable[..., Any], capitals: Path
) -> None:
    folder = Path(shutil.copytree(llama.folder, tmp_path / "model"))
    (folder / "tokenizer.json").write_text(json.dumps(TREES[kind][0]))
    model, out = f"local:{folder}", tmp_path / "out"
    done = m1eval("run", "--tasks", capitals, "--model", model, "--out", out, "--limit", 1, "--display", "none")
    assert done.code == 4
    assert "tokenizer.json" in done.err
    assert done.err.strip().count("\n") == 0


def test_a_chat_template_without_end_stops_the_command(
    llama: Any, tmp_path: Path, m1eval: Callable[..., Any], capitals: Path
) -> None:
    folder = Path(shutil.copytree(llama.folder, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text("{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3)
    model, out = f"local:{folder}", tmp_path / "out"
    done = m1eval("run", "--tasks", capitals, "--model", model, "--out", out, "--limit", 1, "--display", "none")
    assert done.code == 4
    assert "the chat template does not end" in done.err
    assert done.err.strip().count("\n") == 0
