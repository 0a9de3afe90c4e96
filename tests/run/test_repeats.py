"""Several answers to each sample: pass@k, maj@k, G-Pass@k, lost answers, and votes by equality."""

import asyncio
import itertools
import json
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from m1eval import load
from m1eval.protocols import Scorer
from m1eval.run.context import Resources
from m1eval.stats.repeats import Ballot, g_pass_at_k, maj_at_k, pass_at_k
from m1eval.store import metrics
from m1eval.store.record import Record
from m1eval.types import Outcome
from tests.conftest import lines, run_of, write

SAYS = """
import json
from pathlib import Path
from m1eval import Output

SAID = json.loads((Path(__file__).parent / "said.json").read_text())

class Runner:
    tokenizer = None

    def __init__(self, model=""):
        pass

    async def generate(self, request):
        text = SAID[request.sample.id][request.repeat]
        if text == "error":
            raise RuntimeError("the server has burnt down")
        return Output(text=text)

    async def aclose(self):
        pass
"""


def record(name: str, repeat: int, answer: str | None, right: bool = False) -> Record:
    outcome: Outcome = "right" if right else "wrong" if answer is not None else "unparsed"
    return Record(id=name, repeat=repeat, outcome=outcome, value=float(right), answer=answer)


def brute(ballot: Ballot, k: int) -> Fraction:
    """A majority vote of every subset, the slow way."""
    answers = ["right"] * ballot.right + [None] * ballot.silent
    answers += [f"wrong {i}" for i, votes in enumerate(ballot.wrong) for _ in range(votes)]
    total, subsets = Fraction(0), 0
    for subset in itertools.combinations(answers, k):
        votes = [answer for answer in subset if answer is not None]
        best = [answer for answer in set(votes) if votes.count(answer) == max(map(votes.count, votes))]
        total += Fraction(int("right" in best), len(best)) if best else 0
        subsets += 1
    return total / subsets


ballots = st.builds(
    Ballot, st.integers(0, 4), st.lists(st.integers(1, 4), max_size=3).map(tuple), st.integers(0, 2)
).filter(lambda ballot: ballot.answers > 0)


@settings(max_examples=150, deadline=None)
@given(ballots, st.data())
def test_a_majority_vote_is_that_of_all_subsets(ballot, data):
    k = data.draw(st.integers(1, ballot.answers))
    assert maj_at_k(ballot, k) == float(brute(ballot, k))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_that_of_all_subsets(n, data):
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([1] * right + [0] * (n - right), k))
    assert pass_at_k(n, right, k) == sum(map(any, subsets)) / len(subsets)
    assert g_pass_at_k(n, right, k, 0.5) == sum(sum(each) >= max(1, k / 2) for each in subsets) / len(subsets)


def test_a_vote_of_many_answers_is_sampled_and_close():
    ballot = Ballot(20, (15, 15, *[1] * 20), 10)
    assert maj_at_k(ballot, 64) == pytest.approx(maj_at_k(ballot._replace(silent=9), 63), abs=0.05)
    small = maj_at_k(Ballot(40, (30, 10)), 5)
    assert maj_at_k(Ballot(400, (300, 100)), 21) > small > 0.5


@pytest.mark.parametrize("n", [3, 30, 77, 198])
@pytest.mark.parametrize("k", [2, 3, 7, 32])
def test_a_perfect_run_is_exactly_one(n, k):
    counts = metrics.collect(record(f"s{i}", r, "x", right=True) for i in range(n) for r in range(k))
    assert {figure.value for figure in metrics.metrics(counts, k)} == {1.0}


def test_one_lost_answer_leaves_k_as_it_is():
    answers = [record(f"s{i}", r, "x", right=i % 2 == 0) for i in range(30) for r in range(32)]
    answers[40] = Record(id="s1", repeat=8, outcome="errored", error="lost")
    by_name = {figure.name: figure for figure in metrics.metrics(metrics.collect(answers), 32)}
    assert set(by_name) == {f"pass@{k}" for k in (2, 4, 8, 16, 32)} | {"maj@32", "G-Pass@32 (half)"}
    lost = by_name["pass@32"]
    assert (lost.samples, lost.left_out) == (29, 1)
    assert lost.value == pytest.approx(15 / 29)
    assert lost.bounds == pytest.approx((15 / 30, 16 / 30))
    assert (by_name["pass@16"].samples, by_name["pass@16"].left_out) == (30, 0), "31 answers are enough for 16"
    assert by_name["maj@32"].bounds == pytest.approx((0.5, 0.5)), "one more answer changes no majority"
    assert lost.interval is not None
    assert lost.interval[0] < lost.value < lost.interval[1]


def test_wholly_errored_samples_and_those_without_a_record_are_counted():
    answers = [record(f"s{i}", r, "x", right=True) for i in range(20) for r in range(2)]
    answers += [Record(id=f"e{i}", repeat=r, outcome="errored", error="lost") for i in range(10) for r in range(2)]
    (first, *_) = metrics.metrics(metrics.collect(answers), 2, planned=32)
    assert (first.name, first.value, first.samples, first.left_out) == ("pass@2", 1.0, 20, 12)
    assert first.bounds == (20 / 32, 1.0)
    assert metrics.metrics(metrics.collect(answers), 2, planned=41) == [], "20 of 41 samples say too little"
    assert metrics.metrics(metrics.collect(answers[40:]), 2) == []


@settings(max_examples=25, deadline=None)
@given(ballots, st.integers(1, 2))
def test_the_bounds_hold_whatever_the_missing_answers_were(ballot, missing):
    k = ballot.answers + missing
    options = ["right", *range(len(ballot.wrong) + 1)]
    answers = [record("s", r, "right", right=True) for r in range(ballot.right)]
    answers += [record("s", 20 + r, None) for r in range(ballot.silent)]
    answers += [record("s", 100 * (i + 1) + r, str(i)) for i, n in enumerate(ballot.wrong) for r in range(n)]
    full = [record("t", r, "x", right=True) for r in range(k)]
    got = {figure.name: figure.bounds for figure in metrics.metrics(metrics.collect([*answers, *full]), k)}
    for lost in itertools.product(options, repeat=missing):
        more = [record("s", 1000 + r, str(what), right=what == "right") for r, what in enumerate(lost)]
        for figure in metrics.metrics(metrics.collect([*answers, *more, *full]), k):
            if (figure.name in got and not figure.name.startswith("pass@")) or figure.name == f"pass@{k}":
                low, high = got[figure.name]
                assert low - 1e-12 <= figure.value <= high + 1e-12


def test_partial_scores_have_no_pass_at_k_or_majority():
    answers = [record("s", 0, "x", right=True), Record(id="s", repeat=1, outcome="partial", value=0.5, answer="y")]
    assert metrics.metrics(metrics.collect(answers), 2) == []


def compared(scorer: Scorer, answers: list[str], right: int = 0) -> tuple[int, ...]:
    """The numbers of equal wrong answers, as a scorer finds them."""

    async def find() -> tuple[int, ...]:
        resources = Resources()
        try:
            counts = metrics.collect([record("s", r, answer) for r, answer in enumerate(answers)], scorer)
            await metrics.compare(
                counts, len(answers) + 1, scorer, resources.context()
            )  # one is missing, so that all are compared
        finally:
            await resources.aclose()
        return counts.samples["s"].ballot(counts.same.get("s", {})).wrong

    return tuple(sorted(asyncio.run(find())))


def test_mathematics_votes_by_value():
    scorer = load("scorers", "math").Scorer()
    assert compared(scorer, ["1/2", "0.5", r"\frac12", r"\frac{1}{2}", "2", "x+1", "1+x", r"\dfrac{2}{4}"]) == (1, 2, 5)
    assert compared(scorer, [r"\sqrt{2}", "2^{1/2}", "1.41", "(1,2)", "(2,1)", "9^{9^{9^9}}", "9^{9^{9^{9}}}"]) == (
        *(1, 1, 1, 1, 1, 2),
    )
    assert compared(load("scorers", "math").Scorer(rule="math_verify"), ["1/2", "0.5", "3"]) == (1, 2)


def test_comparisons_that_take_too_long_are_few_and_say_no():
    class Slow(Scorer):
        calls = 0

        async def same(self, first, second, context):
            self.calls += 1
            if "slow" in first + second:
                raise TimeoutError
            return first[0] == second[0]

    scorer = Slow()
    answers = [f"{letter}{i}" for i in range(10) for letter in "ab"] + [f"slow{i}" for i in range(20)]
    assert compared(scorer, answers) == (*[1] * 20, 10, 10)
    assert scorer.calls <= 3 * len(answers)


@pytest.mark.parametrize(
    ("scorer", "answers", "votes"),
    [
        ({"exact": {"ignore_case": True}}, ["Rome", "rome ", "ROME", "Paris"], 0.0),
        ({"exact": {}}, ["Rome", "rome", "ROME", "Paris"], 0.25),
        ({"regex": {"pattern": r"is (\w+)", "ignore_case": True}}, ["it is Rome", "he is rome", "Is is Paris", "x"], 0),
        ({"math": {}}, [r"\boxed{1/2}", r"\boxed{0.5}", r"\boxed{3}", "?"], 0.0),
        ({"choice": {}}, ["Answer: B", r"\boxed{B}", "The answer is (A)", "I do not know"], 0.0),
    ],
)
def test_a_run_counts_equal_answers_together(m1eval, tmp_path, scorer, answers, votes):
    target = {"math": "3", "choice": "A"}.get(next(iter(scorer)), "Paris")
    keys = "title: T\ndataset: {file: t.jsonl}\nprompt: q\nid: s\ntarget: '" + target + "'\nrepeats: 4\n"
    write(tmp_path / "t.jsonl", '{"q": 1}\n')
    write(tmp_path / "t.yaml", keys + f"scorer: {json.dumps(scorer)}\n")
    write(tmp_path / "says.py", SAYS)
    write(tmp_path / "said.json", json.dumps({"s": answers}))
    command = (
        "run",
        "--tasks",
        tmp_path / "t.yaml",
        "--model",
        tmp_path / "says.py",
        "--out",
        tmp_path / "x",
        "--json",
    )
    (run,) = m1eval(*command).json()["runs"]
    assert run["score"] == 0.25
    assert run["figures"]["maj@4"] == votes
    assert run["figures"]["pass@4"] == 1
    assert run["figure_intervals"]["pass@4"]["left_out"] == 0
    (again,) = m1eval(*command).json()["runs"]
    assert (again["figures"], again["figure_intervals"]) == (run["figures"], run["figure_intervals"])


def test_a_run_that_was_killed_and_continued_has_the_figures_of_one_that_was_not(m1eval, tmp_path):
    answers = {
        str(i): ["1/2", "0.5", str(i), r"\frac12"][i % 4 :] + ["1/2", "0.5", str(i), "x"][: i % 4] for i in range(6)
    }
    answers = {f"t-{i}": [rf"\boxed{{{text}}}" for text in texts] for i, texts in answers.items()}
    write(tmp_path / "t.jsonl", "".join(json.dumps({"a": i}) + "\n" for i in range(6)))
    write(
        tmp_path / "t.yaml",
        "title: T\ndataset: {file: t.jsonl}\nprompt: q\ntarget: '{{ a }}'\nscorer: math\nid: 't-{{ a }}'\n",
    )
    write(tmp_path / "says.py", SAYS)
    write(tmp_path / "said.json", json.dumps(answers))
    command = ("run", "--tasks", tmp_path / "t.yaml", "--model", tmp_path / "says.py", "-k", 4, "--json", "--out")
    (whole,) = m1eval(*command, tmp_path / "a").json()["runs"]
    journal = run_of(tmp_path / "a") / "samples.jsonl"
    records = journal.read_bytes().splitlines(keepends=True)
    figures = whole["figures"]
    for kept in (7, len(records)):  # killed in the middle, and after the last answer but before the summary
        folder = tmp_path / f"b{kept}"
        folder.mkdir()  # one without tasks below it, as an earlier version made it
        meta = json.loads((run_of(tmp_path / "a") / "run.json").read_text())
        del meta["summary"]
        (folder / "run.json").write_text(json.dumps(meta))
        (folder / "samples.jsonl").write_bytes(b"".join(reversed(records[:kept])))
        (run,) = m1eval(*command, folder).json()["runs"]
        assert run["figures"] == figures
    assert figures["maj@4"] == 0.0
    assert len(lines(tmp_path / "b7" / "samples.jsonl")) == 24


def test_lost_answers_are_said_below_the_table(m1eval, tmp_path, capitals):
    write(tmp_path / "says.py", SAYS)
    texts = {f"capitals-{i:02}": ["x", "y"] for i in range(13)} | {"capitals-03": ["error", "error"]}
    write(tmp_path / "said.json", json.dumps(texts))
    command = ("run", "--tasks", capitals, "--model", tmp_path / "says.py", "-k", 2, "--out", tmp_path / "x")
    out = m1eval(*command).out
    assert "pass@2 0.000 (95% 0.000–0." in out
    assert "1 of 12 samples left out of pass@2, maj@2 and G-Pass@2 (half) (fewer than k scored answers)" in out
    assert "bounds if the missing answers were all wrong or all right: pass@2" in out
    assert "pass@2 0.000 to 0.083" in out


def test_what_cannot_be_compared_is_not_the_same_and_a_stopped_comparison_gives_no_vote():
    class Broken(Scorer):
        async def same(self, first, second, context):
            raise KeyError(first)

    assert compared(Broken(), ["a", "b", "a"]) == (1, 2)
    counts = metrics.collect([record("s", r, answer) for r, answer in enumerate("aabc")], Broken())
    asyncio.run(metrics.compare(counts, 3, Broken(), Resources().context(), stopped=lambda: True))
    assert "maj@3" in {figure.name for figure in metrics.metrics(counts, 3)}, "no answer is right, whatever is the same"
    counts.samples["s"].right = 1
    asyncio.run(metrics.compare(counts, 3, Broken(), Resources().context(), stopped=lambda: True))
    assert "maj@3" not in {figure.name for figure in metrics.metrics(counts, 3)}


def test_free_text_and_changed_references_have_no_majority():
    answers = [record("s", r, f"answer {r}") for r in range(4)]
    judged = metrics.collect(answers, load("scorers", "judge").Scorer(rubric="x", verdicts={"A": 1, "B": 0}))
    assert {figure.name for figure in metrics.metrics(judged, 4)} == {"pass@2", "pass@4", "G-Pass@4 (half)"}
    answers[3].target = "another"
    assert "maj@4" not in {figure.name for figure in metrics.metrics(metrics.collect(answers), 4)}


def test_samples_with_more_answers_than_asked_for_are_counted_over_all_subsets():
    answers = [record("s", r, "xxyyz"[r], right="xxyyz"[r] == "x") for r in range(5)]
    answers += [record("t", r, "y") for r in range(2)]
    by_name = {figure.name: figure for figure in metrics.metrics(metrics.collect(answers), 2)}
    assert by_name["pass@2"].value == (1 - 3 / 10) / 2
    assert by_name["maj@2"].value == float(brute(Ballot(2, (2, 1)), 2)) / 2


def test_answers_that_are_cut_in_the_record_vote_by_their_whole_text():
    answers = [record("s", r, f"{'x' * 79}…") for r in range(3)]
    for one, text in zip(answers, ("x" * 100 + "a", "x" * 100 + "b", "x" * 100 + "a"), strict=True):
        one.text = text
    counts = metrics.collect(answers)
    assert sorted(counts.samples["s"].ballot({}).wrong) == [1, 2]


class Letters(Scorer):
    """Answers with the same first letter are the same; counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    async def same(self, first, second, context):
        self.calls += 1
        return first[0] == second[0]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 5), st.lists(st.sampled_from(["a1", "a2", "b1", "b2", "b3", "c1", "d1"]), max_size=8), st.booleans()
)
def test_comparing_only_what_matters_gives_the_same_vote(right, wrong, less):
    k = right + len(wrong) - less
    assume(k >= 2)
    answers = [record("s", r, "z", right=True) for r in range(right)]
    answers += [record("s", right + r, text) for r, text in enumerate(wrong)]
    scorer = Letters()
    counts = metrics.collect(answers, scorer)
    asyncio.run(metrics.compare(counts, k, scorer, Resources().context()))
    plain = metrics.collect([record(each.id, each.repeat, (each.answer or "")[0], each.value == 1) for each in answers])
    by_name, expected = ({f.name: f.value for f in metrics.metrics(each, k)} for each in (counts, plain))
    assert by_name == expected


def test_what_cannot_change_the_vote_is_not_compared():
    scorer = Letters()
    for right, wrong in (
        (0, [f"{letter}1" for letter in "abcdefgh"]),
        (5, ["a1", "b1"]),
        (2, ["a1"] * 3 + ["b1", "c1"]),
    ):
        answers = [record("s", r, "z", right=True) for r in range(right)]
        answers += [record("s", right + r, text) for r, text in enumerate(wrong)]
        asyncio.run(metrics.compare(metrics.collect(answers, scorer), len(answers), scorer, Resources().context()))
    assert scorer.calls == 0


@pytest.mark.parametrize(("vote", "kept"), [("3", "3"), ("1 / 0", None), ("None", None)])
def test_a_vote_of_any_kind_does_not_end_the_run(vote, kept):
    class Odd(Scorer):
        def vote(self, record):
            return eval(vote)

    answers = metrics.collect([Record(id="a", repeat=0, outcome="wrong", value=0.0, answer="x")], Odd())
    assert answers.samples["a"].votes == {0: kept}
