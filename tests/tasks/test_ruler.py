"""RULER: prompts of the official structure, graded by the official metrics."""

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import Output, Sample, UsageError, classify, load
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task.load import load_tasks
from tests.conftest import Characters

DATA = Path(__file__).resolve().parents[1] / "data"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "ruler" / "generated_cl100k" / "4096"
SUBTASKS = ("niah_single_1", "niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multikey_2", "niah_multikey_3")
ALL = (*SUBTASKS, "niah_multivalue", "niah_multiquery", "vt", "cwe", "fwe")
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
KEY = r"[\w-]+"
"""Adjective and noun."""
SHAPES = {
    "niah_single_1": (r"A special magic number is hidden .*\nWhat is the special magic number for KEY mentioned", 1),
    "niah_single_2": (r"A special magic number is hidden .*\nWhat is the special magic number for KEY mentioned", 1),
    "niah_single_3": (r"A special magic uuid is hidden .*\nWhat is the special magic uuid for KEY mentioned", 1),
    "niah_multikey_1": (r"A special magic number is hidden .*\nWhat is the special magic number for KEY mentioned", 1),
    "niah_multikey_2": (r"A special magic number is hidden .*\nWhat is the special magic number for KEY mentioned", 1),
    "niah_multikey_3": (r"A special magic uuid is hidden .*\nWhat is the special magic uuid for UUID mentioned", 1),
    "niah_multivalue": (
        r"Some special magic numbers are .*\nWhat are all the special magic numbers for KEY mentioned",
        4,
    ),
    "niah_multiquery": (
        r"Some special magic numbers .*\nWhat are all the special magic numbers for KEY, KEY, KEY, and KEY mentioned",
        4,
    ),
    "vt": (r"Memorize and track .*they are:\s+(?:[A-Z]{3} ?){5}\s+Memorize and track .*\nVAR [A-Z]{5} = \d{5}\n.*", 5),
    "cwe": (r"Below is a numbered list .*: 1\. \S+ 2\. .*\nBelow is a numbered list .*\n1\. \S+ 2\. .*", 10),
    "fwe": (r"Read the following coded text .* (?:\.\.\. |[a-z]{6} ){40}.*", 3),
}


def shape(subtask: str) -> re.Pattern[str]:
    return re.compile(SHAPES[subtask][0].replace("KEY", KEY).replace("UUID", UUID), re.DOTALL)


def ours(subtask: str, length: int = 4096, tokenizer: Any = None, **options: Any) -> Sample:
    overrides = [f"subtasks=[{subtask}]", f"lengths=[{length}]", "samples=1"]
    overrides += [f"{key}={json.dumps(value)}" for key, value in options.items()]
    (loaded,) = load_tasks(["ruler_generated"], overrides)
    sample: Sample = loaded.samples(tokenizer or CharacterTokenizer(), 1).sample(0)
    return sample


def official(subtask: str) -> list[dict[str, Any]]:
    """Our rows in the form of RULER's generator, and rows that it made itself if they are next to the checkout."""
    rows = [json.loads(line) for line in (DATA / "ruler_rows.jsonl").read_text().splitlines()]
    file = SHARED / subtask / "validation.jsonl"
    generated = file.read_text().splitlines() if file.is_file() else []
    return [row for row in rows if row["subtask"] == subtask] + [json.loads(line) for line in generated]


def graded(text: str, outputs: list[str], **options: Any) -> float:
    scorer = load("scorers", "ruler").Scorer(**options)
    sample = Sample(id="s", messages=[], metadata={"outputs": outputs})
    return float(asyncio.run(scorer.score(Output(text=text), sample, SimpleNamespace())).value)


@pytest.mark.parametrize("subtask", ALL)
def test_official_samples_and_ours_have_one_structure(subtask):
    pattern, count = shape(subtask), SHAPES[subtask][1]
    sample = ours(subtask)
    text = sample.messages[0]["content"]
    assert pattern.match(text), text[:300] + text[-600:]
    assert len(sample.metadata["outputs"]) == count
    for row in official(subtask):
        assert pattern.match(row["input"]), row["input"][:300] + row["input"][-600:]
        assert len(row["outputs"]) == count


@pytest.mark.parametrize("subtask", ALL)
def test_the_answer_prefix_is_the_official_one_and_can_be_left_out(subtask):
    sample = ours(subtask)
    with_prefix, without = sample.messages[0]["content"], ours(subtask, answer_prefix=False).messages[0]["content"]
    prefix = with_prefix[with_prefix.rindex(without[-30:]) + 30 :]
    assert prefix
    generic = re.sub(rf"{UUID}|\d{{5}}|{KEY}-{KEY}", "X", prefix)
    for row in official(subtask):
        assert re.sub(rf"{UUID}|\d{{5}}|{KEY}-{KEY}", "X", row["answer_prefix"]) == generic


@pytest.mark.parametrize("subtask", ALL)
def test_gold_scores_all_and_nothing_scores_nothing_on_official_samples(subtask):
    for row in official(subtask):
        assert graded(", ".join(row["outputs"]), row["outputs"]) == 1.0
        assert graded("", row["outputs"]) == 0.0
        assert graded(row["outputs"][0].upper(), row["outputs"]) == pytest.approx(1 / len(row["outputs"]))


def test_the_metrics_are_those_of_the_benchmark():
    assert graded("a\x07b", ["a\nb"]) == 1.0  # control characters become line breaks
    assert graded("Denver Broncos", ["denver", "carolina"]) == 0.5
    assert graded("Denver Broncos", ["denver", "carolina"], match="part") == 1.0
    assert graded("none", ["denver", "carolina"], match="part") == 0.0
    scorer = load("scorers", "ruler").Scorer()
    score = asyncio.run(scorer.score(Output(text=" "), Sample(id="s", messages=[], metadata={"outputs": ["x"]}), None))
    assert classify(Output(), score) == "unparsed"


@pytest.mark.parametrize("subtask", ALL)
def test_questions_can_be_answered_from_the_text(subtask):
    sample = ours(subtask, 6000)
    text, outputs = sample.messages[0]["content"], sample.metadata["outputs"]
    if subtask.startswith("niah"):
        match = re.search(r"for (.*?) mentioned in the provided text\?", text)
        assert match is not None
        keys = re.split(r",? and |, ", match[1])
        values = [v for key in keys for v in re.findall(rf"for {re.escape(key)} is: ({UUID}|\d+)\.", text)]
        assert sorted(values) == sorted(outputs)
    elif subtask == "vt":
        body = text[text.rindex("Memorize and track") :]
        value = re.search(r"assigned the value (\d+)", body)
        assert value is not None
        held = set(re.findall(rf"VAR (\w+) = {value[1]}", body))
        for copy, name in re.findall(r"VAR (\w+) = VAR (\w+)", body):  # in their order
            held |= {copy} if name in held else set()
        assert held == set(outputs)
    else:
        body = text[text.rindex("\n1. ") :] if subtask == "cwe" else text
        words = re.findall(r"\d+\. (\S+)", body) if subtask == "cwe" else re.findall(r"\b[a-z]{6}\b", body[190:-300])
        ranked = sorted(set(words), key=words.count, reverse=True)
        assert set(ranked[: len(outputs)]) == set(outputs)


def test_the_keys_of_needles_are_distinct():
    sample = ours("niah_multikey_2", 60_000)
    keys = re.findall(r"magic numbers for (\S+) is:", sample.messages[0]["content"])
    assert len(keys) == len(set(keys)) > 2000


def test_impossible_lengths_and_subtasks_are_errors_in_one_line():
    with pytest.raises(UsageError, match="at least 1024 tokens, not 512"):
        ours("vt", 512)
    with pytest.raises(UsageError, match="no subtask 'niah'"):
        ours("niah")
    with pytest.raises(UsageError, match=r"cwe: \d+ tokens are too few with this tokenizer"):
        ours("cwe", 1100, Characters())


def rows(folder: Path) -> None:
    texts = [
        f"{'The wall is long and old. ' * 12}Paragraph {i} says that the key {i} is {i * 7919}." for i in range(60)
    ]
    with (folder / "ruler_qa_1.jsonl").open("w") as file:
        for i, text in enumerate(texts):
            answers = {"text": [str(i * 7919)] if i % 4 else [], "answer_start": [0]}
            row = {"title": f"T{i // 10}", "context": text, "question": f"What is key {i}?", "answers": answers}
            file.write(json.dumps(row) + "\n")
    with (folder / "ruler_qa_2.jsonl").open("w") as file:
        for i in range(0, 60, 4):
            context = {"title": [f"D{j}" for j in range(i, i + 4)], "sentences": [[t] for t in texts[i : i + 4]]}
            row = {"question": f"What is key {i}?", "answer": str(i * 7919), "context": context}
            file.write(json.dumps(row) + "\n")


@pytest.mark.parametrize("subtask", ["qa_1", "qa_2"])
def test_questions_have_their_documents_among_others_at_any_length(tmp_path, subtask):
    rows(tmp_path)
    (loaded,) = load_tasks([f"ruler_{subtask}"], ["lengths=[2048, 20000]", "samples=4"])
    for tokenizer in (Characters(), CharacterTokenizer()):
        lengths = [8000, 20_000] if isinstance(tokenizer, Characters) else [2048, 20_000]
        (loaded,) = load_tasks([f"ruler_{subtask}"], [f"lengths={lengths}", "samples=4"])
        samples = loaded.samples(tokenizer, 0, tmp_path)
        for i in range(len(samples)):
            sample = samples.sample(i)
            text = sample.messages[0]["content"]
            assert abs(tokenizer.count(sample.messages) - (sample.metadata["length"] - 32)) <= 8
            assert re.search(rf"Document \d+:\n(?:D\d+\n)?.*{sample.metadata['outputs'][0]}", text)
            numbers = [int(n) for n in re.findall(r"^Document (\d+):$", text, re.MULTILINE)]
            assert numbers == list(range(1, len(numbers) + 1))
            assert text.endswith("Answer:")
            output = Output(text=f"It is {sample.metadata['outputs'][0]}.")
            assert asyncio.run(loaded.scorer.score(output, sample, SimpleNamespace())).value == 1.0
