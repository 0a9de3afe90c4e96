"""Hostile YAML: one line with file and line number, in linear time, whatever a task, profile or baseline holds."""

import pytest

from m1eval import UsageError
from m1eval.yaml_file import MAX_DEPTH, YamlFile, parse_value

TASK = "title: T\ndataset: {file: x.jsonl}\nprompt: p\ntarget: t\nscorer: exact\n"


def laughs(levels: int, times: int) -> str:
    lines = ["l0: &l0 [ha]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * times)}]" for i in range(1, levels + 1)]
    return "\n".join(lines) + "\n"


def mappings(levels: int) -> str:
    lines = ["m0: &m0 {a: 1}"]
    lines += [f"m{i}: &m{i} {{" + ", ".join(f"k{j}: *m{i - 1}" for j in range(9)) + "}" for i in range(1, levels + 1)]
    return "\n".join(lines) + "\n"


BOMBS = {
    "billion laughs": (laughs(10, 9), ": more than 200,000 values"),
    "billion mappings": (mappings(10), ": more than 200,000 values"),
    "an alias within itself": ("a: &a [*a]\n", ":1: nested deeper"),
    "a mapping within itself": ("a: &a {b: *a}\n", ":1: nested deeper"),
    "two within each other": ("a: &a\n  b: &b\n    c: *a\n    d: *b\n", "nested deeper"),
    "merge keys": (laughs(3, 2) + "m: {<<: *l3}\n", "not valid YAML: merge keys (<<) are not supported"),
    "brackets": ("a: " + "[" * 100_000, ":1: nested deeper than 100 levels"),
    "closed brackets": ("a: " + "[" * 100_000 + "]" * 100_000, ":1: nested deeper"),
    "braces": ("a: " + "{a: " * 100_000, ":1: nested deeper"),
    "dashes": ("a:\n" + "- " * 100_000, ":2: nested deeper"),
    "question marks": ("? " * 100_000, ":1: nested deeper"),
    "indents": ("".join(f"{' ' * i}k:\n" for i in range(2500)), ":101: nested deeper"),
    "a few hundred brackets": ("a: " + "[" * 300 + "]" * 300, ":1: nested deeper"),
    "a huge integer": ("a: 1\nb: " + "9" * 100_000, ":2: a value of 100,000 characters that is not text"),
    "base sixty": ("a: " + ":".join(["59"] * 50_000), ":1: a value of 149,999 characters"),
    "a huge float": ("a: 1." + "9" * 100_000, ":1: a value of 100,002 characters"),
    "binary": ("a: 0b" + "1" * 5000, ":1: a value of 5,002 characters"),
    "a date that is none": ("a: 1\nb: 2001-99-99\n", ":2: not a YAML timestamp: '2001-99-99'"),
    "a number that is none": ("a: !!int x\n", ":1: not a YAML int: 'x'"),
    "a truth that is none": ("a: !!bool maybe\n", ":1: not a YAML bool: 'maybe'"),
    "a tagged date that is none": ("a: !!timestamp x\n", ":1: not a YAML timestamp: 'x'"),
    "a python object": ("a: !!python/object/apply:os.system [id]\n", ":1: not valid YAML: could not determine"),
    "a python name": ("a: !!python/name:os.system\n", ":1: not valid YAML: could not determine"),
    "the same anchor twice": ("a: &x 1\nb: &x 2\nc: *x\n", "anchor"),
    "an alias of nothing": ("a: *nothing\n", ":1: not valid YAML: found undefined alias"),
    "a key that is a list": ("? [a]\n: 1\n", ":1: a key must be text"),
    "a key of aliases": (laughs(10, 9).replace("l10: &l10", "? &l10") + ": 1\n", "more than 200,000 values"),
    "NUL": ("a: \0\n", "not valid YAML"),
    "no UTF-8": ("a: \udcff\n", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "not valid YAML"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_line_with_its_place(tmp_path, name):
    text, words = BOMBS[name]
    file = tmp_path / "bomb.yaml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as error:
        YamlFile.read(file)
    message = str(error.value)
    assert words in message
    assert message.startswith(f"{file}:")
    assert "\n" not in message
    assert len(message) < 400


def test_a_file_of_megabytes_is_refused_unread(tmp_path):
    file = tmp_path / "big.yaml"
    with file.open("wb") as out:
        out.truncate(100 * 2**20)
    with pytest.raises(UsageError, match="longer than 16 MiB"):
        YamlFile.read(file)


def test_includes_are_limited_too(tmp_path):
    for i in range(10):
        (tmp_path / f"i{i}.yaml").write_text(f"include: [{', '.join([f'i{i + 1}.yaml'] * 9)}]\n")
    (tmp_path / "i10.yaml").write_text("a: 1\n")
    with pytest.raises(UsageError, match=r"i\d\.yaml:1: more than 100 files are included"):
        YamlFile.read(tmp_path / "i0.yaml")


def test_aliases_and_numbers_within_reason_are_read(tmp_path):
    file = tmp_path / "fine.yaml"
    file.write_text("a: &a {x: [1, 2]}\nb: *a\nc: [*a, *a]\nd: 1.0e+400\ne: 2001-01-01\nf: " + "9" * 400 + "\n")
    data = YamlFile.read(file).data
    assert data["b"] == {"x": [1, 2]}
    assert data["c"] == [{"x": [1, 2]}] * 2
    assert data["d"] == float("inf")
    deep = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    file.write_text(deep)
    assert YamlFile.read(file).data


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "2001-99-99", "!!bool maybe", "*x", "a: b: c"])
def test_what_is_no_yaml_on_the_command_line_is_text(text):
    assert parse_value(text) == text


@pytest.mark.parametrize("name", ["billion laughs", "brackets", "a date that is none"])
def test_the_command_says_it_in_one_line(m1eval, tmp_path, name):
    file = tmp_path / "bomb.yaml"
    file.write_text(TASK + BOMBS[name][0])
    result = m1eval("run", "--tasks", file, "--model", "echo", "--out", tmp_path / "x")
    assert (result.code, result.err.count("\n")) == (2, 1), result.err
    assert result.err.startswith(f"Error: {file}:")
