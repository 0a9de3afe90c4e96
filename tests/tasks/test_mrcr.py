"""MRCR: the official grade to the last digit, and generated conversations of an exact length."""

import asyncio
import json
import re
import tracemalloc
from difflib import SequenceMatcher
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from m1eval import Output, Sample, Score, UsageError, classify, load
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.sandbox.workers import Pool
from m1eval.task.load import load_tasks
from tests.conftest import Characters, Chat, digests

ROOT = Path(__file__).resolve().parents[2]
KEY = "a1B2c3D4e5"


def official(response: str, answer: str, random_string_to_prepend: str) -> float:
    """The rule of the dataset card, written again."""
    if not response.startswith(random_string_to_prepend):
        return 0.0
    response = response.removeprefix(random_string_to_prepend)
    answer = answer.removeprefix(random_string_to_prepend)
    return float(SequenceMatcher(None, response, answer).ratio())


def graded(response: str, answer: str, *, key: str = KEY, workers: Any = None, **options: Any) -> Score:
    return asyncio.run(scored(response, answer, key, workers, **options))


async def scored(response: str, answer: str, key: str, workers: Any, **options: Any) -> Score:
    scorer = load("scorers", "mrcr").Scorer(**options)
    sample = Sample(id="s", messages=[], target=answer, metadata={"random_string_to_prepend": key})
    score: Score = await scorer.score(Output(text=response), sample, SimpleNamespace(workers=workers))
    return score


def prose(characters: int, seed: int = 0) -> str:
    random = Random(seed)
    words = ["".join(random.choices("etaoinshrdlucmfwypvbgk", k=random.randint(2, 9))) for _ in range(400)]
    return " ".join(random.choices(words, k=characters))[:characters]


TEXT = prose(2530)


@pytest.mark.parametrize(
    "response",
    [
        KEY + TEXT,
        KEY + " " + TEXT,
        KEY + "\n" + TEXT,
        KEY + TEXT + "\n",
        KEY + TEXT[:1200] + TEXT[1210:],
        KEY + TEXT[:100],
        KEY,
        KEY + KEY + TEXT,
        " " + KEY + TEXT,
        TEXT,
        KEY[:-1] + TEXT,
        KEY + prose(2530, 1),
    ],
)
def test_the_grade_is_the_official_one(response):
    assert graded(response, KEY + TEXT).value == official(response, KEY + TEXT, KEY)


def test_one_space_behind_the_key_costs_everything_in_a_long_text():
    score = graded(KEY + " " + TEXT, KEY + TEXT)
    assert score.value == 0.0
    assert SequenceMatcher(None, " " + TEXT, TEXT, autojunk=False).ratio() > 0.999
    assert classify(Output(text="x"), score) == "wrong"
    assert "starts with the key" in score.explanation


def test_the_same_space_costs_little_in_a_text_below_200_characters():
    assert graded(KEY + " " + TEXT[:150], KEY + TEXT[:150]).value > 0.99


def test_the_order_of_the_arguments_is_response_then_answer():
    assert graded(KEY + "tide", KEY + "diet").value == 0.25
    assert graded(KEY + "diet", KEY + "tide").value == 0.5


def test_white_space_before_the_key_is_not_forgiven():
    score = graded("\n" + KEY + TEXT, KEY + TEXT)
    assert (score.value, score.metrics) == (0.0, {"key": 0.0})
    assert classify(Output(text="x"), score) == "wrong"


def test_an_empty_response_is_not_an_answer():
    score = graded("", KEY + TEXT)
    assert (score.value, score.answer) == (0.0, None)
    assert classify(Output(), score) == "unparsed"


def test_a_long_answer_is_kept_short_in_the_record():
    answer = graded(KEY + TEXT, KEY + TEXT).answer
    assert answer is not None
    assert answer.startswith(KEY)
    assert len(answer) == 80


@pytest.mark.timeout(60)
def test_a_response_of_a_million_characters_is_graded_or_given_up_in_time():
    async def both() -> None:
        async with Pool(1) as workers:
            long = KEY + TEXT * 10
            assert (await scored(long, KEY + TEXT, KEY, workers)).value == official(long, KEY + TEXT, KEY)
            score = await scored(KEY + "ab" * 500_000, KEY + "ba" * 99, KEY, workers, timeout=1.0)
            assert (score.value, classify(Output(text="x"), score)) == (0.0, "wrong")
            assert score.metrics == {"key": 1.0, "at_most": 2 * 198 / 1_000_198}
            assert "at most 0.0004, and counts as 0" in score.explanation
            rare = [chr(i) for i in range(200, 400)]  # none is more than 1 % of the text, so autojunk drops none
            first, second = ("".join(Random(i).choices(rare, k=60_000)) for i in (1, 2))
            score = await scored(KEY + first, KEY + second, KEY, workers, timeout=1.0)
            assert (score.value, score.metrics["at_most"]) == (0.0, 1.0), "what the answer causes is wrong, not errored"
            million = prose(1_000_000, 3)
            assert (await scored(KEY + million, KEY + TEXT, KEY, workers)).value == official(million, TEXT, "")

    asyncio.run(both())


def test_rows_of_the_official_form_are_read_and_their_answers_score_one(tmp_path):
    messages = [
        {"role": "user", "content": "Write a poem about ferries."},
        {"role": "assistant", "content": "Tapirs."},
        {"role": "user", "content": f"Prepend {KEY} to the 1st (1 indexed) poem about ferries."},
    ]
    row = {
        "prompt": json.dumps(messages),
        "answer": KEY + "Tapirs.",
        "random_string_to_prepend": KEY,
        "n_needles": 4,
        "desired_msg_index": 1,
        "total_messages": 3,
        "n_chars": 100,
    }
    (tmp_path / "mrcr.jsonl").write_text(json.dumps(row) + "\n")
    (mrcr,) = load_tasks(["mrcr"])
    sample = mrcr.samples(CharacterTokenizer(), 0, tmp_path).sample(0)
    assert sample.messages == messages
    assert sample.metadata["n_needles"] == 4
    assert sample.gold is not None
    assert asyncio.run(mrcr.scorer.score(Output(text=sample.gold), sample, SimpleNamespace())).value == 1.0


def trained() -> Chat:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    generated = conversations(CharacterTokenizer(), lengths=[32000])
    core.train_from_iterator([m["content"] for m in generated.sample(0).messages], trainer)
    return Chat(core)


class Untouched:
    """A tokenizer that must not be used."""

    def encode(self, text: str) -> list[int]:
        raise AssertionError

    decode = count = encode


def conversations(tokenizer: Any, seed: int = 0, **options: Any) -> Any:
    (synth,) = load_tasks(["mrcr_synth"], [f"{key}={json.dumps(value)}" for key, value in options.items()])
    return synth.samples(tokenizer, seed)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return trained()


@pytest.mark.parametrize("needles", [2, 4, 8])
@pytest.mark.parametrize("length", [1040, 2000, 4096, 9001])
def test_a_prompt_has_the_length_asked_for(chat, length, needles):
    for tokenizer in (chat, CharacterTokenizer()):
        samples = conversations(tokenizer, lengths=[length], needles=[needles], samples=3)
        for i in range(3):
            sample = samples.sample(i)
            assert tokenizer.count(sample.messages) == length
            assert (sample.metadata["tokens"], sample.metadata["length"]) == (length, length)


def test_a_prompt_longer_than_what_is_counted_as_a_whole_is_exact_too(chat):
    samples = conversations(chat, lengths=[50_000], samples=1)
    chat.longest = 0
    sample = samples.sample(0)
    assert chat.longest < sum(len(m["content"]) for m in sample.messages) / 2
    assert chat.count(sample.messages) == 50_000


def test_the_wanted_answer_stands_where_the_question_says(chat):
    samples = conversations(chat, lengths=[2000, 6000], needles=[2, 4], samples=4)
    seen = set()
    for i in range(len(samples)):
        sample = samples.sample(i)
        *turns, question = [m["content"] for m in sample.messages]
        assert [m["role"] for m in sample.messages] == ["user", "assistant"] * (len(turns) // 2) + ["user"]
        match = re.fullmatch(
            r"Prepend (\w{10}) to the (\d)\w\w \(1 indexed\) ([\w ]+) about (\w+)\. Do not .* your response\.", question
        )
        assert match is not None
        key, nth, form, topic = match.groups()
        asks = [text[text.rindex("Write a") :] for text in turns[::2]]
        equal = [2 * j + 1 for j, ask in enumerate(asks) if re.fullmatch(f"Write an? {form} about {topic}\\.", ask)]
        assert len(equal) == sample.metadata["n_needles"]
        assert len(set(asks)) > 2
        assert sample.metadata["desired_msg_index"] == equal[int(nth) - 1]
        assert sample.target == key + turns[equal[int(nth) - 1]]
        seen.add((len(equal), int(nth)))
    assert len(seen) > 3


def test_equal_requests_have_clearly_different_answers(chat):
    samples = conversations(chat, lengths=[8000], needles=[8], samples=2)
    for i in range(2):
        sample = samples.sample(i)
        contents = [m["content"] for m in sample.messages]
        target = contents[sample.metadata["desired_msg_index"] - 1]
        needles = [contents[j + 1] for j in range(2, len(contents) - 1, 2) if contents[j] == target]
        pairs = [(a, b) for a in needles for b in needles if a is not b]
        assert pairs
        assert max(SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in pairs) < 0.5


def test_sentences_hardly_ever_return_in_a_hundred_thousand_tokens():
    sample = conversations(CharacterTokenizer(), lengths=[131_072], samples=1).sample(0)
    texts = [m["content"] for m in sample.messages if m["role"] == "assistant"]
    sentences = [s for text in texts for s in re.split(r"(?<=\.)\s", text) if len(s) > 40]
    assert len(sentences) > 4000
    assert len(set(sentences)) > 0.999 * len(sentences)


def test_other_seeds_make_other_conversations(chat):
    first, second = (conversations(chat, seed, lengths=[2000], samples=2) for seed in (0, 1))
    targets = {samples.sample(i).target for samples in (first, second) for i in (0, 1)}
    assert len(targets) == 4
    assert first.sample(1) == first.sample(1)


def test_the_same_conversation_is_made_in_any_process():
    assert len(digests("mrcr_synth", ["lengths=[1500]", "samples=2"], 7, [0, 1])) == 1


def test_listing_a_thousand_conversations_builds_none():
    samples = conversations(Untouched(), lengths=[1_048_576], samples=1000)
    assert len(samples) == 1000
    assert len({samples.id(i) for i in range(1000)}) == 1000


def test_a_million_tokens_take_little_memory_beyond_their_own():
    class Quick(CharacterTokenizer):
        def encode(self, text: str) -> Any:
            return range(-(-len(text) // 4))

    samples = conversations(Quick(), lengths=[1_048_576], needles=[8], samples=1)
    tracemalloc.start()
    sample = samples.sample(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    text = sum(len(m["content"]) for m in sample.messages)
    assert text > 4_000_000
    assert peak < text + 40_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": [400]}, "2 needles need a length of at least 560 tokens, not 400"),
        ({"lengths": [1000], "needles": [8]}, "8 needles need a length of at least 1040 tokens"),
        ({"needles": [0]}, "needles is 0"),
        ({"length": [4096]}, "did you mean 'lengths'"),
    ],
)
def test_options_that_cannot_be_met_are_an_error_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as error:
        conversations(CharacterTokenizer(), **options)
    assert "\n" not in str(error.value)


def test_a_tokenizer_with_too_many_tokens_for_a_length_is_an_error_in_one_line():
    with pytest.raises(UsageError, match="600 tokens are too few with this tokenizer"):
        conversations(Characters(), lengths=[600]).sample(0)
    assert Characters().count(conversations(Characters(), lengths=[9000]).sample(0).messages) == 9000
