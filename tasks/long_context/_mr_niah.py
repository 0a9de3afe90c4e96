"""MR-NIAH's rows as samples: conversations with their length class and the place of what is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from m1eval import LazySample


def samples(*, rows: Sequence[Mapping[str, Any]]) -> Iterator[LazySample]:
    """MR-NIAH rows with `length` (the length class) and `depth` (percent of the messages before the wanted one)."""
    width = len(str(len(rows)))
    for i in range(len(rows)):
        columns = {"length": rows[i].get("length_class")}
        yield LazySample(id=f"mr_niah-{i + 1:0{width}}", build=partial(_row, rows, i), columns=columns)


def _row(rows: Sequence[Mapping[str, Any]], i: int) -> dict[str, Any]:
    row = dict(rows[i])
    messages = [dict(message) for message in row["messages"]]
    place = next((j for j, message in enumerate(messages) if message["content"] == row["label"]), None)
    depth = {} if place is None else {"depth": round(100 * place / len(messages))}
    return {"messages": messages, "label": row["label"], "length": int(row["length_class"]), **depth}
