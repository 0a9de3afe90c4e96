"""Profiles: the recommended settings of a model family, one file `runners/profiles/NAME.yaml` each.

Tasks have MiniMax-M1's protocol; a profile overrides it by a family's own sampling and system prompt, those of its
published scores. It is selected by `--profile NAME`, or by the model's name with `--profile auto`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from m1eval import plugins, yaml_file
from m1eval.errors import UsageError
from m1eval.model.thinking import parse_forms
from m1eval.task.definition import check_sampling
from m1eval.text import unknown_name
from m1eval.types import Sampling
from m1eval.yaml_file import Key, YamlFile

if TYPE_CHECKING:
    from m1eval.model.model import Model

KIND = "runners/profiles"


class Profile(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The settings of a model family."""

    title: str
    models: list[str]
    """Regular expressions that are searched for in the model's name, ignoring case."""
    source: str
    """Source in which the settings are published."""
    note: str = ""
    """Other requirements: chat template, forced thinking, history."""
    generation: dict[str, Any] = {}
    """Keys of a task's `generation`; null removes one."""
    system: str | None = None
    """The system prompt of tasks that have none."""
    tags: dict[str, dict[str, Any]] = {}
    """Further keys of `generation` for tasks with a tag."""
    think_tags: Any = None
    """The family's form of thinking, by name or as `{open: …, close: …}`, or a list of these; see docs/thinking.md."""

    def apply_to_model(self, model: "Model") -> None:
        """Set the runner's form of thinking to the family's, unless an option names another."""
        if self.think_tags is not None and model.takes("think_tags"):
            model.options.setdefault("think_tags", self.think_tags)

    def apply(self, file: YamlFile) -> None:
        """Override a task's keys by the profile."""
        generation = dict(self.generation)
        for tag in file.data.get("tags", []):
            generation |= self.tags.get(tag, {})
        file.data = yaml_file.deep_merge(file.data, {"generation": generation})
        if self.system and not file.data.get("system"):
            file.data = yaml_file.deep_merge(file.data, {"system": self.system})


def available() -> list[str]:
    """The names of all profiles."""
    return list(plugins.available(KIND, "*.yaml"))


def read(name: str) -> Profile:
    """The profile of a name; UsageError with `file:line` for any mistake in its file."""
    files = plugins.available(KIND, "*.yaml")
    if name not in files:
        raise UsageError(unknown_name("profile", name, files))
    file = YamlFile.read(files[name])
    profile = file.convert(Profile)
    for i, pattern in enumerate(profile.models):
        try:
            re.compile(pattern)
        except re.error as error:
            raise file.error(("models", i), f"not a regular expression: {error}") from None
    _check_generation(file, ("generation",), profile.generation)
    for tag, generation in profile.tags.items():
        _check_generation(file, ("tags", tag), generation)
    if profile.think_tags is not None:
        try:
            parse_forms(profile.think_tags)
        except ValueError as error:
            raise file.error(("think_tags",), str(error)) from None
    return profile


def _check_generation(file: YamlFile, key: Key, generation: Mapping[str, Any]) -> None:
    """UsageError at its line for an impossible setting; null removes one of the task's."""
    known = Sampling.__struct_fields__
    for name, value in generation.items():
        if name not in known:
            raise file.error((*key, name), unknown_name("key", name, known))
        if value is None:
            continue
        try:
            check_sampling(msgspec.convert({name: value}, Sampling), file, key)
        except msgspec.ValidationError as error:
            text = str(error).partition(" - at ")[0]
            raise file.error((*key, name), f"{name}: {text[0].lower()}{text[1:]}") from None


def file(name: str) -> Path:
    """The file of an existing profile."""
    return plugins.available(KIND, "*.yaml")[name]


def find_matching(model: str) -> str | None:
    """The profile with a pattern that matches a model's name; of several, the one with the longest match."""
    matches = [
        (len(match[0]), name)
        for name in available()
        for pattern in read(name).models
        if (match := re.search(pattern, model, re.IGNORECASE))
    ]
    return max(matches)[1] if matches else None


def select(name: str | None, model: str) -> tuple[str, Profile] | None:
    """The profile that `--profile` names, or with `auto` the one that matches the model; UsageError if none does."""
    if name is None or name == "none":
        return None
    if name == "auto":
        fitting = find_matching(model)
        if fitting is None:
            raise UsageError(f"no profile fits the model '{model}'; name one: {', '.join(available())}")
        name = fitting
    return name, read(name)
