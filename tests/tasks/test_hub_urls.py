"""Files that a task names by a URL outside the hub."""

from typing import Any

import pytest

from tests.conftest import Result, run_of
from tests.tasks.hub import Hub
from tests.tasks.hub_dataset import in_own_process, refuse, refused, run
from tests.tasks.hub_files import jsonl


def by_url(task: Any, hub: Hub, name: str = "t", file: str = "d.jsonl") -> str:
    """A task whose file is named by its URL; `datasets` takes addresses of the hub for its own."""
    url = f"{hub.url.replace('127.0.0.1', 'localhost')}/raw/{file}"
    return str(task(name, hub="json", revision="v1", split="train", files=[url]))


def test_a_run_does_not_continue_after_the_file_of_a_url_has_changed(task, hub, tmp_path):
    """Runs in processes of their own, as `datasets` asks for a URL once in each."""
    path = by_url(task, hub)

    def call(*more: str) -> Result:
        return in_own_process(hub, tmp_path, *run(path), *more)

    hub.raw["d.jsonl"] = jsonl([{"q": "1", "a": "A"}, {"q": "2", "a": "B"}])
    first, same = call("--limit", "1"), call("--limit", "1")
    assert (first.code, same.code) == (0, 0), (first, same)
    hub.raw["d.jsonl"] = jsonl([{"q": "1", "a": "A"}, {"q": "2", "a": "C"}])
    other, redone = call(), call("--redo")
    assert (other.code, other.err.count("\n")) == (2, 1), other
    assert "(digest.json: " in other.err
    assert "--out elsewhere, or --redo" in other.err
    assert redone.code == 0, redone
    assert '"target":"C"' in (run_of(tmp_path / "out/t") / "samples.jsonl").read_text()


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
def test_refusals_of_a_url_are_explained(task, send, hub, status, words):
    hub.raw["d.jsonl"] = jsonl([{"q": "1", "a": "A"}])
    with hub.failing(refuse(status, 10**6, "/raw/")):
        (done,) = send([run(by_url(task, hub))])
    refused(done, "localhost:", words)
    assert "HF_TOKEN" not in done.err


def test_an_unreachable_url_is_an_error_and_a_short_outage_is_not(task, send, hub):
    hub.raw["d.jsonl"] = jsonl([{"q": "1", "a": "A"}])
    gone = task("u", hub="json", revision="v1", split="train", files=["http://127.0.0.2:9/d.jsonl"])
    (done,) = send([run(gone)])
    refused(done, "127.0.0.2:9 cannot be reached (ConnectionRefusedError)")
    with hub.failing(refuse(503, 2, "/raw/")):
        (done,) = send([run(by_url(task, hub))])
    assert done.code == 0, done
