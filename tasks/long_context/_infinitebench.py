"""InfiniteBench's rows as samples: a context, a question, choices where there are some."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import LazySample

from ._haystack.token_counter import user

CHOICES = "A. {a}\nB. {b}\nC. {c}\nD. {d}"
ASK = {
    "passkey": ("A pass key is hidden in the text below. Find it.\n\n", "\n\n{input}"),
    "number_string": ("A long number is hidden in the text below. Find it.\n\n", "\n\n{input}"),
    "kv_retrieval": ("Find the value of one key in the JSON object below.\n\n", "\n\n{input}"),
    "longbook_qa_eng": ("Read the book below; a question follows.\n\n", "\n\nQuestion: {input}\nAnswer very briefly."),
    "longbook_qa_chn": ("请阅读下面的书，然后回答一个问题。\n\n", "\n\n问题：{input}\n请用尽量少的字回答。"),
    "longbook_choice_eng": (
        "Read the book below; a question with four choices follows.\n\n",
        "\n\nQuestion: {input}\n" + CHOICES + "\n\nAnswer with the letter of the right choice alone.",
    ),
    "longbook_sum_eng": ("Read the book below; then sum it up.\n\n", "\n\nSum the book up."),
    "longdialogue_qa_eng": (
        "In the script below one name of a character is replaced by $$MASK$$. Find out whose it is.\n\n",
        "\n\nWho is $$MASK$$? Answer with the name alone, as it stands before the colons of the script.",
    ),
    "math_find": ("{prompt}\n\n", "\n\n{input}"),
    "math_calc": (
        "Work out the expression below from left to right, and write down each result on the way.\n\n",
        "\n\nWrite the results as a list of numbers, the first number of the expression first.",
    ),
    "code_run": (
        "Below are functions in Python, one of them called {function}.\n\n",
        "\n\nWhat does {call} return? End your answer with that number.",
    ),
    "code_debug": (
        "In one function of the project below an obvious error was put on purpose.\n\n",
        "\n\nWhich function has the error?\n" + CHOICES + "\n\nEnd with: The answer is: and the letter.",
    ),
}
"""The text before and after the context."""


def samples(
    *, table: Callable[..., Any], subtasks: Sequence[str], samples: int, texts: Mapping[str, Any] | None = None
) -> Iterator[LazySample]:
    """The first `samples` rows of each subtask; rows about one context have one prefix key and follow one another.

    `texts`: the authors' `templates` by subtask and the system message of their `calculator`; else our own are used.
    """
    for subtask in subtasks:
        if subtask not in ASK:
            raise ValueError(f"no subtask '{subtask}': they are {', '.join(ASK)}")
        rows = table(files=[f"{subtask}.jsonl"])
        numbers = [i for i in range(len(rows)) if str(rows[i].get("subtask", subtask)) == subtask][:samples]
        for i in numbers:
            key = hashlib.sha256(rows[i]["context"].encode("utf-8", "replace")).hexdigest()[:16]
            build = partial(_row, rows, i, subtask, texts or {})
            yield LazySample(
                id=f"{subtask}-{i + 1}", build=build, prefix_key=f"{subtask}-{key}", columns={"subtask": subtask}
            )


def _row(rows: Sequence[Mapping[str, Any]], i: int, subtask: str, texts: Mapping[str, Any]) -> dict[str, Any]:
    row = rows[i]
    options, answers = list(row.get("options") or []), row["answer"]
    answers = list(answers) if isinstance(answers, list | tuple) else [answers]
    letters = dict(zip("abcd", options, strict=False))
    call = re.search(r"(func_\d+)\(.*?\)", str(row["input"]))
    words = {
        "input": row["input"],
        "prompt": _math_question(str(row["input"])),
        "function": call[1] if call else "",
        "call": call[0] if call else "",
        **{key: letters.get(key, "") for key in "abcd"},
    }
    if texts:
        messages = _official_messages(row, subtask, options, texts)
    else:
        head, tail = (text.format(**words) for text in ASK[subtask])
        messages = [user(f"{head}{row['context']}{tail}")]
    letter = "ABCD"[options.index(answers[0])] if options and answers[0] in options else None
    return {"messages": messages, "answers": answers, "letter": letter, "subtask": subtask}


def _math_question(text: str) -> str:
    """The question about a list of numbers, asked before the list too."""
    match = re.search(r"(The .*? of the list|.*?) is", text)
    return f"Which number is {match[1][0].lower()}{match[1][1:]} below?" if match else "Read the list of numbers below."


def _official_messages(
    row: Mapping[str, Any], subtask: str, options: Sequence[str], texts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The messages of eval_gpt4.py: a system message and a template, and for sums a dialogue that shows the form."""
    context, question = str(row["context"]), str(row["input"])
    if subtask == "math_calc":
        example = [{"role": "user", "content": "1 + 2 - 4 - 10"}, {"role": "system", "content": "[1, 3, -1, -11]"}]
        return [{"role": "system", "content": texts["calculator"]}, *example, user(context)]
    call = re.search(r"func_[0-9]+\(-?[0-9]+\)", question)
    number = re.search(r"The .+ of", question)
    words = {
        "context": context,
        "input": question,
        "question": question,
        "func_call": call[0] if call else "",
        "func": call[0].partition("(")[0] if call else "",
        "prefix": f"What is {number[0].lower()[:-3]} in the following list?" if number else "",
        **{f"OPTION_{letter}": option for letter, option in zip("ABCD", options, strict=False)},
    }
    prompt = texts["templates"][subtask].format(**words)
    return [{"role": "system", "content": "You are a helpful assistant"}, user(prompt)]
