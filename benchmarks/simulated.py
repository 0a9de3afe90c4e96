"""A table of truths: do the statistics keep what they promise? Models of known accuracy, simulated.

    python -m benchmarks.simulated [--trials 2000] [--only scores,differences] [--json FILE]

Each row is a setting whose truth is known and the share of trials in which a promise was kept:

scores       how often the 95% intervals hold the truth, for problems like these and for these problems
clusters     the same where questions share a text (correlated answers, texts of unequal numbers of questions)
limited      the same for a part of a set, about the whole set
losses       the same where answers were lost, at random and on hard problems; how often the bounds hold it
differences  how often `compare` finds a difference that is not there, and holds one that is
power        how often it finds a difference of the size that it calls detectable
gate         how often `--fail-if-worse` answers wrongly
published    how often a score that is as published is called different, and one 5 points worse is
passes       how often the interval of pass@k holds the truth
until-se     how far `--until-se` moves the score, whether the interval holds, and what it spends
"""

import argparse
import json
import math
import os
import random
import statistics
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from m1eval import Usage, stats
from m1eval.analysis.compare import _estimates
from m1eval.analysis.pairing import Match, SampleAnswers
from m1eval.run import adaptive
from m1eval.stats import Unit
from m1eval.store.tally import SampleTotals, Tally

SIZES = (5, 10, 30, 100, 500)
REPEATS = (1, 2, 4, 16)
CONSTANT, SPREAD, BIMODAL = ("0.5", "0.8", "0.9", "0.97"), ("uniform", "beta(9,1)"), ("0.97/0.1", "1/0")
LEAST, MOST_FALSE = 0.935, 0.055

Chances = Callable[[random.Random], float]


class Row(NamedTuple):
    """One setting and what was measured, as shares of trials unless the name says otherwise."""

    table: str
    setting: str
    measured: dict[str, float]


class Kind(NamedTuple):
    """A kind of problems: how hard one is, and what one answer to it is worth."""

    mean: float
    chance: Chances
    answer: Callable[[random.Random, float], float]


def yes_or_no(made: random.Random, chance: float) -> float:
    """Right with this chance."""
    return float(made.random() < chance)


def f1(made: random.Random, chance: float) -> float:
    """A score like F1: often 0 or 1, else in between."""
    kind = made.random()
    return 0.0 if kind < 0.9 - chance else 1.0 if kind < 0.9 - chance / 2 else made.betavariate(5, 2)


def ratio(made: random.Random, chance: float) -> float:
    """A score like MRCR's: nearly the whole text, or little of it."""
    return 0.995 if made.random() < chance else made.betavariate(0.5, 3)


def kind(name: str) -> Kind:
    """A kind by its name: a constant chance, a distribution, two kinds of problems, or fractional scores."""
    if name == "uniform":
        return Kind(0.5, lambda made: made.random(), yes_or_no)
    if name == "beta(9,1)":
        return Kind(0.9, lambda made: made.betavariate(9, 1), yes_or_no)
    if "/" in name:
        easy, hard = map(float, name.split("/"))
        return Kind(0.7 * easy + 0.3 * hard, lambda made: easy if made.random() < 0.7 else hard, yes_or_no)
    if name == "F1":  # of chance c: c / 2 are 1, 0.1 + c / 2 are 5 / 7 in the mean
        return Kind(0.4 + 0.5 * 5 / 7, lambda made: 0.8, f1)
    if name == "ratio":
        return Kind(0.7 * 0.995 + 0.3 / 7, lambda made: made.betavariate(7, 3), ratio)
    return Kind(float(name), lambda made: float(name), yes_or_no)


def expected(of: Kind, chance: float) -> float:
    """The expected score of an answer to a problem."""
    if of.answer is f1:
        return chance / 2 + (0.1 + chance / 2) * 5 / 7
    return chance * 0.995 + (1 - chance) / 7 if of.answer is ratio else chance


def run(of: Kind, n: int, k: int, made: random.Random) -> tuple[list[Unit], float]:
    """The problems of a run, and the truth for these very problems."""
    chances = [of.chance(made) for _ in range(n)]
    units = [Unit.of([of.answer(made, chance) for _ in range(k)]) for chance in chances]
    return units, math.fsum(expected(of, chance) for chance in chances) / n


def like_these(units: Sequence[Unit]) -> stats.Estimate:
    """For problems like these, as a tally has it."""
    return stats.both_targets([units])[0]


def holds(found: stats.Estimate, truth: float) -> bool:
    """Whether the 95% interval holds the truth."""
    return found.p(truth) >= 0.05


# A table each: settings, and what one trial of a setting says.

Trial = Callable[[random.Random], Mapping[str, float]]


def scores() -> Iterator[tuple[str, Trial]]:
    """Coverage over sizes, repeats, difficulties and kinds of scores."""

    def trial(of: Kind, n: int, k: int, made: random.Random) -> dict[str, float]:
        units, truth = run(of, n, k, made)
        return {"like these": holds(like_these(units), of.mean), "these": holds(stats.these_problems(units), truth)}

    for name in (*CONSTANT, *SPREAD, *BIMODAL, "F1", "ratio"):
        for n in SIZES:
            for k in REPEATS:
                if n * k <= 2000:
                    yield f"{name} n={n} k={k}", partial(trial, kind(name), n, k)


def clusters() -> Iterator[tuple[str, Trial]]:
    """Questions about shared texts: what is easy about a text is so for all its questions."""

    def trial(texts: int, sizes: Sequence[int], k: int, made: random.Random) -> dict[str, float]:
        units = []
        for text in range(texts):
            easy = made.betavariate(1.63, 0.7)  # an intra-class correlation of 0.3 at a mean of 0.7
            for _ in range(sizes[text % len(sizes)]):
                units.append(Unit.of([yes_or_no(made, easy) for _ in range(k)], f"text {text}"))
        truth = 1.63 / 2.33
        alone = stats.problems_like_these([each._replace(cluster="") for each in units])
        return {"like these": holds(like_these(units), truth), "as if independent": holds(alone, truth)}

    for texts in (5, 10, 30, 100):
        for label, sizes in (("5", (5,)), ("1 to 9", (1, 3, 5, 7, 9)), ("1 and 20", (1, 1, 1, 1, 20))):
            for k in (1, 4):
                yield f"{texts} texts of {label} questions k={k}", partial(trial, texts, sizes, k)


def limited() -> Iterator[tuple[str, Trial]]:
    """Some of the problems of a set; the truth is the mean over the whole set."""

    def trial(of: Kind, n: int, population: int, k: int, made: random.Random) -> dict[str, float]:
        chances = [of.chance(made) for _ in range(population)]
        units = [Unit.of([of.answer(made, chance) for _ in range(k)]) for chance in chances[:n]]
        interval = stats.these_problems(units, population=population)
        low, high = interval.interval() if made.random() < 0.05 else (math.nan, math.nan)
        return {"these": holds(interval, math.fsum(chances) / population), "width": high - low}

    for name in ("0.9", "uniform", "0.97/0.1"):
        for n, population in ((10, 500), (50, 100), (490, 500)):
            for k in (1, 4):
                yield f"{name} {n} of {population} k={k}", partial(trial, kind(name), n, population, k)


def losses() -> Iterator[tuple[str, Trial]]:
    """Answers that errored: at random, or only where problems are hard."""

    def trial(n: int, k: int, hard: bool, made: random.Random) -> dict[str, float]:
        tally = Tally()
        truths = []
        for i in range(n):
            chance = made.random()
            truths.append(chance)
            lost = 0.3 if not hard else 0.6 if chance < 0.5 else 0.0
            for _ in range(k):
                right = made.random() < chance
                outcome: Any = "errored" if made.random() < lost else "right" if right else "wrong"
                tally.add(str(i), outcome, float(right and outcome != "errored"), Usage())
        truth = math.fsum(truths) / n
        found, bounds = tally.problems_like_these, tally.bounds
        if found is None or bounds is None:
            return {}
        # Nobody can promise an interval where what is missing is not missing at random.
        name = "the interval alone" if hard else "like these"
        return {name: holds(found, 0.5), "bounds hold the truth": bounds[0] <= truth <= bounds[1]}

    for n in (30, 200):
        for k in (1, 4):
            yield f"30% at random n={n} k={k}", partial(trial, n, k, False)
            yield f"60% of the hard half n={n} k={k}", partial(trial, n, k, True)


PAIRS = ((1, 1), (4, 4), (16, 16), (1, 16), (2, 8))


def pair(
    chances: Sequence[tuple[float, float]], of: tuple[Kind, Kind], ks: tuple[int, int], made: random.Random
) -> tuple[stats.Estimate, stats.Estimate]:
    """The two estimates of `compare` for problems of such chances in A and B."""
    both = []
    for i, chance in enumerate(chances):
        one, other = (
            SampleAnswers([kind.answer(made, c) for _ in range(k)]) for kind, c, k in zip(of, chance, ks, strict=True)
        )
        both.append(Match(str(i), one, other))
    return _estimates(both)


def differences() -> Iterator[tuple[str, Trial]]:
    """Two runs of one model: what is found is false. And a model that is better by a known amount."""

    def trial(
        names: tuple[str, str], n: int, ks: tuple[int, int], shift: float, made: random.Random
    ) -> dict[str, float]:
        one, other = map(kind, names)
        chances = []
        for _ in range(n):
            chance = one.chance(made)
            better = min(1.0, chance + 2 * shift * (1 - chance)) if shift else chance
            chances.append((chance, better if names[0] == names[1] else other.chance(made)))
        truth = math.fsum(expected(other, b) - expected(one, a) for a, b in chances) / n
        whole = shift if names == ("uniform", "uniform") else other.mean - one.mean if names[0] != names[1] else None
        like, these = pair(chances, (one, other), ks, made)
        if not shift:
            return {"false, these": not holds(these, truth), "false, like these": not holds(like, whole or 0.0)}
        return {"holds, these": holds(these, truth), "holds, like these": holds(like, shift)}

    for name in ("0.5", "0.9", "0.97", "uniform", "beta(9,1)", "0.97/0.1", "ratio"):
        for n in (5, 10, 30, 100):
            for ks in PAIRS:
                yield f"{name} n={n} k={ks[0]}/{ks[1]}", partial(trial, (name, name), n, ks, 0.0)
    for n in (10, 30, 100):
        yield f"F1 against 0/1 of one mean n={n} k=1/1", partial(trial, ("F1", str(0.4 + 2.5 / 7)), n, (1, 1), 0.0)
    for n in (10, 30, 100, 500):
        for ks in ((1, 1), (4, 4), (1, 16)):
            yield f"better by 0.1 n={n} k={ks[0]}/{ks[1]}", partial(trial, ("uniform", "uniform"), n, ks, 0.1)


def power() -> Iterator[tuple[str, Trial]]:
    """A true difference of the size that a first comparison without one has called detectable."""

    def trial(n: int, k: int, made: random.Random) -> dict[str, float]:
        of = kind("uniform")
        first = [(chance, chance) for chance in (of.chance(made) for _ in range(n))]
        _, these = pair(first, (of, of), (k, k), made)
        size = these.detectable()
        if size is None:
            return {}
        # Moved up where there is room, so that the mean moves by `size`.
        room = math.fsum(1 - chance for chance, _ in first) / n
        second = [(chance, min(1.0, chance + size / room * (1 - chance))) for chance, _ in first]
        _, difference = pair(second, (of, of), (k, k), made)
        return {"found": difference.p() < 0.05, "size": size}

    for n in (10, 30, 100, 300):
        for k in (1, 4, 16):
            yield f"n={n} k={k}", partial(trial, n, k)


def gate() -> Iterator[tuple[str, Trial]]:
    """B is worse by exactly what is allowed: neither answer may come often. And worse or better by more."""

    def trial(n: int, k: int, worse: float, made: random.Random) -> dict[str, float]:
        of = kind("uniform")
        chances = [(chance, max(0.0, chance - 2 * worse * chance)) for chance in (of.chance(made) for _ in range(n))]
        allowed = 0.02
        truth = math.fsum(a - b for a, b in chances) / n
        _, these = pair(chances, (of, of), (k, k), made)
        fails, passes = these.p_less(-allowed) < 0.05, these.p_greater(-allowed) < 0.05
        wrong = (fails and truth <= allowed) or (passes and truth >= allowed)
        return {"fails": fails, "passes": passes, "wrongly": wrong}

    for n, k in ((30, 1), (30, 16), (100, 4), (500, 1), (500, 4)):
        for worse in (-0.02, 0.0, 0.02, 0.04, 0.1):
            yield f"n={n} k={k}, worse by {worse:g}, allowed 0.02", partial(trial, n, k, worse)


def published() -> Iterator[tuple[str, Trial]]:
    """A published score of the same model on the same problems, and one that is 5 points better."""

    def trial(name: str, n: int, k: int, theirs: int, gap: float, made: random.Random) -> dict[str, float]:
        of = kind(name)
        chances = [of.chance(made) for _ in range(n)]
        units = [Unit.of([of.answer(made, chance) for _ in range(k)]) for chance in chances]
        figure = math.fsum(of.answer(made, chance) for chance in chances for _ in range(theirs)) / n / theirs
        difference = stats.against_published(units, min(1.0, figure + gap), repeats=theirs)
        return {"called different": difference.p() < 0.05}

    for name in ("0.9", "uniform", "beta(9,1)", "0.97/0.1"):
        for n, k, theirs in ((30, 1, 1), (30, 32, 1), (30, 32, 32), (30, 4, 64), (500, 1, 1), (200, 4, 8)):
            for gap in (0.0, 0.05):
                yield (
                    f"{name} n={n} avg@{k} against avg@{theirs}{' + 0.05' if gap else ''}",
                    partial(trial, name, n, k, theirs, gap),
                )


def passes() -> Iterator[tuple[str, Trial]]:
    """pass@k of n problems: the truth is the mean chance that one of k answers is right."""

    def trial(n: int, k: int, made: random.Random) -> dict[str, float]:
        values, max_repeats = [], 2 * k
        for _ in range(n):
            chance = made.betavariate(1, 2)
            values.append(stats.pass_at_k(max_repeats, sum(made.random() < chance for _ in range(max_repeats)), k))
        interval = stats.problems_like_these([Unit(value) for value in values])
        return {"like these": holds(interval, 1 - 2 / (k + 2))}

    for n in (10, 30, 200):
        for k in (2, 8):
            yield f"pass@{k} n={n}", partial(trial, n, k)


def until_se() -> Iterator[tuple[str, Trial]]:
    """`--until-se`: the score against the truth of these problems, in points; answers against those of one number."""

    def trial(name: str, n: int, k: int, target: float, made: random.Random) -> dict[str, float]:
        of = kind(name)
        chances = {f"s{i}": of.chance(made) for i in range(n)}
        first = {name: [of.answer(made, chance) for _ in range(adaptive.pilot(k))] for name, chance in chances.items()}
        sums = {name: SampleTotals() for name in chances}
        for name_, values in first.items():
            for value in values:
                sums[name_] = sums[name_].add(value)
        repeats = adaptive.allocate(sums, target, k)
        units = []
        for name_, chance in chances.items():
            added = [of.answer(made, chance) for _ in range(repeats[name_] - len(first[name_]))]
            units.append(Unit.of(first[name_] + added))
        truth = math.fsum(expected(of, chance) for chance in chances.values()) / n
        interval = stats.these_problems(units)
        noise = {name_: chance * (1 - chance) for name_, chance in chances.items()}
        error = math.sqrt(math.fsum(noise[each] / repeats[each] for each in chances)) / n
        needed = max(adaptive.pilot(k), math.ceil(math.fsum(noise.values()) / n / n / target**2 - 1e-9)) * n
        capped = max(repeats.values()) >= adaptive.MAX_FACTOR * k
        return {
            "moved, points": 100 * (interval.value - truth),
            "holds, these": holds(interval, truth),
            "reached": capped or error <= target,
            "answers": sum(repeats.values()) / n,
            "of equal ones that know the noise": sum(repeats.values()) / min(needed, adaptive.MAX_FACTOR * k * n),
        }

    for name in ("0.8", "0.9", "uniform", "0.97/0.1", "1/0"):
        for k in (1, 2, 4):
            for n, target in ((30, 0.02), (30, 0.03), (200, 0.01)):
                yield f"{name} n={n} k={k} to {target}", partial(trial, name, n, k, target)


TABLES: dict[str, Callable[[], Iterator[tuple[str, Trial]]]] = {
    "scores": scores,
    "clusters": clusters,
    "limited": limited,
    "losses": losses,
    "differences": differences,
    "power": power,
    "gate": gate,
    "published": published,
    "passes": passes,
    "until-se": until_se,
}


def measure(table: str, number: int, trials: int) -> Row:
    """One row; always the same for the same number of trials."""
    setting, trial = [*TABLES[table]()][number]
    rng = random.Random(zlib.crc32(f"{table} {setting}".encode()))
    sums: dict[str, list[float]] = {}
    for _ in range(trials):
        for name, value in trial(rng).items():
            if not math.isnan(value):
                sums.setdefault(name, []).append(float(value))
    means = {name: math.fsum(values) / len(values) for name, values in sums.items()}
    if moved := sums.get("moved, points"):
        means["spread"] = statistics.pstdev(moved)
    return Row(table, setting, means)


def promise(name: str, setting: str) -> tuple[float, float] | None:
    """The least and the most that a figure may be; None for one that is only shown."""
    if name in ("like these", "these") or name.startswith("holds"):
        return LEAST, 1.0
    if name.startswith("false") or name == "wrongly" or (name == "called different" and "+" not in setting):
        return 0.0, MOST_FALSE
    return (-0.1, 0.1) if name.startswith("moved") else None


def judged(row: Row, trials: int) -> str:
    """The broken promises of a row, with allowance for chance; empty if all hold."""
    room = 3 * math.sqrt(0.05 * 0.95 / trials)
    verdicts = []
    for name, value in row.measured.items():
        low, high = promise(name, row.setting) or (-math.inf, math.inf)
        space = 3 * row.measured["spread"] / math.sqrt(trials) if name.startswith("moved") else room
        if not low - space <= value <= high + space:
            verdicts.append(f"{name} {value:.3f}")
    return "; ".join(verdicts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate the statistics of scores.")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--only", default=",".join(TABLES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    jobs = [(table, i) for table in options.only.split(",") for i in range(len([*TABLES[table]()]))]
    rows, last = [], ""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        tables = pool.map(measure, *zip(*jobs, strict=True), [options.trials] * len(jobs))
        for row in tables:
            if row.table != last:
                print(f"\n## {row.table}\n\n| setting | measured | |\n|---|---|---|")
                last = row.table
            shown = " · ".join(f"{name} {value:.3f}" for name, value in row.measured.items())
            print(f"| {row.setting} | {shown} | {judged(row, options.trials)} |", flush=True)
            rows.append(row)
    print(f"\n{summary(rows, options.trials)}")
    if options.json:
        options.json.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")


def summary(rows: Sequence[Row], trials: int) -> str:
    """How many figures are inside of what is promised, below and above, by name."""
    lines = [f"{trials} trials a setting."]
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.measured.items():
            if name in ("like these", "these") or name.startswith(("holds", "false", "wrongly")):
                values.setdefault(name, []).append(value)
    for name, found in values.items():
        if name.startswith(("false", "wrongly")):
            over = sum(value > MOST_FALSE for value in found)
            lines.append(f"{name}: {len(found)} settings, at most {max(found):.3f}, {over} above {MOST_FALSE}")
        else:
            inside = sum(LEAST <= value <= 0.97 for value in found)
            low, high = sum(value < LEAST for value in found), sum(value > 0.97 for value in found)
            lines.append(
                f"{name}: {len(found)} settings, {inside} in {LEAST}-0.97, {low} below (least {min(found):.3f}), "
                f"{high} above"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
