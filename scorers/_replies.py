"""Parses the verdict in a judge's reply. It ends the reply, and a quotation is never one (`_quotations.py`).

Decoration of a verdict does not matter: emphasis, brackets and quotes around the name alone, a full stop, lower case,
blanks for underscores, full-width letters. Everything takes linear time.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any

from ._quotations import INTRODUCTION, block_quoted, last_fence, mentioned, objects, open_quote, own_lines

_DRESS = " \t\r\f\v\u00a0*_`$"
_PAIRS = {('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("«", "»"), ("「", "」"), ("(", ")"), ("[", "]"), ("{", "}")}
_LONGEST_NAME = 80
"""Characters after a label that can still be a verdict."""
_LONGEST_LINE = 400
"""Characters of a line with a label that are read."""


def verdict_line(reply: str, by_name: Mapping[str, str], answer: str, label: str = "verdict") -> str | None:
    """The verdict of a last line such as `Verdict: YES`; None if there is none, or if another line contradicts it.

    `by_name`: the verdicts by their names in capitals. A line that is also in the `answer`, word for word, is a
    quotation unless it is the last. The name may be on a line of its own below its label.
    """
    reply = reply.rstrip()
    if not _has_label(_last_line(reply), label) and not _parse_verdict(_last_line(reply), by_name):
        return None
    *earlier, end = (line for line in own_lines(reply) if line is None or line.strip())
    last = _labelled_verdict(end, by_name, label) if end else None
    if end and last is None and earlier and earlier[-1] and _is_heading(earlier[-1], label):
        last = _parse_verdict(end, by_name)
        earlier.pop()
    others = [line for line in earlier if line and _contradicts(line, last, by_name, label)]
    if last and others:
        copied = {line.strip() for line in answer.split("\n")}
        others = [line for line in others if line.strip() not in copied]
    return None if others else last


def verdict_field(reply: str, by_name: Mapping[str, str], field: str) -> str | None:
    """The verdict of a reply of named fields, in JSON or in lines such as `correct: yes`, or of one that ends in it.

    After the field only lines with other fields may follow. All lines with the field must agree.
    """
    if (verdict := verdict_object(reply, by_name, field)) is not None:
        return verdict
    lines = [line for line in own_lines(reply.rstrip()) if line is None or line.strip()]
    places = [i for i, line in enumerate(lines) if line and _has_label(line, field)]
    if not places:
        return _closing_verdict(lines[-1] or "", by_name, field) if lines else None
    verdicts = {_labelled_verdict(lines[i] or "", by_name, field) for i in places}
    after = lines[places[-1] + 1 :]
    if len(after) == 1 and verdicts == {None} and _is_heading(lines[places[-1]] or "", field):
        return _parse_verdict(after[0] or "", by_name)
    if len(verdicts) > 1 or not all(line and _FIELD.match(line) for line in after):
        return None
    return verdicts.pop()


def reply_field(reply: str, field: str) -> str:
    """The value of another field, from the reply's JSON object or its last line `field: …`; empty if there is none."""
    text = reply.rstrip()
    body = fenced[1] if (fenced := last_fence(text)) else text
    for start, end in reversed(list(objects(body))):
        try:
            data = json.loads(body[start:end], strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict) and field in data:
            return str(data[field])
    lines = [line for line in text.split("\n") if _has_label(line, field)]
    if not lines:
        return ""
    line = unicodedata.normalize("NFKC", lines[-1][:_LONGEST_LINE])
    match = _label(field).match(line)
    return line[match.end() :] if match else ""


def verdict_letter(reply: str, letters: Mapping[str, str]) -> str | None:
    """The letter that is the whole of a reply, perhaps with its name (`A: CORRECT`) or a label (`Verdict: A`).

    `letters`: the name of each letter's verdict. A letter followed by another's name is not a verdict.
    """
    text = _normalize(reply)
    if len(text) > _LONGEST_NAME or "\n" in text or text[:1] in '"“„«>':
        return None
    names = {_canonical(name): letter for letter, name in letters.items()}
    text = _LABEL_BEFORE_LETTER.sub("", text, count=1)
    by_letter = {letter.upper(): letter for letter in letters}
    bare = _strip_markup(text)
    if (letter := by_letter.get(bare.upper()) or names.get(_canonical(bare))) is not None:
        return letter
    parts = re.fullmatch(r"([\[(*_`]*\w+[\])*_`]*)\s*(?:[:.=)]|[-–—]+|\s)\s*(.+)", text)
    if not parts:
        return None
    letter = by_letter.get(_strip_markup(parts[1]).strip("()[]").upper())
    return letter if letter is not None and names.get(_canonical(_strip_markup(parts[2]))) == letter else None


def verdict_object(reply: str, by_name: Mapping[str, str], field: str = "verdict") -> str | None:
    """The field `verdict` of the JSON object that ends a reply, fenced or not; None if another one contradicts it.

    Line breaks in strings, trailing commas, single and curly quotes and quotes that were not escaped are tolerated,
    as long as the field occurs once, first or last in the object.
    """
    text = reply.rstrip()
    if fenced := last_fence(text):
        before, body = fenced
    else:
        before, body = "", text
    spans = list(objects(body))
    if not spans or spans[-1][1] != len(body.rstrip()):
        spans = _unescaped_span(body, field)
    if not spans:
        return None
    start, end = spans[-1]
    ahead = before if fenced and not body[:start].strip() else body[:start]
    if INTRODUCTION.search(ahead[-200:]) or open_quote(before + body[:start]) or block_quoted(body, start):
        return None
    verdict = _object_verdict(body[start:end], by_name, field)
    if verdict is None or verdict not in by_name:
        return None
    prose = "\n".join(line or "" for line in own_lines(before + body[:start]))
    others = (
        _object_verdict(prose[slice(*span)], by_name, field) not in (None, verdict) and not mentioned(prose, *span)
        for span in objects(prose)
    )
    return None if any(others) else by_name[verdict]


_FIELD = re.compile(r"[^\w\n]{0,8}[A-Za-z_ ]{1,40}[\"'*_\])]{0,4}[ \t]{0,3}:")
_LABEL_BEFORE_LETTER = re.compile(
    r"(?:(?:the|my|final)[ \t]+){0,2}(?:verdict|grade|answer|letter|judge?ment)[ \t*_]{0,4}"
    r"(?:[:=]|[-–—]+(?=\s)|is\b:?)[ \t]*",
    re.IGNORECASE,
)


@cache
def _label(name: str) -> re.Pattern[str]:
    """The label before a verdict on its line: `**Final verdict:**`, `3. Verdict —`, `The verdict is`."""
    return re.compile(
        rf"[\s*_#-]*+(?:\d{{1,2}}[.)][\s*_]*+)?(?:(?:so|thus|hence|therefore|the|my|final|overall)\b[\s,*_]*+){{0,4}}"
        rf"[\[\"']?{re.escape(name)}[\]\"']?[\s*_]*+(?:[:=→]|[-–—]++(?=\s)|is\b:?)",
        re.IGNORECASE,
    )


def _has_label(line: str, label: str) -> bool:
    """Whether a line begins with a label."""
    return bool(_label(label).match(unicodedata.normalize("NFKC", line[: 4 * _LONGEST_NAME])))


def _labelled_verdict(line: str, by_name: Mapping[str, str], label: str) -> str | None:
    """The verdict of a line with a label."""
    line = unicodedata.normalize("NFKC", line)
    match = _label(label).match(line)
    return _parse_verdict(line[match.end() :], by_name) if match else None


def _contradicts(line: str, last: str | None, by_name: Mapping[str, str], label: str) -> bool:
    """Whether a line with the label gives another verdict."""
    return _has_label(line, label) and not _is_heading(line, label) and _labelled_verdict(line, by_name, label) != last


def _is_heading(line: str, label: str) -> bool:
    """Whether a line is a label and nothing else."""
    text = unicodedata.normalize("NFKC", line[:_LONGEST_NAME]).strip(" \t\r*_#:").casefold()
    return len(line) < _LONGEST_NAME and text in (label, f"final {label}", f"my {label}", f"the {label}")


def _closing_verdict(line: str, by_name: Mapping[str, str], label: str) -> str | None:
    """The verdict of a last line that is only a verdict, or that ends in "the verdict is YES"."""
    if (verdict := _parse_verdict(line, by_name)) is not None:
        return verdict
    tail = unicodedata.normalize("NFKC", line[-_LONGEST_NAME:])
    match = re.search(
        r"(?:^|[.!?;,:]\s{1,3})[*_]{0,2}(?:(?:so|thus|hence|therefore|the|my|final|overall)\b[\s,*_]{1,3}){0,4}"
        rf"{re.escape(label)}(?: is| would be)?[*_]{{0,2}}\s?(?:[:=]|(?<=is\s)|(?<=be\s))",
        tail,
        re.IGNORECASE,
    )
    return _parse_verdict(tail[match.end() :], by_name) if match else None


def _last_line(text: str) -> str:
    return text[text.rfind("\n") + 1 :]


def _normalize(text: str) -> str:
    return unicodedata.normalize("NFKC", text.strip()[: 4 * _LONGEST_NAME]).replace("\\_", "_")


def _strip_markup(text: str) -> str:
    """A text without emphasis, a final full stop, and brackets or quotes around all of it."""
    before = None
    while text != before:
        before = text
        text = text.strip(_DRESS).rstrip(".,;!")
        if text.startswith("\\boxed{") and text.endswith("}"):
            text = text[7:-1]
        if len(text) > 2 and (text[0], text[-1]) in _PAIRS:
            text = text[1:-1]
        while text and unicodedata.category(text[-1]) in ("So", "Mn", "Cf"):
            text = text[:-1]
        while text and unicodedata.category(text[0]) in ("So", "Mn", "Cf"):
            text = text[1:]
    return text


def _canonical(name: str) -> str:
    """A verdict's name in capitals, with underscores for blanks and hyphens."""
    return re.sub(r"[\s_-]+", "_", name.strip()).upper()


def _parse_verdict(text: str, by_name: Mapping[str, str]) -> str | None:
    """The verdict that a text names; None if it names none or more than one."""
    if len(text) > 4 * _LONGEST_NAME:
        return None
    name = _canonical(_strip_markup(_normalize(text)))
    return next((by_name[key] for key in by_name if _canonical(key) == name), None)


def _unescaped_span(text: str, field: str) -> list[tuple[int, int]]:
    """The span of an object that ends a text and whose strings hold quotes that were not escaped."""
    end = len(text.rstrip())
    start = text.find("{")
    return [(start, end)] if start >= 0 and text.endswith("}", 0, end) and text.count(field, start) == 1 else []


def _object_verdict(text: str, by_name: Mapping[str, str], field: str) -> str | None:
    """The field's value in capitals; None if it is missing or a key is duplicate; lenient with broken JSON."""
    if field not in text.casefold():
        return None
    try:
        data = json.loads(text, object_pairs_hook=_reject_duplicates, strict=False)
    except RecursionError:
        return None
    except _DuplicateKey:
        return None
    except ValueError:
        return _malformed_verdict(text, by_name, field)
    values = [value for key, value in data.items() if key.strip().casefold() == field] if isinstance(data, dict) else []
    if not values or not all(isinstance(value, str) for value in values):
        return None
    verdicts = {_verdict_key(value, by_name) or value.strip().upper() for value in values}
    return verdicts.pop() if len(verdicts) == 1 else None


def _malformed_verdict(text: str, by_name: Mapping[str, str], field: str) -> str | None:
    """The field's value in a malformed object, if the field occurs once, first or last."""
    text = text.translate(_STRAIGHT)
    key = re.compile(rf"[\"']?\b{re.escape(field)}\b[\"']?\s{{0,9}}:", re.IGNORECASE)
    places = list(key.finditer(text))
    if len(places) != 1:
        return None
    before, after = text[: places[0].start()].rstrip(), text[places[0].end() :]
    value = re.match(r"\s*([\"']?)([\w .*-]{1,40}?)\1\s*(,|\}|\Z)", after)
    if not value:
        return None
    rest = after[value.end() :].strip()
    last = value[3] == "}" and not rest and before.endswith((",", "{"))
    last = last or (value[3] == "," and rest == "}" and before.endswith((",", "{")))
    first = before.strip() == "{" and value[3] == "," and _NEXT_KEY.match(rest)
    if text[places[0].start()] not in "\"'" and before.count('"') % 2:
        return None  # it is inside a string
    return _verdict_key(value[2], by_name) if first or last else None


_NEXT_KEY = re.compile(r"[\"']?[A-Za-z_][\w ]{0,60}[\"']?\s{0,9}:")
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'"})


def _verdict_key(text: str, by_name: Mapping[str, str]) -> str | None:
    """The key of `by_name` that a text names."""
    name = _canonical(_strip_markup(_normalize(text)))
    return next((key for key in by_name if _canonical(key) == name), None)


class _DuplicateKey(ValueError):
    """An object has a duplicate key, so parsers of it may differ."""


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _DuplicateKey("duplicate key")
    return dict(pairs)
