"""Every key of a task file with values of every other kind: one line with its place, and nothing left behind."""

import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import pytest

from m1eval.task.definition import Dataset, Definition, PublishedText, Related
from m1eval.types import Sampling
from tests.conftest import write

GOOD = """
title: Sums
dataset: {file: sums.jsonl}
prompt: "{{ a }} + {{ b }}?"
target: "{{ a + b }}"
scorer: exact
"""
VALUES: dict[str, tuple[type, ...]] = {
    "3": (int, float),
    "-1": (int, float),
    "0.5": (float,),
    ".nan": (float,),
    ".inf": (float,),
    "true": (bool,),
    "word": (str,),
    "''": (str,),
    "[]": (list, tuple),
    "[x]": (list, tuple),
    "[[x]]": (),
    "[{a: 1}]": (list,),
    "{}": (dict,),
    "{a: 1}": (dict,),
    "{a: {b: {c: 1}}}": (dict,),
    "2001-01-01": (),
    "!!binary aGk=": (),
    "'[red]x[/red]'": (str,),
    "'{{ nothing }}'": (str,),
    "'{% for %}'": (str,),
    "'{{ a.b.c }}'": (str,),
    "'{{ 1 // 0 }}'": (str,),
    "'_none.rows'": (str,),
    "'../../etc/passwd'": (str,),
    '"a\\0b"': (str,),
    '"\\e[31m"': (str,),
    '"\\ud800"': (str,),
}
"""YAML values, and the types that they are of."""
STRUCTS = {
    "": Definition,
    "dataset": Dataset,
    "generation": Sampling,
    "baselines": Related,
    "texts.name": PublishedText,
}


def fields(path: str) -> Any:
    return msgspec.structs.fields(STRUCTS[path])  # type: ignore[arg-type,unused-ignore]


def kinds(type_: Any) -> set[type]:
    """The plain types that a key takes."""
    origin = get_origin(type_)
    if origin is Annotated:
        return kinds(get_args(type_)[0])
    if origin in (Union, UnionType):
        return set().union(*map(kinds, get_args(type_)))
    if origin is Literal:
        return set()
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return {dict}
    return {origin or type_}


def text_of(key: str, value: str) -> str:
    """A sound task file but for one key."""
    first, *inner = key.split(".")
    for name in reversed(inner):
        value = f"{{{name}: {value}}}"
    lines = [line for line in GOOD.strip().splitlines() if not line.startswith(f"{first}:")]
    return "\n".join([*lines, f"{first}: {value}"]) + "\n"


KEYS = [f"{path}.{field.encode_name}".strip(".") for path in STRUCTS for field in fields(path)]


@pytest.mark.parametrize("key", KEYS)
def test_any_value_of_a_key_is_accepted_or_refused_in_one_line(key, tmp_path, m1eval, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sums.jsonl", "".join(json.dumps({"a": i, "b": i * i}) + "\n" for i in range(5)))
    path, _, name = key.rpartition(".")
    (field,) = [f for f in fields(path) if f.encode_name == name]
    refused = 0
    for number, (value, types) in enumerate(VALUES.items()):
        write(tmp_path / "t.yaml", text_of(key, value))
        out = tmp_path / f"x{number}"
        result = m1eval("run", "--tasks", "./t.yaml", "--model", "echo:gold", "--limit", 2, "--out", out, "--json")
        checked = m1eval("check", "./t.yaml")
        printed = f"{key}: {value}: {result.err}{checked.out}{checked.err}"
        assert result.code in (0, 2, 3), printed
        assert checked.code in (0, 1), printed
        assert "Traceback" not in printed
        assert "\x1b" not in printed
        if result.code != 2:
            continue
        refused += 1
        assert result.out == "", printed
        assert result.err.startswith("Error: "), printed
        assert result.err.count("\n") == 1, printed
        assert "t.yaml" in result.err, printed
        assert checked.code == 1, printed
        assert checked.out.count("\n") == 1, printed
        assert not out.exists(), printed
        if not kinds(field.type) & set(types) and Any not in kinds(field.type) and value != "{}":
            line = len(text_of(key, value).splitlines())
            assert f"t.yaml:{line}: " in result.err or "t.yaml:1: " in result.err, printed
    assert refused >= 5, "most of them cannot be"


IMPOSSIBLE = [
    ("generation: {temperature: -3}", "temperature must be a number of at least 0, not -3"),
    ("generation: {temperature: .nan}", "temperature must be a number of at least 0, not nan"),
    ("generation: {temperature: .inf}", "temperature must be a number of at least 0, not inf"),
    ("generation: {top_p: 2}", "top_p must be above 0 and at most 1, not 2"),
    ("generation: {top_p: 0}", "top_p must be above 0 and at most 1, not 0"),
    ("generation: {top_k: -2}", "top_k must be a whole number"),
    ("generation: {min_p: 1.5}", "min_p must be between 0 and 1, not 1.5"),
    ("generation: {max_tokens: 0}", "max_tokens must be a number of tokens of at least 1, not 0"),
    ("generation: {max_tokens: -1}", "max_tokens must be a number of tokens of at least 1, not -1"),
    ("generation: {max_tokens: 3000000000}", "generation.max_tokens: expected `int` <= 2147483647"),
    ("generation: {stop: ['']}", "generation.stop.0: expected `str` of length >= 1"),
    ("generation: {n: 3}", "unknown key 'n'; there are max_tokens"),
    ("generation: {frequency_penalty: 1}", "unknown key 'frequency_penalty'"),
    ("repeats: 0", "repeats: expected `int` >= 1"),
    ("repeats: 1000000000", "repeats: expected `int` <= 100000"),
    ("think: -1", "think: expected `int` >= 0"),
    ("overlength: cut", "overlength: unknown value 'cut'; there are fail, skip, truncate_middle"),
]


@pytest.mark.parametrize(("line", "words"), IMPOSSIBLE, ids=[line for line, _ in IMPOSSIBLE])
def test_an_impossible_value_is_refused_at_its_line(line, words, tmp_path, m1eval, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sums.jsonl", '{"a": 1, "b": 2}\n')
    write(tmp_path / "t.yaml", f"{GOOD.strip()}\n{line}\n")
    command = ("run", "--tasks", "./t.yaml", "--model", "echo:gold", "--out", "x")
    result = m1eval(*command)
    assert (result.code, result.err.startswith(f"Error: t.yaml:6: {words}")) == (2, True), result.err
    key, _, value = line.partition(": ")
    if value.startswith("{"):
        key, value = f"{key}.{value[1:].partition(': ')[0]}", value.partition(": ")[2].removesuffix("}")
    write(tmp_path / "t.yaml", GOOD)
    result = m1eval(*command, "--set", f"{key}={value}")
    assert (result.code, result.err.startswith(f"Error: --set {key}={value}: {words}")) == (2, True), result.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("generation", ["temperature: -1", "top_p: 3", "temprature: 1", "max_tokens: 0"])
@pytest.mark.parametrize("where", ["generation", "tags"])
def test_a_profile_with_a_value_that_cannot_be(generation, where, tmp_path, shell):
    write(tmp_path / "sums.jsonl", '{"a": 1, "b": 2}\n')
    write(tmp_path / "t.yaml", GOOD)
    inner = f"{{{generation}}}" if where == "generation" else f"{{math: {{{generation}}}}}"
    text = f"title: P\nmodels: [x]\nsource: me\n{where}: {inner}\n"
    write(tmp_path / "runners" / "profiles" / "mine.yaml", text)
    result = shell("run", "--tasks", "./t.yaml", "--model", "echo:gold", "--profile", "mine", "--out", "x")
    assert result.code == 2
    assert result.err.startswith("Error: runners/profiles/mine.yaml:4: ")
    assert result.err.count("\n") == 1


FILES = {
    "./folder": "./folder is a folder; name a file in it, such as folder/t.yaml",
    "./empty_folder": "./empty_folder is a folder",
    "./none.yaml": "no file ./none.yaml",
    "./loop.yaml": "no file ./loop.yaml: ",
    "./dangling.yaml": "no file ./dangling.yaml",
    f"./{'x' * 300}.yaml": "File name too long",
    "~nobody_at_all/t.yaml": "no file ~nobody_at_all/t.yaml: ",
    "./latin.yaml": "latin.yaml:1: not valid YAML",
    "./list.yaml": "list.yaml:1: expected a mapping of keys, not a list",
    "./blank.yaml": "blank.yaml:1: expected a mapping of keys, not nothing",
    "./merge.yaml": "merge.yaml:2: not valid YAML: merge keys (<<) are not supported; use include: FILE",
    "./tabs.yaml": "tabs.yaml:3: not valid YAML",
    "[red]x": "no task matches '[red]x'",
    "nothing": "no task 'nothing'",
}


@pytest.mark.parametrize("name", FILES)
def test_a_name_of_something_else_than_a_task_is_refused(name, tmp_path, m1eval, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "folder" / "t.yaml", GOOD)
    (tmp_path / "empty_folder").mkdir()
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"title: caf\xe9\n")
    write(tmp_path / "list.yaml", "- a\n- b\n")
    write(tmp_path / "blank.yaml", "")
    write(tmp_path / "merge.yaml", "base: &b {title: X}\n<<: *b\n")
    (tmp_path / "tabs.yaml").write_text("title: T\ndataset:\n\tfile: x.jsonl\n")
    result = m1eval("run", "--tasks", name, "--model", "echo:gold", "--out", "x")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    assert FILES[name] in result.err
    assert not (tmp_path / "x").exists()


def test_a_folder_of_a_thousand_files(tmp_path, m1eval, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "many").mkdir()
    for number in range(1000):
        (tmp_path / "many" / f"t{number:03}.yaml").write_text(GOOD)
    result = m1eval("run", "--tasks", "./many", "--model", "echo:gold")
    assert (result.code, result.err) == (2, "Error: ./many is a folder; name a file in it, such as many/t000.yaml\n")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("target: {{ a }}", 't.yaml:1: a key must be text, not a mapping; quote a template: target: "{{ … }}"'),
        ("prompt: {{ a }} is?", "t.yaml:1: not valid YAML: did not find expected key; quote the text: prompt: '…'"),
        (
            "prompt: Question: {{ a }}",
            "t.yaml:1: not valid YAML: mapping values are not allowed in this context; ",
        ),
        ("system: {% if a %}b{% endif %}", "t.yaml:1: not valid YAML: "),
        ("prompt: @a", "quote the text: prompt: '…'"),
    ],
)
def test_an_unquoted_template_is_pointed_out(row, words, tmp_path, m1eval, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.yaml", f"{row}\ntitle: T\n")
    result = m1eval("check", "./t.yaml")
    assert result.code == 1
    assert words in result.out


@pytest.mark.parametrize("name", ["nope", "", "[red]x[/red]", "../x", "\x1b[31m"])
def test_a_protocol_that_no_task_has(name, tmp_path, m1eval, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sums.jsonl", '{"a": 1, "b": 2}\n')
    write(tmp_path / "t.yaml", GOOD)
    command = ("run", "--tasks", "./t.yaml", "--model", "echo:gold", "--out", "x")
    result = m1eval(*command, "--protocol", name)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert ("task t: unknown protocol '" if name else "--protocol") in result.err.replace("\n", "")
    assert not (tmp_path / "x").exists()
    assert m1eval(*command, "--protocol", "default").code == 0
