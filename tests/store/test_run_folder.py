"""The folder of a run: nothing of anybody's is overwritten, followed or lost, whatever happens to its files."""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m1eval.errors import Stopped, UsageError
from m1eval.model.model import Model
from m1eval.run.run import Run
from m1eval.store import files, parquet
from m1eval.store import folder as folders
from m1eval.store.journal import Journal
from m1eval.store.prompts import read_prompts
from m1eval.store.record import Record
from m1eval.task.load import load_tasks
from tests.conftest import lines, run_of, write
from tests.serving import Closed
from tests.store.run_folders import file_contents, folder_of, run_command

# --redo


# Foreign files


@pytest.mark.parametrize(
    "content", ['{"name": "a package"}', "not JSON", '{"task": "x", "config": {}}', "[1, 2]", '{"summary": {}}']
)
@pytest.mark.parametrize("redo", [(), ("--redo",)])
def test_a_foreign_run_json_is_refused_and_kept(m1eval, capitals, tmp_path, content, redo):
    write(folder_of(tmp_path / "x") / "run.json", content)
    (folder_of(tmp_path / "x") / "notes.txt").write_text("mine")
    before = file_contents(folder_of(tmp_path / "x"))
    result = m1eval(*run_command(capitals, tmp_path / "x", *redo))
    assert (result.code, result.err.count("\n"), "run.json" in result.err) == (2, 1, True)
    assert file_contents(folder_of(tmp_path / "x")) == before


@pytest.mark.parametrize("name", ["samples.jsonl", "prompts.zst", "samples.parquet"])
@pytest.mark.parametrize("redo", [(), ("--redo",)])
def test_files_without_run_json_are_refused_and_kept(m1eval, capitals, tmp_path, name, redo):
    write(folder_of(tmp_path / "x") / name, "mine")
    result = m1eval(*run_command(capitals, tmp_path / "x", *redo))
    assert (result.code, f"holds {name} without run.json" in result.err) == (2, True)
    assert file_contents(folder_of(tmp_path / "x")) == {name: b"mine"}


def test_a_run_that_comes_to_nothing_leaves_what_was_there(m1eval, capitals, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    with Closed() as port:
        model = ("--model", "http:m", "--base-url", f"http://127.0.0.1:{port}/v1", "-o", "patience=0")
        for out in ("x", "empty", "new", "new/and/below"):
            assert m1eval("run", "--tasks", capitals, *model, "--out", tmp_path / out).code != 0
    assert file_contents(tmp_path / "x") == {"notes.txt": b"mine"}
    assert file_contents(tmp_path / "empty") == {}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["empty", "x"]
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["notes.txt"]
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("name", [*folders.FILES, "run.json.new", "samples.jsonl.new", "samples.parquet.new"])
@pytest.mark.parametrize("redo", [(), ("--redo",)])
def test_links_in_the_folder_are_not_followed(m1eval, capitals, tmp_path, name, redo):
    folder_of(tmp_path / "x").mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    (folder_of(tmp_path / "x") / name).symlink_to(tmp_path / "precious")
    result = m1eval(*run_command(capitals, tmp_path / "x", *redo))
    assert (result.code, f"{name} is a symbolic link" in result.err) == (2, True)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_folder_may_be_a_link(m1eval, capitals, tmp_path):
    (tmp_path / "real").mkdir()
    link = folder_of(tmp_path / "x")
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "real")
    for more in ((), ("--redo",)):
        assert m1eval(*run_command(capitals, tmp_path / "x", *more)).code == 0
    assert link.is_symlink()
    assert len(lines(tmp_path / "real" / "samples.jsonl")) == 12


# Damage


@pytest.mark.parametrize("left", [0, 1, 20, 200, -3])
def test_a_cut_off_run_json_is_rebuilt(m1eval, capitals, tmp_path, left):
    m1eval(*run_command(capitals, tmp_path / "x"))
    file = folder_of(tmp_path / "x") / "run.json"
    whole = file.read_bytes()
    file.write_bytes(whole[:left] if left else b"\0" * 512)
    result = m1eval(*run_command(capitals, tmp_path / "x", "--limit", 3))
    assert (result.code, "rebuilt from the journal and this command" in result.out) == (0, True)
    assert json.loads(file.read_text())["config"] == json.loads(whole)["config"] | {"limit": 3}
    assert (folder_of(tmp_path / "x") / "run.json.damaged").exists()
    assert len(lines(folder_of(tmp_path / "x") / "samples.jsonl")) == 12


def test_a_cut_off_run_json_and_another_seed_are_refused(m1eval, capitals, tmp_path):
    m1eval(*run_command(capitals, tmp_path / "x"))
    (folder_of(tmp_path / "x") / "run.json").write_text('{\n "m1eval": "0.')
    before = file_contents(folder_of(tmp_path / "x"))
    result = m1eval(*run_command(capitals, tmp_path / "x", "--seed", 1))
    assert (result.code, "another --seed" in result.err, "--redo" in result.err) == (2, True, False)
    assert file_contents(folder_of(tmp_path / "x")) == before


def test_a_changed_setting_says_what_asking_again_costs(m1eval, capitals, tmp_path):
    m1eval(*run_command(capitals, tmp_path / "x"))
    result = m1eval(*run_command(capitals, tmp_path / "x", "--set", "prompt=other"))
    assert result.code == 2
    assert "--redo, which asks again for 12 answers (" in result.err
    assert " tokens so far)" in result.err


def test_lines_that_are_no_json_are_set_aside_and_never_deleted(m1eval, capitals, tmp_path):
    m1eval(*run_command(capitals, tmp_path / "x"))
    file = folder_of(tmp_path / "x") / "samples.jsonl"
    whole = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([b"\x00\x01 rubbish\n", *whole[:4], b'{"id": "capi\n', *whole[5:]]))
    result = m1eval(*run_command(capitals, tmp_path / "x"))
    assert (result.code, len(lines(file))) == (0, 12)
    assert (folder_of(tmp_path / "x") / "samples.jsonl.unreadable").read_bytes() == b'\x00\x01 rubbish\n{"id": "capi\n'


def test_a_whole_last_line_without_its_end_counts(m1eval, capitals, tmp_path):
    m1eval(*run_command(capitals, tmp_path / "x"))
    file = folder_of(tmp_path / "x") / "samples.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole.rstrip(b"\n"))
    assert m1eval(*run_command(capitals, tmp_path / "x")).code == 0
    assert file.read_bytes() == whole


def test_parquet_is_as_new_as_the_journal_whatever_the_clock_says(m1eval, capitals, tmp_path):
    m1eval(*run_command(capitals, tmp_path / "x", "--limit", 3))
    table, file = folder_of(tmp_path / "x") / "samples.parquet", folder_of(tmp_path / "x") / "samples.jsonl"
    os.utime(table, (4e9, 4e9))
    m1eval(*run_command(capitals, tmp_path / "x"))
    assert parquet.journal_digest(table) == files.digest(file)
    before = table.stat().st_ino
    os.utime(file, (4e9, 4e9))
    m1eval(*run_command(capitals, tmp_path / "x"))
    assert table.stat().st_ino == before, "it is written only where it is out of date"
    table.write_bytes(b"PAR1")
    m1eval(*run_command(capitals, tmp_path / "x"))
    assert parquet.journal_digest(table) == files.digest(file)


# While a run goes on


def _record(n: int) -> Record:
    return Record(id=f"a{n}", repeat=0, outcome="right", value=1.0)


def _disturb(folder: Path, how: str) -> None:
    file = folder / "samples.jsonl"
    if how == "replaced":
        (folder / "other").write_text("other\n")
        (folder / "other").replace(file)
    elif how == "folder deleted":
        shutil.rmtree(folder)
    else:
        file.unlink()


@pytest.mark.parametrize("how", ["deleted", "folder deleted", "replaced"])
def test_a_journal_that_goes_while_the_run_goes_on_is_written_again(tmp_path, how):
    async def scenario() -> Journal:
        journal = Journal(tmp_path / "x")
        await journal.append(_record(1))
        await journal.append(_record(2))
        _disturb(tmp_path / "x", how)
        with pytest.raises(Stopped, match="while the run went on; all answers so far are in"):
            await journal.append(_record(3))
        journal.close()
        return journal

    written = asyncio.run(scenario())
    assert [line["id"] for line in lines(written.path)] == ["a1", "a2", "a3"]
    assert written.tally.scored == 3
    if how == "replaced":
        assert (tmp_path / "x" / "samples.jsonl").read_text() == "other\n"


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_prompts_that_go_while_the_run_goes_on_are_written_again(shell, capitals, tmp_path, how):
    runner = """
        from pathlib import Path
        from m1eval import Output

        HERE = Path(__file__).parent

        class Runner:
            concurrency = 1

            def __init__(self, model: str): ...

            async def generate(self, request):
                if request.sample.id.endswith("07"):
                    for file in HERE.rglob("prompts.zst"):
                        file.unlink()
                        if "HOW" == "replaced":
                            file.write_text("mine")
                return Output(text=request.sample.gold)

            async def aclose(self): ...
    """
    write(tmp_path / "mine.py", runner.replace("HOW", how))
    command = ("run", "--tasks", capitals, "--model", "./mine.py:m", "--out", "x", "--display", "none")
    result = shell(*command)
    name = "prompts.zst" if how == "deleted" else "prompts.zst.rescued"
    run = run_of(tmp_path / "x")
    assert (result.code, f"was {how}" in result.out, "all prompts are in x" in result.out) == (0, True, True), result
    assert [row["id"] for row in read_prompts(run / name)] == [line["id"] for line in lines(run / "samples.jsonl")]
    if how == "replaced":
        assert (run / "prompts.zst").read_text() == "mine"


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_in_the_prompts_are_a_line_at_most_and_cost_nothing(shell, capitals, tmp_path, seed):
    draw = random.Random(seed)
    command = ("run", "--tasks", capitals, "--model", "echo:gold", "--out", "x", "--display", "none")
    assert shell(*command, "--limit", 6).code == 0
    file = run_of(tmp_path / "x") / "prompts.zst"
    content = bytearray(file.read_bytes())
    for place in draw.sample(range(len(content)), 2):
        content[place] ^= draw.randrange(1, 256)
    file.write_bytes(content)
    before = lines(file.with_name("samples.jsonl"))
    again = shell(*command)
    assert (again.code, again.err) == (0, "")
    after = lines(file.with_name("samples.jsonl"))
    assert (after[:6], len(after)) == (before, 12)
    damaged = file.with_suffix(".zst.damaged")
    assert damaged.exists() == ("is damaged and set aside" in again.out)
    assert (damaged if damaged.exists() else file).read_bytes()[: len(content)].startswith(content[:100])


def test_another_task_of_equal_content_is_refused(m1eval, capitals, tmp_path):
    folder = tmp_path / "x"
    m1eval(*run_command(capitals, folder))
    run = run_of(folder)
    shutil.copy(capitals, tmp_path / "b.yaml")
    task, model = load_tasks([str(tmp_path / "b.yaml")])[0], Model("echo:gold", {})
    before = file_contents(run)
    with pytest.raises(UsageError, match=r"\(task: capitals, now b\)"):
        Run(task, model, run).open()
    assert file_contents(run) == before


# A full disk


def test_a_full_disk_while_closing_is_a_line_each_and_leaves_nothing_half_written(tmp_path, capitals):
    script = """
        import resource, signal, sys
        from m1eval.cli.main import main
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
        main(sys.argv[2:])
    """
    file = write(tmp_path / "full.py", script)
    run = folder_of(tmp_path / "x")
    command = [str(arg) for arg in run_command(capitals, tmp_path / "x", "--repeats", 4)]
    start: Callable[[int], Any] = lambda size: subprocess.run(  # noqa: E731
        [sys.executable, file, str(size), *command], capture_output=True, text=True, check=False
    )
    assert start(-1).returncode == 0
    journal_file = run / "samples.jsonl"
    whole = journal_file.read_bytes().splitlines(keepends=True)
    journal_file.write_bytes(whole[0] + b"".join(whole))  # a line that compaction takes out
    content = journal_file.read_bytes()
    (run / "samples.parquet").unlink()
    room = start(1000)
    assert "Traceback" not in room.stderr + room.stdout
    assert journal_file.read_bytes() == content
    assert [path.name for path in run.iterdir() if path.name.endswith(".new")] == []
    assert "keeps lines that are out of date: File too large" in room.stdout
    assert "samples.parquet is not written" in room.stdout
    assert start(-1).returncode == 0
    assert journal_file.read_bytes() == b"".join(whole)


@pytest.mark.parametrize(("repeats", "room"), [(1, 1500), (80, 15_000)], ids=["for the journal", "for run.json"])
def test_lines_that_are_taken_out_stay_paid_for_once_on_a_full_disk(tmp_path, capitals, repeats, room):
    script = """
        import resource, signal, sys
        from m1eval.cli.main import main
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
        main(sys.argv[2:])
    """
    file = write(tmp_path / "full.py", script)

    def start(size: int, repeats: int, *more: object) -> "subprocess.CompletedProcess[str]":
        options = map(str, run_command(capitals, tmp_path / "x", "--limit", 1, "--repeats", repeats, *more))
        done = subprocess.run([sys.executable, file, str(size), *options], capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr + done.stdout
        return done

    assert start(-1, repeats).returncode == 0
    journal_file = folder_of(tmp_path / "x") / "samples.jsonl"
    whole = journal_file.read_bytes().splitlines(keepends=True)
    journal_file.write_bytes(whole[0] + b"".join(whole))
    fits = journal_file.stat().st_size < room
    assert fits != ((journal_file.parent / "run.json").stat().st_size < room), "one of them fits"
    tokens = sum(sum(json.loads(line)["usage"].values()) for line in [whole[0], *whole])
    for _ in range(2):
        done = start(room, repeats)
        assert ("run.json is out of date" if fits else "keeps lines that are out of date") in done.stdout, done.stderr
        assert len(journal_file.read_bytes().splitlines()) == len(whole) + 1
    for _ in range(2):  # the first takes the line out
        done = start(-1, repeats + 1, "--max-tokens-total", 1)
        assert f"--max-tokens-total 1: {tokens:,} tokens used" in done.stderr
        assert len(journal_file.read_bytes().splitlines()) == len(whole)
