"""A task: one YAML file, its scorer, episode and data, and the samples made of them."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import msgspec

from m1eval import plugins
from m1eval.errors import UsageError
from m1eval.option_names import option, override
from m1eval.protocols import Episode, Scorer, Tokenizer
from m1eval.task import hub
from m1eval.task.dataset import Rows, file_digest, find_data_file, read_rows
from m1eval.task.definition import Dataset, Related, check, parse
from m1eval.task.generator import Generator, generate
from m1eval.task.helper import find_helper, load_episode, load_function, parameter_names
from m1eval.task.hub_errors import ACCESS, PAGES, HubError
from m1eval.task.published_texts import PublishedTexts
from m1eval.task.samples import DataInfo, Samples
from m1eval.task.scorer import load_scorer
from m1eval.text import display_path, unknown_name
from m1eval.types import LazySample
from m1eval.yaml_file import YamlFile

DESCRIPTIVE = {
    "title",
    "description",
    "tags",
    "source",
    "url",
    "licence",
    "baselines",
    "repeats",
    "protocols",
    "effective_length",
}
"""Keys that change neither prompts nor grades."""
DESCRIPTIVE_DATA = {"rows", "gated", "mirror"}
"""Such keys under `dataset`."""


class Task:
    """A benchmark, ready to run: its definition with all overrides applied."""

    def __init__(self, name: str, path: Path, file: YamlFile) -> None:
        self.name = name
        self.path = path
        self.source = file
        self.definition = parse(file)
        self.protocol = file.protocol
        """The name of the protocol that the task follows."""
        check(self.definition, file)
        self.texts = PublishedTexts(name, file, self.definition.texts)

    def __repr__(self) -> str:
        rows = self.definition.dataset.rows if self.definition.dataset else None
        about = [f"protocol {self.protocol}"] * (self.protocol != "default") + [f"{rows} rows"] * bool(rows)
        return f"<Task {self.name}: {', '.join([*about, display_path(self.path)])}>"

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer, made with its options."""
        name, options = self._scorer
        return load_scorer(self.source, name, self._scorer_path, options, self.texts)

    @cached_property
    def scorer_file(self) -> Path:
        """The scorer's file; looked for once, as every grade names it."""
        try:
            return plugins.find("scorers", self._scorer_path)
        except UsageError as error:
            raise self.source.error(("scorer",), str(error)) from None

    @property
    def _scorer(self) -> tuple[str, dict[str, Any]]:
        scorer = self.definition.scorer
        return (scorer, {}) if isinstance(scorer, str) else next(iter(scorer.items()))

    @cached_property
    def episode(self) -> Episode | None:
        """The task's episode function, if it has one."""
        name = self.definition.episode
        return load_episode(self.source, self.path, name) if name else None

    @property
    def baselines(self) -> tuple[str, bool] | None:
        """The key of the published scores, and whether they are on the same data."""
        key = self.definition.baselines
        return (key.related, False) if isinstance(key, Related) else (key, True) if key else None

    def check(self) -> None:
        """UsageError for a scorer, an episode or published scores that are missing or unusable."""
        _ = self.scorer, self.episode
        if (key := self.baselines) and key[0] not in (known := plugins.available(plugins.BASELINES, "*.yaml")):
            raise self.source.error(("baselines",), unknown_name("baseline", key[0], known))

    @property
    def needs_network(self) -> bool:
        """Whether the rows come from the hub."""
        return bool(self.definition.dataset and self.definition.dataset.hub)

    @property
    def gated(self) -> str:
        """Instructions for access to the task's data, if terms must be accepted; else empty."""
        dataset = self.definition.dataset or Dataset()
        if not dataset.gated or dataset.hub is None or dataset.hub == dataset.mirror.partition("@")[0]:
            return ""
        return f"accept the terms at {PAGES}{dataset.hub} and set HF_TOKEN{_mirror(dataset)}"

    def samples(self, tokenizer: Tokenizer, seed: int, data_dir: Path | None = None) -> Samples:
        """All samples of the task, to be built one by one."""
        about = DataInfo([], [])
        texts = self.texts.load(data_dir)
        table = self._rows(tokenizer, seed, data_dir, about)
        return Samples(self.name, self.definition, self.source, self.scorer, table, texts, about)

    def resolved(self, data_dir: Path | None = None) -> dict[str, Any]:
        """The definition as it will be run, and the digests of the files that decide what is asked and graded."""
        definition = {k: v for k, v in msgspec.to_builtins(self.definition).items() if k not in DESCRIPTIVE}
        definition["dataset"] = {k: v for k, v in definition["dataset"].items() if k not in DESCRIPTIVE_DATA}
        self.check()  # errors in it are reported before anything is asked
        files = self.deciding_files(data_dir)
        return {"task": definition, "digests": {key: file_digest(path) for key, path in files.items()}}

    def deciding_files(self, data_dir: Path | None = None) -> dict[str, Path]:
        """The files that decide what is asked and graded, by the keys of their digests."""
        used = [("scorer", self.scorer_file)]
        used += _imports("scorer", "scorers", self.scorer_file)
        dataset = self.definition.dataset or Dataset()
        for name, key, function in (
            ("generator", ("dataset", "generate"), dataset.generate),
            ("episode", ("episode",), self.definition.episode),
        ):
            if function:
                file = find_helper(self.source, self.path, key, function)
                used += [(f"{name} {file.name}", file), *_imports(name, "tasks", file)]
        if data_dir and (dataset.hub or dataset.file or not dataset.generate):
            used.append(("data", find_data_file(data_dir, self.name)))
        elif dataset.file:
            used.append(("data", self._data_file(dataset.file)))
        return dict(used)

    def builtin_digests(self) -> dict[str, str]:
        """The keys of the digests of built-in code, each with the file's name, such as `scorers/exact.py`."""
        names = {key: plugins.builtin_name(path) for key, path in self.deciding_files().items() if key != "data"}
        return {key: name for key, name in names.items() if name}

    @property
    def _scorer_path(self) -> str:
        name = self._scorer[0]
        neighbour = self.path.parent / name
        return str(neighbour) if name.endswith(".py") and neighbour.is_file() else name

    def _rows(self, tokenizer: Tokenizer, seed: int, data_dir: Path | None, about: DataInfo) -> Rows | list[LazySample]:
        dataset = self.definition.dataset
        assert dataset is not None
        if not dataset.generate:
            return self._read_table(dataset, data_dir, about)
        generator = Generator(
            dataset.generate,
            load_function(self.source, self.path, ("dataset", "generate"), dataset.generate),
            self.definition.options,
        )
        arguments: dict[str, Any] = {"tokenizer": tokenizer, "seed": seed, "texts": self.texts.load(data_dir)}
        arguments["note"] = about.notes.append
        if dataset.hub or dataset.file:
            if "rows" in parameter_names(generator.function):
                arguments["rows"] = self._read_table(dataset, data_dir, about)
            arguments["table"] = partial(self._other_rows, dataset, data_dir, about)
        return generate(self.source, self.name, self.path, generator, arguments)

    def _other_rows(
        self, dataset: Dataset, data_dir: Path | None, about: DataInfo, beside: str = "", **keys: Any
    ) -> Rows:
        """Rows of another config, split or file of the dataset; with --data-dir those of `<task>_<beside>`."""
        return self._read_table(msgspec.structs.replace(dataset, **keys), data_dir, about, beside)

    def _read_table(self, dataset: Dataset, data_dir: Path | None, about: DataInfo, beside: str = "") -> Rows:
        if data_dir:
            return read_rows([find_data_file(data_dir, f"{self.name}_{beside}" if beside else self.name)])
        if dataset.file:
            return read_rows([self._data_file(dataset.file)])
        assert dataset.hub is not None
        keys = ("hub", "revision", "config", "split", "files", "columns")
        source = hub.HubSource(**{key: getattr(dataset, key) for key in keys})
        same = [table for table in about.tables if (table["hub"], table["revision"]) == (source.hub, source.revision)]
        # A branch may move while a task reads one table after another.
        commit = next((table["commit"] for table in same if table["commit"]), source.revision)
        try:
            loaded = hub.load_hub(source._replace(revision=commit))
        except HubError as error:
            remedy = f"{option('data_dir', 'DIR')} reads DIR/{self.name}.jsonl"
            remedy = f"without a network, {remedy}" if error.kind != ACCESS else f"or {remedy}{_mirror(dataset)}"
            raise self.source.error(("dataset", "hub"), f"{error}; {remedy}") from error.__cause__
        except UsageError as error:
            key = "files" if isinstance(error, hub.OutsideDataset) else "columns"
            raise self.source.error(("dataset", key), str(error)) from None
        except ModuleNotFoundError as error:
            raise plugins.missing_package(f"task '{self.name}'", error) from error
        about.tables.append({**source._asdict(), "commit": loaded.commit, "rows": len(loaded.rows)})
        if loaded.digest:
            about.tables[-1]["digest"] = loaded.digest
        return loaded.rows

    def _data_file(self, name: str) -> Path:
        path = (self.path.parent / name).expanduser()
        if not path.is_file():
            raise self.source.error(("dataset", "file"), f"no file {name} next to {self.path.name}")
        return path


def _imports(name: str, kind: str, file: Path) -> list[tuple[str, Path]]:
    return [(f"{name} {imported}", path) for imported, path in plugins.imported_files(kind, file).items()]


def _mirror(dataset: Dataset) -> str:
    """The hint to the open copy of gated data, if there is one."""
    name, _, commit = dataset.mirror.partition("@")
    if not name or name == dataset.hub:
        return ""
    return f"; or the open copy: {override(f'dataset.hub={name}')} {override(f'dataset.revision={commit}')}"
