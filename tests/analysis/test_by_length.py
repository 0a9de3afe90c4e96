"""Scores by prompt length, and what a run over lengths prints."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from m1eval import stats, terminal
from m1eval.analysis import by_length
from m1eval.analysis.by_length import Entry
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.store.tally import Tally
from m1eval.task.load import load_tasks
from m1eval.types import Usage
from tests.analysis.entries import entry
from tests.conftest import lines, run_of, write

SWEEP = ("run", "--tasks", "needle", "--lengths", "2k,4k,8k", "--set", "depths=[0,50,100]")


def test_a_run_over_lengths_ends_with_its_report(m1eval, tmp_path):
    result = m1eval(*SWEEP, "--model", "echo:gold", "--out", tmp_path / "x")
    assert result.code == 0
    table = re.findall(r"^\| (\d+k) +\| +(1\.000) \| +(\S+) \| +(\d+) \|", result.out, re.MULTILINE)
    assert table == [(length, "1.000", "0.224–1.000", "6") for length in ("2k", "4k", "8k")]
    assert len(re.findall(r"██ 1\.00", result.out)) == 9
    assert (
        "needle: effective context length: not known (score ≥ 0.85); undecided at 2k, 4k, 8k "
        "(n = 6 on 2 texts is too few to tell)"
    ) in result.out
    picture = (run_of(tmp_path / "x") / "heatmap.svg").read_text()
    assert len(ElementTree.fromstring(picture).findall(".//{http://www.w3.org/2000/svg}g")) == 9


def test_wrong_answers_make_an_empty_map_and_no_effective_length(m1eval, tmp_path):
    result = m1eval(*SWEEP, "--model", "echo:wrong", "--out", tmp_path / "x")
    assert len(re.findall(r" 0\.00(?!0)", result.out)) == 9
    assert "effective context length: none (score ≥ 0.85), not even 2k; not 4k, 8k" in result.out


def test_other_runs_have_no_such_report(m1eval, tmp_path, capitals):
    result = m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    assert "effective context length" not in result.out
    assert not (run_of(tmp_path / "x") / "heatmap.svg").exists()


def test_any_run_can_be_split_by_the_tokens_of_its_prompts(m1eval, tmp_path):
    rows = [{"q": "word " * n, "a": "x", "topic": "even" if i % 2 else "odd"} for i, n in enumerate((5, 50, 500, 900))]
    write(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    keys = "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ q }}'\ntarget: '{{ a }}'\nscorer: exact\n"
    write(tmp_path / "t.yaml", keys)
    m1eval("run", "--tasks", tmp_path / "t.yaml", "--model", "echo:gold", "--out", tmp_path / "x")
    shown = m1eval("lengths", tmp_path / "x", "--json").json()
    assert [(band["longest"], band["samples"]) for band in shown["lengths"]] == [
        (16, 1),
        (128, 1),
        (1024, 1),
        (2048, 1),
    ]
    shown = m1eval(
        "lengths", tmp_path / "x", "--edges", "100,1k", "--by", "topic", "--json", "--threshold", "ruler"
    ).json()
    assert [(band["longest"], band["samples"]) for band in shown["lengths"]] == [(100, 2), (1024, 1), (2048, 1)]
    assert (shown["threshold"], shown["effective"]) == (0.856, None)
    assert {cell["row"] for cell in shown["grid"]["cells"]} == {"even", "odd"}
    assert shown["lengths"][1]["interval"] == pytest.approx([0.05, 1]), "one sample says next to nothing"
    assert shown["lengths"][0]["interval"][0] < 0.5
    assert {band["standing"] for band in shown["lengths"]} == {"undecided"}
    text = m1eval("lengths", tmp_path / "x", "--edges", "1k").out
    assert "| ≤ 1k " in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere",), "nowhere is not a run"),
        (("x", "--by", "topic"), "no sample has a column 'topic'"),
        (("x", "--edges", "8q"), "--edges: '8q' is not a number of tokens"),
        (("x", "--threshold", "high"), "'--threshold': 'high' is not a score between 0 and 1"),
        (("x", "x", "--svg", "z.svg"), "--svg goes with one run"),
    ],
)
def test_what_cannot_be_shown_is_an_error_in_one_line(m1eval, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    m1eval("run", "--tasks", "needle_small", "--model", "echo:gold", "--out", "x")
    result = m1eval("lengths", *args)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err


def test_the_tables_by_length_and_of_results_have_one_interval(m1eval, tmp_path):
    command = ("run", "--tasks", "needle", "--lengths", "2k", "--set", "depths=[0,50,100]", "--out", tmp_path / "x")
    m1eval(*command, "--model", "echo:gold,wrong,gold,gold")
    records = lines(tmp_path / "x" / "samples.jsonl")
    (band,) = m1eval("lengths", tmp_path / "x", "--json").json()["lengths"]
    tally = Tally()
    for record in records:
        tally.add(record["id"], record["outcome"], record["value"], Usage(), cluster=record.get("cluster", ""))
    assert band["interval"] == list(tally.interval or ())
    assert band["score"] == tally.score


def test_subtasks_weigh_the_same_by_length():
    entries = [entry(i, float(i % 4 != 0), length=4096, subtask="a") for i in range(40)]
    entries += [entry(100 + i, 1.0, length=4096, subtask="b") for i in range(10)]
    (band,) = by_length.bands(entries)
    assert band.score == pytest.approx((0.75 + 1) / 2)
    parts = [stats.problems_like_these([stats.Unit(v) for v in values]) for values in ([0, 1, 1, 1] * 10, [1] * 10)]
    assert band.stderr == stats.average(parts).stderr
    low, high = band.bounds() or (0, 0)
    assert low < 0.875 - 1.96 * (band.stderr or 0)  # the ten right ones are not certain either
    assert 0.875 < high < 1


def test_what_was_cached_is_shown(m1eval, tmp_path):
    write(
        tmp_path / "cached.py",
        """
        from m1eval import Output, Usage

        class Runner:
            tokenizer = None

            def __init__(self, model=""):
                pass

            async def generate(self, request):
                return Output(text=request.sample.gold, usage=Usage(prompt=1000, cached=750, answer=1))

            async def aclose(self):
                pass
        """,
    )
    result = m1eval("run", "--tasks", "needle_small", "--model", tmp_path / "cached.py", "--out", tmp_path / "x")
    assert "needle_small: 9,000 of 12.0k prompt tokens (75%) came from the prefix cache" in result.out


def test_samples_of_a_table_with_one_prefix_run_next_to_one_another(tmp_path):
    rows = [{"text": f"T{i % 3}", "q": i} for i in range(9)]
    write(tmp_path / "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    keys = "title: T\ndataset: {file: t.jsonl}\nprompt: '{{ text }} {{ q }}'\ntarget: x\nscorer: exact\n"
    write(tmp_path / "t.yaml", keys + "prefix: '{{ text }}'\n")
    (found,) = load_tasks([str(tmp_path / "t.yaml")])
    samples = found.samples(CharacterTokenizer(), 0)
    numbers = samples.select(limit=None, ids=None, seed=0)
    assert numbers == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert samples.sample(0).prefix_key == samples.sample(3).prefix_key != samples.sample(1).prefix_key


def test_a_tokenizer_can_be_named(m1eval, tmp_path):
    from tests.tasks.test_needle import trained

    core = trained("words").core
    core.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}")
    args = ("run", "--tasks", "needle", "--lengths", "2k", "--model", "echo:gold", "--set", "depths=[50]")
    result = m1eval(*args, "--tokenizer", tmp_path, "--out", tmp_path / "x")
    assert (result.code, "four characters as a token" in result.out) == (0, False)
    (record, *_) = lines(run_of(tmp_path / "x") / "samples.jsonl")
    assert record["metadata"]["tokens"] == 2048
    assert record["usage"]["prompt"] != 2048  # echo counts four characters
    assert m1eval(*args, "--out", tmp_path / "x").code == 2  # another tokenizer makes another run
    assert "no such file, folder or encoding" in m1eval(*args, "--tokenizer", "o2k").err or "tiktoken" in (
        m1eval(*args, "--tokenizer", "o2k").err
    )
    assert "which server?" in m1eval(*args, "--tokenizer", "server").err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "tokenizer.json").write_text("{}")
    result = m1eval(*args, "--tokenizer", tmp_path / "bad", "--out", tmp_path / "y")
    assert (result.code, result.err.count("\n")) == (2, 1)


def of_a_benchmark(folder: Path, name: str, subtasks: list[str], rule: str) -> Path:
    """A task over two lengths; a runner that gives the gold answer is right in every row but those of `wrong`."""
    rows = [
        {"subtask": part, "length": length, "a": "x", "i": i}
        for part in subtasks
        for length in (4096, 8192)
        for i in range(4)
    ]
    write(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    keys = f"title: T\ndataset: {{file: {name}.jsonl}}\nprompt: '{{{{ subtask }}}}'\ntarget: '{{{{ a }}}}'\n"
    return write(folder / f"{name}.yaml", f"{keys}scorer: exact\neffective_length: {rule}\n")


def test_the_mean_of_a_benchmarks_tasks_by_length_is_printed_by_its_own_rule(m1eval, tmp_path):
    rule = "{name: GAUGE, threshold: 0.7, subtasks: 3, without: the third is hard}"
    of_a_benchmark(tmp_path, "a", ["one", "two"], rule)
    of_a_benchmark(tmp_path, "b", ["three"], rule)
    write(tmp_path / "both.yaml", "title: B\ntasks: [a.yaml, b.yaml]\n")
    command = ("run", "--model", "echo:gold,wrong,gold", "--out")
    out = m1eval(*command, tmp_path / "x", "--tasks", tmp_path / "both.yaml").out
    parts: dict[int, dict[str, list[float]]] = {}
    for name in "ab":
        for record in lines(tmp_path / "x" / name / "samples.jsonl"):
            about = record["metadata"]
            parts.setdefault(about["length"], {}).setdefault(about["subtask"], []).append(record["value"])
    assert "GAUGE, mean over 3 subtasks:" in out
    table = out[out.index("GAUGE, mean over 3 subtasks:") :]
    for length, label in ((4096, "4k"), (8192, "8k")):
        means = [sum(values) / len(values) for values in parts[length].values()]
        assert re.search(rf"^\| {label} +\| +{sum(means) / 3:.3f} .*\| 12 \|", table, re.MULTILINE), table
    assert "(score ≥ 0.7, the threshold of GAUGE)" in table
    assert "not GAUGE's rule" not in out
    assert "effective" not in out[: out.index("GAUGE, mean")], "not of the parts"
    stored = m1eval("lengths", tmp_path / "x" / "a", tmp_path / "x" / "b").out
    assert table[: table.index("effective context length")] in stored
    shown = [
        json.loads(line)
        for line in m1eval("lengths", tmp_path / "x" / "b", tmp_path / "x" / "a", "--json").out.splitlines()
    ]
    assert [(each["task"], each["threshold"], bool(each["caution"])) for each in shown] == [
        *(("b", 0.7, True), ("a", 0.7, True), ("GAUGE", 0.7, False)),
    ]
    assert shown[2]["tasks"] == ["b", "a"]
    alone = m1eval(*command, tmp_path / "y", "--tasks", tmp_path / "a.yaml").out
    assert "a: a mean of 2 of 3 subtasks, which is not GAUGE's rule; the third is hard" in alone


def test_a_killed_run_counts_each_answer_once(m1eval, tmp_path):
    m1eval("run", "--tasks", "needle_small", "--model", "echo:gold", "--out", tmp_path / "x")
    before = m1eval("lengths", tmp_path / "x", "--json").json()
    journal = run_of(tmp_path / "x") / "samples.jsonl"
    first, *_ = lines(journal)
    wrong = json.dumps(first | {"outcome": "wrong", "value": 0.0}) + "\n"
    lost = json.dumps({"id": first["id"], "repeat": 0, "outcome": "errored", "error": "lost"}) + "\n"
    journal.write_text(lost + journal.read_text() + wrong)
    assert m1eval("lengths", tmp_path / "x", "--json").json() == before


def test_a_sample_that_could_not_be_built_hides_no_lengths():
    entries = [entry(i, 1.0, length=3000) for i in range(3)]
    lost = Entry(id="lost", outcome="errored")
    assert [band.label for band in by_length.bands([*entries, lost])] == ["3,000"]
    later = Entry(id="late", outcome="errored", metadata={"length": 3000})
    (band,) = by_length.bands([*entries, later])
    assert (band.samples, band.tally.outcomes["errored"]) == (3, 1)


def test_a_first_sample_that_cannot_be_built_hides_no_report(m1eval, tmp_path):
    write(
        tmp_path / "_made.py",
        """
        from functools import partial

        from m1eval import LazySample

        def samples(*, tokenizer, seed):
            for i in range(6):
                yield LazySample(id=f"made-{i}", build=partial(row, i))

        def row(i):
            if i == 0:
                raise OSError("no such text")
            return {"q": "x", "a": "y", "length": 3000}
        """,
    )
    keys = "title: T\ndataset: {generate: _made.samples}\nprompt: '{{ q }}'\ntarget: '{{ a }}'\nscorer: exact\n"
    write(tmp_path / "made.yaml", keys)
    result = m1eval("run", "--tasks", tmp_path / "made.yaml", "--model", "echo:gold", "--out", tmp_path / "x", "-j", 1)
    assert result.code == 3, result.err
    assert lines(tmp_path / "x" / "samples.jsonl")[0]["outcome"] == "errored"
    assert re.search(r"^\| 3,000 +\| +1\.000 .*\| +5 \|", result.out, re.MULTILINE), result.out


def test_several_answers_a_sample_have_a_column_of_their_own(m1eval, tmp_path):
    command = (
        "run",
        "--tasks",
        "needle",
        "--lengths",
        "2k",
        "--set",
        "depths=[0,50]",
        "--model",
        "echo:gold,truncated",
    )
    out = m1eval(*command, "-k", 3, "--out", tmp_path / "x").out
    head, _, row = out[out.index("| prompt tokens") :].splitlines()[:3]
    cells = dict(zip(*([cell.strip() for cell in line.split("|")] for line in (head, row)), strict=True))
    records = lines(tmp_path / "x" / "samples.jsonl")
    assert (cells["n"], cells["answers"]) == (str(len(records) // 3), str(len(records)))
    assert cells["truncated"] == str(sum(record["outcome"] == "truncated" for record in records))


def test_on_a_terminal_the_table_by_length_fits_its_width(m1eval, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "is_terminal", lambda *, err=False: True)
    monkeypatch.setenv("COLUMNS", "60")
    m1eval("run", "-t", "needle_small", "-m", "echo:gold", "--out", tmp_path, "--display", "none")
    out = m1eval("lengths", tmp_path).out
    head = next(line for line in out.splitlines() if line.startswith("prompt tokens"))
    assert len(head) <= 60
    assert "refused" in head
    assert "| 512" not in out
