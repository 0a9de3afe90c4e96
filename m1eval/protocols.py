"""Interfaces between the harness and its plugins: what a runner, a scorer and an episode are, and what they may use."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from m1eval.progress import Progress
from m1eval.types import JudgeReply, Likelihood, Message, Output, Request, Sample, Score

T = TypeVar("T")


class Tokenizer(Protocol):
    """Counts and cuts text as the model under test does."""

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of plain text, without special tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of a whole prompt after the chat template, generation prompt included."""


class Workers(Protocol):
    """A pool of processes for graders that may hang."""

    async def run(self, function: Callable[..., Any], *args: Any, timeout: float) -> Any:
        """Call a module-level function in a worker process; TimeoutError (and a killed worker) after `timeout` s."""


class Judges(Protocol):
    """The models named by `--judge`."""

    async def ask(
        self, messages: list[Message], *, attempt: int = 0, known: Mapping[int, JudgeReply] | None = None
    ) -> list[JudgeReply]:
        """One reply from each judge; those `known`, by the judge's number, are not asked for. Another `attempt` asks
        again. Raises if a judge gives no usable reply."""


class Context(Protocol):
    """Resources for a scorer or an episode besides the sample: one for each (sample, repeat), closed after grading."""

    sample: Sample
    repeat: int

    @property
    def workers(self) -> Workers: ...
    @property
    def judges(self) -> Judges:
        """UsageError if no judge was named."""

    @property
    def state(self) -> dict[str, Any]:
        """Values that an episode leaves for its scorer."""

    async def enter_async(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter an `async with`, such as that of a container, which is left after grading, however that ends."""

    def callback(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function after grading, however that ends."""


class Runner:
    """A way to reach a model: `class Runner(m1eval.Runner)` in `runners/NAME.py`, made as `Runner(model, **options)`.

    Only `generate` has to be written. Attributes may be set by the class, by the instance, or be properties.
    """

    tokenizer: Tokenizer | None = None
    """The model's own; None counts four characters as a token."""
    context_window: int | None = None
    """Tokens of prompt and answer together; None if it is not known."""
    concurrency: int = 16
    """Requests to keep in flight; read again and again, so it may change."""
    max_n: int = 1
    """Maximum number of answers per `generate_n` call."""
    base_url: str | None = None
    """Address of the service, by which its prices are found."""
    notes: Sequence[str] = ()
    """Lines to print below the table."""
    unpinned_options: frozenset[str] = frozenset()
    """Options that do not change what comes back, such as an address or a timeout: a run continues with others."""

    def __init__(self, model: str = "") -> None:
        """Take the model's name; a runner with options, or with a use for the name, writes its own."""

    async def start(self, progress: Progress) -> None:
        """Load, connect and check; called once, before the first request. RunnerError if the model cannot be used."""

    async def generate(self, request: Request) -> Output:
        """Answer one request; batching, caching and retries are the runner's own. Raise what cannot be answered."""
        raise NotImplementedError

    async def generate_n(self, request: Request, n: int) -> Sequence[Output | Exception]:
        """Up to `n` answers to one prompt in one request, fewer if the server gives fewer.

        The first output pays for the prompt. Called only if `max_n` is above 1.
        """
        return [await self.generate(request)]

    async def loglikelihood(self, request: Request, continuation: str) -> Likelihood:
        """Log-likelihood of a given text after the prompt, for multiple choice."""
        raise NotImplementedError

    def describe(self) -> Mapping[str, Any]:
        """Description of the runner for run.json, never keys; `pinned` in it must be the same for a run to continue."""
        return {}

    def recall(self, described: Mapping[str, Any]) -> None:
        """Restore what `describe` returned in an earlier command of this run; called before the start."""

    @classmethod
    def pinned(cls, options: dict[str, Any]) -> Mapping[str, Any]:
        """Values beyond the options that must be the same for a run to continue, as far as the options tell."""
        return {}

    async def aclose(self) -> None:
        """Release what the runner holds."""


class Scorer:
    """A grader: `scorers/NAME.py` with a `class Scorer(m1eval.Scorer)`, made as `Scorer(**options)`.

    Only `score` has to be written.
    """

    needs_judge: bool = False
    """Whether answers are graded by the models named with `--judge`."""
    supports_majority_vote: bool = True
    """Whether answers can be counted in a majority vote; no for answers in free words."""

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Grade the answer in `output.text`; TimeoutError and other exceptions make the sample `errored`."""
        raise NotImplementedError

    def gold(self, sample: Sample) -> str | None:
        """An answer that must score 1; None if none can be written. Default: the target."""
        return sample.target

    def gold_fault(self, sample: Sample) -> str | None:
        """Reason that the sample's reference cannot be graded against, for `m1eval check`; None if it can."""
        return None

    async def gold_hazard(self, sample: Sample, context: Context) -> str | None:
        """Like `gold_fault`, for checks that need a worker process."""
        return None

    def aggregate(self, records: Iterable[Any]) -> Mapping[str, float | None]:
        """Metrics of a whole run next to its score, from its records, such as rates by kind or a calibration error.

        None for a figure that is not known.
        """
        return {}

    def vote(self, record: Any) -> str | None:
        """The answer in a form that equal answers share, for a majority vote; None if there was no answer."""
        answer: str | None = record.answer
        if answer is None:
            return None
        text: str = record.text if answer.endswith("…") and record.text else answer  # long answers are shortened
        return text.strip()

    async def same(self, first: str, second: str, context: Context) -> bool:
        """Whether two votes with different texts are the same answer. Called only if a subclass defines it."""
        return first == second


Episode = Callable[[Sample, Runner, Context], Awaitable[Output]]
"""Generation of one sample: one request and one output by default, many turns for tool use and agents."""
