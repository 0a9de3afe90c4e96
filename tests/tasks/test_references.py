"""Templates show text alone: a list, mapping or null is refused with its row before anything is asked."""

import json
import re

import pytest

from tests.conftest import run_of, write

TASK = """
title: T
dataset: {file: rows.jsonl}
prompt: "{{ q }}"
target: "{{ a }}"
scorer: exact
"""


@pytest.fixture
def run(tmp_path, m1eval, monkeypatch):
    """Run a task whose second row is the given one; the first is sound."""
    monkeypatch.chdir(tmp_path)

    def call(row, change=("", ""), sound=None):
        sound = sound or {"q": "x", "a": "y", "b": ["y"], "c": {"v": "y"}, "n": "m"}
        write(tmp_path / "rows.jsonl", json.dumps(sound) + "\n" + json.dumps({**sound, **row}) + "\n")
        task = write(tmp_path / "t.yaml", TASK)
        task.write_text(task.read_text().replace(*change) if change[0] else task.read_text() + change[1])
        checked = m1eval("check", "./t.yaml")
        result = m1eval("run", "--tasks", "./t.yaml", "--model", "echo:gold", "--out", "x", "--json")
        return checked, result

    return call


def refused(both, tmp_path, *words):
    checked, result = both
    assert (result.code, result.out) == (2, ""), result.err
    assert result.err.count("\n") == 1
    assert checked.code == 1
    for word in ("rows.jsonl:2", *words):
        assert word in result.err
        assert word in checked.out
    assert not (tmp_path / "x").exists(), "nothing was asked"


@pytest.mark.parametrize(
    ("target", "row", "words"),
    [
        ("{{ a }}", {"a": ["b", "c"]}, "a list as Python writes it, ['b', 'c']; write {{ a | tojson }}, {{ a[0] }}"),
        ("{{ a }}", {"a": []}, "a list as Python writes it, []"),
        ("{{ a }}", {"a": {"v": 1}}, "a mapping as Python writes it, {'v': 1}"),
        ("{{ a }}", {"a": None}, "'a' is null, so there is no reference"),
        ("{{ a | trim }}", {"a": ["b"]}, "a list as Python writes it"),
        ("{{ a | string | lower }}", {"a": ["b"]}, "a list as Python writes it"),
        ("{{ a | replace('x', '') }}", {"a": ["b"]}, "a list as Python writes it"),
        ("{{ 'The ' ~ a }}", {"a": ["b"]}, "a list as Python writes it"),
        ("The {{ a }}.", {"a": ["b"]}, "a list as Python writes it"),
        ("{% if q %}{{ a }}{% endif %}", {"a": ["b"]}, "a list as Python writes it"),
        ("{{ a if q else 'n' }}", {"a": ["b"]}, "a list as Python writes it"),
        ("{{ c.v }}", {"c": {"v": None}}, "a value that is null"),
        ("{{ c.v | upper }}", {"c": {"v": None}}, "a value that is null"),
        ("{{ c.v | default('x') }}", {"c": {"v": None}}, "a value that is null"),
        ("{{ b[0] }}", {"b": [None]}, "a value that is null"),
        ("{{ b[0] }}", {"b": [["y"]]}, "a list as Python writes it"),
        ("{{ b | first }}", {"b": [None]}, "a value that is null"),
        ("{{ b | join('|') }}", {"b": ["y", None]}, "a value that is null"),
        ("{{ b | join('|') }}", {"b": ["y", ["z"]]}, "a list as Python writes it"),
        ("{% for each in b %}{{ each }} {% endfor %}", {"b": [["y"]]}, "a list as Python writes it"),
        ("{% set z = c.v %}{{ z }}", {"c": {"v": ["y"]}}, "a list as Python writes it"),
        ("{{ c.w }}", {"c": {"v": "y"}}, "has no attribute 'w'"),
        ("{{ '%s' % c.v }}", {"c": {"v": ["y"]}}, "a list as Python writes it"),
        ("{{ '%s' | format(c.v) }}", {"c": {"v": None}}, "a value that is null"),
        ("{{ '{}'.format(c.v) }}", {"c": {"v": None}}, "a value that is null"),
        ("{{ ' '.join(b) if q else c.v }}", {"q": "", "c": {"v": ["y"]}}, "a list as Python writes it"),
    ],
)
def test_a_reference_that_is_not_text_is_refused(run, tmp_path, target, row, words):
    sound = {"q": "x", "a": "y", "b": ["y"], "c": {"v": "y", "w": "y"}}
    refused(run(row, ('"{{ a }}"', json.dumps(target)), sound), tmp_path, "t.yaml:4: ", words)


@pytest.mark.parametrize("target", ["{{ b | map('upper') }}", "{{ a.strip }}", "{{ c.items }}"])
def test_a_template_that_is_not_finished(run, m1eval, target):
    checked, result = run({}, ('"{{ a }}"', json.dumps(target)))
    assert result.code == 2
    assert re.search(r"add (parentheses|\| join)", result.err)
    assert "at 0x" not in result.err
    assert checked.code == 1


@pytest.mark.parametrize(
    ("key", "row", "words"),
    [
        ('gold: "{{ b }}"', {"b": ["y"]}, "the template of 'gold'"),
        ('id: "{{ n }}"', {"n": None}, "the template of 'id' cannot be filled in: it shows a value that is null"),
        ('id: "{{ n }}"', {"n": ["a"]}, "the template of 'id' cannot be filled in: it shows a list"),
        ('id: "{{ n }}"', {"n": ""}, "is empty"),
    ],
)
def test_ids_and_perfect_answers_are_text_too(run, key, row, words):
    checked, result = run(row, ("", key + "\n"), {"q": "x", "a": "y", "b": "y", "n": "m"})
    assert (result.code, checked.code) == (2, 1)
    for text in (result.err, checked.out):
        assert words in text
        assert "rows.jsonl:2" in text


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("{{ b | tojson }}", '["y", 1]'),
        ("{{ b | join('|') }}", "y|1"),
        ("{{ b[0] }}", "y"),
        ("{% for each in b %}{{ each }};{% endfor %}", "y;1;"),
        ("{{ a or 'none' }}", "none"),
        ("{{ c.v | default('-', true) }}", "-"),
        ("{{ b | length }}", "2"),
        ("{{ b | map('string') | join }}", "y1"),
        ("{{ true }}", "True"),
        ("{{ 0.5 }}", "0.5"),
    ],
)
def test_what_is_made_into_text_is_taken(run, tmp_path, target, value):
    row = {"q": "x", "a": None, "b": ["y", 1], "c": {"v": None}}
    checked, result = run({}, ('"{{ a }}"', json.dumps(target)), row)
    assert (result.code, checked.code) == (0, 0), result.err + checked.out
    records = [json.loads(line) for line in (run_of(tmp_path / "x") / "samples.jsonl").read_text().splitlines()]
    assert {record["target"] for record in records} == {value}


def test_a_prompt_may_show_a_list_but_not_null(run, tmp_path):
    checked, result = run({}, ("{{ q }}", "{{ b }}"))
    assert (result.code, checked.code) == (0, 0)
    (tmp_path / "x").rename(tmp_path / "y")
    checked, result = run({"c": {"v": None}}, ("{{ q }}", "{{ c.v | trim }}"))
    assert "the template of 'prompt' cannot be filled in: it shows a value that is null" in result.err
    assert (result.code, checked.code) == (2, 1)


def test_a_message_shows_no_null(run, tmp_path):
    change = ('prompt: "{{ q }}"', 'messages: [{role: user, content: "{{ q }}"}]')
    refused(run({"q": None}, change), tmp_path, "t-2: 'q' is null, so there is no text to ask")
