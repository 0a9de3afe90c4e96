"""The keys of a task file, as types; `m1eval schema` prints them for editors."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from m1eval.text import parse_tokens, unknown_name
from m1eval.types import MAX_REPEATS, EffectiveLengthRule, Sampling
from m1eval.yaml_file import Key, YamlFile


class Dataset(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The source of the rows: `hub` or `file`, or `generate`, which may use the rows of those."""

    hub: Annotated[str | None, Meta(description="A dataset of the hub, org/name; needs `revision`.")] = None
    revision: Annotated[str | None, Meta(description="The commit of the hub dataset.")] = None
    config: str | None = None
    split: str = "test"
    files: Annotated[list[str], Meta(description="Files inside the hub dataset.")] = []
    columns: Annotated[list[str], Meta(description="Columns to load; default: all but images, audio, video.")] = []
    rows: Annotated[
        int | str | None, Meta(description="Rows of the hub dataset at that commit; what `m1eval tasks` shows.")
    ] = None
    gated: Annotated[bool, Meta(description="Terms must be accepted on its page, and HF_TOKEN be set.")] = False
    mirror: Annotated[str, Meta(description="An open copy with the same rows, org/name@commit.")] = ""
    file: Annotated[str | None, Meta(description="jsonl, json, csv or parquet next to the task file, also .gz.")] = None
    generate: Annotated[str | None, Meta(description="A function of a Python file next to the task: _file.name")] = None


class MessageTemplate(Struct, forbid_unknown_fields=True):
    """One chat message whose content is a template."""

    role: str
    content: str


class PublishedText(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A text that the benchmark's authors publish, read from there at run time."""

    url: Annotated[str, Meta(description="Of the file at a commit; with --data-dir its name in that folder.")]
    sha256: Annotated[str, Meta(description="Of the file.", pattern="^[0-9a-f]{64}$")]
    constant: Annotated[str | None, Meta(description="Of a Python file: the name of the constant that holds it.")] = (
        None
    )


class Related(Struct, forbid_unknown_fields=True):
    """Published scores of another benchmark of the same form: shown, never compared one to one."""

    related: str


class Definition(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A task file."""

    include: Annotated[
        str | list[str], Meta(description="Files next to this one to take keys from; merged deeply.")
    ] = ""
    title: str
    description: str = ""
    tags: list[str] = []
    source: Annotated[str, Meta(description="Who made the benchmark.")] = ""
    url: str = ""
    licence: str = ""
    tasks: Annotated[list[str], Meta(description="The members of a group; then no other key but title and tags.")] = []
    dataset: Dataset | None = None
    options: Annotated[dict[str, Any], Meta(description="Keyword arguments of the generator; --set NAME=VALUE.")] = {}
    id: Annotated[str | None, Meta(description="Template of a sample's id; default: task name and number.")] = None
    system: Annotated[str | None, Meta(description="Template of a system message.")] = None
    prompt: Annotated[
        str | None, Meta(description="Template of the user message; the row's columns are variables.")
    ] = None
    messages: Annotated[
        list[MessageTemplate] | str | None,
        Meta(description="Message templates, or the name of the column that holds them."),
    ] = None
    target: Annotated[str, Meta(description="Template of the reference answer.")] = ""
    gold: Annotated[str | None, Meta(description="Template of a perfect answer; default: the scorer's.")] = None
    scorer: Annotated[str | dict[str, dict[str, Any]], Meta(description="A scorer, or {scorer: {option: value}}.")] = ""
    texts: Annotated[
        dict[str, PublishedText],
        Meta(description="Published texts by name; templates and the scorer's have them as `texts.NAME`."),
    ] = {}
    episode: Annotated[str | None, Meta(description="A function of a Python file next to the task: _file.name")] = None
    prefix: Annotated[
        str | None,
        Meta(description="Template of the long text that samples begin with, or of its name; equal ones run together."),
    ] = None
    overlength: Annotated[
        Literal["fail", "skip", "truncate_middle"],
        Meta(description="A prompt longer than the window counts as wrong, is left out, or loses its middle."),
    ] = "fail"
    average: Annotated[
        str | None,
        Meta(description="A column: the score is the mean over its values of their samples' mean; default: all alike."),
    ] = None
    repeats: Annotated[int, Meta(ge=1, le=MAX_REPEATS)] = 1
    generation: Sampling = Sampling()
    think: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        Meta(description="Maximum number of thinking tokens; then thinking is ended."),
    ] = None
    protocols: Annotated[
        dict[str, dict[str, Any]], Meta(description="Other ways to run the task, by name: the keys that differ.")
    ] = {}
    effective_length: Annotated[
        EffectiveLengthRule | None,
        Meta(description="When a prompt length counts as one the model can use, as the authors have it."),
    ] = None
    baselines: Annotated[str | Related | None, Meta(description="Key of the published scores.")] = None


ROLES = ("system", "developer", "user", "assistant", "tool")
TOKENS: tuple[tuple[str, ...], ...] = (("think",), ("generation", "max_tokens"))
"""Keys that are numbers of tokens, which can be written as 32k."""


def parse(file: YamlFile) -> Definition:
    """The definition in a task file; numbers of tokens can be written as 32k. UsageError with `file:line`."""
    for key in TOKENS:
        above: Any = file.data if len(key) == 1 else file.data.get(key[0])
        if isinstance(above, dict) and isinstance(text := above.get(key[-1]), str):
            try:
                above[key[-1]] = parse_tokens(text, minimum=len(key) - 1)
            except ValueError as error:
                raise file.error(key, f"{key[-1]}: {error}") from None
    return file.convert(Definition)


def check_sampling(sampling: Sampling, file: YamlFile, key: Key = ("generation",)) -> None:
    """UsageError for a setting that no sampler accepts."""
    ranges: tuple[tuple[str, Callable[[float], bool], str], ...] = (
        ("temperature", lambda x: 0 <= x < math.inf, "a number of at least 0"),
        ("top_p", lambda x: 0 < x <= 1, "above 0 and at most 1"),
        ("top_k", lambda x: x >= -1, "a whole number of at least 1, or 0 or -1 for no limit"),
        ("min_p", lambda x: 0 <= x <= 1, "between 0 and 1"),
        ("max_tokens", lambda x: x >= 1, "a number of tokens of at least 1"),
    )
    for name, sound, range_ in ranges:
        value = getattr(sampling, name)
        if value is not None and not sound(value):
            raise file.error((*key, name), f"{name} must be {range_}, not {value}")


def check(definition: Definition, file: YamlFile) -> None:
    """UsageError for mistakes that the types allow."""
    check_sampling(definition.generation, file)
    for i, message in enumerate(definition.messages if isinstance(definition.messages, list) else ()):
        if message.role not in ROLES:
            raise file.error(("messages", i, "role"), unknown_name("role", message.role, ROLES))
    dataset = definition.dataset
    if dataset is None:
        raise file.error((), "the key 'dataset' is missing: {hub: …, revision: …}, {file: …} or {generate: …}")
    kinds = [kind for kind in ("hub", "file", "generate") if getattr(dataset, kind)]
    if not kinds or (dataset.hub and dataset.file):
        raise file.error(
            ("dataset",),
            f"dataset needs one of hub, file, generate (or rows and generate); it has {' and '.join(kinds) or 'none'}",
        )
    if dataset.hub and not dataset.revision:
        raise file.error(
            ("dataset", "hub"), "a hub dataset needs its revision (a commit), or results cannot be compared later"
        )
    if (definition.prompt is None) == (definition.messages is None):
        raise file.error((), "a task has either 'prompt' or 'messages'")
    if not definition.scorer:
        raise file.error((), "the key 'scorer' is missing")
    if isinstance(definition.scorer, dict) and len(definition.scorer) != 1:
        raise file.error(("scorer",), "write one scorer, scorer: NAME or scorer: {NAME: {option: value}}")
    for name in definition.options:
        if name in definition.__struct_fields__:
            raise file.error(("options", name), f"'{name}' is a key of task files and cannot be an option too")
    if definition.options and not dataset.generate:
        raise file.error(("options",), "options are the generator's; this task has none (dataset: {generate: …})")
