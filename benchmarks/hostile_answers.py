"""Degenerate answers of a megabyte through `m1eval run`: `python -m benchmarks.hostile_answers`.

A loopback server answers every request with one text. Printed are, for each scorer and text, the outcome and the
seconds of the whole command, its start included (about one).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ANSWERS: dict[str, Callable[[int], str]] = {
    "</think> again and again": lambda n: "</think>" * (n // 8),
    "a box of backslashes": lambda n: "\\boxed{" + "\\" * n,
    "a closed box of backslashes": lambda n: "\\boxed{" + "\\" * n + "}",
    "boxes without an end": lambda n: "\\boxed{" * (n // 7),
    "backticks": lambda n: "`" * n,
    "styles in a box": lambda n: "\\boxed{" + "\\;" * 60 + "x}",
    "open answer tags": lambda n: "<answer>" * (n // 8),
    "final answers": lambda n: "Final Answer: [" * (n // 15),
    "nested brackets": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "digits": lambda n: "9" * n,
}
SCORERS = {
    "math": "math",
    "choice": "choice",
    "exact": "exact",
    "contains": "contains",
    "regex": r"{regex: {pattern: 'answer is (\w+)'}}",
    "logic_grid": "logic_grid",
    "f1": "f1",
    "graphwalks": "graphwalks",
    "mr_niah": "mr_niah",
    "infinitebench": "infinitebench",
}
ROW = {
    "q": "What?",
    "a": "A",
    "answer_nodes": ["a1"],
    "subtask": "math_calc",
    "answers": [[1, 2]],
    "logic_grid": json.dumps({"House 1": {"Name": "Ann"}}),
}


@contextmanager
def answering(text: str) -> Iterator[str]:
    """The address of a server that says this and nothing else."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    reply = json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    models = json.dumps({"data": [{"id": "m"}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send(models)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send(reply)

        def send(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def measure(scorer: str, text: str, folder: Path) -> tuple[str, float]:
    """The outcomes of a run of two samples, and its seconds."""
    target = "{{ grid }}" if scorer == "logic_grid" else "{{ a }}"
    (folder / "rows.jsonl").write_text((json.dumps(ROW) + "\n") * 2)
    task = folder / f"{scorer}.yaml"
    prompt = f"title: T\ndataset: {{file: rows.jsonl}}\nprompt: '{{{{ q }}}}'\ntarget: '{target}'\n"
    task.write_text(f"{prompt}scorer: {SCORERS[scorer]}\n")
    with answering(text) as address:
        command = [sys.executable, "-m", "m1eval", "run", "--tasks", str(task), "--model", "http:m", "--json"]
        begin = time.monotonic()
        done = subprocess.run(
            [*command, "--base-url", address, "--out", str(folder / scorer), "--redo"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    seconds = time.monotonic() - begin
    try:
        outcomes = json.loads(done.stdout)["runs"][0]["outcomes"]
    except (ValueError, LookupError):
        return f"rc {done.returncode}: {done.stderr.strip()[-200:]}", seconds
    return ", ".join(f"{n} {name}" for name, n in outcomes.items() if n), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2**20, help="characters of each answer")
    parser.add_argument("--scorers", default=",".join(SCORERS))
    parser.add_argument("--answers", type=int, nargs="*", help="the numbers of the answers, from 0; default: all")
    arguments = parser.parse_args()
    print("| scorer | answer | outcome | seconds |\n|---|---|---|--:|")
    for scorer in arguments.scorers.split(","):
        for number, (name, make) in enumerate(ANSWERS.items()):
            if arguments.answers and number not in arguments.answers:
                continue
            with tempfile.TemporaryDirectory() as folder:
                outcome, seconds = measure(scorer, make(arguments.size), Path(folder))
            print(f"| {scorer} | {name} | {outcome} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
