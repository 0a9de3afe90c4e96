"""Secret values that this process knows, and their removal from everything that is shown or written.

A value is registered where it enters: the environment, an option, a header, the login or query of an address. What
leaves the process passes `redact`, so that a key is masked by what it is, wherever it turns up: in a server's error, in
an answer, in a traceback; also JSON-escaped, percent-encoded, as base64, or cut short.
"""

import base64
import json
import os
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
"""What people write where a server wants no key."""


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
        self.probes: list[str] = []
        self.byte_probes: list[bytes] = []
        self.masked: re.Pattern[str] | None = None
        self.collected = False

    def add(self, value: str) -> None:
        """Take a value, which is worth looking for."""
        if value in self.values:
            return
        self.values.add(value)
        known = {form.whole for form in self.forms}
        self.forms += [_Form(form, *_halves(form)) for form in _written(value) if form not in known]
        self.forms.sort(key=lambda form: len(form.whole), reverse=True)
        self.probes = [*dict.fromkeys([*self.probes, *_probes(value)])]
        self.byte_probes = [probe.encode("utf-8", "surrogatepass") for probe in self.probes]
        begins = sorted({re.escape(value[:3]) for value in self.values if len(value) >= 12})
        if begins:  # as OpenAI shows a wrong key: sk-ab***yz
            self.masked = re.compile(rf"(?:{'|'.join(begins)})[\w.-]{{0,40}}\*{{3,}}[\w-]{{0,12}}")


_registry = _Registry()


def clear() -> None:
    """Forget all secrets; the environment's are collected anew."""
    global _registry  # noqa: PLW0603 - one for the process
    _registry = _Registry()


def register(value: object, *, named: bool = True) -> None:
    """Never show or write this value again.

    Values that stand for no secret (`EMPTY`, `none`) or are so short or common that masking them would garble other
    text are passed over. `named`: whether what held it is called a key or the like; else plain words are no secret.
    """
    text = str(value).strip()
    if text.lower() in _PLACEHOLDERS:
        return
    letters, digits = any(c.isalpha() for c in text), any(c.isdigit() for c in text)
    odd = any(not c.isalnum() for c in text)
    least = 4 if odd and (letters or digits) else 6 if letters and digits else 8
    if len(text) < least or len(set(text)) < 3 or (not named and not digits and re.fullmatch(r"[\w\s.,-]*", text)):
        return
    _registry.add(text)


def add(value: str) -> None:
    """Never show or write this value again, whatever it looks like."""
    _registry.add(value)


def redact(text: str) -> str:
    """The text with every secret in it as `***`."""
    if not _registry.collected:
        _collect()
    for probe in _registry.probes:
        if probe in text:
            text = _without_forms(text)
            break
    if _registry.masked is not None and MASK in text:
        text = _registry.masked.sub(MASK, text)
    return text


def found(data: bytes) -> bool:
    """Whether there is a secret in UTF-8 text; quick, as every record is asked."""
    if not _registry.collected:
        _collect()
    for probe in _registry.byte_probes:
        if probe in data:
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


def _without_forms(text: str) -> str:
    for form in _registry.forms:  # longest first, and whole ones before parts, as many share a part
        text = text.replace(form.whole, MASK)
    for form in _registry.forms:
        if form.head in text:
            text = _masked(text, form.head, form.whole)
        if form.tail in text:
            text = _masked(text[::-1], form.tail[::-1], form.whole[::-1])[::-1]
    return text


def _masked(text: str, begin: str, whole: str) -> str:
    """The text with `begin`, and whatever follows it as in `whole`, as `***`."""
    parts, at = [], 0
    while (start := text.find(begin, at)) >= 0:
        parts.append(text[at:start])
        at = start + len(begin)
        length = len(begin)
        while length < len(whole) and text[at : at + 1] == whole[length]:
            at, length = at + 1, length + 1
    return MASK.join([*parts, text[at:]])


def _halves(form: str) -> tuple[str, str]:
    """The beginning and the end of a form by which it is found; itself where half of it says too little."""
    half = len(form) // 2 + 3
    return (form[:half], form[-half:]) if len(form) >= 16 else (form, form)


def _probes(value: str) -> list[str]:
    """A few short texts of which one is in every form of a value, cut ones included: most texts hold none of them."""
    if len(value) >= 16 and value.isascii() and re.fullmatch(r"[\w.~-]*", value):
        plain = [_middle(value)]  # written alike in every way but base64
    else:
        run = max(re.findall(r"[a-zA-Z0-9]+", value), key=len, default="")
        plain = [run] if len(run) >= 3 else [*_plainly(value)]
    return [*plain, *map(_middle, _as_base64(value))]


def _middle(form: str) -> str:
    return form[len(form) // 2 - 3 : (len(form) + 1) // 2 + 3] if len(form) >= 16 else form


def _written(value: str) -> Iterator[str]:
    """The ways in which a value may come back."""
    yield from _plainly(value)
    yield from _as_base64(value)


def _plainly(value: str) -> Iterator[str]:
    """A value as text: as it is, percent-encoded, escaped for HTML, Python and JSON."""
    raw = value.encode("utf-8", "surrogateescape")
    plain = {value, quote(raw, safe=""), quote(raw), quote_plus(raw), repr(value)[1:-1], raw.decode("latin-1")}
    plain |= {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in plain if "%" in form}
    plain.add(value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;"))
    escaped = set(plain)
    for ascii_only in (True, False):
        forms = plain
        for _ in range(3):  # JSON in JSON in JSON: a server that quotes a request, in an error, in a journal
            forms = {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in forms}
            escaped |= forms
    yield from escaped


def _as_base64(value: str) -> Iterator[str]:
    """What of a value is the same in the base64 of any text that holds it, whatever comes before."""
    raw = value.encode("utf-8", "surrogateescape")
    if len(raw) >= 8:
        for shift, drop in enumerate((0, 2, 3)):
            whole = base64.b64encode(b"\0" * shift + raw).decode()
            kept = whole[drop : (shift + len(raw)) * 8 // 6]
            yield from {kept, kept.replace("+", "-").replace("/", "_")}


def _collect() -> None:
    """Register what the environment holds."""
    from m1eval.credentials import keylike, register_url

    _registry.collected = True
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy") or name.endswith("_BASE_URL"):
            for url in value.replace(",", " ").split():
                register_url(url)
        elif keylike(name) and not re.match(r"[/~.]", value) and len(value) >= 8:
            register(value)


def masked_record(encoded: bytes, encode: Callable[[Any], bytes]) -> bytes:
    """One JSON line without secrets; names of fields, ids and outcomes stay, as runs continue by them."""
    if not found(encoded):
        return encoded
    data = msgspec.json.decode(encoded)
    for name, value in data.items():
        if name not in {"id", "outcome", "finish_reason", "usage", "timing", "metrics"}:
            data[name] = redact_tree(value, names=name in {"metadata", "tool_calls"})
    return encode(data)
