"""Odd commands: values that nobody means, for every option of every command and every option of a runner.

All of them are made from click's own list of parameters and from the signatures of the runners, so that a new option is
tried as soon as it is there. `wrong` tries one and says what is wrong with how it ended.
"""

import inspect
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Set
from pathlib import Path

import click

from m1eval import plugins
from m1eval.cli.main import cli
from tests.conftest import Result

Call = Callable[..., Result]
VALUES = {
    "empty": "",
    "blank": " ",
    "negative": "-3",
    "zero": "0",
    "one": "1",
    "huge": "1" + "0" * 30,
    "long": "x" * 5000,
    "nan": "nan",
    "inf": "inf",
    "unit": "5q",
    "unicode": "naïve‑☃",
    "nul": "a\0b",
    "newline": "a\nb",
    "escape": "\x1b[31m[red]",
    "commas": ",,",
    "equals": "=",
    "key": "a=",
    "home": "~nobody-here/x",
    "nowhere": "none/x.svg",
    "below a file": "t.yaml/x",
    "device": "/dev/full",
    "surrogate": "\udcff",
}
PAIRED = ("zero", "one", "negative", "nan", "nowhere")
"""The values that are tried in pairs of options."""
MORE = ("1.5", "cuda", "cuda:7", "true", "null", "[1]", "[]", "{a: 1}", "{}", '{"a": "b"}', "2026-01-01", "0x1", "1_")
"""Further values for the options of a runner, each of another type."""
NEEDED = {
    "run": ["--tasks", "./t.yaml", "--model", "echo:gold", "--display", "none"],
    "check": ["./t.yaml"],
    "bench": ["echo:gold"],
    "lengths": ["runs/t"],
    "compare": ["runs/t", "runs/t"],
    "completion": ["bash"],
}
"""Required arguments of each command, besides the option that is tried."""
WRITING = ("--out", "--svg")
"""The options that say where something is written; without --out it is below `results`."""
CODES = {0, 1, 2, 3, 4, 5}


def make(folder: Path) -> None:
    """A task of one sample."""
    (folder / "t.jsonl").write_text('{"q": "a"}\n')
    task = "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: a\nscorer: exact\n"
    (folder / "t.yaml").write_text(task)


def given(param: click.Parameter, value: str) -> list[str]:
    """The words of a command line that give a value to one of its parameters."""
    if isinstance(param, click.Option):
        return [max(param.opts, key=len), *([] if param.is_flag else [value])]
    return ["--", value] if value.startswith("-") else [value]


def odd_commands(name: str) -> Iterator[list[str]]:
    """Command lines with each parameter and each value, and given twice."""
    for param in cli.commands[name].params:
        option = isinstance(param, click.Option)
        flag = isinstance(param, click.Option) and param.is_flag
        for value in [""] if flag else VALUES.values():
            words = [name, *(NEEDED.get(name, []) if option else []), *given(param, value)]
            yield words
            if option and not flag:
                yield [*words, *given(param, f"{value}1")]


def odd_pairs(name: str) -> Iterator[list[str]]:
    """Command lines with each pair of options and each pair of the values of PAIRED."""
    options = [param for param in cli.commands[name].params if isinstance(param, click.Option)]
    for one, other in itertools.combinations(options, 2):
        for first, second in itertools.product(_paired(one), _paired(other)):
            yield [name, *NEEDED.get(name, []), *given(one, first), *given(other, second)]


def _paired(option: click.Option) -> list[str]:
    return [""] if option.is_flag else [VALUES[name] for name in PAIRED]


def runner_options(kind: str) -> list[str]:
    """The options of a runner."""
    parameters = inspect.signature(plugins.load("runners", kind).Runner.__init__).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]


def odd_options(kind: str, model: str, always: dict[str, str]) -> Iterator[list[str]]:
    """Command lines with each runner option and value, and once given twice; `always`: options that the others need."""
    for option, value in itertools.product(runner_options(kind), [*VALUES.values(), *MORE]):
        more = [word for key in always if key != option for word in ("-o", f"{key}={always[key]}")]
        words = ["run", "--tasks", "./t.yaml", "--model", model, "--display", "none", *more, "-o", f"{option}={value}"]
        yield words
        if value == VALUES["one"]:
            yield [*words, "-o", f"{option}=11"]


def wrong(call: Call, words: list[str], may_change: Set[Path] = frozenset()) -> str:
    """Fault in how a command ends in the current folder, empty if there is none; removes what the command writes.

    `may_change`: folders in which it may write, besides those that it names.
    """
    before = _state()
    result = call(*words)
    after = _state()
    strange = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    for path in after.keys() - before.keys():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    places = _said(words) | may_change
    strange -= {path for path in strange if any(path == place or place in path.parents for place in places)}
    problem = _ended_wrong(result) or (f"wrote {', '.join(map(str, strange))}" if strange else "")
    return f"{words!r:.240}: {result.code}: {problem}\n    {result.err[-300:]!r}" if problem else ""


def all_wrong(call: Call, commands: Iterable[list[str]]) -> str:
    """Faults of these commands."""
    results = [wrong(call, words) for words in commands]
    problems = [problem for problem in results if problem]
    return "\n".join([f"{len(problems)} of {len(results)}:", *problems[:20]]) if problems else ""


def _ended_wrong(result: Result) -> str:
    errors = [line for line in result.err.splitlines() if line.startswith("Error")]
    printed = result.out + result.err
    if result.code not in CODES:
        return "an exit code that is not documented"
    if "Traceback" in printed or "internal error" in printed or " raised " in result.err:
        return "an error of ours"
    if len(errors) != (result.code in {2, 4}):
        return f"{len(errors)} error lines"
    if result.code == 2 and (result.out or len(result.err) > 3000):
        return "more than one line"
    if any(ord(letter) < 32 and letter != "\n" for letter in printed):
        return "control characters on the terminal"
    return ""


def _said(words: list[str]) -> set[Path]:
    """Paths that a command may write to, and the folders that it may make for that."""
    places = [Path(words[at + 1]) for at, word in enumerate(words[:-1]) if word in WRITING]
    return {Path("results"), *places, *(parent for place in places for parent in place.parents if parent != Path())}


def _state() -> dict[Path, tuple[int, int]]:
    """Size and time of change of each file below the current folder; of folders, that they are there."""
    state = {}
    for path in Path().rglob("*"):
        about = path.lstat()
        state[path] = (0, 0) if path.is_dir() else (about.st_size, about.st_mtime_ns)
    return state
