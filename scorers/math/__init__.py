r"""Is the final answer mathematically equal to the reference?

The answer is the last `\boxed{...}`, else a stated one ("the answer is ..."), else what a finished output concludes
with; never just some number of the text. Plain cases are decided at once, formulas by math-verify's grammar
(github.com/huggingface/Math-Verify) and their values, in worker processes: sympy may take forever on a short answer.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from m1eval import Output, Sample, Score, Tools, UsageError

from .._boxed import last_boxed
from .equality import Precision, Verdict, quick, slow
from .extraction import final_answer
from .notation import depth
from .quantities import converts
from .rules import LONGEST, RULES, Judged
from .units import registry

if find_spec("math_verify") is None:  # told at the start; imported (a second, for sympy) by worker processes alone
    raise ModuleNotFoundError("No module named 'math_verify'", name="math_verify")

__all__ = ["LONGEST", "Scorer", "final_answer", "last_boxed", "quick", "slow"]

DEEPEST = 50  # brackets within brackets; parsers take forever on more, and no answer has them
SHOWN = 200
Rule = Literal["m1eval", "prm800k", "qwen", "math_verify"]


class Scorer:
    """Right or wrong by mathematical equality; the explanation names the rule that decided.

    `rule`: `m1eval` (the default), or a published grader to reproduce: `prm800k`, `qwen`, `math_verify`.
    `precision: gold`: a decimal reference is met by what rounds to it (for physical quantities; `exact` is the
    default). `timeout`: seconds for one answer in a worker; TimeoutError makes the sample errored, never wrong.
    """

    def __init__(self, *, rule: Rule = "m1eval", precision: Precision = "exact", timeout: float = 2.2):
        if rule != "m1eval" and rule not in RULES:
            raise UsageError(f"rule is one of m1eval, {', '.join(RULES)}, not '{rule}'")
        if precision not in ("exact", "gold"):
            raise UsageError(f"precision is 'exact' or 'gold', not '{precision}'")
        if not timeout > 0:
            raise UsageError(f"timeout is a number of seconds, not {timeout}")
        self.rule = rule
        self.precision = precision
        self.timeout = timeout

    def gold(self, sample: Sample) -> str:
        """The reference as a model would give it."""
        return f"\\boxed{{{sample.target}}}"

    async def score(self, output: Output, sample: Sample, tools: Tools) -> Score:
        """Grade the final answer; TimeoutError when a worker does not come to an end."""
        if self.rule != "m1eval":
            judged: Judged = await tools.workers.run(
                by_rule, self.rule, output.text, sample.target, _Imported("math_verify"), timeout=self.timeout
            )
            answer, right, how = judged
            return Score(value=float(right), answer=answer and answer[:LONGEST], explanation=how)
        answer = final_answer(output.text, cut=output.finish_reason == "length")
        if answer is None:
            return Score(value=0, explanation="math: no boxed, stated or concluding answer")
        if len(answer) > LONGEST:
            return Score(value=0, answer=f"{answer[:SHOWN]}…", explanation=f"answer longer than {LONGEST} characters")
        if depth(answer) > DEEPEST:
            return Score(value=0, answer=answer, explanation=f"brackets nested deeper than {DEEPEST}")
        verdict: Verdict | None = quick(sample.target, answer, self.precision)
        if verdict is None:
            library = _Imported("math_verify", units=converts(sample.target, answer))
            verdict = await tools.workers.run(
                slow, sample.target, answer, self.precision, library, timeout=self.timeout
            )
        right, how = verdict
        return Score(value=float(right), answer=answer, explanation=how)


def by_rule(rule: str, text: str, gold: str, math_verify: Any) -> Judged:
    """The verdict of a published grader on a whole output; for a worker process."""
    return RULES[rule](text, gold, math_verify)


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
