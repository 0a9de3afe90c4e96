"""Extracts the final answer of a text. Everything here takes linear time, on hostile texts too."""

import re

from .boxes import boxed_answer, is_placeholder
from .conclusions import conclusion, whole_text
from .formulas import value_alone
from .stated import last_stated, stated_values

_KEY = re.compile(r"""["'](?:(?:final|correct)[ _-]?)?answer["']\s*+:\s*+""", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"|\'((?:[^\'\\\n]|\\.)*+)\'(?=\s*+[,}\]\n])', re.DOTALL)
_SCALAR = re.compile(r"-?[\d.]++(?:[eE][-+]?\d++)?(?:/\d++)?")
_LIST = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]{0,100}\]){1,300}+)\]")
_MOST_KEYS = 2_000
_INNER = re.compile(r'\{[^{}]{0,200}?["\'](?:value|answer|result|latex)["\']\s{0,4}:\s{0,4}')
_TAG = re.compile(r"<(/?)(?:final[_ -]?)?ans(?:wer)?\b[^<>\n]{0,100}>|\[(/?)(?:final[_ -]?)?answer\]", re.IGNORECASE)
_IN_TEXT = re.compile(r"\\(?:text|mathrm|operatorname|mbox)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_TWO_WORDS = re.compile(r"[^\W\d_]{2,}[,;:]?\s+[^\W\d_]{2,}")
_MOST_TAGS = 500
"""Looked into, the last first."""
_HASHES = re.compile(r"^[ \t]*####(?!#)[ \t]*(\S.*)$", re.MULTILINE)


def final_answer(text: str, *, cut: bool = False, values: int = 1) -> str | None:
    """The last boxed answer, else a tagged, a JSON or a stated one, else what a finished text concludes with.

    None if there is no answer. `cut`: the text ended at a token limit, so that its last sentence concludes nothing.
    `values`: how many the reference has; boxes within one statement are as many values then.
    """
    boxed = boxed_answer(text, cut=cut, values=values)
    if boxed:
        return boxed
    return in_tag(text, cut=cut) or json_field(text) or _unboxed_answer(text, cut=cut) or None


def _unboxed_answer(text: str, *, cut: bool) -> str:
    answer = after_hashes(text, cut=cut) or last_stated(text, cut=cut)
    if answer or cut:
        return answer
    return whole_text(text) or conclusion(text) or next(stated_values(text, weak=True), "")


def in_tag(text: str, *, cut: bool = False) -> str:
    """The content of the last `<answer>`; one that is not closed goes to the end of a finished text."""
    if ("<" not in text and "[" not in text) or "ans" not in text.lower():
        return ""
    contents, opened = [], -1
    for tag in _TAG.finditer(text):
        if not (tag[1] or tag[2]):
            opened = tag.end()
        elif opened >= 0:
            contents.append((opened, tag.start()))
            opened = -1
    if opened >= 0 and not cut:
        contents.append((opened, len(text)))
    return next(filter(None, (_tag_answer(text[slice(*span)]) for span in reversed(contents[-_MOST_TAGS:]))), "")


def _tag_answer(content: str) -> str:
    """The answer in the content of a tag: its value, the values of its lines, or what its sentences state."""
    content = content.strip().strip("`").strip()
    if not content or is_placeholder(content):
        return ""
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if len(lines) == 1 and len(content) <= 200:
        return json_field(content) or next(stated_values(content), "") or value_alone(content) or content
    values = [value_alone(line) for line in lines[:50]]
    if all(values):
        return ", ".join(values)
    answer = json_field(content) or _unboxed_answer(content, cut=False)
    return answer or (content if len(lines) == 1 and not _TWO_WORDS.search(_IN_TEXT.sub("", content)) else "")


def after_hashes(text: str, *, cut: bool = False) -> str:
    """The value after the last `####`, as in GSM8K; a heading of that level with words in it does not count."""
    if "####" not in text:
        return ""
    for match in reversed(list(_HASHES.finditer(text))):
        last = not text[match.end() :].strip()
        value = match[1].strip().rstrip("#").strip()
        if cut and last:
            continue
        if lone_value := value_alone(value):
            return lone_value
        if last and re.match(r"[-+]?[\d$\\]", value) and not re.match(r"\d+[.)]\s", value):
            return value
    return ""


def json_field(text: str) -> str:
    """The last `"answer": ...` of a JSON object or a Python dict."""
    if "answer" not in text.lower():
        return ""
    for key in reversed(list(_KEY.finditer(text))[-_MOST_KEYS:]):
        inner = _INNER.match(text, key.end())
        start = inner.end() if inner else key.end()
        if quoted := _QUOTED.match(text, start):
            value = (quoted[1] or quoted[2] or "").replace('\\"', '"').replace("\\\\", "\\")
        elif several := _LIST.match(text, start):
            value = re.sub(r"""["']""", "", several[1]).replace("[", "(").replace("]", ")")
        else:
            scalar = _SCALAR.match(text, start)
            value = scalar[0].rstrip(".") if scalar else ""
        if value.strip() and not is_placeholder(value):
            return value.strip()
    return ""
