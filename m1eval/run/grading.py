"""From what came of a request to its record: the grade, what judges said, and whatever went wrong."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable
from typing import Any, NamedTuple, TypeVar

from m1eval.errors import M1evalError
from m1eval.protocols import Context
from m1eval.run.generation import CutOff, Session, Spent
from m1eval.run.judge_replies import judge_replies
from m1eval.run.plan import Plan
from m1eval.run.reservation import LimitReached
from m1eval.store.record import Record, encode_json
from m1eval.task.task import Task
from m1eval.types import JudgeReply, Outcome, Output, Sample, Score, classify
from m1eval.validation import as_score

T = TypeVar("T")

UNFINISHED = "the output ended inside its thinking"
"""The explanation of a score by which a stored record of such an output is known."""
LONGEST_KEY = 64
"""Characters of a prefix key that is kept as it is."""


async def grade(task: Task, sample: Sample, output: Output, context: Context) -> tuple[Score, Outcome]:
    """The checked score of one output and the outcome that follows from it.

    An output that ended inside its thinking, or whose prompt was refused for its length, is not shown to the scorer.
    Raises whatever the scorer raises; ValueError, naming the scorer's file, for a score that cannot be used.
    """
    if output.finish_reason == "refused_context":
        score = Score(value=0.0, explanation=output.error or "the prompt is longer than the window")
    elif output.unfinished_thinking:
        score = Score(value=0.0, explanation=UNFINISHED)
    else:
        try:
            score = as_score(await task.scorer.score(output, sample, context), task.scorer_file)
        except TimeoutError as error:
            raise TimeoutError(f"{task.source.where(('scorer',))}: {error}") from error
    return score, classify(output, score)


class Attempt(NamedTuple):
    """What came of asking for one repeat; `spent`: what the requests of an episode took, though it failed."""

    repeat: int
    seed: int
    output: Output | Exception
    spent: "Spent | None" = None


async def contained(doing: Awaitable[T]) -> T:
    """What it comes to; code of others that ends the process, or cancels what nobody has, only fails."""
    try:
        return await doing
    except SystemExit as error:
        raise RuntimeError(f"SystemExit: {error}") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError(f"CancelledError: {error}".rstrip(": ")) from error


async def graded_record(work: Plan, sample: Sample, came: Attempt, asking: Session) -> Record:
    """Grade what came; whatever goes wrong with it becomes its record."""
    record = Record(id=sample.id, repeat=came.repeat, outcome="errored", target=sample.target, seed=came.seed)
    record.metadata = {k: v for k, v in sample.metadata.items() if _is_small(v)}
    record.cluster, record.group = _cluster(sample), _group(work.task, sample)
    replies: list[JudgeReply] = []
    token = judge_replies.set(replies)
    asking.spending.grading()
    try:
        await contained(_grade(record, work.task, sample, came, asking.tools))
    except LimitReached as error:
        asking.stop.set()
        record.error = f"not graded: {error}"
    except M1evalError:
        raise
    except Exception as error:  # noqa: BLE001 - the sample boundary: here an error becomes data
        record.error = describe_error(error)
    finally:
        judge_replies.reset(token)
        asking.spending.graded([reply.usage for reply in replies])
    known = {verdict.key for verdict in record.verdicts}
    record.judge_replies = [reply for reply in replies if reply.key not in known]
    record.time = time.time()
    return record


async def _grade(record: Record, task: Task, sample: Sample, came: Attempt, context: Context) -> None:
    """Put what came and its grade into a record."""
    output = came.output
    if isinstance(output, Exception):
        if isinstance(output, CutOff):
            _copy_output(record, output.output)
        if came.spent:
            came.spent.write_to(record)
        raise output
    _copy_output(record, output)
    score, record.outcome = await grade(task, sample, output, context)
    record.value, record.answer = score.value, score.answer
    record.explanation, record.metrics = score.explanation, score.metrics
    record.verdicts = score.verdicts


def digest_of(sample: Sample) -> str:
    """What was asked, in sixteen hexadecimal digits: prompt, tools and target."""
    hashed = hashlib.blake2b(digest_size=8)
    hashed.update(encode_json([sample.messages, sample.tools, sample.target]))
    return hashed.hexdigest()


def _cluster(sample: Sample) -> str:
    """The name of the text that samples share, short enough for every record."""
    key = sample.cluster or sample.prefix_key
    return key if len(key) <= LONGEST_KEY else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16]


def _group(task: Task, sample: Sample) -> str:
    """What the sample is averaged with."""
    column = task.definition.average
    return "" if column is None else str(sample.metadata[column])


def describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _copy_output(record: Record, output: Output) -> None:
    record.text, record.reasoning, record.tool_calls = output.text, output.reasoning, output.tool_calls
    record.finish_reason, record.error = output.finish_reason, output.error
    record.usage, record.timing, record.retries = output.usage, output.timing, output.retries
    record.metadata |= output.metadata
    record.logprobs = output.logprobs


def _is_small(value: Any) -> bool:
    """Whether a column is worth keeping in every record, to split results by."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 64)
