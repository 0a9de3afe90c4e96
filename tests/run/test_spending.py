"""Limits of what a command may spend are kept, whatever answers, judges and faults cost."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.limits import drawn, trial
from tests.conftest import lines, run_of
from tests.http.conftest import Loopback, Reply

PRICES = "'*': {input: 10, output: 10}\n"


def counted(output: int, **more: Any) -> Reply:
    usage = {"prompt_tokens": 20, "completion_tokens": output} | more
    return Reply({"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}], "usage": usage})


@pytest.fixture
def server():
    loopback = Loopback()
    yield loopback
    loopback.stop()


def ask(m1eval, server: Loopback, capitals: Path, folder: Path, *more: Any):
    folder.mkdir(exist_ok=True)
    (folder / "prices.yaml").write_text(PRICES)
    where = ("--model", "http:m", "--base-url", server.url, "--out", folder / "x", "--display", "none")
    more = ("-o", "backoff=0.01", "--prices", folder / "prices.yaml", *more)
    return m1eval("run", "--tasks", capitals, *where, *more)


@pytest.mark.parametrize("seed", [6, 16, 18, 27, 28, 37, 38, 40, 44, 52, 53, 58])
def test_a_limit_is_never_exceeded(tmp_path, monkeypatch, seed):
    monkeypatch.setenv("M1EVAL_FILES", "")
    outcome = trial(drawn(seed), tmp_path)
    assert not outcome.exceeded, outcome
    assert (outcome.code, outcome.stopped) in {(3, True), (3, False), (0, False)}, outcome
    if outcome.setting.is_fine and outcome.stopped and not (outcome.setting.faults or outcome.setting.ignores):
        assert outcome.served >= 0.8 * outcome.setting.limit


def test_sixty_at_once_stay_below_the_limit(m1eval, server, capitals, tmp_path):
    server.reply(counted(16_400))  # $0.16420 each
    result = ask(m1eval, server, capitals, tmp_path, "-j", 60, "--max-cost", 0.5, "--repeats", 5)
    assert (result.code, len(server.posts)) == (3, 3)
    assert "stopped by --max-cost 0.5: $0.49 spent" in result.err


def test_many_go_at_once_where_there_is_room_for_all_they_may_cost(m1eval, server, capitals, tmp_path):
    server.reply(counted(100)._replace(delay=0.1))
    limits = ("--max-cost", 10, "--max-tokens", 100, "-j", 12)
    result = ask(m1eval, server, capitals, tmp_path, *limits)
    assert (result.code, len(server.posts), server.max_in_flight) == (0, 12, 12)


@pytest.mark.parametrize("option", [("--max-cost", 0), ("--max-tokens-total", 0)])
def test_nothing_to_spend_asks_nothing(m1eval, server, capitals, tmp_path, option):
    result = ask(m1eval, server, capitals, tmp_path, *option)
    assert (result.code, len(server.posts), f"stopped by {option[0]} 0: " in result.err) == (3, 0, True), result.err


def test_what_one_request_may_cost_is_said_where_there_is_no_room_for_it(m1eval, server, capitals, tmp_path):
    result = ask(m1eval, server, capitals, tmp_path, "--max-cost", 0.005, "--max-tokens", 1000)
    assert (result.code, len(server.posts)) == (3, 0)
    assert "$0.00 spent, and one more request may cost up to $0.01" in result.err


def test_filtered_and_useless_replies_are_counted(m1eval, server, capitals, tmp_path):
    filtered = counted(1000)
    filtered.body["choices"][0]["finish_reason"] = "content_filter"
    useless = Reply({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 500}})
    server.script = lambda asked: (filtered, useless, counted(80))[len(server.posts) % 3]
    result = ask(m1eval, server, capitals, tmp_path, "-j", 1, "-o", "retries=3", "--json")
    records = lines(tmp_path / "x" / "samples.jsonl")
    tokens = sum(line["usage"]["answer"] + line["usage"]["prompt"] for line in records)
    served = sum(
        (1020, 520, 100)[n % 3] for n in range(1, len(server.posts) + 1)
    )  # as the script has it, whose first call has counted itself
    assert tokens == served, result.err
    assert sum(line["usage"]["cost"] for line in records) == pytest.approx(served * 10 / 1e6)


def test_answers_that_later_ones_replace_stay_paid_for(m1eval, server, capitals, tmp_path):
    filtered = counted(980)
    filtered.body["choices"][0]["finish_reason"] = "content_filter"
    server.reply(filtered)  # $0.01 each, and errored
    first = ask(m1eval, server, capitals, tmp_path, "-j", 1)
    assert (first.code, len(server.posts)) == (3, 12)
    server.reply(counted(980))
    second = ask(m1eval, server, capitals, tmp_path, "-j", 1)
    assert (second.code, len(server.posts)) == (0, 24)
    third = ask(m1eval, server, capitals, tmp_path, "-j", 1, "--max-cost", 0.24, "--repeats", 2)
    assert (third.code, len(server.posts)) == (3, 24)
    assert "$0.24 spent" in third.err


def test_a_server_that_ignores_its_limit_exceeds_ours_by_one_answer_and_a_message_says_so(
    m1eval, server, capitals, tmp_path
):
    server.reply(counted(5000)._replace(delay=0.02))  # $0.0502 each
    limits = ("--max-tokens", 100, "-j", 60, "--repeats", 5, "--max-cost", 0.17)
    result = ask(m1eval, server, capitals, tmp_path, *limits)
    assert (result.code, len(server.posts) <= 4) == (3, True), result.err
    first = ask(m1eval, server, capitals, tmp_path / "one", *limits[:-1], 0.04)
    assert (first.code, len(server.posts) <= 5) == (3, True), first.err
    assert "more than that as the server wrote 5,000 tokens where max_tokens was 100" in first.err


def test_a_finished_run_that_went_beyond_its_limit_says_so(m1eval, server, capitals, tmp_path):
    server.reply(counted(5000))
    more = ("--max-tokens", 100, "--limit", 1, "--max-cost", 0.04)
    result = ask(m1eval, server, capitals, tmp_path, *more)
    assert "note: --max-cost 0.04 is exceeded: $0.05 spent, more than that as the server wrote 5,000" in result.err
    assert (result.code, len(server.posts)) == (0, 1)


def test_answers_of_a_server_that_tells_no_usage_count_by_their_length(m1eval, server, capitals, tmp_path):
    silent = {"choices": [{"message": {"content": "Paris " * 1000}, "finish_reason": "stop"}]}
    server.reply(Reply(silent))  # 6,000 bytes, which may be as many tokens, $0.06
    result = ask(m1eval, server, capitals, tmp_path, "--max-cost", 0.5, "--repeats", 5)
    assert (result.code, 5 <= len(server.posts) <= 8) == (3, True), result.err


def test_useless_replies_while_all_is_reserved_wait_for_the_others_and_stop_nothing(m1eval, server, capitals, tmp_path):
    whole, broken = counted(100)._replace(delay=0.05), counted(100)._replace(cut_at=30, delay=0.02)
    server.script = lambda _: broken if len(server.posts) % 4 == 0 and len(server.posts) < 60 else whole
    limits = ("--max-tokens", 1000, "-j", 60, "--repeats", 5, "--max-cost", 0.3, "-o", "retries=5")
    result = ask(m1eval, server, capitals, tmp_path, *limits)
    spent = sum(line["usage"]["cost"] for line in lines(run_of(tmp_path / "x") / "samples.jsonl"))
    lost = 1 + sum(n % 4 == 0 for n in range(1, min(60, 1 + len(server.posts))))
    assert result.code in (0, 3)
    assert len(server.posts) == 75 or spent + lost * 0.0103 > 0.2, result.err


def test_answers_that_our_own_limit_cuts_off_are_errored_and_paid_for(m1eval, server, capitals, tmp_path):
    def says(asked: Any) -> Reply:
        n, most = asked.body.get("n", 1), asked.body["max_tokens"]
        choice = {"message": {"content": "Par"}, "finish_reason": "length"}
        usage = {"prompt_tokens": 20, "completion_tokens": n * most}
        return Reply({"choices": [choice | {"index": i} for i in range(n)], "usage": usage})

    server.script = says
    result = ask(m1eval, server, capitals, tmp_path, "--max-cost", 0.1, "--repeats", 2, "-o", "n=2")
    records = lines(run_of(tmp_path / "x") / "samples.jsonl")
    assert (result.code, {line["outcome"] for line in records}) == (3, {"errored"})
    assert "CutOff: after 4,9" in records[0]["error"]
    assert 0.09 <= sum(line["usage"]["cost"] for line in records) <= 0.1
    assert "and the last answer was cut off there" in result.err


def test_a_window_bounds_answers_and_does_not_hold_up_small_limits(m1eval, server, capitals, tmp_path):
    server.reply(counted(100))
    more = ("--max-cost", 1, "--repeats", 5, "-o", "window=131072")  # $1.31 for a whole window
    result = ask(m1eval, server, capitals, tmp_path, *more)
    assert (result.code, len(server.posts)) == (0, 60), result.err


def test_a_price_of_no_known_tokens_is_not_known(m1eval, server, capitals, tmp_path):
    silent = counted(0)
    silent.body["usage"] = None
    server.script = lambda asked: silent if len(server.posts) % 2 else counted(980)
    (run,) = ask(m1eval, server, capitals, tmp_path, "-j", 1, "--json").json()["runs"]
    assert (run["cost"], run["cost_complete"]) == (pytest.approx(0.06), False), "half of the answers"
    prices = [line["usage"].get("cost") for line in lines(tmp_path / "x" / "samples.jsonl")]
    assert sorted(prices, key=str) == [0.01] * 6 + [None] * 6
    server.reply(silent)
    (run,) = ask(m1eval, server, capitals, tmp_path, "--json", "--redo").json()["runs"]
    assert (run["cost"], run["cost_complete"]) == (None, False)
