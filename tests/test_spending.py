"""Limits of what a command may spend are kept, whatever answers, judges and faults cost."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.limits import drawn, trial
from m1eval import UsageError
from m1eval.spending import Spending
from tests.conftest import lines
from tests.http.conftest import Loopback, Says

PRICES = "'*': {input: 10, output: 10}\n"


def counted(output: int, **more: Any) -> Says:
    usage = {"prompt_tokens": 20, "completion_tokens": output} | more
    return Says({"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}], "usage": usage})


@pytest.fixture
def server():
    made = Loopback()
    yield made
    made.stop()


def ask(m1eval, server: Loopback, capitals: Path, folder: Path, *more: Any):
    (folder / "prices.yaml").write_text(PRICES)
    where = ("--model", "http:m", "--base-url", server.url, "--out", folder / "x", "--display", "none")
    more = ("-o", "backoff=0.01", "--prices", folder / "prices.yaml", *more)
    return m1eval("run", "--tasks", capitals, *where, *more)


@pytest.mark.parametrize("seed", [0, 4, 12, 13, 16, 18, 23, 26, 33, 35])
def test_a_limit_is_never_exceeded(tmp_path, monkeypatch, seed):
    monkeypatch.setenv("M1EVAL_FILES", "")
    came = trial(drawn(seed), tmp_path)
    assert not came.exceeded, came
    assert (came.code, came.stopped) in {(3, True), (3, False), (0, False)}, came
    if came.setting.is_fine and came.stopped and not came.setting.faults:
        assert came.served >= 0.8 * came.setting.limit


def test_sixty_at_once_stay_below_the_limit(m1eval, server, capitals, tmp_path):
    server.says(counted(16_400))  # $0.16420 each
    result = ask(m1eval, server, capitals, tmp_path, "-j", 60, "--max-cost", 0.5, "--repeats", 5)
    assert (result.code, len(server.posts)) == (3, 3)
    assert "stopped by --max-cost 0.5: $0.49 are spent" in result.err


def test_many_go_at_once_where_there_is_room_for_all_they_may_cost(m1eval, server, capitals, tmp_path):
    server.says(counted(100)._replace(wait=0.1))
    limits = ("--max-cost", 1, "--max-tokens", 100, "-j", 12)
    result = ask(m1eval, server, capitals, tmp_path, *limits)
    assert (result.code, len(server.posts), server.most) == (0, 12, 12)


@pytest.mark.parametrize("option", [("--max-cost", 0), ("--max-tokens-total", 0)])
def test_nothing_to_spend_asks_nothing(m1eval, server, capitals, tmp_path, option):
    result = ask(m1eval, server, capitals, tmp_path, *option)
    assert (result.code, len(server.posts), f"stopped by {option[0]} 0: " in result.err) == (3, 0, True), result.err


def test_what_one_request_may_cost_is_said_where_there_is_no_room_for_it(m1eval, server, capitals, tmp_path):
    result = ask(m1eval, server, capitals, tmp_path, "--max-cost", 0.005, "--max-tokens", 1000)
    assert (result.code, len(server.posts)) == (3, 0)
    assert "$0.00 are spent, and one more request may cost up to $0.01" in result.err


@pytest.mark.parametrize("most", [float("nan"), float("inf"), -1.0])
def test_a_limit_that_is_none_is_refused(most):
    with pytest.raises(UsageError, match="--max-cost"):
        Spending(max_cost=most)


def test_filtered_and_useless_replies_are_counted(m1eval, server, capitals, tmp_path):
    filtered = counted(1000)
    filtered.body["choices"][0]["finish_reason"] = "content_filter"
    useless = Says({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 500}})
    server.script = lambda asked: (filtered, useless, counted(80))[len(server.posts) % 3]
    result = ask(m1eval, server, capitals, tmp_path, "-j", 1, "-o", "retries=3", "--json")
    found = lines(tmp_path / "x" / "samples.jsonl")
    tokens = sum(line["usage"]["answer"] + line["usage"]["prompt"] for line in found)
    served = sum(
        (1020, 520, 100)[n % 3] for n in range(1, len(server.posts) + 1)
    )  # as the script has it, whose first call has counted itself
    assert tokens == served, result.err
    assert sum(line["usage"]["cost"] for line in found) == pytest.approx(served * 10 / 1e6)


def test_answers_that_later_ones_replace_stay_paid_for(m1eval, server, capitals, tmp_path):
    filtered = counted(980)
    filtered.body["choices"][0]["finish_reason"] = "content_filter"
    server.says(filtered)  # $0.01 each, and errored
    first = ask(m1eval, server, capitals, tmp_path, "-j", 1)
    assert (first.code, len(server.posts)) == (3, 12)
    server.says(counted(980))
    second = ask(m1eval, server, capitals, tmp_path, "-j", 1)
    assert (second.code, len(server.posts)) == (0, 24)
    third = ask(m1eval, server, capitals, tmp_path, "-j", 1, "--max-cost", 0.24, "--repeats", 2)
    assert (third.code, len(server.posts)) == (3, 24)
    assert "$0.24 are spent" in third.err
