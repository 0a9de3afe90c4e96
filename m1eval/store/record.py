"""A record of a (sample, repeat): its fields, its encoding as a journal line, and the checks of lines that are read."""

import json
import math
from collections.abc import Mapping, Set
from typing import Any

import msgspec
from msgspec import Struct, field

from m1eval import secrets
from m1eval.types import MAX_REPEATS, FinishReason, JudgeReply, Outcome, Timing, Usage
from m1eval.validation import MAX_AMOUNT, MAX_TOKENS, as_number, as_timing, as_usage


class Record(Struct, kw_only=True, omit_defaults=True):
    """The record of one (sample, repeat)."""

    id: str
    repeat: int
    outcome: Outcome
    value: float | None = None
    """The score in [0, 1]; None for errored ones alone, so that nobody takes them for wrong."""
    answer: str | None = None
    target: str = ""
    explanation: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    verdicts: list[JudgeReply] = field(default_factory=list)
    judge_replies: list[JudgeReply] = field(default_factory=list)
    """Other replies of judges: those that were unclear or cut off, and all replies if they gave no grade."""
    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    transcript: list[dict[str, Any]] = field(default_factory=list)
    """All messages and outputs of an episode of several requests, as `m1eval.run.transcript` describes them."""
    logprobs: list[float] | None = None
    finish_reason: FinishReason | None = None
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    retries: int = 0
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    cluster: str = ""
    """Samples of one cluster share a text, so that their scores are not independent."""
    digest: str = ""
    """Digest of prompt and target, by which samples of two runs are paired."""
    group: str = ""
    """The group that the sample is averaged in first (`average` of the task)."""
    graded: int = 0
    """The number of its grading; 0: graded when it was answered, by the run's first scorer."""
    time: float = 0.0
    """Seconds since 1970 when it was finished."""

    def __post_init__(self) -> None:
        if self.outcome == "errored":
            self.value = self.value or None
        elif self.value is None:  # lines of earlier versions leave 0 out
            self.value = 0.0

    @property
    def score(self) -> float:
        """The value of a record that has one; 0 for an errored one."""
        return self.value or 0.0


class RecordHeader(Struct):
    """The part of a record that planning and counting need."""

    id: str
    repeat: int
    outcome: Outcome
    value: float | None = 0.0
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    seed: int | None = None
    error: str | None = None
    """Error message; once counted, the name of its kind."""
    cluster: str = ""
    group: str = ""
    graded: int = 0


_decode_line = msgspec.json.Decoder(RecordHeader).decode
MAX_DEPTH = 64
"""Levels of nesting in what a plugin puts into a record; deeper parts are kept as the name of their type."""


def fault(line: "RecordHeader | Record") -> str:
    """Fault of a journal line; empty if it may count."""
    usage, total, seed, value = line.usage, line.timing.total, line.seed, line.value or 0.0
    if (
        (value == (line.outcome == "right") or (line.outcome == "partial" and 0 < value < 1))
        and 0 <= line.repeat < MAX_REPEATS
        and 0 <= usage.shared <= usage.prompt < MAX_TOKENS
        and 0 <= usage.cached < MAX_TOKENS
        and 0 <= usage.reasoning < MAX_TOKENS
        and 0 <= usage.answer < MAX_TOKENS
        and (usage.cost is None or 0 <= usage.cost < MAX_AMOUNT)
        and 0 <= total < MAX_AMOUNT
        and (seed is None or -(2**63) <= seed < 2**63)
    ):
        return ""
    if value != (line.outcome == "right") and not (line.outcome == "partial" and 0 < value < 1):
        why = f"none of outcome {line.outcome}" if 0 <= value <= 1 else "not in [0, 1]"
        return f"score {value:g} is {why}"
    if not 0 <= line.repeat < MAX_REPEATS:
        return f"repeat {_brief(line.repeat)} is not in [0, {MAX_REPEATS:,})"
    if seed is not None and not -(2**63) <= seed < 2**63:
        return f"seed {_brief(seed)} has more than 64 bits"
    if not 0 <= total < MAX_AMOUNT:
        return f"a time of {total:g} s cannot be"
    return "its usage is negative or more than can be"


def _brief(number: int) -> str:
    return f"{number:.3g}" if abs(number) >= 10**15 and abs(number) < 10**300 else str(number)[:20]


def encode_json(value: Any) -> bytes:
    """JSON of whatever a runner or an episode has put into a record: odd objects as text, half characters replaced."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
        return json.dumps(_plain(value), ensure_ascii=False).encode("utf-8", "replace")


def _plain(value: Any, depth: int = 0) -> Any:
    """JSON's own types from anything: keys and odd objects as text, numbers that JSON does not have as null."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        number = int(value) if isinstance(value, int) else float(value) if math.isfinite(value) else None
        return str(number) if isinstance(number, int) and not -(2**63) <= number < 2**64 else number
    if depth == MAX_DEPTH:
        return type(value).__name__
    if isinstance(value, Struct):
        return {name: _plain(getattr(value, name), depth + 1) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(each, depth + 1) for key, each in value.items()}
    return [_plain(each, depth + 1) for each in value] if isinstance(value, list | tuple | Set) else str(value)


def parse_record(raw: bytes) -> Record | None:
    """The record of a line; only the fields that count if another field is invalid."""
    try:
        record = _decode_record(raw)
    except _NO_RECORD:
        line = parse_header(raw)
        return Record(**msgspec.structs.asdict(line)) if isinstance(line, RecordHeader) else None
    return None if fault(record) else record


_decode_record = msgspec.json.Decoder(Record).decode
_NO_RECORD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_header(raw: bytes) -> RecordHeader | str:
    """The header of a line, or its fault; an empty text if it is torn."""
    try:
        line = _decode_line(raw)
    except msgspec.ValidationError as error:
        return " ".join(str(error).split())
    except RecursionError:
        return "it is nested too deep"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return fault(line) or line


def encode_record(record: Record) -> bytes:
    """A record as a line that reads back as it was; one that cannot be written becomes `errored` and says why.

    Changes the record to what was written.
    """
    try:
        if record.value is not None:
            record.value = as_number(record.value)
        as_usage(record.usage)
        as_timing(record.timing)
        return _check_round_trip(record)
    except Exception as error:  # noqa: BLE001 - the sample boundary: whatever a plugin has put into a record
        record.outcome, record.value, record.answer = "errored", None, None
        record.error = f"{type(error).__name__}: what this sample gave cannot be kept: {error}"
    record.metrics, record.metadata, record.logprobs = {}, {}, None
    record.verdicts, record.judge_replies = [], []
    record.text, record.reasoning, record.tool_calls = str(record.text), str(record.reasoning), []
    record.transcript = []
    record.explanation, record.finish_reason, record.retries = str(record.explanation), None, 0
    return _check_round_trip(record)


def _check_round_trip(record: Record) -> bytes:
    """A record's line; ValueError or a DecodeError if it would not be read as the same one."""
    line = secrets.mask_record(encode_json(record), encode_json)
    read = _decode_record(line)
    if why := fault(read):
        raise ValueError(why)
    if (read.outcome, read.score, read.usage) != (record.outcome, record.score, record.usage):
        raise ValueError("it would be read back as another")
    return line + b"\n"
