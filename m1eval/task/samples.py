"""The samples of a task: numbered, chosen, ordered, and built one by one when they are due."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from m1eval.errors import UsageError
from m1eval.plugins import unknown
from m1eval.protocols import Scorer
from m1eval.task import dataset, selection
from m1eval.task.dataset import Row, Rows
from m1eval.task.definition import ROLES, Definition
from m1eval.types import LazySample, Message, Sample
from m1eval.yaml_file import Key, YamlFile

Render = Callable[[Row], str]


class DataInfo(NamedTuple):
    """Where the rows are from, a mapping for each table that was read, and what was left out of them, in words."""

    tables: list[dict[str, Any]]
    notes: list[str]


class Samples:
    """The samples of a task by number; each is built when it is asked for."""

    def __init__(
        self,
        name: str,
        definition: Definition,
        file: YamlFile,
        scorer: Scorer,
        table: Rows | list[LazySample],
        texts: Mapping[str, Any] | None = None,
        about: DataInfo | None = None,
    ) -> None:
        self.about = about or DataInfo([], [])
        self._name = name
        self._definition = definition
        self._file = file
        self._scorer = scorer
        self._recipes = table if isinstance(table, list) else None
        self._rows: Rows = [] if isinstance(table, list) else table
        self._width = len(str(len(table)))
        self._prefixes: dict[int, str] = {}
        self._texts = {"texts": texts} if texts else {}
        if not len(table):
            raise file.error(("dataset",), "the dataset has no rows")

    def __len__(self) -> int:
        return len(self._recipes or self._rows)

    @property
    def has_generated_ids(self) -> bool:
        """Whether ids are made of the samples' numbers, so that no two can be the same."""
        return self._recipes is None and self._definition.id is None

    def select(self, *, limit: int | None, ids: Sequence[str] | None, seed: int, even: bool = True) -> list[int]:
        """The numbers of the samples to run: all, the named ones, or `limit` random ones, the same for every model.

        Of each length, depth and subtask there are as many as can be, unless `even` is False. A larger limit with the
        same seed holds the smaller one, so that a run can grow.
        """
        numbers = list(range(len(self)))
        if ids:
            known = {self.id(i): i for i in numbers}
            if missing := [name for name in ids if name not in known]:
                raise UsageError(f"task {self._name}: {unknown('id', missing[0], known)}")
            numbers = sorted({known[name] for name in ids})
        if limit is not None and limit < len(numbers):
            columns = {name: [values[i] for i in numbers] for name, values in self.even.items()} if even else {}
            numbers = selection.limited(numbers, limit, seed, columns)
        if not self._recipes and not self._definition.prefix:
            return numbers
        # Equal prefixes follow one another, in the order of their first appearance.
        first: dict[str, int] = {}
        return sorted(numbers, key=lambda i: first.setdefault(self.prefix_key(i) or f"\0{i}", len(first)))

    @cached_property
    def even(self) -> dict[str, list[Any]]:
        """The columns of which `--limit` takes as many of each value, with the values of all samples."""
        if self._recipes is None:
            return dataset.columns(self._rows, selection.COLUMNS)
        names = dict.fromkeys(name for recipe in self._recipes for name in recipe.columns)
        return {name: [recipe.columns.get(name) for recipe in self._recipes] for name in names}

    def named(self, number: int) -> str:
        """The sample for messages: its id, and the place of its row."""
        place = dataset.location(self._rows, number) if self._recipes is None else ""
        return f"{self.id(number)} ({place})" if place else self.id(number)

    def id(self, number: int) -> str:
        """The sample's id: the recipe's, the `id` template's, or task name and number from 1."""
        if self._recipes:
            return self._recipes[number].id
        if self._definition.id is None:  # without the templates, which listings have no need of
            return f"{self._name}-{number + 1:0{self._width}}"
        render = self._templates.id
        assert render is not None
        return render(self._rows[number])

    def unknown_ids(self, names: Iterable[str], known: Set[str]) -> set[str]:
        """Those names that are the id of no sample; which ids are made by a template is looked up in `known` first."""
        if self.has_generated_ids:
            return {name for name in names if not self._is_numbered(name)}
        left = {name for name in names if name not in known}
        for number in range(len(self)):
            if not left:
                break
            with suppress(UsageError):  # a row of which no id can be made, and which may not have been chosen
                left.discard(self.id(number))
        return left

    def _is_numbered(self, name: str) -> bool:
        """Whether it is what `id` makes of a number, found without a list of all."""
        digits = name[-self._width :]
        return digits.isdecimal() and 0 < int(digits) <= len(self) and name == self.id(int(digits) - 1)

    def prefix_key(self, number: int) -> str:
        """What the sample's long prefix is known by; empty if it shares none."""
        if self._recipes:
            return self._recipes[number].prefix_key
        if self._definition.prefix is None:
            return ""
        if number not in self._prefixes:
            render = self._templates.prefix
            assert render is not None
            text = render(self._rows[number])
            self._prefixes[number] = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16] if text else ""
        return self._prefixes[number]

    def varies(self, number: int) -> bool:
        """Whether each repeat of the sample has a prompt of its own."""
        return bool(self._recipes and self._recipes[number].build_repeat)

    def sample(self, number: int, repeat: int = 0) -> Sample:
        """Build one sample, as it is asked in one repeat."""
        row = self._row(number, repeat)
        if (average := self._definition.average) is not None and average not in row:
            known = ", ".join(map(str, row))
            text = f"{self.named(number)} has no column '{average}'; it has {known}"
            raise self._file.error(("average",), text)
        templates, column = self._templates, self._definition.messages
        seen = {**row, **self._texts} if self._texts else row
        self._check_nulls(number, row)
        with self._errors_at(number):
            messages: list[Message] = [{"role": role, "content": render(seen)} for role, render in templates.messages]
            if isinstance(column, str):
                messages += _messages(self._file, column, row)
            sample = Sample(
                id=self.id(number),
                messages=messages,
                target=templates.target(row),
                metadata={key: value for key, value in row.items() if key != column},
                tools=_tools(self._file, row),
                prefix_key=self.prefix_key(number),
                cluster=self._recipes[number].cluster if self._recipes else "",
            )
            if templates.gold:
                sample.gold = templates.gold(row)
        if not templates.gold:
            sample.gold = self._gold(sample)
        return sample

    @contextmanager
    def _errors_at(self, number: int) -> Iterator[None]:
        """Errors inside say which sample they are about."""
        try:
            yield
        except UsageError as error:
            raise UsageError(f"{error} ({self._told(number)})") from error

    def _told(self, number: int) -> str:
        """The sample by its id and place, by what can be told of it."""
        try:
            return f"sample {self.named(number)}"
        except UsageError:  # its id cannot be made
            return f"row {number + 1}"

    def check_ids(self, numbers: Iterable[int]) -> set[str]:
        """The ids of samples; UsageError if two are the same, with both rows."""
        seen: dict[str, int] = {}
        for number in numbers:
            with self._row_errors_at(number):
                name = self.id(number)
            if not name:
                raise self._file.error(("id",), f"the id of {dataset.location(self._rows, number)} is empty")
            if (first := seen.setdefault(name, number)) != number:
                both = " and ".join(dataset.location(self._rows, n) or f"row {n + 1}" for n in (first, number))
                key = ("id",) if self._recipes is None else ("dataset", "generate")
                raise self._file.error(key, f"two samples have the id '{name}': {both}")
        return set(seen)

    def check_rows(self, numbers: Iterable[int]) -> None:
        """UsageError for a row without a reference or a question, so that it is found before anything is asked.

        Of rows that are read from a table; what a generator builds may take long, and is seen when it is built.
        """
        if self._recipes is not None:
            return
        for number in numbers:
            row = self._rows[number]
            self._check_nulls(number, row)
            with self._errors_at(number):
                self._templates.target(row)

    @contextmanager
    def _row_errors_at(self, number: int) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            place = dataset.location(self._rows, number) if self._recipes is None else ""
            raise UsageError(f"{error} ({place or f'row {number + 1}'})") from error

    def _gold(self, sample: Sample) -> str | None:
        """The reference as an answer, by the scorer; its refusal of a target names the line of the task file."""
        try:
            answer = self._scorer.gold(sample)
            return None if answer is None else str(answer)
        except SystemExit as error:
            raise RuntimeError(f"the scorer's gold: SystemExit: {error}") from error
        except UsageError as error:
            raise self._file.error(("target",), str(error)) from None

    def _check_nulls(self, number: int, row: Row) -> None:
        """UsageError for a row without a question or a reference, which would else be the word `None`, or `nan`."""
        for key, what, names in self._templates.shown:
            for name in names:
                value = row.get(name, ...)
                if value is None or (isinstance(value, float) and math.isnan(value)):
                    text = f"{self.id(number)}: '{name}' is null, so there is no {what}"
                    text += "; leave the row out, or give a value for it in the template"
                    place = dataset.location(self._rows, number) if self._recipes is None else ""
                    raise self._file.error(key, f"{text} ({place})" if place else text)

    def _row(self, number: int, repeat: int) -> Row:
        if not self._recipes:
            return self._rows[number]
        recipe = self._recipes[number]
        try:
            row = recipe.build_repeat(repeat) if recipe.build_repeat else recipe.build()
        except KeyError as error:  # as for a template: data of another form are wrong as a whole
            name = error.args[0] if error.args else error
            raise self._file.error(("dataset", "generate"), f"{self.id(number)}: the data have no {name!r}") from error
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            text = f"{self.id(number)}: the data have another form: {type(error).__name__}: {error}"
            raise self._file.error(("dataset", "generate"), text) from error
        except (SystemExit, GeneratorExit, StopIteration) as error:  # which would end more than this sample
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        if not isinstance(row, Mapping):
            text = f"{self.id(number)}: its build gives {type(row).__name__}, not a mapping of columns"
            raise self._file.error(("dataset", "generate"), text)
        return row

    @cached_property
    def _templates(self) -> "_Templates":
        from m1eval.task.template import columns, compiled  # Jinja2 takes 40 ms to import, and listings need none of it

        definition, file = self._definition, self._file

        def one(key: str, text: str | None) -> Render | None:
            return None if text is None else compiled(file, (key,), text, lists=key == "prefix")

        messages = [
            (role, compiled(file, (key,), text))
            for role, key, text in (("system", "system", definition.system), ("user", "prompt", definition.prompt))
            if text is not None
        ]
        listed = definition.messages if isinstance(definition.messages, list) else []
        for i, message in enumerate(listed):
            messages.append((message.role, compiled(file, ("messages", i, "content"), message.content)))
        target = compiled(file, ("target",), definition.target, lists=False)
        name, gold, prefix = (one(key, getattr(definition, key)) for key in ("id", "gold", "prefix"))
        shown: list[tuple[Key, str, list[str]]] = [
            ((key,), "text to ask", columns(text))
            for key, text in (("system", definition.system), ("prompt", definition.prompt))
            if text
        ]
        shown += [
            (("messages", i, "content"), "text to ask", columns(message.content)) for i, message in enumerate(listed)
        ]
        shown.append((("target",), "reference to grade by", columns(definition.target)))
        return _Templates(name, messages, target, shown, gold, prefix)


class _Templates(NamedTuple):
    id: Render | None
    messages: list[tuple[str, Render]]
    target: Render
    shown: list[tuple[Key, str, list[str]]]
    gold: Render | None
    prefix: Render | None


def _messages(file: YamlFile, column: str, row: Row) -> list[Message]:
    if column not in row:
        raise file.error(("messages",), unknown("column", column, row))
    found = row[column]
    try:
        messages: list[Message] = (
            msgspec.json.decode(found, type=list[Message])
            if isinstance(found, str)
            else msgspec.convert(found, list[Message])
        )
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise file.error(("messages",), f"column '{column}' holds no list of messages: {error}") from None
    for number, message in enumerate(messages, 1):
        if (role := message.get("role")) not in ROLES:
            known = ", ".join(ROLES)
            text = f"message {number} of column '{column}' has the role {role!r}; roles are {known}"
            raise file.error(("messages",), text)
        if not isinstance(message.get("content"), str | list | None):
            text = f"message {number} of column '{column}' has the content {message['content']!r}, which is no text"
            raise file.error(("messages",), text)
    return messages


def _tools(file: YamlFile, row: Row) -> list[dict[str, Any]]:
    """The column `tools`, if it is what it must be."""
    try:
        return msgspec.convert(row.get("tools") or [], list[dict[str, Any]])
    except msgspec.ValidationError as error:
        raise file.error((), f"column 'tools' holds no list of tools: {error}") from None
