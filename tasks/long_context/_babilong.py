"""BABILong's rows as samples: a text with facts in it, and a question."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import LazySample
from m1eval.text import parse_tokens

from ._haystack.token_counter import user

HEAD = (
    "In the following text, facts about people, places and things are scattered among much else. "
    "Answer the question by these facts alone; where they change, the latest counts.\n\n<context>\n"
)
TAIL = "\n</context>\n\nQuestion: {question}\nAnswer with as few words as possible, and write nothing else."

SHORT = {f"qa{number}" for number in range(11, 21)}
"""The subtasks that the authors did not put into longer texts."""


def samples(
    *,
    table: Callable[..., Any],
    lengths: Sequence[str],
    subtasks: Sequence[str],
    samples: int,
    texts: Mapping[str, Any] | None = None,
) -> Iterator[LazySample]:
    """The first `samples` rows of each subtask and length; columns `subtask` and `length` (tokens of GPT-2, about).

    `texts`: the authors' `prompts` by subtask and the templates `task` and `user` that take them; without, our own.
    """
    for name in map(str, lengths):
        for subtask in subtasks:
            if subtask in SHORT and name != "0k":
                raise ValueError(f"{subtask} exists at 0k alone, as do qa11 to qa20; {name} has qa1 to qa10")
            rows = table(config=name, split=subtask)
            numbers = [i for i in range(len(rows)) if _belongs(rows[i], name, subtask)]
            for i in numbers[:samples]:
                build = partial(_row, rows, i, name, subtask, texts or {})
                columns = {"length": name, "subtask": subtask}
                yield LazySample(id=f"{subtask}-{name}-{i + 1}", build=build, columns=columns)


def _belongs(row: Mapping[str, Any], length: str, subtask: str) -> bool:
    """Whether a row is of these; in a file of one's own, columns of these names may say so."""
    return str(row.get("config", length)) == length and str(row.get("split", subtask)) == subtask


def _row(
    rows: Sequence[Mapping[str, Any]], i: int, name: str, subtask: str, texts: Mapping[str, Any]
) -> dict[str, Any]:
    row = rows[i]
    if texts:
        text = _official_prompt(row, texts["prompts"][subtask], f"{texts['task']}\n\n{texts['user']}")
    else:
        text = f"{HEAD}{row['input'].strip()}{TAIL.format(question=row['question'].strip())}"
    length = parse_tokens(name)
    return {
        "messages": [user(text)],
        "question": row["question"],
        "target": row["target"],
        "subtask": subtask,
        "length": length,
    }


def _official_prompt(row: Mapping[str, Any], prompt: Mapping[str, str], template: str) -> str:
    """The prompt of babilong/prompts.py, get_formatted_input, with instruction, examples and form of the answer."""
    pad = template.format(
        instruction=prompt["instruction"],
        examples=prompt["examples"],
        post_prompt=prompt["post_prompt"],
        context=row["input"].strip(),
        question=row["question"],
    )
    return pad.strip()
