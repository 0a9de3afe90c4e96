"""The model that `--model RUNNER:NAME` names, and its runner."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m1eval import plugins
from m1eval.credentials import hide, register_option
from m1eval.errors import M1evalError, PluginFailed, UsageError
from m1eval.exits import isolate_exits
from m1eval.model.runner_tokenizer import RunnerTokenizer
from m1eval.plugins import foreign
from m1eval.progress import Progress
from m1eval.protocols import Runner
from m1eval.store import folders
from m1eval.text import display_path

MAX_COUNT = 2**50


class Model:
    """The model of `--model RUNNER:NAME` and its options; the runner is made when it is needed.

    `tokenizer`: the name of one that replaces the runner's own.
    """

    def __init__(self, spec: str, options: Mapping[str, Any], tokenizer: str | None = None) -> None:
        match = re.match(r"(.+\.py)(?::(.*))?$", spec)
        self.spec = spec
        self.kind, self.name = (match[1], match[2] or "") if match else spec.partition(":")[::2]
        self.options = dict(options)
        for option, value in self.options.items():
            register_option(option, value)
        self._tokenizer = tokenizer
        module = plugins.load("runners", self.kind)
        self.file = plugins.find("runners", self.kind)
        self._factory: Any = getattr(module, "Runner", None)
        if self._factory is None:
            raise UsageError(f"{display_path(self.file)}: a runner file has a class Runner; this one has none")
        try:
            self._factory = plugins.with_base(self._factory, Runner)
        except UsageError as error:
            raise UsageError(f"{display_path(self.file)}: {error}") from error
        plugins.check_options(self._factory, self.options, f"runner {self.kind}")

    def takes(self, option: str) -> bool:
        """Whether the runner has an option of this name."""
        return option in inspect.signature(self._factory).parameters

    @property
    def label(self) -> str:
        """The model's name as a folder name."""
        return folders.label(self.name, Path(self.kind).stem)

    @property
    def earlier_label(self) -> str:
        """The folder name that earlier versions used, without the organisation."""
        return folders.earlier_label(self.name, Path(self.kind).stem)

    def runner(self) -> Runner:
        """Make the runner; RunnerError or UsageError if it cannot be."""
        try:
            runner: Runner = plugins.with_base_class(self._factory(self.name, **self.options), Runner)
        except M1evalError:
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            raise self._failed("__init__", error) from error
        if type(runner).generate is Runner.generate:
            file = display_path(self.file)
            raise UsageError(f"{file}: the Runner has no generate; write async def generate(self, request) -> Output")
        foreign.check_methods(runner, Runner, self.file)
        return runner

    async def start(self, runner: Runner, progress: Progress) -> None:
        """Start the runner; PluginFailed if its code raises anything but an error of ours."""
        try:
            await isolate_exits(runner.start(progress))
        except M1evalError:
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            raise self._failed("start", error) from error
        self._check_attributes(runner)

    def describe(self, runner: Runner) -> dict[str, Any]:
        """The runner's description of itself; PluginFailed if its code raises or does not return a mapping."""
        try:
            return dict(runner.describe() or {})
        except M1evalError:
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            raise self._failed("describe", error) from error

    def _check_attributes(self, runner: Runner) -> None:
        """UsageError for numbers of a started runner that are none, before anything is asked."""
        for name in ("concurrency", "max_n", "context_window"):
            value = getattr(runner, name)
            if value is None and name == "context_window":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < MAX_COUNT:
                file = display_path(self.file)
                raise UsageError(
                    f"{file}: {name} of runner {self.kind} is {value!r:.80}, and must be a whole number of at least 1"
                )

    async def aclose(self, runner: Runner) -> None:
        """Close the runner; PluginFailed if its code raises anything but an error of ours."""
        try:
            await isolate_exits(runner.aclose())
        except M1evalError:
            raise
        except (Exception, SystemExit, GeneratorExit) as error:
            raise self._failed("aclose", error) from error

    def _failed(self, where: str, error: BaseException) -> PluginFailed:
        """The error for a runner whose code raised one: its file, the method, the error."""
        reason, place = foreign.error_line(error), foreign.place_of(error, self.file)
        return PluginFailed(f"{place}: {where} of runner {self.kind} raised {reason}")

    def tokenizer(self, runner: Runner) -> RunnerTokenizer:
        """The tokenizer that counts tokens: the named one, else the runner's."""
        if self._tokenizer is None:
            return RunnerTokenizer(runner)
        from m1eval.model.tokenizers import resolve

        return RunnerTokenizer(runner, resolve(self._tokenizer, self.options, self.name))

    def config(self) -> dict[str, Any]:
        """The settings that must be the same for a run to continue; API keys are masked and may change."""
        runner: type[Runner] = self._factory if isinstance(self._factory, type) else Runner
        pinned: dict[str, Any] = {k: v for k, v in self.options.items() if k not in runner.unpinned_options}
        pinned |= runner.pinned(self.options)
        counted = {"tokenizer": self._tokenizer} if self._tokenizer else {}
        return {"model": self.spec, "runner": hide(pinned), **counted}
