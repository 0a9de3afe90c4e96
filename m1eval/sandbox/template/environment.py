"""The Jinja2 environment whose templates charge for their work."""

from collections.abc import Callable, Mapping
from functools import cache
from sys import getrefcount, getsizeof
from types import FunctionType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from m1eval.sandbox.template.budget import CHARACTERS, TemplateLimitError, charge, limited
from m1eval.sandbox.template.charges import (
    added,
    built,
    compared,
    counted,
    guard_filter,
    guard_test,
    joined,
    output,
    scanned,
    sliced,
)
from m1eval.sandbox.template.costs import MOVED, charge_method, deep_size, format_cost, product_cost, shallow_size
from m1eval.sandbox.template.syntax import ChargeInserter

LONGEST_SOURCE = 1 << 20
"""Characters of a template."""
_LARGEST_POWER = 1_000_000
"""Bits of an integer that `**` may make."""
_COMPARING = ("in", "eq", "equalto", "==", "ne", "!=", "lt", "gt", "le", "ge")


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """An environment whose templates are rendered by `render`; anything they raise is an Exception, never a hang."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=output, **options)
        self.globals.pop("lipsum", None)  # random text
        for name, function in self.filters.items():
            self.filters[name] = guard_filter(name, function)
        for name in _COMPARING:
            test: Any = self.tests[name]
            self.tests[name] = guard_test(test, scanned if name == "in" else compared)
        for function in _CHARGES:
            setattr(self, f"limit_{function.__name__}", function)

    @staticmethod
    def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter to replace the one of that name, charged like it."""
        return guard_filter(name, function)

    def compiled(self, source: str) -> jinja2.Template:
        """Compile a template; jinja2.TemplateSyntaxError (nesting that is too deep included) or TemplateLimitError."""
        if len(source) > LONGEST_SOURCE:
            raise TemplateLimitError(f"it has {len(source):,} characters, and at most {LONGEST_SOURCE:,} are read")
        with limited():
            try:
                return self.from_string(source)
            except (RecursionError, MemoryError, SyntaxError) as error:  # of the parser, or of Python's own
                raise jinja2.TemplateSyntaxError(f"it is nested too deeply ({type(error).__name__})", 1) from None

    def render(self, template: jinja2.Template, variables: Mapping[str, Any]) -> str:
        """The rendered text; raises whatever the template raises, TemplateLimitError among others."""
        with limited(variables):
            try:
                return template.render(variables)
            except RecursionError:
                raise TemplateLimitError("it calls itself too deeply") from None
            except MemoryError:
                raise TemplateLimitError("it needs too much memory") from None

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        source = ChargeInserter().visit(source)
        source.set_environment(self)
        return super()._generate(source, *args, **options)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """A call from a template: charged, for methods of strings by the size of their result."""
        if type(__obj) is FunctionType and __obj in _CHARGES:
            return __obj(*args)
        charge(1)
        args = charge_method(__obj, args, kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, str):
            charge(len(result) // CHARACTERS)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator whose result can be much larger than its operands."""
        if operator == "+":
            charge(shallow_size(left) + shallow_size(right))
        elif operator == "*":
            charge(product_cost(left, right))
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _LARGEST_POWER:
                raise TemplateLimitError(f"a number to the power of {right}")
        elif isinstance(left, str):
            charge(format_cost(left, right if isinstance(right, tuple) else (right,), {}))
        return super().call_binop(context, operator, left, right)


def appended(operator: str, text: Any, *parts: Any) -> Any:
    """The value of `set ns.text = ns.text ~ …`, by which templates build a conversation message by message.

    The old text is cheap where only `ns` refers to it, as it is freed; one with other references stays in memory.
    """
    shared = getrefcount(text) > _references_of_one_holder()
    if shared or type(text) is not str or (operator == "+" and any(type(part) is not str for part in parts)):
        return joined(text, *parts) if operator == "~" else added(text, *parts)
    charge(sum(map(deep_size, parts)))
    longer = "".join([text, *map(str, parts)])
    charge(getsizeof(longer) // MOVED)
    return longer


def references(_: str, text: Any, *__: Any) -> int:
    return getrefcount(text)


@cache
def _references_of_one_holder() -> int:
    """The reference count that `appended` sees for a text with one reference outside the call."""
    holder = {"text": "".join(["any text", " at all"])}
    count: int = LimitedEnvironment().call(None, references, "~", holder["text"])  # type: ignore[arg-type]
    return count


_CHARGES = (counted, charge, joined, appended, references, built, scanned, compared, sliced)
