"""The answers of a run as a reader sees them, for `m1eval show`."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from m1eval.errors import UsageError
from m1eval.store.record import Record
from m1eval.store.stored import StoredRun
from m1eval.text import format_count
from m1eval.types import JudgeReply, Message

LONGEST = 600
"""Characters of a prompt or an answer that are shown without `--full`."""


def select(
    run: StoredRun, *, outcomes: Collection[str] = (), ids: Collection[str] = (), limit: int | None = None
) -> list[Record]:
    """The records with one of the outcomes and ids, in the order of the journal."""
    records = (
        record
        for record in run.records()
        if (not outcomes or record.outcome in outcomes) and (not ids or record.id in ids)
    )
    return list(islice(records, limit))


def stored_prompts(run: StoredRun, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The stored prompts of samples: messages, or size and hash of those that were too long."""
    try:
        return {prompt["id"]: prompt for prompt in run.prompts() if prompt["id"] in ids}
    except UsageError:
        return {}


def as_json(record: Record, prompt: Mapping[str, Any] | None) -> dict[str, Any]:
    """A record with its prompt, as plain data."""
    data: dict[str, Any] = msgspec.to_builtins(record)
    return {**data, "value": record.value, "messages": (prompt or {}).get("messages")}


def as_text(record: Record, prompt: Mapping[str, Any] | None, *, full: bool = False) -> str:
    """A record as a few paragraphs."""
    score = "" if record.value is None else f"  score {record.value:g}"
    rule = f"  ({record.explanation})" if record.explanation else ""
    usage = record.usage
    tokens = {"prompt": usage.prompt, "reasoning": usage.reasoning, "answer": usage.answer}
    lines = [f"{record.id}  repeat {record.repeat}  {record.outcome}{score}{rule}"]
    if any(tokens.values()):
        lines.append("tokens: " + ", ".join(f"{name} {format_count(count)}" for name, count in tokens.items()))
    if record.graded:
        lines.append("graded again after the run")
    parts = [("target", record.target), ("answer", "none" if record.answer is None else record.answer)]
    parts += [("error", record.error or ""), ("prompt", _prompt(prompt, full=full))]
    parts += [("reasoning", _reasoning(record.reasoning, full=full)), ("text", _shortened(record.text, full=full))]
    parts += [("tool calls", "\n".join(map(_dumped, record.tool_calls)))]
    parts += [(f"judge {reply.judge}", _reply(reply, full=full)) for reply in (*record.verdicts, *record.judge_replies)]
    if full:
        parts += [("transcript", "\n".join(f"{entry.get('role')}: {_content(entry)}" for entry in record.transcript))]
    return "\n".join([*lines, *(_labelled(label, text) for label, text in parts if text), ""])


def _prompt(prompt: Mapping[str, Any] | None, *, full: bool) -> str:
    if prompt is None:
        return ""
    if "messages" not in prompt:
        return f"{prompt.get('bytes', 0):,} bytes, too long to be stored"
    messages: Sequence[Message] = prompt["messages"]
    return _shortened("\n".join(f"{message.get('role')}: {_content(message)}" for message in messages), full=full)


def _content(message: Message) -> str:
    parts: Iterator[Any] = (message.get(key) for key in ("content", "tool_calls"))
    return " ".join(part if isinstance(part, str) else _dumped(part) for part in parts if part)


def _reasoning(reasoning: str, *, full: bool) -> str:
    return reasoning if full or not reasoning else f"{len(reasoning):,} characters"


def _reply(reply: JudgeReply, *, full: bool) -> str:
    return _shortened(reply.text, full=full) + (f"\n({reply.error})" if reply.error else "")


def _shortened(text: str, *, full: bool) -> str:
    """A text without its middle."""
    if full or len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]} […{len(text) - 2 * half:,} characters…] {text[-half:]}"


def _labelled(label: str, text: str) -> str:
    """`label: text`, or the text below the label and indented if it has several lines."""
    text = text.strip("\n")
    return f"{label}: {text}" if "\n" not in text else "\n".join([f"{label}:", *(f"    {t}" for t in text.split("\n"))])


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
