"""The `local` runner as the run loop meets it: requests in, outputs out."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import NullProgress, Output, Request, RunnerError, Sampling, UsageError, load
from tests.local.conftest import read, scores

local = load("runners", "local")

ASK = [{"role": "user", "content": "Hello, how are you?"}]


def run(folder: Any, talk: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
    """Start a runner, talk to it, and close it."""

    async def whole() -> Any:
        runner = local.Runner(str(folder), **options)
        await runner.start(NullProgress())
        try:
            return await asyncio.wait_for(talk(runner), 20)
        finally:
            await runner.aclose()

    return asyncio.run(whole())


def ask(folder: Any, *requests: Request, **options: Any) -> list[Output]:
    async def talk(runner: Any) -> list[Output]:
        return list(await asyncio.gather(*map(runner.generate, requests)))

    outputs: list[Output] = run(folder, talk, **options)
    return outputs


def test_an_answer_says_what_it_cost(llama: Any) -> None:
    (output,) = ask(llama.folder, Request(messages=ASK, sampling=Sampling(max_tokens=20)))
    assert output.finish_reason == "length"
    assert output.usage.prompt == len("user\nHello, how are you?\nassistant\n") + 3
    assert (output.usage.reasoning, output.usage.answer) == (0, 20)
    assert 0 <= output.timing.queue < output.timing.total
    assert 0 < output.timing.first_token < output.timing.total


def test_messages_text_and_ids_of_one_prompt_give_one_answer(llama: Any) -> None:
    async def talk(runner: Any) -> list[str]:
        text = runner.tokenizer.render(ASK)
        prompts = ({"messages": ASK}, {"prompt": text}, {"token_ids": runner.tokenizer.encode(text)})
        some = Sampling(max_tokens=20)
        return [(await runner.generate(Request(**prompt, sampling=some))).text for prompt in prompts]

    first, second, third = run(llama.folder, talk)
    assert first
    assert first == second == third


def test_without_a_limit_the_window_is_filled(llama: Any) -> None:
    (output,) = ask(llama.folder, Request(prompt="abcdefghij"), window=40)
    (more,) = ask(llama.folder, Request(prompt="abcdefghij", sampling=Sampling(max_tokens=100)), window=40)
    assert output.finish_reason == "length"
    assert output.usage.answer == 30
    assert more.text == output.text


def test_a_prompt_beyond_the_window_is_refused_in_words(llama: Any) -> None:
    long, short = ask(llama.folder, Request(prompt="a" * 65), Request(prompt="a" * 63), window=64)
    assert (long.finish_reason, long.error) == ("refused_context", "prompt has 65 tokens, the window is 64")
    assert long.usage.prompt == 65
    assert (short.finish_reason, short.usage.answer) == ("length", 1)


def test_stop_strings_end_an_answer_before_them(llama: Any) -> None:
    (free,) = ask(llama.folder, Request(messages=ASK, sampling=Sampling(max_tokens=60)))
    middle = free.text[20:24]
    expected = free.text[: free.text.index(middle)]
    limited = Sampling(max_tokens=60, stop=("never this", middle))
    (stopped,) = ask(llama.folder, Request(messages=ASK, sampling=limited))
    assert (stopped.text, stopped.finish_reason) == (expected, "stop")
    assert stopped.usage.answer < 60


def test_a_stop_string_ends_an_answer_whose_last_character_is_unfinished(tiny: Callable[..., Any]) -> None:
    folder, _ = tiny()
    ids = list(b"Hello, how are you?")
    best = int(scores(read(folder), ids)[-1].argmax())
    tree = json.loads((folder / "tokenizer.json").read_text())
    names = {i: word for word, i in tree["model"]["vocab"].items()}
    names[best] = "ĊĊâ"  # two line feeds, and the first byte of three
    tree["model"] |= {"vocab": {word: i for i, word in names.items()}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps(tree))
    sampling = Sampling(max_tokens=1)
    (free,) = ask(folder, Request(token_ids=ids, sampling=sampling))
    assert (free.text, free.finish_reason) == ("\n\n\ufffd", "length")
    for stop, text in (("\n\n", ""), ("\n", ""), ("\n\ufffd", "\n")):
        (stopped,) = ask(folder, Request(token_ids=ids, sampling=Sampling(max_tokens=1, stop=(stop,))))
        assert (stopped.text, stopped.finish_reason) == (text, "stop")


def test_a_draft_cut_in_an_open_think_block_is_not_an_answer(tiny: Callable[..., Any]) -> None:
    folder = tiny(template="{{ messages[0].content }}<think>\n").folder
    for request in (Request(messages=ASK), Request(prompt="why? <think>\n")):
        request.sampling = Sampling(max_tokens=12)
        (output,) = ask(folder, request)
        assert output.unfinished_thinking
        assert (output.text, output.usage.reasoning, output.usage.answer) == ("", 12, 0)


def test_thinking_is_split_off_and_counted(llama: Any) -> None:
    async def talk(runner: Any) -> None:
        def count_reasoning(ids: list[int], reasoning: str) -> Any:
            return local.output._count_thinking(runner.tokenizer, ids, reasoning)

        token_ids = runner.tokenizer.encode("I wonder.</think>42")
        assert count_reasoning(token_ids, "I wonder.") == len(token_ids) - 2
        assert count_reasoning(runner.tokenizer.encode("I wonder. 42"), "I wonder.") == len("I wonder.")
        assert count_reasoning(token_ids, "") == 0

    run(llama.folder, talk)


@pytest.fixture(scope="module")
def thinker(tiny: Callable[..., Any]) -> Any:
    return tiny(template="{{ messages[0].content }}<think>\n").folder


def test_thinking_ends_at_its_budget_and_the_answer_follows(thinker: Any) -> None:
    request = Request(messages=ASK, think_budget=9, sampling=Sampling(max_tokens=40))
    (free,) = ask(thinker, Request(messages=ASK, sampling=Sampling(max_tokens=9)))
    (output,) = ask(thinker, request, think_end="\nEnough.</think>\n")
    assert not output.unfinished_thinking
    assert output.reasoning == f"{free.reasoning}\nEnough."
    assert output.text
    assert (output.usage.reasoning, output.usage.answer) == (9 + 8 + 1, 40 - 18)
    assert output.metadata["thinking"] == {"budget": 9, "forced": True, "tokens": 9}


def test_no_thinking_at_all_is_a_budget_too(thinker: Any) -> None:
    request = Request(messages=ASK, think_budget=0, sampling=Sampling(max_tokens=10))
    (output,) = ask(thinker, request, think_end="</think>")
    assert (output.reasoning, output.usage.reasoning, output.usage.answer) == ("", 0, 10)
    assert output.metadata["thinking"]["forced"]
    with pytest.raises(ValueError, match="no room for an answer"):
        ask(thinker, Request(messages=ASK, think_budget=0, sampling=Sampling(max_tokens=10)))


def test_a_budget_that_is_not_used_up_changes_nothing(llama: Any) -> None:
    plain, capped = ask(
        llama.folder,
        Request(messages=ASK, sampling=Sampling(max_tokens=30)),
        Request(messages=ASK, sampling=Sampling(max_tokens=30), think_budget=5),
    )
    assert capped.text == plain.text
    assert not capped.metadata["thinking"]["forced"]


def test_a_budget_counts_thinking_that_the_model_opens_itself(llama: Any) -> None:
    async def talk(runner: Any) -> None:
        budget = import_module(f"{local.__name__}.tokenizer.streaming").ThinkingBudget(
            runner.tokenizer, 5, "!</think>", opened=False
        )
        token_ids = runner.tokenizer.encode("<think>abcdefghij")
        forced = [budget(token) for token in token_ids]
        assert [i for i, found in enumerate(forced) if found] == [4]
        assert runner.tokenizer.decode(forced[4]) == "!</think>"
        closed = import_module(f"{local.__name__}.tokenizer.streaming").ThinkingBudget(
            runner.tokenizer, 5, "!</think>", opened=True
        )
        assert not any(closed(token) for token in runner.tokenizer.encode("abc</think>and much more after it"))
        assert (closed.count, closed.forced) == (4, False)

    run(llama.folder, talk)


@pytest.mark.parametrize(
    "form", ["<seed:think>", "[THINK]", "◁think▷", "<|channel>thought", "<|channel|>analysis<|message|>"]
)
def test_a_budget_ends_the_thinking_of_the_form_that_the_prompt_opens(llama: Any, form: str) -> None:
    some = Sampling(max_tokens=160)
    forced, free = ask(
        llama.folder,
        Request(prompt=f"2+2?\n{form}\n", sampling=some, think_budget=5),
        Request(prompt=f"2+2?\n{form}\n", sampling=some),
        window=400,
    )
    assert forced.metadata["thinking"] == {"budget": 5, "forced": True, "tokens": 5}
    assert forced.reasoning.endswith("based on the thinking directly now.")
    assert not forced.unfinished_thinking
    assert (free.text, free.unfinished_thinking) == ("", True)


def test_think_tags_name_another_form(llama: Any) -> None:
    named: dict[str, Any] = {"think_tags": "<my>,</my>", "window": 400}
    prompt: dict[str, Any] = {"prompt": "2+2?\n<my>\n", "sampling": Sampling(max_tokens=160)}
    (forced,) = ask(llama.folder, Request(**prompt, think_budget=5), **named)
    assert forced.metadata["thinking"]["forced"]
    assert not forced.unfinished_thinking
    (free,) = ask(llama.folder, Request(**prompt), **named)
    assert free.unfinished_thinking
    (plain,) = ask(llama.folder, Request(**prompt), window=400)
    assert not plain.unfinished_thinking
    for wrong in ("<my>,<my>", "no such form"):
        with pytest.raises(UsageError, match="local: think_tags: "):
            local.Runner(str(llama.folder), think_tags=wrong)
    with pytest.raises(UsageError, match="think_end must contain </my>"):
        local.Runner(str(llama.folder), think_tags="<my>,</my>", think_end="</think>")


def test_logprobs_are_returned_on_request(llama: Any) -> None:
    some = Sampling(max_tokens=12)
    without, with_them = ask(
        llama.folder, Request(prompt="abc", sampling=some), Request(prompt="abc", sampling=some, logprobs=True)
    )
    assert without.logprobs is None
    assert with_them.text == without.text
    assert len(with_them.logprobs or []) == 12
    assert all(value <= 0 for value in with_them.logprobs or [])


def test_a_continuation_is_as_likely_as_its_tokens_are(llama: Any) -> None:
    async def talk(runner: Any) -> None:
        prompt = Request(prompt="The ship")
        answer = await runner.generate(Request(prompt="The ship", sampling=Sampling(max_tokens=3), logprobs=True))
        token_ids = runner.tokenizer.encode(answer.text)
        scored = await runner.loglikelihood(prompt, answer.text)
        if len(token_ids) == 3:  # invalid UTF-8 does not round-trip
            assert scored.greedy
            assert scored.logprob == pytest.approx(sum(answer.logprobs), abs=1e-4)
        other = await runner.loglikelihood(prompt, " sank")
        assert (other.tokens, other.greedy) == (5, False)
        logits = llama.reference(torch.tensor([runner.tokenizer.encode_raw("The ship sank")])).logits[0]
        ids = runner.tokenizer.encode_raw("The ship sank")
        expected = sum(logits[i - 1].log_softmax(-1)[ids[i]].item() for i in range(len(ids) - 5, len(ids)))
        assert other.logprob == pytest.approx(expected, abs=1e-3)
        with pytest.raises(ValueError, match="cannot be scored"):
            await runner.loglikelihood(prompt, "")

    with torch.inference_mode():
        run(llama.folder, talk)


def test_seeds_repeat_and_differ(llama: Any) -> None:
    def request(seed: int | None) -> Request:
        return Request(messages=ASK, sampling=Sampling(temperature=1.0, max_tokens=20, seed=seed), logprobs=True)

    one, again, other, free, free_too = ask(llama.folder, *map(request, (1, 1, 2, None, None)))
    assert one.text == again.text
    # By their likelihoods: one sample in ten opens a think block, and two of those have the same text, none.
    assert len({str(output.logprobs) for output in (one, other, free, free_too)}) == 4


def test_a_cancelled_request_makes_room(llama: Any) -> None:
    async def talk(runner: Any) -> Output:
        slow = asyncio.create_task(runner.generate(Request(messages=ASK)))
        await asyncio.sleep(0.05)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        output: Output = await runner.generate(Request(messages=ASK, sampling=Sampling(max_tokens=3)))
        return output

    assert run(llama.folder, talk, batch=1).usage.answer == 3


def test_closing_ends_running_requests(llama: Any) -> None:
    async def talk(runner: Any) -> None:
        slow = asyncio.create_task(runner.generate(Request(messages=ASK)))
        await asyncio.sleep(0.05)
        await runner.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await slow
        with pytest.raises(RuntimeError, match="not started"):
            await runner.generate(Request(messages=ASK))

    run(llama.folder, talk)


def test_progress_hears_every_token(llama: Any) -> None:
    class Listener(NullProgress):
        prompt = output = 0

        def tokens(self, *, prompt: int = 0, output: int = 0) -> None:
            self.prompt += prompt
            self.output += output

    listener, other = Listener(), Listener()
    some = Sampling(max_tokens=7)
    sizes = {"a": 5, "b": 100, "c": 400}
    requests = [Request(prompt=letter * size, sampling=some, progress=listener) for letter, size in sizes.items()]
    ask(llama.folder, *requests, Request(prompt="a", sampling=some, progress=other))
    assert (listener.prompt, listener.output) == (505, 21)
    assert (other.prompt, other.output) == (1, 7)


@pytest.mark.parametrize(
    ("request_", "kind", "said"),
    [
        (Request(messages=ASK, tools=[{"type": "function"}]), ValueError, "no place for tools"),
        (Request(messages=ASK, sampling=Sampling(max_tokens=0)), ValueError, "max_tokens is 0"),
        (Request(messages=ASK, sampling=Sampling(top_p=2.0)), ValueError, "top_p"),
        (Request(token_ids=[]), ValueError, "empty"),
        (Request(token_ids=[1, 261]), ValueError, "outside of 0 to 260"),
        (Request(token_ids=[1, -1]), ValueError, "outside of 0 to 260"),
        (Request(token_ids=[1 << 70]), ValueError, "outside of 0 to 260"),
    ],
)
def test_requests_that_cannot_be_answered_say_why(llama: Any, request_: Request, kind: Any, said: str) -> None:
    with pytest.raises(kind, match=said):
        ask(llama.folder, request_)


def test_a_model_without_a_chat_template_answers_raw_prompts_only(tiny: Callable[..., Any]) -> None:
    folder = tiny(template=None).folder
    (output,) = ask(folder, Request(prompt="abc", sampling=Sampling(max_tokens=2)))
    assert output.usage.answer == 2
    with pytest.raises(RunnerError, match="no chat template"):
        ask(folder, Request(messages=ASK))


def test_options_are_checked(llama: Any) -> None:
    runner = local.Runner
    with pytest.raises(TypeError, match="depth"):
        runner(str(llama.folder), depth=3)
    with pytest.raises(UsageError, match="no dtype 'int4'"):
        runner(str(llama.folder), dtype="int4")
    with pytest.raises(UsageError, match="a window of 513 is more than the model's 512"):
        ask(llama.folder, window=513)


def test_a_run_keeps_what_decides_its_numbers(llama: Any) -> None:
    async def talk(runner: Any) -> Any:
        assert (runner.context_window, runner.concurrency) == (512, 8)
        return runner.describe()

    about = run(llama.folder, talk, batch=4)
    assert about["architecture"] == "llama"
    assert about["dtype"] == "float32"
    assert about["parameters"] == sum(parameter.numel() for parameter in llama.reference.parameters())
    assert len(about["template"]) == 64


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"chunk": -5}, "chunk: '-5' is not a number of tokens"),
        ({"chunk": 0}, "chunk: '0' is out of range"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
        ({"batch": 2.5}, "batch must be a whole number of at least 1"),
        ({"batch": True}, "batch must be a whole number of at least 1"),
        ({"threads": -1}, "threads must be a whole number of at least 1"),
        ({"window": "abc"}, "window: 'abc' is not a number of tokens"),
        ({"memory": -1}, "memory must be a number of GiB above 0, not '-1'"),
        ({"memory": "nan"}, "memory must be a number of GiB above 0"),
        ({"prefix_cache": "maybe"}, "prefix_cache is true or false, not 'maybe'"),
        ({"invariant": 7}, "invariant is true or false"),
        ({"device": "foo"}, "no device 'foo'; there are cpu, cuda"),
        ({"device": "mps"}, "no device 'mps'"),
        ({"device": "cuda:99"}, "device=cuda:99 is not here: PyTorch finds"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        local.Runner("smollm2", **given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
