"""Costs in units: of values by their size, and of methods and filters by what they read and write."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from m1eval.sandbox.template.budget import CHARACTERS, affords, charge

MOVED = 512
"""Bytes per unit that are compared, or copied in place of a text that is freed: a processor does far more in the same
time, and nothing stays in memory."""
_NUMBER = re.compile(r"\d+")
_SHORTEST_LINK = 4
"""Characters of the shortest text that `urlize` makes a link, with the space after it."""
_VIEWS: Any = (type({}.keys()), type({}.values()), type({}.items()))
_SIZED: Any = (list, tuple, dict, set, frozenset, range, *_VIEWS)
_CONSTANT = frozenset({"startswith", "endswith"})
_PADDED = frozenset({"center", "ljust", "rjust", "zfill"})
_NUMBERED = frozenset({"center", "wordwrap", "batch", "slice", "truncate", "round"})


def shallow_size(value: Any) -> int:
    """Units of a value without what is inside it."""
    if isinstance(value, str | bytes):
        return 1 + len(value) // CHARACTERS
    return 1 + len(value) if isinstance(value, _SIZED) else 1


def deep_size(value: Any, characters: int = CHARACTERS) -> int:
    """Units of everything inside a value, repeats included; TemplateLimitError if there are too many."""
    if isinstance(value, str):
        return 1 + len(value) // characters
    total, stack = 0, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, int):
            total += 1 + item.bit_length() // 64
            continue
        total += 1 + len(item) // characters if isinstance(item, str) else shallow_size(item)
        if not affords(total):
            charge(total)
        if isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            stack.extend(item)
    return total


def product_cost(left: Any, right: Any) -> int:
    """Units of `left * right`."""
    if isinstance(left, int) and isinstance(right, int):
        return 1 + (left.bit_length() + right.bit_length()) // 64
    count, value = (left, right) if isinstance(left, int) else (right, left)
    if not isinstance(count, int) or not hasattr(value, "__len__"):
        return 1
    return 1 + max(count, 0) * len(value) // (CHARACTERS if isinstance(value, str | bytes) else 1)


def format_cost(form: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> int:
    """Units that a format string may write: its widths, and its largest value in every field."""
    values = [*args, *kwargs.values()]
    fields = form.count("%") + form.count("{")
    widths = sum(int(digits) if len(digits) < 10 else 1 << 62 for digits in _NUMBER.findall(form))
    if "*" in form or "{" in form:  # a width may come from a value
        widths += fields * max((abs(v) for v in values if isinstance(v, int)), default=0) // (1 if "*" in form else 8)
    return 1 + (len(form) + widths) // CHARACTERS + fields * max(map(deep_size, values), default=0)


def charge_method(method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Charge a method of a string, list or number by what it reads and writes; returns its arguments."""
    owner = getattr(getattr(method, "__wrapped__", method), "__self__", None)
    name = getattr(method, "__name__", "")
    arguments = [*args, *kwargs.values()]
    if isinstance(owner, int):
        charge(sum(abs(v) for v in arguments if isinstance(v, int)) if name == "to_bytes" else 1)
    elif isinstance(owner, list | tuple) and name in ("index", "count"):
        charge(deep_size(owner, MOVED))
    elif name == "maketrans":  # of a class, str or bytes
        charge(CHARACTERS * sum(map(deep_size, arguments)))
    if not isinstance(owner, str | bytes):
        return args
    if name in _CONSTANT:
        charge(sum(deep_size(v, MOVED) for v in arguments))
        return args
    cost = len(owner)
    if name in _PADDED:
        cost += sum(v for v in arguments if isinstance(v, int) and v > 0)
    elif name == "expandtabs":
        tab: Any = b"\t" if isinstance(owner, bytes) else "\t"
        cost += owner.count(tab) * max([abs(v) for v in arguments if isinstance(v, int)] or [8])
    elif name == "replace" and len(arguments) > 1:
        cost += replace_cost(owner, arguments[0], arguments[1])
    elif name == "join" and args:
        args = (items := list(args[0]), *args[1:])
        cost = CHARACTERS * deep_size(items) + len(owner) * len(items)
    elif name in ("format", "format_map"):
        cost = CHARACTERS * format_cost(str(owner), args, kwargs)
    elif name == "translate":
        cost += len(owner) * sum(map(deep_size, arguments))
    charge(1 + cost // CHARACTERS)
    return args


def replace_cost(text: Any, old: Any, new: Any) -> int:
    """Characters or bytes that a replacement inserts."""
    if not isinstance(old, type(text)) or not isinstance(new, type(text)):
        return 0
    return (text.count(old) if old else len(text) + 1) * len(new)


def filter_cost(name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Units that a filter may write because of its arguments."""
    values = [*args, *kwargs.values()]
    numbers = sum(abs(v) for v in values if isinstance(v, int))
    text = value if isinstance(value, str) else ""
    if name in ("format", "replace"):
        text = text or str(value)
        replaced = name == "replace" and len(values) > 1
        cost = replace_cost(text, str(values[0]), str(values[1])) // CHARACTERS if replaced else 0
        return format_cost(text, args, kwargs) if name == "format" else cost
    if name == "indent":
        width = max([numbers, *(len(v) for v in values if isinstance(v, str))])
        return (1 + text.count("\n")) * width // CHARACTERS
    if name in ("tojson", "urlize"):
        return _repeat_cost(value, numbers + sum(_lengths(values)))
    if name == "join":
        return len(value) * max([len(str(v)) for v in values] or [0]) // CHARACTERS
    if name == "sum":  # of lists it is quadratic
        return 0 if all(isinstance(v, int | float) for v in value) else len(value) ** 2
    if name == "wordwrap":  # slower than all others
        numbers += len(text)
    between = max([len(v) for v in values if isinstance(v, str)] or [0]) if name == "wordwrap" else 0
    return numbers + len(text) * between if name in _NUMBERED else 0


def _repeat_cost(value: Any, width: int) -> int:
    """Units of `width` characters for every link in a text, or for every value inside another at every level."""
    times = len(value) // _SHORTEST_LINK if isinstance(value, str) else deep_size(value) * _levels(value)
    return 1 + times * width // CHARACTERS


def _lengths(values: Iterable[Any]) -> Iterator[int]:
    """The lengths of texts, also of those in tuples and lists."""
    for value in values:
        if isinstance(value, str):
            yield len(value)
        elif isinstance(value, list | tuple):
            yield from _lengths(value)


def _levels(value: Any) -> int:
    """The depth of nested containers, whose number `deep_size` has checked."""
    levels, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list | tuple)]:
        levels += 1
        level = [part for item in level for part in (item.values() if isinstance(item, dict) else item)]
    return levels
