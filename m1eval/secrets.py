"""Secret values that this process knows, and their removal from everything that is shown or written.

A value is registered where it enters: the environment, an option, a header, the login or query of an address. What
leaves the process passes `redact`, so that a key is masked by what it is, wherever it turns up: in a server's error, in
an answer, in a traceback; also JSON-escaped, percent-encoded, as base64, or cut short.
"""

import base64
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import msgspec

MASK = "***"
_PLACEHOLDERS = {"changeme", "dummy", "empty", "lm-studio", "no-key", "no-key-required", "none", "not-needed", "null"}
_PLACEHOLDERS |= {
    "ollama",
    "optional",
    "placeholder",
    "secret",
    "sk-no-key-required",
    "undefined",
    "unused",
    "your-key",
}
"""Placeholders that people write where a server needs no key."""


class _Form(NamedTuple):
    """One way of writing a secret; `head` and `tail` are its halves, by which one that was cut is found too."""

    whole: str
    head: str
    tail: str


class _Registry:
    """The secrets of this process."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        self.forms: list[_Form] = []
        self.probes: dict[str, set[str]] = {}
        self.byte_probes: dict[bytes, set[bytes]] = {}
        """By a sign that they have, which is found absent much sooner; all in small letters."""
        self.masked: re.Pattern[str] | None = None
        self.collected = False

    def add(self, value: str) -> None:
        """Take a value, which is worth looking for."""
        if value in self.values:
            return
        self.values.add(value)
        known = {form.whole for form in self.forms}
        self.forms += [form for form in _encodings(value) if form.whole not in known]
        self.forms.sort(key=lambda form: len(form.whole), reverse=True)
        for probe in _probes(value):
            mark = next((sign for sign in "%&\\" if sign in probe), "")
            self.probes.setdefault(mark, set()).add(probe.lower())
            self.byte_probes.setdefault(mark.encode(), set()).add(probe.encode("utf-8", "surrogatepass").lower())
        begins = sorted({re.escape(value[:3]) for value in self.values if len(value) >= 12})
        if begins:  # as OpenAI shows a wrong key: sk-ab***yz
            self.masked = re.compile(rf"(?:{'|'.join(begins)})[\w.-]{{0,40}}\*{{3,}}[\w-]{{0,12}}")


_registry = _Registry()


_collectors: list[Callable[[], None]] = []


def clear() -> None:
    """Forget all secrets; the environment's are collected again."""
    global _registry  # noqa: PLW0603 - one for the process
    _registry = _Registry()


def register(value: object, *, named: bool = True) -> None:
    """Never show or write this value again.

    Placeholders (`EMPTY`, `none`) or are so short or common that masking them would garble other
    text are passed over. `named`: whether what held it is called a key or the like; else plain words are no secret.
    """
    text = str(value).strip()
    if text.lower() in _PLACEHOLDERS:
        return
    letters, digits = any(c.isalpha() for c in text), any(c.isdigit() for c in text)
    has_symbol = any(not c.isalnum() for c in text)
    min_length = 4 if has_symbol and (letters or digits) else 6 if letters and digits else 8
    if len(text) < min_length or len(set(text)) < 3 or (not named and not digits and re.fullmatch(r"[\w\s.,-]*", text)):
        return
    _registry.add(text)


def add(value: str) -> None:
    """Never show or write this value again, whatever it looks like."""
    _registry.add(value)


def redact(text: str) -> str:
    """The text with every secret in it as `***`."""
    if not _registry.collected:
        _collect()
    lowered = text.lower()
    if any(mark in lowered and any(probe in lowered for probe in probes) for mark, probes in _registry.probes.items()):
        text = _mask_forms(text)
    if _registry.masked is not None and MASK in text:
        text = _registry.masked.sub(MASK, text)
    return text


def contains_secret(data: bytes) -> bool:
    """Whether there is a secret in UTF-8 text; quick, as every record is asked."""
    if not _registry.collected:
        _collect()
    lowered = data.lower()
    for mark, probes in _registry.byte_probes.items():
        if mark in lowered:
            for probe in probes:
                if probe in lowered:
                    return True
    return _registry.masked is not None and b"***" in data


def redact_tree(value: Any, *, names: bool = True) -> Any:
    """JSON-like data with every secret in its texts masked, and in the names of its mappings if `names`."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(k) if names and isinstance(k, str) else k: redact_tree(v, names=names) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact_tree(item, names=names) for item in value]
    return value


def _mask_forms(text: str) -> str:
    for form in _registry.forms:  # longest first, and whole ones before parts, as many share a part
        text = text.replace(form.whole, MASK)
    for form in _registry.forms:
        if form.head in text:
            text = _mask_prefix(text, form.head, form.whole)
        if form.tail in text:
            text = _mask_prefix(text[::-1], form.tail[::-1], form.whole[::-1])[::-1]
    return text


def _mask_prefix(text: str, begin: str, whole: str) -> str:
    """The text with `begin`, and whatever follows it as in `whole`, as `***`."""
    parts, at = [], 0
    while (start := text.find(begin, at)) >= 0:
        parts.append(text[at:start])
        at = start + len(begin)
        length = len(begin)
        while length < len(whole) and text[at : at + 1] == whole[length]:
            at, length = at + 1, length + 1
    return MASK.join([*parts, text[at:]])


def _halves(form: str, more: int = 0) -> tuple[str, str]:
    """The beginning and the end of a form by which it is found; itself where half of it says too little."""
    half = len(form) // 2 + more
    return (form[:half], form[-half:]) if len(form) >= 16 else (form, form)


def _probes(value: str) -> list[str]:
    """A few short texts of which one is in every form of a value in whatever case, cut ones included.

    Most texts hold none of them. A value that was split in two is found by either half, other forms by their middle.
    """
    plain: list[str] = []
    for text in [value] if value.isascii() else [value, value.upper()]:
        for part, last in zip(_halves(text), (True, False), strict=True):
            run = part if re.fullmatch(r"[\w.~-]*", part, re.ASCII) else _longest_run(part)
            if len(run) < 3:  # else it is written alike in every way but those of `_spelled` and base64
                plain += _text_encodings(text)
            else:
                plain.append(run if len(text) < 16 else run[-6:] if last else run[:6])
    plain += map(_middle, [*_numeric_encodings(value), *_base64_encodings(value)])
    return [*dict.fromkeys(probe for probe in plain if not any(part in probe for part in plain if part != probe))]


def _middle(form: str) -> str:
    return form[len(form) // 2 - 3 : (len(form) + 1) // 2 + 3] if len(form) >= 16 else form


def _longest_run(text: str) -> str:
    return max(re.findall(r"[a-zA-Z0-9]+", text), key=len, default="")


def _encodings(value: str) -> Iterator[_Form]:
    """The ways in which a value may come back."""
    for text in dict.fromkeys([value, value.upper(), value.lower()]):
        for form in _text_encodings(text):
            yield _Form(form, *_halves(form))
    for form in [*_numeric_encodings(value), *_base64_encodings(value)]:
        yield _Form(form, *_halves(form, 3))


def _text_encodings(value: str) -> Iterator[str]:
    """A value as text: as it is, percent-encoded, escaped for HTML, Python and JSON."""
    raw = value.encode("utf-8", "surrogateescape")
    plain = {value, repr(raw)[2:-1], quote(raw, safe=""), quote(raw), quote_plus(raw), repr(value)[1:-1]}
    plain.add(raw.decode("latin-1"))
    plain |= {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in plain if "%" in form}
    plain |= {html.escape(value), html.escape(value, quote=False), html.escape(value).replace("&#x27;", "&#39;")}
    plain |= {quote(form, safe="") for form in plain if "%" in form}
    escaped = set(plain)
    for ascii_only in (True, False):
        forms = plain
        for _ in range(3):  # JSON in JSON in JSON: a server that quotes a request, in an error, in a journal
            forms = {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in forms}
            escaped |= forms
    # As PHP writes JSON, and as Go does, which escapes what means something in HTML.
    escaped |= {form.replace("/", "\\/") for form in escaped if "/" in form}
    escaped |= {re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", form) for form in escaped}
    yield from escaped


def _numeric_encodings(value: str) -> Iterator[str]:
    """A value with every byte or character as a number."""
    raw = value.encode("utf-8", "surrogateescape")
    yield from (raw.hex(), raw.hex().upper())
    for form in ("%{:02x}", "%{:02X}", "\\x{:02x}", "\\x{:02X}"):
        yield "".join(map(form.format, raw))
    for form in ("\\u{:04x}", "\\u{:04X}", "\\\\u{:04x}", "&#{};", "&#x{:x};", "&#x{:X};"):
        yield "".join(map(form.format, map(ord, value)))


def _base64_encodings(value: str) -> Iterator[str]:
    """The parts of a value's base64 that are the same in any text that holds it, whatever comes before."""
    raw = value.encode("utf-8", "surrogateescape")
    if len(raw) >= 8:
        for shift, drop in enumerate((0, 2, 3)):
            whole = base64.b64encode(b"\0" * shift + raw).decode()
            stable = whole[drop : (shift + len(raw)) * 8 // 6]
            yield from {stable, stable.replace("+", "-").replace("/", "_")}


def collect_with(collect: Callable[[], None]) -> None:
    """Have a function register what it finds, once, before anything is searched for secrets."""
    _collectors.append(collect)


def _collect() -> None:
    """Register what the environment holds."""
    _registry.collected = True
    for collect in _collectors:
        collect()


def mask_record(encoded: bytes, encode: Callable[[Any], bytes]) -> bytes:
    """One JSON line without secrets; names of fields, ids and outcomes stay, as runs continue by them."""
    if not contains_secret(encoded):
        return encoded
    data = msgspec.json.decode(encoded)
    for name, value in data.items():
        if name not in {"id", "outcome", "finish_reason", "usage", "timing", "metrics"}:
            data[name] = redact_tree(value, names=name in {"metadata", "tool_calls"})
    return encode(data)
