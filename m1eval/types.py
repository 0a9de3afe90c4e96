"""Domain types: Sample, Request, Output, Score and what they are made of.

Data flows one way: a Task yields Samples, an Episode turns a Sample into Requests, a Runner turns a Request into an
Output, a Scorer turns the Output into a Score. All of them are plain structs that survive pickling and JSON.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from m1eval.progress import NullProgress, Progress

Message = dict[str, Any]
"""One chat message in the OpenAI form: `role` and `content`, and for tools `tool_calls`, `tool_call_id`, `name`."""

Outcome = Literal["right", "wrong", "partial", "truncated", "unparsed", "refused_context", "errored"]
"""Outcome of one (sample, repeat). All but `errored` are scored; `errored` never counts as wrong."""

FinishReason = Literal["stop", "length", "tool_calls", "refused_context"]
"""Reason that a generation ended; `refused_context`: the prompt is longer than the model's window."""

MAX_REPEATS = 100_000
"""Answers to one sample; each is a bit in memory, so that a forged number must not be believed."""


_CONTAINERS = frozenset((dict, list, set))


class Sampling(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Sampling parameters. None leaves a setting to the runner (greedy for `local`, the server's own for `http`)."""

    temperature: float | None = None
    """0 is greedy."""
    top_p: float | None = None
    top_k: Annotated[int, Meta(le=2**31 - 1)] | None = None
    """0 or -1: all tokens."""
    min_p: float | None = None
    max_tokens: Annotated[int, Meta(le=2**31 - 1)] | None = None
    """Maximum number of new tokens, thinking included; None: until the model's window is full."""
    stop: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    """Strings that end the answer; not part of it."""
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class EffectiveLengthRule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A benchmark's rule for the prompt lengths that a model can use."""

    threshold: Annotated[float, Meta(ge=0, le=1, description="The score that a length must reach.")]
    name: Annotated[str, Meta(description="The benchmark; tasks of one name have a mean by length together.")] = ""
    subtasks: Annotated[int, Meta(ge=0, description="How many subtasks the mean must be of; 0: any number.")] = 0
    without: Annotated[str, Meta(description="What it means if there are fewer.")] = ""


class Sample(Struct, kw_only=True, weakref=True):
    """One problem of a task, ready to be asked."""

    id: str
    messages: list[Message]
    target: str = ""
    """The reference answer, as the scorer wants it."""
    gold: str | None = None
    """The text of a perfect answer, where one can be written; for `m1eval check` and the `echo` runner."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The row's other columns, for the scorer and for splitting results."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """Tool definitions in the OpenAI form."""
    prefix_key: str = ""
    """Samples with the same key begin with the same long text; they run next to one another."""
    cluster: str = ""
    """Samples of one cluster share a text, so that their scores are not independent; empty: those of one prefix key."""


class LazySample(Struct, kw_only=True, frozen=True):
    """A row that is built when it is due, so that a thousand 1M-token prompts cost the memory of those in flight."""

    id: str
    build: Callable[[], Mapping[str, Any]]
    """Returns the row's columns; deterministic, called again when a run continues."""
    prefix_key: str = ""
    cluster: str = ""
    """Key of the text that the sample is about, where that is more than a shared prefix."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns known before the row is built, such as length, depth or subtask: `--limit` takes as many of each."""
    build_repeat: Callable[[int], Mapping[str, Any]] | None = None
    """Replaces `build` in benchmarks that generate a new prompt for each repeat; takes the repeat, from 0."""


class Request(Struct, kw_only=True):
    """A request to a runner: exactly one of `messages`, `prompt` (raw text) and `token_ids`."""

    messages: list[Message] | None = None
    prompt: str | None = None
    token_ids: list[int] | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    sampling: Sampling = Sampling()
    think_budget: int | None = None
    """Maximum number of thinking tokens, then their end is forced; None: no cap. A runner that cannot do it raises."""
    prefix_key: str = ""
    logprobs: bool = False
    """Whether the logprob of each new token is wanted; runners that cannot say leave them out."""
    sample: Sample | None = None
    """The sample asked about, for test runners such as `echo`; no model ever sees it."""
    repeat: int = 0
    progress: Progress = field(default_factory=NullProgress)


class Usage(Struct, kw_only=True, omit_defaults=True):
    """Token counts of one output; `cached` is the part of `prompt` that the server had in its cache."""

    prompt: int = 0
    shared: int = 0
    """Tokens of the prompt that another output of the same request pays for; not part of `cached`."""
    cached: int = 0
    reasoning: int = 0
    answer: int = 0
    cost: float | None = None
    """US dollars; None where no price is known."""

    @property
    def output(self) -> int:
        """All new tokens, thinking and answer."""
        return self.reasoning + self.answer

    @property
    def sent(self) -> int:
        """Tokens of the prompt that this output pays for: summed up, each request's prompt counts once."""
        return self.prompt - self.shared

    @property
    def total(self) -> int:
        """All tokens that this output pays for, in and out."""
        return self.sent + self.output


class Timing(Struct, kw_only=True, omit_defaults=True):
    """Seconds: building the prompt, rendering and tokenizing it, waiting for a slot, until the first token after that,
    and from the call of the runner to the end. Runners tell what they know."""

    build: float = 0.0
    tokenize: float = 0.0
    queue: float = 0.0
    first_token: float = 0.0
    total: float = 0.0


class Output(Struct, kw_only=True):
    """A runner's response to a Request. `text` is the answer alone; see `m1eval.split_thinking`."""

    text: str = ""
    reasoning: str = ""
    unfinished_thinking: bool = False
    """The output ended inside its thinking: there is no answer, and the draft is never graded."""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    logprobs: list[float] | None = None
    """Logprob of each new token in nats, under the model's own distribution; 0 for tokens that were forced."""
    retries: int = 0
    error: str | None = None
    """Reason that the output cannot be used, or a refusal in the server's own words."""
    metadata: dict[str, Any] = field(default_factory=dict)


class Likelihood(Struct, kw_only=True):
    """Likelihood of a given text after a prompt."""

    logprob: float
    """Sum of the logprobs of its tokens, in nats."""
    greedy: bool
    """Whether each of its tokens is the likeliest one."""
    tokens: int


class JudgeReply(Struct, kw_only=True, omit_defaults=True):
    """A judge's reply about one answer; kept in the journal, so that the same question is asked once."""

    judge: str
    """The judge's model, as `--judge` names it."""
    key: str
    """A hash of all that the judge was asked."""
    text: str
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    """Reason that the reply cannot be used, such as that it was cut off; it is paid for nevertheless."""


class Score(Struct, kw_only=True):
    """The grade of one output."""

    value: float
    """Score, in [0, 1]."""
    answer: str | None = None
    """The extracted answer; None if no answer was found."""
    explanation: str = ""
    """One line: which rule decided."""
    metrics: dict[str, float] = field(default_factory=dict)
    verdicts: list[JudgeReply] = field(default_factory=list)
    """Replies of the judges, if some were asked."""


def isolated(sample: Sample) -> Sample:
    """A copy of a sample whose change leaves the original as it is: plain containers are copied, texts are shared."""
    own = replace(sample)
    own.messages, own.metadata = _copy_containers(own.messages), _copy_containers(own.metadata)
    own.tools = _copy_containers(own.tools)
    return own


def changed_fields(before: Sample, after: Sample) -> list[str]:
    """The fields in which a sample differs from what it was."""
    return [name for name in before.__struct_fields__ if not _is_equal(getattr(before, name), getattr(after, name))]


def isolated_output(output: Output) -> Output:
    """A copy of an output whose change leaves the original as it is, like `isolated`."""
    own = replace(output)
    own.usage, own.timing = replace(own.usage), replace(own.timing)
    own.tool_calls, own.metadata = _copy_containers(own.tool_calls), _copy_containers(own.metadata)
    own.logprobs = own.logprobs and own.logprobs[:]
    return own


def _copy_containers(value: Any) -> Any:
    """A copy of nested dicts, lists and sets; deepcopy takes ten times as long."""
    own = value.copy() if type(value) in _CONTAINERS else value
    if type(own) is dict:
        for key, each in own.items():
            if type(each) in _CONTAINERS:
                own[key] = _copy_containers(each)
    elif type(own) is list:
        for index, each in enumerate(own):
            if type(each) in _CONTAINERS:
                own[index] = _copy_containers(each)
    return own


def _is_equal(first: Any, second: Any) -> bool:
    """Whether values are equal; no for those that cannot be compared, such as arrays."""
    try:
        return bool(first == second)
    except Exception:  # noqa: BLE001 - values of plugins
        return False


def classify(output: Output, score: Score) -> Outcome:
    """The outcome of a scored output; a draft cut off before its answer is `truncated` whatever it contains."""
    if output.finish_reason == "refused_context":
        return "refused_context"
    if output.unfinished_thinking:
        return "truncated"
    if score.answer is None and score.value == 0:
        return "truncated" if output.finish_reason == "length" else "unparsed"
    if score.value >= 1:
        return "right"
    return "partial" if score.value > 0 else "wrong"
