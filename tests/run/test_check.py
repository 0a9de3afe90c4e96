"""`m1eval check` proves a task sound without a model; `m1eval tasks` says what there is."""

import json

import pytest

from m1eval import available
from m1eval.task.load import load_tasks
from tests.conftest import write

LONG = ("babilong", "graphwalks", "infinitebench", "longbench_v2", "longbench_v2_cot", "mr_niah")


def test_all_shipped_tasks_are_sound_and_those_that_need_the_network_are_named(m1eval):
    result = m1eval("check", "--json")
    rows = {row["task"]: row for row in result.json()}
    assert result.code == 0, [row for row in rows.values() if row["verdict"] == "failed"]
    groups = {"aime", "demo", "m1", "ruler"}
    assert set(rows) == set(available("tasks", "**/*.yaml")) - groups
    online = {task.name for task in load_tasks(sorted(rows)) if task.needs_network}
    assert {"aime24", "gpqa_diamond", "mrcr", "mrcr_128k", "ruler_qa_1", "ruler_qa_2", *LONG} <= online
    assert {name for name, row in rows.items() if row["verdict"] == "skipped"} == online
    assert all("needs the network for" in rows[name]["text"] for name in online)
    assert "needs the network for raw.githubusercontent.com (or" in rows["mr_niah"]["text"]


def test_check_reads_the_data_folder(m1eval, tmp_path):
    write(tmp_path / "aime24.jsonl", '{"problem": "1+1?", "answer": 2}\n')
    result = m1eval("check", "aime24", "--data-dir", tmp_path)
    assert (result.code, result.out) == (
        0,
        "passed   aime24: 1 sample; 1 rendered, gold scores 1, empty scores 0\n",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("scorer: exact", "scorer: exct"), "no scorer 'exct'; did you mean exact?"),
        (("{{ city }}", "{{ town }}"), "template error: 'town' is undefined"),
        (("scorer: exact", "scorer: exact\ngold: something else"), "the gold answer 'something else' scores 0, not 1"),
        (
            ('"{{ city }}"', '""'),
            "scorer exact: sample capitals-01 has an empty target, so there is nothing to grade by",
        ),
        (("What is the capital of {{ country }}?", " "), "the prompt is empty"),
    ],
)
def test_check_finds_what_is_wrong_with_a_task(m1eval, capitals, change, words):
    capitals.write_text(capitals.read_text().replace(*change))
    result = m1eval("check", capitals)
    assert result.code == 1
    assert result.out.startswith("failed")
    assert words in result.out


def test_tasks_lists_every_task(m1eval):
    text = m1eval("tasks").out
    assert "aime24 " in text
    assert "Reasoning Gym" in text
    rows = m1eval("tasks", "--json").json()
    assert {row["task"] for row in rows} == set(available("tasks", "**/*.yaml"))
    for row in rows:
        if "tasks" not in row:
            assert {"title", "description", "source", "licence", "tags", "scorer"} <= set(row), row["task"]


def test_tasks_shows_every_key_of_a_named_task(m1eval):
    text = m1eval("tasks", "aime24").out
    assert "Please reason step by step" in text
    (row,) = m1eval("tasks", "aime24", "--json").json()
    assert row["dataset"]["revision"] == "2fe88a2f1091d5048c0f36abc874fb997b3dd99a"
    assert json.dumps(row["generation"]) == '{"temperature": 1.0, "top_p": 0.95, "max_tokens": 81920}'


def test_a_typo_is_answered_with_the_nearest_name(m1eval):
    result = m1eval("tasks", "amie24")
    assert (result.code, result.err) == (2, "Error: no task 'amie24'; did you mean aime24?\n")


def test_a_protocol_that_some_tasks_have_is_checked_where_it_is(m1eval, capitals):
    text = capitals.read_text()
    write(capitals, text + "protocols: {official: {repeats: 4}}\n")
    other = write(capitals.with_name("other.yaml"), text + "protocols: {fixed: {repeats: 2}}\n")
    result = m1eval("check", capitals, other, "--protocol", "official")
    assert result.code == 0
    first, second = result.out.splitlines()
    assert first.startswith("passed   capitals: ")
    assert first.endswith("(protocol official)")
    assert second.startswith("passed   other: ")
    assert "protocol" not in second
    result = m1eval("check", other, "--protocol", "official")
    assert (result.code, "unknown protocol 'official'; there are fixed" in result.out) == (1, True)


@pytest.mark.parametrize("prompt", ["{{ country }}", "Where? {{ country | trim }}"])
def test_a_row_without_a_question_is_named(m1eval, capitals, prompt):
    rows = [{"country": None if number == 2 else "Chad", "city": "N'Djamena"} for number in (1, 2, 3)]
    capitals.with_name("capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = capitals.read_text()
    rest = [line for line in text.splitlines() if not line.startswith("prompt:")]
    capitals.write_text("\n".join([*rest, f"prompt: '{prompt}'", ""]))
    result = m1eval("check", capitals)
    assert result.code == 1
    assert "capitals-2: 'country' is null, so there is no text to ask" in result.out


@pytest.mark.parametrize(
    ("scorer", "good", "bad", "words"),
    [
        ("math", "7", None, "capitals-23: 'city' is null, so there is no reference"),
        ("math", "7", "[2,5", "the gold answer '[2,5' cannot be graded: its brackets do not match"),
        ("{choice: {options: 4}}", "B", "E", "capitals-23 is not a letter from A to D: 'E'"),
        ("{choice: {options: 4}}", "B", None, "capitals-23: 'city' is null, so there is no reference"),
        ("exact", "Paris", " ", "scorer exact: sample capitals-23 has an empty target"),
        ("{regex: {pattern: '.+'}}", "Paris", "", "scorer regex: sample capitals-23 has an empty target"),
        ("f1", "Paris", "", "scorer f1: sample capitals-23 has an empty target"),
        (
            "{f1: {separator: '|'}}",
            "Paris|Lutetia",
            "|",
            "scorer f1: sample capitals-23 has separators and no reference",
        ),
        ("contains", "Paris", "\n", "scorer contains: sample capitals-23 has no reference"),
        ("longbench_v2", "A", "", "scorer longbench_v2: sample capitals-23 has an empty target"),
        ("mr_niah", "Paris", "", "scorer mr_niah: the target of sample capitals-23 has no parts"),
        ("logic_grid", '{"House 1": {"Name": "Ann"}}', '{"House 1": {}}', "capitals-23: the target has no cells"),
    ],
)
def test_check_names_the_sample_with_a_broken_reference(m1eval, capitals, scorer, good, bad, words):
    rows = [{"country": "Chad", "city": bad if number == 23 else good} for number in range(1, 41)]
    capitals.with_name("capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    capitals.write_text(capitals.read_text().replace("scorer: exact", f"scorer: {scorer}"))
    result = m1eval("check", capitals)
    assert result.code == 1
    assert "capitals-23" in result.out
    assert words in result.out


FAULTY = {
    "float('nan')": "which is not in [0, 1]",
    "2.0": "which is not in [0, 1]",
    "-0.5": "which is not in [0, 1]",
    "'1'": "is not a number",
    "None": "is not a number",
    "[1.0]": "is not a number",
    "1j": "is not a real number",
}


@pytest.mark.parametrize("value", FAULTY)
@pytest.mark.parametrize("empty", ["same", "0.0"])
def test_a_score_that_cannot_be_is_found(m1eval, capitals, value, empty):
    other = value if empty == "same" else empty
    write(
        capitals.with_name("s.py"),
        f"""
        from m1eval import Score

        class Scorer:
            async def score(self, output, sample, context):
                return Score(value={value} if output.text else {other}, answer="x")
        """,
    )
    capitals.write_text(capitals.read_text().replace("scorer: exact", "scorer: ./s.py"))
    result = m1eval("check", capitals)
    assert result.code == 1
    assert FAULTY[value] in result.out
    assert "the scorer fails on the gold answer" in result.out
    assert "s.py" in result.out


@pytest.mark.parametrize("returned", ["None", "1.0", "True", "{'value': 1.0}"])
def test_check_finds_a_scorer_that_returns_something_else_than_a_score(m1eval, capitals, returned):
    code = f"class Scorer:\n    async def score(self, output, sample, context):\n        return {returned}\n"
    capitals.with_name("s.py").write_text(code)
    capitals.write_text(capitals.read_text().replace("scorer: exact", "scorer: ./s.py"))
    result = m1eval("check", capitals)
    assert result.code == 1
    assert "not a Score" in result.out


@pytest.mark.parametrize("value", ["output.text == sample.target", "Fraction(int(output.text == sample.target))"])
def test_a_score_of_another_kind_of_number_is_sound(m1eval, capitals, value):
    code = "from fractions import Fraction\nfrom m1eval import Score\n\nclass Scorer:\n"
    code += f"    async def score(self, output, sample, context):\n        return Score(value={value}, answer='x')\n"
    capitals.with_name("s.py").write_text(code)
    capitals.write_text(capitals.read_text().replace("scorer: exact", "scorer: ./s.py"))
    assert m1eval("check", capitals).code == 0


def test_one_id_of_two_rows_is_found_by_check_and_run(m1eval, capitals, tmp_path):
    rows = [{"country": f"Land {n}", "city": "Rome", "n": n % 9} for n in range(1, 13)]
    capitals.with_name("capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    capitals.write_text(capitals.read_text() + 'id: "n{{ n }}"\n')
    words = "two samples have the id 'n1': "
    result = m1eval("check", capitals)
    assert result.code == 1
    assert words in result.out
    assert "capitals.jsonl:1 and " in result.out
    assert result.out.endswith("capitals.jsonl:10\n")
    ran = m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    assert (ran.code, words in ran.err) == (2, True)
    assert not (tmp_path / "x").exists()
