"""Compare `rule: prm800k | qwen | math_verify | matharena` with the published code itself, on many texts.

`python benchmarks/published_rules.py --prm800k CHECKOUT --qwen CHECKOUT --matharena CHECKOUT [--data FOLDER]`. The
published code runs as it is, which evaluates texts as Python: only on texts of a source that you trust, in a container.
`--record FILE` writes the verdicts on texts of the grammar, for tests/scorers/math/published_verdicts.jsonl.
"""

import argparse
import functools
import importlib
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

sys.path.insert(0, str(Path(__file__).resolve().parent))
from published_texts import Case, cases  # type: ignore[import-not-found]

RULES = ("prm800k", "qwen", "math_verify", "matharena")
FOLDERS = (
    ("prm800k", "prm800k"),
    ("qwen", "evaluation"),
    ("qwen", "evaluation/latex2sympy"),
    ("matharena", "src"),
)
ROWS = 120  # recorded for each rule and verdict


class TooLong(BaseException):
    """The clock of one verdict has run out."""


class Verdict(NamedTuple):
    """The verdict of a grader; `ended` is empty, the name of an error, or "time-out"."""

    right: bool
    answer: str | None
    ended: str = ""


class Published:
    """The published graders of checkouts, each as a function of an output and a reference."""

    def __init__(self, checkouts: dict[str, Path]):
        sys.path[:0] = [str(checkouts[name] / folder) for name, folder in FOLDERS if name in checkouts]
        import math_verify
        from math_verify.metric import math_metric

        remember()
        if "prm800k" in checkouts:
            self._prm: Any = importlib.import_module("grading.grader")
        if "qwen" in checkouts:
            self._grader: Any = importlib.import_module("grader")
            self._parser: Any = importlib.import_module("parser")
        if "matharena" in checkouts:
            for tool in ("submit_answer", "lean_execution"):  # for other kinds of problems; they need much else
                sys.modules[f"matharena.tools.{tool}"] = Mock()
            self._matharena: Any = importlib.import_module("matharena.grader")
            self._matharena.logger.disable("matharena")
        targets = [math_verify.LatexExtractionConfig(boxed_match_priority=0)]
        self._math_verify = math_verify
        self._metric = math_metric(targets, [math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig()])

    def prm800k(self, text: str, gold: str) -> tuple[bool, str | None]:
        """`grade_answer` on the last box."""
        from scorers._boxed import last_boxed

        answer = last_boxed(text)
        return bool(answer and self._prm.grade_answer(answer, gold)), answer or None

    def qwen(self, text: str, gold: str) -> tuple[bool, str | None]:
        """`run_execute`, the choices of math_eval.py, and `math_equal`, as for a set with plain references."""
        code = text.strip()
        gold_text = self._parser.strip_string(self._parser.strip_string(gold))
        answer_text, _ = self._parser.run_execute(None, code, "cot", "math")
        choices = ["A", "B", "C", "D", "E"]
        if gold_text in choices and answer_text not in choices:
            answer_text = self._parser.choice_answer_clean(code)
        elif all(c in choices for c in gold_text) and not all(c in choices for c in answer_text):
            answer_text = "".join([c for c in answer_text if c in choices])
        return bool(self._grader.math_equal_process((0, answer_text, gold_text))), answer_text

    def matharena(self, text: str, gold: str) -> tuple[bool, str | None]:
        """`extract_and_grade` with the settings of the competitions in AIME and HMMT."""
        messages = [{"role": "assistant", "content": text}]
        answer, right, _ = self._matharena.extract_and_grade(messages, 0, gold, {"strict_parsing": False})
        return bool(right), str(answer)[:1000]

    def math_verify(self, text: str, gold: str) -> tuple[bool, str | None]:
        """`math_metric` with the targets of math-verify's own tasks."""
        score, pairs = self._metric([rf"\boxed{{{gold}}}"], [text])
        return score == 1.0, pairs[1][-1][:1000] if pairs and pairs[1] else None


def limited(function: Callable[[], tuple[bool, str | None]], seconds: float) -> Verdict:
    """A verdict within `seconds` of processor time; errors and time-outs are wrong, and said."""
    out = False

    def ring(*_: object) -> None:
        nonlocal out
        out = True
        raise TooLong

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.2)
    try:
        right, answer = function()
        verdict = Verdict(right, answer)
    except TooLong:
        verdict = Verdict(False, None)
    except Exception as error:  # noqa: BLE001 - the published script ends there
        verdict = Verdict(False, None, type(error).__name__)
    finally:
        for _ in range(3):
            try:
                signal.setitimer(signal.ITIMER_PROF, 0)
                break
            except TooLong:
                continue
    return verdict._replace(ended="time-out") if out else verdict


def remember() -> None:
    """Compute once what both sides ask of sympy: `simplify` and `equals` of the same objects, `parse_latex`."""
    import sympy
    from sympy.parsing import latex

    def kept(function: Callable[..., Any], key: Callable[[Any], Any]) -> Callable[..., Any]:
        results: dict[Any, Any] = {}

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if options:
                return function(*args, **options)
            if len(results) > 2000:
                results.clear()
            name = tuple(map(key, args))
            if name not in results:
                results[name] = function(*args)
            return results[name]

        return call

    sympy.simplify = kept(sympy.simplify, lambda value: (type(value), sympy.srepr(value)))
    sympy.Expr.equals = kept(sympy.Expr.equals, lambda value: (type(value), sympy.srepr(value)))
    latex.parse_latex = kept(latex.parse_latex, str)


class Compared(NamedTuple):
    """One text under one rule."""

    rule: str
    case: Case
    theirs: Verdict
    ours: Verdict
    seconds: tuple[float, float]


def compared(options: argparse.Namespace, seed: int) -> list[Compared]:
    """The verdicts on one share of the texts; those that agree come back without their texts."""
    if time.time() > options.end:
        return []
    quiet()
    published = Published({rule: getattr(options, rule) for rule, _ in FOLDERS if getattr(options, rule)})
    import math_verify

    from scorers.math.published import RULES as OURS

    original = math_verify.parser.parse_expr
    rows = []
    for case in cases(options.data, options.texts // options.shares, seed, options.plain):
        for rule in options.rules:
            started = time.process_time()
            math_verify.parser.parse_expr = original
            forget(math_verify)
            theirs = limited(functools.partial(getattr(published, rule), case.text, case.gold), options.seconds)
            between = time.process_time()
            forget(math_verify)
            ours = limited(functools.partial(ours_of, OURS[rule], case, math_verify), options.seconds)
            seconds = between - started, time.process_time() - between
            rows.append(Compared(rule, case, theirs, ours, seconds))
    return rows


def ours_of(judge: Callable[..., Any], case: Case, math_verify: Any) -> tuple[bool, str | None]:
    """The verdict and the answer by a rule of this project."""
    answer, right, _ = judge(case.text, case.gold, math_verify)
    return right, answer


def forget(math_verify: Any) -> None:
    """Empty math-verify's caches, so that neither side reads what the other has parsed."""
    math_verify.parser.parse_expr_cached.cache_clear()
    math_verify.parser.extract_latex.cache_clear()
    math_verify.parser.parse_latex_cached.cache_clear()


def quiet() -> None:
    """Neither warnings nor logs: the published code has many."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def printed(rows: list[Compared]) -> None:
    """Counts by rule and kind of text, and how the disagreements end."""
    for rule in RULES:
        mine = [row for row in rows if row.rule == rule]
        if not mine:
            continue
        means = [sum(row.seconds[side] for row in mine) / len(mine) * 1000 for side in (0, 1)]
        distinct = len({(row.case.gold, row.case.text) for row in mine})
        print(f"\n{rule}: {len(mine)} texts, {distinct} distinct, theirs {means[0]:.1f} ms, ours {means[1]:.1f} ms")
        print(f"| {'kind':18} | texts | right | agree | differ | time-outs (theirs, ours) | errors (theirs, ours) |")
        for kind in [*sorted({row.case.kind for row in mine}), ""]:
            some = [row for row in mine if kind in ("", row.case.kind)]
            differ = sum(row.theirs.right != row.ours.right and not timed_out(row) for row in some)
            late = [sum(side.ended == "time-out" for side in sides) for sides in sides_of(some)]
            errors = [sum(side.ended not in ("", "time-out") for side in sides) for sides in sides_of(some)]
            right = sum(row.theirs.right for row in some)
            agree = sum(row.theirs.right == row.ours.right for row in some)
            print(f"| {kind or 'all':18} | {len(some)} | {right} | {agree} | {differ} | {late} | {errors} |")


def record(rows: list[Compared], path: Path) -> None:
    """Write the published verdicts on texts of the grammar, quick ones alone, as many right as wrong for each rule."""
    lines = []
    for rule in RULES:
        mine = [row for row in rows if row.rule == rule and row.case.kind.startswith("grammar")]
        mine = [row for row in mine if max(row.seconds) < 0.03 and not row.theirs.ended]
        right = [row for row in mine if row.theirs.right][:ROWS]
        wrong = [row for row in mine if not row.theirs.right and row.case.text][: len(right)]
        lines += [
            json.dumps({"rule": rule, "gold": row.case.gold, "text": row.case.text, "right": row.theirs.right})
            for row in right + wrong
        ]
    path.write_text("".join(f"{line}\n" for line in lines))


def sides_of(rows: list[Compared]) -> tuple[list[Verdict], list[Verdict]]:
    return [row.theirs for row in rows], [row.ours for row in rows]


def timed_out(row: Compared) -> bool:
    """Whether one side was stopped, so that nothing is known about its verdict."""
    return "time-out" in (row.theirs.ended, row.ours.ended)


def main() -> None:
    """Compare, print the counts, and write the disagreements."""
    parser = argparse.ArgumentParser(description=__doc__)
    for rule in ("prm800k", "qwen", "matharena"):
        parser.add_argument(f"--{rule}", type=Path, help="a checkout")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--plain", type=float, default=0, help="the share of texts that need no algebra")
    parser.add_argument("--minutes", type=float, default=1e6, help="no new share of the texts is begun after them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rules", nargs="+", default=RULES, choices=RULES)
    parser.add_argument("--seconds", type=float, default=3.0, help="processor time for one verdict of each side")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--differing", type=Path, help="a file for the texts on which verdicts differ")
    parser.add_argument("--record", type=Path, help="a file for published verdicts, as the tests read them")
    options = parser.parse_args()
    if lacking := [rule for rule in options.rules if rule != "math_verify" and not getattr(options, rule)]:
        parser.error(f"no checkout for {', '.join(lacking)}")
    options.shares, options.end = max(options.workers, options.texts // 250), time.time() + options.minutes * 60
    rows: list[Compared] = []
    seeds = range(options.seed * 10_000, options.seed * 10_000 + options.shares)
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(compared, options, seed) for seed in seeds]):
            rows += done.result()
            print(f"\r{len(rows)} texts", end="", file=sys.stderr)
            if options.differing:
                wrong = [row for row in done.result() if row.theirs.right != row.ours.right or row.ours.ended]
                lines = [json.dumps([row.rule, *row.case, row.theirs, row.ours]) for row in wrong]
                with options.differing.open("a") as file:
                    file.write("".join(f"{line}\n" for line in lines))
    printed(rows)
    if options.record:
        record(rows, options.record)


if __name__ == "__main__":
    main()
