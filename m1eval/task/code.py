"""The code that a task file names: its scorer, the generator of its rows, its episode."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, cast

from m1eval import plugins
from m1eval.errors import UsageError
from m1eval.plugins import foreign
from m1eval.protocols import Episode, Scorer
from m1eval.task.published_texts import PublishedTexts
from m1eval.task.selection import COLUMNS
from m1eval.types import LazySample
from m1eval.yaml_file import Key, YamlFile, display_path

SIGNATURE = "async def score(self, output, sample, context) -> Score"
EPISODE = "async def {name}(sample, runner, context) -> Output"


class Generator(NamedTuple):
    """A function that makes rows, its name in the task file and its options."""

    name: str
    function: Callable[..., Iterable[Any]]
    options: Mapping[str, Any]


def load_scorer(file: YamlFile, name: str, path: str, options: Mapping[str, Any], texts: PublishedTexts) -> Scorer:
    """The scorer of a name or path, made with its options; UsageError at the task's line if it cannot be used."""
    where = file.where(("scorer",))
    try:
        module = plugins.load("scorers", path)
    except UsageError as error:
        raise file.error(("scorer",), str(error)) from error
    made = getattr(module, "Scorer", None)
    code = Path(module.__file__ or name)
    if not inspect.isclass(made) and not callable(made):
        raise UsageError(f"{where}: {display_path(code)}: a scorer file has a class Scorer; this has none")
    made = plugins.with_base(made, Scorer)
    plugins.check_options(made, options, f"scorer {name}", lambda o: file.where(("scorer", name, o)))
    published = {"texts": texts.variables} if "texts" in parameters_of(made) else {}
    try:
        with foreign.errors_reported(code, f"scorer {name}"):
            scorer = _built(made, options, published)
    except UsageError as error:
        text = str(error) if str(error).startswith("scorer ") else f"scorer {name}: {error}"
        raise file.error(("scorer", name), text) from error
    return _with_score(scorer, f"{where}: {display_path(code)}")


def _built(made: Any, options: Mapping[str, Any], published: Mapping[str, Any]) -> Any:
    try:
        return plugins.with_base_class(made(**options, **published), Scorer)
    except (TypeError, ValueError) as error:  # what the options are refused with
        raise UsageError(str(error)) from error


def _with_score(scorer: Any, where: str) -> Scorer:
    """The scorer, if it has what a scorer needs; one whose `score` is no coroutine function is made to wait for it."""
    score = None if type(scorer).score is Scorer.score else getattr(scorer, "score", None)
    if not callable(score) or not foreign.accepts(score, "output", "sample", "tools"):
        has = "has no" if score is None else "has another"
        raise UsageError(f"{where}: the Scorer {has} score; write {SIGNATURE}")
    for name in ("gold", "aggregate", "vote", "same"):
        if (other := getattr(scorer, name, None)) is not None and not callable(other):
            raise UsageError(f"{where}: the Scorer's {name} is not a method")
    if not foreign.is_async(score) or not type(scorer).__module__.startswith("m1eval.plugins.scorers."):
        try:
            scorer.score = _awaitable(score)
        except AttributeError:
            if foreign.is_async(score):
                return cast("Scorer", scorer)
            raise UsageError(f"{where}: the Scorer's score is not async; write {SIGNATURE}") from None
    found: Scorer = scorer
    return found


def _awaitable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as one that is awaited, plain or not; it cannot end the process, only the sample."""

    @wraps(function)
    async def waiting(*args: Any) -> Any:
        try:
            result = function(*args)
            return await result if inspect.isawaitable(result) else result
        except SystemExit as error:
            raise RuntimeError(f"SystemExit: {error}") from error

    return waiting


def load_episode(file: YamlFile, task: Path, name: str) -> Episode:
    """The function that asks a sample; UsageError if it is not of that form."""
    found: Any = load_function(file, task, ("episode",), name)
    if not foreign.is_async(found) or not foreign.accepts(found, "sample", "runner", "tools"):
        wanted = EPISODE.format(name=name.partition(".")[2])
        raise file.error(("episode",), f"{name} is no episode; write {wanted}")
    return _awaitable(found)


def find_helper(file: YamlFile, task: Path, key: Key, name: str) -> Path:
    """The Python file of `_file.function` beside a task."""
    module, dot, function = name.partition(".")
    if not dot or not function.isidentifier() or not module or "/" in module:
        raise file.error(key, f"'{name}' names no function; write _file.function, of a Python file beside the task")
    path = task.parent / f"{module}.py"
    if not path.is_file():
        raise file.error(key, f"no file {path.name} beside {task.name}")
    return path


def load_function(file: YamlFile, task: Path, key: Key, name: str) -> Callable[..., Any]:
    """The function `_file.name` of a Python file beside the task, which may import its neighbours."""
    path = find_helper(file, task, key, name)
    try:
        module = plugins.import_file("tasks", path, display_path(path))
    except UsageError as error:
        raise file.error(key, str(error)) from error
    attribute = name.partition(".")[2]
    found = getattr(module, attribute, None)
    if found is None:
        raise file.error(key, f"{path.name} has no function '{attribute}'")
    if not callable(found):
        raise file.error(key, f"'{attribute}' of {path.name} is no function")
    made: Callable[..., Any] = found
    return made


def parameters(generator: Generator) -> set[str]:
    """The names of what the generator takes."""
    return parameters_of(generator.function)


def parameters_of(function: Any) -> set[str]:
    """The names of a function's parameters; none where it does not say."""
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def generate(file: YamlFile, name: str, task: Path, generator: Generator, given: Mapping[str, Any]) -> list[LazySample]:
    """The rows that a generator makes, as recipes; UsageError for whatever it raises or makes besides."""
    key: Key = ("dataset", "generate")
    function, options = generator.function, generator.options
    plugins.check_options(function, options, generator.name, lambda option: file.where(("options", option)))
    wanted = parameters(generator)
    place = file.where(("options",) if options else key)
    code = find_helper(file, task, key, generator.name)
    with foreign.errors_reported(code, generator.name, place):
        made = function(**{k: v for k, v in given.items() if k in wanted}, **options)
        if not isinstance(made, Iterable) or isinstance(made, str | bytes | Mapping):
            if inspect.iscoroutine(made):
                made.close()
            raise file.error(
                key, f"{generator.name} gives {_kind(made)}; it must return or yield mappings or LazySamples"
            )
        items = list(made)
    width = len(str(len(items)))
    return list(_recipes(file, name, generator.name, items, width))


def _recipes(file: YamlFile, name: str, generator: str, items: list[Any], width: int) -> Iterator[LazySample]:
    for number, item in enumerate(items, 1):
        if isinstance(item, LazySample):
            fault = _recipe_fault(item)
        elif not isinstance(item, Mapping):
            fault = f"is {_kind(item)}, not a mapping of columns or a LazySample"
        else:
            odd = next((key for key in item if not isinstance(key, str)), None)
            fault = "" if odd is None else f"has the column {odd!r}, whose name is not text"
        if fault:
            raise file.error(("dataset", "generate"), f"{generator}: row {number} {fault}")
        if isinstance(item, LazySample):
            yield item
        else:
            columns = {column: item[column] for column in COLUMNS if column in item}
            yield LazySample(id=f"{name}-{number:0{width}}", build=partial(dict, item), columns=columns)


def _recipe_fault(recipe: LazySample) -> str:
    if not isinstance(recipe.id, str) or not recipe.id:
        return f"has the id {recipe.id!r}, which is not text"
    for name in ("prefix_key", "cluster"):
        if not isinstance(value := getattr(recipe, name), str):
            return f"({recipe.id}) has the {name} {value!r}, which is not text"
    if not isinstance(recipe.columns, Mapping):
        return f"({recipe.id}) has the columns {recipe.columns!r}, which are no mapping"
    if not callable(recipe.build_repeat or recipe.build):
        return f"({recipe.id}) has a build that is no function"
    return ""


def _kind(value: Any) -> str:
    """What a value is, for messages."""
    kinds = {str: "text", type(None): "nothing (None)", dict: "a mapping", list: "a list", tuple: "a tuple"}
    text = repr(value)
    brief = f", {text[:40]}{'…' if len(text) > 40 else ''}" if isinstance(value, str | int | float | list) else ""
    return f"{kinds.get(type(value), f'a {type(value).__name__}')}{brief}"
