"""One model over several processes, real ones over Gloo: the answers of a single process, and clear errors."""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from m1eval import NullProgress, Progress, Request, RunnerError, Sampling, UsageError, load
from tests.local.conftest import save_tokenizer
from tests.local.engine.test_engine import HYBRID, prompt
from tests.local.models.test_deepseek_v3 import SHAPE as DEEPSEEK

local = load("runners", "local")
models, layers, loader, sharding, executor = (
    import_module(f"{local.__name__}.{name}")
    for name in ("models", "layers.layers", "weights.loader", "layers.sharding", "engine.executor")
)

LONG = prompt(1, 150)
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "two key heads": ({"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}, 2),
    "one key head on three ranks": ({"model_type": "llama", "num_attention_heads": 6, "num_key_value_heads": 1}, 3),
    "qwen3_moe": (
        {
            "model_type": "qwen3_moe",
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
        },
        2,
    ),
    "minimax_m1": (HYBRID, 2),
    "deepseek_v3": ({**DEEPSEEK, "model_type": "deepseek_v3"}, 2),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Path]:
    """Write a random checkpoint of these settings, with a tokenizer of bytes."""

    def make(config: dict[str, Any]) -> Path:
        folder = tmp_path_factory.mktemp(config["model_type"])
        shape = {"hidden_size": 48, "intermediate_size": 84, "num_hidden_layers": 3, "max_position_embeddings": 512}
        config = {**shape, **config, "vocab_size": 261}
        model = models.build(config, layers.LayerContext())
        chance = torch.Generator().manual_seed(5)
        weights = {
            name: torch.randn(slot.shape, generator=chance) * (0.3 if len(slot.shape) > 1 else 0.1)
            + (len(slot.shape) == 1)
            for name, slot in loader.weight_slots(model).items()
        }
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config))
        save_tokenizer(folder, None)
        return folder

    return make


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []
    assert not torch.distributed.is_initialized()


def run(folder: Path, talk: Callable[[Any], Awaitable[Any]], progress: Progress | None = None, **options: Any) -> Any:
    """Start a runner, talk to it, and close it."""

    async def whole() -> Any:
        runner = local.Runner(str(folder), device="cpu", chunk=64, **options)
        await runner.start(progress or NullProgress())
        try:
            return await asyncio.wait_for(talk(runner), 60)
        finally:
            pids = [other.process.pid for other in runner._executor.workers] if runner._executor else []
            await asyncio.wait_for(runner.aclose(), 20)
            assert not [pid for pid in pids if exists(pid)]

    return asyncio.run(whole())


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def running(pid: int) -> bool:
    """Whether a process still runs: an orphan that has ended may wait until its exit code is collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def ask(runner: Any, ids: list[int], new: int = 16, **sampling: Any) -> Any:
    return await runner.generate(Request(token_ids=ids, logprobs=True, sampling=Sampling(max_tokens=new, **sampling)))


async def begun(runner: Any) -> None:
    while not runner._engine.scheduler.num_prompt_tokens:  # noqa: ASYNC110  what is waited for happens in the engine's thread
        await asyncio.sleep(0.01)


async def conversation(runner: Any) -> list[Any]:
    """Prompts of many lengths, greedy and sampled; one with a shared prefix; more than memory holds; a score."""
    lengths = [1, 20, 64, 100, 200]
    answers = await asyncio.gather(
        *[ask(runner, prompt(10 + i, n), temperature=i % 2, top_p=0.9, seed=i) for i, n in enumerate(lengths)]
    )
    answers += [await ask(runner, LONG), again := await ask(runner, [*LONG[:130], 7, 8])]
    assert again.usage.cached == 128
    held = runner._engine.scheduler.block_pool
    held.__init__(8)
    answers += await asyncio.gather(*[ask(runner, prompt(30 + i, 50), 20, temperature=1.0, seed=i) for i in range(5)])
    assert runner._engine.scheduler.num_preempted > 0
    scored = await runner.loglikelihood(Request(token_ids=LONG), "to be or not")
    return [*((output.text, output.logprobs) for output in answers), ("", [scored.logprob])]


@pytest.mark.parametrize("kind", KINDS)
def test_several_processes_answer_as_one_does(kind: str, checkpoint: Callable[[dict[str, Any]], Path]) -> None:
    config, gpus = KINDS[kind]
    folder = checkpoint(config)
    alone: dict[str, Any] = {}
    together: dict[str, Any] = {}

    def recorder(about: dict[str, Any]) -> Callable[[Any], Awaitable[Any]]:
        async def talk(runner: Any) -> Any:
            about.update(runner.describe())
            return await conversation(runner)

        return talk

    expected = run(folder, recorder(alone))
    actual = run(folder, recorder(together), gpus=gpus)
    assert [text for text, _ in actual] == [text for text, _ in expected]
    for (_, one), (_, other) in zip(actual, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-3)
    assert together == {**alone, "gpus": gpus}


def test_a_killed_process_ends_all_requests_in_one_line(checkpoint: Callable[[dict[str, Any]], Path]) -> None:
    async def talk(runner: Any) -> None:
        waiting = [asyncio.create_task(ask(runner, prompt(i, 20), 480)) for i in range(5)]
        await begun(runner)
        os.kill(runner._executor.workers[0].process.pid, signal.SIGKILL)
        for task in waiting:
            with pytest.raises(RunnerError, match=r"^local: rank 1 of 2 has ended \(exit code -9\)$"):
                await task
        with pytest.raises(RunnerError, match="rank 1 of 2 has ended"):
            await ask(runner, prompt(9))

    run(checkpoint(KINDS["two key heads"][0]), talk, gpus=2, batch=2)


def test_a_step_that_fails_is_the_end_and_says_why(checkpoint: Callable[[dict[str, Any]], Path]) -> None:
    shown: list[str] = []

    class Listener(NullProgress):
        def status(self, text: str) -> None:
            shown.append(text)

    async def talk(runner: Any) -> None:
        broken = local.engine.sequence.Sequence(
            prompt_token_ids=[1, 100_000],
            max_tokens=3,
            sampling_params=local.engine.sampling_params.SamplingParams(0.0, 1.0, 0, 0.0, 0),
        )
        runner._engine.submit(broken)
        with pytest.raises(RunnerError, match=r"^local: rank \d of 2: IndexError: index out of range"):
            await asyncio.wrap_future(broken.future)
        with pytest.raises(RunnerError, match=r"^local: rank \d of 2: IndexError"):
            await ask(runner, prompt(9))

    run(checkpoint(KINDS["qwen3_moe"][0]), talk, Listener(), gpus=2)
    assert len(shown) == len(set(shown))


def test_closing_amid_an_answer_leaves_no_process(checkpoint: Callable[[dict[str, Any]], Path]) -> None:
    async def whole() -> None:
        runner = local.Runner(str(checkpoint(HYBRID)), device="cpu", gpus=2)
        await runner.start(NullProgress())
        task = asyncio.create_task(ask(runner, prompt(1), 480))
        await begun(runner)
        await asyncio.wait_for(runner.aclose(), 20)
        with pytest.raises(RuntimeError, match="closed"):
            await task

    asyncio.run(whole())


def test_a_model_that_cannot_be_sharded_is_reported_once_and_ends_the_other_ranks(
    checkpoint: Callable[[dict[str, Any]], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint({**KINDS["two key heads"][0], "intermediate_size": 81})
    runner = local.Runner(str(folder), device="cpu", gpus=2)
    with pytest.raises(RunnerError, match=r"^the model's 81 columns of an MLP cannot be split over 2 GPUs"):
        asyncio.run(runner.start(NullProgress()))
    assert runner._executor is None
    assert "81 columns" not in capfd.readouterr().err


def test_a_rank_that_cannot_load_is_named(checkpoint: Callable[[dict[str, Any]], Path]) -> None:
    folder = checkpoint(KINDS["two key heads"][0])
    others = executor.MultiprocessExecutor(folder, torch.float32, torch.device("cpu"), 2)
    (folder / "model.safetensors").unlink()
    model = models.build(json.loads((folder / "config.json").read_text()), layers.LayerContext())
    config = local.engine.memory.EngineConfig(torch.float32, torch.device("cpu"), 1, 64, 64, None, False, False, 2)
    try:
        with pytest.raises(RunnerError, match=r"^local: rank 1 of 2: .* has no \*\.safetensors$"):
            others.initialize(model, config)
        assert len(others.workers) == 1
    finally:
        others.close()
    assert others.workers == []


def test_ranks_end_with_the_process_that_started_them(checkpoint: Callable[[dict[str, Any]], Path]) -> None:
    code = """if True:
        import sys, torch
        from importlib import import_module
        from pathlib import Path
        from m1eval import load
        executor = import_module(f"{load('runners', 'local').__name__}.engine.executor")
        others = executor.MultiprocessExecutor(Path(sys.argv[1]), torch.float32, torch.device("cpu"), 2)
        others._gather()
        print(others.workers[0].process.pid, flush=True)
        sys.stdin.read()  # until it is killed, or the test ends
    """
    command = [sys.executable, "-c", code, str(checkpoint(KINDS["two key heads"][0]))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        rank = int(parent.stdout.readline())
        assert exists(rank)
        parent.kill()
    end = time.monotonic() + 60
    while running(rank):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpus": 0}, "gpus must be a whole number of at least 1, not '0'"),
        ({"gpus": 3, "device": "cuda"}, "gpus=3, but this machine has 2 GPUs"),
        ({"gpus": 2, "device": "cuda:1"}, "gpus=2 takes the first ones: hide others by CUDA_VISIBLE_DEVICES"),
    ],
)
def test_gpus_that_are_not_there_are_refused(
    options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=said):
        local.Runner("smollm2", **options)


def test_ranks_that_share_a_cpu_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizing = import_module(f"{local.__name__}.engine.memory")
    monkeypatch.setattr(sizing, "free_bytes", lambda device: 2**26)
    memory = [local.layers.cache_spec.KVSpec(2, 16)] * 4
    settings: dict[str, Any] = {
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "max_num_seqs": 512,
        "window": 512,
    }
    one, two = (
        sizing.fit_capacity(memory, **settings, cache_bytes=None, step_bytes=0, world_size=ranks_) for ranks_ in (1, 2)
    )
    assert two.num_blocks == one.num_blocks // 2
