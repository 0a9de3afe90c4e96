"""Access to the hub: gated and private datasets, tokens, and names that do not exist."""

import json
from types import SimpleNamespace

import pytest

from m1eval.task.hub_errors import explain
from tests.tasks.hub import STRANGER, TOKEN
from tests.tasks.hub_dataset import FILE, NAME, A, in_own_process, refused, run


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
def test_names_that_do_not_exist_are_errors_in_one_line(small, task, send, keys, words):
    (done,) = send([run(task(**keys))])
    refused(done, words)


def test_a_card_that_names_missing_files_is_an_error(small, task, send):
    small.commits[A]["moved/test.parquet"] = small.commits[A].pop(FILE)
    (done,) = send([run(task())])
    refused(done, f"at {A[:12]} it has no data files where its card says that they are")


@pytest.mark.parametrize("name", ["../x", "x/../../other/one.jsonl", "/etc/passwd", "https://example.org/x.jsonl"])
def test_files_outside_the_dataset_are_refused(small, task, send, name):
    (done,) = send([run(task(files=[name], split="train"))])
    refused(done, f"'{name}' is not a file of org/set: write its path from the root of the dataset")


def test_names_with_dots_are_files_of_the_dataset(small, task, send):
    small.commits[A]["x/..one..jsonl"] = small.commits[A]["x/one.jsonl"]
    (done,) = send([run(task(files=["x/..one..jsonl"], split="train"))])
    assert done.code == 0, done


def test_gated_tasks_name_the_page_of_their_terms_and_the_variable_of_the_token(hub, send):
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


def test_a_token_with_impossible_characters_is_an_error(small, task, send):
    (done,) = send([run(task())], token=f"{TOKEN}é")
    refused(done, "the token (HF_TOKEN) has characters that tokens cannot have")


def test_a_refusal_through_a_mirror_is_explained_as_the_hub_s():
    """A mirror that has no copy sends on to the hub, whose refusals have codes; those of its stores have none."""
    error = OSError("401")
    answer = {"url": "https://mirrored.example/x", "status_code": 401, "headers": {"X-Error-Code": "GatedRepo"}}
    error.response = SimpleNamespace(**answer)  # type: ignore[attr-defined]
    assert "it is gated, and there is no token" in explain(error, NAME, A).text
    error.response.headers = {}  # type: ignore[attr-defined]
    assert "mirrored.example, where the hub keeps its files, refuses it (401)" in explain(error, NAME, A).text


def test_an_impossible_setting_of_the_libraries_is_an_error_in_one_line(small, task, hub, tmp_path):
    done = in_own_process(hub, tmp_path, *run(task()), HF_HUB_DOWNLOAD_TIMEOUT="soon")
    refused(done, "cannot be imported", "'soon'", "is a variable HF_… wrong?")
