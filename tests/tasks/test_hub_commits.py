"""Choice of a dataset's commit: that of the pin, whatever the cache, a branch or the network has."""

import json
import subprocess
import sys

import pytest

from tests.conftest import lines, write
from tests.tasks.hub import Handler, environment
from tests.tasks.hub_dataset import FILE, NAME, A, B, commits, in_own_process, refuse, refused, rows, run
from tests.tasks.hub_files import card


def test_another_cached_commit_is_never_taken_for_the_pinned_one(small, task, send, tmp_path):
    main, pinned = task("main", revision="main"), task()
    (result,) = send([run(main)])
    other, again = send([run(pinned), run(main)], offline=True)
    assert result.code == again.code == 0
    assert commits(tmp_path, "main") == [B], "run.json says what the branch was"
    refused(other, f"{NAME} cannot be loaded: the hub cannot be reached (HF_HUB_OFFLINE is set)")
    assert "without a network, --data-dir DIR reads DIR/t.jsonl" in other.err
    assert not (tmp_path / "out" / "t").exists()


def test_the_pinned_commit_is_taken_from_a_cache_with_a_newer_one(small, task, send, tmp_path):
    pinned, main = task(), task("main", revision="main")
    done = send([run(pinned, "--out", "first"), run(main)]) + send([run(pinned)], offline=True)
    assert [result.code for result in done] == [0, 0, 0], done
    assert commits(tmp_path) == [A]
    assert [record["target"] for record in lines(tmp_path / "out/t/samples.jsonl")] == ["ONE", "TWO"]


@pytest.mark.parametrize("revision", ["v1", "none-such", A[:7], A.upper()])
@pytest.mark.parametrize("hub_is", ["out of reach", "in trouble"])
def test_a_revision_that_was_never_loaded_is_not_resolved_from_the_cache(
    small, task, send, hub, revision, hub_is, tmp_path
):
    small.refs["v1"] = A
    (result,) = send([run(task("main", revision="main"))])
    assert result.code == 0
    named = run(task(revision=revision))
    if hub_is == "out of reach":
        reason = "HF_HUB_OFFLINE is set"
        (done,) = send([named], offline=True)
    else:
        reason = "503"
        with hub.failing(refuse(503, 10**6)):
            (done,) = send([named])
    refused(done, f"{NAME} cannot be loaded: ", reason)
    assert not (tmp_path / "out" / "t").exists()


def test_a_loaded_tag_is_found_in_a_cache_with_a_newer_commit(small, task, send, tmp_path):
    small.refs["v1"] = A
    tag = task(revision="v1")
    done = send([run(tag), run(task("main", revision="main"))]) + send([run(tag, "--redo")], offline=True)
    assert [result.code for result in done] == [0, 0, 0], done
    assert commits(tmp_path) == [A]


def test_a_branch_of_a_dataset_without_a_card_is_resolved(small, task, send, tmp_path):
    for files in small.commits.values():
        del files["README.md"]
    (done,) = send([run(task(revision="main"))])
    assert (done.code, commits(tmp_path)) == (0, [B]), done


def test_a_branch_that_moves_while_a_task_loads_is_one_commit(small, task, send, hub, tmp_path):
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


def test_a_hub_that_returns_another_commit_is_an_error(small, task, send):
    small.refs[A] = B
    (done,) = send([run(task())])
    refused(done, "bbbbbbbbbbbb of it was loaded, not aaaaaaaaaaaa")


def test_the_commit_is_recorded_when_tables_are_held_in_memory(small, task, hub, tmp_path):
    done = in_own_process(hub, tmp_path, *run(task()), HF_DATASETS_IN_MEMORY_MAX_SIZE="100000000")
    assert (done.code, commits(tmp_path)) == (0, [A]), done


def test_a_run_does_not_continue_after_its_branch_has_moved(small, task, send, hub):
    main = task(revision="main")
    (first,) = send([run(main, "--limit", "1")])
    small.refs["main"] = A
    (other,) = send([run(main)])
    assert first.code == 0
    assert other.code == 2
    assert f"(commit.{NAME}: bbbb" in other.err
    assert "--out elsewhere, or --redo" in other.err


def test_two_processes_load_one_dataset_concurrently(small, task, hub, tmp_path):
    env = environment(hub, HF_HOME=str(tmp_path / "home"))
    command = [sys.executable, "-m", "m1eval"]
    processes = [
        subprocess.Popen([*command, *run(task(name))], env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for name in ("t", "u")
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert commits(tmp_path, "t") == commits(tmp_path, "u") == [A]


def test_mrcr_loads_its_first_data_and_by_protocol_the_fixed_ones(hub, send, tmp_path):
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


def test_the_worked_examples_of_mmlu_pro_are_from_the_pinned_commit(hub, send, tmp_path):
    (done,) = send([["run", "-t", "mmlu_pro", "-m", "echo:gold", "--protocol", "official", "--json", "--out", "out/t"]])
    assert done.code == 0, done
    assert commits(tmp_path) == ["527feea0afed1de15a8c115abf7be4c912123315"] * 2
