"""Parameter types of the command line: every value is checked where it is given, and named by its option."""

import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from m1eval.errors import UsageError
from m1eval.run.ranges import Range
from m1eval.text import parse_tokens

GROUPS = ("Tasks and model", "Size and limits", "Generation and grading", "Execution and results", "Output")
"""The headings under which the help of `m1eval run` lists its options, in order."""


class Tokens(click.ParamType[int]):
    """A number of tokens: 8000, 32k (32,768), 1m."""

    name = "tokens"

    def __init__(self, bounds: Range) -> None:
        self.minimum = bounds.minimum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_tokens(value, minimum=self.minimum)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Integer(click.IntRange):
    """A whole number within a range."""

    def __init__(self, bounds: Range) -> None:
        super().__init__(bounds.minimum, bounds.maximum, min_open=bounds.is_open)
        self.bounds = bounds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"it must be {self.bounds.describe('a whole number')}, not '{value}'.", param, ctx)


class Number(click.FloatRange):
    """A finite number within a range; nan and inf would switch a limit or a gate off."""

    def __init__(self, bounds: Range) -> None:
        super().__init__(bounds.minimum, bounds.maximum, min_open=bounds.is_open)
        self.bounds = bounds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(super().convert(value, param, ctx))
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"it must be {self.bounds.describe('a number')}, not '{value}'.", param, ctx)
        return number


class Threshold(click.ParamType[float | str]):
    """A score between 0 and 1, or `ruler`."""

    name = "score"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "ruler":
            return "ruler"
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1:
            self.fail(f"'{value}' is not a score between 0 and 1, or ruler.", param, ctx)
        return number


class FilePath(click.ParamType[Path]):
    """A path, with ~ expanded. It must not be a file (`folder`) or a folder (`file`), or must be there (`exists`)."""

    name = "path"

    def __init__(self, *, folder: bool = False, file: bool = False, exists: bool = False) -> None:
        self.folder, self.file, self.exists = folder, file, exists

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        text = str(value)
        if not text.strip() or "\0" in text:
            self.fail("a path is not empty and has no NUL character.", param, ctx)
        try:
            path = Path(text).expanduser()
            exists = path.exists()
        except (OSError, RuntimeError) as error:  # RuntimeError: no such user
            self.fail(f"'{text[:80]}': {getattr(error, 'strerror', None) or error}.", param, ctx)
        if self.exists and not exists:
            self.fail(f"'{text}' does not exist.", param, ctx)
        if self.folder and exists and not path.is_dir():
            self.fail(f"'{text}' is a file; name a folder.", param, ctx)
        if self.file and path.is_dir():
            self.fail(f"'{text}' is a folder; name a file.", param, ctx)
        return path

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="dir" if self.folder else "file")]


class NonEmpty(click.ParamType[str]):
    """A text that is not empty and has no control characters that no name has."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.strip():
            self.fail("it is empty.", param, ctx)
        if odd := _invalid_reason(text):
            self.fail(f"{odd}.", param, ctx)
        return text


def _invalid_reason(text: str) -> str:
    """Reason that a text cannot be a name; empty if it can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    return "it holds a NUL character" if "\0" in text else ""


class Once(click.Option):
    """An option with one value; given twice with different values it is an error, not the last one."""

    def __init__(self, *args: Any, group: str = "", **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.group = group
        self.repeatable = self.is_flag or self.multiple

    @property
    def option(self) -> str:
        """The option's name as messages show it."""
        return max(self.opts, key=len)

    def get_help_extra(self, ctx: click.Context) -> Any:
        """The additions to the help text, without the range of a number: the text has it where it matters."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser keep all values, so that `consume_value` sees them."""
        if self.repeatable:
            super().add_to_parser(parser, ctx)
        else:
            parser.add_option(obj=self, opts=self.opts, dest=self.name, action="append", nargs=self.nargs)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        value, source = super().consume_value(ctx, opts)
        if self.repeatable or source is not ParameterSource.COMMANDLINE:
            return value, source
        return self.combine(ctx, value), source

    def combine(self, ctx: click.Context, values: Sequence[Any]) -> Any:
        """The single value of an option; UsageError if it was given with different ones."""
        for text in values[1:]:
            if self.type_cast_value(ctx, text) != self.type_cast_value(ctx, values[0]):
                raise UsageError(f"{self.option} is given twice, as '{values[0]}' and as '{text}'; give it once")
        return values[0]


class NameList(Once):
    """An option that holds names separated by commas; given several times its names add up. Never empty."""

    def __init__(self, *args: Any, **attrs: Any) -> None:
        super().__init__(*args, callback=lambda ctx, param, value: value or (), **attrs)

    def combine(self, ctx: click.Context, values: Sequence[Any]) -> Any:
        return ",".join(map(str, values)) if all(str(text).strip() for text in values) else ""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        names = [name.strip() for name in str(value).split(",")]
        if not all(names):
            raise UsageError(f"{self.option} '{value}': no name given" + (" between commas" if any(names) else ""))
        if odd := _invalid_reason(value):
            raise UsageError(f"{self.option}: {odd}")
        return tuple(self.parse_name(name) for name in dict.fromkeys(names))

    def parse_name(self, name: str) -> Any:
        """One of the names, checked."""
        return name


class TokenList(NameList):
    """Numbers of tokens separated by commas."""

    def parse_name(self, name: str) -> Any:
        try:
            return parse_tokens(name, minimum=1)
        except ValueError as error:
            raise UsageError(f"{self.option}: {error}") from None


class LengthList(NameList):
    """Prompt lengths: numbers of tokens, ranges such as 4k-1m, or auto; as texts, after validation."""

    MAX_LENGTH = 2**27

    def parse_name(self, name: str) -> Any:
        parts = [] if name.lower() == "auto" else name.split("-")
        try:
            if len(parts) > 2 or any(parse_tokens(part, minimum=1) > self.MAX_LENGTH for part in parts):
                raise ValueError(f"'{name[:40]}' is not a prompt length of at most 128m tokens")
        except ValueError as error:
            forms = "" if "-" not in name else ", or a range such as 4k-1m"
            raise UsageError(f"{self.option}: {error}{forms}, or auto") from None
        return name


class NumberList(NameList):
    """Whole numbers of at least 1, separated by commas."""

    def parse_name(self, name: str) -> Any:
        if not (name.isascii() and name.isdecimal() and len(name) < 10 and int(name) > 0):
            raise UsageError(f"{self.option}: each must be a whole number of at least 1, such as 32, not '{name[:40]}'")
        return int(name)


class Grouped(click.Command):
    """A command whose help lists its options under the headings of GROUPS, and that has no arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options; UsageError for a task that is named without --tasks."""
        values, words, _ = self.make_parser(ctx).parse_args(args=list(args))
        if words and "tasks" not in values and not ctx.resilient_parsing:
            names = shlex.quote(",".join(word.strip(",") for word in words))
            raise UsageError(f"unexpected argument '{words[0]}'; did you mean --tasks {names}?")
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group."""
        rows: dict[str, list[tuple[str, str]]] = {name: [] for name in GROUPS}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                rows[getattr(param, "group", "") or GROUPS[-1]].append(record)
        for name, records in rows.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def examples(*commands: str) -> str:
    """Example commands as the end of a help text, one a line and never wrapped."""
    return "\n".join(["\b", f"Example{'s' if len(commands) > 1 else ''}:", *(f"  {each}" for each in commands)])


def parse_pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """`key=value` texts of a repeated option by key; a key given twice with different values is an error."""
    values: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if odd := _invalid_reason(text):
            raise UsageError(f"{option} {text}: {odd}")
        if not equals or not key.strip():
            raise UsageError(f"{option} {text}: write key=value")
        if values.setdefault(key, value) != value:
            raise UsageError(f"{option} {key} is given twice, as '{values[key]}' and as '{value}'; give it once")
    return values


def runner_options(texts: Iterable[str]) -> dict[str, Any]:
    """The options of a runner as `-o key=value` gives them."""
    from m1eval.yaml_file import parse_value

    return {key: parse_value(text) for key, text in parse_pairs("-o", texts).items()}


def writable(path: Path, option: str) -> None:
    """UsageError if a file cannot be written where an option wants it; nothing is created."""
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"{option} {path} cannot be written: permission denied")
