"""The haystack engine: spans of a corpus, tokenised once, exact to the token under any tokenizer."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from m1eval import UsageError, plugins
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task.load import load_tasks
from tests.conftest import Characters, write
from tests.tasks.test_needle import haystacks, text_of, trained

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tasks" / "long_context"
corpora = plugins.import_file("tasks", FOLDER / "_haystack" / "corpus.py", "corpus.py")
lengths = plugins.import_file("tasks", FOLDER / "_lengths.py", "_lengths.py")
SHARED = ROOT.parent / "shared" / "data" / "haystacks"


COMMON = "the a an who is of in to and for from with not at on it could be by his her"


class Counting(Characters):
    """A tokenizer that says how much it was asked for."""

    def __init__(self) -> None:
        self.characters = 0

    def encode(self, text: str) -> list[int]:
        self.characters += len(text)
        return super().encode(text)


@pytest.fixture(scope="module", params=["words", "metaspace", "characters", "approximate"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    odd = {"characters": Characters, "approximate": CharacterTokenizer}
    return odd[request.param]() if request.param in odd else trained(request.param)


@pytest.mark.parametrize("name", ["needle", "multi_needle", "nolima_synth", "ruler_generated"])
def test_every_task_has_the_length_asked_for_under_every_tokenizer(tokenizer, name):
    (loaded,) = load_tasks([name], ["lengths=[6000, 40000]"])
    samples = loaded.samples(tokenizer, 5)
    for number in Random(name).sample(range(len(samples)), 14):
        sample = samples.sample(number)
        room = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50}.get(sample.metadata.get("subtask", "").split("_")[0], 0)
        counted = tokenizer.count(sample.messages)
        assert abs(counted - sample.metadata["length"] + room) <= 8, sample.id
        assert abs(counted - sample.metadata["tokens"]) <= 8, sample.id


def test_needles_stand_at_their_share_of_the_tokens():
    tokenizer = trained("words")
    samples = haystacks(tokenizer, lengths=[20_000], depths=[10, 62.5, 90], samples=2)
    for i in range(len(samples)):
        sample = samples.sample(i)
        text = text_of(sample)
        matches = re.search(rf"The access code of the \w+ vault is {sample.target}\.", text)
        assert matches is not None
        before, after = (len(tokenizer.encode(part)) for part in (text[: matches.start()], text[matches.end() :]))
        assert 100 * before / (before + after) == pytest.approx(sample.metadata["place"], abs=0.02)
        assert sample.metadata["place"] == pytest.approx(sample.metadata["depth"], abs=0.2)


def test_a_second_sample_costs_a_hundredth_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setenv("M1EVAL_CACHE", str(tmp_path))
    tokenizer = Counting()
    samples = haystacks(tokenizer, lengths=[1_000_000], depths=[50], samples=2)
    first = samples.sample(0)
    tokenizer.characters, cold = 0, tokenizer.characters
    second = samples.sample(1)
    assert cold > 1_000_000
    assert tokenizer.characters < cold / 4
    assert first.messages != second.messages
    assert len(str(second.messages[0]["content"])) > 999_000


def test_pages_are_counted_once_for_all_processes_and_again_for_another_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setenv("M1EVAL_CACHE", str(tmp_path))
    tokenizer = Counting()
    first = haystacks(tokenizer, lengths=[400_000], depths=[50], samples=1).sample(0)
    cold, tokenizer.characters = tokenizer.characters, 0
    assert haystacks(tokenizer, lengths=[400_000], depths=[50], samples=1).sample(0) == first
    assert tokenizer.characters < cold / 3
    other = trained("words")
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    haystacks(other, lengths=[40_000], depths=[50], samples=1).sample(0)
    assert len({path.suffix for path in tmp_path.rglob("*") if path.is_file()}) == len(suffixes) + 1
    assert not list(tmp_path.rglob(".*"))


def test_spoilt_counts_are_made_again_and_a_folder_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setenv("M1EVAL_CACHE", str(tmp_path / "a"))
    sample = haystacks(Characters(), lengths=[50_000], depths=[50], samples=1).sample(0)
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file() and path.suffix != ".txt":
            path.write_bytes(bytes(len(path.read_bytes())))
    assert haystacks(Characters(), lengths=[50_000], depths=[50], samples=1).sample(0) == sample
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("M1EVAL_CACHE", str(tmp_path / "file"))
    assert haystacks(Characters(), lengths=[50_000], depths=[50], samples=1).sample(0) == sample


def test_no_sentence_of_a_million_tokens_comes_again():
    story = corpora.load_corpus("story")
    text = "".join("".join(story.pages(volume)) for volume in range(16))
    sentences = [s for line in text.splitlines() for s in re.split(r"(?<=\.) ", line)]
    assert len(sentences) == 16 * 3072
    assert len(set(sentences)) > 0.9999 * len(sentences)
    words = text.split()
    runs = {tuple(words[i : i + 12]) for i in range(0, len(words) - 12, 4)}
    assert len(runs) > 0.99 * (len(words) - 12) / 4


def test_texts_of_ones_own_are_the_haystack(tmp_path):
    words = Random(0)
    first = " ".join(f"Alpha{words.randrange(10**6)} walks home." for _ in range(2000))  # a single long line
    second = "\n".join(f"Beta{words.randrange(10**6)} sleeps." for _ in range(500))
    (tmp_path / "a.txt").write_text(first)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(second.encode()))
    sample = haystacks(Characters(), lengths=[30_000], depths=[50], samples=1, corpus=str(tmp_path)).sample(0)
    text = text_of(sample)
    assert Characters().count(sample.messages) == 30_000
    names = set(re.findall(r"(?:Alpha|Beta)\d+", first + second))
    matches = re.findall(r"(?:Alpha|Beta)\d+", text)
    assert len(matches) > 500
    assert len(set(matches[:-1]) - names) == 0


def test_a_corpus_that_is_too_short_is_repeated(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"Line {i} is short.\n" for i in range(400)))
    sample = haystacks(Characters(), lengths=[30_000], depths=[50], samples=1, corpus=str(tmp_path / "a.txt")).sample(0)
    assert Characters().count(sample.messages) == 30_000
    assert text_of(sample).count("Line 7 is short.") > 2


TEXTS = [ROOT / "tests" / "data" / "haystack.txt"]
TEXTS += [SHARED / f"{name}.txt.gz" for name in ("kjv_hodgeys", "jargon", "fortunes-zh_chinese")]


@pytest.mark.parametrize("file", [file for file in TEXTS if file.is_file()], ids=lambda file: file.name)
def test_real_texts_are_exact_to_eight_tokens(file):
    for kind in ("words", "metaspace"):
        tokenizer = trained(kind)
        samples = haystacks(tokenizer, lengths=[9_000, 30_000], depths=[0, 40, 100], samples=1, corpus=str(file))
        for i in range(len(samples)):
            sample = samples.sample(i)
            assert abs(tokenizer.count(sample.messages) - sample.metadata["length"]) <= 8, (kind, sample.id)
            assert text_of(sample).count(sample.target) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such/file.txt", "no corpus 'no/such/file.txt': write story, noise, essays"),
        ("essays", 'corpus essays is downloaded: name its commit, set={"corpus_revision": COMMIT}'),
    ],
)
def test_a_corpus_that_is_not_there_is_an_error_in_one_line(name, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        haystacks(CharacterTokenizer(), corpus=name)


def test_an_empty_text_and_one_that_is_not_text_are_errors(tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\xfa")
    for name, message in (("empty.txt", "there is no text in it"), ("bad.txt", "cannot be read as UTF-8")):
        with pytest.raises(UsageError, match=message):
            haystacks(CharacterTokenizer(), corpus=str(tmp_path / name))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([4096, "8k"], [4096, 8192]),
        ("4k-32k,1m", [4096, 8192, 16384, 32768, 2**20]),
        ("5k", [5120]),
        (["auto"], [4096, 8192, 16384, 32768 - 2048]),
        ("auto,4k", [4096, 8192, 16384, 32768 - 2048]),
    ],
)
def test_lengths_are_written_as_people_write_them(given, expected):
    class Windowed(CharacterTokenizer):
        context_window = 32768

    assert lengths.lengths_of(given, Windowed()) == expected


@pytest.mark.parametrize(("window", "last"), [(40_000, 32768), (4096, 2048), (3000, 1500), (131072, 122880)])
def test_auto_ends_below_any_window(window, last):
    tokenizer = CharacterTokenizer()
    tokenizer.context_window = window  # type: ignore[attr-defined]
    assert lengths.lengths_of("auto", tokenizer)[-1] == last


@pytest.mark.parametrize("given", ["4q", "0", "9k-10k", "-4k", ""])
def test_what_is_no_length_is_an_error(given):
    with pytest.raises(ValueError, match=r"number of tokens|no power of two"):
        lengths.lengths_of(given, CharacterTokenizer())


def test_lengths_from_the_command_line(m1eval, tmp_path):
    args = ("run", "--tasks", "needle", "--model", "echo:gold", "--set", "depths=[50]", "--json")
    result = m1eval(*args, "--lengths", "auto", "-o", "window=16384", "--out", tmp_path / "a")
    assert (result.code, result.json()["runs"][0]["samples"]) == (0, 6)
    result = m1eval(*args, "--lengths", "1k-4k", "--out", tmp_path / "b")
    assert (result.code, result.json()["runs"][0]["samples"]) == (0, 6)
    result = m1eval(*args, "--lengths", "auto", "--out", tmp_path / "c")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "auto needs the model's window" in result.err
    assert m1eval("run", "--tasks", "aime24", "--model", "echo", "--lengths", "1k").code == 2


def test_auto_asks_a_model_that_knows_its_window_when_it_has_started(tmp_path, shell):
    write(
        tmp_path / "runners" / "late.py",
        """
        from m1eval import Output

        class Runner:
            window = None
            tokenizer = None

            def __init__(self, model=""):
                pass

            async def start(self, progress):
                self.context_window = 10000

            async def generate(self, request):
                return Output(text=request.sample.gold)

            async def aclose(self):
                pass
        """,
    )
    args = ("run", "--tasks", "needle", "--model", "late", "--set", "depths=[50]", "--lengths", "auto", "--json")
    result = shell(*args)
    assert result.code == 0, result.err
    assert result.json()["runs"][0]["samples"] == 4
    assert shell(*args).json()["runs"][0]["outcomes"]["right"] == 4
    assert "known only when it has started; give it by -o window" in shell(*args, "--dry-run").err


def test_questions_about_one_text_share_all_of_it():
    samples = haystacks(trained("words"), lengths=[9000], depths=[0, 30, 60, 100], samples=1, questions_per_haystack=4)
    matches = [samples.sample(i) for i in range(4)]
    assert len({sample.prefix_key for sample in matches}) == 1
    assert len({text_of(sample) for sample in matches}) == 1
    assert len({sample.target for sample in matches}) == 4
    for sample in matches:
        assert text_of(sample).count(sample.target) == 1
        question = re.search(r"What is the access code of the (\w+ \w+) vault", sample.messages[0]["content"])
        assert question is not None
        assert f"The access code of the {question[1]} vault is {sample.target}." in text_of(sample)
        assert abs(trained("words").count(sample.messages) - 9000) <= 8


def test_several_needles_are_graded_by_their_share(m1eval, tmp_path):
    args = ("run", "--tasks", "multi_needle", "--model", "echo:gold", "--lengths", "4k", "--out", tmp_path / "x")
    result = m1eval(*args, "--json")
    assert result.json()["runs"][0]["score"] == 1.0
    (matches,) = load_tasks(["multi_needle"], ["lengths=[4096]"])
    samples = matches.samples(CharacterTokenizer(), 0)
    text = text_of(samples.sample(0))
    assert len(re.findall(r"\d{7}", text)) == 8
    assert [samples.prefix_key(i) for i in range(5)].count(samples.prefix_key(0)) == 4


def test_a_needle_without_its_words_shares_none_with_its_question():
    nolima = plugins.import_file("tasks", FOLDER / "_nolima.py", "_nolima.py")
    common = set(COMMON.split())
    for link in nolima.LINKS:
        fact_words = set(re.findall(r"\w+", link.said.lower())) - {"name"}
        for question in (link.one, link.two):
            assert not fact_words & set(re.findall(r"\w+", question.lower())) - common, (link.said, question)
    story = "".join("".join(corpora.load_corpus("story").pages(volume)) for volume in range(4))
    assert not [name for name in nolima.NAMES if name in story]
    assert len(set(nolima.NAMES)) == len(nolima.NAMES)


def test_a_haystack_of_millions_takes_the_memory_of_one(tmp_path):
    code = (
        "import json, sys; from m1eval.task.load import load_tasks\n"
        "from m1eval.model.runner_tokenizer import CharacterTokenizer\n"
        "(needle,) = load_tasks(['needle'], ['lengths=[4194304]', 'samples=3', 'depths=[50]'])\n"
        "samples = needle.samples(CharacterTokenizer(), 0)\n"
        "print([len(str(samples.sample(i).messages[0]['content'])) for i in range(3)])\n"
        "print(open('/proc/self/status').read())"
    )
    env = {**os.environ, "M1EVAL_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=100
    )
    sizes, peak = json.loads(done.stdout.splitlines()[0]), re.search(r"VmHWM:\s+(\d+)", done.stdout)
    assert min(sizes) > 16_000_000
    assert peak is not None
    assert int(peak[1]) / 1024 < 250
