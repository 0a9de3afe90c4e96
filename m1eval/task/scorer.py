"""The scorer that a task file names, made with the task's options."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from m1eval import plugins
from m1eval.errors import UsageError
from m1eval.plugins import foreign
from m1eval.protocols import Scorer
from m1eval.task.helper import awaitable, parameter_names
from m1eval.task.published_texts import PublishedTexts
from m1eval.text import display_path
from m1eval.yaml_file import YamlFile

SIGNATURE = "async def score(self, output, sample, context) -> Score"


def load_scorer(file: YamlFile, name: str, path: str, options: Mapping[str, Any], texts: PublishedTexts) -> Scorer:
    """The scorer of a name or path, made with its options; UsageError at the task's line if it cannot be used."""
    where = file.where(("scorer",))
    try:
        module = plugins.load("scorers", path)
    except UsageError as error:
        raise file.error(("scorer",), str(error)) from error
    factory = getattr(module, "Scorer", None)
    code = Path(module.__file__ or name)
    if not inspect.isclass(factory) and not callable(factory):
        raise UsageError(f"{where}: {display_path(code)}: a scorer file has a class Scorer; this one has none")
    try:
        factory = plugins.with_base(factory, Scorer)
    except UsageError as error:
        raise UsageError(f"{where}: {display_path(code)}: {error}") from error
    plugins.check_options(factory, options, f"scorer {name}", lambda o: file.where(("scorer", name, o)))
    published = {"texts": texts.variables} if "texts" in parameter_names(factory) else {}
    try:
        with foreign.errors_reported(code, f"scorer {name}"):
            scorer = _instance(factory, options, published)
    except UsageError as error:
        text = str(error) if str(error).startswith("scorer ") else f"scorer {name}: {error}"
        raise file.error(("scorer", name), text) from error
    return _checked(scorer, code, where)


def _instance(factory: Any, options: Mapping[str, Any], published: Mapping[str, Any]) -> Any:
    try:
        return plugins.with_base_class(factory(**options, **published), Scorer)
    except (TypeError, ValueError) as error:  # how a scorer refuses options
        raise UsageError(str(error)) from error


def _checked(scorer: Any, code: Path, place: str) -> Scorer:
    """The scorer, if it has the methods of one; a user's `score`, or one that is not async, is wrapped."""
    where = f"{place}: {display_path(code)}"
    score = None if type(scorer).score is Scorer.score else getattr(scorer, "score", None)
    if not callable(score) or not foreign.accepts(score, "output", "sample", "context"):
        problem = "has no score" if score is None else "has a different score"
        raise UsageError(f"{where}: the Scorer {problem}; write {SIGNATURE}")
    for name in ("gold", "aggregate", "vote", "same"):
        if (method := getattr(scorer, name, None)) is not None and not callable(method):
            raise UsageError(f"{where}: the Scorer's {name} is not a method")
    for name in ("needs_judge", "supports_majority_vote"):
        if not isinstance(getattr(scorer, name), bool):
            raise UsageError(f"{where}: the Scorer's {name} is not True or False")
    try:
        foreign.check_methods(scorer, Scorer, code, either=frozenset({"score"}))
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None
    if not foreign.is_async(score) or not type(scorer).__module__.startswith("m1eval.plugins.scorers."):
        try:
            scorer.score = awaitable(score)
        except (AttributeError, TypeError):  # slots, frozen dataclasses
            if not foreign.is_async(score):
                raise UsageError(f"{where}: the Scorer's score is not async; write {SIGNATURE}") from None
    return cast("Scorer", scorer)
