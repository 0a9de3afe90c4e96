"""The judges that `--judge` names: models that grade answers which no rule can grade.

A judge is any runner. What it said is kept with the record in the journal, and the same question to the same judge is
answered from there, in this run and when the run continues.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from m1eval.errors import UsageError
from m1eval.journal import records
from m1eval.model import Model
from m1eval.nouns import Message, Output, Progress, Request, Runner, Sampling, Usage, Verdict
from m1eval.source import value

CONCURRENCY = 16
MOST_TOKENS = 4096
"""Of a judge's reply, its thinking included."""


class ContextLengthExceeded(RuntimeError):
    """What a judge was asked is longer than its window."""


class Panel:
    """One or several judges, each asked at temperature 0."""

    def __init__(self, specs: Sequence[str]) -> None:
        self.models = [_model(spec) for spec in specs]
        if len({model.spec for model in self.models}) < len(self.models):
            raise UsageError("--judge names a judge twice; name several different ones")
        self._runners: list[Runner] = [_runner(model) for model in self.models]
        self._gates = [asyncio.Semaphore(int(getattr(r, "concurrency", CONCURRENCY))) for r in self._runners]
        self._known: dict[str, Verdict] = {}
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self, progress: Progress) -> None:
        """Load or connect to the judges."""
        for runner in self._runners:
            if start := getattr(runner, "start", None):
                await start(progress)

    def remember(self, journal: Path) -> None:
        """Take over what a journal knows, so that nothing is asked twice."""
        if journal.exists():
            for record in records(journal):
                self._known |= {verdict.key: verdict for verdict in record.verdicts}

    def config(self) -> list[dict[str, Any]]:
        """What must be the same for a run to continue."""
        return [model.config() for model in self.models]

    async def ask(self, messages: list[Message], *, attempt: int = 0) -> list[Verdict]:
        """One verdict of each judge, at the same time.

        RuntimeError for a judge that gives no whole reply, ContextLengthExceeded if its window is too small.
        """
        return list(await asyncio.gather(*(self._ask(i, messages, attempt) for i in range(len(self._runners)))))

    async def _ask(self, number: int, messages: list[Message], attempt: int) -> Verdict:
        key = _key(self.models[number].config(), messages, attempt)
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:  # equal answers of several repeats are judged at the same time, and by one reply
            return self._known.get(key) or await self._new(number, key, messages, attempt)

    async def _new(self, number: int, key: str, messages: list[Message], attempt: int) -> Verdict:
        spec = self.models[number].spec
        sampling = Sampling(temperature=0, max_tokens=MOST_TOKENS, seed=attempt)
        async with self._gates[number]:
            output: Output = await self._runners[number].generate(Request(messages=messages, sampling=sampling))
        if output.finish_reason == "refused_context":
            raise ContextLengthExceeded(f"judge {spec}: {output.error or 'the prompt is longer than its window'}")
        if output.error or output.finish_reason != "stop" or output.unfinished_thinking:
            raise RuntimeError(f"judge {spec}: {output.error or 'its reply has no end: ' + output.finish_reason}")
        usage = msgspec.structs.replace(output.usage)
        verdict = Verdict(judge=spec, key=key, text=output.text, usage=usage)
        self._known[key] = verdict
        return verdict

    async def aclose(self) -> None:
        """Let go of the judges."""
        for runner in self._runners:
            await runner.aclose()


def spent(verdicts: Sequence[Verdict]) -> Usage:
    """The tokens of some verdicts in all."""
    return Usage(
        prompt=sum(verdict.usage.prompt for verdict in verdicts),
        cached=sum(verdict.usage.cached for verdict in verdicts),
        reasoning=sum(verdict.usage.reasoning for verdict in verdicts),
        answer=sum(verdict.usage.answer for verdict in verdicts),
    )


def _model(spec: str) -> Model:
    """`RUNNER:NAME,option=value,…`: the options of a judge's runner stand behind its name."""
    name, *pairs = _parts(spec)
    options = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--judge {name}: write {name},option=value, for example http:gpt-4o,timeout=60")
        options[key] = value(text)
    return Model(name, options)


def _parts(spec: str) -> list[str]:
    """What commas separate, but for those inside of braces, such as in `headers={"a": "1", "b": "2"}`."""
    parts, depth = [""], 0
    for letter in spec:
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _runner(model: Model) -> Runner:
    """A judge's runner; what is wrong with it is told as it is mended on the command line."""
    try:
        return model.runner()
    except UsageError as error:
        judge = f"--judge {model.spec}"
        said = str(error).replace("--base-url ", f"{judge},base_url=")
        raise UsageError(f"{judge}: {said.removeprefix('http: ')}") from None


def _key(config: dict[str, Any], messages: list[Message], attempt: int) -> str:
    asked = msgspec.json.encode([config, messages, attempt], enc_hook=str, order="deterministic")
    return hashlib.sha256(asked).hexdigest()[:32]
