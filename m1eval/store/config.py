"""Whether two commands mean the same run: their settings, compared by dotted names."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

EXTENDABLE = ("repeats", "limit", "ids")
HELPERS = ("digests.generator ", "digests.episode ", "digests.scorer ")
"""Digests of files that others import."""


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """In what the settings of a command are not those that a run was made with; empty if it may be continued."""
    new = msgspec.json.decode(msgspec.json.encode(new))  # as the file has it: a tuple has become a list
    was, is_ = dict(flatten(old)), dict(flatten(new))
    differing = [k for k in dict.fromkeys([*was, *is_]) if k not in EXTENDABLE and was.get(k) != is_.get(k)]
    # A helper that only one of them imports says nothing: the file that imports it is another too, or it was not
    # looked for in the same way.
    differing = [k for k in differing if not (k.startswith(HELPERS) and (k not in was or k not in is_))]
    differing += [k for k in EXTENDABLE if not grows(k, old.get(k), new.get(k))]
    if not differing:
        return ""
    then = ", ".join(f"{_short(k)}={shorten(was.get(k, old.get(k)))}" for k in differing[:4])
    now = ", ".join(shorten(is_.get(k, new.get(k))) for k in differing[:4])
    more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
    return f"was made with {then}{more}; this run has {now}"


def grows(key: str, old: Any, new: Any) -> bool:
    """Whether a run of `old` may continue as `new`."""
    if key == "repeats":
        return int(new or 1) >= int(old or 1)
    if key == "limit":
        return new is None or (old is not None and new >= old)
    return not new or set(new) >= set(old or new)


def flatten(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings, by their dotted names."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _short(key: str) -> str:
    return f"{key.removeprefix('digests.')} file" if key.startswith("digests.") else key.removeprefix("task.")


def shorten(value: Any) -> str:
    """A setting as it is named in a message."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
