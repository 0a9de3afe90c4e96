"""Stand-ins for the datasets of the hub: the files and columns of each as it is published, with rows of our own.

Every set has odd rows: signs of other writing systems, long cells, empty strings and nulls where a column may have
them, columns that no task uses. The cards (README.md) have what decides how `datasets` reads a repository.
"""

# ruff: noqa: E501 - a row of a table is a line

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tests.tasks.hub import Repository
from tests.tasks.hub_files import IMAGE, PNG, card, columns, comma, jsonl, table

LONG = "x + y ≠ 0 и ещё, " * 20_000
STRINGS = pa.list_(pa.string())
S, I, F = pa.string(), pa.int64(), pa.float64()  # noqa: E741

PROBLEMS = ("What is $1+1$?", "Naïve “№ 1”: 数は？", LONG)
AIME = [
    {"id": 60 + i, "problem": p, "solution": "…", "answer": f"{i:03}", "url": "", "year": "2024"}
    for i, p in enumerate(PROBLEMS)
]
AMC = [{"id": i, "answer": float(27 * i), "question": p, "url": None} for i, p in enumerate(PROBLEMS)]
HMMT = [
    {"problem_idx": i, "answer": a, "problem_type": ["Algebra"][:i], "problem": p}
    for i, (p, a) in enumerate(zip(PROBLEMS, ("117", "\\frac{1}{320}", "2-\\frac{3}{\\pi}"), strict=True))
]
MATH = [
    {
        "problem": p,
        "solution": "…",
        "answer": a,
        "subject": "Algebra",
        "level": 5,
        "unique_id": f"test/algebra/{i}.json",
    }
    for i, (p, a) in enumerate(
        zip(PROBLEMS, ("\\left( 5, \\frac{\\pi}{3} \\right)", "12,\\! 345", "[2,7)"), strict=True)
    )
]
MINERVA = [{"question": p, "answer": a} for p, a in zip(PROBLEMS, ("3e21", "\\frac{2}{s+5}", "4.7"), strict=True)]
OLYMPIAD = [
    {
        "id": 1606 + i, "question": f" {p}\n", "solution": ["a", "b"], "final_answer": answers, "context": None,
        "image_1": None, "modality": "Text-only", "difficulty": "Competition", "is_multiple_answer": len(answers) > 1,
        "unit": unit, "answer_type": "Numerical", "error": None, "question_type": "Open-ended",
        "subfield": "Algebra", "subject": "Math", "language": "English",
    }
    for i, (p, answers, unit) in enumerate(
        zip(PROBLEMS, (["2"], ["$\\frac{1}{2}$, $3$"], ["$7$"]), (None, "", "km"), strict=True)
    )
]  # fmt: skip
GPQA = [
    {
        "Pre-Revision Question": "old", "Question": p, "Correct Answer": a, "Incorrect Answer 1": "10^-7 m",
        "Incorrect Answer 2": "ß\n", "Incorrect Answer 3": "12", "Explanation": "", "High-level domain": domain,
        "Subdomain": "", "Record ID": f"rec{i}", "Canary String": "",
    }
    for i, (p, a, domain) in enumerate(zip(PROBLEMS, ("11\n", " α, β", "none of them"), ("Physics", "", "Chemistry"), strict=True))
]  # fmt: skip
HLE = [
    {
        "id": f"66e8{i}", "question": p, "image": image, "image_preview": PNG if image else None, "answer": a,
        "answer_type": "exactMatch", "author_name": "Ö", "rationale": None, "rationale_image": PNG if i else None,
        "raw_subject": "Math", "category": "Math", "canary": "",
    }
    for i, (p, a, image) in enumerate(zip((*PROBLEMS, "What is shown?"), ("2", "yes", "A", "a cat"), ("", None, "", "data:image/png;base64,AA"), strict=True))
]  # fmt: skip
HLE_COLUMNS = columns(**{name: IMAGE if name.endswith(("preview", "e_image")) else S for name in HLE[0]})
MMLU_PRO = [
    {
        "question_id": 70 + i, "question": p, "options": options, "answer": "ABCDEFGHIJ"[i], "answer_index": i,
        "cot_content": cot, "category": "business", "src": "ori_mmlu",
    }
    for i, (p, options, cot) in enumerate(
        zip(PROBLEMS, (["a", "b", "N/A"], list("abcdefghij"), ["α", "", "γ", "N/A", "N/A"]), ("", "A: Let's think step by step. It is a.", ""), strict=True)
    )
]  # fmt: skip
MMLU_PRO_COLUMNS = columns(
    question_id=I, question=S, options=STRINGS, answer=S, answer_index=I, cot_content=S, category=S, src=S
)
AXES = ("INFERENCE_MEMORY", "INSTRUCTION_RETENTION", "SELF_COHERENCE", "RELIABLE_VERSION_EDITING")
TALK = [("user", "Write “Grüße”."), ("assistant", "Grüße"), ("user", LONG)]
CHALLENGE = [
    {
        "question_id": f"6752{i}", "axis": axis, "target_question": "Is it so?", "pass_criteria": ("YES", "NO")[i % 2],
        "conversation": {"role": [r for r, _ in TALK[: 1 + i % 3]], "content": [c for _, c in TALK[: 1 + i % 3]]},
        "num_turns": 1,
    }
    for i, axis in enumerate(AXES)
]  # fmt: skip
CHALLENGE_CARD = b"""---
license: cc-by-4.0
dataset_info:
  features:
  - {name: question_id, dtype: string}
  - {name: axis, dtype: string}
  - name: conversation
    sequence:
    - {name: role, dtype: string}
    - {name: content, dtype: string}
  - {name: target_question, dtype: string}
  - {name: pass_criteria, dtype: string}
  - {name: num_turns, dtype: int32}
  splits:
  - {name: test, num_bytes: 2126003, num_examples: 4}
  download_size: 975319
  dataset_size: 2126003
configs:
- config_name: default
  data_files:
  - split: test
    path: data/test-*
---
"""
CHALLENGE_COLUMNS = columns(
    question_id=S, axis=S, conversation=pa.struct([("role", STRINGS), ("content", STRINGS)]), target_question=S,
    pass_criteria=S, num_turns=pa.int32(),
)  # fmt: skip
FIRST_EDITION = [
    {
        "QUESTION_ID": row["question_id"], "AXIS": row["axis"], "TARGET_QUESTION": "Is it so?",
        "CONVERSATION": [{"role": r, "content": c} for r, c in TALK[: 1 + 2 * (i % 2)]], "PASS_CRITERIA": row["pass_criteria"],
    }
    for i, row in enumerate(CHALLENGE)
]  # fmt: skip
SIMPLEQA = [
    {"metadata": "{'topic': 'Art', 'urls': ['https://a.example']}", "problem": p, "answer": a}
    for p, a in zip(PROBLEMS, ("Ada Öz", "1,234", "3 May, 1931"), strict=True)
]
ZEBRA = [
    {
        "id": f"lgp-test-2x2-{i}", "size": "2*2", "puzzle": p, "created_at": "2024-07-03T21:21:29.211",
        "solution": {"header": ["House", "Name", "Pet"], "rows": [["1", "Ann", "cat"], ["2", "Éric", "gold fish"]]},
    }
    for i, p in enumerate(PROBLEMS)
]  # fmt: skip
ZEBRA_COLUMNS = columns(
    id=S, size=S, puzzle=S, solution=pa.struct([("header", STRINGS), ("rows", pa.list_(STRINGS))]), created_at=S
)


def mrcr(count: int, words: int) -> list[dict[str, Any]]:
    """Conversations of a few turns and one of very many words."""
    rows = []
    for i in range(count):
        poem = "A poem about ferries, №\n" * (words if i == count - 1 else 3)
        chat = [("user", "Write a poem about ferries"), ("assistant", poem), ("user", "Prepend K to the 2nd poem")]
        prompt = json.dumps([{"role": role, "content": text} for role, text in chat], ensure_ascii=False)
        key = f"kQ3vT7Lw{i:02}"
        rows.append({
            "prompt": prompt, "answer": f"{key}A poem, “{i}”", "random_string_to_prepend": key, "n_needles": 4,
            "desired_msg_index": 2 * i, "total_messages": 3, "n_chars": len(prompt),
        })  # fmt: skip
    return rows


MRCR_COLUMNS = columns(
    prompt=S, answer=S, random_string_to_prepend=S, n_needles=I, desired_msg_index=I, total_messages=I, n_chars=I
)
GRAPHS = [
    {"prompt": p, "answer_nodes": nodes, "prompt_chars": len(p), "problem_type": "bfs", "date_added": "2025-04-12"}
    for p, nodes in zip(PROBLEMS, (["a1b2c3", "ffeedd"], [], ["0123456789"]), strict=True)
]
GRAPH_COLUMNS = columns(prompt=S, answer_nodes=STRINGS, prompt_chars=I, problem_type=S, date_added=S)
LONGBENCH = [
    {
        "_id": f"66f{i}", "domain": "Single-Document QA", "sub_domain": "Academic", "difficulty": "hard",
        "length": "short", "question": " Which? ", "choice_A": "a", "choice_B": "b\n", "choice_C": "ç", "choice_D": "",
        "answer": "ABCD"[i], "context": p,
    }
    for i, p in enumerate((*PROBLEMS, PROBLEMS[0]))
]  # fmt: skip
INFINITE = {
    "passkey": ("x 12345 y", "What is the pass key?", ["12345"], []),
    "number_string": ("t 999", "What is the sequence of digits?", ["9998887770"], []),
    "kv_retrieval": ('{"a": "b-1"}', 'Key: "a"\nValue:', ["b-1"], []),
    "longbook_qa_eng": ("Book {not a field} " + LONG, "Who?", ["John Smith", "Mr. Smith"], []),
    "longbook_sum_eng": ("Book", "", ["It is a book."], []),
    "longbook_choice_eng": ("Book", "Who?", ["x2"], ["x1", "x2", "x3", "x4"]),
    "longdialogue_qa_eng": ("$$MASK$$: hi", "Which character?", ["ANNA"], []),
    "math_find": ("[1, 2, 3]", "The largest number of the list is:", [3], []),
    "math_calc": ("1 + 2 + 3", "", [1, 3, 6], []),
    "code_run": ("def func_1(x): ...", "the return value of func_1(7).", [-7], []),
    "code_debug": ("def f(): ...", "", ["f2"], ["f1", "f2", "f3", "f4"]),
    "longbook_qa_chn": ("书", "谁？", ["张三"], []),
}
"""Context, input, answer and options by subtask; each is a file."""
BABI = {
    "qa1": ("Where is Mary? ", "kitchen"), "qa2": ("Where is the milk? ", "garden"),
    "qa3": ("Where was the milk before the garden? ", "kitchen"),
    "qa4": ("What is north of the garden?", "kitchen"), "qa5": ("What did Ida give to Tom?", "milk"),
}  # fmt: skip
LENGTHS = ("0k", "1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k", "512k", "1M")
ARTICLES = [
    {
        "id": f"5ad{i}", "title": f"Title {i // 3}", "context": f"Éire document {i}. " + "It has many words in it. " * 20,
        "question": f"What is {i}?", "answers": {"text": [f"document {i}"] * (i % 4), "answer_start": [5] * (i % 4)},
    }
    for i in range(24)
]  # fmt: skip
ARTICLE_COLUMNS = columns(
    id=S, title=S, context=S, question=S,
    answers=pa.struct([("text", STRINGS), ("answer_start", pa.list_(pa.int32()))]),
)  # fmt: skip
HOPS = [
    {
        "id": f"5a8{i}", "question": f"Which is {i}?", "answer": ("yes", f"Ångström {i}")[i % 2], "type": "bridge",
        "level": "hard", "supporting_facts": {"title": [f"T{i}"], "sent_id": [0]},
        "context": {
            "title": [f"T{i}", f"U{i}"], "sentences": [[f"Ångström {i} is here. ", "So it is. " * 30], ["Else. " * 20]]
        },
    }
    for i in range(24)
]  # fmt: skip
HOP_COLUMNS = columns(
    id=S, question=S, answer=S, type=S, level=S,
    supporting_facts=pa.struct([("title", STRINGS), ("sent_id", pa.list_(pa.int32()))]),
    context=pa.struct([("title", STRINGS), ("sentences", pa.list_(STRINGS))]),
)  # fmt: skip

FIXED_MRCR = "f4c69fae7cf81f7ca26b9fee34b392a50f6b8a1d"
FILES: dict[str, dict[str, bytes]] = {
    "HuggingFaceH4/aime_2024": {
        "README.md": card(default={"train": "data/train-*"}),
        "data/train-00000-of-00001.parquet": table(AIME, columns(id=I, problem=S, solution=S, answer=S, url=S, year=S)),
    },
    "math-ai/aime25": {
        "test.jsonl": jsonl([{"problem": r["problem"], "answer": str(r["id"]), "id": str(i)} for i, r in enumerate(AIME)])
    },
    "zwhe99/amc23": {
        "README.md": card(default={"test": "data/test-*"}),
        "data/test-00000-of-00001.parquet": table(AMC, columns(id=I, answer=F, question=S, url=S)),
    },
    "MathArena/hmmt_feb_2025": {
        "README.md": card(default={"train": "data/train-*"}),
        "data/train-00000-of-00001.parquet": table(
            HMMT, columns(problem_idx=I, answer=S, problem_type=STRINGS, problem=S)
        ),
    },
    "HuggingFaceH4/MATH-500": {"README.md": b"---\nlanguage:\n- en\n---\n", "test.jsonl": jsonl(MATH)},
    "math-ai/minervamath": {"README.md": b"# Minerva\n", "test.jsonl": jsonl(MINERVA)},
    "Hothan/OlympiadBench": {
        "README.md": card(
            OE_MM_maths_en_COMP={"train": "OlympiadBench/OE_MM_maths_en_COMP/*"},
            OE_TO_maths_en_COMP={"train": "OlympiadBench/OE_TO_maths_en_COMP/*"},
        ),
        **{
            f"OlympiadBench/{name}/{name}.parquet": table(
                OLYMPIAD,
                columns(
                    id=I, question=S, solution=STRINGS, final_answer=STRINGS, context=S, image_1=IMAGE, modality=S,
                    difficulty=S, is_multiple_answer=pa.bool_(), unit=S, answer_type=S, error=S, question_type=S,
                    subfield=S, subject=S, language=S,
                ).remove_metadata(),
            )
            for name in ("OE_MM_maths_en_COMP", "OE_TO_maths_en_COMP")
        },
    },
    "Idavidrein/gpqa": {
        "README.md": card(
            **{f"gpqa_{name}": {"train": f"gpqa_{name}.csv"} for name in ("extended", "main", "diamond", "experts")}
        ),
        **{f"gpqa_{name}.csv": comma(GPQA) for name in ("extended", "main", "diamond", "experts")},
    },
    "cais/hle": {
        "README.md": card(default={"test": "data/test-*"}),
        "data/test-00000-of-00001.parquet": table(HLE, HLE_COLUMNS),
    },
    "TIGER-Lab/MMLU-Pro": {
        "README.md": card(default={"test": "data/test-*", "validation": "data/validation-*"}),
        "data/test-00000-of-00001.parquet": table(MMLU_PRO, MMLU_PRO_COLUMNS),
        "data/validation-00000-of-00001.parquet": table(MMLU_PRO[1:2], MMLU_PRO_COLUMNS),
    },
    "ScaleAI/MultiChallenge": {
        "README.md": CHALLENGE_CARD,
        "data/test-00000-of-00001.parquet": table(CHALLENGE, CHALLENGE_COLUMNS),
    },
    "basicv8vc/SimpleQA": {"README.md": b"---\nlicense: mit\n---\n", "simple_qa_test_set.csv": comma(SIMPLEQA)},
    **{
        name: {
            "README.md": card(grid_mode={"test": "grid_mode/test-*"}, mc_mode={"test": "mc_mode/test-*"}),
            "grid_mode/test-00000-of-00001.parquet": table(ZEBRA, ZEBRA_COLUMNS),
            "mc_mode/test-00000-of-00001.parquet": table([{"id": "m"}], columns(id=S)),
        }
        for name in ("allenai/ZebraLogicBench-private", "WildEval/ZebraLogic")
    },
    "openai/mrcr": {
        "README.md": b"---\nlicense: mit\n---\n",
        **{f"{n}needle.parquet": table(mrcr(n // 2 + 1, 40_000), MRCR_COLUMNS) for n in (2, 4, 8)},
    },
    "openai/graphwalks": {
        "README.md": b"---\nlicense: mit\n---\n",
        "graphwalks_128k_and_shorter.parquet": table(GRAPHS, GRAPH_COLUMNS),
        "graphwalks_256k_to_1mil.parquet": table(GRAPHS[:1], GRAPH_COLUMNS),
    },
    "zai-org/LongBench-v2": {
        "README.md": card(default={"train": "data.json"}),
        "data.json": json.dumps(LONGBENCH, ensure_ascii=False, indent=1).encode(),
    },
    "xinrongzhang2022/InfiniteBench": {
        "README.md": card(default={name: f"{name}.jsonl" for name in INFINITE}),
        **{
            f"{name}.jsonl": jsonl(
                [{"id": i, "context": c, "input": q, "answer": a, "options": o} for i in range(2)]
            )
            for name, (c, q, a, o) in INFINITE.items()
        },
    },
    "RMT-team/babilong": {
        "README.md": card(**{
            f"_{length}": {subtask: f"data/{subtask}/{length}.json" for subtask in BABI} for length in LENGTHS
        }),
        **{
            f"data/{subtask}/{length}.json": json.dumps(
                [{"target": a, "input": f"Книга {length}. Mary went on. ", "question": q}] * 2, ensure_ascii=False
            ).encode()
            for subtask, (q, a) in BABI.items()
            for length in LENGTHS
        },
    },
    "rajpurkar/squad_v2": {
        "README.md": card(squad_v2={"train": "squad_v2/train-*", "validation": "squad_v2/validation-*"}),
        **{f"squad_v2/{split}-00000-of-00001.parquet": table(ARTICLES, ARTICLE_COLUMNS) for split in ("train", "validation")},
    },
    "hotpotqa/hotpot_qa": {
        "README.md": card(
            distractor={"validation": "distractor/validation-*"}, fullwiki={"validation": "fullwiki/validation-*"}
        ),
        **{f"{name}/validation-00000-of-00001.parquet": table(HOPS, HOP_COLUMNS) for name in ("distractor", "fullwiki")},
    },
}  # fmt: skip
GATED = {"Idavidrein/gpqa", "cais/hle", "allenai/ZebraLogicBench-private"}


def repositories(pins: Mapping[str, str]) -> dict[str, Repository]:
    """The repositories at the commits that the tasks pin, each with a `main` that has moved on."""
    hub = {}
    for name, files in FILES.items():
        moved = {path: content for path, content in files.items() if path == "README.md"}
        later = moved | {"data/nothing-here.jsonl": jsonl([{"moved": "on"}])}
        hub[name] = Repository({pins[name]: files, "f" * 40: later}, {"main": "f" * 40}, gated=name in GATED)
    fixed = {f"4needle/4needle_{i}.parquet": table(mrcr(2 + i, 10), MRCR_COLUMNS) for i in (0, 1)}
    hub["openai/mrcr"].commits[FIXED_MRCR] = {"README.md": b"---\nlicense: mit\n---\n", **fixed}
    return hub


def niah(length: int) -> bytes:
    """A file of MR-NIAH."""
    poem = "Bright as a lamp, quiet and slow,\nLeaves all in order, row upon row."
    chat = [("user", "Write a poem about roses"), ("assistant", poem), ("user", "Repeat the poem about roses")]
    messages = [{"role": role, "content": text} for role, text in chat]
    return jsonl([{"messages": messages * (1 + i), "label": poem, "length_class": length} for i in range(2)])


OUTSIDE = {
    "benchmark_questions.jsonl": jsonl(FIRST_EDITION), "2048_tokens.jsonl": niah(2048), "10240_tokens.jsonl": niah(10240)
}  # fmt: skip
"""The files that tasks take from elsewhere than the hub, by name."""
