"""The cache of the hub and folders of our own: damaged copies, full disks, and data next to the task."""

import json

import pyarrow as pa
import pytest

from m1eval.task.hub_errors import explain
from tests.conftest import run_of, write
from tests.tasks.hub_dataset import (
    FILE,
    NAME,
    A,
    commits,
    refused,
    rows,
    run,
)


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("damage", ["shorter", "half", "zeros", "empty"])
def test_a_damaged_copy_in_the_cache_is_an_error(small, task, send, tmp_path, damage, offline):
    small.commits[A][FILE] = rows(*map(str, range(5000)))
    (done,) = send([run(task("before"), "--limit", "2")])
    (arrow,) = (tmp_path / "home" / "datasets").glob("org___set/**/*.arrow")
    data = arrow.read_bytes()
    part, sink = pa.ipc.open_stream(data).read_all().slice(0, 1000), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.schema) as writer:
        writer.write_table(part)
    shorter = sink.getvalue().to_pybytes()[:-8]  # as if it ended behind a batch
    arrow.write_bytes({"shorter": shorter, "half": data[: len(data) // 2], "zeros": bytes(len(data))}.get(damage, b""))
    (done,) = send([run(task(), "--limit", "2")], offline=offline)
    refused(done, "its copy in the cache is damaged", "1,000 of 5,000 rows" if damage == "shorter" else "delete")
    sliced, whole = run(task("u", split="test[:10]"), "--limit", "2"), run(task("v"), "--limit", "2")
    arrow.write_bytes(data)
    assert [result.code for result in send([sliced, whole], offline=offline)] == [0, 0]


def test_cached_files_are_told_apart_without_a_network(small, task, send, tmp_path):
    one, two = (task(name, split="train", files=[f"x/{name}.jsonl"]) for name in ("one", "two"))
    missing = task("none", split="train", files=["x/none.jsonl"])
    done = send([run(one), run(two)])
    done += send([run(one, "--redo"), run(two, "--redo"), run(missing)], offline=True)
    assert [result.code for result in done] == [0, 0, 0, 0, 2]
    refused(done[-1], "HF_HUB_OFFLINE is set")
    for name, text in (("one", "X1"), ("two", "X2")):
        assert f'"target":"{text}"' in (run_of(tmp_path / "out" / name) / "samples.jsonl").read_text().replace(
            '": "', '":"'
        )


def test_a_cache_that_cannot_be_written_is_an_error(small, task, send, tmp_path):
    write(tmp_path / "home" / "datasets", "no folder")
    (done,) = send([run(task())])
    refused(done, "its cache cannot be used (", "set HF_HOME to a folder that can be written")


def test_a_full_disk_is_explained():
    error = OSError("Not enough disk space. Needed: 134.92 GiB (download: 41.97 GiB)")
    assert "its cache has no room (Not enough disk space. Needed: 134.92 GiB" in explain(error, NAME, A).text
    assert "No space left on device" in explain(OSError(28, "No space left on device"), NAME, A).text
    assert "cache" not in explain(FileNotFoundError(2, "No such file", "/elsewhere/x"), NAME, A).text


def test_a_folder_with_the_name_of_the_dataset_is_not_loaded(small, task, send, tmp_path):
    write(tmp_path / "org" / "set" / "test.jsonl", '{"q": "here", "a": "HERE"}\n')
    (done,) = send([run(task())])
    assert done.code == 0, done
    assert commits(tmp_path) == [A]
    assert "HERE" not in (run_of(tmp_path / "out/t") / "samples.jsonl").read_text()


def test_a_data_folder_replaces_the_hub(small, task, send, hub, tmp_path):
    write(tmp_path / "data" / "t.jsonl", '{"q": "mine", "a": "MINE"}\n')
    hub.seen.clear()
    (done,) = send([run(task(), "--data-dir", "data")])
    assert (done.code, hub.seen) == (0, [])
    assert json.loads((run_of(tmp_path / "out/t") / "run.json").read_text())["data"]["tables"] == []


def test_a_run_does_not_continue_after_its_folder_has_changed(task, send, tmp_path):
    file = write(tmp_path / "rows" / "test.jsonl", '{"q": "1", "a": "A"}\n{"q": "2", "a": "B"}\n')
    path = task(hub="./rows")
    (first,) = send([run(path, "--limit", "1")])
    file.write_text(file.read_text().replace("B", "CC"))
    (other,) = send([run(path)])
    assert (first.code, other.code) == (0, 2), (first, other)
    assert "(digest../rows" in other.err
