r"""Text rewriting of MathArena's grader before sympy: boxes made of characters, LaTeX, implied products."""

import re

_SURE = str.maketrans({"√": r"\sqrt", "×": r"\cdot", "\u202f": " ", "−": "-", "π": r"\pi"})
_DRAWN = (("⎧", "⎫"), ("\n│", "│"), ("\n┃", "┃"), ("\n\uf8f0", "\uf8fb"))
_SIZES = ("left", "right", "Bigl", "Bigr", "bigl", "bigr", "Big", "big", "Large", "large")
_ALIGN = re.compile(r"\\begin\{align[^}]*\}(.*?)\\end\{align[^}]*\}", re.DOTALL)
_SIGNS = (
    *(("[", "("), ("]", ")"), (r"\{", "("), (r"\}", ")"), ("$", ""), ("\\ ", " "), (r"\hline", ""), (r"\vline", "")),
    *((r"\quad", " "), ("−", "-"), ("–", "-"), ("·", r" \cdot "), (r"^\circ", " "), (r"^{\circ}", " ")),
    *((r"\displaystyle", ""), (r"\(", "("), (r"\)", ")"), ("{,}", "")),
)
_WORD = re.compile(r"(?:\\text\s*\{\s*)?(?:and|or)(?:\s*\})?", re.IGNORECASE)
_LETTERS = "(?<![a-zA-Z])[a-zA-Z]{1,2}(?![a-zA-Z])"  # one or two lone letters
_COMMANDS = (
    (re.compile(r"\\*[dt]?frac\{([^{}]*)\}\{([^{}]*)\}"), r"(\1)/(\2)"),
    (re.compile(r"\\*binom\{([^{}]*)\}\{([^{}]*)\}"), r"binomial(\1, \2)"),
    (re.compile(r"\\*sqrt\[(.*?)\]\{(.*?)\}"), r"(\2)**(1/(\1))"),
    (re.compile(r"\\*sqrt\((\d+)\)\{([^{}]*)\}"), r"(\2)**(1/(\1))"),
    (re.compile(r"\\*sqrt\{(.*?)\}"), r"(\1)**(1/2)"),
)
_NAMES = (("^", "**"), (r"\cdot", "*"), (r"\times", "*"), (r"\pi", " pi "), (r"\e", " E "), (r"\i", " I "))
_PRODUCTS = (
    (re.compile(rf"(\d|{_LETTERS})\("), r"\1*("),
    (re.compile(rf"\)(\d|{_LETTERS})"), r")*\1"),
    (re.compile(rf"(?<=\d)({_LETTERS})"), r"*\1"),
    (re.compile(rf"({_LETTERS})(?=\d)"), r"\1*"),
)


def with_latex(text: str) -> str:
    """An output with LaTeX boxes for those made of characters, and commands for some signs."""
    for begin, end in _DRAWN:
        text = text.replace(begin, r"\boxed{").replace(end, "}")
    return text.translate(_SURE)


def normalised(text: str, *, many: bool) -> str:
    """An answer with round brackets alone and without styles, units in words and the text before `=`."""
    for command in (*";:,!", *_SIZES):
        text = text.replace(f"\\{command}", "")
    text = _ALIGN.sub(lambda match: match[1].replace("&", "").replace(r"\\", ""), text)
    for sign, other in _SIGNS:
        text = text.replace(sign, other)
    text = text.removesuffix(".")
    text = _separated(text).replace(";", ",") if many else re.sub(r"(?<=\d),(?=\d)", "", text)
    text = text.replace("{,}", "," if many else "")
    if "\\sqrt " in text:
        text = re.sub(r"\\sqrt\s*([^\s{}]*)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\text\{.*?\}", "", text)
    text = re.sub(r"\\mathrm\{(.*?)\}", r" \1 ", text)
    text = text.replace("F_{30}", "832040").rpartition("=")[2]
    text = text.rpartition(r"\in")[2] if many else text
    before, about, _ = text.partition(r"\approx")
    return trimmed(before.removesuffix("(") if about else text)


def _separated(text: str) -> str:
    """A list whose "and" and "or" are commas, or nothing next to a comma."""

    def comma(word: re.Match[str]) -> str:
        before, after = text[: word.start()].rstrip(), text[word.end() :].lstrip()
        return "" if before.endswith(",") or after.startswith(",") else ","

    return _WORD.sub(comma, text)


def trimmed(text: str) -> str:
    r"""A text without blanks, `\n` written out, and line breaks of LaTeX before a bracket, which goes with them."""
    text = text.strip()
    while text.startswith(r"\n"):
        text = text[2:]
    while text.endswith(r"\n"):
        text = text[:-2]
    while text.startswith("\\ "):
        text = text[2:]
    while re.match(r"\\{2,}\n?\(", text):
        text = text[3:]
    return text


def without_brackets(text: str) -> str:
    """A text without the brackets around all of it, as many as there are."""
    while text[:1] == "(" and text[-1:] == ")":
        depth = 0
        for letter in text[:-1]:
            depth += (letter == "(") - (letter == ")")
            if depth == 0:
                return text
        text = text[1:-1]
    return text


def as_python(text: str) -> str:
    """LaTeX as an expression for `sympify`: fractions, roots, powers and implied products."""
    text = _rewritten(text, digits=False)
    text = _rewritten(text, digits=True)
    for product, signed in _PRODUCTS:
        text = product.sub(signed, text)
    return re.sub(r"\{([^{}]*)\}", lambda group: "[" + group[1].replace(",", ", ") + "]", text)


def _rewritten(text: str, *, digits: bool) -> str:
    """Commands inside out, in at most five rounds; `digits`: braces around a number are brackets."""
    for _ in range(5):
        before = text
        if digits:
            text = re.sub(r"\{(\d+)\}", r"(\1)", text)
        for command, function in _COMMANDS:
            text = command.sub(function, text)
        for name, other in _NAMES:
            text = text.replace(name, other)
        text = re.sub(r"\bi\b", "I", text)
        if text == before:
            break
    return text
