"""Texts and references on which published graders are compared with ours: recorded, made by a grammar, and mutated."""

# ruff: noqa: E501 - tables of fragments are clearer in long rows

import gzip
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    """One output and its reference, and the kind of text that it is."""

    kind: str
    gold: str
    text: str


RECORDED = [
    "aime2024/recorded_areal",
    "aime2024/recorded_skythought",
    "aime2025/recorded_areal",
    "amc23/recorded_skythought",
    "hmmt_feb_2025/recorded_areal",
    "math500/recorded_rho",
    "math500/recorded_skythought",
    "math_rm_maj_example/recorded_qwen25math",
    "minerva_math/recorded_skythought",
    "olympiadbench/recorded_skythought",
    "zeroeval_math_l5/recorded_zeroeval",
]


def cases(data: Path | None, number: int, seed: int = 0, plain: float = 0) -> Iterator[Case]:
    """`number` cases, of all kinds in turn; the same ones for the same seed. `data`: a folder of recorded outputs.

    `plain`: the share of cases that graders decide by strings and floats, before the others.
    """
    draw = random.Random(seed)
    recorded = _recorded(data) if data else []
    kinds: list[Callable[[random.Random], Case]] = [_grammar, _grammar, _grammar, _mutated]
    if recorded:
        kinds += [_from(recorded, kind) for kind in ("recorded", "crossed", "near miss", "recorded, mutated")]
    for _ in range(number):
        yield _plain(draw) if draw.random() < plain else draw.choice(kinds)(draw)


def _plain(draw: random.Random) -> Case:
    """A number, a word or a letter, or a formula that only its notation tells apart."""
    kind = draw.choice(["numbers"] * 7 + ["words", "notation", "notation"])
    if kind == "numbers":
        number = draw.randrange(10 ** draw.randrange(1, 8)) / 10 ** draw.choice([0, 0, 0, 1, 2, 4])
        near = number + draw.choice([1, -1, 0.1, 0.001, number * 2e-4, number * 5e-5])
        other = draw.choice([number] * 6 + [near] * 3 + [number * 100, number / 100, -number])
        gold, answer = _numeral(draw, number), _numeral(draw, other)
    elif kind == "words":
        gold = draw.choice(["east", "even", "yes", "no", "odd", "Evelyn", "A", "B", "C", "(D)", "E", "12", "(3,5)"])
        answer = gold if draw.random() < 0.9 else draw.choice(["A", "B", "(C)", "D) 5", "yes", "odd", "west"])
        answer = draw.choice([r"\text{*}", "*", " * ", "*.", r"\text{(*)}"]).replace("*", answer)
        return Case("plain, words", gold, f"{draw.choice(_TAILS)} {draw.randrange(10**6)}: {wrapped(draw, answer)}")
    else:
        one, two, three = (draw.randrange(1, 10 ** draw.randrange(1, 4)) for _ in range(3))
        gold = draw.choice(_FORMULAS).replace("1", str(one)).replace("2", str(two)).replace("3", str(three))
        answer = gold
        for here, there in draw.sample(_NOTATIONS, draw.choice([1, 1, 2, 5])):
            answer = answer.replace(here, there)
    return Case(f"plain, {kind}", gold, wrapped(draw, answer))


def _numeral(draw: random.Random, number: float) -> str:
    """A number in one of the notations for numbers."""
    text = f"{number:.0f}" if number == int(number) and draw.random() < 0.9 else f"{number:.7g}"
    grouped = f"{int(number):,}" if number == int(number) else text
    groups = draw.choice([text, text, grouped, grouped.replace(",", r",\!")])
    return draw.choice(_NUMERALS).replace("*", groups)


_NUMERALS = [*["*"] * 6, r"*\%", "*%", r"\$*", r"*^\circ", r"*^{\circ}", r"*\text{ cm}", r"*\ \text{miles}", "x=*", "*.", "*.0", "*.00",
    "0*", "-*", "+*", r"\text{*}", "$*$", "(*)", "[*]", r"*\!", "*e2"]  # fmt: skip
_FORMULAS = [r"\frac{1}{2}", r"\left(1, 2\right)", r"1\sqrt{2}", r"\frac{1}{2}\pi", r"\{1, 2\}", r"[1, 2)", r"1x^2+3", r"x=\frac{1}{2}",
    r"\begin{pmatrix}1 & 2\end{pmatrix}", r"1, 2, 3", r"(1, \frac{2}{3})", r"1\frac{2}{3}", r"1:2", r"\sqrt[3]{2}", "1/2", "1^{2}"]  # fmt: skip
_NOTATIONS = [(r"\frac", r"\dfrac"), (r"\frac", r"\tfrac"), (r"\left", ""), (r"\right", ""), ("(", r"\left("), (")", r"\right)"), (", ", ","),
    (" ", "  "), ("pmatrix", "bmatrix"), ("+", " + "), ("{2}", "2"), ("=", " = "), ("x", "y"), ("1", "1.0"), ("^{2}", "^2"), (r"\{", "{")]  # fmt: skip
_TAILS = ["In case", "We use", "Lemma", "From", "Now let n =", "Not"]


@cache
def _recorded(data: Path) -> list[tuple[str, str]]:
    rows = []
    for name in RECORDED:
        path = data / f"{name}.jsonl.gz"
        if path.exists():
            with gzip.open(path, "rt") as lines:
                rows += [(str(row["gold"]), str(row["output"])) for row in map(json.loads, lines) if row.get("output")]
    return rows


def _from(rows: list[tuple[str, str]], kind: str) -> Callable[[random.Random], Case]:
    def drawn(draw: random.Random) -> Case:
        gold, text = draw.choice(rows)
        text = text[-6000:]
        if kind == "crossed":
            gold = draw.choice(rows)[0]
            text = text if draw.random() < 0.3 else rf"\boxed{{{draw.choice(rows)[0]}}}"
        elif kind == "near miss":
            text = wrapped(draw, nearby(draw, gold))
        elif kind == "recorded, mutated":
            text = wrapped(draw, mutated(draw, gold)) if draw.random() < 0.7 else mutated(draw, text[-1500:])
        return Case(kind, gold, text)

    return drawn


def _grammar(draw: random.Random) -> Case:
    gold = answer(draw)
    other = variant(draw, gold) if draw.random() < 0.6 else nearby(draw, gold)
    if draw.random() < 0.15:
        other = answer(draw)
    return Case("grammar", gold, wrapped(draw, other))


def _mutated(draw: random.Random) -> Case:
    gold = answer(draw)
    return Case("grammar, mutated", gold, wrapped(draw, mutated(draw, variant(draw, gold))))


def answer(draw: random.Random, depth: int = 0) -> str:
    """An answer as a data set or a model would write it."""
    kind = draw.randrange(24 if depth < 1 or (depth < 2 and draw.random() < 0.4) else 6)

    def inner() -> str:
        return answer(draw, depth + 1)

    number = str(draw.choice([0, 1, 2, 3, 5, 7, 10, 12, 25, 50, 100, 144, 1000, 4096, 12345, 1234567]))
    small = str(draw.randrange(1, 20))
    letter = draw.choice("xyzabntkmjeiABCDE")
    if kind < 6:
        return _number(kind, draw, number, small, letter)
    if kind < 15:
        return _compound(kind, draw, inner, small)
    return _notation(kind, draw, inner, number, small, letter)


def _number(kind: int, draw: random.Random, number: str, small: str, letter: str) -> str:
    """A number or a letter, of kinds 0 to 5."""
    match kind:
        case 0 | 1:
            return draw.choice(["", "", "-", "+"]) + number
        case 2:
            return f"{number}.{draw.choice(['0', '5', '25', '333', '50', '10', '000', ''])}"
        case 3:
            return rf"\{draw.choice(['frac', 'dfrac', 'tfrac'])}{{{number}}}{{{small}}}"
        case 4:
            return draw.choice([letter, rf"{number}{letter}", rf"{letter}^{small[0]}", r"\pi", rf"{small}\pi"])
        case _:
            return draw.choice([rf"\sqrt{{{small}}}", rf"\sqrt{small}", rf"{small}\sqrt{{{number}}}"])


def _compound(kind: int, draw: random.Random, inner: Callable[[], str], small: str) -> str:  # noqa: PLR0911 - a kind, a return
    """Several answers in one, of kinds 6 to 14."""
    match kind:
        case 6:
            return f"({inner()}, {inner()})" if draw.random() < 0.6 else f"({inner()},{inner()},{inner()})"
        case 7:
            return draw.choice("[(") + f"{inner()}, {inner()}" + draw.choice("])")
        case 8:
            return rf"\{{{inner()}, {inner()}\}}"
        case 9:
            return f"{inner()}, {inner()}"
        case 10:
            return f"{inner()} {draw.choice(['and', 'or', ';', ','])} {inner()}"
        case 11:
            return f"{inner()}{draw.choice(['+', '-', ' + ', '*', '/', chr(92) + 'cdot ', ' '])}{inner()}"
        case 12:
            return f"{inner()}^{{{inner()}}}" if draw.random() < 0.5 else f"{inner()}^{small}"
        case 13:
            return rf"\frac{{{inner()}}}{{{inner()}}}"
        case _:
            return (
                f"{draw.choice(['x', 'y', 'f(x)', 'y', 'AB', 'n'])} {draw.choice(['=', '=', chr(92) + 'in'])} {inner()}"
            )


def _notation(  # noqa: PLR0911 - a kind, a return
    kind: int, draw: random.Random, inner: Callable[[], str], number: str, small: str, letter: str
) -> str:
    """An answer with units, words, matrices or functions, of kinds 15 to 23."""
    match kind:
        case 15:
            unit = draw.choice(
                ["cm", "degrees", "meters", "dollars", "square units", "miles per hour", "cm^2", "inches"]
            )
            return draw.choice([rf"{inner()}\text{{ {unit}}}", rf"{inner()} \text{{{unit}}}", f"{inner()} {unit}"])
        case 16:
            return draw.choice(
                [rf"{inner()}\%", f"{inner()}%", rf"\${inner()}", rf"{inner()}^\circ", rf"{inner()}^{{\circ}}"]
            )
        case 17:
            word = draw.choice(
                ["yes", "even", "Evelyn", "east", "A", "B", "(C)", "(D) 5", "D", "parabola", "odd", "seven"]
            )
            return rf"\text{{{word}}}" if draw.random() < 0.6 else word
        case 18:
            name, row = draw.choice(["pmatrix", "bmatrix", "matrix", "array}{cc"]), draw.randrange(1, 3)
            rows = r" \\ ".join(" & ".join(answer(draw, 2) for _ in range(row)) for _ in range(2))
            return rf"\begin{{{name}}}{rows}\end{{{name.partition('}')[0]}}}"
        case 19:
            return rf"{inner()} {draw.choice(['<', '>', chr(92) + 'le', chr(92) + 'geq', '<='])} {letter}"
        case 20:
            return rf"(-\infty, {inner()}) \cup ({inner()}, \infty)"
        case 21:
            return draw.choice(
                [
                    rf"{small}\frac{{1}}{{{small}}}",
                    rf"{small} {number}/{small}",
                    f"{number}/{small}",
                    f"{number}e{small[0]}",
                ]
            )
        case 22:
            return draw.choice(
                [
                    rf"\log_{{{small}}} {number}",
                    rf"\sin {letter}",
                    rf"e^{{{inner()}}}",
                    rf"{small}!",
                    rf"\binom{{{number}}}{{{small}}}",
                    rf"|{inner()}|",
                    rf"\ln({inner()})",
                    rf"{small}i",
                    rf"{small} \pm {inner()}",
                ]
            )
        case _:
            return draw.choice(["twelve", "twenty-five", "one hundred and five", "3 million", "two thirds", "two million three thousand", "12th", "5:30", "12{,}345", r"12,\!345", "1,234,567", "10,000", r"\emptyset", r"\infty", "infinity", r"0.\overline{3}", "½", "√2", "2π", "x²", "−3", "５", "2×3", "1_6", "110_2", "1010_{2}"])  # fmt: skip


def variant(draw: random.Random, text: str) -> str:
    """The same answer in another notation, more or less."""
    for _ in range(draw.choice([0, 1, 1, 2, 3])):
        one, other = draw.choice(_SWAPS)
        text = text.replace(one, other) if draw.random() < 0.7 else text.replace(one, other, 1)
    if draw.random() < 0.25:
        text = draw.choice(_AROUND).replace("*", text)
    return text


_SWAPS = [
    (r"\frac", r"\dfrac"), ("{", ""), ("}", ""), (" ", ""), (",", ", "), (", ", ","), ("(", r"\left("), (")", r"\right)"),
    ("(", "["), (")", "]"), ("[", "("), ("]", ")"), (r"\text", r"\mathrm"), (r"\text", r"\mbox"), (r"\pi", "π"), ("+", " + "),
    ("^{", "^("), (r"\cdot", "*"), ("x", "y"), (" and ", ", "), (", ", " and "), (", ", " or "), ("1", "1.0"), ("5", "5.00"),
    ("000", ",000"), ("000", r",\!000"), ("2", "4/2"), ("0", "O"), ("bmatrix", "pmatrix"), ("pmatrix", "bmatrix"),
    (r"\\", "\\"), ("\\", "\\\\"), (".", ""), (r"\{", "("), (r"\}", ")"), (r"\{", ""), (r"\}", ""), ("^", "**"), ("=", ":"),
    ("-", "- "), ("-", "−"), (r"\sqrt", "sqrt"), (r"\infty", "inf"), (r"\infty", r"+\infty"), (r"\frac{1}{2}", "0.5"),
    ("0.5", r"\frac12"), (r"\%", "%"), ("%", ""), (r"\le", r"\leq"), ("/", " / "), ("i", "j"), ("a", "A"), (r"\,", ""),
    ("}{", "} {"), ("{1}{2}", "12"), (r"\frac{", r"\frac"), ("x = ", ""), ("y = ", "x="), ("0.", "."), ("=", "= "),
]  # fmt: skip
_AROUND = [
    "$*$", r"\(*\)", "x=*", "x = *", "(*)", "[*]", "{*}", r"\{*\}", "*.", " * ", r"\text{*}", "* cm", r"*\text{ cm}", "*%",
    r"*\%", r"\$*", r"*^\circ", "+*", "-*", r"\mathbf{*}", r"\displaystyle *", "* degrees", "*\n", "y=*=3", r"\boxed{*}",
    r"x \in *", r"\left(*\right)", r"\begin{pmatrix}*\end{pmatrix}", "the answer is *", "* or so", "2*", "*00", "*/100",
    r"\frac{*}{1}", r"\sqrt{(*)^2}", "(*)+0", "*+x-x", "*\\!", "*,", "*;", r"*\quad", r"\approx *", "0*", "*.0", "1*(*)",
]  # fmt: skip


def nearby(draw: random.Random, text: str) -> str:
    """Another answer that looks much like this one."""
    places = [place for place, letter in enumerate(text) if letter.isalnum() or letter in "-+()[]"]
    if not places:
        return f"{text}1"
    place = draw.choice(places)
    new = draw.choice(["", "1", "2", "9", "-", "-1", text[place] * 2, "x", "(", "]", "0", ",", "."])
    return text[:place] + new + text[place + 1 :]


def mutated(draw: random.Random, text: str) -> str:
    """A text with some of its characters replaced, doubled, moved or cut off."""
    letters = list(text)
    for _ in range(draw.choice([1, 1, 2, 3, 6])):
        place = draw.randrange(len(letters) + 1)
        match draw.randrange(4):
            case 0:
                letters[place : place + 1] = draw.choice(_STRANGE)
            case 1:
                letters[place:place] = draw.choice(_STRANGE)
            case 2:
                letters[place : place + draw.randrange(1, 4)] = []
            case 3:
                other = draw.randrange(len(letters) + 1)
                letters[place:place] = letters[other : other + draw.randrange(1, 6)]
    return "".join(letters)


_STRANGE = [*"0123456789.,;:!?%$&*+-/=<>|^_~`'\"(){}[]\\ abexyzijoABE\n\t\x00\ud7ffπ√×·²½°−∞∪①５ß…👍",
    r"\frac", r"\sqrt", r"\text{", "{", "}", "()", r"\boxed{", "**", "//", " or ", "million", "and", "e5", "1e400", "E", "I",
    "pi", "lambda", "if", "not", "None", "True", "0x1F", "1_000", "''", "cm", "degrees", "...", r"\\", "!!", "==", "S", "N", "oo",
]  # fmt: skip


def wrapped(draw: random.Random, text: str) -> str:
    """An answer in the form in which a model ends its output."""
    return draw.choice(_ENDS).replace("@", text) if draw.random() < 0.45 else rf"The result is \boxed{{{text}}}."


_ENDS = [
    r"\boxed{@}", r"$\boxed{@}$", r"\[\boxed{@}\]", r"We get 7. \boxed{@} Check: 12", r"\boxed{3} and \boxed{@}", r"\boxed{@",
    r"\boxed @", r"\boxed @$ and so on", r"\fbox{@}", "The answer is @.", "The answer is: $@$", "So the answer is $@$ indeed.",
    r"The final answer is $@$. I hope it is correct.", "Final Answer: The final answer is $@$. I hope it is correct.", "@", "= @",
    "The final answer is @", "the final answer is @\n\nQuestion: 5", "Answer: @", "**Answer:** $@$", "答案是@", "答案是 @\n\nnext",
    "x = 3, so we have @", "I think 5 is close to @ but 12", "", "The choice is @", "answer is @. The choice is (B)", "$@$",
    r"\(@\)", r"$$@$$", "Therefore $x=@$ or $3$", r"\boxed{} @", r"\boxed{@} \boxed{}", "error", "@ \\boxed", "$@$ and $4$",
    r"-\boxed{@}", r"\boxed{\boxed{@}}", r"\boxed{x=@}", r"\boxed{\text{@}}", "It is 12 %. @ percent", r"\boxed{@}\text{ cm}",
]  # fmt: skip
