"""The engine as a whole: sequences join, leave, share, fail and are cancelled without affecting one another."""

import random
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import NullProgress, load
from tests.local.conftest import read

local = load("runners", "local")
models, layers = (import_module(f"{local.__name__}.{name}") for name in ("models", "layers.layers"))
Sequence = local.engine.sequence.Sequence
SamplingParams = local.engine.sampling_params.SamplingParams
hash_blocks = local.engine.block_pool.hash_blocks

GREEDY = SamplingParams(0.0, 1.0, 0, 0.0, 0)
HYBRID = {
    "model_type": "minimax_m1",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "attn_type_list": [0, 1, 0, 1],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rotary_dim": 8,
    "vocab_size": 256,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "postnorm": True,
    "max_position_embeddings": 4096,
}


def hybrid() -> Any:
    """A MiniMax-M1 of random weights: two layers of linear attention, two of softmax."""
    model = models.build(HYBRID, layers.LayerContext())
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            scale = 0.3 if parameter.ndim > 1 else 0.1
            weights = torch.randn(parameter.shape, generator=generator) * scale + (parameter.ndim == 1)
            setattr(module, name, torch.nn.Parameter(weights, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            assert buffer.device.type == "cpu", name
    return model.eval()


@pytest.fixture(scope="module", params=["softmax", "hybrid"])
def model(request: Any, llama: Any) -> Any:
    return hybrid() if request.param == "hybrid" else read(llama.folder)


@pytest.fixture(scope="module")
def softmax(llama: Any) -> Any:
    return read(llama.folder)


def prompt(seed: int, size: int = 20) -> list[int]:
    return torch.randint(0, 256, (size,), generator=torch.Generator().manual_seed(seed)).tolist()


def asks(ids: list[int], limit: int, draw: Any = GREEDY, **rest: Any) -> Any:
    return Sequence(prompt_token_ids=ids, max_tokens=limit, sampling_params=draw, block_hashes=hash_blocks(ids), **rest)


def generate(engine: Any, *sequences: Any) -> list[list[int]]:
    for sequence in sequences:
        engine.submit(sequence)
    for sequence in sequences:
        sequence.future.result(timeout=60)
    return [sequence.output_token_ids for sequence in sequences]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited for a minute"
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("ahead", "options"), [(False, {}), (True, {}), (True, {"graphs": True}), (True, {"invariant": True})]
)
def test_a_batch_of_any_lengths_gives_each_the_tokens_it_gets_alone(
    model: Any, ahead: bool, options: dict[str, Any], engine: Callable[..., Any]
) -> None:
    rng = random.Random(0)
    prompts = [[rng.randrange(256) for _ in range(rng.choice((1, 3, 64, 90, 200)))] for _ in range(12)]
    limits = [rng.randrange(1, 40) for _ in prompts]
    alone = engine(model, batch=1, prefix_cache=False)
    expected = [
        generate(alone, Sequence(prompt_token_ids=p, max_tokens=n, sampling_params=GREEDY))[0]
        for p, n in zip(prompts, limits, strict=True)
    ]
    running = engine(model, **options)
    running.async_scheduling = ahead
    assert generate(running, *[asks(p, n) for p, n in zip(prompts, limits, strict=True)]) == expected


def test_a_sequence_that_joins_midway_gets_the_tokens_it_gets_alone(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model)
    alone = generate(running, asks(prompt(1, 100), 40))[0]
    decoding = threading.Event()
    first = asks(prompt(2), 300, stop_check=lambda _: decoding.set())
    running.submit(first)
    assert decoding.wait(60)
    late = asks(prompt(1, 100), 40)
    running.submit(late)
    late.future.result(timeout=60)
    assert not first.future.done()
    assert late.output_token_ids == alone


@pytest.mark.parametrize("ahead", [False, True])
def test_sampled_tokens_do_not_depend_on_the_batch(model: Any, ahead: bool, engine: Callable[..., Any]) -> None:
    running = engine(model)
    running.async_scheduling = ahead

    def sequence(seed: int) -> Any:
        return asks(prompt(3), 50, SamplingParams(1.0, 0.95, 0, 0.0, seed))

    alone = generate(running, sequence(7))[0]
    others = [asks(prompt(i, 10 * i), 10 * i, SamplingParams(1.0, 1.0, 0, 0.0, i)) for i in range(1, 8)]
    *_, together = generate(running, *others, sequence(7))
    assert together == alone
    assert generate(running, sequence(8))[0] != alone


def test_repeats_of_a_long_prompt_are_prefilled_once(model: Any, engine: Callable[..., Any]) -> None:
    long = prompt(4, 1000)
    expected = generate(engine(model, batch=1, chunk=2048, window=2048, prefix_cache=False), asks(long, 8))[0]
    running = engine(model, batch=8, chunk=256, window=2048)
    repeats = [asks(long, 8) for _ in range(8)]
    assert generate(running, *repeats) == [expected] * 8
    assert running.scheduler.num_prompt_tokens <= 1000 + 7 * 64
    assert sorted(sequence.num_cached_tokens for sequence in repeats) == [0, *[960] * 7]


def test_questions_about_one_text_prefill_it_once(model: Any, engine: Callable[..., Any]) -> None:
    text = prompt(5, 1024)
    questions = [text + prompt(100 + i, 30 + i) for i in range(5)]
    alone = engine(model, batch=1, chunk=2048, window=2048, prefix_cache=False)
    expected = [
        generate(alone, Sequence(prompt_token_ids=ids, max_tokens=6, sampling_params=GREEDY))[0] for ids in questions
    ]
    running = engine(model, chunk=256, window=2048)
    assert generate(running, *[asks(ids, 6) for ids in questions]) == expected
    assert running.scheduler.num_prompt_tokens == sum(map(len, questions)) - 4 * 1024


def test_a_second_turn_reuses_the_cache_of_the_first(softmax: Any, engine: Callable[..., Any]) -> None:
    running = engine(softmax)
    first = prompt(6, 100)
    answer = generate(running, asks(first, 60))[0]
    second = asks(first + answer + prompt(7, 20), 5)
    generate(running, second)
    assert second.num_cached_tokens == 128


def test_old_prompts_are_evicted_for_new_ones(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model, batch=2, memory=0.0015, window=512)
    held = running.scheduler.block_pool
    for i in range(20):
        generate(running, asks(prompt(i, 300), 3))
    assert held.num_available == held.num_blocks - 1
    assert len(held.block_by_hash) <= held.num_blocks - 1 < 20 * 4
    again = asks(prompt(0, 300), 3)
    generate(running, again)
    assert again.num_cached_tokens == 0


def test_a_preempted_sequence_gives_the_same_tokens(model: Any, engine: Callable[..., Any]) -> None:
    draws = [SamplingParams(1.0, 0.9, 0, 0.0, seed) for seed in range(6)]
    expected = generate(engine(model), *[asks(prompt(i, 40), 300, draw) for i, draw in enumerate(draws)])
    block = local.layers.cache_spec.block_bytes(model.cache_specs, torch.float32)
    state = local.layers.cache_spec.state_bytes(model.cache_specs)
    room = (9 + 8) * block + 7 * state + 2**12
    tight = engine(model, batch=6, memory=(room + 8 * state) / 2**30)
    tight.scheduler.block_pool.__init__(14)
    assert generate(tight, *[asks(prompt(i, 40), 300, draw) for i, draw in enumerate(draws)]) == expected
    assert tight.scheduler.num_preempted > 0


def test_forced_tokens_are_appended_and_decoding_continues_after_them(model: Any, engine: Callable[..., Any]) -> None:
    for ahead in (False, True):
        running = engine(model)
        running.async_scheduling = ahead
        free = generate(running, asks(prompt(8), 30))[0]
        counted: list[int] = []

        def follow(token: int, counted: list[int] = counted) -> list[int]:
            counted.append(token)
            return [11, 12, 13] if len(counted) == 5 else []

        forced = asks(prompt(8), 30, forced_tokens=follow)
        assert generate(running, forced)[0][:8] == [*free[:5], 11, 12, 13]
        assert len(forced.output_token_ids) == 30
        rest = generate(running, asks([*prompt(8), *free[:5], 11, 12, 13], 22))[0]
        assert forced.output_token_ids[8:] == rest
        assert counted == [*free[:5], *rest]


def test_logprobs_and_scores_are_those_of_the_model(softmax: Any, llama: Any, engine: Callable[..., Any]) -> None:
    running = engine(softmax, chunk=64)
    sampled = asks(prompt(9, 100), 20, SamplingParams(1.0, 1.0, 0, 0.0, 3), logprobs=True)
    generate(running, sampled)
    whole = prompt(9, 100) + sampled.output_token_ids
    with torch.inference_mode():
        logprobs = llama.reference(torch.tensor([whole])).logits[0].log_softmax(-1)
    expected = [logprobs[99 + i, token].item() for i, token in enumerate(sampled.output_token_ids)]
    assert sampled.output_logprobs == pytest.approx(expected, abs=1e-4)
    for count in (1, 20, 70, 119):
        scored = asks(whole, 0, num_scored=count)
        generate(running, scored)
        places = range(len(whole) - count, len(whole))
        expected = [logprobs[i - 1, whole[i]].item() for i in places]
        assert [found.logprob for found in scored.prompt_logprobs] == pytest.approx(expected, abs=1e-4)
        assert [found.is_greedy for found in scored.prompt_logprobs] == [
            int(logprobs[i - 1].argmax()) == whole[i] for i in places
        ]
        assert scored.output_token_ids == []


def test_no_more_than_a_batch_runs_concurrently_and_all_are_answered(softmax: Any, engine: Callable[..., Any]) -> None:
    running = engine(softmax, batch=3)
    sizes: list[int] = []
    sequences = [
        asks(prompt(i), 5 + i, stop_check=lambda _: sizes.append(len(running.scheduler.running))) for i in range(10)
    ]
    assert [len(tokens) for tokens in generate(running, *sequences)] == [5 + i for i in range(10)]
    assert max(sizes) == 3
    starts = [sequence.started_at for sequence in sequences]
    assert starts == sorted(starts)


def test_a_long_prompt_is_prefilled_in_chunks_between_decode_steps(softmax: Any, engine: Callable[..., Any]) -> None:
    running = engine(softmax, chunk=64)
    times: list[float] = []
    first = asks(prompt(1), 400, stop_check=lambda _: times.append(time.monotonic()))
    running.submit(first)
    until(lambda: len(times) > 0)
    long = asks(prompt(2, 500), 1)
    running.submit(long)
    long.future.result(timeout=60)
    between = [moment for moment in times if long.started_at < moment < long.first_token_at]
    assert len(between) >= 500 // 64 - 1


def test_prompts_share_the_token_budget_of_a_step(softmax: Any, engine: Callable[..., Any]) -> None:
    class Listener(NullProgress):
        def __init__(self) -> None:
            self.prompt_tokens: list[int] = []

        def tokens(self, *, prompt: int = 0, output: int = 0) -> None:
            self.prompt_tokens.append(prompt)

    listener = Listener()
    sizes = [30, 5, 170, 1, 44]
    prompts = [asks(prompt(i, n), 9, progress=listener) for i, n in enumerate(sizes)]
    generate(engine(softmax, chunk=64), *prompts)
    assert sum(listener.prompt_tokens) == sum(sizes)
    assert max(listener.prompt_tokens) == 64
    assert listener.prompt_tokens[-1] == 0


def test_an_end_token_ends_a_sequence_and_stays_its_last(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model)
    running.async_scheduling = True
    free = generate(running, asks(prompt(4), 30))[0]
    end = free[10]
    ended = asks(prompt(4), 30, stop_token_ids=frozenset({end}))
    assert generate(running, ended)[0] == free[: free.index(end) + 1]
    assert ended.finish_reason == "stop"


def test_cancelling_frees_the_slot_immediately(softmax: Any, engine: Callable[..., Any]) -> None:
    running = engine(softmax, batch=1, window=100_000)
    endless = asks(prompt(1), 99_000)
    running.submit(endless)
    until(lambda: len(endless.output_token_ids) > 3)
    queued = asks(prompt(2), 99_000)
    running.submit(queued)
    assert queued.future.cancel()
    assert endless.future.cancel()
    generate(running, asks(prompt(3), 3))
    until(lambda: not running.scheduler.has_unfinished)
    assert not queued.output_token_ids
    assert not running.scheduler.block_pool.ref_counts


def test_a_failing_step_fails_those_in_it_and_the_next_run_is_sound(model: Any, engine: Callable[..., Any]) -> None:
    running = engine(model)
    long = prompt(1, 200)
    good = generate(running, asks(long, 9))[0]
    broken = asks([*long[:128], 100_000, *long[:80]], 9)
    running.submit(broken)
    with pytest.raises(IndexError):
        broken.future.result(timeout=60)
    assert generate(running, asks(long, 9))[0] == good
    assert not running.scheduler.block_pool.ref_counts


def test_a_failing_stop_check_fails_its_own_sequence_alone(softmax: Any, engine: Callable[..., Any]) -> None:
    def watch(token: int) -> bool:
        raise ValueError(f"cannot read {token}")

    running = engine(softmax)
    bad = asks(prompt(1), 9, stop_check=watch)
    good = asks(prompt(2), 9)
    running.submit(bad)
    running.submit(good)
    with pytest.raises(ValueError, match="cannot read"):
        bad.future.result(timeout=60)
    good.future.result(timeout=60)
    assert len(good.output_token_ids) == 9


def test_broken_weights_are_an_error_and_not_an_answer(tiny: Callable[..., Any], engine: Callable[..., Any]) -> None:
    model = read(tiny().folder)
    model.model.norm.weight.data[0] = torch.nan
    sequence = asks(prompt(1), 9)
    engine(model).submit(sequence)
    with pytest.raises(FloatingPointError, match="not finite"):
        sequence.future.result(timeout=60)


def test_closing_fails_what_is_unfinished_and_refuses_what_comes_later(
    softmax: Any, engine: Callable[..., Any]
) -> None:
    running = engine(softmax, batch=1, window=100_000)
    sequences = [asks(prompt(i), 99_000) for i in range(2)]
    for sequence in sequences:
        running.submit(sequence)
    until(lambda: len(sequences[0].output_token_ids) > 3)
    running.close()
    for sequence in sequences:
        with pytest.raises(RuntimeError, match="closed"):
            sequence.future.result(timeout=1)
    with pytest.raises(RuntimeError, match="closed"):
        running.submit(asks(prompt(9), 1))
