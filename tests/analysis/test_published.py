"""A run next to published scores: differences, what was set otherwise, and p values that are adjusted together."""

import json
import re
from typing import Any

import pytest

from tests.conftest import write
from tests.http.conftest import ReceivedRequest, Reply, answer, server  # noqa: F401 - the fixture

M1 = "minimax-m1-80k"


@pytest.fixture
def data(tmp_path):
    for name in ("aime24", "aime25"):
        rows = [{"problem": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(1, 9)]
        write(tmp_path / "data" / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data"


@pytest.fixture
def differs(m1eval, data, tmp_path):
    """Differences between the settings of an aime24 run and of MiniMax-M1's published score."""

    def call(*options: object) -> list[str]:
        command = (
            "run",
            "--tasks",
            "aime24",
            "--data-dir",
            data,
            "--out",
            tmp_path / "x",
            "--model",
            "echo:gold,wrong",
        )
        (row,) = m1eval(*command, "-k", 2, *options, "--json").json()["runs"]
        differences: list[str] = next(each["differs_in"] for each in row["published"] if each["model"] == M1)
        return differences

    return call


COMMON = ["repeats 2 (there 32)", "data (from {data}, the task has HuggingFaceH4/aime_2024)"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), []),
        (("--set", "prompt=Say {{ problem }}"), ["prompt (changed)"]),
        (("--set", "system=You are terse."), ["system prompt (added)"]),
        (("--set", "scorer=exact"), ["scorer exact (the task has math)"]),
        (("--set", "generation.temperature=0.2"), ["temperature 0.2 (there 1)"]),
        (("--set", "generation.top_k=5"), ["top_k 5 (the task has none; there not stated)"]),
        (
            ("--max-tokens", 100),
            ["max_tokens 100 (the task has 81,920; there not stated)", "thinking not capped (there 80K)"],
        ),
        (("--think", 4000), ["thinking 4,000 (there 80K)"]),
        (("--set", "generation.stop=[END]"), ['stop ["END"] (the task has none)']),
        (("--limit", 3), ["subset 3 of 8"]),
        (("--protocol", "official"), ["protocol official", "prompt (changed)"]),
    ],
)
def test_every_setting_that_differs_is_named(differs, data, options, named):
    differences = differs(*options)
    for text in [*(each.format(data=data) for each in COMMON), *named]:
        assert text in differences
    if options and options[0] != "--protocol":
        assert len(differences) == len(COMMON) + len(named)


def test_a_task_that_is_run_as_its_file_has_it_differs_in_what_the_protocol_states_alone(m1eval, tmp_path):
    write(tmp_path / "rows.jsonl", '{"q": "1 + 1?", "a": "2"}\n{"q": "1 + 2?", "a": "3"}\n')
    task = "title: T\ndataset: {file: rows.jsonl}\nprompt: '{{ q }}'\ntarget: '{{ a }}'\nscorer: math\nrepeats: 32\n"
    sampling = "generation: {temperature: 1.0, top_p: 0.95, max_tokens: 81920}\nbaselines: aime_2024\n"
    write(tmp_path / "t.yaml", task + sampling)
    result = m1eval(
        "run", "--tasks", tmp_path / "t.yaml", "--model", "echo:gold,wrong", "--out", tmp_path / "x", "--json"
    )
    (row,) = result.json()["runs"]
    assert row["changed"] == {}
    (found,) = [each["differs_in"] for each in row["published"] if each["model"] == M1]
    assert found == []


def test_files_of_the_users_own_are_named(shell, data, tmp_path):
    write(
        tmp_path / "scorers" / "math.py",
        """
        from m1eval import Score

        class Scorer:
            async def score(self, output, sample, context):
                return Score(value=float(bool(output.text)), answer=output.text or None)
        """,
    )
    command = (
        "run",
        "--tasks",
        "aime24",
        "--data-dir",
        "data",
        "--out",
        "x",
        "--model",
        "echo:gold",
        "-k",
        2,
        "--json",
    )
    (row,) = shell(*command).json()["runs"]
    assert "scorers/math.py in place of scorers/math/" in row["published"][0]["differs_in"]


class RefusesTemperature:
    """A model that takes no temperature."""

    def __call__(self, asked: ReceivedRequest) -> Reply:
        if "temperature" not in asked.body:
            return answer("4")
        error = {
            "message": "Unsupported parameter: 'temperature' is not supported with this model.",
            "code": "unsupported",
        }
        return Reply({"error": {**error, "param": "temperature", "type": "invalid_request_error"}}, 400)


def test_what_the_server_refuses_is_a_difference(shell, data, server: Any, tmp_path):  # noqa: F811
    server.script = RefusesTemperature()
    command = ("run", "--tasks", "aime", "--data-dir", data, "--out", "x", "-k", 1, "--model", "http:m")
    result = shell(*command, "--base-url", server.url, "--json")
    assert result.code == 0, result.err
    for row in result.json()["runs"]:
        (found,) = [each["differs_in"] for each in row["published"] if each["model"] == M1]
        assert "temperature not sent (the server refuses it)" in found
        assert not any(each.startswith("temperature 1") for each in found)
    shown = shell(*command, "--base-url", server.url)
    assert "all tasks: temperature=1.0 was refused by the server and is not sent" in shown.out
    assert shown.out.count("was refused by the server") == 1


def test_p_values_are_adjusted_over_all_rows_and_said_once(m1eval, data, tmp_path):
    command = (
        "run",
        "--tasks",
        "aime",
        "--data-dir",
        data,
        "--out",
        tmp_path / "x",
        "-k",
        4,
        "--model",
        "echo:gold,wrong",
    )
    runs = m1eval(*command, "--json").json()["runs"]
    published_scores = [each for run in runs for each in run["published"]]
    raw = sorted((each["p"] for each in published_scores), reverse=True)
    assert len(published_scores) == 6
    least = 1.0
    for place, p in enumerate(raw):
        least = min(least, p * 6 / (6 - place))
        assert any(each["p_adjusted"] == pytest.approx(least) for each in published_scores if each["p"] == p)
    for each in published_scores:
        assert each["difference"] == pytest.approx(each["score"] - each["published"])
        low, high = each["interval"]
        assert low <= each["difference"] <= high
        assert (each["p"] < 0.05) == (not low <= 0 <= high)
    shown = m1eval(*command).out
    assert len(re.findall(r"^\| aime2[45] \| (?:MiniMax|Qwen|DeepSeek)", shown, re.M)) == 6
    assert shown.count("adjusted for 6 comparisons (Benjamini-Hochberg)") == 1
    assert "p = <" not in shown
