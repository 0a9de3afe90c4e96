r"""Scorer of mathematical equality between the final answer and the reference.

The answer is the last `\boxed{...}` (several boxes next to each other are several values), else a stated one ("the
answer is ..."), else what a finished output concludes with; never just some number of the text. Plain cases are decided
in place, formulas by math-verify's grammar (github.com/huggingface/Math-Verify) and their values, in worker processes:
sympy may take forever on a short answer.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import m1eval
from m1eval import Context, Output, Sample, Score, UsageError

from .._boxed import last_boxed
from . import published
from .boxes import how_many
from .equality import Precision, Verdict, quick, slow
from .extraction import final_answer
from .hazards import evaluate, may_explode
from .notation import depth
from .published import LONGEST, RULES, Judged
from .quantities import converts
from .references import DEEPEST, reference_fault
from .units import registry

if find_spec("math_verify") is None:  # reported at the start; imported (a second, for sympy) only by worker processes
    raise ModuleNotFoundError("No module named 'math_verify'", name="math_verify")

__all__ = ["LONGEST", "Scorer", "final_answer", "last_boxed", "quick", "slow"]

SHOWN = 200
FAR = 100_000  # characters of an output that is read in a worker process: the others are waiting meanwhile
PLAIN = r"\boxed{1}"  # an output that costs nothing to grade
Rule = Literal["m1eval", "prm800k", "qwen", "math_verify", "matharena"]


class Scorer(m1eval.Scorer):
    """Right or wrong by mathematical equality; the explanation names the rule that decided.

    `rule`: `m1eval` (the default), or a published grader to reproduce: `prm800k`, `qwen`, `math_verify`,
    `matharena`.
    `precision: gold`: a decimal reference is met by what rounds to it (for physical quantities; `exact` is the
    default). `timeout`: seconds for one answer in worker processes. An answer that takes longer, or more memory than a
    worker has, is wrong, and the explanation says so; where the reference alone is the cause, or cannot be read (empty,
    unbalanced braces), the sample is errored.
    """

    def __init__(self, *, rule: Rule = "m1eval", precision: Precision = "exact", timeout: float = 2.2):
        if rule != "m1eval" and rule not in RULES:
            raise UsageError(f"rule is one of m1eval, {', '.join(RULES)}, not '{rule}'")
        if lacking := published.missing(rule):
            raise UsageError(f"rule {rule} needs {lacking}: pip install 'm1eval[math]'")
        if precision not in ("exact", "gold"):
            raise UsageError(f"precision is 'exact' or 'gold', not '{precision}'")
        if not timeout > 0:
            raise UsageError(f"timeout is a number of seconds, not {timeout}")
        self.rule = rule
        self.precision = precision
        self.timeout = timeout
        self._evaluated: dict[str, str | None] = {}  # references that might take forever; why one cannot be evaluated

    def gold(self, sample: Sample) -> str:
        """The reference as a model would give it."""
        return f"\\boxed{{{sample.target}}}"

    def gold_fault(self, sample: Sample) -> str | None:
        """Reason that a sample's reference cannot be graded against, else None: `m1eval check` names the row."""
        return reference_fault(sample.target) if self.rule == "m1eval" else None

    async def gold_hazard(self, sample: Sample, context: Context) -> str | None:
        """Reason that a sample's reference cannot be evaluated within the limits, else None; for `m1eval check`."""
        if self.rule != "m1eval" or not may_explode(sample.target):
            return None
        _, why = await self._evaluate(sample.target, _Imported("math_verify"), context)
        return why

    async def score(self, output: Output, sample: Sample, context: Context) -> Score:
        """Grade the final answer.

        TimeoutError and RuntimeError when the reference alone takes too long or too much memory, ValueError when it is
        broken: then the sample is errored.
        """
        if self.rule != "m1eval":
            return await self._by_rule(output.text, sample.target, context)
        if fault := reference_fault(sample.target):  # also where no answer is found, which would else be wrong
            raise ValueError(f"the reference {sample.target[:60]!r} cannot be graded: {fault}")
        cut, values = output.finish_reason == "length", how_many(sample.target)
        if len(output.text) > FAR:
            try:
                answer = await context.workers.run(far_answer, output.text, cut, values, timeout=self.timeout)
            except (TimeoutError, RuntimeError) as error:
                return Score(value=0, explanation=f"math: no answer is read: {self._given_up(error, 'the answer')}")
        else:
            answer = final_answer(output.text, cut=cut, values=values)
        if answer is None:
            return Score(value=0, explanation="math: no boxed, stated or concluding answer")
        if len(answer) > LONGEST:
            return Score(value=0, answer=f"{answer[:SHOWN]}…", explanation=f"answer longer than {LONGEST} characters")
        if depth(answer) > DEEPEST:
            return Score(value=0, answer=answer, explanation=f"brackets nested deeper than {DEEPEST}")
        verdict = quick(sample.target, answer, self.precision) or await self._slow(sample.target, answer, context)
        right, how = verdict
        return Score(value=float(right), answer=answer, explanation=how)

    async def same(self, first: str, second: str, context: Context) -> bool:
        """Whether two answers are one vote, by the rule that grades; TimeoutError if that takes too long to tell."""
        if first == second:
            return True
        if any(len(text) > LONGEST or reference_fault(text) or may_explode(text) for text in (first, second)):
            return False
        if self.rule != "m1eval":
            modules = [_Imported(name) for name in published.MODULES[self.rule]]
            call: tuple[Any, ...] = (by_rule, self.rule, f"\\boxed{{{second}}}", first, *modules)
        elif verdict := quick(first, second, self.precision):
            return verdict[0]
        else:
            call = (slow, first, second, self.precision, _Imported("math_verify", units=converts(first, second)))
        verdict = await context.workers.run(*call, timeout=self.timeout)
        return bool(verdict[1] if self.rule != "m1eval" else verdict[0])

    async def _slow(self, gold: str, answer: str, context: Context) -> Verdict:
        """The verdict of a worker; an answer that it cannot evaluate in its limits is wrong."""
        library, spent = _Imported("math_verify", units=converts(gold, answer)), 0.0
        if may_explode(gold):
            spent, why = await self._evaluate(gold, library, context)
            if why:
                kind = TimeoutError if "longer" in why else RuntimeError
                raise kind(f"the reference {gold[:60]!r} cannot be graded: {why}")
        try:
            left = max(self.timeout - spent, self.timeout / 4)
            verdict: Verdict = await context.workers.run(slow, gold, answer, self.precision, library, timeout=left)
        except (TimeoutError, RuntimeError) as error:
            return False, self._given_up(error, "the answer")
        return verdict

    async def _evaluate(self, gold: str, library: Any, context: Context) -> tuple[float, str | None]:
        """The seconds of processor time that a reference took just now, and why it cannot be evaluated, if so."""
        seconds = 0.0
        if gold not in self._evaluated:
            try:
                seconds = await context.workers.run(evaluate, gold, library, timeout=self.timeout)
                self._evaluated[gold] = None
            except (TimeoutError, RuntimeError) as error:
                self._evaluated[gold] = self._given_up(error, "it")
        return seconds, self._evaluated[gold]

    async def _by_rule(self, text: str, gold: str, context: Context) -> Score:
        """The score by a published rule; as there, an output that takes too long or too much memory is wrong."""
        modules = [_Imported(name) for name in published.MODULES[self.rule]]
        try:
            judged: Judged = await context.workers.run(by_rule, self.rule, text, gold, *modules, timeout=self.timeout)
        except (TimeoutError, RuntimeError) as error:
            why = self._given_up(error, "the answer")
            if gold not in self._evaluated:  # is it the reference? then this raises
                await context.workers.run(by_rule, self.rule, PLAIN, gold, *modules, timeout=self.timeout)
                self._evaluated[gold] = None
            return Score(value=0, explanation=f"{self.rule}: {why}")
        answer, right, how = judged
        return Score(value=float(right), answer=answer and answer[:LONGEST], explanation=how)

    def _given_up(self, error: TimeoutError | RuntimeError, what: str) -> str:
        """Reason that a text cannot be evaluated; the error itself is raised where the machine is the cause."""
        if any(sign in str(error) for sign in ("did not end", "was lost", "exit code -9")):
            raise error
        if isinstance(error, TimeoutError):
            return f"{what} takes longer than {self.timeout:g} s to evaluate"
        return f"{what} cannot be evaluated: {str(error)[:SHOWN] or type(error).__name__}"


def far_answer(text: str, cut: bool, values: int) -> str | None:
    """The final answer of a long text, or the beginning of one that is too long; for a worker process."""
    answer = final_answer(text, cut=cut, values=values)
    return answer and answer[: LONGEST + 1]


def by_rule(rule: str, text: str, gold: str, *modules: Any) -> Judged:
    """The verdict of a published grader on a whole output; for a worker process."""
    return RULES[rule](text, gold, *modules)


class _Imported:
    """An argument that arrives in a worker as the module of this name, imported before the call's clock starts.

    `units`: the registry of units is built by then too.
    """

    def __init__(self, name: str, *, units: bool = False) -> None:
        self._arguments = (name, units)

    def __reduce__(self) -> Any:
        return _import, self._arguments


def _import(name: str, units: bool) -> Any:
    if units:
        registry()
    return import_module(name)
