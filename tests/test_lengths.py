"""Scores by prompt length, the heat map, the effective length, and prompts that are longer than the window."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from m1eval import Sample, task
from m1eval.overlength import Overlength
from m1eval.report import heatmap, lengths
from m1eval.report.lengths import Entry
from m1eval.tokens import Approximate
from tests.conftest import Characters, lines, write

SWEEP = ("run", "--tasks", "needle", "--lengths", "2k,4k,8k", "--set", "depths=[0,50,100]")


def entry(number: int, value: float, **metadata: object) -> Entry:
    return Entry(id=str(number), outcome="right" if value else "wrong", value=value, metadata=metadata)


def test_a_run_over_lengths_ends_with_its_report(m1eval, tmp_path):
    result = m1eval(*SWEEP, "--model", "echo:gold", "--out", tmp_path / "x")
    assert result.code == 0
    table = re.findall(r"^\| (\d+k) +\| +(1\.000 ± 0\.000) \| +(\S+) \| +(\d+) \|", result.out, re.MULTILINE)
    assert table == [(length, "1.000 ± 0.000", "0.610–1.000", "6") for length in ("2k", "4k", "8k")]
    assert len(re.findall(r"██ 1\.00", result.out)) == 9
    assert "needle: effective context length: 8,192 tokens (the largest with score ≥ 0.85)" in result.out
    picture = (tmp_path / "x" / "heatmap.svg").read_text()
    assert len(ElementTree.fromstring(picture).findall(".//{http://www.w3.org/2000/svg}g")) == 9


def test_wrong_answers_make_an_empty_map_and_no_effective_length(m1eval, tmp_path):
    result = m1eval(*SWEEP, "--model", "echo:wrong", "--out", tmp_path / "x")
    assert len(re.findall(r" 0\.00(?!0)", result.out)) == 9
    assert "effective context length: none (no length with score ≥ 0.85)" in result.out


def test_other_runs_have_no_such_report(m1eval, tmp_path, capitals):
    result = m1eval("run", "--tasks", capitals, "--model", "echo:gold", "--out", tmp_path / "x")
    assert "effective" not in result.out
    assert not (tmp_path / "x" / "heatmap.svg").exists()


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
    assert (shown["threshold"], shown["effective"]) == (0.856, 2048)
    assert {cell["row"] for cell in shown["grid"]["cells"]} == {"even", "odd"}
    assert shown["lengths"][0]["interval"] == pytest.approx([0.342, 1.0], abs=1e-3)
    text = m1eval("lengths", tmp_path / "x", "--edges", "1k").out
    assert "| ≤ 1k " in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere",), "nowhere is no run"),
        (("x", "--by", "topic"), "no sample has a column 'topic'"),
        (("x", "--edges", "8q"), "'8q' is no length"),
        (("x", "--threshold", "high"), "--threshold high: write a score"),
        (("x", "y", "--svg", "z.svg"), "--svg goes with one run"),
    ],
)
def test_what_cannot_be_shown_is_an_error_in_one_line(m1eval, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    m1eval("run", "--tasks", "needle_small", "--model", "echo:gold", "--out", "x")
    result = m1eval("lengths", *args)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err


def test_the_interval_is_wilsons():
    bands = lengths.bands([entry(i, float(i < 9), length=4096) for i in range(10)])
    assert lengths.interval(bands[0].tally) == pytest.approx(
        (0.5958, 0.9821), abs=1e-4
    )  # R: prop.test without correction


def test_the_effective_length_is_the_largest_good_one_and_names_gaps():
    scores = {1024: 1.0, 2048: 0.5, 4096: 1.0, 8192: 0.0}
    found = [
        entry(length + i, float(i < 10 * score), length=length) for length, score in scores.items() for i in range(10)
    ]
    bands = lengths.bands(found)
    assert lengths.effective(bands, 0.85) == 4096
    assert lengths.verdict(bands, 0.85).endswith("4,096 tokens (the largest with score ≥ 0.85; below at 2k)")


def test_many_depths_are_put_into_tenths_and_cells_without_samples_stay_open():
    found = [entry(i, 1.0, length=4096 * (1 + i % 2), depth=i) for i in range(0, 96)]
    grid = lengths.grid(found)
    assert grid is not None
    assert grid.rows == [f"{low}–{low + 10}" for low in range(0, 100, 10)]
    assert grid.columns == ["4k", "8k"]
    one = lengths.grid([entry(0, 0.4, length=10, depth=5), entry(1, 1.0, length=2000, depth=7.5)])
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
    assert "needle_small: 9,000 of 12.0k prompt tokens (75%) were not read anew" in result.out


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
    records = lines(tmp_path / "x" / "samples.jsonl")
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
    assert len(lines(tmp_path / "x" / "samples.jsonl")) == len(records)


def test_without_a_window_the_policy_says_that_it_is_not_applied(m1eval, tmp_path):
    result = m1eval(*OVER, "--set", "overlength=skip", "--model", "echo:gold", "--out", tmp_path / "x")
    assert "overlength: skip is not applied, the model's window is not known" in result.out


@pytest.mark.parametrize("tokenizer", [Characters(), Approximate()])
def test_a_shortened_prompt_keeps_both_its_ends_whole_characters_and_fits(tokenizer):
    text = "Anfang " + "Größe – 漢字 🙂 " * 400 + " Ende"
    fit = Overlength("truncate_middle", tokenizer, 50)
    sample = Sample(id="s", messages=[{"role": "system", "content": "short"}, {"role": "user", "content": text}])
    made = fit.fitted(sample, 1000)
    assert made is not None
    assert tokenizer.count(made.messages) <= 950
    assert tokenizer.count(made.messages) > 900
    content = made.messages[1]["content"]
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
    (found,) = task.load([str(tmp_path / "t.yaml")])
    samples = found.samples(Approximate(), 0)
    numbers = samples.chosen(limit=None, ids=None, seed=0)
    assert numbers == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert samples.sample(0).prefix_key == samples.sample(3).prefix_key != samples.sample(1).prefix_key


def test_a_tokenizer_can_be_named(m1eval, tmp_path):
    from tests.test_needle import trained

    core = trained("words").core
    core.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}")
    args = ("run", "--tasks", "needle", "--lengths", "2k", "--model", "echo:gold", "--set", "depths=[50]")
    result = m1eval(*args, "--tokenizer", tmp_path, "--out", tmp_path / "x")
    assert (result.code, "no tokenizer of the model" in result.out) == (0, False)
    (record, *_) = lines(tmp_path / "x" / "samples.jsonl")
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
    grid = lengths.grid([entry(i, 1.0, length=4096, depth=10 * i) for i in range(3)])
    assert grid is not None
    picture = heatmap.svg(grid, "needle")
    Path(tmp_path / "x.svg").write_text(picture)
    assert not re.search(r"<script|href|url\(", picture)
