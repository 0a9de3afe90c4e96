"""The samples of a task: numbered, selected, ordered, and built one by one."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from m1eval.errors import UsageError
from m1eval.protocols import Scorer
from m1eval.task import dataset, selection
from m1eval.task.dataset import Row, Rows
from m1eval.task.definition import ROLES, Definition
from m1eval.text import unknown_name
from m1eval.types import LazySample, Message, Sample
from m1eval.yaml_file import Key, YamlFile

Render = Callable[[Row], str]


class DataInfo(NamedTuple):
    """The sources of the rows, a mapping for each table that was read, and notes on rows that were left out."""

    tables: list[dict[str, Any]]
    notes: list[str]


class Samples:
    """The samples of a task by number; each is built on request."""

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
        self._lazy_samples = table if isinstance(table, list) else None
        self._rows: Rows = [] if isinstance(table, list) else table
        self._width = len(str(len(table)))
        self._prefixes: dict[int, str] = {}
        self._texts = {"texts": texts} if texts else {}
        if not len(table):
            raise file.error(("dataset",), "the dataset has no rows")

    def __len__(self) -> int:
        return len(self._lazy_samples or self._rows)

    @property
    def has_generated_ids(self) -> bool:
        """Whether ids are generated from the samples' numbers, and so are unique."""
        return self._lazy_samples is None and self._definition.id is None

    def select(self, *, limit: int | None, ids: Sequence[str] | None, seed: int, even: bool = True) -> list[int]:
        """The numbers of the samples to run: all, those of `ids`, or `limit` random ones, the same for every model.

        Lengths, depths and subtasks are equally frequent where possible, unless `even` is False. A larger limit with
        the same seed contains the smaller one, so that a run can grow.
        """
        numbers = list(range(len(self)))
        if ids:
            numbers_by_id = {self.id(i): i for i in numbers}
            if missing := [name for name in ids if name not in numbers_by_id]:
                raise UsageError(f"task {self._name}: {unknown_name('id', missing[0], numbers_by_id)}")
            numbers = sorted({numbers_by_id[name] for name in ids})
        if limit is not None and limit < len(numbers):
            columns = (
                {name: [values[i] for i in numbers] for name, values in self.stratified_columns.items()} if even else {}
            )
            numbers = selection.limited(numbers, limit, seed, columns)
        if not self._lazy_samples and not self._definition.prefix:
            return numbers
        # Equal prefixes follow one another, in the order of their first appearance.
        first: dict[str, int] = {}
        return sorted(numbers, key=lambda i: first.setdefault(self.prefix_key(i) or f"\0{i}", len(first)))

    @cached_property
    def stratified_columns(self) -> dict[str, list[Any]]:
        """The columns that `--limit` is stratified by, with the values of all samples."""
        if self._lazy_samples is None:
            return dataset.columns(self._rows, selection.COLUMNS)
        names = dict.fromkeys(name for recipe in self._lazy_samples for name in recipe.columns)
        return {name: [recipe.columns.get(name) for recipe in self._lazy_samples] for name in names}

    def label(self, number: int) -> str:
        """The sample in messages: its id, and the place of its row."""
        place = dataset.location(self._rows, number) if self._lazy_samples is None else ""
        return f"{self.id(number)} ({place})" if place else self.id(number)

    def id(self, number: int) -> str:
        """The sample's id: from the generator, the `id` template, or task name and number from 1."""
        if self._lazy_samples:
            return self._lazy_samples[number].id
        if self._definition.id is None:  # without the templates, which listings do not need
            return f"{self._name}-{number + 1:0{self._width}}"
        render = self._templates.id
        assert render is not None
        return render(self._rows[number])

    def unknown_ids(self, names: Iterable[str], known: Set[str]) -> set[str]:
        """The names that are not the id of any sample; ids from a template are looked up in `known` first."""
        if self.has_generated_ids:
            return {name for name in names if not self._is_numbered(name)}
        left = {name for name in names if name not in known}
        for number in range(len(self)):
            if not left:
                break
            with suppress(UsageError):  # a row without a valid id, which may not be selected
                left.discard(self.id(number))
        return left

    def _is_numbered(self, name: str) -> bool:
        """Whether a name is a generated id, found without a list of all."""
        digits = name[-self._width :]
        return digits.isdecimal() and 0 < int(digits) <= len(self) and name == self.id(int(digits) - 1)

    def prefix_key(self, number: int) -> str:
        """The key of the sample's long prefix; empty if it shares none."""
        if self._lazy_samples:
            return self._lazy_samples[number].prefix_key
        if self._definition.prefix is None:
            return ""
        if number not in self._prefixes:
            render = self._templates.prefix
            assert render is not None
            text = render(self._rows[number])
            self._prefixes[number] = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16] if text else ""
        return self._prefixes[number]

    def varies(self, number: int) -> bool:
        """Whether each repeat of the sample has its own prompt."""
        return bool(self._lazy_samples and self._lazy_samples[number].build_repeat)

    def sample(self, number: int, repeat: int = 0) -> Sample:
        """Build one sample, for one repeat."""
        row = self._row(number, repeat)
        if (average := self._definition.average) is not None and average not in row:
            known = ", ".join(map(str, row))
            text = f"{self.label(number)} has no column '{average}'; it has {known}"
            raise self._file.error(("average",), text)
        templates, column = self._templates, self._definition.messages
        variables = {**row, **self._texts} if self._texts else row
        self._check_nulls(number, row)
        with self._errors_at(number):
            messages: list[Message] = [
                {"role": role, "content": render(variables)} for role, render in templates.messages
            ]
            if isinstance(column, str):
                messages += _messages(self._file, column, row)
            sample = Sample(
                id=self.id(number),
                messages=messages,
                target=templates.target(row),
                metadata={key: value for key, value in row.items() if key != column},
                tools=_tools(self._file, row),
                prefix_key=self.prefix_key(number),
                cluster=self._lazy_samples[number].cluster if self._lazy_samples else "",
            )
            if templates.gold:
                sample.gold = templates.gold(row)
        if not templates.gold:
            sample.gold = self._gold(sample)
        return sample

    @contextmanager
    def _errors_at(self, number: int) -> Iterator[None]:
        """Add the sample to errors raised inside."""
        try:
            yield
        except UsageError as error:
            raise UsageError(f"{error} ({self._label(number)})") from error

    def _label(self, number: int) -> str:
        """The sample in errors: its id and place, or its number if it has no valid id."""
        try:
            return f"sample {self.label(number)}"
        except UsageError:  # without a valid id
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
                key = ("id",) if self._lazy_samples is None else ("dataset", "generate")
                raise self._file.error(key, f"two samples have the id '{name}': {both}")
        return set(seen)

    def check_rows(self, numbers: Iterable[int]) -> None:
        """UsageError for a row without a reference or a question, before anything is asked.

        Only for rows of a table: generated ones may take long to build, and are checked then.
        """
        if self._lazy_samples is not None:
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
            place = dataset.location(self._rows, number) if self._lazy_samples is None else ""
            raise UsageError(f"{error} ({place or f'row {number + 1}'})") from error

    def _gold(self, sample: Sample) -> str | None:
        """The reference as an answer, from the scorer; its refusal of a target names the line of the task file."""
        try:
            answer = self._scorer.gold(sample)
            return None if answer is None else str(answer)
        except SystemExit as error:
            raise RuntimeError(f"the scorer's gold: SystemExit: {error}") from error
        except UsageError as error:
            raise self._file.error(("target",), str(error)) from None

    def _check_nulls(self, number: int, row: Row) -> None:
        """UsageError for a row without a question or a reference, which would be rendered as `None` or `nan`."""
        for key, what, names in self._templates.shown:
            for name in names:
                value = row.get(name, ...)
                if value is None or (isinstance(value, float) and math.isnan(value)):
                    text = f"{self.id(number)}: '{name}' is null, so there is no {what}"
                    text += "; leave the row out, or give a value for it in the template"
                    place = dataset.location(self._rows, number) if self._lazy_samples is None else ""
                    raise self._file.error(key, f"{text} ({place})" if place else text)

    def _row(self, number: int, repeat: int) -> Row:
        if not self._lazy_samples:
            return self._rows[number]
        recipe = self._lazy_samples[number]
        try:
            row = recipe.build_repeat(repeat) if recipe.build_repeat else recipe.build()
        except KeyError as error:  # as for a template: data of another form are wrong as a whole
            name = error.args[0] if error.args else error
            raise self._file.error(("dataset", "generate"), f"{self.id(number)}: the data have no {name!r}") from error
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            text = f"{self.id(number)}: the data have a different form: {type(error).__name__}: {error}"
            raise self._file.error(("dataset", "generate"), text) from error
        except (SystemExit, GeneratorExit, StopIteration) as error:  # which would end more than this sample
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        if not isinstance(row, Mapping):
            text = f"{self.id(number)}: its build returns {type(row).__name__}, not a mapping of columns"
            raise self._file.error(("dataset", "generate"), text)
        return row

    @cached_property
    def _templates(self) -> "_Templates":
        from m1eval.task.template import (  # Jinja2 takes 40 ms to import, and listings need none of it
            columns,
            compile_template,
        )

        definition, file = self._definition, self._file

        def one(key: str, text: str | None) -> Render | None:
            return None if text is None else compile_template(file, (key,), text, lists=key == "prefix")

        messages = [
            (role, compile_template(file, (key,), text))
            for role, key, text in (("system", "system", definition.system), ("user", "prompt", definition.prompt))
            if text is not None
        ]
        listed = definition.messages if isinstance(definition.messages, list) else []
        for i, message in enumerate(listed):
            messages.append((message.role, compile_template(file, ("messages", i, "content"), message.content)))
        target = compile_template(file, ("target",), definition.target, lists=False)
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
        raise file.error(("messages",), unknown_name("column", column, row))
    value = row[column]
    try:
        messages: list[Message] = (
            msgspec.json.decode(value, type=list[Message])
            if isinstance(value, str)
            else msgspec.convert(value, list[Message])
        )
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise file.error(("messages",), f"column '{column}' is not a list of messages: {error}") from None
    for number, message in enumerate(messages, 1):
        if (role := message.get("role")) not in ROLES:
            known = ", ".join(ROLES)
            text = f"message {number} of column '{column}' has the role {role!r}; roles are {known}"
            raise file.error(("messages",), text)
        if not isinstance(message.get("content"), str | list | None):
            text = f"message {number} of column '{column}' has the content {message['content']!r}, which is not text"
            raise file.error(("messages",), text)
    return messages


def _tools(file: YamlFile, row: Row) -> list[dict[str, Any]]:
    """The column `tools`; UsageError if it is not a list of tools."""
    try:
        return msgspec.convert(row.get("tools") or [], list[dict[str, Any]])
    except msgspec.ValidationError as error:
        raise file.error((), f"column 'tools' is not a list of tools: {error}") from None
