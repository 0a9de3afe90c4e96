"""Grading: from an output to its score and outcome, and to the record with what judges said and what went wrong."""

import copy
import hashlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from m1eval import tracebacks
from m1eval.errors import M1evalError
from m1eval.exits import isolate_exits
from m1eval.plugins import foreign
from m1eval.protocols import Context as AnyContext
from m1eval.run.context import Context
from m1eval.run.generation import CutOff, RequestTotals, Session
from m1eval.run.judge_replies import judge_replies
from m1eval.run.plan import Plan
from m1eval.run.reservation import LimitReached
from m1eval.store.record import Record, encode_json
from m1eval.task.task import Task
from m1eval.types import JudgeReply, Outcome, Output, Sample, Score, classify, isolated_output
from m1eval.validation import as_score

UNFINISHED = "the output ended inside its thinking"
"""The explanation of a score by which a stored record of such an output is known."""
CHANGED = "changed_by_episode"
"""The key in a record's metadata of the sample's fields that an episode has changed."""
LONGEST_KEY = 64
"""Characters of a prefix key that is kept as it is."""


async def grade(task: Task, output: Output, context: AnyContext) -> tuple[Score, Outcome]:
    """The checked score of one output to the context's sample, and the outcome that follows from it.

    The scorer gets a copy of the output, as the record must not change with it. An output that ended inside its
    thinking, or whose prompt was refused for its length, is not shown to it. Raises whatever the scorer raises;
    ValueError, naming the scorer's file, for a score that cannot be used.
    """
    if output.finish_reason == "refused_context":
        score = Score(value=0.0, explanation=output.error or "the prompt is longer than the window")
    elif output.unfinished_thinking:
        score = Score(value=0.0, explanation=UNFINISHED)
    else:
        try:
            score = as_score(
                await task.scorer.score(isolated_output(output), context.sample, context), task.scorer_file
            )
        except TimeoutError as error:
            raise TimeoutError(f"{task.source.where(('scorer',))}: {error}") from error
    return score, classify(output, score)


class Attempt(NamedTuple):
    """The outcome of one generation: an output, or the error in its place."""

    repeat: int
    seed: int
    output: Output | Exception
    totals: RequestTotals | None = None
    """The sums over the requests of an episode, also of one that failed."""
    transcript: Sequence[dict[str, Any]] = ()
    changed_fields: Sequence[str] = ()
    """Fields of the sample that an episode has changed, in which its scorer may read what it did."""


async def graded_record(plan: Plan, attempt: Attempt, context: Context, session: Session) -> Record:
    """The record of an attempt, graded; an error in grading becomes part of it. Closes the context."""
    sample = context.sample
    record = Record(id=sample.id, repeat=attempt.repeat, outcome="errored", target=sample.target, seed=attempt.seed)
    record.metadata = {k: v for k, v in sample.metadata.items() if _is_small(v)}
    record.cluster, record.group = _cluster(sample), _group(plan.task, sample)
    record.transcript = list(attempt.transcript)
    if isinstance(attempt.output, Exception):
        if isinstance(attempt.output, CutOff):
            _copy_output(record, attempt.output.output)
        if attempt.totals:
            attempt.totals.write_to(record)
    else:
        _copy_output(record, attempt.output)
    if attempt.changed_fields:
        record.metadata = {**record.metadata, CHANGED: ", ".join(attempt.changed_fields)}
    await grade_record(record, plan.task, attempt.output, context, session)
    try:
        await isolate_exits(context.aclose())
    except Exception as error:  # noqa: BLE001 - the grade counts
        record.error = record.error or f"after grading: {error_text(error)}"
        tracebacks.show(error, record.error, record.id)
    # Copies, as a request that an episode did not await may still add to its sums.
    record.usage, record.timing = copy.copy(record.usage), copy.copy(record.timing)
    record.time = time.time()
    return record


async def grade_record(
    record: Record, task: Task, output: Output | Exception, context: Context, session: Session
) -> None:
    """Put the grade of an output into its record, with what judges said; whatever goes wrong becomes its error."""
    replies: list[JudgeReply] = []
    token = judge_replies.set(replies)
    session.spending.begin_grading()
    try:
        if isinstance(output, Exception):
            raise output
        score, record.outcome = await isolate_exits(grade(task, output, context))
        record.value, record.answer = score.value, score.answer
        record.explanation, record.metrics = score.explanation, score.metrics
        record.verdicts = score.verdicts
    except LimitReached as error:
        session.stop.set()
        record.error = f"not graded: {error}"
    except M1evalError:
        raise
    except Exception as error:  # noqa: BLE001 - the sample boundary: here an error becomes data
        record.error = error_text(error)
        tracebacks.show(error, record.error, record.id)
    finally:
        judge_replies.reset(token)
        session.spending.end_grading([reply.usage for reply in replies])
    verdicts = {verdict.key for verdict in record.verdicts}
    record.judge_replies = [reply for reply in replies if reply.key not in verdicts]


def digest_of(sample: Sample) -> str:
    """Digest of a sample's prompt, tools and target, in sixteen hexadecimal digits."""
    hashed = hashlib.blake2b(digest_size=8)
    hashed.update(encode_json([sample.messages, sample.tools, sample.target]))
    return hashed.hexdigest()


def _cluster(sample: Sample) -> str:
    """The name of the text that samples share, short enough for every record."""
    key = sample.cluster or sample.prefix_key
    return key if len(key) <= LONGEST_KEY else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16]


def _group(task: Task, sample: Sample) -> str:
    """Name of the group that the sample is averaged with."""
    column = task.definition.average
    return "" if column is None else str(sample.metadata[column])


def error_text(error: Exception) -> str:
    """An error's type and whole text, as records keep it, with the line of the plugin's code that it came from."""
    text, place = f"{type(error).__name__}: {error}".rstrip(": "), foreign.innermost_place(error)
    return f"{text} ({place})" if place else text


def _copy_output(record: Record, output: Output) -> None:
    record.text, record.reasoning, record.tool_calls = output.text, output.reasoning, output.tool_calls
    record.finish_reason, record.error = output.finish_reason, output.error
    record.usage, record.timing, record.retries = output.usage, output.timing, output.retries
    record.metadata |= output.metadata
    record.logprobs = output.logprobs


def _is_small(value: Any) -> bool:
    """Whether a column is worth keeping in every record, to split results by."""
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 64)
