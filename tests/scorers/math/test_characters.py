"""Characters of all scripts in the notation that the parsers read: what they mean must not change."""

import random
import sys
import unicodedata

import pytest

from m1eval import load
from tests.hostile import UNITS, growth, repeated

math = load("scorers", "math")
characters = math.notation.characters
plain, list_words = characters.plain, characters.english_list_words

PLAIN = {
    "７０": "70", "٧٠": "70", "۷۰": "70", "७०": "70", "৭০": "70", "๗๐": "70", "𝟕𝟎": "70", "𝟟𝟘": "70",
    "７．５": "7.5",
    "１，２": "1,2", "1、2": "1, 2", "1；2": "1;2", "x＝1": "x=1", "1／2": "1/2", "１＋２": "1+2",
    "－３": "-3", "５％": "5%",
    "（１，２）": "(1,2)", "［１，２］": "[1,2]", "｛1｝": r"\{1\}", "70。": "70.", "٣٫١٤": "3.14", "١٬٠٠٠": "1,000",
    "1،2": "1,2", "−3": "-3", "–3": "-3", "‑3": "-3", "﹣3": "-3", "2×3": r"2\times 3", "2✕3": r"2\times 3",
    "2·3": r"2\cdot 3", "2⋅3": r"2\cdot 3", "2∙3": r"2\cdot 3", "6÷2": "6/2", "1⁄2": "1/2", "1∕2": "1/2",
    "x²": "x^2", "x¹²": "x^{12}", "xⁿ": "x^n", "x⁻¹": "x^{-1}",
    "2ˣ": "2^x", "x₁": "x_1", "a₁₂": "a_{12}", "101₂": "101_2",
    "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "⅛": r"\frac{1}{8}", "2½": r"2\frac{1}{2}",
    "¹⁄₂": r"\frac{1}{2}", "³/₄": r"\frac{3}{4}", "5³⁄₄": r"5\frac{3}{4}", "√5": r"\sqrt{5}", "∛5": r"\sqrt[3]{5}",
    "∜2": r"\sqrt[4]{2}", "2√3": r"2\sqrt{3}", "√(x+1)": r"\sqrt{x+1}", "√{5}": r"\sqrt{5}", "√25": r"\sqrt{25}",
    "2π": r"2\pi ", "𝜋": r"\pi ", "α": r"\alpha ",
    "Δ": r"\Delta ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "𝑥": "x",
    "𝐱": "x", "30°": r"30^\circ", "30º": r"30^\circ", "∞": r"\infty ", "∅": r"\emptyset ", "x≤5": r"x\le 5",
    "x≥5": r"x\ge 5", "x⩽5": r"x\le 5",
    "x≠5": r"x\ne 5", "⌊x⌋": r"\lfloor x\rfloor ", "⟨1,2⟩": r"\langle 1,2\rangle ",
    "x≈1": r"x\approx 1", "a≡1": r"a\equiv 1", "x′": "x'", "x’": "x'", "1\u00a0000": "1 000", "1\u202f000": "1 000",
    "7\u200b0": "70", "\u200e70\u200f": "70", "\u202a70\u202c": "70", "7\ufe0f\u20e3": "7", "\ufeff70": "70",
    "0.3\u0305": r"0.\overline{3}", "0.1\u03052\u0305": r"0.\overline{12}", "a\u20d7": r"\vec{a}",
    "cafe\u0301": "café", "七十": "70", "一百二十三": "123", "二〇二四": "2024", "三分之二": "2/3", "负五": "-5",
    "三万五千": "35000", "\x0crac{1}{2}": r"\frac{1}{2}", "\x08inom{5}{2}": r"\binom{5}{2}", "\text{cm}": r"\text{cm}",
    "7\x000": "70", "Ｅ": "E", "х=1": "x=1",
}  # fmt: skip
KEPT = ["70", r"\frac{1}{2}", "x^2 + y_1", "a, b; c", "{1, 2}", "~", r"1\,000", "5 μm", "5 Ω", "Paris", "Ответ"]
KEPT += ["café", "第一"]
WORDS = {
    r"1\text{ 和 }2": r"1\text{ and }2",
    r"1 \text{ oder } 2": r"1 \text{ or } 2", r"1\text{ et }2": r"1\text{ and }2",
    r"1\text{或}2": r"1\text{ or }2", "1和2": "1 and 2",
    "1 und 2": "1 and 2", "1 oder 2": "1 or 2", "1 y 2": "1 and 2",
    "1 ou 2": "1 or 2", "x=1 или x=2": "x=1 or x=2",
    "$1$ et $2$": "$1$ and $2$", "1 または 2": "1 or 2", "1와 2": "1 and 2",
    "1 i 2": "1 i 2", "3 e^2": "3 e^2", "2y": "2y", "Paris et Londres": "Paris et Londres", "x y z": "x y z",
    "a o b": "a o b", "1 and 2": "1 and 2", "2 y": "2 y", r"\text{oder}": r"\text{ or }",
}  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_a_character_becomes_what_it_means(text):
    assert plain(text) == PLAIN[text]


@pytest.mark.parametrize("text", KEPT)
def test_what_is_plain_or_a_word_is_kept(text):
    assert plain(text) == text


@pytest.mark.parametrize("text", WORDS)
def test_list_words_are_english_between_values_alone(text):
    assert list_words(text) == WORDS[text]


def test_plain_is_idempotent():
    pieces = [*"1x {}\\²⁄₂½√(和七７٫éπ", "\u0301", "\u0305"]
    for seed in range(4000):
        some = random.Random(seed)
        text = "".join(some.choice(pieces) for _ in range(some.randrange(1, 9)))
        once = plain(text)
        assert plain(once) == once, text


def test_every_character_alone_is_settled_at_once():
    for code in range(0, sys.maxunicode, 7):
        once = plain(chr(code))
        assert plain(once) == once, hex(code)


def test_ascii_without_controls_is_unchanged():
    for seed in range(300):
        some = random.Random(seed)
        text = "".join(chr(some.randrange(32, 127)) for _ in range(40))
        assert plain(text) == text


def test_all_decimal_digits_become_ascii():
    digits = [chr(code) for code in range(sys.maxunicode) if chr(code).isdecimal()]
    assert len(digits) > 600
    assert all(plain(digit) == str(unicodedata.decimal(digit)) for digit in digits)


@pytest.mark.parametrize("unit", [*UNITS.values(), "²/", "√(", "1和", "½", "x\u0305", "\\text{oder", "七", "１", "𝟕"])
def test_plain_takes_linear_time(unit):
    assert growth(lambda text: list_words(plain(text)), repeated(unit), 3_000) < 8
