"""Published graders' rules: their recorded verdicts, their parts next to sympy's own, and texts that mean harm.

published_verdicts.jsonl holds what the published code said, as `benchmarks/published_rules.py --record` writes it.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m1eval import Output, Sample, Score, UsageError, load
from m1eval.sandbox.workers import Pool

math = load("scorers", "math")
import math_verify  # noqa: E402 - here and not in a worker: the recorded texts come to an end
import sympy  # noqa: E402
from sympy.parsing import sympy_parser  # noqa: E402

published = math.published
VERDICTS = [json.loads(line) for line in (Path(__file__).parent / "published_verdicts.jsonl").read_text().splitlines()]
RULES = ("prm800k", "qwen", "math_verify", "matharena")


@pytest.fixture(scope="module")
def tools():
    workers = Pool(1)
    yield SimpleNamespace(workers=workers)
    asyncio.run(workers.aclose())


def graded(tools: Any, rule: str, gold: str, text: str, **options: Any) -> Score:
    sample = Sample(id="1", messages=[], target=gold)
    score: Score = asyncio.run(math.Scorer(rule=rule, **options).score(Output(text=text), sample, tools))
    return score


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_gives_the_recorded_verdicts_of_the_published_code(rule):
    rows = [row for row in VERDICTS if row["rule"] == rule]
    assert Counter(row["right"] for row in rows).most_common()[-1][1] >= 100  # of both verdicts
    judge, differing = published.RULES[rule], []
    for row in rows:
        if judge(row["text"], row["gold"], math_verify)[1] is not row["right"]:
            differing.append((row["gold"], row["text"]))
    assert not differing


# What the published code says where the rules, or a hasty reading of them, differ: in the order of RULES.
KNOWN = [
    (r"\frac{1}{2}", r"\boxed{\frac{2}{4}}", False, True, True, True),
    (r"\frac{1}{2}", r"\boxed{0.5}", True, True, True, True),
    ("0.5", r"\boxed{50}", False, True, False, False),
    ("1000", r"\boxed{1,000}", True, True, True, True),
    ("(1,2)", r"\boxed{[1,2]}", False, True, False, True),
    ("1, 2", r"\boxed{1, 3}", False, False, False, False),
    ("12", "So there are 12", False, True, True, True),
    ("12", "We have 12 of 13", False, False, False, False),
    ("x=5", r"\boxed{5}", True, True, True, True),
    ("3", r"\boxed{\frac{6}{2}}", False, True, True, True),
    ("C", "The choice is (C)", False, True, False, False),
    ("100", r"\boxed{one hundred}", False, True, False, False),
    ("5", r"\boxed{5 \text{ cm}}", True, True, True, True),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\boxed{\begin{pmatrix}1\\3\end{pmatrix}}", False, False, False, False),
    (r"\begin{pmatrix}0.5\\2\end{pmatrix}", r"\boxed{\begin{bmatrix}1/2\\2\end{bmatrix}}", False, True, True, False),
    ("(95868)", r"\boxed{095,868}", True, True, False, True),
    (r"\frac{0}{2.1}", r"\boxed{\f0ac{0}{2.10}}", False, True, False, False),
    ("(1,234)", r"\boxed{[01,234]}", False, True, False, True),
    ("1, 234", r"\boxed{[01,234]}", False, True, False, True),
]


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: " ".join(case[:2]))
def test_the_rules_differ_as_the_published_ones_do(case):
    gold, text, *verdicts = case
    assert [published.RULES[rule](text, gold, math_verify)[1] for rule in RULES] == verdicts


# What MathArena's code says: gold, text, right.
MATHARENA = [
    ("0", r"\boxed{0}", False),
    ("0", r"\boxed{x-x}", False),
    ("1, 2", r"\boxed{2} and \boxed{1}", True),
    ("1, 2", "\\boxed{2}\n\\boxed{1}", False),
    ("1, 2", r"\boxed{2 \text{ or } 1}", True),
    ("1, 2", r"\boxed{\{2; 1\}}", True),
    ("1,2", r"\boxed{x\in\{1,2\}}", True),
    ("1,2", r"\boxed{a, b, 1, 2}", True),
    ("1,2", r"\boxed{x=1, x=2}", False),
    ("(1,2),(3,4)", r"\boxed{(1,2),(3,4)}", False),
    ("12", r"\boxed{x = 12}", True),
    ("12", r"\boxed{7} Check: 12", False),
    ("12", r"\boxed{?} 12", True),
    ("12", r"\boxed{\text{twelve}} 12", False),
    ("12", r"\boxed{12} and so 13", True),
    ("-12", "It is -12", False),
    ("12", "boxed{12}", True),
    ("12", r"\boxed{\boxed{12}}", True),
    ("12", r"\boxed{12", True),
    ("1234", r"\boxed{1{,}234}", True),
    ("12", "⎧12⎫", True),
    ("12", "\n│12│", True),
    (r"2\pi", r"\boxed{2π}", True),
    ("2^{99}", r"\boxed{2^{99}+1}", False),
    ("1+2i", r"\boxed{2i+1}", True),
    (r"\frac{1}{3}", r"\boxed{0.33333333333}", True),
    (r"\frac{1}{3}", r"\boxed{0.3333}", False),
    ("x^2-1", r"\boxed{(x-1)(x+1)}", False),
    ("S", r"\boxed{S}", False),
    ("E", r"\boxed{e}", True),
    ("AB", r"\boxed{BA}", False),
    ("xy", r"\boxed{yx}", True),
    ("inf", r"\boxed{inf}", False),
    ("5", r"\boxed{²}", False),
    ("832040", r"\boxed{F_{30}}", True),
    ("5", r"\boxed{5 \approx 4.9}", True),
    (r"\binom{10}{3}", r"\boxed{120}", True),
    (r"\log_2 8", r"\boxed{3}", True),
    (r"9\sqrt{23}/23", r"\boxed{\frac{9}{\sqrt{23}}}", True),
    ("12", "", False),
]


@pytest.mark.parametrize("case", MATHARENA, ids=lambda case: " ".join(case[:2]))
def test_matharena_says_what_its_code_says(case):
    gold, text, right = case
    assert published.RULES["matharena"](text, gold)[1] is right


EXPRESSIONS = [
    *("1+2*3", "2**10", "(1)-(2)", "x+y", "2*x/3", "-x**2", "sqrt(8)", "sin(pi/2)", "1/3", "0.5", "1e3", "x!"),
    *("5!!", "a_1", "(1,2)", "[1,2]", "{1}", "3<x", "1<2<3", "x==y", "E", "I", "oo", "pi", "log(8,2)"),
    *("binomial(5,2)", "Abs(-3)", "max(1,2)", "beta", "gamma(3)", "f(x)", "f(2)+1", "0.[3]", "3j", "1_000"),
    *("0x10", "2^3", "not1", "x|y", "~x", "7//2", "7%4", "True", "None", "N(pi)", "zoo", "nan", "S", "Q"),
    *("sum([1,2])", "[1,2][0]", "(x,y)[1]", "-1/2", "+x", "x*-1", "factorial(4)", "Rational(1,2)"),
    *("floor(5/2)", "i", "j", "1 in [1,2]", "x and y", "1 or 2", "not 0", "(1) - ( 2 )", "1 if 2 else 3"),
    *("5 .x", "''", "a*c02", "ac02", "ac2", "1 2", "x y", ""),
]


def outcome(read: Any) -> tuple[str, str] | str:
    try:
        value = read()
    except Exception as error:  # noqa: BLE001 - that both fail is compared
        return "error" if not isinstance(error, AssertionError) else "assertion"
    return type(value).__name__, sympy.srepr(value) if isinstance(value, sympy.Basic) else repr(value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("implicit", [False, True], ids=["plain", "implicit"])
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_an_expression_is_read_as_sympy_reads_it(text, implicit):
    steps = sympy_parser.standard_transformations
    steps += (sympy_parser.implicit_multiplication_application,) if implicit else ()
    theirs = outcome(lambda: sympy_parser.parse_expr(text, transformations=steps))  # our own texts, so evaluated
    if text in {"1 if 2 else 3", "''", "S", "Q"}:
        theirs = "error"  # read here by none: no number, no formula
    assert outcome(lambda: published.expressions.parsed(text, implicit=implicit)) == theirs


HARMFUL = (
    "__import__('os').system('touch {}')",
    'S(\'__import__("os").system("touch {}")\')',
    'sympify(\'open("{}","w")\')',
    'N(\'open("{}","w")\')',
    "Symbol('x').__class__.__base__.__subclasses__()",
    "(lambda: open('{}','w'))()",
    "[open('{}','w') for x in [1]]",
    "open('{}','w')",
    'exec(\'open("{}","w")\')',
    'Integer(1).func(\'open("{}","w")\')',
    'lambdify(x, \'open("{}","w")\')(1)',
    'parse_expr(\'open("{}","w")\')',
    'Float(\'open("{}","w")\')',
    "Function('open')('{}', 'w')",
    'Number(\'open("{}","w")\')',
)


@pytest.mark.parametrize("text", HARMFUL)
@pytest.mark.parametrize("options", [{}, {"implicit": True}, {"caret": True}, {"evaluate": False}], ids=str)
def test_no_reader_executes_a_text(tmp_path, text, options):
    marker = tmp_path / "executed"
    assert outcome(lambda: published.expressions.parsed(text.format(marker), **options)) == "error"
    assert not marker.exists()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("text", HARMFUL)
def test_no_rule_executes_a_text(tmp_path, rule, text):
    marker = tmp_path / "executed"
    for answer in (text.format(marker), rf"\boxed{{{text.format(marker)}}}", f"{text.format(marker)}-7.5"):
        assert not published.RULES[rule](answer, "7.5", math_verify)[1]
    assert not marker.exists()


HOSTILE = {
    "empty": "",
    "blank": " \n\t",
    "NUL": "\x00\\boxed{\x00}",
    "surrogate": "\\boxed{\ud800}",
    "control": "".join(map(chr, range(32))) * 3,
    "half a command": "\\boxed{\\fra",
    "braces": "\\boxed{" + "{" * 1500 + "}" * 1500 + "}",
    "brackets": "\\boxed{" + "(" * 1500 + "1" + ")" * 1500 + "}",
    "fractions": "\\boxed{" + "\\frac{1}{" * 300 + "2" + "}" * 300 + "}",
    "roots": "\\boxed{" + "\\sqrt" * 700 + "}",
    "sum": "\\boxed{" + "1+" * 1900 + "1}",
    "a million digits": "\\boxed{" + "7" * 1_000_000 + "}",
    "a megabyte": "so 7 is it. " * 90_000,
    "boxes": "\\boxed{" * 100_000,
    "a tower": r"\boxed{9**9**9**9}",
    "another tower": r"\boxed{9^{9^{9^{9}}}}",
}


@pytest.mark.parametrize(
    ("rule", "name"),
    [("prm800k", name) for name in HOSTILE]
    + [("qwen", name) for name in HOSTILE if name not in ("brackets", "another tower", "fractions")]
    + [("matharena", name) for name in HOSTILE if name not in ("braces", "a tower", "empty", "blank", "control")]
    + [("math_verify", name) for name in ("empty", "surrogate", "a tower", "a megabyte")],
)
def test_a_hostile_text_is_wrong_in_time(tools, rule, name):
    assert graded(tools, rule, "8", HOSTILE[name], timeout=1).value == 0


@pytest.mark.parametrize("rule", ["prm800k", "qwen"])
def test_a_decimal_reference_is_compared_by_the_rule_and_not_by_its_precision(tools, rule):
    for precision in ("exact", "gold"):
        assert graded(tools, rule, "2.50", r"\boxed{2.504}", precision=precision, timeout=20).value == 0


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=r"01.5,xj=\{}[]()/%$ abfrcsqt" + "\n", max_size=40))
def test_the_strings_that_rules_compare_are_built_from_any_text(text):
    published.prm800k.normalised_as_mathd(text)
    assert " " not in published.prm800k.normalised(text)
    published.qwen_text.stripped(text)
    published.matharena.last_box(published.matharena.with_latex(text), many=True)
    published.matharena.normalised(text, many=False)
    assert "\n" not in published.qwen_text.last_answer(text)


SPOKEN = {
    "twelve": 12,
    "twenty-five": 25,
    "one hundred and five": 105,
    "two million": 2_000_000,
    "two million three thousand": 2_004_003,
    "three point one four": 3.14,
    "point five": 0.5,
    "hundred": 100,
    "007": 7,
    "thousand million": None,
    "two thousand thousand": None,
    "x squared": None,
    "²": None,
    "": None,
}


@pytest.mark.parametrize(("text", "number"), SPOKEN.items())
def test_number_words_are_read_as_word2number_reads_them(text, number):
    assert published.qwen_text.spoken(text) == number


def test_a_rule_names_the_package_that_it_needs(monkeypatch):
    monkeypatch.setattr(published, "version", lambda _: "4.13.2")
    for rule in ("qwen", "matharena"):
        with pytest.raises(UsageError, match=r"antlr4-python3-runtime 4\.11"):
            math.Scorer(rule=rule)
    monkeypatch.setattr(published, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="pylatexenc"):
        math.Scorer(rule="prm800k")
