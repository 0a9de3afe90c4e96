"""Needle in a haystack: prompts of an exact length with the needle where it was asked for."""

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from m1eval import Output, UsageError, classify
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task.load import load_tasks
from tests.conftest import Characters, Chat, digests

ROOT = Path(__file__).resolve().parents[2]
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def trained(kind: str) -> Chat:
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    if kind == "metaspace":  # puts a space before every text: pieces do not add up
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        core.decoder = decoders.Metaspace()
        alphabet = [chr(i) for i in range(32, 127)] + ["\n", "▁"]
    else:
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt2")
        split = pre_tokenizers.Split(Regex(WORDS), "isolated")
        core.pre_tokenizer = byte_level if kind == "gpt2" else pre_tokenizers.Sequence([split, byte_level])
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2500,
        special_tokens=["<unk>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=alphabet,
        show_progress=False,
        max_token_length=12,
    )
    text = haystacks(CharacterTokenizer(), lengths=[16_000], depths=[50], samples=1).sample(0).messages[0]["content"]
    core.train_from_iterator(text.split("\n"), trainer)
    return Chat(core)


def haystacks(tokenizer: Any, seed: int = 0, **options: Any) -> Any:
    (needle,) = load_tasks(["needle"], [f"{key}={json.dumps(value)}" for key, value in options.items()])
    return needle.samples(tokenizer, seed)


def text_of(sample: Any) -> str:
    match = re.search(r"<text>\n(.*)\n</text>", sample.messages[0]["content"], re.DOTALL)
    assert match is not None
    return match[1]


@pytest.fixture(scope="module", params=["gpt2", "words", "metaspace", "approximate"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return CharacterTokenizer() if request.param == "approximate" else trained(request.param)


@pytest.mark.parametrize("length", [256, 511, 512, 1024, 5000])
def test_a_prompt_has_the_length_asked_for_at_every_depth(tokenizer, length):
    samples = haystacks(tokenizer, lengths=[length], depths=[0, 33, 50, 100], samples=2)
    for i in range(len(samples)):
        sample = samples.sample(i)
        assert tokenizer.count(sample.messages) == length
        assert (sample.metadata["tokens"], sample.metadata["length"]) == (length, length)


def test_a_prompt_longer_than_what_is_counted_as_a_whole_is_exact_too(tokenizer):
    sample = haystacks(tokenizer, lengths=[40_000], depths=[70], samples=1).sample(0)
    assert tokenizer.count(sample.messages) == 40_000
    assert sample.metadata["place"] == pytest.approx(70, abs=0.1)


@pytest.mark.parametrize("kind", ["gpt2", "words"])
def test_a_long_prompt_is_not_tokenised_as_a_whole(kind):
    tokenizer = trained(kind)
    sample = haystacks(tokenizer, lengths=[60_000], depths=[50], samples=1).sample(0)
    assert tokenizer.longest < len(sample.messages[0]["content"]) / 2
    assert tokenizer.count(sample.messages) == 60_000


def test_the_needle_stands_at_its_depth_between_two_sentences():
    samples = haystacks(CharacterTokenizer(), lengths=[4096, 8192], depths=[0, 25, 50, 75, 100], samples=2)
    for i in range(len(samples)):
        sample = samples.sample(i)
        text, code = text_of(sample), sample.target
        assert text.count(code) == 1
        assert len(re.findall(r"\d{7}", text)) == 1
        match = re.search(rf"The access code of the \w+ vault is {code}\.", text)
        assert match is not None
        before, after = text[: match.start()], text[match.end() :]
        assert 100 * len(before) / (len(before) + len(after)) == pytest.approx(sample.metadata["depth"], abs=1)
        assert before == "" or before.rstrip().endswith(".")
        assert after == "" or after.lstrip()[0].isupper()
    assert text_of(samples.sample(0)).startswith("The access code")


def test_the_first_and_the_last_depth_are_the_very_ends():
    samples = haystacks(CharacterTokenizer(), lengths=[2048], depths=[0, 100], samples=1)
    first, last = text_of(samples.sample(0)), text_of(samples.sample(1))
    assert first.startswith("The access code of the")
    assert re.search(r"vault is \d{7}\.$", last)


def test_samples_with_one_prefix_key_begin_with_the_same_text():
    samples = haystacks(CharacterTokenizer(), lengths=[2048, 4096], depths=[0, 50, 100], samples=2)
    keyed: dict[str, list[Any]] = {}
    for i in range(len(samples)):
        sample = samples.sample(i)
        if sample.prefix_key:
            keyed.setdefault(sample.prefix_key, []).append(sample)
        else:
            assert sample.metadata["depth"] == 0
    assert len(keyed) == 4
    for group in keyed.values():
        texts = [sample.messages[0]["content"] for sample in group]
        assert len(texts) == 2
        assert texts[0][: len(texts[0]) * 9 // 20] == texts[1][: len(texts[0]) * 9 // 20]
    assert len({group[0].messages[0]["content"][:400] for group in keyed.values()}) == 4


def test_the_right_code_is_right_and_another_is_wrong():
    (needle,) = load_tasks(["needle"], ["lengths=[1024]"])
    sample = needle.samples(CharacterTokenizer(), 0).sample(3)
    assert re.fullmatch(r"\d{7}", sample.target)
    for text, outcome in [
        (f"The code is {sample.target}.", "right"),
        ("1234567", "wrong"),
        (sample.target[:-1], "wrong"),
        ("", "unparsed"),
    ]:
        output = Output(text=text)
        score = asyncio.run(needle.scorer.score(output, sample, SimpleNamespace()))
        assert classify(output, score) == outcome


def test_the_same_haystack_is_made_in_any_process():
    assert len(digests("needle", ["lengths=[1500]"], 7, [0, 3])) == 1
    first, second = (haystacks(CharacterTokenizer(), seed, lengths=[1500]).sample(0) for seed in (7, 8))
    assert first != second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": [100]}, "a haystack needs a length of at least 256 tokens, not 100"),
        ({"depths": [50, 101]}, "between 0 and 100 percent, not 101"),
        ({"depth": [50]}, "did you mean 'depths'"),
    ],
)
def test_options_that_cannot_be_met_are_an_error_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as error:
        haystacks(CharacterTokenizer(), **options)
    assert "\n" not in str(error.value)


def test_a_tokenizer_with_too_many_tokens_for_a_length_is_an_error_in_one_line():
    with pytest.raises(UsageError, match="256 tokens are too few with this tokenizer"):
        haystacks(Characters(), lengths=[256]).sample(0)


def test_the_small_variant_changes_lengths_and_nothing_of_the_form():
    small, full = load_tasks(["needle_small", "needle"])
    assert small.definition.options["lengths"] == [512, 1024]
    assert small.definition.generation.max_tokens == 64
    assert (small.definition.messages, small.definition.scorer) == (full.definition.messages, full.definition.scorer)
