"""Metrics over several answers to each sample: pass@k, the majority's answer, and how steady they are.

For a majority vote, answers that are the same have to be found. All right ones are: they equal the reference. Wrong
ones are the same if they are written alike or the scorer says so.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct, ValidationError, convert, field, to_builtins

from m1eval import stats
from m1eval.protocols import Context, Scorer
from m1eval.stats.repeats import Ballot, g_pass_at_k, maj_at_k, pass_at_k
from m1eval.store.record import Record
from m1eval.store.tally import mean_over_groups

Same = Callable[[str, str], Awaitable[bool]]
MAX_CONCURRENT = 8
"""Samples whose answers are compared at the same time."""
MAX_VOTE = 1000
"""Characters of a vote; a longer one is replaced by its hash."""
MIN_SHARE = 0.5
"""Share of the samples that a metric needs to be reported."""


class RepeatAnswers(Struct):
    """The answers to one sample. `votes`: by repeat, what each wrong answer says; None: it has no answer."""

    right: int = 0
    votes: dict[int, str | None] = field(default_factory=dict)
    target: str | None = None
    cluster: str = ""
    group: str = ""
    """The group that the sample is averaged in, as in the score."""
    comparable: bool = True
    """False if the reference differs between repeats: the same letter may then mean another option."""

    @property
    def count(self) -> int:
        """Answers that have a score."""
        return self.right + len(self.votes)

    def ballot(self, same: Mapping[str, str]) -> Ballot:
        """The votes counted; `same`: another way of writing a wrong answer."""
        votes = [same.get(vote, vote) for vote in self.votes.values() if vote is not None]
        return Ballot(self.right, tuple(Counter(votes).values()), len(self.votes) - len(votes))


class AnswersBySample(Struct):
    """The answers of a run by sample; `figures` turns them into numbers."""

    samples: dict[str, RepeatAnswers] = field(default_factory=dict)
    fractional: bool = False
    """Whether an answer is neither right nor wrong: nothing is said of such a run."""
    votes: bool = True
    """Whether equality of wrong answers is known, so that votes can be counted."""
    same: dict[str, dict[str, str]] = field(default_factory=dict)
    """Map from sample to the wrong answers that are another one, written differently."""


class RepeatMetric(Struct, frozen=True, kw_only=True):
    """A figure of a run whose samples have several answers."""

    name: str
    value: float
    """Mean over the samples that have k answers; where the score is one over groups of samples, the mean over these."""
    interval: tuple[float, float] | None
    """95%, over problems; None for fewer than two samples."""
    samples: int
    """Samples in `value`."""
    left_out: int
    """Samples with fewer than k answers that have a score."""
    bounds: tuple[float, float]
    """The figure of all samples if every missing answer were wrong, and if every one were right."""


def collect(records: Iterable[Record], scorer: Scorer | None = None) -> AnswersBySample:
    """The answers by sample, in one pass. Errored ones are not answers, but their samples are there."""
    by_sample = AnswersBySample()
    scorer = scorer or Scorer()
    for record in records:
        answers = by_sample.samples.setdefault(record.id, RepeatAnswers())
        answers.cluster, answers.group = record.cluster or answers.cluster, record.group or answers.group
        if record.outcome == "errored":
            continue
        if answers.target is None:
            answers.target = record.target
        answers.comparable = answers.comparable and answers.target == record.target
        if record.value == 1:
            answers.right += 1
        elif record.value == 0:
            answered = scorer.supports_majority_vote and record.outcome == "wrong"
            answers.votes[record.repeat] = _vote(scorer, record) if answered else None
        else:
            by_sample.fractional = True
    by_sample.votes = scorer.supports_majority_vote and all(
        answers.comparable for answers in by_sample.samples.values()
    )
    return by_sample


def compares_votes(scorer: Scorer) -> bool:
    """Whether answers that are written differently may be the same to the scorer."""
    return type(scorer).same is not Scorer.same


async def compare(
    by_sample: AnswersBySample, k: int, scorer: Scorer, context: Context, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Find the wrong answers that the scorer takes for the same although they are written differently.

    They are compared in the order of the repeats, whatever the order in which they came. If it was `stopped`, votes
    are not known.
    """
    if not compares_votes(scorer) or not by_sample.votes or by_sample.fractional:
        return
    semaphore = asyncio.Semaphore(MAX_CONCURRENT)

    async def compare_sample(name: str, votes: Mapping[str, int], enough: int | None) -> None:
        async with semaphore:
            if stopped():
                by_sample.votes = False
            else:
                by_sample.same[name] = await _group_votes(votes, partial(scorer.same, context=context), enough)

    async with asyncio.TaskGroup() as group:
        for name, answers in by_sample.samples.items():
            votes = Counter(vote for _, vote in sorted(answers.votes.items()) if vote is not None)
            whole = answers.count == k  # a single vote of all answers, in which only more than the right ones count
            if _matters(answers, votes, k):
                group.create_task(compare_sample(name, votes, answers.right if whole else None))


def _matters(answers: RepeatAnswers, votes: Mapping[str, int], k: int) -> bool:
    """Whether equality of wrong answers can change a vote of k."""
    if len(votes) < 2 or (not answers.right and answers.count >= k):
        return False
    return answers.count != k or max(votes.values()) <= answers.right <= sum(votes.values())


async def _group_votes(votes: Mapping[str, int], same: Same, enough: int | None) -> dict[str, str]:
    """Map from each vote to the first one that is the same; each is compared with the first of each group alone.

    The most frequent come first, and it ends when a group has more than `enough` votes. A comparison that takes too
    long says that they are not the same. A vote is compared no more once two of its comparisons have taken too long,
    so that slow ones are at most twice as many as the votes.
    """
    sizes: dict[str, int] = {}
    slow: Counter[str] = Counter()
    first: dict[str, str] = {}
    for vote in sorted(votes, key=votes.__getitem__, reverse=True):
        for leader in sizes:
            if slow[vote] > 1:
                break
            if slow[leader] > 1:
                continue
            try:
                if await same(leader, vote):
                    first[vote] = leader
                    sizes[leader] += votes[vote]
                    break
            except TimeoutError:
                slow.update((leader, vote))
            except Exception:  # noqa: BLE001 - the sample boundary: what cannot be compared is not the same
                continue
        else:
            sizes[vote] = votes[vote]
        if enough is not None and max(sizes.values(), default=0) > enough:
            break
        await asyncio.sleep(0)  # the display and Ctrl-C go on meanwhile
    return first


def metrics(by_sample: AnswersBySample, k: int, planned: int | None = None) -> list[RepeatMetric]:
    """pass@k for k and the powers of two below it, maj@k and G-Pass@k at one half; none if answers have other scores
    than 0 and 1.

    A sample with fewer than k answers is left out of `value` and counted in `bounds`; a figure that less than half of
    the samples would be left in is not given. `planned`: the samples asked for, if some may have no record yet.
    """
    if k < 2 or by_sample.fractional or not by_sample.samples:
        return []
    powers = [2**i for i in range(1, k.bit_length()) if 2**i < k]
    definitions: list[tuple[str, int, Callable[[Ballot], float]]] = [
        (f"pass@{size}", size, partial(_pass, size)) for size in (*powers, k)
    ]
    if by_sample.votes:
        definitions.append((f"maj@{k}", k, lambda ballot: maj_at_k(ballot, k)))
    definitions.append((f"G-Pass@{k} (half)", k, lambda ballot: g_pass_at_k(ballot.answers, ballot.right, k, 0.5)))
    ballots = [(answers.ballot(by_sample.same.get(name, {})), answers) for name, answers in by_sample.samples.items()]
    ballots += [(Ballot(0), RepeatAnswers())] * ((planned or 0) - len(ballots))
    computed = (_metric(name, size, value, ballots) for name, size, value in definitions)
    return [figure for figure in computed if figure is not None]


def _metric(
    name: str, k: int, value: Callable[[Ballot], float], ballots: Sequence[tuple[Ballot, RepeatAnswers]]
) -> RepeatMetric | None:
    """A figure, over groups of samples as the score is."""
    groups: dict[str, list[stats.Unit]] = {}
    low, high, number = [], [], 0
    for ballot, answers in ballots:
        missing, group = k - ballot.answers, answers.group if ballot.answers else answers.group or None
        if missing <= 0:
            number += 1
            unit = stats.Unit(value(ballot), cluster=answers.cluster)
            groups.setdefault(answers.group, []).append(unit)
            ends = unit.value, unit.value
        else:
            ends = value(_lost_wrong(ballot, missing)), value(ballot._replace(right=ballot.right + missing))
        low.append((ends[0], group))
        high.append((ends[1], group))
    if not number or number < MIN_SHARE * len(ballots):
        return None
    estimate = stats.groups_like_these(list(groups.values()))
    return RepeatMetric(
        name=name,
        value=estimate.value,
        interval=estimate.interval(),
        samples=number,
        left_out=len(ballots) - number,
        bounds=(mean_over_groups(low), mean_over_groups(high)),
    )


def _pass(k: int, ballot: Ballot) -> float:
    return pass_at_k(ballot.answers, ballot.right, k)


def _lost_wrong(ballot: Ballot, missing: int) -> Ballot:
    """The ballot if the missing answers were wrong, and the same as the most frequent wrong answer."""
    first, *others = sorted(ballot.wrong, reverse=True) or [0]
    return ballot._replace(wrong=(first + missing, *others))


def _vote(scorer: Scorer, record: Record) -> str | None:
    """Vote of an answer, by any scorer, plugins too; None if the scorer raises an error."""
    try:
        vote: Any = scorer.vote(record)
        return _hash_long(vote if vote is None else str(vote))
    except Exception:  # noqa: BLE001 - the sample boundary: what cannot be counted is not a vote
        return None


def _hash_long(vote: str | None) -> str | None:
    if vote is None or len(vote) <= MAX_VOTE:
        return vote
    return hashlib.sha256(vote.encode("utf-8", "replace")).hexdigest()


def to_plain(repeat_metrics: Sequence[RepeatMetric]) -> dict[str, dict[str, Any]]:
    """Intervals, sample counts and bounds of metrics by name, as plain data."""
    return {
        figure.name: {key: value for key, value in to_builtins(figure).items() if key not in ("name", "value")}
        for figure in repeat_metrics
    }


def from_plain(values: Mapping[str, float | None], about: Any) -> list[RepeatMetric]:
    """Figures from their values and what `written` made; none where an earlier version has not written it."""
    try:
        return [convert({"name": name, "value": values[name], **each}, RepeatMetric) for name, each in about.items()]
    except (AttributeError, KeyError, TypeError, ValidationError):
        return []
