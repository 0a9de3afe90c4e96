"""Where the final answer stands in a text. Everything here takes linear time, on hostile texts too."""

import re

from .._boxed import last_boxed

_JSON = re.compile(r'"(?:final_)?answer"\s*+:\s*+(?:"((?:[^"\\]|\\.)*+)"|(-?[\d.]++)|\[([^\[\]"]{1,200})\])')
_STATED = re.compile(r"answer(?:\s+to\b[^.\n]{0,80}?)?[\s*]*+(?:is\b|[:：=])[\s*:：]*+", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:(?!\s(?:because|since|where|which)\b|[.!?;](?:[\s*]|$)).)*")
_LATEX = re.compile(
    r"\$\$(.{1,2000}?)\$\$|\$((?:[^$\\\n]|\\.){1,2000}+)\$"
    r"|\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]",
    re.DOTALL,
)
_BETWEEN = re.compile(r"[\s,]*(?:and|or)?\s*")
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|conclu\w+|overall|confident|confirm\w*|final(?:ly)?|indeed|correct|right answer"
    r"|arrived|we (?:have|know|get|find|obtain))\b|^(?:\d+\. )?\**the\b",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*[.\s]*\Z")
_ENDS = re.compile(r"[.!)$*\]}]\Z")
_TAIL = re.compile(
    r"(?:\b(?:is|was|are|were)(?:\s+(?:indeed|exactly|equal\s+to|therefore))?|\bequals|=)\s(?!(?:the|a)\b)"
)


def final_answer(text: str, *, cut: bool = False) -> str | None:
    """The last boxed answer that is not empty, else the last stated one, else what a finished text concludes with.

    None if there is none of them. `cut`: the text ended at a token limit, so that its last sentence concludes nothing.
    """
    return last_boxed(text) or last_json(text) or last_stated(text) or ("" if cut else concluded(text)) or None


def last_json(text: str) -> str:
    """The last `"answer": ...` of a JSON object."""
    found = list(_JSON.finditer(text))
    if not found:
        return ""
    quoted, number, several = found[-1].groups()
    return (number or several or quoted.replace('\\"', '"').replace("\\\\", "\\")).strip()


def last_stated(text: str) -> str:
    """What follows the last "answer is" or "answer:", up to the end of its formulas or of its sentence."""
    for anchor in reversed(list(_STATED.finditer(text))):
        formula = _LATEX.match(text, anchor.end())
        if formula:
            found = [formula]
            while more := _LATEX.match(text, _BETWEEN.match(text, found[-1].end()).end()):  # type: ignore[union-attr]
                found.append(more)
        else:
            sentence = _SENTENCE.findall(text[anchor.end() : anchor.end() + 2000])[0].strip(" \t\r*`_,:")
            found = list(_LATEX.finditer(sentence))
            if sentence and len(found) != 1:
                return str(sentence)
        if found:
            return ", ".join("".join(filter(None, part.groups())).strip() for part in found)
    return ""


def concluded(text: str) -> str:
    """The answer of a last sentence such as "So, the sixth term is 350.", or a bold text at the very end."""
    text = text[-1000:].strip()
    if bold := _BOLD.search(text):
        return bold[1].strip() if re.search(r"\d", bold[1]) else ""
    if not _ENDS.search(text):
        return ""
    shown = [found for found in _LATEX.finditer(text) if found.end() == len(text)]
    before = text[: shown[0].start()].rstrip() if shown else ""
    if before.endswith(":") and _CONCLUDES.search(before.rpartition("\n")[2]):
        return _inside(shown[0])
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]
    for sentence in reversed(sentences[-4:]):
        if re.search(r"\d", sentence):
            return _value(sentence) if _CONCLUDES.search(sentence) else ""
    return ""


def _value(sentence: str) -> str:
    """What a concluding sentence says: its last formula, or what stands behind its last "is" or "="."""
    tails = list(_TAIL.finditer(sentence))
    value = sentence[tails[-1].end() :] if tails else ""
    if not re.search(r"\d", value):
        value = sentence
    formulas = list(_LATEX.finditer(value))
    if formulas and (len(formulas) == 1 or formulas[-1].end() >= len(value.rstrip(".! "))):
        return _inside(formulas[-1])
    return value.rstrip(".! ")


def _inside(formula: re.Match[str]) -> str:
    return "".join(filter(None, formula.groups())).strip()
