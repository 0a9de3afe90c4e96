"""Names of options in messages: `--max-tokens 32k` on the command line, `max_tokens="32k"` in Python.

Code that raises an error names the option; which form it takes depends on who is asking: the command line says so for
as long as a command runs, and everything else is Python.
"""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_on_command_line = ContextVar("_on_command_line", default=False)
_missing: ContextVar[frozenset[str]] = ContextVar("_missing", default=frozenset())


@contextmanager
def command_line() -> Iterator[None]:
    """Name options as the command line has them."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


@contextmanager
def command_without(*names: str) -> Iterator[None]:
    """Run a command that lacks these options, so that no message advises one of them."""
    token = _missing.set(frozenset(names))
    try:
        yield
    finally:
        _missing.reset(token)


def alternative(name: str, words: str, before: str = ", or ") -> str:
    """Advice to use an option, with the words before and after it; empty if the running command does not have it."""
    return "" if name in _missing.get() else f"{before}{option(name)} {words}"


def option(name: str, value: object = None) -> str:
    """An option of a command or a keyword of a function, with a value or a placeholder in capitals; True for a flag."""
    if _on_command_line.get():
        flag = f"--{name.replace('_', '-')}"
        return flag if value is None or value is True else f"{flag} {shlex.quote(_plain(value))}"
    return f"{name}={'' if value is None else _literal(value)}"


def runner_option(name: str, value: object) -> str:
    """An option of a runner."""
    return f"-o {name}={value}" if _on_command_line.get() else f'option={{"{name}": {_literal(value)}}}'


def override(text: str) -> str:
    """An override `key=value` of a task's key."""
    if _on_command_line.get():
        return f"--set {text}"
    key, equals, value = text.partition("=")
    return f'set={{"{key}": {value}}}' if equals and key else f'set="{text}"'


def stored_answers(folder: str, limit: int | None) -> str:
    """How to see the answers of a run: a command, or a call."""
    if _on_command_line.get():
        return f"m1eval show {shlex.quote(folder)}" + (f" --limit {limit}" if limit else "")
    return f"m1eval.read({_literal(folder)})" + (f".head({limit})" if limit else "")


def traceback_hint() -> str:
    """How to see the traceback of an error in a plugin; in Python it is the cause of the exception."""
    return "; --debug shows the traceback" if _on_command_line.get() else ""


def _literal(value: object) -> str:
    """A value as Python code has it; placeholders as they are."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and not value.isupper() else _plain(value)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
