"""The network between a task and the hub: outages, downloads that break off, gateways, and no network at all."""

from typing import Any

import pytest

from m1eval.task.hub_errors import explain
from tests.tasks.hub import TOKEN, Handler
from tests.tasks.hub_dataset import FILE, NAME, A, commits, in_own_process, refuse, refused, run


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_requests_are_retried_while_the_hub_has_an_outage(small, task, send, hub, status):
    with hub.failing(refuse(status, 2, "/resolve/", "HEAD")):
        (done,) = send([run(task())])
    assert done.code == 0, done


@pytest.mark.parametrize("status", [500, 503, 429])
@pytest.mark.parametrize("cached", ["nothing", "another commit"])
def test_a_lasting_outage_of_the_hub_is_an_error_in_one_line(small, task, send, hub, status, cached):
    pinned = task()
    if cached != "nothing":
        send([run(task("main", revision="main"))])
    hub.seen.clear()
    with hub.failing(refuse(status, 10**6, "", "HEAD")):
        (done,) = send([run(pinned)])
    tries = sum(path.endswith("README.md") and method == "HEAD" for method, path in hub.seen)
    refused(done, "(429)" if status == 429 else f"answers {status}" if cached == "nothing" else "cannot be loaded")
    assert tries >= 3 or cached != "nothing"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_cached_commit_is_used_during_an_outage_of_the_hub(small, task, send, hub, status):
    pinned = task()
    send([run(pinned, "--out", "before")])
    with hub.failing(refuse(status, 10**6, "", "HEAD")):
        (done,) = send([run(pinned)])
    assert done.code == 0, done


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


def test_a_download_that_breaks_off_is_continued(small, task, send, hub):
    with hub.failing(cut(100, 1)):
        (done,) = send([run(task())])
    assert done.code == 0, done


def test_a_download_that_always_breaks_off_is_an_error_and_leaves_no_table(small, task, send, hub, tmp_path):
    with hub.failing(cut(0, 10**6)):
        (done,) = send([run(task())])
    refused(done, "the connection to the hub broke off")
    assert not list((tmp_path / "home" / "datasets").glob("org___set/**/*.arrow"))
    (done,) = send([run(task())])
    assert done.code == 0, done


def test_a_file_shorter_than_announced_is_an_error(small, task, send, hub):
    def fault(handler: Handler) -> bool:
        if handler.command == "HEAD" and handler.where.endswith(".parquet"):
            handler.file(small.commits[A][FILE] + b"more", A)
            return True
        return False

    with hub.failing(fault):
        (done,) = send([run(task())])
    refused(done, "org/set cannot be loaded")


def test_a_missing_etag_is_an_error_and_a_changed_one_is_not(small, task, send, hub):
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
def test_the_page_of_a_gateway_is_not_taken_for_the_hub(small, task, send, hub, page):
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


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_of_the_file_store_is_not_taken_for_the_hub_s(small, task, send, hub, status, token):
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


@pytest.mark.parametrize(
    ("text", "words", "passing"),
    [
        ("Reqwest Error: HTTP status client error (429 Too Many Requests), domain: https://x", "answers 429", True),
        ("CAS Client Error: HTTP status client error (403 Forbidden) for url (https://x)", "refuses it (403)", True),
        ("CAS Client Error: something else", "something else", False),
    ],
)
def test_errors_of_the_store_of_large_files_are_explained(text, words, passing):
    explanation = explain(RuntimeError(text), NAME, A)
    assert words in explanation.text
    assert explanation.transient == passing


def test_the_endpoint_may_end_in_a_slash(small, task, hub, tmp_path):
    done = in_own_process(hub, tmp_path, *run(task()), HF_ENDPOINT=f"{hub.url}/")
    assert (done.code, commits(tmp_path)) == (0, [A]), done


def test_an_unreachable_server_is_reported_as_no_network(small, task, hub, tmp_path):
    done = in_own_process(hub, tmp_path, *run(task(revision="main")), "--redo")
    assert (done.code, done.err) == (0, "")
    refused(
        in_own_process(hub, tmp_path, *run(task()), "--redo", HF_ENDPOINT="http://127.0.0.1:9"),
        "the hub cannot be reached (ConnectError)",
        remedy="--data-dir DIR reads DIR/t.jsonl",
    )


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_the_error_names_the_variable_that_turns_the_network_off(small, task, hub, tmp_path, variable):
    done = in_own_process(hub, tmp_path, *run(task()), **{variable: "1"})
    refused(done, f"the hub cannot be reached ({variable} is set)")
