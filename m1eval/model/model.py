"""The model that `--model RUNNER:NAME` names, and the runner that reaches it."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m1eval import plugins, yaml_file
from m1eval.credentials import hide, register_option
from m1eval.errors import M1evalError, PluginFailed, UsageError
from m1eval.model.runner_tokenizer import RunnerTokenizer
from m1eval.progress import Progress
from m1eval.protocols import Runner
from m1eval.store import folders


class Model:
    """What `--model RUNNER:NAME` and its options say; the runner is made when it is needed.

    `tokenizer`: the name of one that is to count in place of the runner's own.
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
        self._made: Any = getattr(module, "Runner", None)
        if self._made is None:
            raise UsageError(f"{yaml_file.display_path(self.file)}: a runner file has a class Runner; this has none")
        self._made = plugins.with_base(self._made, Runner)
        plugins.check_options(self._made, self.options, f"runner {self.kind}")

    def takes(self, option: str) -> bool:
        """Whether the runner has an option of this name."""
        return option in inspect.signature(self._made).parameters

    @property
    def label(self) -> str:
        """The model's name as a folder name."""
        return folders.label(self.name, Path(self.kind).stem)

    @property
    def earlier_label(self) -> str:
        """The folder name that earlier versions gave it, without the organisation."""
        return folders.earlier_label(self.name, Path(self.kind).stem)

    def runner(self) -> Runner:
        """Make the runner; RunnerError or UsageError if it cannot be."""
        try:
            runner: Runner = plugins.with_base_class(self._made(self.name, **self.options), Runner)
        except M1evalError:
            raise
        except Exception as error:
            raise self._failed("__init__", error) from error
        return runner

    async def start(self, runner: Runner, progress: Progress) -> None:
        """Start the runner; PluginFailed if its code raises anything but an error of ours."""
        try:
            await runner.start(progress)
        except M1evalError:
            raise
        except Exception as error:
            raise self._failed("start", error) from error

    async def aclose(self, runner: Runner) -> None:
        """Close the runner; PluginFailed if its code raises anything but an error of ours."""
        try:
            await runner.aclose()
        except M1evalError:
            raise
        except Exception as error:
            raise self._failed("aclose", error) from error

    def _failed(self, where: str, error: Exception) -> PluginFailed:
        """What is said of a runner whose code raised an error: its file, the method, the error."""
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return PluginFailed(f"{yaml_file.display_path(self.file)}: {where} of runner {self.kind} raised {said}")

    def tokenizer(self, runner: Runner) -> RunnerTokenizer:
        """What counts tokens: the named tokenizer, else the runner's."""
        if self._tokenizer is None:
            return RunnerTokenizer(runner)
        from m1eval.model.tokenizers import resolve

        return RunnerTokenizer(runner, resolve(self._tokenizer, self.options, self.name))

    def config(self) -> dict[str, Any]:
        """What of the model must be the same for a run to continue; keys are masked, so another key changes nothing."""
        runner: type[Runner] = self._made if isinstance(self._made, type) else Runner
        pinned: dict[str, Any] = {k: v for k, v in self.options.items() if k not in runner.unpinned_options}
        pinned |= runner.pinned(self.options)
        counted = {"tokenizer": self._tokenizer} if self._tokenizer else {}
        return {"model": self.spec, "runner": hide(pinned), **counted}
