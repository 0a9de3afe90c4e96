"""The values of statements such as "the answer is 5" and of headings such as "Final Answer", the last first."""

import re
from collections.abc import Iterator

from .boxes import is_placeholder, refuted
from .conclusions import TAILS, value_of_sentence
from .formulas import LATEX, formula_content, value_alone
from .statements import Language, Stated, denies, statements

_VALUE_OF_A_LIST = r"\s*+[^\s;=]*\d[^\s;=]*+(?:;|[ \t]*(?:\n|$))"
_SENTENCE = re.compile(
    rf"(?:(?!\s(?:because|since|where|which)\b|(?:(?<!\bRs)\.|[!?]|;(?!{_VALUE_OF_A_LIST}))(?:[\s*\]}})\"”]|$)|[。！？；।])"
    r"(?:\\[!;.,:]|.))*"
)
r"""Ends at no `\!` and `\;`, and at no `;` between values."""
_LONGEST_SENTENCE = 2000
_MOST_STOPS = 5
_BETWEEN = re.compile(r"[\s,，、]*(?:and\b|or\b|und\b|et\b|y\b|e\b|и\b|和|与|或|と|または|와|과)?\s*")
_FILLER = re.compile(
    r"[\s*_:：`]*+(?:(?:therefore|thus|then|hence|indeed|simply|just|clearly|exactly|given by|found to be|equal to|also"
    r"|donc|bien|also|daher|somit|por tanto|por lo tanto|entonces|então|quindi|dunque|dus|więc|tehát|следовательно|итак"
    r"|as follows|the following)\b[\s,:*]*+){0,3}[\s*_:：`]*+",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[^\n.!。]{0,80}[?？]")
_SENTENCES = re.compile(r"[.!?。]\s+\S[^.!?。]*[.!?。]\s+\S|\n\s*\n\s*\S")
_BULLET = re.compile(r"[ \t]*(?:[-*•+]|\(?\w{1,2}[.)])[ \t]+(\S.*)")
_SUBJECT = re.compile(r"(?!\\[dtc]?(?:frac|sqrt|binom|pi)(?![a-zA-Z]))\\?[a-zA-Z][^=<>]*")
_PREDICATE = re.compile(
    r"\s*(?:is|equals|are|was|=)\s+(?:(?:approximately|about|exactly|equal to|therefore|thus)\s+)?(?=[-+−]?\$?\d)"
)
_DOUBTED = re.compile(
    r"[\s.!$*)]{0,6}(?:But|However|Though|Although|Still)\b,? I(?:['’]m| am) (?:still |really )?not"
    r" (?:(?:entirely|completely|totally|quite|fully|absolutely|so|very|100%) )?(?:sure|certain|confident|convinced)\b",
    re.IGNORECASE,
)
_LONG_REST = 400
_MOST_HEADINGS = 20
"""Maximum number of headings, the last first: the text below is read again for each."""
_VAGUE = re.compile(
    r"(?:in|to|as|for|of|with|by|on|at|from|that|what|when|how|below|above|here|likely|probably|possibly|maybe"
    r"|the same|an? (?:fraction|integer|number|decimal|whole|list|single|positive|real))\b",
    re.IGNORECASE,
)


def last_stated(text: str, *, cut: bool = False) -> str:
    """The text after the last "answer is" or "answer:", up to the end of its formulas or of its sentence."""
    return next(stated_values(text, cut=cut), "")


def stated_values(text: str, *, cut: bool = False, weak: bool = False, nested: bool = False) -> Iterator[str]:
    """The values of all statements, the last first; the `weak` ones name a result or a solution.

    `nested`: the text is below a heading already; headings in it are skipped.
    """
    headings = 0
    for stated in statements(text):
        headings += stated.heading
        if stated.heading and (nested or headings > _MOST_HEADINGS):
            continue
        if stated.weak is not weak or (weak and _SENTENCES.search(text, stated.start)):
            continue
        value, end = _value_below(text, stated) if stated.heading else _value_after(text, stated)
        if not value or is_placeholder(value) or refuted(text, end) or (cut and end >= len(text.rstrip())):
            continue
        if _DOUBTED.match(text, end) and len(text) - end > _LONG_REST:
            continue
        yield value


def _value_after(text: str, stated: Stated) -> tuple[str, int]:
    """The value after a statement and its end; "" if it is asked or denied."""
    start = _FILLER.match(text, stated.start).end()  # type: ignore[union-attr]
    formula = LATEX.match(text, start)
    if formula:
        formulas_in_row = [formula]
        while next_formula := LATEX.match(text, _BETWEEN.match(text, formulas_in_row[-1].end()).end()):  # type: ignore[union-attr]
            formulas_in_row.append(next_formula)
        end = formulas_in_row[-1].end()
        if _is_denied(text, end, stated.language):
            return "", end
        return ", ".join(formula_content(part) for part in formulas_in_row), end
    end = _end_of_sentence(text, start)
    sentence = text[start:end]
    if denies(sentence, stated.language) or text[end : end + 1] in ("?", "？"):
        return "", end
    sentence = TAILS.sub("", sentence).strip(" \t\r*`_,:")
    formulas = list(LATEX.finditer(sentence))
    if _VAGUE.match(sentence):
        return "", end
    if sentence and len(formulas) != 1:
        return sentence, end
    return (_predicate(sentence, formulas[0]) if formulas else ""), end


def _end_of_sentence(text: str, start: int) -> int:
    r"""The end of a sentence; a point or exclamation mark inside braces (`\frac{20!}{10!}`) does not end it."""
    last = min(start + _LONGEST_SENTENCE, len(text))
    end = first = _SENTENCE.match(text, start, last).end()  # type: ignore[union-attr]
    for _ in range(_MOST_STOPS):
        sentence = text[start:end]
        if sentence.count("{") <= sentence.count("}") or end >= last or text[end] not in ".!?;":
            break
        end = _SENTENCE.match(text, end + 1, last).end()  # type: ignore[union-attr]
    return end if text.count("{", start, end) == text.count("}", start, end) else first


def _predicate(sentence: str, formula: re.Match[str]) -> str:
    r"""The only formula of a statement, or the number that it is said to be: `the value of $n$ is 5`."""
    inside = formula_content(formula)
    link = _PREDICATE.match(sentence, formula.end()) if _SUBJECT.fullmatch(inside) else None
    return sentence[link.end() :] if link else inside


def _is_denied(text: str, end: int, language: Language) -> bool:
    """Whether the rest of a sentence after its formula denies or asks it."""
    rest = text[end : end + 80]
    return _QUESTION.match(rest) is not None or denies(re.split(r"[\n.。]", rest)[0], language)


def _value_below(text: str, stated: Stated) -> tuple[str, int]:
    """The value in the paragraph below a heading such as "Final Answer"."""
    start = (
        stated.start
        + len(text[stated.start : stated.start + 200])
        - len(text[stated.start : stated.start + 200].lstrip())
    )
    paragraph = re.split(r"\n\s*\n", text[start : start + 1000], maxsplit=1)[0]
    end = start + len(paragraph)
    lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
    if not lines:
        return "", end
    items = [_BULLET.fullmatch(line) for line in lines]
    values = [value_alone(item[1] if item else line) for item, line in zip(items, lines, strict=True)]
    if all(values) and (len(values) == 1 or all(items)):
        return ", ".join(values), end
    formula = LATEX.match(text, start)
    if formula and not text[formula.end() : end].strip(" .*\n"):
        return formula_content(formula), formula.end()
    inner = next(stated_values(paragraph, nested=True), "")
    return inner or (value_of_sentence(lines[0]) if len(lines) == 1 and len(lines[0]) <= 200 else ""), end
