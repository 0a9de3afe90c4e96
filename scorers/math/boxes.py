r"""The answer in the boxes of a text: one value, or several where boxes stand next to each other in one statement."""

import re
from collections.abc import Callable
from itertools import pairwise

from .._boxed import Box, boxes
from .notation import number, split, tidy
from .statements import NOUNS

_MOST_VALUES = 20
_LONGEST_READ = 400
_STYLE = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|bf|rm)"
_PLACEHOLDER = re.compile(
    r"(?:(?:put|insert|write|enter)?(?:the|your|my|final|correct|numeric(?:al)?|single|exact)*"
    r"(?:answer|ans|result|value|solution|number|integer|expression|content|text|here)*"
    r"|\.{2,}|…|\?+|\\(?:[lcd]?dots|square|ldotp|quad|ast|star|bullet|cdot)|x{3,}|-{2,}|#+)"
    r"(?:here)?(?:\.{3})?"
)
_SPOKEN_ABOUT = re.compile(
    r"(?:\b(?:e\.g\.|for example|for instance|such as|like"
    r"|(?:in|of|using|use) the (?:form|format|notation|command|macro)(?: of)?"
    r"|the (?:form|format|notation|command|macro|template)|(?:例如|比如|形如|格式)[为是]?)[,:\s]*[`$(\"'“]*\s*)\Z",
    re.IGNORECASE,
)
_REFUTED = re.compile(
    r"[\s$.,;!)\]}*\\-]{0,12}(?:(?:but|oh|hmm+|oops|no|wait|hold on|actually|sorry|correction)\b[\s,.!:…-]{0,6}){0,4}"
    r"(?:(?:that|this|it)(?:['’]s| is| was| seems| looks| can['’]t be| cannot be| isn['’]t| is not)"
    r"(?: (?:wrong|incorrect|right|correct|not right|not correct|not it|a mistake|an error|mistaken))"
    r"|(?:is|was) (?:wrong|incorrect|not (?:right|correct))|scratch that|I made (?:a|an) (?:mistake|error)"
    r"|不对|错了|有误|这是错)",
    re.IGNORECASE,
)
_AFFIRMED = re.compile(r"\b(?:is|was|['’]s|seems|looks) (?:right|correct)$", re.IGNORECASE)
_HEAD = re.compile(
    rf"(?P<style>{_STYLE}\s*\{{)?\s*(?P<words>[^{{}}\\$=:：\d]{{1,40}})"
    r"(?:(?P<sign>[:：=])\s*(?P<end>\}?)|(?P<end2>\}))"
)
_PREFIX = re.compile(r"\A(?:(?:最终|最後|最后)?答案(?:就?[是为為])?|[一总總]?共有?)\s*(?=-?[\d\\$])")
_NAME = (
    r"(?:\\(?!text|boxed)[a-zA-Z]+|[A-Za-z]{1,2})(?:_\{?\w{1,6}\}?)?'*(?:\(\s*[\w,]{1,6}\s*\))?\s*(?:=|\\approx|:)\s*-?"
)
_MARKER = r"(?:[-*•+]|\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)])(?=[\s*$\\])"
_WORDS = "and|or|as well as|und|oder|et|ou|y|o|e|и|или|和|与|或|以及|、|，|；|と|または|와|과|및|또는"
_WORD = rf"(?:{_WORDS})(?![a-zA-Zа-я])"
_BETWEEN = re.compile(
    rf"(?:\.(?=\s*\n\s*{_MARKER})|{_NAME}|[\s,;&]|\$+|\\[()\[\],;:! \\]|\\q?quad|\*\*|(?<=\n)\s*+{_MARKER}"
    rf"|\((?:\d|[a-zA-Z]|[ivx]{{1,4}})\)(?=\s)"
    rf"|(?<=\s){_WORD}|(?<=\$){_WORD}|(?<=\}}){_WORD}|{_STYLE}\s*\{{\s*(?:{_WORD}|,)?\s*\}})*+"
)
_LISTED = re.compile(r"[=,;&:、，；]|[^\W\d_]")
_BREAK = re.compile(
    r"[.!?。]\s+(?![-*•\d(])|\n\s*\n\s*(?![-*•\d($\\])|\b(?:so|thus|therefore|hence|then|wait|final|answer|step|because"
    r"|since|which|simplif\w+|check\w*|now|next|finally|but|however|instead|not|wrong|incorrect|mistake|actually|from"
    r"|using|with|when|if|given|gives?)\b|[=≈]\s*\$*\s*\Z|(?:所以|因此|最终|答案)",
    re.IGNORECASE,
)


def boxed_answer(text: str, *, cut: bool = False, values: int = 1) -> str:
    r"""The answer in the last boxes; `""` where there is none.

    Boxes with nothing but names, "and", commas and math delimiters between them are values of one answer; where the
    reference has several `values`, so are as many boxes of one sentence or list.
    """
    candidates = [box for box in boxes(text, unclosed=not cut) if not is_placeholder(box.content)]
    unmentioned = [box for box in candidates if not _SPOKEN_ABOUT.search(text, max(0, box.start - 60), box.start)]
    candidates = unmentioned or candidates
    while candidates and refuted(text, candidates[-1].end):
        candidates.pop()
    if not candidates:
        return ""
    close = _last_chain(text, candidates, _is_close)
    if len(close) == 1 and values > 1:
        loose = _last_chain(text, candidates, _is_loose)
        close = loose if len(loose) == values else close
    contents = [undressed(box.content) for box in close]
    gaps = [text[before.end : after.start] for before, after in pairwise(close)]
    if len(contents) == values > 1 and all(map(_LISTED.search, gaps)):
        return ", ".join(contents)
    return _joined(contents)


def how_many(reference: str) -> int:
    """The number of values of a reference: a list's, tuple's or set's, else 1."""
    text = tidy(reference)
    if number(text) is not None:
        return 1
    inside = re.fullmatch(r"\\?[({](.*?)\\?[)}]", text)
    return max(1, len(split(text)), len(split(inside[1])) if inside else 0)


def refuted(text: str, end: int) -> bool:
    """Whether the words behind an answer say that it is wrong."""
    match = _REFUTED.match(text, end)
    return match is not None and not _AFFIRMED.search(match[0])


def is_placeholder(content: str) -> bool:
    r"""Whether a box holds the word or the sign for an answer in place of one: `\boxed{answer}`, `\boxed{...}`."""
    if len(content) > 60:
        return False
    plain = re.sub(rf"{_STYLE}(?![a-zA-Z])|[\s{{}}$<>\[\]_\"'“”`]|\\[ ,;:!_]", "", content)
    return _PLACEHOLDER.fullmatch(plain.lower()) is not None or plain.lower() in NOUNS


def undressed(content: str) -> str:
    r"""A box's content without comments, braces around all of it, and the word "answer" before the value."""
    content = content.strip()
    if (head := _HEAD.match(content)) and _names_the_answer(head["words"].lower()):
        rest = content[head.end() :].lstrip(" :：=~\\,;")
        if head["style"] and not head["end"] and not head["end2"]:
            rest = rest.removesuffix("}") if rest.count("}") > rest.count("{") else ""
        content = rest.strip() or content
    content = _PREFIX.sub("", content)
    while content.startswith("{") and content.endswith("}") and "{" not in content[1:-1] and "}" not in content[1:-1]:
        content = content[1:-1].strip()
    return content


def _names_the_answer(words: str) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(noun)}", words) for noun in NOUNS)


def _last_chain(text: str, candidates: list[Box], joins: Callable[[str, int, int], bool]) -> list[Box]:
    """The last box and those before it that the text between joins to it."""
    first = len(candidates) - 1
    while first and joins(text, candidates[first - 1].end, candidates[first].start):
        first -= 1
    return candidates[first:]


def _is_close(text: str, start: int, end: int) -> bool:
    return end - start <= 120 and _BETWEEN.fullmatch(text, start, end) is not None


def _is_loose(text: str, start: int, end: int) -> bool:
    return end - start <= 160 and not _BREAK.search(text[start:end])


def _joined(contents: list[str]) -> str:
    """One list of the distinct values; the last box alone where it repeats the others, or where there are too many."""
    if len(contents) == 1:
        return contents[0]
    keys = [_normalize(content) for content in contents]
    listed = split(tidy(contents[-1])) if len(contents[-1]) <= _LONGEST_READ else []
    last = {keys[-1], *map(_normalize, listed)}
    if len(set(keys)) > _MOST_VALUES or last.issuperset(keys):
        return contents[-1]
    return ", ".join(dict(zip(keys, contents, strict=True)).values())


def _normalize(content: str) -> str:
    """The same for notations of one value that differ in dress alone."""
    if len(content) > _LONGEST_READ:
        return content
    plain = tidy(content)
    value = number(plain)
    return re.sub(r"\s|^\\?[a-zA-Z]\w*\s*=", "", plain) if value is None else f"{value.value}"
