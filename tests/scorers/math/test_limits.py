"""Limits of the scorer: no answer takes forever, eats memory or crashes it; and the effects of a broken reference."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from m1eval import Output, Sample, Score, load
from m1eval.run.check import check_all
from m1eval.sandbox.workers import Pool
from tests.hostile import MOST, growth

math = load("scorers", "math")


@pytest.fixture(scope="module")
def tools():
    workers = Pool(1)
    yield SimpleNamespace(workers=workers)
    asyncio.run(workers.aclose())


def grade(tools: Any, answer: str, target: str, timeout: float = 2.2) -> Score:
    sample = Sample(id="1", messages=[], target=target)
    score: Score = asyncio.run(math.Scorer(timeout=timeout).score(Output(text=f"\\boxed{{{answer}}}"), sample, tools))
    return score


HOSTILE = {
    "a tower of powers": r"2^{2^{2024}}",
    "a taller one": r"9^{9^{9^{9}}}",
    "a factorial": "(10^9)!",
    "a binomial": r"\binom{10^9}{5\cdot10^8}",
    "a million digits": "9" * 1_000_000,
    "nested 3,000 deep": "{" * 3000 + "5" + "}" * 3000,
    "roots in roots": r"\sqrt{" * 45 + "5" + "}" * 45,
    "NUL": "\x005\x006",
    "control characters": "\x01\x1f\x7f6",
    "a lone surrogate": "\ud8005",
    "half a command": r"\frac{1}",
    "no command": "\\",
    "an open environment": r"\begin{pmatrix}1\\2",
    "a crowd of signs": r"\pm1" * 60,
    "a long list": ",".join(map(str, range(900))),
    "unions": r"\cup".join(f"[{i},{i}.5]" for i in range(300)),
    "a sum": r"\sum_{k=1}^{10^{12}}\frac{1}{k!}",
    "a chain": "=".join(["x"] * 900),
    "a matrix": r"\begin{pmatrix}" + r"1&2\\" * 400 + r"\end{pmatrix}",
    "colons": ":".join("1" * 800),
    "line breaks": "\\\\" * 1900,
    "commands": r"\textbf{" * 45 + "6" + "}" * 45,
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_wrong_and_never_errored(tools, name):
    for target in ("5", r"\frac{\sqrt{5}}{2}", r"(-\infty,1)\cup(3,\infty)"):
        score = grade(tools, HOSTILE[name], target)
        assert (score.value, bool(score.explanation)) == (0, True), target
    assert grade(tools, "10/2", "5").value == 1, "the next sample is graded"


class Slow:
    """Workers in which the named functions never end, or die."""

    def __init__(self, names: set[str], error: Exception) -> None:
        self.names, self.error = names, error
        self.called: list[tuple[str, float]] = []

    async def run(self, function: Any, *_: Any, timeout: float) -> Any:
        self.called.append((function.__name__, timeout))
        if function.__name__ in self.names:
            raise self.error
        return 0.5 if function.__name__ == "evaluate" else (True, "as it happens")


def with_workers(workers: Any, answer: str, target: str) -> Score:
    sample = Sample(id="1", messages=[], target=target)
    tools = SimpleNamespace(workers=workers)
    score: Score = asyncio.run(math.Scorer().score(Output(text=f"\\boxed{{{answer}}}"), sample, tools))
    return score


@pytest.mark.parametrize("error", [TimeoutError("took longer"), RuntimeError("slow wants more than 4 GiB of memory")])
def test_a_time_out_or_lack_of_memory_that_the_answer_causes_is_wrong(error):
    for target in (r"\sqrt{5}", "100!+x"):
        score = with_workers(Slow({"slow"}, error), r"\sqrt{y}", target)
        assert score.value == 0
        assert "the answer" in score.explanation
        assert score.answer == r"\sqrt{y}"


def test_a_time_out_that_the_reference_causes_is_errored():
    with pytest.raises(TimeoutError):
        with_workers(Slow({"evaluate"}, TimeoutError("took longer")), r"\sqrt{y}", "((9!)!)!+x")


def test_a_lost_pool_is_errored_as_it_is_not_the_answers_doing():
    with pytest.raises(RuntimeError, match="lost"):
        with_workers(Slow({"slow"}, RuntimeError("slow was lost with the worker processes")), r"\sqrt{y}", r"\sqrt{5}")


class Heavy:
    """Workers in which a rule fails on some texts."""

    def __init__(self, texts: set[str], error: Exception) -> None:
        self.texts, self.error = texts, error
        self.calls: list[str] = []

    async def run(self, function: Any, rule: str, text: str, *_: Any, timeout: float) -> Any:
        self.calls.append(text)
        if text in self.texts:
            raise self.error
        return "1", False, f"{rule}: as it happens"


HEAVY, PLAIN = r"\boxed{9^{9^9}}", r"\boxed{1}"
GIVEN_UP = [
    TimeoutError("by_rule took longer than 2.2 s"),
    RuntimeError("by_rule wants more than 4 GiB of memory"),
    RuntimeError("by_rule ended its worker process (exit code -11)"),
]


@pytest.mark.parametrize("error", GIVEN_UP, ids=str)
@pytest.mark.parametrize("rule", math.RULES)
def test_under_a_published_rule_too_what_the_answer_causes_is_wrong_and_what_the_reference_causes_errored(rule, error):
    scorer, sample = math.Scorer(rule=rule), Sample(id="1", messages=[], target="x")
    for _ in range(2):
        score = asyncio.run(scorer.score(Output(text=HEAVY), sample, SimpleNamespace(workers=Heavy({HEAVY}, error))))
        assert score.value == 0
        assert score.explanation.startswith(f"{rule}: the answer")
    workers = Heavy({HEAVY, PLAIN}, error)
    with pytest.raises(type(error)):
        asyncio.run(math.Scorer(rule=rule).score(Output(text=HEAVY), sample, SimpleNamespace(workers=workers)))
    assert workers.calls == [HEAVY, PLAIN]


@pytest.mark.parametrize("sign", ["did not end within 47 s", "was lost with the worker processes", "(exit code -9)"])
def test_under_a_published_rule_too_what_the_machine_causes_is_errored(sign):
    error = (TimeoutError if "end within" in sign else RuntimeError)(f"by_rule {sign}")
    sample = Sample(id="1", messages=[], target="x")
    tools = SimpleNamespace(workers=Heavy({HEAVY}, error))
    with pytest.raises(type(error)):
        asyncio.run(math.Scorer(rule="qwen").score(Output(text=HEAVY), sample, tools))


def test_a_reference_is_evaluated_alone_once_and_its_time_is_not_spent_twice():
    workers = Slow(set(), ValueError())
    scorer = math.Scorer()
    for answer in (r"\sqrt{y}", r"\sqrt{z}"):
        sample = Sample(id="1", messages=[], target="100!+x")
        asyncio.run(scorer.score(Output(text=f"\\boxed{{{answer}}}"), sample, SimpleNamespace(workers=workers)))
    assert [name for name, _ in workers.called] == ["evaluate", "slow", "slow"]
    assert all(timeout <= 2.2 for _, timeout in workers.called)


BROKEN = {
    "": "empty",
    " ": "empty",
    r"\frac{1}{": "braces",
    "1}": "braces",
    r"\begin{pmatrix}1": "environment",
    "1" * 5000: "longer",
    r"\frac{1}": "half a command",
    r"(2, \frac{\frac{1}}{3})": "half a command",
    r"\fra": "half a command",
    r"\sqrt": "half a command",
    "x^": "half a command",
    "x\\": "half a command",
    "1\x00": "U[+]0000",
    "\x0crac{1}{2}": "U[+]000C",
    "\ud83d": "U[+]D83D",
}
WHOLE = [
    r"\frac12",
    r"\frac\pi2",
    r"\frac 1 2",
    r"\sqrt2",
    r"\sqrt[3]{2}",
    r"\binom n k",
    r"\$36^\circ\$",
    r"5\ ",
    "x\\\\",
]


@pytest.mark.parametrize("target", BROKEN)
def test_against_a_broken_reference_no_answer_is_right_or_wrong(tools, target):
    with pytest.raises(ValueError, match=BROKEN[target]):
        grade(tools, "1", target)


@pytest.mark.parametrize("target", WHOLE)
def test_a_reference_in_a_short_notation_is_whole(target):
    assert math.Scorer().gold_fault(Sample(id="1", messages=[], target=target)) is None


def test_a_reference_that_cannot_be_evaluated_is_said_to_be_the_cause_and_costs_its_time_once():
    workers = Slow({"evaluate"}, TimeoutError("took longer"))
    scorer = math.Scorer()
    for answer in (r"\sqrt{y}", r"\sqrt{z}"):
        sample = Sample(id="1", messages=[], target="((9!)!)!+x")
        with pytest.raises(TimeoutError, match=r"the reference '.*' cannot be graded: it takes longer than 2\.2 s"):
            asyncio.run(scorer.score(Output(text=f"\\boxed{{{answer}}}"), sample, SimpleNamespace(workers=workers)))
    assert [name for name, _ in workers.called] == ["evaluate"]


@pytest.mark.parametrize(
    ("target", "why"),
    [(r"\\frac{1}{", "braces do not match"), (r"\\frac{1}", "half a command"), (r"\\prod_{k=1}^{10^{12}} k", "longer")],
)
def test_check_names_the_row_whose_gold_cannot_be_graded(tmp_path, target, why):
    rows = "\n".join(f'{{"id": "q{i}", "question": "What?", "answer": "{i}"}}' for i in range(40))
    (tmp_path / "rows.jsonl").write_text(f'{rows}\n{{"id": "q40", "question": "What?", "answer": "{target}"}}\n')
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\ndataset: {file: rows.jsonl}\nid: '{{ id }}'\nprompt: '{{ question }}'\n"
        "target: '{{ answer }}'\nscorer: math\n"
    )
    (result,) = asyncio.run(check_all([str(tmp_path / "mine.yaml")], None))
    assert result.verdict == "failed"
    assert "q40" in result.text
    assert why in result.text


def test_evaluating_a_reference_says_nothing_on_standard_error(capfd):
    workers = Pool(1)  # its process writes to where standard error is now
    sample, tools = Sample(id="1", messages=[], target="12!+x"), SimpleNamespace(workers=workers)
    assert asyncio.run(math.Scorer().gold_hazard(sample, tools)) is None
    asyncio.run(workers.aclose())
    assert capfd.readouterr().err == ""


def test_braces_around_braces_are_taken_off_in_linear_time():
    def taken(size: int) -> str:
        return str(math.final_answer(f"\\boxed{{{'{' * size}5{'}' * size}}}"))

    assert "5" in taken(3)
    assert growth(math.notation.tidy, lambda n: "{" * (n // 2) + "5" + "}" * (n // 2)) < MOST
    assert growth(lambda text: taken(len(text) // 2), lambda n: "x" * n) < MOST
    assert [math.undress.unbraced(text) for text in ("{{ 5 } }", "{5}{6}", "{\\}", "{5", "{{5}", r"{\{5\}}", "{}")] == [
        "5", "{5}{6}", "{\\}", "{5", "{{5}", r"\{5\}", "",
    ]  # fmt: skip


def test_a_reference_that_integrates_up_to_its_variable_is_graded(tools):
    assert grade(tools, r"\frac{x^2}{2}", r"\int_0^x x dx").value == 1
    assert grade(tools, r"\frac{x^2}{3}", r"\int_0^x x dx").value == 0


@pytest.mark.parametrize("unit", ['"answer": ', "答案", "'"])
def test_a_megabyte_of_keys_and_nouns_is_read_in_linear_time(unit):
    assert growth(math.final_answer, lambda size: unit * (size // len(unit)), n=250_000) < MOST


@pytest.mark.timeout(30)
def test_a_reference_that_is_a_sum_to_n_is_graded(tools):
    for answer, value in ((r"\frac{n(n+1)(2n+1)}{6}", 1), (r"\frac{n(n+1)}{2}", 0), ("n^3", 0)):
        assert grade(tools, answer, r"\sum_{k=1}^{n}k^2").value == value, answer
    assert grade(tools, r"\frac{n(n+1)}{2}", r"\sum_{n=1}^n n").value == 1, "a bound of the index's own name"


def test_a_long_text_is_read_in_a_worker_and_holds_up_no_other_sample(monkeypatch):
    def in_the_loop(*_: Any, **__: Any) -> str:
        raise AssertionError("the text is read where all samples wait")

    monkeypatch.setattr(math, "final_answer", in_the_loop)
    workers = Slow({"far_answer"}, TimeoutError("took longer"))
    sample, tools = Sample(id="1", messages=[], target="5"), SimpleNamespace(workers=workers)
    asyncio.run(math.Scorer().score(Output(text="\\boxed{5} " * 100_000), sample, tools))
    assert workers.called == [("far_answer", 2.2)]


def test_a_long_text_is_graded_as_a_short_one(tools):
    for before, target, value in (("word ", "5", 1), ("word ", "6", 0)):
        sample = Sample(id="1", messages=[], target=target)
        output = Output(text=before * 100_000 + "\n\nThe answer is 5.")
        score = asyncio.run(math.Scorer().score(output, sample, tools))
        assert (score.value, score.answer) == (value, "5")


@pytest.mark.parametrize("error", [TimeoutError("took longer"), RuntimeError("wants more than 4 GiB of memory")])
def test_a_text_that_cannot_be_read_in_time_is_wrong(error):
    sample = Sample(id="1", messages=[], target="5")
    tools = SimpleNamespace(workers=Slow({"far_answer"}, error))
    score = asyncio.run(math.Scorer().score(Output(text="5 " * 100_000), sample, tools))
    assert score.value == 0
    assert "no answer is read" in (score.explanation or "")


def test_tags_are_read_from_the_last_one():
    assert growth(math.final_answer, lambda size: "<answer>5</answer>" * (size // 18), n=250_000) < MOST
    assert math.final_answer("<answer>5</answer>" * 20_000) == "5"
