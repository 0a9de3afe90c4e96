"""Twenty awkward runs, each told by the table, the live display, --json, run.json, Parquet, frames, compare, lengths.

All that is said of a run is parsed back and compared with a slow recount of its journal: no two may disagree.
"""

import json
import math
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import m1eval as package
from m1eval.store.stored import StoredRun
from m1eval.store.tally import OUTCOMES
from tests.conftest import lines, run_of, write

RUNNER = '''
"""Answers by a script: for each sample a letter a repeat."""
import json
import os
import signal
from pathlib import Path
from m1eval import Output, Usage

class Runner:
    unpinned_options = frozenset({"script"})
    concurrency = 1

    def __init__(self, model, *, script, priced="", signal_at=""):
        self.script = json.loads(Path(script).read_text())
        self.priced, self.signal_at = priced, signal_at

    async def generate(self, request):
        sample = request.sample
        letters = self.script.get(sample.id, "r")
        letter = letters[request.repeat % len(letters)]
        if f"{sample.id}/{request.repeat}" == self.signal_at:
            os.kill(os.getpid(), signal.SIGINT)
        if letter == "e":
            raise ConnectionError("the script says so")
        usage = Usage(prompt=20, cached=5 if request.repeat else 0, reasoning=3, answer=1 + int(sample.id[1:]) % 4)
        if self.priced and (self.priced == "all" or sample.id in self.priced):
            usage.cost = 0.0125
        if letter == "t":
            return Output(unfinished_thinking=True, finish_reason="length", usage=usage)
        if letter == "c":
            return Output(finish_reason="refused_context", usage=Usage(prompt=20), error="too long")
        return Output(text={"r": "1", "w": "0", "p": "0.4", "q": "0.75", "u": ""}[letter], usage=usage)

    async def aclose(self):
        pass
'''
SCORER = """
from m1eval import Score

class Scorer:
    async def score(self, output, sample, context):
        return Score(value=float(output.text or 0), answer=output.text or None)

    def gold(self, sample):
        return "1"
"""
EPISODE = """
from m1eval import Request

async def run(sample, runner, context):
    await runner.generate(Request(messages=sample.messages))
    return await runner.generate(Request(messages=sample.messages))
"""


class Case(NamedTuple):
    """The script of each command in turn, their options, and the keys and columns that the task has besides."""

    scripts: tuple[dict[str, str], ...]
    options: tuple[list[object], ...] = ([],)
    keys: str = ""
    columns: tuple[dict[str, Any], ...] = ()
    samples: int = 8
    code: int = 0


def script(*letters: str) -> dict[str, str]:
    return {f"s{i}": each for i, each in enumerate(letters)}


UNEQUAL = script("rrww", "rwe", "ree", "eew", "rr", "ww", "wr", "r")
CASES = {
    "all right": Case(({},)),
    "all wrong": Case((script(*"wwwwwwww"),)),
    "several answers": Case((script("rw", "wr", "ww", "rr", "rw", "rr", "rr", "wr"),), (["-k", 2],)),
    "unequal repeats": Case((UNEQUAL,), (["-k", 3],), code=3),
    "errors on some": Case((script(*"rewrerwr"),), code=3),
    "all errored": Case((script(*"eeeeeeee"),), code=3),
    "one of two answers errored": Case((script("rw", "we"),), (["-k", 2],), samples=2, code=3),
    "stopped by a limit": Case((script("rw", "wr"),), (["-k", 4, "--max-tokens-total", 400],), code=3),
    "interrupted": Case((script("rw", "wr"),), (["-k", 3, "-o", "signal_at=s3/1"],), code=130),
    "adaptive": Case(
        (script("rw", "wr", "r", "w", "rrw", "r", "w", "r"),),
        (["-k", 2], ["-k", 2, "--until-se", 0.07]),
    ),
    "another seed": Case((script(*"rwrwrrrw"),), (["--seed", 7],)),
    "limited": Case((script(*"rwrwrrrw"),), (["--limit", 3],)),
    "by id": Case((script(*"rwrwrrrw"),), (["--ids", "s1,s3"],)),
    "truncated": Case((script(*"rtrwttrw"),)),
    "refused": Case((script(*"rcrwccrw"),)),
    "unparsed": Case((script(*"ruuwrrrw"),)),
    "partial credits": Case((script("pq", "qp", "rw", "pp", "qq", "ww", "rr", "pw"),), (["-k", 2],)),
    "one sample": Case(({},), samples=1),
    "one sample, several answers": Case((script("rwr"),), (["-k", 3],), samples=1),
    "two samples": Case((script(*"rw"),), samples=2),
    "episodes of several requests": Case((script("rw", "wr"),), (["-k", 2],), keys="episode: _ask.run"),
    "known price": Case((script(*"rwrwerrw"),), (["-o", "priced=all"],), code=3),
    "price known of some": Case((script(*"rwrwrrrw"),), (["-o", "priced=s1s2"],)),
    "shared prefixes": Case(
        (script(*"rrwwrrww"),), keys='prefix: "{{ doc }}"', columns=tuple({"doc": f"d{i // 2}"} for i in range(8))
    ),
    "continued with more repeats": Case(
        (script("rwr", "wwr", "rrw"),),
        (["-k", 1], ["-k", 3]),
    ),
    "errors made good": Case(
        (
            script("ee", "rw", "ew"),
            script("rw", "rw", "rw"),
        ),
        (
            ["-k", 2],
            ["-k", 2],
        ),
    ),
    "lengths": Case((script(*"rwrwrrew"),), columns=tuple({"length": 1024 << i // 4} for i in range(8)), code=3),
}


class Told(NamedTuple):
    """Output of the last command of a case, and the folder of its run."""

    out: str
    err: str
    row: dict[str, Any]
    folder: Path
    json_folder: Path


@pytest.fixture(params=CASES)
def told(request, m1eval, tmp_path, monkeypatch) -> Told:
    """Each case run twice: once for its table and display, once for its JSON."""
    case = CASES[request.param]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "scripted.py", RUNNER)
    write(tmp_path / "share.py", SCORER)
    write(tmp_path / "_ask.py", EPISODE)
    rows = [{"name": f"s{i}", **(case.columns[i] if case.columns else {})} for i in range(case.samples)]
    write(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    keys = "dataset: {file: t.jsonl}\nid: '{{ name }}'\nprompt: '{{ name }}?'\ntarget: '1'\nscorer: share.py\n"
    write(tmp_path / "t.yaml", f"title: T\n{keys}generation: {{max_tokens: 8}}\n{case.keys}\n")
    outputs = []
    for folder, form in (("a", ["--display", "plain"]), ("b", ["--json"])):
        for number, given in enumerate(case.options):
            (tmp_path / "script.json").write_text(json.dumps(case.scripts[min(number, len(case.scripts) - 1)]))
            command = ("run", "--tasks", "./t.yaml", "--model", "./scripted.py:m", "-o", "script=script.json")
            result = m1eval(*command, "--out", folder, *given, *form)
        assert result.code == case.code, result.err
        outputs.append(result)
    (row,) = outputs[1].json()["runs"]
    return Told(outputs[0].out, outputs[0].err, row, run_of(tmp_path / "a"), run_of(tmp_path / "b"))


class Recount(NamedTuple):
    """A journal counted slowly."""

    outcomes: Counter[str]
    values: dict[str, list[float]]
    errors: Counter[str]
    tokens: dict[str, int]
    answer_tokens: list[int]
    costs: list[float | None]

    @property
    def score(self) -> float | None:
        means = [math.fsum(each) / len(each) for each in self.values.values()]
        return math.fsum(means) / len(means) if means else None

    def with_errors_as(self, value: float) -> float:
        each = [[*self.values.get(name, []), *[value] * self.errors[name]] for name in {*self.values, *self.errors}]
        return math.fsum(math.fsum(values) / len(values) for values in each) / len(each)


def recount(folder: Path) -> Recount:
    records: dict[tuple[str, int], dict[str, Any]] = {}
    for record in lines(folder / "samples.jsonl"):
        if records.get((record["id"], record["repeat"]), {"outcome": "errored"})["outcome"] == "errored":
            records[record["id"], record["repeat"]] = record
    totals = Recount(Counter(), defaultdict(list), Counter(), Counter(), [], [])
    for record in records.values():
        totals.outcomes[record["outcome"]] += 1
        usage = record.get("usage", {})
        totals.tokens.update({name: usage.get(name, 0) for name in ("prompt", "cached", "reasoning", "answer")})
        if usage:
            totals.costs.append(usage.get("cost"))
        if record["outcome"] == "errored":
            totals.errors[record["id"]] += 1
            assert record.get("value") is None
            continue
        totals.values[record["id"]].append(record["value"])
        totals.answer_tokens.append(usage.get("reasoning", 0) + usage.get("answer", 0))
    return totals


def counts(found: Counter[str]) -> dict[str, int]:
    """A number for each outcome."""
    return {outcome: found[outcome] for outcome in OUTCOMES}


def near(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, abs=1e-9)


def test_every_output_about_a_run_says_the_same(told, m1eval):
    slow, row = recount(told.folder), told.row
    assert row["outcomes"] == counts(slow.outcomes)
    assert row["score"] == near(slow.score)
    assert (row["samples"], row["answers"]) == (len(slow.values), sum(map(len, slow.values.values())))
    sizes = [len(each) for each in slow.values.values()]
    assert (row["repeats"], row["repeats_most"]) == (min(sizes, default=0), max(sizes, default=0))
    assert row["answers_wanted"] == row["answers"] + row["owed"]
    assert row["score_bounds"] == [near(slow.with_errors_as(0)), near(slow.with_errors_as(1))]
    assert row["score_with_errors"] == row["score_bounds"][0]
    assert row["tokens"] == {name: slow.tokens[name] for name in row["tokens"]}
    mean = sum(slow.answer_tokens) / len(slow.answer_tokens) if slow.answer_tokens else None
    assert row["tokens_per_answer"] == near(mean)
    costs = [cost for cost in slow.costs if cost is not None]
    assert row["cost"] == (near(sum(costs)) if costs else None)
    assert row["cost_complete"] == (bool(costs) and len(costs) == len(slow.costs))
    if row["interval"]:
        assert row["interval"][0] <= row["score"] <= row["interval"][1]
    files(told, row)
    frames(told, row)
    table(told, row)
    live(told, row)
    compared(told, row, m1eval)


def files(told: Told, row: dict[str, Any]) -> None:
    """run.json, and the folder as another process reads it."""
    summary = json.loads((told.json_folder / "run.json").read_text())["summary"]
    loose = {"published", "notes"}
    assert {k: v for k, v in summary.items() if k not in loose} == {k: v for k, v in row.items() if k not in loose}
    seconds = {"seconds", "request_seconds", "path"}
    for folder in (told.json_folder, str(told.folder)):
        again = json.loads(json.dumps(StoredRun.open(folder).summary))
        assert {k: v for k, v in again.items() if k not in loose | seconds} == {
            k: v for k, v in row.items() if k not in loose | seconds
        }


def frames(told: Told, row: dict[str, Any]) -> None:
    """Parquet, m1eval.read and m1eval.read_results."""
    import pandas

    for frame in (pandas.read_parquet(told.folder / "samples.parquet"), package.read(str(told.folder))):
        scored = frame[frame["value"].notna()]
        assert len(frame) == sum(row["outcomes"].values())
        assert {**dict.fromkeys(OUTCOMES, 0), **frame["outcome"].value_counts()} == row["outcomes"]
        assert (len(scored), scored["id"].nunique()) == (row["answers"], row["samples"])
        means = scored.groupby("id")["value"].mean()
        assert (means.mean() if len(means) else None) == near(row["score"])
        assert {name: frame[f"{name}_tokens"].sum() for name in row["tokens"]} == row["tokens"]
        tokens = (scored["reasoning_tokens"] + scored["answer_tokens"]).mean() if len(scored) else None
        assert tokens == near(row["tokens_per_answer"])
        assert (frame["cost"].sum() if frame["cost"].notna().any() else None) == near(row["cost"])
    results = package.read_results(str(told.folder))
    score = results.groupby(["task", "model", "group"])["score"].mean().groupby(["task", "model"]).mean().iloc[0]
    assert (None if math.isnan(score) else score) == near(row["score"])
    assert results["answers"].sum() == row["answers"]
    assert results["errored"].sum() == row["outcomes"]["errored"]


def table(told: Told, row: dict[str, Any]) -> None:
    """The results as Markdown, and the lines below."""
    head, _, cells = [[c.strip() for c in line.strip("|").split("|")] for line in told.out.splitlines()[:3]]
    shown = dict(zip(head, cells, strict=True))
    assert shown["score"] == ("–" if row["score"] is None else f"{row['score']:.3f}")
    bounds = row["interval"]
    assert shown["95% interval"] == (f"{bounds[0]:.3f}–{bounds[1]:.3f}" if bounds else "–")
    size, _, whole = shown["n"].partition(" of ")
    assert (int(size), int(whole or size)) == (row["samples"], row["samples_in_set"])
    fewest, _, requested = shown["k"].partition(" of ")
    fewest, _, maximum = fewest.partition("–")
    assert (int(fewest), int(maximum or fewest)) == (row["repeats"], row["repeats_most"])
    assert int(requested or maximum or fewest) == max(row["repeats_asked"], row["repeats_most"])
    each = row["tokens_per_answer"]
    assert shown["tokens/sample"] == ("–" if each is None else f"{each:.0f}")
    assert int(shown.get("errored", 0)) == row["outcomes"]["errored"]
    cut = row["outcomes"]["truncated"] / row["answers"] if row["answers"] else None
    assert shown["truncated"] == ("–" if cut is None else f"{100 * cut:.1f}%")
    cost = shown.get("cost", "–")
    assert cost.startswith("≥ ") == (row["cost"] is not None and not row["cost_complete"])
    assert (None if cost == "–" else float(cost.strip("≥ $"))) == (row["cost"] and pytest.approx(row["cost"], rel=0.01))
    unfinished = f"t: unfinished: {row['answers']} of {row['answers_wanted']} answers"
    assert (unfinished in told.out) == (not row["finished"])
    assert ("t: partial: " in told.out) == row["partial"]
    if number := row["outcomes"]["errored"]:
        low, high = row["score_bounds"]
        errored = "1 answer errored and is" if number == 1 else f"{number} answers errored and are"
        bounds = f"the score is {low:.3f} if counted as wrong, {high:.3f} if counted as right"
        assert f"t: {errored} left out ({bounds}" in told.out
    assert "± 0.000" not in told.out


def live(told: Told, row: dict[str, Any]) -> None:
    """The last line of the plain display."""
    last = [line for line in told.err.splitlines() if re.match(r"t \d+/\d+ · ", line)][-1]
    done, total = map(int, re.match(r"t (\d+)/(\d+)", last).groups())  # type: ignore[union-attr]
    assert (done, total) == (sum(row["outcomes"].values()), row["answers_wanted"])
    score = "–" if row["score"] is None else f"{row['score']:.3f}"
    bounds = row["interval"]
    assert f"· score {score}" + (f" (95% {bounds[0]:.3f}–{bounds[1]:.3f})" if bounds else "") + "   " in last
    for outcome, number in row["outcomes"].items():
        assert (f"{outcome} {number} ·" in last) == (number > 0 or outcome in ("right", "wrong"))
    if row["tokens_per_answer"] is not None:
        assert f"· {row['tokens_per_answer']:.0f} tok/sample" in last


def compared(told: Told, row: dict[str, Any], m1eval: Any) -> None:
    """`m1eval compare` of the two folders, and `m1eval lengths`."""
    if row["score"] is not None:
        (pair,) = m1eval("compare", told.folder, told.json_folder, "--json").json()["comparisons"]
        assert pair["scores"] == [near(row["score"])] * 2
        assert (pair["samples"], pair["errored"]) == (row["samples"], [row["outcomes"]["errored"]] * 2)
        assert pair["tokens"] == [near(row["tokens_per_answer"])] * 2
        cut = row["outcomes"]["truncated"] / row["answers"]
        assert pair["truncated"] == [near(cut)] * 2
    if "length" in (Path.cwd() / "t.jsonl").read_text():
        bands = m1eval("lengths", told.folder, "--json").json()["lengths"]
        assert sum(band["samples"] for band in bands) == row["samples"]
        totals: Counter[str] = Counter()
        for band in bands:
            totals.update(band["outcomes"])
        assert counts(totals) == row["outcomes"]


def test_lines_that_a_later_one_supersedes_change_nothing(m1eval, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ("run", "--tasks", "reasoning_gym_small", "--limit", 6, "--out", "a", "--model", "echo:gold,wrong,error")
    m1eval(*command)
    journal = run_of(tmp_path / "a") / "samples.jsonl"
    before = (StoredRun.open(journal.parent).description, recount(journal.parent))
    written = journal.read_text().splitlines(keepends=True)
    later = [line.replace('"right"', '"wrong"').replace('"value":1.0', '"value":0.0') for line in written]
    errored = [json.dumps({**json.loads(line), "outcome": "errored", "value": None}) + "\n" for line in written]
    journal.write_text("".join([*errored, *written, *later, *errored, written[0].rstrip()]))
    after = (StoredRun.open(journal.parent).description, recount(journal.parent))
    assert after[0].outcomes == before[0].outcomes == counts(after[1].outcomes)
    names = (
        "samples",
        "answers",
        "repeats",
        "score",
        "stderr",
        "interval",
        "score_bounds",
        "tokens_per_answer",
        "tokens",
    )
    assert [getattr(after[0], name) for name in names] == [getattr(before[0], name) for name in names]
    assert len(package.read(str(journal.parent))) == 6
