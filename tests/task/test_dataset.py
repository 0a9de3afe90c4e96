"""Rows come from many places and are read when they are due."""

import gzip
import json
import tracemalloc

import pytest

from m1eval import UsageError
from m1eval.model.runner_tokenizer import CharacterTokenizer
from m1eval.task import dataset
from m1eval.task.load import load_tasks
from tests.conftest import write

ROWS = [{"question": f"{i}\n+ “{i}”, é", "answer": str(2 * i)} for i in range(30)]


def csv_text():
    cells = [f'"{row["question"]}",{row["answer"]}' for row in ROWS]
    return "\n".join(["question,answer", *cells]) + "\n"


def parquet_bytes():
    import io

    import pyarrow
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), out, row_group_size=7)
    return out.getvalue()


FORMS = {
    "jsonl": lambda: "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "json": lambda: json.dumps(ROWS).encode(),
    "csv": lambda: csv_text().encode(),
    "parquet": parquet_bytes,
}


def hub_task(folder, hub):
    keys = "prompt: '{{ question }}'\ntarget: '{{ answer }}'\nscorer: exact\n"
    return str(write(folder / "t.yaml", f"title: T\ndataset: {{hub: {hub}, revision: abc}}\n{keys}"))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same_rows(tmp_path, form, zipped):
    data = FORMS[form]()
    path = tmp_path / f"t.{form}{'.gz' if zipped else ''}"
    path.write_bytes(gzip.compress(data) if zipped else data)
    table = dataset.read_rows([path])
    assert [dict(table[i]) for i in range(len(table))] == ROWS
    assert table[29] == ROWS[29]
    assert table[0] == ROWS[0], "rows can be read in any order"


@pytest.mark.parametrize("form", FORMS)
def test_the_data_folder_takes_the_place_of_the_hub(tmp_path, form):
    (tmp_path / f"t.{form}").write_bytes(FORMS[form]())
    (task,) = load_tasks([hub_task(tmp_path, "nobody/nothing")])
    table = task.samples(CharacterTokenizer(), 0, tmp_path)
    assert len(table) == 30
    assert table.sample(4).target == "8"


def test_a_dataset_of_the_hub_is_loaded_by_the_datasets_library(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test-00000-of-00001.parquet").write_bytes(parquet_bytes())
    (task,) = load_tasks([hub_task(tmp_path, tmp_path / "set")])
    table = task.samples(CharacterTokenizer(), 0)
    assert (len(table), table.sample(29).target) == (30, "58")


def test_a_hub_that_cannot_be_reached(m1eval, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    result = m1eval("run", "--tasks", "aime25", "--model", "echo:gold", "--out", tmp_path / "x")
    assert result.code == 2
    assert "aime25.yaml:" in result.err
    assert "math-ai/aime25 cannot be loaded" in result.err
    assert "without a network, --data-dir DIR reads DIR/aime25.jsonl" in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "t.jsonl:2: not a JSON object"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', "t.jsonl:2: not a JSON object"),
        ("t.json", b'{"a": 1}', "t.json: cannot be read as json"),
        ("t.jsonl.gz", b"no gzip", "t.jsonl.gz: cannot be read as jsonl"),
        ("t.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9, mtime=0)[:-9], "t.jsonl.gz: cannot be read as jsonl"),
        ("t.parquet", b"no parquet", "t.parquet: cannot be read as parquet"),
        ("t.csv", b"a,b\n1\n", "t.csv: cannot be read as csv: a row has more or fewer cells than the header"),
        ("t.xlsx", b"", "t.xlsx: not one of .jsonl, .json, .parquet, .csv"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)

    def read_all():
        table = dataset.read_rows([tmp_path / name])
        return [table[i] for i in range(len(table))]

    with pytest.raises(UsageError) as error:
        read_all()
    assert words in str(error.value)


def test_an_empty_data_folder_is_an_error_that_names_the_file_to_put_there(m1eval, tmp_path):
    result = m1eval("run", "--tasks", "aime24", "--model", "echo:gold", "--data-dir", tmp_path, "--out", tmp_path / "x")
    assert result.code == 2
    assert f"no data for aime24 in {tmp_path}: put aime24.jsonl there" in result.err
    nowhere = m1eval("run", "--tasks", "aime24", "--model", "echo:gold", "--data-dir", tmp_path / "no", "--out", "x")
    assert (nowhere.code, nowhere.err) == (2, f"Error: no folder {tmp_path}/no with the data of aime24\n")


def test_a_dataset_without_rows_is_an_error(m1eval, tmp_path):
    write(tmp_path / "aime24.jsonl", "\n")
    result = m1eval("run", "--tasks", "aime24", "--model", "echo:gold", "--data-dir", tmp_path, "--out", tmp_path / "x")
    assert result.code == 2
    assert "the dataset has no rows" in result.err


def test_memory_does_not_grow_with_the_rows(tmp_path):
    line = json.dumps({"text": "x" * 10_000}).encode() + b"\n"
    path = tmp_path / "large.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(3000):
            file.write(line)
    tracemalloc.start()
    table = dataset.read_rows([path])
    assert sum(len(table[i]["text"]) for i in range(0, 3000, 100)) == 300_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(table) == 3000
    assert peak < 8 * 2**20, f"{peak:,} bytes for a file of 30 MB"
