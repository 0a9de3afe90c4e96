r"""Characters and list words of all scripts in the notation that the parsers read: ASCII digits and LaTeX commands.

Compatibility normalization (NFKC) would change meanings (`²` to `2`, `½` to `1⁄2`), so every class of characters has
its own rule. Everything here takes linear time.
"""

import re
import unicodedata
from typing import Any

_LONGEST_COMPOSED = 5_000
"""Canonical ordering of combining marks is quadratic in CPython; longer texts are left as they are written."""
_MOST_CACHED = 5_000

_COMMANDS = {
    "×✕✖⨯╳": "times", "·⋅∙•・‧⸱": "cdot", "≤≦⩽": "le", "≥≧⩾": "ge", "≠": "ne", "±": "pm", "∓": "mp", "∞": "infty",
    "∅⌀": "emptyset", "∪": "cup", "∩": "cap", "∈": "in", "∉": "notin", "∋": "ni", "⊂": "subset", "⊆": "subseteq",
    "⊃": "supset", "⊇": "supseteq", "∖": "setminus", "∧": "land", "∨": "lor", "¬": "neg", "→⟶": "to", "↦": "mapsto",
    "⇒⟹": "Rightarrow", "⇔⟺": "Leftrightarrow", "∑": "sum", "∏": "prod", "∫": "int", "∂": "partial", "∇": "nabla",
    "≈≃": "approx", "∼～〜": "sim", "≡": "equiv", "≅": "cong", "∝": "propto", "…": "ldots", "⋯": "cdots",
    "∠": "angle", "△": "triangle", "⊥": "perp", "∥": "parallel", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil",
    "⌉": "rceil", "⟨〈〈": "langle", "⟩〉〉": "rangle", "⊕": "oplus", "⊗": "otimes", "∘": "circ", "∀": "forall",
    "∃": "exists", "∴": "therefore", "∵": "because", "ℓ": "ell", "℘": "wp", "ℵ": "aleph", "ℏ": "hbar",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ϵ": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "ϑ": "vartheta", "ι": "iota", "κ": "kappa", "λ": "lambda", "ν": "nu", "ξ": "xi", "π": "pi",
    "ρ": "rho", "ς": "varsigma", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "varphi", "ϕ": "phi", "χ": "chi",
    "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ∆": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi",
    "Σ": "Sigma", "Υ": "Upsilon", "Φ": "Phi", "Ψ": "Psi",
}  # fmt: skip
_CHARACTERS = {
    "−–—‒―‐‑﹣－➖˗": "-", "＋➕﹢": "+", "÷⁄∕／➗": "/", "∗＊": "*", "∶：": ":", "；؛﹔": ";", "，،︐﹐､": ",",
    "、": ", ", "。｡．": ".", "٫": ".", "٬": ",", "％﹪٪": "%", "（﹙❨": "(", "）﹚❩": ")", "【〔［": "[",
    "】〕］": "]", "｛": r"\{", "｝": r"\}", "∣": "|", "‖": r"\|", "′ʹ‘’＇‚‛": "'", "″": "''", "‴": "'''",
    "“”„‟«»＂〝〞": '"', "「」『』": "", "\u20e3": "", "\u2028\u2029\u0085": " ",
    "°º˚": r"^\circ", "℃": r"^\circ C", "℉": r"^\circ F", "ⅈ": "i", "ⅇ": "e", "ⅆ": "d", "ⅉ": "j",
}  # fmt: skip
_FIXED: dict[int, str] = {
    **{ord(character): f"\\{name} " for group, name in _COMMANDS.items() for character in group},
    **{ord(character): plain for group, plain in _CHARACTERS.items() for character in group},
}
_KEPT_CONTROLS = "\t\n\v\f\r"
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁱⁿᵃᵇᶜᵈᵉᵏᵐᵖᵗˣʸᶻ", "0123456789+-=()inabcdekmptxyz", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑᵢⱼₖₗₘₙₚₓ", "0123456789+-=()aeijklmnpx", strict=True))
_RAISED_DIGITS, _LOWERED_DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹", "₀₁₂₃₄₅₆₇₈₉"
_SMALL_FRACTION = re.compile(f"(?<![{_RAISED_DIGITS}])([{_RAISED_DIGITS}]++)[/⁄∕]([{_LOWERED_DIGITS}]++)")
_RAISED_RUN = re.compile(f"[{''.join(map(re.escape, _RAISED))}]+")
_LOWERED_RUN = re.compile(f"[{''.join(map(re.escape, _LOWERED))}]+")
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_ROOT = re.compile(r"([√∛∜])[ \t]*(?:(\d+(?:\.\d+)?|[a-zA-Z])|(?=([{(]))|)")
_BRACKETED = re.compile(r"(\\sqrt(?:\[[34]\])?)\(([^()]{1,200})\)")
_OVERLINED = re.compile("((?:[0-9A-Za-z]\u0305)+)")
_ARROWED = re.compile("([A-Za-z])\u20d7")
_ESCAPED = re.compile(r"\x0c(?=rac\b|box\b)|\x08(?=inom\b|oxed\b|egin\b|ar\b|eta\b)|\t(?=ext\{|imes\b|frac\b|heta\b)")
_UNESCAPED = {"\x0c": r"\f", "\x08": r"\b", "\t": r"\t"}

_LANGUAGES_AND = (
    "和 与 與 及 以及 还有 と および 와 과 그리고 und et y e и і i en og och ja ve và dan oraz και és și şi"
    " و ו और एवं এবং และ"
)
_LANGUAGES_OR = (
    "或 或者 或是 または 又は もしくは 또는 혹은 oder ou o u или або lub of eller tai veya hoặc atau ή vagy sau nebo"
    " أو או या বা অথবা หรือ"
)
_AND, _OR = ("|".join(words.split()) for words in (_LANGUAGES_AND, _LANGUAGES_OR))
_LONE_LETTERS = {"i"}
"""List words that are formulas without the braces of a text around them: `3 i 4`."""
_STYLED_WORD = re.compile(rf"\\(?:text|mathrm|textrm|mbox)\s*+\{{\s*+(?:({_AND})|({_OR}))\s*+\}}")
_LONE_SYMBOL = re.compile(r"\{[a-z]\}\Z")
_SPACED_WORD = rf"\s{{1,4}}(?:({_AND})|(?:{_OR}))\s{{1,4}}"
_CLOSE_WORD = r"\s{0,4}(?:(和|与|與|及|以及|と|와|과)|(?:或者?|または|또는))\s{0,4}"
_BARE_WORD = re.compile(
    rf"(?<=[\d)}}\]$])(?:{_SPACED_WORD}|{_CLOSE_WORD})(?=[-+]?[\d\\($.]|[-+]?[a-zA-Z](?:_\w)?\s?=|√)"
)
_CYRILLIC_NAME = re.compile(r"(?<![^\W\d_])[ху](?=\s?[=<>]|\s?\\(?:le|ge|ne|in)\b|\^)")

_HAN_DIGITS = {**dict(zip("〇零一二三四五六七八九", (0, *range(10)), strict=True)), "两": 2, "兩": 2}
_HAN_PLACES = {"十": 10, "百": 100, "千": 1000}
_HAN_GROUPS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_HAN = f"[{''.join([*_HAN_DIGITS, *_HAN_PLACES, *_HAN_GROUPS])}]{{1,20}}"
_HAN_NUMBER = re.compile(rf"\s*([负負]?)({_HAN})(?:分之({_HAN}))?\s*。?\s*")


class _Table(dict[int, str]):
    """Replacements of characters, computed at first use."""

    def __missing__(self, code: int) -> str:
        plain = _plain_character(chr(code))
        if len(self) < _MOST_CACHED:
            self[code] = plain
        return plain


def plain(text: str) -> str:
    r"""The text with ASCII digits, punctuation and LaTeX commands for those of other scripts, invisible ones dropped.

    Idempotent; ASCII text without control characters is unchanged. Powers stay powers (`x²` is `x^2`), and a text
    that is one Chinese numeral becomes its digits.
    """
    if text.isascii():
        return text if text.isprintable() else _escapes(text).translate(_TABLE)
    if han := _HAN_NUMBER.fullmatch(text[:100] if len(text) <= 100 else ""):
        return _han(*han.groups(""))
    text = _escapes(text)
    if len(text) <= _LONGEST_COMPOSED:
        text = unicodedata.normalize("NFC", text)
    text = _SMALL_FRACTION.sub(lambda run: rf"\frac{{{_digits(run[1], _RAISED)}}}{{{_digits(run[2], _LOWERED)}}}", text)
    text = _RAISED_RUN.sub(lambda run: _script("^", _digits(run[0], _RAISED)), text)
    text = _LOWERED_RUN.sub(lambda run: _script("_", _digits(run[0], _LOWERED)), text)
    text = text.translate(_TABLE)
    text = _OVERLINED.sub(lambda run: rf"\overline{{{run[1].replace(chr(0x305), '')}}}", text)
    text = _ARROWED.sub(r"\\vec{\1}", text)
    text = _ROOT.sub(_root, text)
    text = _BRACKETED.sub(r"\1{\2}", text) if "\\sqrt" in text else text
    return _CYRILLIC_NAME.sub(lambda name: "x" if name[0] == "х" else "y", text)


def english_list_words(text: str) -> str:
    r"""The text with the words that join values in other languages (`1 oder 2`, `1和2`) as `and` and `or`."""
    text = _STYLED_WORD.sub(_styled_list_word, text)
    return _BARE_WORD.sub(_list_word, text)


def _plain_character(character: str) -> str:  # noqa: PLR0911 - a rule, a return
    if (fixed := _FIXED.get(ord(character))) is not None:
        return fixed
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cf"):
        return character if character in _KEPT_CONTROLS else ""
    if kind == "Zs":
        return " "
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
        return ""
    form, _, rest = unicodedata.decomposition(character).partition(" ")
    if form == "<fraction>":
        over, _, under = "".join(chr(int(code, 16)) for code in rest.split()).partition("⁄")
        return rf"\frac{{{over}}}{{{under}}}" if under else f"{over}/"
    if form in ("<font>", "<wide>", "<narrow>", "<small>"):
        letter = chr(int(rest.split()[0], 16))
        if "DOUBLE-STRUCK CAPITAL" in unicodedata.name(character, ""):
            return rf"\mathbb{{{letter}}}"
        return _FIXED.get(ord(letter), letter)
    return character


_TABLE: Any = _Table()


def _escapes(text: str) -> str:
    r"""Restore the backslashes that a JSON reader took for escapes: a form feed and `rac` was `\frac`."""
    return _ESCAPED.sub(lambda match: _UNESCAPED[match[0]], text)


def _digits(run: str, table: dict[str, str]) -> str:
    return "".join(table[character] for character in run)


def _script(sign: str, inside: str) -> str:
    return f"{sign}{inside}" if len(inside) == 1 else f"{sign}{{{inside}}}"


def _root(match: re.Match[str]) -> str:
    command = _ROOTS[match[1]]
    return f"{command}{{{match[2]}}}" if match[2] else command if match[3] else f"{command} "


def _list_word(match: re.Match[str]) -> str:
    both = match[1] or match[2]
    if match[0].strip() in _LONE_LETTERS:
        return match[0]
    return " and " if both else " or "


def _styled_list_word(match: re.Match[str]) -> str:
    r"""The joining word of a style command; one letter alone (`\mathrm{i}`, `\text{e}`) is a symbol without blanks."""
    if _LONE_SYMBOL.search(match[0]):
        return match[0]
    return r"\text{ and }" if match[1] else r"\text{ or }"


def _han(sign: str, number: str, over: str) -> str:
    value = f"{_han_value(over)}/{_han_value(number)}" if over else str(_han_value(number))
    return f"-{value}" if sign else value


def _han_value(number: str) -> int:
    if all(character in _HAN_DIGITS for character in number):
        return int("".join(str(_HAN_DIGITS[character]) for character in number))
    total = group = digit = 0
    for character in number:
        if character in _HAN_DIGITS:
            digit = _HAN_DIGITS[character]
        elif character in _HAN_PLACES:
            group += (digit or 1) * _HAN_PLACES[character]
            digit = 0
        else:
            total = (total + group + digit) * _HAN_GROUPS[character]
            group = digit = 0
    return total + group + digit
