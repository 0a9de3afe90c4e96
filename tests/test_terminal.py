"""Safe terminal output: printed text moves no cursor and hides nothing; a closed stream ends no command."""

import ast
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from m1eval import terminal
from tests.conftest import ROOT, run_of, write

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\b\x7f\u202egnp.exe\u2066\u200e\u2028\ufeff\U000e0041[red]x[/red][/]|"
RAW = re.compile(
    "[\0-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0041]"
)
SIGNS = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
"""Format characters that are seen: signs before Arabic, Syriac and Kaithi numbers."""


@pytest.mark.parametrize("category", ["Cc", "Cf", "Zl", "Zp", "Cs"])
def test_every_character_that_is_not_seen_is_escaped(category: str) -> None:
    allowed = {0x9, 0xA, 0x200C, 0x200D, *SIGNS}
    wrong = [
        hex(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) == category
        and (terminal.printable(chr(code)) == chr(code)) != (code in allowed)
    ]
    assert not wrong


def test_printable_text_is_unchanged_and_control_characters_are_escaped() -> None:
    text = "naïve Ω 漢字 עברית العربية हिन्दी 👩‍👩‍👧 ✔️ e\u0301 − … ─ tab\tand\nline"
    assert terminal.printable(text) == text
    assert terminal.printable("a\nb", newlines=False) == "a\\nb"
    assert terminal.printable("\x1b[1m\u202e\U000e0041\udcff") == "\\x1b[1m\\u202e\\U000e0041\\udcff"


def test_nothing_is_printed_elsewhere() -> None:
    """Every print, echo and console of the package is in the one module that makes them safe."""
    calls = []
    for folder in ("m1eval", "runners", "scorers", "tasks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name == "terminal.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if called in {"print", "click.echo", "click.secho", "Console", "Text"} or text in {
                    *("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__")
                }:
                    calls.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {called or text}")
    assert calls == [], "print through m1eval.terminal"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    names = ("m", HOSTILE)

    def _send(self, status: int, data: Any) -> None:
        body = json.dumps(data, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": name} for name in self.names]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["messages"][-1]["content"].startswith("line one\n1"):
            self._send(400, {"error": {"message": HOSTILE, "type": HOSTILE, "code": "\n\nError: forged"}})
            return
        message = {"role": "assistant", "content": HOSTILE}
        usage = {"prompt_tokens": 5, "completion_tokens": 5}
        self._send(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder whose task, data, folder names and published scores are all out to move the cursor."""
    name = HOSTILE.replace("/", "").replace("\u2028", "")
    rows = [{"i": f"{i}{HOSTILE}", "q": f"{i}{HOSTILE}", "depth": HOSTILE} for i in range(3)]
    (tmp_path / "tasks" / name).mkdir(parents=True)
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    definition = {
        "title": HOSTILE,
        "description": f"two\nlines {HOSTILE}",
        "tags": [HOSTILE],
        "dataset": {"file": str(tmp_path / "rows.jsonl")},
        "id": "{{ i }}",
        "prompt": "line one\n{{ q }}",
        "target": HOSTILE,
        "scorer": "exact",
    }
    text = yaml.safe_dump(definition)  # in ASCII, with escapes
    (tmp_path / "tasks" / name / "bad.yaml").write_text(text)
    (tmp_path / "tasks" / f"{name}.yaml").write_text(text)
    (tmp_path / "tasks" / "broken.yaml").write_text(yaml.safe_dump({"title": HOSTILE, HOSTILE: 1}))
    return tmp_path


ENV = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(ROOT)}


def piped(folder: Path, *args: str, code: int | None = None) -> str:
    """Output of a command to pipes, checked for raw control characters."""
    command = [sys.executable, "-m", "m1eval", *args]
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, timeout=60, check=False)
    text = (done.stdout + done.stderr).decode()
    if code is not None:
        assert done.returncode == code, text
    assert not RAW.search(text), text
    assert "\r" not in text
    assert "Traceback" not in text
    return text


def on_screen(folder: Path, *args: str) -> str:
    """Output of a command to a terminal, checked for control characters that are not rich's own."""
    command = [sys.executable, "-m", "m1eval", *args]
    master, slave = pty.openpty()
    with subprocess.Popen(command, cwd=folder, env=ENV, stdin=slave, stdout=slave, stderr=slave) as shown:
        os.close(slave)
        drawn = b""
        try:
            while part := os.read(master, 65536):
                drawn += part
        except OSError:  # the other end is closed: EIO on Linux
            pass
        finally:
            os.close(master)
        shown.wait(60)
    screen = drawn.decode("utf-8", "replace")
    assert "Traceback" not in screen
    # rich draws with colours and cursor movements of its plain; none of them is one of those in the names
    plain = re.sub(r"\x1b\[[0-9;?]*[mhlAKGJ]", "", screen.replace("\r\n", "\n").replace("\r", ""))
    assert "\x1b[2J" not in screen
    assert "\x1b[31m" not in screen
    assert not RAW.search(plain), repr(plain)
    return screen


def test_control_characters_in_listings_are_escaped(hostile: Path) -> None:
    assert "\\x1b]0;owned" in on_screen(hostile, "tasks")
    assert "\\x1b]0;owned" in piped(hostile, "tasks")
    piped(hostile, "tasks", "bad", code=0)
    on_screen(hostile, "tasks", "bad")
    piped(hostile, "check", "bad", "broken", HOSTILE)
    piped(hostile, "baselines", HOSTILE)


def test_control_characters_in_a_dry_run_are_escaped(hostile: Path) -> None:
    command = ["run", "--tasks", "bad", "--model", "echo:gold", "--dry-run", "--out", f"o{HOSTILE.replace('/', '')}"]
    for shown in (piped(hostile, *command, code=0), on_screen(hostile, *command)):
        assert "[red]x[/red][/]" in shown, "markup is text"
        assert "    line one\n    0\\x1b]0;owned" in shown.replace("\r", "")
    piped(hostile, *command, "--json", code=0)


def test_runs_in_pipes_and_what_is_made_of_them(hostile: Path, url: str) -> None:
    command = ["run", "--tasks", "bad", "--model", "http:m", "--base-url", url, "-o", "retries=0"]
    assert "\\x1b]0;owned" in piped(hostile, *command, "--out", "a", "--display", "plain", code=3)
    for args in (["compare", "a", "a"], ["compare", "a", "a", "--json"], ["lengths", "a", "--by", "depth"]):
        piped(hostile, *args, code=0)
    piped(hostile, "lengths", "a", "--by", HOSTILE, code=2)
    result = json.loads(piped(hostile, *command, "--out", "a", "--json", "--display", "none"))["runs"][0]
    assert HOSTILE.partition("\x1b[2J")[0] in result["errors"][0]["reason"]


def test_control_characters_in_the_live_view_are_escaped(hostile: Path, url: str) -> None:
    command = ["run", "--tasks", "bad", "--model", "http:m", "--base-url", url, "-o", "retries=0", "--display", "full"]
    shown = on_screen(hostile, *command, "--out", f"o{HOSTILE.replace('/', '')}")
    assert "\\x1b]0;owned" in shown
    assert "[red]x[/red][/]" in shown


def test_control_characters_in_errors_are_escaped(hostile: Path, url: str) -> None:
    for args in (
        ["run", "--tasks", HOSTILE, "--model", HOSTILE],
        ["run", "--tasks", "bad", "--model", f"http:x{HOSTILE}", "--base-url", url],
        ["run", "--tasks", "bad", "--model", "echo:gold", "-o", HOSTILE],
        ["run", "--tasks", "bad", "--model", "echo:gold", "--set", HOSTILE],
        ["run", "--tasks", "bad", "--model", "echo:gold", "--seed", HOSTILE],
        ["run", "--tasks", "broken", "--model", "echo:gold"],
        ["--debug", "run", "--tasks", f"./{HOSTILE}.yaml", "--model", "echo:gold"],
        [HOSTILE],
    ):
        command = [sys.executable, "-m", "m1eval", *args]
        done = subprocess.run(command, cwd=hostile, capture_output=True, timeout=60, check=False)
        text = (done.stdout + done.stderr).decode()
        reaches_server = "--base-url" in args  # the model list is advice, and the server refuses one of three requests
        assert done.returncode == (3 if reaches_server else 2), text
        assert not RAW.search(text), repr(text)
        if args[0] != "--debug" and text.startswith("Error: "):
            assert text.count("\n") == 1, text


def test_json_is_ascii_and_whole(hostile: Path, shell: Any) -> None:
    result = shell("tasks", "bad", "--json", cwd=hostile)
    assert result.out.isascii()
    assert "\x7f" not in result.out
    assert result.json()[0]["title"] == HOSTILE


def test_prints_of_plugins_and_warnings_are_made_safe_too(tmp_path: Path, capitals: Path, shell: Any) -> None:
    write(
        tmp_path / "runners" / "loud.py",
        r"""
        import logging, sys, warnings
        from m1eval import Output

        class Runner:
            def __init__(self, model):
                print("\x1b[31mprinted", file=sys.stderr)
                warnings.warn("\x1b[31mwarned")
                logging.getLogger("x").error("\x1b[31mlogged")

            async def generate(self, request):
                return Output(text="x")

            async def aclose(self):
                pass
        """,
    )
    result = shell("run", "--tasks", capitals, "--model", "loud:x")
    for word in ("printed", "warned", "logged"):
        assert f"\\x1b[31m{word}" in result.err
    assert "\x1b" not in result.err


def run_with(command: list[str], folder: Path, **how: Any) -> "subprocess.CompletedProcess[bytes]":
    env = {**os.environ, "PYTHONPATH": str(ROOT), **how.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "m1eval", *command],
        cwd=folder,
        env=env,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        **how,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_standard_output_is_an_error_that_says_where_the_results_are(
    tmp_path: Path, capitals: Path, more: list[str]
) -> None:
    command = ["run", "--tasks", str(capitals), "--model", "echo:gold", "--out", "x", "--display", "none", *more]
    with Path("/dev/full").open("wb") as full:
        done = run_with(command, tmp_path, stdout=full)
    assert done.returncode == 2
    reason = "No space left on device; results are kept in the folder"
    assert done.stderr.decode() == f"Error: standard output cannot be written: {reason}\n"
    assert len((run_of(tmp_path / "x") / "samples.jsonl").read_text().splitlines()) == 12
    assert json.loads((run_of(tmp_path / "x") / "run.json").read_text())["summary"]["score"] == 1.0
    with Path("/dev/full").open("wb") as full:
        done = run_with(["--help"], tmp_path, stdout=full)
    assert b"Traceback" not in done.stderr


def test_a_closed_standard_output_ends_the_command_quietly(tmp_path: Path, capitals: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = ["run", "--tasks", str(capitals), "--model", "echo:gold", "--out", "x", "--display", "none"]
    try:
        done = run_with(command, tmp_path, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (run_of(tmp_path / "x") / "samples.parquet").exists()


def test_a_process_without_a_standard_output(tmp_path: Path, capitals: Path) -> None:
    command = f"{sys.executable} -m m1eval run --tasks {capitals} --model echo:gold --out x >&- 2>err"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, env=env, timeout=60, check=False).returncode == 0
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_standard_output_of_ascii(tmp_path: Path, capitals: Path, env: dict[str, str]) -> None:
    capitals.write_text(capitals.read_text().replace("title: Capitals", "title: Hauptstädte – Größe ± 1"))
    for command in (
        ["run", "--tasks", str(capitals), "--model", "echo:error", "--out", "x"],
        ["run", "--tasks", str(capitals), "--model", "echo:gold", "--out", "y", "--json"],
        ["tasks", str(capitals)],
        ["--help"],
        ["run", "--tasks", "nö", "--model", "echo:gold"],
    ):
        done = run_with(command, tmp_path, stdout=subprocess.PIPE, env=env)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        assert (done.stdout + done.stderr).isascii()
        if "--json" in command:
            assert json.loads(done.stdout)["runs"][0]["score"] == 1.0
