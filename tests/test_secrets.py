"""Secrets never reach screen or disk, whichever way they came in and in whatever form they come back."""

import base64
import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest

from m1eval import credentials, secrets
from tests.conftest import run_of, write

KEY = "sk-proj-AbC123dEf456GhI789jKl"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    secrets.clear()
    yield
    secrets.clear()


class Echo(ThreadingHTTPServer):
    """A server that sends back all that it was sent: in answers, errors, model entries, tool calls."""

    daemon_threads = False

    def __init__(self) -> None:
        self.asked = 0
        self.seen: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection for each request, so that none is left open
    server: Echo

    def _quoted(self, body: str = "") -> str:
        headers = dict(self.headers.items())
        login = headers.get("Authorization", "").removeprefix("Basic ")
        texts = [json.dumps({"path": self.path, "headers": headers, "body": body}), self.path, body]
        for value in headers.values():
            texts += [value, quote(value), base64.b64encode(f"x{value}".encode()).decode(), repr(value)]
        with suppress(ValueError):
            texts.append(base64.b64decode(login, validate=True).decode())
        return "\n".join(texts)

    def _send(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Echo", self.headers.get("Authorization", ""))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        quoted = self._quoted()
        self.server.seen.append(quoted)
        self._send(200, {"data": [{"id": "m", "owned_by": quoted, quoted: "key", "nested": {"a": quoted}}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        quoted = self._quoted(body)
        self.server.seen.append(quoted)
        self.server.asked += 1
        if self.server.asked % 3 == 0:
            self._send(400, {"error": {"message": f"Incorrect API key provided: {quoted}"}})
            return
        function = {"name": quoted[:50], "arguments": json.dumps({"a": quoted})}
        message: dict[str, Any] = {"role": "assistant", "content": f"answer {quoted}", "reasoning": quoted}
        message["tool_calls"] = [{"id": "1", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        wrong = {"index": 1, "message": message, "finish_reason": quoted}
        choices = [choice, wrong] if json.loads(body).get("n") else [choice]
        self._send(200, {"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 3}})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


WAYS: dict[str, tuple[list[str], dict[str, str], list[str]]] = {
    "--option=headers": ([f'--option=headers={{"api-key": "{KEY}"}}'], {}, [KEY]),
    "-oheaders": ([f'-oheaders={{"x-api-key": "{KEY}"}}'], {}, [KEY]),
    "-o headers": (["-o", f'headers={{"Authorization": "Bearer {KEY}"}}'], {}, [KEY]),
    "a header of another name": (["-o", f'headers={{"X-Team": "{KEY}"}}'], {}, [KEY]),
    "a header from a variable": (["-o", 'headers={"X-Api": "Token $MINE"}'], {"MINE": KEY}, [KEY]),
    "the key of the environment": ([], {"OPENAI_API_KEY": KEY}, [KEY]),
    "a key with odd characters": ([], {"OPENAI_API_KEY": 'pa"ss\\wo+rd/&<%41>=='}, ['pa"ss\\wo+rd/&<%41>==']),
    "api_key_env": (["-o", "api_key_env=ANY_NAME"], {"ANY_NAME": KEY}, [KEY]),
    "a short key": ([], {"OPENAI_API_KEY": "hunter2!"}, ["hunter2!"]),
    "extra_body": (["-o", f'extra_body={{"provider": {{"api_key": "{KEY}"}}, "top_k": 5}}'], {}, [KEY]),
    "n": (["-o", "n=2", "-k", "2"], {"OPENAI_API_KEY": KEY}, [KEY]),
    "HF_TOKEN": (["--set", f"system={KEY}"], {"HF_TOKEN": KEY}, [KEY]),
}
LOGINS = {
    "user:p@ss@": ["p@ss"],
    "user:p%40s%2Fs%3Aword@": ["p@s/s:word", "p%40s%2Fs%3Aword"],
    f"{KEY}@": [KEY],
    f"{KEY}:@": [KEY],
}
PATHS = {f"/v1?api_key={KEY}": [KEY], "/v1?sig=aB3%2BdE6gH9": ["aB3%2BdE6gH9", "aB3+dE6gH9"], f"/{KEY}/v1": [KEY]}


def forms(secret: str) -> set[str]:
    """The ways of writing a secret that must not be found anywhere."""
    escaped = json.dumps(secret)[1:-1]
    return {secret, escaped, json.dumps(escaped)[1:-1], quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}


def run(tmp_path: Path, task: Path, url: str, options: list[str], env: dict[str, str]) -> bytes:
    """The bytes that some commands print on both streams, and what they leave on the disk."""
    printed = b""
    command = ["run", "--tasks", str(task), "--model", "http:m", "--base-url", url, "--out", "x", *options]
    for more in (["--dry-run"], ["--debug"], ["--json"]):
        first = more[:1] if more == ["--debug"] else []
        done = subprocess.run(
            [sys.executable, "-m", "m1eval", *first, *command, *(more if not first else []), "-o", "retries=0"],
            cwd=tmp_path,
            env={**{k: v for k, v in os.environ.items() if "KEY" not in k}, **env},
            capture_output=True,
            timeout=60,
            check=False,
        )
        printed += done.stdout + done.stderr
    files = b"".join(path.read_bytes() for path in sorted((tmp_path / "x").rglob("*")) if path.is_file())
    prompts = run_of(tmp_path / "x") / "prompts.zst"
    if prompts.exists():
        from m1eval.store.prompts import read_prompts

        files += json.dumps(list(read_prompts(prompts))).encode()
    parquet = run_of(tmp_path / "x") / "samples.parquet"
    if parquet.exists():
        import pandas

        files += pandas.read_parquet(parquet).to_json().encode()
    return printed + files


def search(everything: bytes, hidden: list[str]) -> None:
    for secret in hidden:
        for form in forms(secret):
            at = everything.find(form.encode())
            assert at < 0, (form, everything[max(0, at - 200) : at + 200])
        if len(secret) >= 12:
            for shift in range(3):
                inner = base64.b64encode(b"\0" * shift + secret.encode())[4:-4]
                assert inner not in everything


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [json.dumps({"q": f"question {i}", "a": "answer"}) for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    text = 'title: T\ndataset: {file: rows.jsonl}\nprompt: "{{ q }}"\ntarget: "{{ a }}"\nscorer: exact\n'
    return write(tmp_path / "t.yaml", text + "generation: {temperature: 1.0}\n")


@pytest.mark.parametrize("way", WAYS)
def test_no_option_or_variable_leaves_its_secret(way: str, tmp_path: Path, echo: Echo, task: Path) -> None:
    options, env, hidden = WAYS[way]
    everything = run(tmp_path, task, f"http://{echo.host}/v1", options, env)
    assert echo.asked >= 6, everything.decode(errors="replace")[:3000]
    assert any(secret in text for text in echo.seen for secret in hidden), "the server was sent it, and sent it back"
    assert b"***" in everything
    search(everything, hidden)


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_of_an_address_is_left(login: str, tmp_path: Path, echo: Echo, task: Path) -> None:
    everything = run(tmp_path, task, f"http://{login}{echo.host}/v1", [], {})
    assert echo.asked >= 6, everything.decode(errors="replace")[:3000]
    search(everything, LOGINS[login])
    assert base64.b64encode(b"user:p@ss") not in everything


@pytest.mark.parametrize("path", PATHS)
def test_no_key_in_a_path_or_query_is_left(path: str, tmp_path: Path, echo: Echo, task: Path) -> None:
    everything = run(tmp_path, task, f"http://{echo.host}{path}", [], {})
    search(everything, PATHS[path])


def test_no_option_of_a_judge_leaves_its_secret(tmp_path: Path, echo: Echo, task: Path) -> None:
    judged = task.read_text().replace(
        "scorer: exact", 'scorer: {judge: {rubric: "{{ output }}", verdicts: {answer: 1, B: 0}}}'
    )
    task.write_text(judged)
    judge = f'http:m,base_url=http://{echo.host}/v1,headers={{"api-key": "{KEY}"}}'
    everything = run(tmp_path, task, f"http://{echo.host}/v1", ["--judge", judge], {})
    assert any(KEY in text for text in echo.seen), everything.decode()[:3000]
    search(everything, [KEY])


def test_a_login_of_a_proxy_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pr0xy-word@proxy:3128")
    assert (
        secrets.redact("cannot connect to http://me:pr0xy-word@proxy:3128")
        == "cannot connect to http://me:***@proxy:3128"
    )


def test_a_changed_key_continues_the_run_and_a_changed_option_does_not(m1eval: Any, tmp_path: Path, task: Path) -> None:
    write(
        tmp_path / "runners" / "keyed.py",
        """
        from m1eval import Output

        class Runner:
            def __init__(self, model, *, api_key="", extra=None):
                pass

            async def generate(self, request):
                return Output(text="answer")

            async def aclose(self):
                pass
        """,
    )
    runner = tmp_path / "runners" / "keyed.py"
    command = ("run", "--tasks", task, "--model", f"{runner}:m", "--out", tmp_path / "x", "--display", "none")
    assert m1eval(*command, "-o", "api_key=first-secret-1", "-o", 'extra={"token": "abc", "k": 1}').code == 0
    config = json.loads((run_of(tmp_path / "x") / "run.json").read_text())["config"]["runner"]
    assert config == {"api_key": "***", "extra": {"token": "***", "k": 1}}
    assert m1eval(*command, "-o", "api_key=another-secret-2", "-o", 'extra={"token": "xyz", "k": 1}').code == 0
    other = m1eval(*command, "-o", "api_key=another-secret-2", "-o", 'extra={"token": "xyz", "k": 2}')
    assert other.code == 2
    assert "runner.extra.k: 1, now 2" in other.err


def test_grading_sees_what_the_disk_does_not(m1eval: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_TOKEN", KEY)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"q": "?", "a": KEY}) + "\n")
    text = 'title: T\ndataset: {file: rows.jsonl}\nprompt: "{{ q }}"\ntarget: "{{ a }}"\nscorer: exact\n'
    task = write(tmp_path / "t.yaml", text)
    result = m1eval("run", "--tasks", task, "--model", "echo:gold", "--out", tmp_path / "x", "--json")
    assert result.json()["runs"][0]["score"] == 1.0
    (record,) = map(json.loads, (run_of(tmp_path / "x") / "samples.jsonl").read_text().splitlines())
    assert (record["text"], record["target"], record["outcome"]) == ("***", "***", "right")


@pytest.mark.parametrize(
    "value", ["x", "EMPTY", "none", "test", "1234", "not-needed", "true", "aaaaaaaaaaaa", "", "abc"]
)
def test_what_stands_for_no_key_masks_nothing(value: str) -> None:
    secrets.register(value)
    text = "the test of x gives none or 1234, aaaaaaaaaaaa and EMPTY; not-needed, true, abc"
    assert secrets.redact(text) == text


def test_a_plain_word_in_a_harmless_header_masks_no_answer() -> None:
    credentials.register_headers({"X-Mode": "reasoning", "User-Agent": "my-agent/1.0 (x)", "Accept": "text/html;q=0.9"})
    assert secrets.redact("reasoning my-agent/1.0 (x) text/html;q=0.9") == "reasoning my-agent/1.0 (x) text/html;q=0.9"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (['-oheaders={"a": "b"}'], ["-oheaders=***"]),
        (["--option", "api_key=x"], ["--option", "api_key=***"]),
        (["-o", "hf_token=x"], ["-o", "hf_token=***"]),
        (["-o", "password=a=b"], ["-o", "password=***"]),
        (["--judge", "http:m,timeout=3,headers={a: b,c: d}"], ["--judge", "http:m,timeout=3,headers=***"]),
        (["--base-url", "http://u:p@ss@h/v1"], ["--base-url", "http://***@h/v1"]),
        (["--base-url=http://u:p/w@h:80/v1"], ["--base-url=http://***@h:80/v1"]),
        (["--base-url", "http://h/v1?key=x&api-version=1"], ["--base-url", "http://h/v1?key=***&api-version=1"]),
        (["-o", 'extra_body={"a": {"secret": "x"}, "b": 2}'], ["-o", 'extra_body={"a": {"secret": "***"}, "b": 2}']),
        (["-o", "api_key_env=OPENAI_API_KEY"], ["-o", "api_key_env=OPENAI_API_KEY"]),
        (["--max-tokens", "32000", "-k4", "--set", "a.b=3"], ["--max-tokens", "32000", "-k4", "--set", "a.b=3"]),
        (["--model", "http:org/name-2507", "--out", "x@y/z"], ["--model", "http:org/name-2507", "--out", "x@y/z"]),
    ],
)
def test_the_words_of_a_command_are_masked_by_their_place(words: list[str], shown: list[str]) -> None:
    assert credentials.hide_command(words) == shown


@pytest.mark.parametrize("name", ["api_key", "x-api-key", "apiKey", "Ocp-Apim-Subscription-Key", "HF_TOKEN", "pass"])
def test_names_that_mean_a_secret_are_recognised(name: str) -> None:
    assert credentials.is_key_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "tokenizer", "eos_token", "prefix_key", "monkey", "stop_token", "keys"])
def test_names_that_mean_no_secret_are_left_alone(name: str) -> None:
    assert not credentials.is_key_name(name)


def test_cut_secrets_and_those_that_a_server_masked_are_masked() -> None:
    secrets.register(KEY)
    assert (
        secrets.redact(f"begins with {KEY[:20]}… and ends with …{KEY[-20:]}") == "begins with ***… and ends with …***"
    )
    assert secrets.redact(f"Incorrect API key provided: {KEY[:8]}****{KEY[-4:]}.") == "Incorrect API key provided: ***."


SPELLED = {
    "upper case": str.upper,
    "lower case": str.lower,
    "hex": lambda key: key.encode().hex(),
    "hex in capitals": lambda key: key.encode().hex().upper(),
    "percent-encoded throughout": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "percent-encoded twice": lambda key: quote(quote(key, safe=""), safe=""),
    "escaped throughout": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "escaped for HTML": html.escape,
    "escaped for HTML throughout": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "JSON of PHP": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "JSON of Go": lambda key: re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(key)[1:-1]),
    "bytes": lambda key: repr(key.encode()),
}
KEYS = [KEY, "Zm9vYmFy/+abcDEF12==", 'pa"ss\\wo+rd/&<%41>', "пароль-сложный-9", "hunter2!"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("way", SPELLED)
def test_a_secret_is_masked_in_whatever_spelling(way: str, key: str) -> None:
    secrets.register(key)
    written = SPELLED[way](key)
    text = f"before {written} behind"
    assert written not in secrets.redact(text)
    assert secrets.contains_secret(text.encode())
    assert secrets.redact("before behind") == "before behind"


@pytest.mark.parametrize("key", [KEY, "Zm9vYmFy/+abcDEF12=="])
def test_of_a_secret_that_is_split_in_two_no_half_is_left(key: str) -> None:
    secrets.register(key)
    for at in range(len(key) + 1):
        for between in ("\n", '", "', " and then "):
            left = secrets.redact(f"<{key[:at]}{between}{key[at:]}>")
            assert not any(part in left for part in (key[:at], key[at:]) if len(part) >= len(key) / 2), (at, left)
            assert secrets.contains_secret(f"<{key[:at]}{between}{key[at:]}>".encode())


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    """Counted in characters looked at, by texts that hold a part of the secret everywhere."""
    secrets.register(KEY)
    half = KEY[: len(KEY) // 2 + 2]
    for text in (half * 1000, KEY * 1000, KEY[:-1] * 1000):
        assert KEY not in secrets.redact(text)
    assert secrets.redact(KEY * 1000) == "***" * 1000
