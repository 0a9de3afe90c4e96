"""Scores by prompt length, the heat map, the effective length, and prompts that are longer than the window."""

import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from m1eval import Sample, stats, terminal
from m1eval.analysis import by_length
from m1eval.analysis.by_length import Band, Entry
from m1eval.analysis.effective_length import effective
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.report import heatmap
from m1eval.report.by_length import effective_line
from m1eval.run.overlength import Overlength
from m1eval.store.tally import Tally
from m1eval.task.load import load_tasks
from m1eval.types import EffectiveLengthRule, Usage
from tests.conftest import Characters, lines, run_of, write

SWEEP = ("run", "--tasks", "needle", "--lengths", "2k,4k,8k", "--set", "depths=[0,50,100]")


def entry(number: int, value: float, **metadata: object) -> Entry:
    return Entry(id=str(number), outcome="right" if value else "wrong", value=value, metadata=metadata)


def test_a_run_over_lengths_ends_with_its_report(m1eval, tmp_path):
    result = m1eval(*SWEEP, "--model", "echo:gold", "--out", tmp_path / "x")
    assert result.code == 0
    table = re.findall(r"^\| (\d+k) +\| +(1\.000) \| +(\S+) \| +(\d+) \|", result.out, re.MULTILINE)
    assert table == [(length, "1.000", "0.224–1.000", "6") for length in ("2k", "4k", "8k")]
    assert len(re.findall(r"██ 1\.00", result.out)) == 9
    assert (
        "needle: effective context length: not known (score ≥ 0.85); undecided at 2k, 4k, 8k "
        "(n = 6 about 2 texts is too few to tell)"
    ) in result.out
    picture = (run_of(tmp_path / "x") / "heatmap.svg").read_text()
    assert len(ElementTree.fromstring(picture).findall(".//{http://www.w3.org/2000/svg}g")) == 9


def test_wrong_answers_make_an_empty_map_and_no_effective_length(m1eval, tmp_path):
    result = m1eval(*SWEEP, "--model", "echo:wrong", "--out", tmp_path / "x")
    assert len(re.findall(r" 0\.00(?!0)", result.out)) == 9
    assert "effective context length: none (score ≥ 0.85), not even 2k; not 4k, 8k" in result.out


def test_other_runs_have_no_such_report(m1eval, tmp_path, capitals):
    result = m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    assert "effective" not in result.out
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


def sweep(rights: dict[int, int], n: int) -> list[Band]:
    """Lengths with so many right answers of n."""
    return by_length.bands(
        entry(length + i, float(i < right), length=length) for length, right in rights.items() for i in range(n)
    )


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


def test_lengths_are_reached_missed_or_undecided():
    rule = EffectiveLengthRule(0.85)
    bands = sweep({1024: 50, 2048: 49, 4096: 43, 8192: 20, 16384: 50}, 50)
    assert effective(bands, 0.85).standings == ("reached", "reached", "undecided", "missed", "reached")
    assert effective_line(bands, rule) == (
        "effective context length: at least 2k (score ≥ 0.85); not 8k; undecided at 4k;"
        " reached at 16k, but not at every shorter length"
    )
    assert effective_line(sweep({1024: 5, 2048: 10}, 10), rule) == (
        "effective context length: none (score ≥ 0.85), not even 1k; undecided at 2k (n = 10 is too few to tell)"
    )
    assert effective_line(sweep({1024: 43, 2048: 10}, 50), rule).startswith(
        "effective context length: not known (score ≥ 0.85); not 2k; undecided at 1k"
    )
    ranges = [band._replace(label=f"≤ {band.label}") for band in bands]
    assert effective_line(ranges, rule).startswith("effective context length: at least 2k (score ≥ 0.85); not ≤ 8k")


def named(n: int, truth: float, threshold: float) -> float:
    """The exact chance that a length is named as reached."""
    return sum(
        math.comb(n, right) * truth**right * (1 - truth) ** (n - right)
        for right in range(n + 1)
        if effective(sweep({1024: right}, n), threshold).longest
    )


@pytest.mark.parametrize("n", [2, 10, 16, 20, 30, 50, 100])
def test_a_length_that_is_not_reached_is_named_in_at_most_5_percent_of_runs(n):
    assert named(n, 0.80, 0.85) <= 0.05
    assert named(n, 0.5, 0.6) <= 0.05


def test_more_lengths_make_no_false_one_likelier():
    numpy = pytest.importorskip("numpy")
    drawn = numpy.random.default_rng(0)
    for truths in ([0.80] * 6, [0.97, 0.97, 0.80, 0.80, 0.80, 0.80]):
        limit = 2 ** (10 + sum(truth >= 0.85 for truth in truths))
        too_long = 0
        for rights in drawn.binomial(30, truths, size=(400, 6)):
            score_limit = effective(sweep({2 ** (10 + i): int(right) for i, right in enumerate(rights)}, 30), 0.85)
            too_long += (score_limit.longest or 0) >= limit
        assert too_long / 400 <= 0.05


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


def test_many_depths_are_put_into_tenths_and_cells_without_samples_stay_open():
    entries = [entry(i, 1.0, length=4096 * (1 + i % 2), depth=i) for i in range(0, 96)]
    grid = by_length.grid(entries)
    assert grid is not None
    assert grid.rows == [f"{low}–{low + 10}" for low in range(0, 100, 10)]
    assert grid.columns == ["4k", "8k"]
    one = by_length.grid([entry(0, 0.4, length=10, depth=5), entry(1, 1.0, length=2000, depth=7.5)])
    assert one is not None
    text, picture = heatmap.blocks(one, "t"), heatmap.svg(one, "<t> & co")
    assert (text.count("–"), picture.count('fill="none"')) == (2, 2)
    assert "▒▒ 0.40" in text
    ElementTree.fromstring(picture)


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


OVER = ("run", "--tasks", "needle", "--lengths", "4k,8k", "--set", "depths=[50]", "--max-tokens", "100")


@pytest.mark.parametrize("policy", ["skip", "truncate_middle", "fail"])
def test_prompts_beyond_the_window_follow_the_policy(m1eval, tmp_path, policy):
    args = (
        *OVER,
        "-o",
        "window=6000",
        "--set",
        f"overlength={policy}",
        "--out",
        tmp_path / "x",
        "--model",
        "echo:gold",
    )
    result = m1eval(*args)
    records = lines(run_of(tmp_path / "x") / "samples.jsonl")
    outcomes = sorted(record["outcome"] for record in records)
    expected = {
        "skip": (["right"] * 2, "2 samples are left out, their prompt is longer than the window"),
        "truncate_middle": (["right"] * 4, "2 prompts were longer than the window and lost their middle"),
        "fail": (["refused_context"] * 2 + ["right"] * 2, "2 of 4 outputs were refused"),
    }[policy]
    assert outcomes == expected[0]
    assert expected[1] in result.out
    if policy == "truncate_middle":
        cut = [record for record in records if record["metadata"].get("cut_tokens")]
        assert [record["usage"]["prompt"] <= 5900 for record in cut] == [True, True]
    again = m1eval(*args)
    assert expected[1] in again.out  # known from the run's folder, nothing is asked again
    summary = m1eval(*args, "--json").json()["runs"][0]
    assert (summary["skipped"], summary["owed"]) == (2 if policy == "skip" else 0, 0)
    assert len(lines(run_of(tmp_path / "x") / "samples.jsonl")) == len(records)


def test_without_a_window_the_policy_says_that_it_is_not_applied(m1eval, tmp_path):
    result = m1eval(*OVER, "--set", "overlength=skip", "--model", "echo:gold", "--out", tmp_path / "x")
    assert "overlength: skip is not applied, the model's window is not known" in result.out


@pytest.mark.parametrize("tokenizer", [Characters(), CharacterTokenizer()])
def test_a_shortened_prompt_keeps_both_its_ends_whole_characters_and_fits(tokenizer):
    text = "Anfang " + "Größe – 漢字 🙂 " * 400 + " Ende"
    fit = Overlength("truncate_middle", tokenizer, 50)
    sample = Sample(id="s", messages=[{"role": "system", "content": "short"}, {"role": "user", "content": text}])
    fitted = fit.apply(sample, 1000)
    assert fitted is not None
    assert tokenizer.count(fitted.messages) <= 950
    assert tokenizer.count(fitted.messages) > 900
    content = fitted.messages[1]["content"]
    assert content.startswith("Anfang Größe")
    assert content.endswith("🙂  Ende")
    assert "\ufffd" not in content
    assert sample.messages[1]["content"] == text
    assert fit.cut == {"s"}


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
    assert (result.code, "no tokenizer of the model" in result.out) == (0, False)
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


def test_the_picture_has_no_scripts_and_opens_alone(tmp_path):
    grid = by_length.grid([entry(i, 1.0, length=4096, depth=10 * i) for i in range(3)])
    assert grid is not None
    picture = heatmap.svg(grid, "needle")
    Path(tmp_path / "x.svg").write_text(picture)
    assert not re.search(r"<script|href|url\(", picture)


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


def test_cells_say_how_few_samples_they_hold():
    entries = [entry(i // 2, 1.0, length=4096, depth=50) for i in range(4)]
    entries += [entry(100 + i, 0.0, length=8192, depth=50) for i in range(5)]
    grid = by_length.grid(entries)
    assert grid is not None
    text, picture = heatmap.blocks(grid, "t"), heatmap.svg(grid, "t")
    assert "1.00*" in text
    assert "0.00*" not in text
    assert "* fewer than 5 samples" in text
    assert "depth 50, 4k: 1.000, 2 samples, 4 answers" in picture
    assert "depth 50, 8k: 0.000, 5 samples<" in picture
    assert "* fewer than 5 samples" in picture


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
