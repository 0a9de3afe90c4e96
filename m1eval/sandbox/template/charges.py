"""Functions that charge the budget for a value and return it: in loops, operators, literals and filters."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from m1eval.sandbox.template.budget import CHARACTERS, charge
from m1eval.sandbox.template.costs import MOVED, deep_size, filter_cost, shallow_size

_SHALLOW = frozenset(
    [
        *("length", "count", "first", "last", "default", "d", "list", "map", "select", "reject", "selectattr"),
        *("rejectattr", "items", "attr", "reverse", "min", "max", "dictsort", "sort", "unique", "groupby", "batch"),
        *("slice", "random"),
    ]
)
"""Filters that never write the values inside a container."""
_BY_CHARACTER = frozenset({"batch", "groupby", "map", "max", "min", "reject", "select", "slice", "sort", "unique"})
_BY_CHARACTER |= {"urlize"}
"""Filters that make at least one Python object of each character of a text."""


def output(value: Any) -> Any:
    """A value that is written to the text."""
    charge(deep_size(value))
    return value


def counted(iterable: Any, weight: int) -> Any:
    """The iterable of a loop, charged by its length and the weight of the loop's body."""
    try:
        length = len(iterable)
    except TypeError:
        return _charged_items(iter(iterable), weight)
    charge(1 + length * weight)
    return iterable


def _charged_items(iterator: Iterator[Any], weight: int) -> Iterator[Any]:
    for item in iterator:
        charge(weight)
        yield item


def joined(*parts: Any) -> str:
    """The value of `a ~ b`."""
    charge(sum(map(deep_size, parts)))
    return "".join(map(str, parts))


def added(value: Any, *parts: Any) -> Any:
    """The value of `a + b`."""
    for part in parts:
        charge(shallow_size(value) + shallow_size(part))
        value = value + part
    return value


def built(value: Any) -> Any:
    """A literal that contains values: charged for all of them, so that nothing of exponential size is ever built."""
    charge(deep_size(value))
    return value


def scanned(value: Any) -> Any:
    """A value that is searched from end to end: a text, or values that are compared in turn."""
    charge(shallow_size(value) if isinstance(value, str) else deep_size(value, MOVED))
    return value


def compared(value: Any) -> Any:
    """A value that is compared with another."""
    charge(deep_size(value, MOVED))
    return value


def sliced(value: Any) -> Any:
    """A value of which a slice is copied."""
    charge(shallow_size(value))
    return value


def guard_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, charged by what it reads, may write, and has written; its value is the argument `at`."""
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        value = args[at]
        if name in ("join", "sum") and not isinstance(value, str):
            value = list(value)
            args = (*args[:at], value, *args[at + 1 :])
        elif isinstance(value, Iterator):
            args = (*args[:at], _charged_items(value, 1), *args[at + 1 :])
        charge(shallow_size(value) if name in _SHALLOW else deep_size(value))
        if isinstance(value, str) and name in _BY_CHARACTER:
            charge(4 * len(value))
        if len(args) > at + 1 or kwargs or name == "sum":
            charge(filter_cost(name, value, args[at + 1 :], kwargs))
        result = function(*args, **kwargs)
        if isinstance(result, str):
            charge(len(result) // CHARACTERS)
        elif name == "list":
            charge(len(result))
        return result

    return guarded


def guard_test(function: Callable[..., Any], charged: Callable[[Any], Any]) -> Callable[..., Any]:
    """The test, with its arguments charged."""

    @wraps(function)
    def guarded(*args: Any) -> Any:
        for value in args:
            charged(value)
        return function(*args)

    return guarded
