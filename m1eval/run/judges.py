"""The judges that `--judge` names: models that grade answers which no rule can grade.

A judge is any runner. Its replies are kept with the record in the journal, and the same question to the same judge is
answered from there, in this run and when the run continues.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from m1eval.errors import ContextLengthExceeded, UsageError
from m1eval.model import prices
from m1eval.model.model import Model
from m1eval.option_names import option
from m1eval.plugins import foreign
from m1eval.progress import Progress
from m1eval.protocols import Runner
from m1eval.run.judge_replies import add
from m1eval.run.meter import Meter
from m1eval.run.reservation import Reservation
from m1eval.run.spending import Spending
from m1eval.store.journal_state import records
from m1eval.types import JudgeReply, Message, Output, Request, Sampling, Usage
from m1eval.yaml_file import parse_value

MAX_TOKENS = 4096
"""Maximum number of new tokens of a reply, thinking included."""


class IncompleteReplies(RuntimeError):
    """A judge gave no complete reply; `replies` has those of the others, in the order of the judges."""

    def __init__(self, message: str, replies: Sequence[JudgeReply | BaseException]) -> None:
        super().__init__(message)
        self.replies = replies


class JudgePanel:
    """One or several judges, each asked at temperature 0."""

    def __init__(self, specs: Sequence[str]) -> None:
        self.models = [_model(spec) for spec in specs]
        if len({model.spec for model in self.models}) < len(self.models):
            raise UsageError(f"{option('judge')} names a judge twice; name several different ones")
        self._runners: list[Runner] = [_runner(model) for model in self.models]
        self._gates = [asyncio.Semaphore(int(r.concurrency)) for r in self._runners]
        self.spending = Spending()
        self.meters = [Meter() for _ in self.models]
        for meter, judge in zip(self.meters, self._runners, strict=True):
            meter.default_max_tokens = MAX_TOKENS
            meter.window = lambda judge=judge: judge.context_window  # type: ignore[misc]
        self._replies_by_key: dict[str, JudgeReply] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self, progress: Progress) -> None:
        """Load or connect to the judges."""
        for runner in self._runners:
            await runner.start(progress)

    def load_replies(self, journal: Path) -> None:
        """Load the replies in a journal, so that no question is asked twice, and count their cost."""
        seen: dict[str, JudgeReply] = {}
        for record in records(journal) if journal.exists() else ():
            seen |= {reply.key: reply for reply in (*record.verdicts, *record.judge_replies)}
        for reply in seen.values():
            self.spending.add_previous(reply.usage)
        self._replies_by_key |= {key: reply for key, reply in seen.items() if reply.error is None}

    def price(self, file: Path | None, *, required: bool) -> None:
        """Find the prices of the judges; UsageError if a limit needs one that is not known."""
        for model, judge, meter in zip(self.models, self._runners, self.meters, strict=True):
            try:
                meter.prices = prices.find(model.name, judge.base_url, file)
            except UsageError:
                if required:
                    raise
            if required and meter.prices is None:
                raise UsageError(
                    f"{option('max_cost')}: no prices of the judge '{model.name}' are known; "
                    f"give {option('prices', 'FILE')}"
                )

    def config(self) -> list[dict[str, Any]]:
        """The settings that must be the same for a run to continue."""
        return [model.config() for model in self.models]

    async def ask(
        self, messages: list[Message], *, attempt: int = 0, known: Mapping[int, JudgeReply] | None = None
    ) -> list[JudgeReply]:
        """One verdict of each judge, at the same time; judges whose verdict is `known`, by number, are not asked.

        RuntimeError for a judge that gives no complete reply, ContextLengthExceeded if its window is too small.
        """
        known = known or {}
        missing = [i for i in range(len(self._runners)) if i not in known]
        results = await asyncio.gather(*(self._ask(i, messages, attempt) for i in missing), return_exceptions=True)
        new = dict(zip(missing, results, strict=True))
        replies = [known[i] if i in known else new[i] for i in range(len(self._runners))]
        verdicts = [reply for reply in replies if isinstance(reply, JudgeReply)]
        for reply in replies:
            if isinstance(reply, BaseException):
                if type(reply) is RuntimeError:
                    raise IncompleteReplies(str(reply), replies) from reply
                raise reply
        return verdicts

    async def _ask(self, number: int, messages: list[Message], attempt: int) -> JudgeReply:
        key = _key(self.models[number].config(), messages, attempt)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:  # equal answers of several repeats are judged at the same time, and by one reply
            return self._replies_by_key.get(key) or await self._generate(number, key, messages, attempt)

    async def _generate(self, number: int, key: str, messages: list[Message], attempt: int) -> JudgeReply:
        spec = self.models[number].spec
        sampling = Sampling(temperature=0, max_tokens=MAX_TOKENS, seed=attempt)
        request = Request(messages=messages, sampling=sampling)
        discarded: list[Usage] = []

        async def send(reservation: Reservation) -> Output:
            runner = self._runners[number]
            output = foreign.checked_output(await runner.generate(request), runner.generate)
            reservation.settle([output])
            return output

        async with self._gates[number]:
            try:
                output = await self.spending.run_paid(
                    send, request, meter=self.meters[number], inner=True, discarded=discarded
                )
            finally:
                for usage in discarded:
                    add(_failed_reply(spec, key, "", usage, "its reply could not be used"))
        if output.finish_reason == "refused_context":
            raise ContextLengthExceeded(f"judge {spec}: {output.error or 'the prompt is longer than its window'}")
        usage = msgspec.structs.replace(output.usage)
        if output.error or output.finish_reason != "stop" or output.unfinished_thinking:
            why = output.error or f"its reply has no end: {output.finish_reason}"
            add(_failed_reply(spec, key, output.text, usage, why))
            raise RuntimeError(f"judge {spec}: {why}")
        verdict = JudgeReply(judge=spec, key=key, text=output.text, usage=usage)
        self._replies_by_key[key] = verdict
        add(verdict)
        return verdict

    async def aclose(self) -> None:
        """Close the judges' runners."""
        for runner in self._runners:
            await runner.aclose()


def _failed_reply(judge: str, key: str, text: str, usage: Usage, error: str) -> JudgeReply:
    """A reply that was paid for and cannot be used; its key is unique, as the question will be asked again."""
    return JudgeReply(judge=judge, key=f"{key}-{secrets.token_hex(4)}", text=text, usage=usage, error=error)


def _model(spec: str) -> Model:
    """The model of `RUNNER:NAME,option=value,…`."""
    name, *pairs = _split_options(spec)
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{option('judge', name)}: write {name},option=value, for example http:gpt-4o,timeout=60")
        options[key] = parse_value(text)
    return Model(name, options)


def _split_options(spec: str) -> list[str]:
    """Split at commas, except inside braces, such as in `headers={"a": "1", "b": "2"}`."""
    parts, depth = [""], 0
    for letter in spec:
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _runner(model: Model) -> Runner:
    """A judge's runner; errors say how to correct them on the command line."""
    try:
        return model.runner()
    except UsageError as error:
        judge, server = option("judge", model.spec), "http://host:port/v1"
        message = str(error).replace(option("base_url", server), option("judge", f"{model.spec},base_url={server}"))
        raise UsageError(f"{judge}: {message.removeprefix('http: ')}") from None


def _key(config: dict[str, Any], messages: list[Message], attempt: int) -> str:
    question = msgspec.json.encode([config, messages, attempt], enc_hook=str, order="deterministic")
    return hashlib.sha256(question).hexdigest()[:32]
