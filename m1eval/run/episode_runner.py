"""The runner as an episode of several requests sees it: each takes a slot, is counted and goes into the transcript."""

from collections.abc import Sequence

import msgspec

from m1eval.plugins import foreign
from m1eval.protocols import Episode
from m1eval.run import reservation
from m1eval.run.context import Context
from m1eval.run.generation import BoundRunner, CutOff, Session
from m1eval.run.transcript import Transcript
from m1eval.task.task import Task
from m1eval.types import Output, Request, Usage, changed_fields, isolated


class EpisodeRunner(BoundRunner):
    """A BoundRunner for one episode."""

    _belongs_to_episode = True

    def __init__(self, session: Session, context: Context, task: Task, seed: int) -> None:
        super().__init__(session, context, task, seed)
        self._check_open = context.check_open
        self.tokenizer, self.context_window = session.runner.tokenizer, session.runner.context_window
        self.max_n = session.runner.max_n
        self.transcript = Transcript(context.sample.messages)
        self.changed_fields: list[str] = []
        """Fields of the sample that the episode has changed."""
        self._places = session.concurrency_limit
        self._room: reservation.EpisodeBudget | None = None

    async def run(self, episode: Episode) -> Output:
        """The output of the episode with the sums of what its requests took."""
        sample = self._context.sample
        before = isolated(sample)
        first = self._with_defaults(Request(messages=sample.messages, tools=sample.tools))
        self._room = await self._spending.begin_episode(first, self._stop)
        try:
            output = msgspec.structs.replace(
                foreign.checked_output(await episode(sample, self, self._context), episode)
            )
        finally:
            self._spending.end_episode(self._room, self.totals.usage)
        self.changed_fields = changed_fields(before, self._context.sample)
        if self.totals.requests:  # the output may be one of those that were counted, hence the copy
            self.totals.write_to(output)
        else:
            self._spending.charge(output.usage)
        return output

    async def _request(self, request: Request, n: int) -> Sequence[Output | Exception]:
        self._check_open()
        parent = self.transcript.add_request(request)
        await self._places.acquire()
        try:
            answers = await super()._request(request, n)
        except Exception as error:
            self.transcript.add_error(parent, f"{type(error).__name__}: {error}")
            raise
        finally:
            self._places.release()
        for answer in answers:
            output = answer.output if isinstance(answer, CutOff) else answer
            if isinstance(output, Exception):
                self.transcript.add_error(parent, f"{type(output).__name__}: {output}")
                continue
            self.totals.add(output)
            self.transcript.add_output(parent, output)
            if self._room:
                self._room.deduct(output.usage)
        return answers

    def _count_request(self) -> None:
        self.totals.requests += 1

    def _add_discarded(self, answers: Sequence[Output | Exception], discarded: Sequence[Usage]) -> None:
        for usage in discarded:
            self.totals.add(Output(usage=usage))
