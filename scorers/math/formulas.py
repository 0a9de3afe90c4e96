"""Formulas in math delimiters, and lines that are a value and nothing else."""

import re

LATEX = re.compile(
    r"\$\$(.{1,2000}?)\$\$|\$((?:[^$\\\n]|\\.){1,2000}+)\$"
    r"|\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]",
    re.DOTALL,
)


def value_alone(line: str) -> str:
    """A line's value if it holds nothing else: a number, a formula in math delimiters, `x = 4`, a short list."""
    line = re.sub(r"^(?:∴|=>|⇒|→|\\therefore(?![a-zA-Z]))\s*", "", line.strip().strip("*_`").strip())
    line = re.sub(r"\s*[✓✔✅☑]\ufe0f?\s*$", "", line).rstrip(".。").strip()
    formulas = list(LATEX.finditer(line))
    if "box" in line or (formulas and len(formulas) > 20) or (formulas and LATEX.sub("", line).strip(" ,;.&*，、")):
        return ""
    if formulas:
        return ", ".join(map(formula_content, formulas))
    return line if len(line) <= 100 and _is_value(line) else ""


def _is_value(line: str) -> bool:
    if not re.search(r"\d|\\[a-z]", line) or re.search(r"^\d+[.)]$|[?？$]|\d\s+\d", line):
        return False
    plain = re.sub(r"\\[a-zA-Z]+|\b(?:and|or|sqrt|pi|sin|cos|tan|log|ln|exp)\b", " ", line)
    return not re.search(r"(?<!\\)\b[^\W\d_]{2,}|[\u0400-\u0fff\u3040-\ud7ff]", plain)


def formula_content(formula: re.Match[str]) -> str:
    return "".join(filter(None, formula.groups())).strip()
