"""What goes wrong between a task and the hub: the data are those of the pin, or one line says why not."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from m1eval.task.hub_errors import explain
from tests.conftest import run_of, write
from tests.tasks.conftest import Done, environment
from tests.tasks.hub import STRANGER, TOKEN, Handler, Hub, Repository
from tests.tasks.hub_rows import IMAGE, PNG, card, columns, jsonl, table

A, B = "a" * 40, "b" * 40
NAME = "org/set"
FILE = "data/test-00000-of-00001.parquet"
TEXT = columns(q=pa.string(), a=pa.string())


def rows(*words: str) -> bytes:
    return table([{"q": word, "a": word.upper()} for word in words], TEXT)


def parquet_of(content: pa.Table) -> bytes:
    """A file of parquet."""
    out = io.BytesIO()
    parquet.write_table(content, out)
    return out.getvalue()


@pytest.fixture
def small(hub: Hub) -> Repository:
    """A dataset of two commits, of which the later one is `main`, and files that are chosen by name."""
    readme = card(default={"test": "data/test-*"})
    first = {"README.md": readme, FILE: rows("one", "two"), "x/one.jsonl": jsonl([{"q": "x1", "a": "X1"}])}
    first["x/two.jsonl"] = jsonl([{"q": "x2", "a": "X2"}])
    commits = {A: first, B: {"README.md": readme, FILE: rows("three")}}
    hub.repositories[NAME] = repository = Repository(commits, {"main": B})
    return repository


@pytest.fixture
def task(tmp_path: Path) -> Any:
    """A task of this dataset."""

    def make(name: str = "t", hub: str = NAME, revision: str = A, **keys: Any) -> str:
        dataset = json.dumps({"hub": hub, "revision": revision, **keys})
        text = f"title: T\ndataset: {dataset}\nprompt: '{{{{ q }}}}'\ntarget: '{{{{ a }}}}'\nscorer: exact\n"
        return str(write(tmp_path / f"{name}.yaml", text))

    return make


def run(task: str, *more: str) -> list[str]:
    name = Path(task).stem
    out = () if "--out" in more else ("--out", f"out/{name}")
    return ["run", "-t", task, "-m", "echo:gold", "--json", "--display", "none", *out, *more]


def refused(done: Done, *words: str, remedy: str = "") -> None:
    """One line on standard error, with the place in the task file and the remedy."""
    assert done.code == 2, done
    assert done.err.count("\n") == 1, done.err
    assert re.match(r"Error: \S+\.yaml:\d+: ", done.err)
    for word in (*words, remedy):
        assert word in done.err, done.err
    assert len(done.err) < 700


def commits(folder: Path, name: str = "t") -> list[str | None]:
    data = json.loads((run_of(folder / "out" / name) / "run.json").read_text())["data"]
    return [each["commit"] for each in data["tables"]]


def test_another_commit_of_the_cache_never_takes_the_place_of_the_pinned_one(small, task, send, tmp_path):
    main, pinned = task("main", revision="main"), task()
    (result,) = send([run(main)])
    other, again = send([run(pinned), run(main)], offline=True)
    assert result.code == again.code == 0
    assert commits(tmp_path, "main") == [B], "run.json says what the branch was"
    refused(other, f"{NAME} cannot be loaded: the hub cannot be reached (HF_HUB_OFFLINE is set)")
    assert "without a network, --data-dir DIR reads DIR/t.jsonl" in other.err
    assert not (tmp_path / "out" / "t").exists()


def test_the_pinned_commit_is_found_in_the_cache_though_another_is_newer(small, task, send, tmp_path):
    pinned, main = task(), task("main", revision="main")
    done = send([run(pinned, "--out", "first"), run(main)]) + send([run(pinned)], offline=True)
    assert [each.code for each in done] == [0, 0, 0], done
    assert commits(tmp_path) == [A]
    assert [
        s["target"] for s in map(json.loads, (run_of(tmp_path / "out/t") / "samples.jsonl").read_text().splitlines())
    ] == [
        "ONE",
        "TWO",
    ]


@pytest.mark.parametrize("revision", ["v1", "none-such", A[:7], A.upper()])
@pytest.mark.parametrize("hub_is", ["out of reach", "in trouble"])
def test_a_name_that_was_never_loaded_is_not_what_the_cache_has(small, task, send, hub, revision, hub_is, tmp_path):
    small.refs["v1"] = A
    (result,) = send([run(task("main", revision="main"))])
    assert result.code == 0
    named = run(task(revision=revision))
    if hub_is == "out of reach":
        (done,) = send([named], offline=True)
    else:
        with hub.failing(refuse(503, 10**6)):
            (done,) = send([named])
    refused(done, f"{NAME} cannot be loaded: ", "HF_HUB_OFFLINE is set" if hub_is == "out of reach" else "503")
    assert not (tmp_path / "out" / "t").exists()


def test_a_tag_that_was_loaded_is_found_again_though_the_cache_has_a_newer_commit(small, task, send, tmp_path):
    small.refs["v1"] = A
    tag = task(revision="v1")
    done = send([run(tag), run(task("main", revision="main"))]) + send([run(tag, "--redo")], offline=True)
    assert [each.code for each in done] == [0, 0, 0], done
    assert commits(tmp_path) == [A]


def test_a_branch_of_a_dataset_without_a_card(small, task, send, tmp_path):
    for files in small.commits.values():
        del files["README.md"]
    (done,) = send([run(task(revision="main"))])
    assert (done.code, commits(tmp_path)) == (0, [B]), done


def test_a_branch_that_moves_while_a_task_reads_is_one_commit(small, task, send, hub, tmp_path):
    readme = card(default={"test": "data/test-*", "validation": "data/other-*"})
    small.commits = {c: {"README.md": readme, FILE: rows(c), "data/other-0.parquet": rows(c)} for c in (A, B)}
    small.refs["main"] = A
    text = "def made(rows, table):\n    other = table(split='validation')\n"
    write(tmp_path / "_two.py", text + "    return [{'q': rows[0]['q'] + other[0]['q'], 'a': other[0]['a']}]\n")

    def moves(handler: Handler) -> bool:
        if handler.where.endswith(FILE):
            small.refs["main"] = B
        return False

    with hub.failing(moves):
        (done,) = send([run(task(revision="main", generate="_two.made"))])
    assert (done.code, commits(tmp_path)) == (0, [A, A]), done


def test_a_hub_that_gives_another_commit_than_was_asked_for(small, task, send):
    small.refs[A] = B
    (done,) = send([run(task())])
    refused(done, "bbbbbbbbbbbb of it was loaded, not aaaaaaaaaaaa")


def test_the_commit_is_known_where_small_tables_would_be_held_in_memory(small, task, hub, tmp_path):
    env = environment(hub, HF_HOME=str(tmp_path / "home"), HF_DATASETS_IN_MEMORY_MAX_SIZE="100000000")
    command = [sys.executable, "-m", "m1eval", *run(task())]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, commits(tmp_path)) == (0, [A]), done


def test_settings_of_the_libraries_that_cannot_be(small, task, hub, tmp_path):
    env = environment(hub, HF_HOME=str(tmp_path / "home"), HF_HUB_DOWNLOAD_TIMEOUT="soon")
    command = [sys.executable, "-m", "m1eval", *run(task())]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    refused(Done(done.returncode, "", done.stderr, 0), "cannot be imported", "'soon'", "is a variable HF_… wrong?")


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("damage", ["shorter", "half", "zeros", "empty"])
def test_a_damaged_copy_in_the_cache_is_not_taken_for_the_data(small, task, send, tmp_path, damage, offline):
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
    assert [done.code for done in send([sliced, whole], offline=offline)] == [0, 0]


def test_files_chosen_by_name_are_not_mixed_up_without_a_network(small, task, send, tmp_path):
    one, two = (task(name, split="train", files=[f"x/{name}.jsonl"]) for name in ("one", "two"))
    missing = task("none", split="train", files=["x/none.jsonl"])
    done = send([run(one), run(two)])
    done += send([run(one, "--redo"), run(two, "--redo"), run(missing)], offline=True)
    assert [each.code for each in done] == [0, 0, 0, 0, 2]
    refused(done[-1], "HF_HUB_OFFLINE is set")
    for name, text in (("one", "X1"), ("two", "X2")):
        assert f'"target":"{text}"' in (run_of(tmp_path / "out" / name) / "samples.jsonl").read_text().replace(
            '": "', '":"'
        )


def test_a_server_that_is_gone_is_the_same_as_no_network(small, task, hub, tmp_path):
    """In processes of their own, where what the libraries log would reach the terminal."""

    def call(revision: str, url: str) -> Done:
        command = [sys.executable, "-m", "m1eval", *run(task(revision=revision)), "--redo"]
        env = environment(hub, HF_HOME=str(tmp_path / "home")) | {"HF_ENDPOINT": url}
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        return Done(done.returncode, done.stdout, done.stderr, 0)

    done = call("main", hub.url)
    assert (done.code, done.err) == (0, "")
    refused(
        call(A, "http://127.0.0.1:9"),
        "the hub cannot be reached (ConnectError)",
        remedy="--data-dir DIR reads DIR/t.jsonl",
    )


def test_a_run_does_not_go_on_with_other_data_when_the_branch_has_moved(small, task, send, hub):
    main = task(revision="main")
    (first,) = send([run(main, "--limit", "1")])
    small.refs["main"] = A
    (other,) = send([run(main)])
    assert first.code == 0
    assert other.code == 2
    assert f"was made with commit.{NAME}=bbbb" in other.err
    assert "--out elsewhere, or --redo" in other.err


@pytest.mark.parametrize(
    ("token", "closed", "words"),
    [
        (None, "gated", ("is gated", "accept its terms at https://huggingface.co/datasets/org/set", "set HF_TOKEN")),
        (STRANGER, "gated", ("is gated", "the account of the token (HF_TOKEN) has no access", "datasets/org/set")),
        ("hf_wrong00000000000000000000", "gated", ("does not accept the token (HF_TOKEN)",)),
        (
            None,
            "private",
            ("no dataset https://huggingface.co/datasets/org/set", "without a token (HF_TOKEN)", "private"),
        ),
        (STRANGER, "private", ("no dataset https://huggingface.co/datasets/org/set", "this token (HF_TOKEN) may see")),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_access_is_refused_with_the_remedy_that_helps(small, task, send, token, closed, words, cached):
    if cached:
        send([run(task("main", revision="main"))])
    setattr(small, closed, True)
    (done,) = send([run(task())], token=token)
    refused(done, f"{NAME} cannot be loaded: ", *words, remedy="or --data-dir DIR reads DIR/t.jsonl")
    assert "without a network" not in done.err


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"revision": "c" * 40}, "it has no revision cccccccc"),
        ({"revision": "v1.0"}, "it has no revision v1.0"),
        ({"hub": "org/sett"}, "there is no dataset https://huggingface.co/datasets/org/sett"),
        ({"files": ["4needle.parquet"], "split": "train"}, f"it has no file 4needle.parquet at {A[:12]}"),
        ({"files": ["x/none.jsonl"], "split": "train"}, f"it has no file x/none.jsonl at {A[:12]}"),
        ({"split": "tset"}, "tset"),
        ({"config": "maim"}, "maim"),
        ({"columns": ["q", "answer"]}, "org/set at aaaaaaaaaaaa has no column 'answer'; there are q, a"),
    ],
)
def test_a_name_that_is_not_there(small, task, send, keys, words):
    (done,) = send([run(task(**keys))])
    refused(done, words)


def test_a_file_that_the_card_names_and_that_has_moved(small, task, send):
    small.commits[A]["moved/test.parquet"] = small.commits[A].pop(FILE)
    (done,) = send([run(task())])
    refused(done, f"at {A[:12]} it has no data files where its card says that they are")


def refuse(status: int, times: int, path: str = "", method: str = "", **headers: str) -> Any:
    """A fault: a number of refusals with a status, of a path and a method."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if (
            left[0]
            and path in handler.where
            and handler.command.startswith(method)
            and handler.where != "/api/agent-harnesses"
        ):
            left[0] -= 1
            handler.refuse(status, message="", **headers)
            return True
        return False

    return fault


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_hub_in_trouble_is_asked_again(small, task, send, hub, status):
    with hub.failing(refuse(status, 2, "/resolve/", "HEAD")):
        (done,) = send([run(task())])
    assert done.code == 0, done


@pytest.mark.parametrize("status", [500, 503, 429])
@pytest.mark.parametrize("cached", ["nothing", "another commit", "the commit"])
def test_a_hub_that_stays_in_trouble_is_told_in_one_line(small, task, send, hub, status, cached):
    pinned = task()
    if cached != "nothing":
        send([run(pinned, "--out", "before") if cached == "the commit" else run(task("main", revision="main"))])
    hub.seen.clear()
    with hub.failing(refuse(status, 10**6, "", "HEAD")):
        (done,) = send([run(pinned)])
    if cached == "the commit":
        assert done.code == 0, done
        return
    tries = sum(path.endswith("README.md") and method == "HEAD" for method, path in hub.seen)
    refused(done, "(429)" if status == 429 else f"answers {status}" if cached == "nothing" else "cannot be loaded")
    assert tries >= 3 or cached != "nothing"


def cut(after: int, times: int) -> Any:
    """A fault: the connection breaks after a number of bytes."""
    left = [times]

    def fault(handler: Handler) -> bool:
        if left[0] and handler.command == "GET" and handler.where.endswith(".parquet"):
            left[0] -= 1
            handler.file(handler.hub.repositories[NAME].commits[A][FILE], A, cut=after)
            return True
        return False

    return fault


def test_a_download_that_breaks_off_goes_on_where_it_stopped(small, task, send, hub):
    with hub.failing(cut(100, 1)):
        (done,) = send([run(task())])
    assert done.code == 0, done


def test_a_download_that_is_always_cut_is_told_and_half_a_file_is_not_used(small, task, send, hub, tmp_path):
    with hub.failing(cut(0, 10**6)):
        (done,) = send([run(task())])
    refused(done, "the connection to the hub broke off")
    assert not list((tmp_path / "home" / "datasets").glob("org___set/**/*.arrow"))
    (done,) = send([run(task())])
    assert done.code == 0, done


def test_a_file_that_is_shorter_than_was_said(small, task, send, hub):
    def fault(handler: Handler) -> bool:
        if handler.command == "HEAD" and handler.where.endswith(".parquet"):
            handler.file(small.commits[A][FILE] + b"more", A)
            return True
        return False

    with hub.failing(fault):
        (done,) = send([run(task())])
    refused(done, "org/set cannot be loaded")


def test_a_hub_without_an_etag_and_one_whose_etag_changes(small, task, send, hub):
    def without(handler: Handler) -> bool:
        if handler.command == "HEAD" and handler.where.endswith(".parquet"):
            handler.refuse(200, X_Repo_Commit=A)
            return True
        return False

    def other(handler: Handler) -> bool:
        if handler.command == "GET" and handler.where.endswith(".parquet"):
            handler.file(small.commits[A][FILE], A, etag="0" * 64)
            return True
        return False

    with hub.failing(without):
        (done,) = send([run(task())])
    refused(done, "org/set cannot be loaded")
    with hub.failing(other):
        (done,) = send([run(task(), "--redo")])
    assert done.code == 0, "the content is whole; the second etag names nothing that is used"


@pytest.mark.parametrize("page", [b"<html>Log in to this network</html>", b"", b"{"])
def test_a_gateway_that_answers_for_the_hub(small, task, send, hub, page):
    def portal(handler: Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(page)
        return True

    with hub.failing(portal):
        (done,) = send([run(task())])
    refused(done, "org/set cannot be loaded")


def test_a_script_is_never_executed(small, task, send, tmp_path):
    small.commits[A]["set.py"] = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n".encode()
    (done,) = send([run(task())])
    refused(done, "it is a script (set.py), and scripts of datasets are never executed")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"PAR1 no parquet", b"", rows("x")[:-20]])
def test_a_file_that_cannot_be_read(small, task, send, content):
    small.commits[A][FILE] = content
    (done,) = send([run(task())])
    refused(done, "org/set cannot be loaded")


def test_a_folder_that_is_called_as_the_dataset_is_not_loaded_in_its_place(small, task, send, tmp_path):
    write(tmp_path / "org" / "set" / "test.jsonl", '{"q": "here", "a": "HERE"}\n')
    (done,) = send([run(task())])
    assert done.code == 0, done
    assert commits(tmp_path) == [A]
    assert "HERE" not in (run_of(tmp_path / "out/t") / "samples.jsonl").read_text()


def test_a_data_folder_takes_the_place_of_the_hub(small, task, send, hub, tmp_path):
    write(tmp_path / "data" / "t.jsonl", '{"q": "mine", "a": "MINE"}\n')
    hub.seen.clear()
    (done,) = send([run(task(), "--data-dir", "data")])
    assert (done.code, hub.seen) == (0, [])
    assert json.loads((run_of(tmp_path / "out/t") / "run.json").read_text())["data"]["tables"] == []


def test_two_processes_load_at_once(small, task, hub, tmp_path):
    env = environment(hub, HF_HOME=str(tmp_path / "home"))
    command = [sys.executable, "-m", "m1eval"]
    both = [
        subprocess.Popen([*command, *run(task(name))], env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for name in ("t", "u")
    ]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert commits(tmp_path, "t") == commits(tmp_path, "u") == [A]


def test_columns_with_other_names_are_an_error_before_anything_is_asked(small, task, send, tmp_path):
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
def test_a_row_without_a_reference_is_not_graded_by_the_word_none(small, task, send, case):
    answers, errors = NO_REFERENCE[case]
    types = pa.string() if case == "all null" else None
    small.commits[A][FILE] = parquet_of(pa.table({"q": ["one", "two"], "a": pa.array(answers, types)}))
    (done,) = send([run(task())])
    if errors:
        refused(done, errors, "to grade by")
    else:
        assert done.code == 0, done


def test_pictures_inside_of_lists_and_structures_are_not_decoded(small, task, send, tmp_path):
    struct = pa.struct([("image", IMAGE), ("name", pa.string())])
    content = pa.table({"q": ["one"], "a": ["ONE"], "list": pa.array([[PNG]], pa.list_(IMAGE))})
    content = content.append_column("both", pa.array([{"image": PNG, "name": "a"}], struct))
    word, image = {"dtype": "string", "_type": "Value"}, {"_type": "Image"}
    features = {"q": word, "a": word, "list": {"_type": "List", "feature": image}}
    info = {"info": {"features": {**features, "both": {"image": image, "name": word}}}}
    small.commits[A][FILE] = parquet_of(content.replace_schema_metadata({"huggingface": json.dumps(info)}))
    done = send([run(task()), run(task("u", columns=["q", "a", "list", "both"]))])
    assert [each.code for each in done] == [0, 0], done


def test_a_page_of_a_parquet_file_that_cannot_be_read(task, send, tmp_path):
    data = bytearray(parquet_of(pa.table({"q": ["one" * 50] * 100, "a": [str(i) * 20 for i in range(100)]})))
    data[30:300] = bytes(270)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.parquet").write_bytes(data)
    (done,) = send([run(task(), "--data-dir", "data")])
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "data/t.parquet: cannot be read as parquet" in done.err


def test_an_id_that_stands_twice(small, task, send, tmp_path):
    small.commits[A][FILE] = rows("one", "one")
    path = Path(task())
    path.write_text(path.read_text() + "id: '{{ q }}'\n")
    (done,) = send([run(str(path))])
    refused(done, "two samples have the id 'one'")


def test_an_empty_set(small, task, send):
    small.commits[A][FILE] = table([], TEXT)
    (done,) = send([run(task())])
    refused(done, "org/set cannot be loaded")
    small.commits[A] = {"test.jsonl": b"\n"}
    (done,) = send([run(task())])
    refused(done, "")


def test_gated_tasks_name_page_and_variable(hub, send):
    (listed, checked, *errors) = send(
        [["tasks"], ["check", "--json"], ["check", "hle"], ["check", "gpqa_diamond"], ["check", "zebralogic"]],
        token=None,
    )
    for name in ("gpqa_diamond", "hle", "zebralogic"):
        (line,) = [line for line in listed.out.splitlines() if line.startswith(f"{name} ")]
        assert line.endswith("gated (HF_TOKEN)")
        (text,) = [row["text"] for row in json.loads(checked.out) if row["task"] == name]
        assert "accept the terms at https://huggingface.co/datasets/" in text
        assert "set HF_TOKEN" in text
    assert listed.out.count("gated") == 3
    for done, page in zip(errors, ("cais/hle", "Idavidrein/gpqa", "allenai/ZebraLogicBench-private"), strict=True):
        assert done.code == 1
        assert f"accept its terms at https://huggingface.co/datasets/{page} and set HF_TOKEN" in done.out
    assert "--set dataset.hub=WildEval/ZebraLogic --set dataset.revision=0a473f5a" in errors[2].out


def test_the_open_copy_of_a_gated_set_needs_no_token(hub, send, tmp_path):
    sets = [
        "--set",
        "dataset.hub=WildEval/ZebraLogic",
        "--set",
        "dataset.revision=0a473f5a0054835754ed156d5a79c6ce27178bb1",
    ]
    (done,) = send([["check", "zebralogic", *sets]], token=None)
    assert (done.code, done.out.split()[0]) == (0, "passed"), done


def test_mrcr_has_its_data_as_published_then_and_as_they_were_mended(hub, send, tmp_path):
    results = send(
        [
            ["run", "-t", name, "-m", "echo:gold", "--json", "--out", f"out/{name}{protocol}", *more]
            for name in ("mrcr", "mrcr_128k")
            for protocol, more in (("", []), ("fixed", ["--protocol", "fixed"]))
        ]
    )
    assert [done.code for done in results] == [0] * 4, results
    then, mended = "204b0d4e8d9ca5c0a90bf942fdb2a5969094adc0", "f4c69fae7cf81f7ca26b9fee34b392a50f6b8a1d"
    assert [commits(tmp_path, f"{n}{p}") for n in ("mrcr", "mrcr_128k") for p in ("", "fixed")] == [
        [then],
        [mended],
    ] * 2
    assert [json.loads(done.out)["runs"][0]["samples"] for done in results] == [3, 5, 2, 5]


def test_the_worked_examples_of_mmlu_pro_are_of_the_same_commit(hub, send, tmp_path):
    (done,) = send([["run", "-t", "mmlu_pro", "-m", "echo:gold", "--protocol", "official", "--json", "--out", "out/t"]])
    assert done.code == 0, done
    assert commits(tmp_path) == ["527feea0afed1de15a8c115abf7be4c912123315"] * 2


def test_a_copy_of_zebralogic_without_solutions_is_refused(hub, send, tmp_path):
    blank = {"header": ["House", "Name"], "rows": [["1", "___"], ["2", "___"]]}
    write(tmp_path / "zebralogic.jsonl", json.dumps({"id": "z", "puzzle": "p", "solution": blank}) + "\n")
    (done,) = send([["run", "-t", "zebralogic", "-m", "echo:gold", "--data-dir", str(tmp_path), "--out", "out/z"]])
    assert done.code == 2
    assert "the puzzles have no solutions" in done.err
    assert TOKEN not in done.err


def test_subtasks_that_babilong_has_at_0k_alone(hub, send):
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
def test_cells_of_another_form_are_told_in_one_line(send, tmp_path, name, row, errors):
    write(tmp_path / "data" / f"{name}.jsonl", json.dumps(row) + "\n")
    judge = ["--judge", "echo:gold"] if name == "hle" else []
    command = [
        "run",
        "-t",
        name,
        "-m",
        "echo:gold",
        "-k",
        "1",
        "--data-dir",
        "data",
        "--out",
        "out",
        "--display",
        "none",
    ]
    (done,) = send([[*command, *judge]])
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert errors in done.err


def by_url(task: Any, hub: Hub, name: str = "t", file: str = "d.jsonl") -> str:
    """A task whose file is named by its URL; `datasets` takes addresses of the hub for its own."""
    url = f"{hub.url.replace('127.0.0.1', 'localhost')}/raw/{file}"
    return str(task(name, hub="json", revision="v1", split="train", files=[url]))


def test_what_a_url_gives_is_told_from_what_it_gave_before(task, hub, tmp_path):
    """In processes of their own, as `datasets` asks for a URL once in each."""
    env, path = environment(hub, HF_HOME=str(tmp_path / "home")), by_url(task, hub)

    def call(*more: str) -> Done:
        command = [sys.executable, "-m", "m1eval", *run(path), *more]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        return Done(done.returncode, done.stdout, done.stderr, 0)

    hub.raw["d.jsonl"] = jsonl([{"q": "1", "a": "A"}, {"q": "2", "a": "B"}])
    first, same = call("--limit", "1"), call("--limit", "1")
    assert (first.code, same.code) == (0, 0), (first, same)
    hub.raw["d.jsonl"] = jsonl([{"q": "1", "a": "A"}, {"q": "2", "a": "C"}])
    other, anew = call(), call("--redo")
    assert (other.code, other.err.count("\n")) == (2, 1), other
    assert "was made with digest.json=" in other.err
    assert "--out elsewhere, or --redo" in other.err
    assert anew.code == 0, anew
    assert '"target":"C"' in (run_of(tmp_path / "out/t") / "samples.jsonl").read_text()


def test_rows_of_a_folder_that_changed_are_not_gone_on_with(task, send, tmp_path):
    file = write(tmp_path / "rows" / "test.jsonl", '{"q": "1", "a": "A"}\n{"q": "2", "a": "B"}\n')
    path = task(hub="./rows")
    (first,) = send([run(path, "--limit", "1")])
    file.write_text(file.read_text().replace("B", "CC"))
    (other,) = send([run(path)])
    assert (first.code, other.code) == (0, 2), (first, other)
    assert "was made with digest../rows=" in other.err


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses it (401)"),
        (403, "refuses it (403)"),
        (404, "has no such file (404)"),
        (429, "answers 429"),
        (503, "answers 503"),
    ],
)
def test_why_a_file_of_a_url_cannot_be_had(task, send, hub, status, words):
    hub.raw["d.jsonl"] = jsonl([{"q": "1", "a": "A"}])
    with hub.failing(refuse(status, 10**6, "/raw/")):
        (done,) = send([run(by_url(task, hub))])
    refused(done, "localhost:", words)
    assert "HF_TOKEN" not in done.err


def test_a_server_of_a_url_that_cannot_be_reached_and_one_in_passing_trouble(task, send, hub):
    hub.raw["d.jsonl"] = jsonl([{"q": "1", "a": "A"}])
    gone = task("u", hub="json", revision="v1", split="train", files=["http://127.0.0.2:9/d.jsonl"])
    (done,) = send([run(gone)])
    refused(done, "127.0.0.2:9 cannot be reached (ConnectionRefusedError)")
    with hub.failing(refuse(503, 2, "/raw/")):
        (done,) = send([run(by_url(task, hub))])
    assert done.code == 0, done


@pytest.mark.parametrize("name", ["../x", "x/../../other/one.jsonl", "/etc/passwd", "https://example.org/x.jsonl"])
def test_files_are_those_of_the_dataset(small, task, send, name):
    (done,) = send([run(task(files=[name], split="train"))])
    refused(done, f"'{name}' is no file of org/set: write its path from the root of the dataset")


def test_names_with_dots_are_files_of_the_dataset(small, task, send):
    small.commits[A]["x/..one..jsonl"] = small.commits[A]["x/one.jsonl"]
    (done,) = send([run(task(files=["x/..one..jsonl"], split="train"))])
    assert done.code == 0, done


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_store_that_refuses_a_signed_address_is_not_the_hub(small, task, send, hub, status, token):
    signed = []

    def store(handler: Handler) -> bool:
        if handler.where.startswith("/store/"):
            handler.refuse(status)
            return True
        if handler.where.endswith(".parquet") and "/resolve/" in handler.where:
            signed.append(handler.command)
            place = f"{hub.url.replace('127.0.0.1', 'localhost')}/store/x?Signature={len(signed)}"
            handler.refuse(302, Location=place, ETag='"a"', X_Linked_Size=str(len(small.commits[A][FILE])), commit=A)
            return True
        return False

    with hub.failing(store):
        (done,) = send([run(task())], token=token)
    refused(done, "localhost:", f"where the hub keeps its files, refuses it ({status}): try again")
    assert "HF_TOKEN" not in done.err
    assert len(signed) >= 3, "each attempt has an address of its own"


def test_a_refusal_of_the_hub_by_way_of_a_mirror_is_one_of_the_hub():
    """A mirror that has no copy sends on to the hub, whose refusals have codes; those of its stores have none."""
    error = OSError("401")
    answer = {"url": "https://mirrored.example/x", "status_code": 401, "headers": {"X-Error-Code": "GatedRepo"}}
    error.response = SimpleNamespace(**answer)  # type: ignore[attr-defined]
    assert "it is gated, and there is no token" in explain(error, NAME, A).text
    error.response.headers = {}  # type: ignore[attr-defined]
    assert "mirrored.example, where the hub keeps its files, refuses it (401)" in explain(error, NAME, A).text


def test_an_endpoint_with_a_slash_behind_it(small, task, hub, tmp_path):
    env = environment(hub, HF_HOME=str(tmp_path / "home")) | {"HF_ENDPOINT": f"{hub.url}/"}
    command = [sys.executable, "-m", "m1eval", *run(task())]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, commits(tmp_path)) == (0, [A]), done


def test_a_cache_that_cannot_be_written_is_named(small, task, send, tmp_path):
    write(tmp_path / "home" / "datasets", "no folder")
    (done,) = send([run(task())])
    refused(done, "its cache cannot be used (", "set HF_HOME to a folder that can be written")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_the_variable_that_keeps_the_libraries_from_the_network_is_named(small, task, hub, tmp_path, variable):
    """In a process of its own, where the libraries read it."""
    env = environment(hub, HF_HOME=str(tmp_path / "home")) | {variable: "1"}
    command = [sys.executable, "-m", "m1eval", *run(task())]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    refused(Done(done.returncode, done.stdout, done.stderr, 0), f"the hub cannot be reached ({variable} is set)")


def test_a_disk_without_room():
    error = OSError("Not enough disk space. Needed: 134.92 GiB (download: 41.97 GiB)")
    assert "its cache has no room (Not enough disk space. Needed: 134.92 GiB" in explain(error, NAME, A).text
    assert "No space left on device" in explain(OSError(28, "No space left on device"), NAME, A).text
    assert "cache" not in explain(FileNotFoundError(2, "No such file", "/elsewhere/x"), NAME, A).text


def test_a_card_that_counts_other_rows_than_there_are(small, task, send):
    words = "".join(f"  - name: {name}\n    dtype: string\n" for name in ("q", "a"))
    sizes = "  splits:\n  - name: test\n    num_bytes: 100\n    num_examples: 2400\n"
    data = "configs:\n- config_name: default\n  data_files:\n  - split: test\n    path: data/*\n"
    small.commits[A]["README.md"] = f"---\ndataset_info:\n  features:\n{words}{sizes}{data}---\n".encode()
    (done,) = send([run(task())])
    refused(done, "its files have 2 rows of 'test', and its card says that there are 2,400")


def test_a_token_that_cannot_be_sent(small, task, send):
    (done,) = send([run(task())], token=f"{TOKEN}é")
    refused(done, "the token (HF_TOKEN) has characters that tokens cannot have")


def test_a_column_of_numbers_and_words_is_kept(small, task, send, tmp_path):
    small.commits[A]["x/mixed.jsonl"] = b'{"q": "1", "a": "A", "o": {"k": 1}}\n{"q": "2", "a": 3, "o": {"k": "x"}}\n'
    files = {"files": ["x/mixed.jsonl"], "split": "train"}
    done = send([run(task(**files)), run(task("u", columns=["q", "a", "o"], **files))])
    assert [each.code for each in done] == [0, 0], done
    for name in ("t", "u"):
        samples = map(json.loads, (run_of(tmp_path / f"out/{name}") / "samples.jsonl").read_text().splitlines())
        assert [each["target"] for each in samples] == ["A", "3"]


@pytest.mark.parametrize(
    ("text", "words", "passing"),
    [
        ("Reqwest Error: HTTP status client error (429 Too Many Requests), domain: https://x", "answers 429", True),
        ("CAS Client Error: HTTP status client error (403 Forbidden) for url (https://x)", "refuses it (403)", True),
        ("CAS Client Error: something else", "something else", False),
    ],
)
def test_what_the_store_of_large_files_says(text, words, passing):
    explanation = explain(RuntimeError(text), NAME, A)
    assert words in explanation.text
    assert explanation.transient == passing
