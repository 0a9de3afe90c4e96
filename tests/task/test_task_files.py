"""Task files: what they say, and one clear line with its place for whatever is wrong in them."""

import json

import pytest

from m1eval import UsageError
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.option_names import command_line
from m1eval.task.load import load_tasks
from tests.conftest import run_of, write

GOOD = """
title: Sums
dataset: {file: sums.jsonl}
prompt: "{{ a }} + {{ b }}?"
target: "{{ a + b }}"
scorer: exact
"""


@pytest.fixture
def sums(tmp_path):
    write(tmp_path / "sums.jsonl", "".join(json.dumps({"a": a, "b": a * a}) + "\n" for a in range(20)))

    def make(text=GOOD, name="sums"):
        return str(write(tmp_path / f"{name}.yaml", text))

    return make


def samples(path, *overrides, seed=0):
    (task,) = load_tasks([path], overrides)
    return task.samples(CharacterTokenizer(), seed)


def test_a_row_becomes_a_sample(sums):
    table = samples(sums())
    assert len(table) == 20
    sample = table.sample(3)
    assert sample.id == "sums-04"
    assert sample.messages == [{"role": "user", "content": "3 + 9?"}]
    assert (sample.target, sample.gold, sample.metadata) == ("12", "12", {"a": 3, "b": 9})


def test_messages_system_and_id_are_rendered_for_each_row(sums):
    text = GOOD.replace(
        'prompt: "{{ a }} + {{ b }}?"', 'system: Be {{ a }}\nmessages: [{role: user, content: "{{ b }}"}]'
    )
    sample = samples(sums(text + 'id: "sum-{{ a }}"\n')).sample(2)
    assert sample.id == "sum-2"
    assert sample.messages == [{"role": "system", "content": "Be 2"}, {"role": "user", "content": "4"}]


@pytest.mark.parametrize("as_text", [True, False])
def test_messages_can_come_from_a_column(tmp_path, as_text):
    chat = [{"role": "user", "content": "{{ not a template }}"}]
    write(tmp_path / "c.jsonl", json.dumps({"chat": json.dumps(chat) if as_text else chat, "answer": "x"}) + "\n")
    path = write(
        tmp_path / "c.yaml",
        "title: C\ndataset: {file: c.jsonl}\nmessages: chat\ntarget: '{{ answer }}'\nscorer: exact\n",
    )
    sample = samples(str(path)).sample(0)
    assert sample.messages == chat
    assert sample.metadata == {"answer": "x"}, "the messages are not kept twice"


def test_include_is_deep_and_local_keys_win(sums):
    sums(GOOD + "generation: {temperature: 0.6, top_p: 0.9}\nrepeats: 4\n", "_base")
    path = sums("include: _base.yaml\ntitle: Mine\ngeneration: {top_p: 0.5}\nrepeats: null\n")
    (task,) = load_tasks([path])
    assert task.definition.title == "Mine"
    assert (task.definition.generation.temperature, task.definition.generation.top_p) == (0.6, 0.5)
    assert task.definition.repeats == 1


def test_groups_name_their_tasks_once(sums):
    sums(name="one")
    sums(name="two")
    group = sums("title: All\ntasks: [one.yaml, two.yaml, one.yaml]\n", "all")
    assert [task.name for task in load_tasks([group, group])] == ["one", "two"]


def test_overrides_set_keys_of_the_task(sums):
    (task,) = load_tasks([sums()], ["generation.temperature=0.5", "repeats=3", "generation.stop=[a, b]"])
    assert (task.definition.generation.temperature, task.definition.generation.stop) == (0.5, ("a", "b"))
    assert task.definition.repeats == 3


def test_a_generator_next_to_the_task_makes_its_rows(tmp_path):
    write(
        tmp_path / "_made.py",
        """
        from functools import partial
        from m1eval import LazySample

        def rows(tokenizer, seed, sizes=(1,)):
            for size in sizes:
                row = partial(dict, question="x" * size, tokens=tokenizer.count([]))
                yield LazySample(id=f"n{size}", build=row, prefix_key=str(size % 2))
        """,
    )
    path = str(
        write(
            tmp_path / "made.yaml",
            """
            title: Made
            dataset: {generate: _made.rows}
            options: {sizes: [3, 4, 5]}
            prompt: "{{ question }}"
            target: "{{ question }}"
            scorer: exact
            """,
        )
    )
    table = samples(path)
    assert [table.id(n) for n in table.select(limit=None, ids=None, seed=0)] == ["n3", "n5", "n4"], (
        "equal prefixes together"
    )
    assert samples(path, "sizes=[7]").sample(0).target == "x" * 7
    assert samples(path, "options.sizes=[8]").sample(0).target == "x" * 8


def test_a_limit_is_random_the_same_for_all_and_grows(sums):
    table = samples(sums())
    four, eight = (table.select(limit=n, ids=None, seed=0) for n in (4, 8))
    assert four == table.select(limit=4, ids=None, seed=0) == sorted(four)
    assert four != [0, 1, 2, 3]
    assert set(four) < set(eight)
    assert table.select(limit=4, ids=None, seed=1) != four
    assert table.select(limit=None, ids=["sums-07", "sums-02"], seed=0) == [1, 6]
    assert table.select(limit=99, ids=None, seed=0) == list(range(20))


BAD = [
    (GOOD.replace("scorer:", "scorers:"), "sums.yaml:5: unknown key 'scorers'; did you mean 'scorer'?"),
    (GOOD + "title: Again\n", "sums.yaml:6: duplicate key 'title'; the first is at line 1"),
    (GOOD + "tags: [a\nb: {\n", "sums.yaml:7: not valid YAML"),
    (GOOD + "\tb: 1\n", "sums.yaml:6: not valid YAML"),
    ("- a\n- b\n", "sums.yaml:1: expected a mapping of keys, not a list"),
    ("", "sums.yaml:1: expected a mapping of keys, not nothing"),
    (GOOD + "1: x\n", "sums.yaml:6: a key must be text, not int"),
    (GOOD + "repeats: many\n", "sums.yaml:6: repeats: expected `int`, got `str`"),
    (GOOD + "repeats: 0\n", "sums.yaml:6: repeats: expected `int` >= 1"),
    (GOOD + "generation:\n  temprature: 1\n", "sums.yaml:7: unknown key 'temprature'; did you mean 'temperature'?"),
    (GOOD + "generation: {stop: [1]}\n", "sums.yaml:6: generation.stop.0: expected `str`, got `int`"),
    (GOOD.replace("{file: sums.jsonl}", "{fil: x}"), "sums.yaml:2: unknown key 'fil'; did you mean 'file'?"),
    (
        GOOD.replace("{file: sums.jsonl}", "{}"),
        "sums.yaml:2: dataset needs one of hub, file, generate (or rows and generate); it has none",
    ),
    (GOOD.replace("{file: sums.jsonl}", "{hub: a/b}"), "sums.yaml:2: a hub dataset needs its revision"),
    (GOOD.replace("dataset: {file: sums.jsonl}\n", ""), "sums.yaml:1: the key 'dataset' is missing"),
    (GOOD.replace("title: Sums\n", ""), "sums.yaml:1: the key 'title' is missing"),
    (GOOD.replace("scorer: exact\n", ""), "sums.yaml:1: the key 'scorer' is missing"),
    (GOOD + "messages: chat\n", "sums.yaml:1: a task has either 'prompt' or 'messages'"),
    (GOOD + "options: {a: 1}\n", "sums.yaml:6: options are the generator's"),
    (GOOD + "include: _none.yaml\n", "sums.yaml:6: no file _none.yaml to include next to sums.yaml"),
    (GOOD + "include: sums.yaml\n", "sums.yaml:6: sums.yaml includes itself"),
    ("title: G\ntasks: [nowhere_task]\n", "sums.yaml:2: no task 'nowhere_task'"),
    (
        "title: G\ntasks: [aime24]\nscorer: math\n",
        "sums.yaml:3: a group has title, description, tags and tasks, not 'scorer'",
    ),
    (GOOD.replace("exact", "exat"), "sums.yaml:5: no scorer 'exat'; did you mean exact?"),
    (
        GOOD.replace("exact", "{exact: {ignore_cas: true}}"),
        "sums.yaml:5: scorer exact: unknown option 'ignore_cas'; did you mean 'ignore_case'?",
    ),
    (GOOD.replace("exact", "{exact: {}, math: {}}"), "sums.yaml:5: write one scorer"),
    (
        GOOD.replace("exact", "{contains: {need: some}}"),
        "sums.yaml:5: scorer contains: need is 'all' or 'any', not 'some'",
    ),
    ("title: G\ntasks: [sums.yaml]\n", "sums.yaml: the group contains itself"),
    (GOOD.replace("sums.jsonl", "none.jsonl"), "sums.yaml:2: no file none.jsonl next to sums.yaml"),
    (GOOD.replace("{file: sums.jsonl}", "{generate: _none.rows}"), "sums.yaml:2: no file _none.py next to sums.yaml"),
    (GOOD.replace("{{ a }} +", "{{ c }} +"), "sums.yaml:3: template error: 'c' is undefined; the row has a, b"),
    (GOOD.replace("{{ a }} +", "{% if %} +"), "sums.yaml:3: template error in line 1 of 'prompt'"),
    (GOOD.replace("{{ a + b }}", "{{ a / 0 }}"), "sums.yaml:4: template error: ZeroDivisionError"),
    (GOOD.replace("{{ a }} +", "{{ a.__class__.__mro__ }} +"), "sums.yaml:3: template error"),
    (
        GOOD.replace('prompt: "{{ a }} + {{ b }}?"', "messages: chat"),
        "sums.yaml:3: unknown column 'chat'; there are a, b",
    ),
    (GOOD.replace('prompt: "{{ a }} + {{ b }}?"', "messages: a"), "sums.yaml:3: column 'a' is not a list of messages"),
]


@pytest.mark.parametrize(("text", "words"), BAD, ids=[words.partition(": ")[2][:60] for _, words in BAD])
def test_what_is_wrong_is_one_line_with_its_place(sums, m1eval, monkeypatch, tmp_path, text, words):
    path = sums(text)
    monkeypatch.chdir(tmp_path)
    result = m1eval("run", "--tasks", path, "--model", "echo:gold", "--json", "--out", tmp_path / "x")
    assert result.code == 2, result.err
    assert result.err.startswith(f"Error: {words}"), result.err
    assert result.err.count("\n") == 1
    assert result.out == ""
    assert not list(tmp_path.glob("x/**/samples.parquet"))


def test_one_broken_file_does_not_hide_the_others(tmp_path, shell):
    write(tmp_path / "tasks" / "broken.yaml", "title: [\n")
    write(tmp_path / "tasks" / "sound.yaml", GOOD)
    result = shell("tasks")
    assert result.code == 1
    assert "sound" in result.out
    assert "aime24" in result.out
    assert result.err.startswith("Error: tasks/broken.yaml:")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lenghts=[1]", "--set lenghts=[1]: unknown key 'lenghts'; did you mean 'lengths'?"),
        ("generation.temprature=1", "--set generation.temprature=1: unknown key 'temprature'"),
        ("repeats=many", "--set repeats=many: repeats: expected `int`, got `str`"),
        ("temperature", "--set temperature: write key=value"),
        ("options.lenghts=3", "--set options.lenghts=3: unknown option 'lenghts'; did you mean 'lengths'?"),
    ],
)
def test_an_override_that_does_not_fit(override, words):
    with command_line(), pytest.raises(UsageError) as error:
        load_tasks(["needle"], [override])
    assert words in str(error.value)


def test_two_tasks_with_one_name_are_refused(sums, tmp_path):
    other = write(tmp_path / "other" / "sums.yaml", GOOD)
    with pytest.raises(UsageError, match=r"two tasks are named 'sums': .*sums.yaml and .*other/sums.yaml"):
        load_tasks([sums(), str(other)])


def test_a_sample_that_cannot_be_made_is_errored_and_the_others_are_run(m1eval, tmp_path):
    write(
        tmp_path / "_made.py",
        """
        from m1eval import LazySample

        def rows():
            for i in range(4):
                yield LazySample(id=str(i), build=lambda i=i: {"x": 12 // (i - 2)})
        """,
    )
    task = write(
        tmp_path / "made.yaml",
        "title: M\ndataset: {generate: _made.rows}\nprompt: '{{ x }}'\ntarget: '{{ x }}'\nscorer: exact\n",
    )
    result = m1eval("run", "--tasks", task, "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    outcomes = result.json()["runs"][0]["outcomes"]
    assert (outcomes["right"], outcomes["errored"], result.code) == (3, 1, 3)
    assert "ZeroDivisionError" in (run_of(tmp_path / "x") / "samples.jsonl").read_text()


def test_two_samples_with_one_id_are_refused(sums, m1eval, tmp_path):
    result = m1eval("run", "--tasks", sums(GOOD + "id: same\n"), "--model", "echo:gold", "--out", tmp_path / "x")
    assert result.code == 2
    assert "sums.yaml:6: two samples have the id 'same'" in result.err


def test_the_schema_knows_every_key(m1eval):
    schema = m1eval("schema").json()
    keys = schema["$defs"]["Definition"]["properties"]
    assert {"title", "dataset", "prompt", "messages", "target", "scorer", "repeats", "generation", "include"} <= set(
        keys
    )
    assert schema["$defs"]["Definition"]["additionalProperties"] is False
