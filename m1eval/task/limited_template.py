"""Jinja2 in a sandbox with a limit on work: whatever a template says, rendering ends, soon and in bounded memory.

The sandbox of Jinja keeps a template from reaching anything; it does not keep it from looping for ever or from writing
`'a' * 10**10`. Here everything that can repeat or grow is charged before it happens, to a budget that grows with the
input: turns of loops, calls, filters, operators, literals, output. Counting is deterministic; there is no clock.
Loops over something with a length are charged once, so that ordinary templates are not slowed down.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from sys import getrefcount, getsizeof
from types import FunctionType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

UNITS = 1_500_000
"""Work that any rendering may do: a unit is a call, a turn of a loop with a small body, or CHARACTERS written."""
CHARACTERS = 16
MOVED = 512
"""Bytes for a unit that are compared, or copied in place of a text that goes: a processor does far more in its time,
and nothing of it stays in memory."""
LONGEST_SOURCE = 1 << 20
"""Characters of a template."""
_LARGEST_POWER = 1_000_000
"""Bits of an integer that `**` may make."""
_VISITED = 20_000
"""Values of the input that are looked at to say how large it is."""

_MACRO = 50
"""Units of entering a macro or block, which takes Jinja so much longer than a plain call."""

_SHALLOW = frozenset(
    [
        "length",
        "count",
        "first",
        "last",
        "default",
        "d",
        "list",
        "map",
        "select",
        "reject",
        "selectattr",
        "rejectattr",
        "items",
        "attr",
        "reverse",
        "min",
        "max",
        "dictsort",
        "sort",
        "unique",
        "groupby",
        "batch",
        "slice",
        "random",
    ]
)
"""Filters that never write the values inside a container."""
_PADDED = frozenset({"center", "ljust", "rjust", "zfill"})
_BY_CHARACTER = frozenset({"batch", "groupby", "map", "max", "min", "reject", "select", "slice", "sort", "unique"})
_BY_CHARACTER |= {"urlize"}
"""Filters that make a Python object, or more, of each character of a text."""
_CONSTANT = frozenset({"startswith", "endswith"})
_NUMBERED = frozenset({"center", "wordwrap", "batch", "slice", "truncate", "round"})
_COMPARING = ("in", "eq", "equalto", "==", "ne", "!=", "lt", "gt", "le", "ge")
_NUMBER = re.compile(r"\d+")
_SHORTEST_LINK = 4
"""Characters of a text that `urlize` may make a link of, with the space after it."""
_SIZED: Any = (
    list,
    tuple,
    dict,
    set,
    frozenset,
    range,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)


class TemplateLimitError(jinja2.TemplateRuntimeError):
    """The template does more work, or writes more, than a prompt can need."""


class _Budget(threading.local):
    left: float = float("inf")
    """Only what is compiled or rendered within a limit is; elsewhere nothing would ever give the budget back."""
    variables: Mapping[str, Any] | None = None
    """The input, whose size is counted only when the rest is used up: rows are many, and hardly any needs it."""


_budget = _Budget()


def charge(units: int) -> None:
    """Take units from the budget of the rendering in this thread; TemplateLimitError when it is used up."""
    _budget.left -= units
    if _budget.left < 0 and not _affords(0):
        raise TemplateLimitError("it loops too often or writes too much: no prompt needs that")


def _affords(units: int) -> bool:
    """Whether so many units are left, the size of the input counted in."""
    if _budget.left < units and _budget.variables is not None:
        _budget.left += input_size(_budget.variables)
        _budget.variables = None
    return _budget.left >= units


@contextmanager
def limited(units: int = UNITS) -> Iterator[None]:
    """A budget for what is rendered inside."""
    before = _budget.left, _budget.variables
    _budget.left, _budget.variables = units, None
    try:
        yield
    finally:
        _budget.left, _budget.variables = before


def input_size(variables: Mapping[str, Any]) -> int:
    """Units that the input is worth, so that long contexts may be rendered."""
    total, stack, visited = 0, [variables], 0
    while stack and visited < _VISITED:
        value = stack.pop()
        visited += 1
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, Mapping):
            total += len(value)
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            total += len(value)
            stack.extend(value[:_VISITED])
    return total


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """An environment whose templates are rendered by `render`; anything they raise is an Exception, never a hang."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_shown, **options)
        self.globals.pop("lipsum", None)  # random text
        for name, function in self.filters.items():
            self.filters[name] = _guarded_filter(name, function)
        for name in _COMPARING:
            test: Any = self.tests[name]
            self.tests[name] = _guarded_test(test, _scanned if name == "in" else _compared)
        for function in _OWN:
            setattr(self, f"limit_{function.__name__.strip('_')}", function)

    @staticmethod
    def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter to put in the place of one of that name, charged like it."""
        return _guarded_filter(name, function)

    def compiled(self, source: str) -> jinja2.Template:
        """A template; jinja2.TemplateSyntaxError, TemplateLimitError, or what Python says of nesting too deep."""
        if len(source) > LONGEST_SOURCE:
            raise TemplateLimitError(f"it has {len(source):,} characters, and at most {LONGEST_SOURCE:,} are read")
        with limited():
            try:
                return self.from_string(source)
            except (RecursionError, MemoryError, SyntaxError) as error:  # of the parser, or of Python's own
                raise jinja2.TemplateSyntaxError(f"it is nested too deeply ({type(error).__name__})", 1) from None

    def render(self, template: jinja2.Template, variables: Mapping[str, Any]) -> str:
        """The text of a template; whatever it raises, TemplateLimitError among others."""
        before = _budget.left, _budget.variables
        _budget.left, _budget.variables = UNITS, variables
        try:
            return template.render(variables)
        except RecursionError:
            raise TemplateLimitError("it calls itself too deeply") from None
        except MemoryError:
            raise TemplateLimitError("it needs too much memory") from None
        finally:
            _budget.left, _budget.variables = before

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        source = _Charged().visit(source)
        source.set_environment(self)
        return super()._generate(source, *args, **options)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Every call of a template: charged, and for methods of strings by what they will write."""
        if type(__obj) is FunctionType and __obj in _OWN:
            return __obj(*args)
        charge(1)
        args = _charged_method(__obj, args, kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        if isinstance(result, str):
            charge(len(result) // CHARACTERS)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator that can make something large out of something small."""
        if operator == "+":
            charge(_shallow(left) + _shallow(right))
        elif operator == "*":
            charge(_product(left, right))
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _LARGEST_POWER:
                raise TemplateLimitError(f"a number to the power of {right}")
        elif isinstance(left, str):
            charge(_format_cost(left, right if isinstance(right, tuple) else (right,), {}))
        return super().call_binop(context, operator, left, right)


def _shallow(value: Any) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value) // CHARACTERS
    return 1 + len(value) if isinstance(value, _SIZED) else 1


def _deep(value: Any, characters: int = CHARACTERS) -> int:
    """Units of everything inside a value, counted as often as it would be written; TemplateLimitError if too many."""
    if isinstance(value, str):
        return 1 + len(value) // characters
    total, stack = 0, [value]
    while stack:
        one = stack.pop()
        if isinstance(one, int):
            total += 1 + one.bit_length() // 64
            continue
        total += 1 + len(one) // characters if isinstance(one, str) else _shallow(one)
        if not _affords(total):
            charge(total)
        if isinstance(one, dict):
            stack.extend(one)
            stack.extend(one.values())
        elif isinstance(one, list | tuple | set | frozenset):
            stack.extend(one)
    return total


def _product(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int):
        return 1 + (left.bit_length() + right.bit_length()) // 64
    count, value = (left, right) if isinstance(left, int) else (right, left)
    if not isinstance(count, int) or not hasattr(value, "__len__"):
        return 1
    return 1 + max(count, 0) * len(value) // (CHARACTERS if isinstance(value, str | bytes) else 1)


def _format_cost(form: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> int:
    """Units that a format string may write: its widths, and its largest value in every field."""
    values = [*args, *kwargs.values()]
    fields = form.count("%") + form.count("{")
    widths = sum(int(digits) if len(digits) < 10 else 1 << 62 for digits in _NUMBER.findall(form))
    if "*" in form or "{" in form:  # a width may come from a value
        widths += fields * max((abs(v) for v in values if isinstance(v, int)), default=0) // (1 if "*" in form else 8)
    return 1 + (len(form) + widths) // CHARACTERS + fields * max(map(_deep, values), default=0)


def _shown(value: Any) -> Any:
    """Charge what is put into the text."""
    charge(_deep(value))
    return value


def _counted(iterable: Any, weight: int) -> Any:
    """What a loop runs over, charged by its length and the weight of the loop's body."""
    try:
        length = len(iterable)
    except TypeError:
        return _turns(iter(iterable), weight)
    charge(1 + length * weight)
    return iterable


def _turns(iterator: Iterator[Any], weight: int) -> Iterator[Any]:
    for item in iterator:
        charge(weight)
        yield item


def _joined(*parts: Any) -> str:
    charge(sum(map(_deep, parts)))
    return "".join(map(str, parts))


def _appended(operator: str, text: Any, *parts: Any) -> Any:
    """What `set ns.text = ns.text ~ …` makes, so that a conversation may be put together message by message.

    The old text is cheap where only `ns` holds it, as it goes at once; one that is held elsewhere too stays in memory.
    """
    kept = getrefcount(text) > _references_of_one_holder()
    if kept or type(text) is not str or (operator == "+" and any(type(part) is not str for part in parts)):
        return _joined(text, *parts) if operator == "~" else _added(text, *parts)
    charge(sum(map(_deep, parts)))
    made = "".join([text, *map(str, parts)])
    charge(getsizeof(made) // MOVED)
    return made


def _added(value: Any, *parts: Any) -> Any:
    for part in parts:
        charge(_shallow(value) + _shallow(part))
        value = value + part
    return value


def _references(_: str, text: Any, *__: Any) -> int:
    return getrefcount(text)


@cache
def _references_of_one_holder() -> int:
    """Python's count, as `_appended` sees it, for a text that is in one place besides the call."""
    holder = {"text": "".join(["any text", " at all"])}
    count: int = LimitedEnvironment().call(None, _references, "~", holder["text"])  # type: ignore[arg-type]
    return count


def _built(value: Any) -> Any:
    """A literal with other values in it: charged by all of them, so that nothing of exponential size is ever made."""
    charge(_deep(value))
    return value


def _scanned(value: Any) -> Any:
    """Something that is searched from end to end: a text, or values that are compared one by one."""
    charge(_shallow(value) if isinstance(value, str) else _deep(value, MOVED))
    return value


def _compared(value: Any) -> Any:
    """Something that is compared with something else."""
    charge(_deep(value, MOVED))
    return value


_OWN: tuple[Any, ...] = ()


def _charged_method(method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Charge a method of a string or number by what it will read and write; returns the arguments for it."""
    owner = getattr(getattr(method, "__wrapped__", method), "__self__", None)
    name = getattr(method, "__name__", "")
    given = [*args, *kwargs.values()]
    if isinstance(owner, int):
        charge(sum(abs(v) for v in given if isinstance(v, int)) if name == "to_bytes" else 1)
    elif isinstance(owner, list | tuple) and name in ("index", "count"):
        charge(_deep(owner, MOVED))
    elif name == "maketrans":  # of a class, str or bytes
        charge(CHARACTERS * sum(map(_deep, given)))
    if not isinstance(owner, str | bytes):
        return args
    if name in _CONSTANT:
        charge(sum(_deep(v, MOVED) for v in given))
        return args
    cost = len(owner)
    if name in _PADDED:
        cost += sum(v for v in given if isinstance(v, int) and v > 0)
    elif name == "expandtabs":
        tab: Any = b"\t" if isinstance(owner, bytes) else "\t"
        cost += owner.count(tab) * max([abs(v) for v in given if isinstance(v, int)] or [8])
    elif name == "replace" and len(given) > 1:
        cost += _replaced(owner, given[0], given[1])
    elif name == "join" and args:
        args = (items := list(args[0]), *args[1:])
        cost = CHARACTERS * _deep(items) + len(owner) * len(items)
    elif name in ("format", "format_map"):
        cost = CHARACTERS * _format_cost(str(owner), args, kwargs)
    elif name == "translate":
        cost += len(owner) * sum(map(_deep, given))
    charge(1 + cost // CHARACTERS)
    return args


def _replaced(text: Any, old: Any, new: Any) -> int:
    if not isinstance(old, type(text)) or not isinstance(new, type(text)):
        return 0
    return (text.count(old) if old else len(text) + 1) * len(new)


def _guarded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, charged by what it reads, may write, and has written."""
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        value = args[at]
        if name in ("join", "sum") and not isinstance(value, str):
            value = list(value)
            args = (*args[:at], value, *args[at + 1 :])
        elif isinstance(value, Iterator):
            args = (*args[:at], _turns(value, 1), *args[at + 1 :])
        charge(_shallow(value) if name in _SHALLOW else _deep(value))
        if isinstance(value, str) and name in _BY_CHARACTER:
            charge(4 * len(value))
        if len(args) > at + 1 or kwargs or name == "sum":
            charge(_grown(name, value, args[at + 1 :], kwargs))
        result = function(*args, **kwargs)
        if isinstance(result, str):
            charge(len(result) // CHARACTERS)
        elif name == "list":
            charge(len(result))
        return result

    return guarded


def _grown(name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Units that a filter may write because of its arguments."""
    given = [*args, *kwargs.values()]
    numbers = sum(abs(v) for v in given if isinstance(v, int))
    text = value if isinstance(value, str) else ""
    if name in ("format", "replace"):
        text = text or str(value)
        two = len(given) > 1
        replaced = _replaced(text, str(given[0]), str(given[1])) // CHARACTERS if two and name == "replace" else 0
        return _format_cost(text, args, kwargs) if name == "format" else replaced
    if name == "indent":
        width = max([numbers, *(len(v) for v in given if isinstance(v, str))])
        return (1 + text.count("\n")) * width // CHARACTERS
    if name in ("tojson", "urlize"):
        return _repeated(value, numbers + sum(_lengths(given)))
    if name == "join":
        return len(value) * max([len(str(v)) for v in given] or [0]) // CHARACTERS
    if name == "sum":  # of lists it is quadratic
        return 0 if all(isinstance(v, int | float) for v in value) else len(value) ** 2
    if name == "wordwrap":  # slower than all others
        numbers += len(text)
    between = max([len(v) for v in given if isinstance(v, str)] or [0]) if name == "wordwrap" else 0
    return numbers + len(text) * between if name in _NUMBERED else 0


def _repeated(value: Any, width: int) -> int:
    """Units if every link in a text, or every value at all levels inside another, comes with so many characters."""
    times = len(value) // _SHORTEST_LINK if isinstance(value, str) else _deep(value) * _levels(value)
    return 1 + times * width // CHARACTERS


def _lengths(values: Iterable[Any]) -> Iterator[int]:
    """How long the texts are, also those in tuples and lists."""
    for value in values:
        if isinstance(value, str):
            yield len(value)
        elif isinstance(value, list | tuple):
            yield from _lengths(value)


def _levels(value: Any) -> int:
    """How deep containers stand in one another, which `_deep` has found to be few enough."""
    levels, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list | tuple)]:
        levels += 1
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
    return levels


def _guarded_test(function: Callable[..., Any], charged: Callable[[Any], Any]) -> Callable[..., Any]:
    @wraps(function)
    def guarded(*args: Any) -> Any:
        for value in args:
            charged(value)
        return function(*args)

    return guarded


def _sliced(value: Any) -> Any:
    """Something of which a part is copied."""
    charge(_shallow(value))
    return value


_OWN = (_counted, charge, _joined, _appended, _references, _built, _scanned, _compared, _sliced)


class _Charged(NodeTransformer):
    """Puts the charges into a template's syntax tree."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        weight = _weight(node.body)
        self.generic_visit(node)
        node.iter = _limit("counted", node.iter, nodes.Const(weight))
        if node.recursive:  # its calls of loop() have an iterable of their own
            node.body.insert(0, nodes.ExprStmt(_limit("charge", nodes.Const(weight))))
        return node

    def visit_Macro(self, node: Any) -> Any:  # noqa: N802
        weight = _MACRO + _weight(node.body)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_limit("charge", nodes.Const(weight))))
        return node

    visit_CallBlock = visit_Macro  # noqa: N815
    visit_Block = visit_Macro  # noqa: N815

    def visit_Assign(self, node: nodes.Assign) -> nodes.Assign:  # noqa: N802
        if isinstance(node.target, nodes.NSRef):
            node.node = _as_appended(node.node, node.target) or node.node
        self.generic_visit(node)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _limit("joined", *node.nodes)

    def visit_List(self, node: Any) -> Any:  # noqa: N802
        self.generic_visit(node)
        inside = [part for item in node.iter_child_nodes() for part in (item, *item.find_all(nodes.Expr))]
        stored = getattr(node, "ctx", "load") != "load"
        simple = all(isinstance(part, nodes.Const | nodes.Pair) for part in inside)
        return node if stored or simple else _limit("built", node)

    visit_Dict = visit_List  # noqa: N815

    def visit_Tuple(self, node: nodes.Tuple) -> Any:  # noqa: N802
        return self.visit_List(node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _limit("sliced", node.node)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        first = node.expr
        self.generic_visit(node)
        for operand in node.ops:
            searched = operand.op in ("in", "notin") and not isinstance(operand.expr, nodes.Tuple | nodes.List)
            if searched:
                operand.expr = _limit("scanned", operand.expr)
            elif not (isinstance(first, nodes.Const) or isinstance(operand.expr, nodes.Const)):
                operand.expr = _limit("compared", operand.expr)
        return node


def _as_appended(node: Any, target: nodes.NSRef) -> Any:
    """A chain of `~` and `+` that begins with what the target holds, as calls of `_appended`; None if it is no such."""
    if isinstance(node, nodes.Getattr):
        held = node.attr == target.attr and isinstance(node.node, nodes.Name) and node.node.name == target.name
        return node if held else None
    if isinstance(node, nodes.Concat):
        first, rest = node.nodes[0], node.nodes[1:]
    elif isinstance(node, nodes.Add):
        rest = [node.right]
        first = left = node.left
        while isinstance(left, nodes.Add):
            rest.append(left.right)
            first = left = left.left
        rest.reverse()
    else:
        return None
    begin = _as_appended(first, target)
    return begin and _limit("appended", nodes.Const("~" if isinstance(node, nodes.Concat) else "+"), begin, *rest)


def _weight(body: list[nodes.Node]) -> int:
    """How much one turn through a body costs, nested loops not counted: they are charged themselves."""
    total, stack = 0, list(body)
    while stack:
        node = stack.pop()
        total += 8 + len(node.data) // 2 if isinstance(node, nodes.TemplateData) else 8
        stack.extend(node.iter_child_nodes())
    return 1 + total // 64


def _limit(name: str, *args: Any) -> nodes.Expr:
    return nodes.Call(nodes.EnvironmentAttribute(f"limit_{name}"), list(args), [], None, None)
