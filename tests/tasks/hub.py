"""A hub on the loopback interface: repositories of datasets as `huggingface_hub` and `datasets` ask for them.

What it answers follows huggingface.co: revisions resolved to commits, listings, files with `X-Repo-Commit` and `ETag`,
byte ranges, and refusals with their `X-Error-Code`. A repository can be made to fail in ways that the real one does.
"""

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.conftest import ROOT

TOKEN = "hf_accepted0000000000000000000000"
"""A token whose account has accepted the terms of every gated repository."""
STRANGER = "hf_stranger0000000000000000000000"
"""A valid token whose account has accepted no terms."""


@dataclass
class Repository:
    """The files of a dataset by commit; `refs` are its branches and tags."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, revision: str) -> str | None:
        """The commit that a revision names."""
        commit = self.refs.get(revision, revision)
        return commit if commit in self.commits else None


Fault = Callable[["Handler"], bool]
"""Answers a request in its own way and says so, or leaves it to the hub."""


class Hub:
    """The server: its repositories, its faults, and the requests that it saw."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.raw: dict[str, bytes] = {}
        """Files outside of any repository, by path."""
        self.fault: Fault | None = None
        self.seen: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self._server.daemon_threads = False  # so that `server_close` waits until each connection is closed
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # connections that were left
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Context in which every answer has a fault in front of it."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    def __enter__(self) -> "Hub":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def environment(hub: Hub, **more: str) -> dict[str, str]:
    """The environment of a process that has this hub."""
    env = {name: value for name, value in os.environ.items() if not re.match("HF_|HUGGING", name)}
    return env | {"HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"} | more


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *args: Any) -> None:
        """Stay silent."""

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.where = unquote(urlsplit(self.path).path)
        self.hub.seen.append((self.command, self.where))
        if self.hub.fault and self.hub.fault(self):
            return None
        if self.where.startswith("/raw/"):
            resource = self.hub.raw.get(self.where.removeprefix("/raw/"))
            return self.file(resource, "0" * 40) if resource is not None else self.refuse(404, "EntryNotFound")
        parts = self.where.strip("/").split("/")
        api = parts[0] == "api"
        name, rest = "/".join(parts[2:4] if api else parts[1:3]), parts[4:] if api else parts[3:]
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and self.token != TOKEN):
            return self.refuse(404 if self.token else 401, "RepoNotFound" if self.token else "", "Repository not found")
        if self.token and self.token not in (TOKEN, STRANGER):
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        return self._api(name, repository, rest) if api else self._resolve(repository, rest)

    def _closed(self, repository: Repository) -> bool:
        """Refuse what is gated; its metadata are open."""
        if not repository.gated or self.token == TOKEN:
            return False
        self.refuse(403 if self.token else 401, "GatedRepo", "Access to dataset is restricted")
        return True

    def _api(self, name: str, repository: Repository, rest: list[str]) -> None:
        if rest == ["auth-check"]:
            return None if self._closed(repository) else self.json({})
        kind, revision = (rest[0], rest[1]) if len(rest) > 1 else ("revision", "main")
        commit = repository.commit(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repository.commits[commit]
        if kind == "revision":
            siblings = [{"rfilename": path} for path in files]
            about = {"id": name, "sha": commit, "siblings": siblings, "private": repository.private, "tags": []}
            return self.json({**about, "downloads": 0, "likes": 0, "gated": "auto" if repository.gated else False})
        if kind == "paths-info":
            requested = json.loads(self.body).get("paths", [])
            return self.json([entry for path in requested for entry in _entries(files, path, itself=True)])
        if kind == "tree":
            under = "/".join(rest[2:])
            entries = list(_entries(files, under, itself=False, deep="recursive=true" in self.path.lower()))
            return self.json(entries) if entries or not under else self.refuse(404, "EntryNotFound")
        return self.refuse(404, "EntryNotFound")

    def _resolve(self, repository: Repository, rest: list[str]) -> None:
        if self._closed(repository):
            return None
        commit = repository.commit(rest[1])
        if commit is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
        content = repository.commits[commit].get("/".join(rest[2:]))
        if content is None:
            return self.refuse(404, "EntryNotFound", "Entry not found", commit)
        return self.file(content, commit)

    def file(self, content: bytes, commit: str, *, etag: str | None = None, cut: int | None = None) -> None:
        """Send a file, or the range of it that was asked for; `cut` bytes of it and no more, as if the line broke."""
        start = 0
        if byte_range := self.headers.get("Range"):
            start = int(byte_range.partition("=")[2].partition("-")[0] or 0)
        self.send_response(206 if byte_range else 200)
        self.send_header("ETag", f'"{etag or hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if byte_range:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[start : None if cut is None else start + cut])
        if cut is not None:
            self.close_connection = True

    def json(self, data: Any) -> None:
        """Send data as JSON."""
        self._send(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str = "", message: str = "", commit: str = "", **headers: str) -> None:
        """Refuse as the hub does."""
        named = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        self._send(status, json.dumps({"error": message}).encode(), {k: v for k, v in named.items() if v} | headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entries(files: dict[str, bytes], under: str, *, itself: bool, deep: bool = True) -> Iterator[dict[str, Any]]:
    """The files of a folder as the API lists them, and its folders; or the thing at a path itself."""
    if itself and under in files:
        yield _file_entry(under, files[under])
        return
    above = f"{under}/" if under else ""
    inside = [path for path in files if path.startswith(above)]
    if itself:
        if inside and under:
            yield {"type": "directory", "path": under, "oid": "0" * 40, "size": 0}
        return
    folders: dict[str, None] = {}
    for path in inside:
        parts = path.removeprefix(above).split("/")[:-1]
        for depth in range(1, len(parts) + 1 if deep else min(len(parts), 1) + 1):
            folders[above + "/".join(parts[:depth])] = None
        if deep or not parts:
            yield _file_entry(path, files[path])
    for folder in folders:
        yield {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}


def _file_entry(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    sha = hashlib.sha256(content).hexdigest()
    lfs = {"oid": sha, "size": len(content), "pointerSize": 134}
    return {"type": "file", "path": path, "oid": oid, "size": len(content), "lfs": lfs}
