"""Meanings of LaTeX commands and words in a value: functions, letters, styles, accents, signs."""

import re

SPACE = re.compile(
    r"(?:[\s~\x01]|\\[,;:!> ]|\\(?:q?quad|left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits"
    r"|thinspace|enspace|hfill|mathstrut)(?![a-zA-Z])\.?(?!\d)|\\[hv]space\*?\{[^{}]*\}|\{\}|\\\s)*"
)
COMMAND = re.compile(r"\\([a-zA-Z]+)|\\([%{}|&#_])")
WORD = re.compile(
    r"(?:arc(?:sin|cos|tan|sec|csc)|(?:sin|cos|tan|cot|sec|csc)h?|arsinh|arcosh|artanh|ln|log|lg|exp|sqrt|gcd|lcm|max|min|floor|ceil|sgn|pi)"
)
LONG_WORD = re.compile(r"(?<!\\)(?<![a-zA-Z])[a-zA-Z]{4,}")
IN_COMMAND = re.compile(r"\\(?:text\w*|math\w*|operatorname|mbox|boldsymbol|overline|vec)\s*\{$")
RAW_GROUP = re.compile(r"\s*\{([^{}]*)\}|\s*(\\[a-zA-Z]+|[^\s\\{}])")
MIXED = re.compile(
    r"(?:\s|\\[ ,;:]|~)*\\[dtc]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))"
    r"|(?:\s|\\[ ,;:]|~)+(\d+)\s*/\s*(\d+)(?![\d.])"
)
INDEX = re.compile(r"\s*_\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|([a-zA-Z0-9]|\\[a-zA-Z]+))")
BOUND = re.compile(r"\s*_\s*\{\s*([a-zA-Z])\s*=")
DERIVATIVE = re.compile(r"\\frac\s*\{\s*(?:d|\\partial|\\mathrm\s*\{d\}|\\text\s*\{d\})\s*[\^\\a-zA-Z{}]")
DIGITS = re.compile(r"\d+(?:\.\d+)?")
CIRCLE = re.compile(r"\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z])|\{?\s*\\degree(?![a-zA-Z])\s*\}?)")
TEMPERATURE = re.compile(r"\s*(?:\\(?:text|mathrm)\s*\{)?\s*[CFK]\b")
RAISED = re.compile(r"\s*(?:\{\s*\\prime|\\prime|\{?\s*\\?[*'†]|\{?\s*\\(?:text|mathrm)\s*\{(?!\s*[ei]\s*\}))")
LISTED = re.compile(
    r"(?:\\?(?:gcd|lcm|max|min|Max|Min)|\\(?:operatorname|mathrm|text)\s*\{(?:gcd|lcm|max|min)\}|[CP])\s*(?:\\left)?\s*\\?[({]"
)

FUNCTIONS = {
    **{
        name: name
        for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "sech", "csch")
    },
    **{f"arc{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sec", "csc")},
    **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan")},
    **{f"{dress}{name}h": f"ar{name}h" for name in ("sin", "cos", "tan") for dress in ("ar", "arc")},
    **{"tg": "tan", "ctg": "cot", "cotg": "cot", "cosec": "csc", "arctg": "arctan"},
    **{name: name for name in ("exp", "ln", "log", "lg", "gcd", "lcm", "max", "min", "floor", "ceil", "sgn")},
    **{"sign": "sgn", "signum": "sgn", "abs": "abs", "Gamma": "gamma", "zeta": "zeta", "Re": "re", "Im": "im"},
}
"""Names of functions as written, and their one name in a tree."""
ONLY_WITH_BRACKET = {"gamma", "zeta", "gcd", "lcm", "max", "min", "floor", "ceil", "abs", "re", "im"}
INVERSE = {name: f"arc{name}" for name in ("sin", "cos", "tan", "sec", "csc")} | {
    f"{name}h": f"ar{name}h" for name in ("sin", "cos", "tan")
}
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "omicron", "rho", "varrho", "sigma", "varsigma", "tau", "upsilon", "phi", "varphi",
    "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma", "Upsilon", "Phi", "Psi", "Omega", "ell",
    "hbar", "aleph", "Pi",
}  # fmt: skip
STYLES = {"text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathit", "mathsf", "mathtt", "mathcal", "mathbb",
           "mathfrak", "mbox", "operatorname", "boldsymbol", "bm", "rm", "bf", "it"}  # fmt: skip
ACCENTS = {"vec", "hat", "bar", "tilde", "dot", "ddot", "overline", "widehat", "overrightarrow", "widetilde"}
TIMES = {"times", "cdot", "ast", "bullet"}
FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil"), "lvert": ("rvert", "abs"), "vert": ("vert", "abs")}
SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "π": r"\pi ",
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "°": r"\degree ", "…": r"\ldots ",
        "½": r"\frac12 ", "⅓": r"\frac13 ", "⅔": r"\frac23 ", "¼": r"\frac14 ", "¾": r"\frac34 ", "√": r"\sqrt ",
        "∛": r"\sqrt[3] ", "∜": r"\sqrt[4] ", "∑": r"\sum ", "∏": r"\prod ", "θ": r"\theta ", "φ": r"\varphi ",
        "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "λ": r"\lambda ", "μ": r"\mu ",
        "ω": r"\omega ", "σ": r"\sigma ", "ρ": r"\rho ", "τ": r"\tau ", "ε": r"\varepsilon ", "Δ": r"\Delta ",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "ⅈ": r"\mathrm{i}", "ⅇ": r"\mathrm{e}",
        "²": "^2", "³": "^3", "¹": "^1", "⁴": "^4", "⁵": "^5", "⁶": "^6", "⁷": "^7", "⁸": "^8", "⁹": "^9", "⁰": "^0",
    }
)  # fmt: skip

OPERANDS = {
    "frac", "dfrac", "tfrac", "cfrac", "binom", "dbinom", "tbinom", "sqrt", "pi", "uppi", "imath", "iota", "lfloor",
    "lceil", "lvert", "vert", "sum", "prod",
}  # fmt: skip


GLUED = FUNCTIONS.keys() | GREEK | {"pi", "cdot", "times"}
KNOWN = OPERANDS | GLUED | STYLES | ACCENTS
OTHER = {"infty", "int", "in", "mod", "bmod", "pmod", "div", "over", "choose", "degree", "ldots", "cdots", "dots"}


def command_name(name: str | None) -> str:
    r"""The command that a name is, or begins with: data sets that lost their spaces have `\piG` and `\cotx`."""
    if not name or name in KNOWN or name in OTHER:
        return name or ""
    starts = (name[:length] for length in range(len(name) - 1, 1, -1))
    return next((start for start in starts if start in GLUED), name)
