"""The files of a dataset: scripts, damaged files, columns and cells of another form, missing references."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from tests.conftest import lines, write
from tests.tasks.hub import TOKEN
from tests.tasks.hub_dataset import FILE, TEXT, A, parquet_of, refused, rows, run
from tests.tasks.hub_files import IMAGE, PNG, columns, table


def test_a_script_is_never_executed(small, task, send, tmp_path):
    small.commits[A]["set.py"] = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n".encode()
    (done,) = send([run(task())])
    refused(done, "it is a script (set.py), and scripts of datasets are never executed")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"PAR1 no parquet", b"", rows("x")[:-20]])
def test_a_file_that_is_not_parquet_is_an_error(small, task, send, content):
    small.commits[A][FILE] = content
    (done,) = send([run(task())])
    refused(done, "org/set cannot be loaded")


def test_a_damaged_page_of_a_parquet_file_is_an_error(task, send, tmp_path):
    data = bytearray(parquet_of(pa.table({"q": ["one" * 50] * 100, "a": [str(i) * 20 for i in range(100)]})))
    data[30:300] = bytes(270)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.parquet").write_bytes(data)
    (done,) = send([run(task(), "--data-dir", "data")])
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "data/t.parquet: cannot be read as parquet" in done.err


def test_unknown_columns_are_an_error_before_the_first_request(small, task, send, tmp_path):
    small.commits[A][FILE] = table([{"question": "one", "a": "ONE"}], columns(question=pa.string(), a=pa.string()))
    write(tmp_path / "_made.py", "def made(rows):\n    return ({'q': r['qq'], 'a': r['a']} for r in rows)\n")
    lazy = "from functools import partial\nfrom m1eval import LazySample\n\ndef made(rows):\n"
    lazy += "    for i in range(len(rows)):\n        yield LazySample(id=str(i), build=lambda: {'q': rows[i]['qq']})\n"
    write(tmp_path / "_lazy.py", lazy)
    done = send([run(task()), run(task("u", generate="_made.made")), run(task("v", generate="_lazy.made"))])
    refused(done[0], "template error: 'q' is undefined")
    refused(done[1], "qq")
    refused(done[2], "the data have no 'qq'")
    (checked,) = send([["check", task("v", generate="_lazy.made")]])
    assert (checked.code, checked.out.count("\n"), checked.err) == (1, 1, "")


NO_REFERENCE = {
    "null": (["A", None], "t-2: 'a' is null"),
    "all null": ([None, None], "t-1: 'a' is null"),
    "no number": ([1.0, float("nan")], "t-2: 'a' is null"),
    "the word": (["A", "None"], ""),
    "nothing": (["A", ""], "sample t-2 has an empty target"),
    "zero": ([1, 0], ""),
    "no": ([True, False], ""),
}


@pytest.mark.parametrize("case", NO_REFERENCE)
def test_a_row_without_a_reference_is_not_graded_against_the_word_none(small, task, send, case):
    answers, errors = NO_REFERENCE[case]
    types = pa.string() if case == "all null" else None
    small.commits[A][FILE] = parquet_of(pa.table({"q": ["one", "two"], "a": pa.array(answers, types)}))
    (done,) = send([run(task())])
    if errors:
        refused(done, errors, "to grade by")
    else:
        assert done.code == 0, done


def test_images_in_lists_and_structs_are_not_decoded(small, task, send, tmp_path):
    struct = pa.struct([("image", IMAGE), ("name", pa.string())])
    content = pa.table({"q": ["one"], "a": ["ONE"], "list": pa.array([[PNG]], pa.list_(IMAGE))})
    content = content.append_column("both", pa.array([{"image": PNG, "name": "a"}], struct))
    word, image = {"dtype": "string", "_type": "Value"}, {"_type": "Image"}
    features = {"q": word, "a": word, "list": {"_type": "List", "feature": image}}
    info = {"info": {"features": {**features, "both": {"image": image, "name": word}}}}
    small.commits[A][FILE] = parquet_of(content.replace_schema_metadata({"huggingface": json.dumps(info)}))
    done = send([run(task()), run(task("u", columns=["q", "a", "list", "both"]))])
    assert [result.code for result in done] == [0, 0], done


def test_a_duplicate_id_is_an_error(small, task, send, tmp_path):
    small.commits[A][FILE] = rows("one", "one")
    path = Path(task())
    path.write_text(path.read_text() + "id: '{{ q }}'\n")
    (done,) = send([run(str(path))])
    refused(done, "two samples have the id 'one'")


def test_an_empty_dataset_is_an_error(small, task, send):
    small.commits[A][FILE] = table([], TEXT)
    (done,) = send([run(task())])
    refused(done, "org/set cannot be loaded")
    small.commits[A] = {"test.jsonl": b"\n"}
    (done,) = send([run(task())])
    refused(done, "")


def test_a_card_with_another_number_of_rows_is_an_error(small, task, send):
    words = "".join(f"  - name: {name}\n    dtype: string\n" for name in ("q", "a"))
    sizes = "  splits:\n  - name: test\n    num_bytes: 100\n    num_examples: 2400\n"
    data = "configs:\n- config_name: default\n  data_files:\n  - split: test\n    path: data/*\n"
    small.commits[A]["README.md"] = f"---\ndataset_info:\n  features:\n{words}{sizes}{data}---\n".encode()
    (done,) = send([run(task())])
    refused(done, "its files have 2 rows of 'test', and its card says that there are 2,400")


def test_a_column_of_numbers_and_words_keeps_its_values(small, task, send, tmp_path):
    small.commits[A]["x/mixed.jsonl"] = b'{"q": "1", "a": "A", "o": {"k": 1}}\n{"q": "2", "a": 3, "o": {"k": "x"}}\n'
    files = {"files": ["x/mixed.jsonl"], "split": "train"}
    done = send([run(task(**files)), run(task("u", columns=["q", "a", "o"], **files))])
    assert [result.code for result in done] == [0, 0], done
    for name in ("t", "u"):
        records = lines(tmp_path / f"out/{name}/samples.jsonl")
        assert [record["target"] for record in records] == ["A", "3"]


def test_a_copy_of_zebralogic_without_solutions_is_refused(hub, send, tmp_path):
    blank = {"header": ["House", "Name"], "rows": [["1", "___"], ["2", "___"]]}
    write(tmp_path / "zebralogic.jsonl", json.dumps({"id": "z", "puzzle": "p", "solution": blank}) + "\n")
    (done,) = send([["run", "-t", "zebralogic", "-m", "echo:gold", "--data-dir", str(tmp_path), "--out", "out/z"]])
    assert done.code == 2
    assert "the puzzles have no solutions" in done.err
    assert TOKEN not in done.err


def test_subtasks_that_babilong_has_only_at_0k_are_refused_at_other_lengths(hub, send):
    (done,) = send([["check", "babilong", "--set", "subtasks=[qa11]", "--set", "lengths=[4k]"]])
    assert done.code == 1
    assert "qa11 exists at 0k alone" in done.out


@pytest.mark.parametrize(
    ("name", "row", "errors"),
    [
        ("hle", {"id": "a", "question": "q", "image": "", "answer": None}, "'answer' is null"),
        ("hle", {"id": "a", "question": "q", "image": "", "reply": "x"}, "the data have no 'answer'"),
        (
            "mr_niah",
            {"messages": None, "label": "a", "length_class": "2048"},
            "the data have a different form: TypeError",
        ),
        ("mr_niah", {"messages": [], "label": "a", "length_class": ""}, "the data have a different form: ValueError"),
    ],
)
def test_cells_of_another_form_are_an_error_in_one_line(send, tmp_path, name, row, errors):
    write(tmp_path / "data" / f"{name}.jsonl", json.dumps(row) + "\n")
    judge = ["--judge", "echo:gold"] if name == "hle" else []
    command = ["run", "-t", name, "-m", "echo:gold", "-k", "1", "--data-dir", "data", "--out", "out"]
    (done,) = send([[*command, "--display", "none", *judge]])
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert errors in done.err
