"""Published long-context benchmarks: rows become prompts, and answers are graded by their authors' rules."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import Output, Request, Sample, UsageError, classify, load
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task.load import load_tasks

ROSES = "Bright as a lamp, quiet and slow,\nLeaves all in order, row upon row."
FERRY = (
    "At the far end of the winter quay,\nFerries wait with open doors.\n"
    "Salt on the rails, ropes in a heap,\nNobody asks them for the hour of the tide."
)
"""Lines of which some end in a comma: each comma and full stop ends a part."""
HARBOUR = "Gulls over the water, the bells ring twice.\nOn the wall, two pilots share a pipe."
"""Lines that all end in a full stop: each line is a part."""


def table(folder: Path, name: str, *rows: dict[str, Any]) -> Path:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return folder


def samples(folder: Path, name: str, *overrides: str) -> Any:
    (loaded,) = load_tasks([name], list(overrides))
    return loaded, loaded.samples(CharacterTokenizer(), 0, folder)


def value(scorer: str, text: str, target: str = "", **metadata: Any) -> float:
    sample = Sample(id="s", messages=[], target=target, metadata=metadata)
    built = load("scorers", scorer).Scorer()
    return float(asyncio.run(built.score(Output(text=text), sample, SimpleNamespace())).value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The correct answer is (B)", 1),
        ("**The correct answer is (B)**, as it says", 1),
        ("The correct answer is B.", 1),
        ("The correct answer is (C), not (B)", 0),
        ("the correct answer is (B)", 0),
        ("B", 0),
        ("The correct answer is B. No: The correct answer is (C)", 0),
    ],
)
def test_longbench_v2_reads_its_one_form(text, expected):
    assert value("longbench_v2", text, "B") == expected


def longbench(folder: Path) -> Path:
    common = {"domain": "d", "sub_domain": "s", "difficulty": "hard", "length": "short", "choice_A": "a"}
    letters = {"choice_B": " b", "choice_C": "c", "choice_D": "d", "answer": "B"}
    built = [
        {"_id": f"x{i}", "question": f"Q{i}?", "context": f" Text {i % 2} ", **common, **letters} for i in range(4)
    ]
    table(folder, "longbench_v2_cot", *built)
    return table(folder, "longbench_v2", *built)


def test_longbench_v2_has_the_published_prompt_and_texts_together(tmp_path):
    loaded, built = samples(longbench(tmp_path), "longbench_v2")
    assert [built.id(i) for i in built.select(limit=None, ids=None, seed=0)] == ["x0", "x2", "x1", "x3"]
    content = built.sample(0).messages[0]["content"]
    assert content.startswith(
        "Please read the following text and answer the question below.\n\n<text>\nText 0\n</text>"
    )
    assert "\n(B) b\n" in content
    assert content.endswith('Format your response as follows: "The correct answer is (insert answer here)".')
    assert loaded.definition.overlength == "truncate_middle"


def test_longbench_v2_with_reasoning_asks_twice_and_the_second_time_without_the_text(tmp_path):
    loaded, built = samples(longbench(tmp_path), "longbench_v2_cot")
    requests = []

    class Runner:
        async def generate(self, request: Request) -> Output:
            requests.append(request.messages[-1]["content"] if request.messages else "")
            return Output(text=["It says b.", "The correct answer is (B)"][len(requests) - 1])

    output = asyncio.run(loaded.episode(built.sample(0), Runner(), SimpleNamespace()))
    assert "Text 0" in requests[0]
    assert "Text 0" not in requests[1]
    assert "Let’s think step by step: It says b.\n\nBased on the above" in requests[1]
    assert (output.text, output.reasoning) == ("The correct answer is (B)", "It says b.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So:\nFinal Answer: [a, b]", 1.0),
        ("Final Answer: ['a', \"b\"]\n", 1.0),
        ("Final Answer: [a]", 2 / 3),
        ("Final Answer: [a, b, c, d]", 2 / 3),
        ("Final Answer: []", 0.0),
        ("Final Answer: [a, b]\nThank you.", 0.0),
        ("a, b", 0.0),
    ],
)
def test_graphwalks_is_the_f1_of_the_last_line(text, expected):
    assert value("graphwalks", text, answer_nodes=["a", "b"]) == pytest.approx(expected)
    assert value("graphwalks", "Final Answer: []", answer_nodes=[]) == 1.0


def test_mr_niah_grades_the_parts_of_a_text():
    parts = load("scorers", "mr_niah").parts
    assert parts("1. Calculus\n2. Linear Algebra") == ["Calculus", "Linear Algebra"]
    assert parts(FERRY)[3] == "ropes in a heap"
    assert len(parts(FERRY)) == 5
    assert parts(HARBOUR)[0] == "Gulls over the water, the bells ring twice"
    assert parts("蔚蓝无垠，波涛汹涌，生命的摇篮。") == ["蔚蓝无垠", "波涛汹涌", "生命的摇篮"]
    assert value("mr_niah", "… Bright as a lamp, but row upon row", ROSES) == 0.5
    assert value("mr_niah", f"{ROSES} I am Sorry", ROSES) == 0.0
    assert value("mr_niah", "抱歉", ROSES) == 0.0
    assert value("mr_niah", ROSES, ROSES) == 1.0


def test_mr_niah_rows_keep_their_length_and_depth(tmp_path):
    messages = [
        {"role": r, "content": c} for r, c in zip(("user", "assistant", "user"), ("Poem", ROSES, "again"), strict=True)
    ]
    row = {"messages": messages, "label": ROSES, "length_class": 2048}
    _, built = samples(table(tmp_path, "mr_niah", row), "mr_niah")
    sample = built.sample(0)
    assert sample.messages == messages
    assert (sample.metadata["length"], sample.metadata["depth"], sample.gold) == (2048, 33, ROSES)


@pytest.mark.parametrize(
    ("subtask", "text", "target", "question", "expected"),
    [
        ("qa1", "The kitchen. Or the garden.", "kitchen", "Where is Mary?", 1),
        ("qa1", "kitchen or garden", "kitchen", "Where is Mary?", 0),
        ("qa2", "From the garden to the KITCHEN", "kitchen", "Where was it before the garden?", 1),
        ("qa8", "milk and apple", "apple,milk", "What has John?", 1),
        ("qa8", "milk", "apple,milk", "What has John?", 0),
        ("qa19", "n,w", "n,w", "How do you go?", 1),
        ("qa6", "maybe", "yes", "Is Mary here?", 0),
    ],
)
def test_babilong_accepts_the_right_label_and_no_other(subtask, text, target, question, expected):
    assert value("babilong", text, target, subtask=subtask, question=question) == expected


def test_babilong_takes_its_subtasks_and_lengths_from_one_file_too(tmp_path):
    rows = [
        {"input": f"{split} {config} {i}", "question": "Where?", "target": "kitchen", "split": split, "config": config}
        for split in ("qa1", "qa2")
        for config in ("4k", "16k")
        for i in range(3)
    ]
    _, built = samples(
        table(tmp_path, "babilong", *rows), "babilong", "lengths=[4k, 16k]", "subtasks=[qa2]", "samples=2"
    )
    assert len(built) == 4
    sample = built.sample(3)
    assert "qa2 16k 1" in sample.messages[0]["content"]
    assert (sample.metadata["length"], sample.metadata["subtask"]) == (16384, "qa2")


@pytest.mark.parametrize(
    ("subtask", "text", "answers", "letter", "expected"),
    [
        ("passkey", "The key is 71432.", ["71432"], None, 1),
        ("passkey", "1. 71432", ["71432"], None, 0),
        ("kv_retrieval", 'The value: "ab-12".', ["ab-12"], None, 1),
        ("longdialogue_qa_eng", "it was Anna.", ["ANNA"], None, 1),
        ("longbook_choice_eng", "B. because", ["the text"], "B", 1),
        ("longbook_choice_eng", "I think the answer is: C", ["the text"], "C", 1),
        ("longbook_choice_eng", "C is wrong, B", ["the text"], "B", 1),  # the last lone letter
        ("longbook_choice_eng", "C is wrong\nB", ["the text"], "B", 0),  # of the first line
        ("longdialogue_qa_eng", "stamp paid", ["STAMP PAID"], None, 1),
        ("longdialogue_qa_eng", "It is Bill Ecker", ["ECKER", "COMMANDER BILL ECKER"], None, 1),
        ("longdialogue_qa_eng", "It is Bill", ["ECKER", "COMMANDER BILL ECKER"], None, 0),
        ("longbook_qa_eng", "the red house", ["A red house!"], None, 1),
        ("longbook_qa_eng", "house", ["red house"], None, 2 / 3),
        ("longbook_qa_chn", "张三。", ["张三"], None, 1),
        ("math_find", "It is 4.5", [4.5], None, 1),
        ("math_find", "12", [12], None, 1),
        ("math_calc", "[1, 3, 7]", [1, 3, 6, 10], None, 0.5),
        ("code_run", "It returns -7", [-7], None, 1),
        ("code_debug", "The answer is: B", ["f2"], "B", 1),
        ("code_debug", "The answer is: f2", ["f2"], "B", 1),
        ("code_debug", "B", ["f2"], "B", 1),
        ("code_debug", "f2 has it", ["f2"], "B", 1),
        ("code_debug", "not f2", ["f2"], "B", 0),
    ],
)
def test_infinitebench_has_a_rule_for_each_task(subtask, text, answers, letter, expected):
    assert value("infinitebench", text, subtask=subtask, answers=answers, letter=letter) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scorer", "metadata"),
    [
        ("infinitebench", {"subtask": "math_calc", "answers": [[]]}),
        ("infinitebench", {"subtask": "longdialogue_qa_eng", "answers": [""]}),
        ("infinitebench", {"subtask": "longbook_choice_eng", "answers": ["Ann", " "]}),
        ("infinitebench", {"subtask": "code_debug", "answers": [""]}),
        ("ruler", {"outputs": [""]}),
        ("ruler", {"outputs": ["a", " "]}),
    ],
)
def test_a_reference_without_anything_in_it_is_named_and_makes_nothing_right(scorer, metadata):
    with pytest.raises(UsageError, match=r"sample s\b"):
        value(scorer, "The answer is: 5", **metadata)


def test_infinitebench_builds_every_task_and_its_gold_scores_one(tmp_path):
    rows = [
        ("passkey", "x 12345 y", "What is the pass key?", ["12345"], []),
        ("number_string", "t 999", "What is the number?", ["999"], []),
        ("kv_retrieval", '{"a": "b-1"}', 'Key: "a"', ["b-1"], []),
        ("longbook_qa_eng", "Book", "Who?", ["John Smith"], []),
        ("longbook_choice_eng", "Book", "Who?", ["x2"], ["x1", "x2", "x3", "x4"]),
        ("longdialogue_qa_eng", "$$MASK$$: hi", "", ["ANNA"], []),
        ("math_find", "[1, 2, 3]", "The largest number of the list is:", ["3"], []),
        ("math_calc", "1 + 2 + 3", "", [1, 3, 6], []),
        ("code_run", "def func_1(x): ...", "the return value of func_1(7).", ["7"], []),
        ("code_debug", "def f(): ...", "", ["f2"], ["f1", "f2", "f3", "f4"]),
        ("longbook_qa_chn", "书", "谁？", ["张三"], []),
    ]
    columns = ("subtask", "context", "input", "answer", "options")
    folder = table(tmp_path, "infinitebench", *(dict(zip(columns, row, strict=True)) for row in rows))
    loaded, built = samples(folder, "infinitebench")
    assert len(built) == len(rows)
    for i in range(len(built)):
        sample = built.sample(i)
        score = asyncio.run(loaded.scorer.score(Output(text=sample.gold or ""), sample, SimpleNamespace()))
        assert (score.value, classify(Output(text="x"), score)) == (1.0, "right"), sample.id
        assert sample.prefix_key
    text = built.sample([built.id(i) for i in range(len(built))].index("code_run-9")).messages[0]["content"]
    assert "one of them called func_1." in text
    assert "What does func_1(7) return?" in text


def mrcr_rows(*characters: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": json.dumps([{"role": "user", "content": "word " * (n // 5)}]),
            "answer": "abcdefghij",
            "random_string_to_prepend": "abcdefghij",
            "n_needles": 4,
            "n_chars": n,
        }
        for n in characters
    ]


def test_mrcr_samples_know_their_bin_and_128k_leaves_the_longer_ones_out(tmp_path, monkeypatch):
    monkeypatch.setenv("M1EVAL_CACHE", str(tmp_path / "cache"))
    sizes = (20_000, 100_000, 400_000, 900_000, 3_000_000)
    for name in ("mrcr", "mrcr_128k"):
        table(tmp_path, name, *mrcr_rows(*sizes))
    _, whole = samples(tmp_path, "mrcr")
    _, shorter = samples(tmp_path, "mrcr_128k")
    assert [whole.id(i) for i in range(len(whole))] == [f"mrcr-{i}" for i in range(1, 6)]
    loaded = [whole.sample(i) for i in range(len(whole))]
    assert all(sample.metadata["o200k_tokens"] <= sample.metadata["length"] for sample in loaded)
    assert all(2 * sample.metadata["o200k_tokens"] > sample.metadata["length"] for sample in loaded[1:])
    assert loaded[0].metadata["bin"] == "4k-8k"
    assert [shorter.id(i) for i in range(len(shorter))] == [
        sample.id for sample in loaded if sample.metadata["o200k_tokens"] <= 131_072
    ]
    assert loaded[0].metadata["counted_by"] in {"o200k_base", "the model's tokenizer"}
