"""A schedule as plain data: the engine's settings, the requests and when they come, cancellations, steps that fail."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from m1eval import load

local = load("runners", "local")
block_pool, sequence, sampling = (
    import_module(f"{local.__name__}.{name}")
    for name in ("engine.block_pool", "engine.sequence", "engine.sampling_params")
)
BLOCK: int = local.layers.cache_spec.BLOCK_SIZE
GREEDY = sampling.SamplingParams(0.0, 1.0, 0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, the step before which it arrives, and the steps after which it is cancelled."""

    prompt: tuple[int, ...]
    max_tokens: int
    sampling_params: Any = GREEDY
    initial_tokens: tuple[int, ...] = ()
    """Tokens that come before anything is sampled, as when a thinking budget is 0."""
    forced: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """After so many sampled tokens, these must follow."""
    stop: int = 0
    """A sampled token divisible by this number ends the answer, as a stop string does; 0: none."""
    stop_token_ids: frozenset[int] = frozenset()
    num_scored: int = 0
    logprobs: bool = True
    arrive: int = 0
    cancel: int | None = None

    def sequence(self, *, cached: bool) -> Any:
        """The request as the engine takes it; `cached`: it may share a prefix."""
        counted = [0]
        forced = dict(self.forced)

        def follow(_: int) -> list[int]:
            counted[0] += 1
            return list(forced.get(counted[0], ()))

        return sequence.Sequence(
            prompt_token_ids=list(self.prompt),
            max_tokens=self.max_tokens,
            sampling_params=self.sampling_params,
            stop_token_ids=self.stop_token_ids,
            stop_check=(lambda token: token % self.stop == 0) if self.stop else None,
            forced_tokens=follow if forced else None,
            output_token_ids=list(self.initial_tokens),
            output_logprobs=[0.0] * len(self.initial_tokens),
            logprobs=self.logprobs,
            num_scored=self.num_scored,
            block_hashes=block_pool.hash_blocks(self.prompt) if cached else [],
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Requests and engine settings; `blocks` and `snapshots` may be far too few to run all requests together."""

    asks: tuple[Ask, ...]
    batch: int = 4
    chunk: int = 64
    blocks: int = 64
    snapshots: int = 8
    ahead: bool = False
    prefix_cache: bool = True
    invariant: bool = False
    graphs: bool = False
    failing: tuple[tuple[int, str], ...] = ()
    """Steps that fail: when they are started ("run"), or when they are waited for ("result")."""
    window: int = field(default=0)

    def __post_init__(self) -> None:
        longest = max(len(ask.prompt) + max(ask.max_tokens, 1) for ask in self.asks)
        object.__setattr__(self, "window", max(self.window, longest))
        object.__setattr__(self, "blocks", max(self.blocks, -(-self.window // BLOCK) + 2))

    def alone(self, ask: Ask) -> "Schedule":
        """The same engine with this request alone and enough blocks."""
        return replace(self, asks=(replace(ask, arrive=0, cancel=None),), blocks=400, ahead=False, failing=())


def check(ask: Ask, output: Any, token: Callable[[int, int, float], None]) -> None:
    """AssertionError unless forced tokens are in their positions and the answer ends where it must.

    `token(place, token, logprob)` checks each sampled token; its position is counted from the start of the prompt.
    """
    forced, counted, tokens = dict(ask.forced), 0, output.output_token_ids
    assert tokens[: len(ask.initial_tokens)] == list(ask.initial_tokens), "what had to come first"
    assert len(output.output_logprobs) == len(tokens), "a logprob for each token"
    at, finish = len(ask.initial_tokens), None
    while finish is None and ask.max_tokens:
        assert at < len(tokens), f"ended ({output.finish_reason}) after {at} tokens, and must go on"
        token_id = tokens[at]
        token(len(ask.prompt) + at, token_id, output.output_logprobs[at])
        at, counted = at + 1, counted + 1
        if token_id in ask.stop_token_ids or (ask.stop and token_id % ask.stop == 0):
            finish = "stop"
            break
        rest = list(forced.get(counted, ()))[: ask.max_tokens - at]
        assert tokens[at : at + len(rest)] == rest, "what had to follow"
        at += len(rest)
        finish = "length" if at >= ask.max_tokens else None
    assert at == len(tokens), f"{len(tokens) - at} tokens too many"
    assert output.finish_reason == (finish or "length"), "why it ended"


def same(ask: Ask, output: Any, expected: Any) -> None:
    """AssertionError unless two answers to a request are bit-identical and well-formed."""
    assert output.output_token_ids == expected.output_token_ids, "tokens differ"
    assert output.prompt_logprobs == expected.prompt_logprobs, "scores differ"
    assert not ask.logprobs or output.output_logprobs == expected.output_logprobs, "logprobs differ"
    check(ask, output, lambda *_: None)


LIMITS = (0, 1, 2, 3, 7, 20, 66, 130, 200)
LENGTHS = (1, 2, 20, 63, 64, 65, 100, 127, 128, 129, 191, 192, 193, 300)


def random_schedule(
    rng: random.Random, *, vocab: int = 256, requests: int = 8, failing: bool = False, invariant: bool = False
) -> Schedule:
    """A random mix of request kinds; lengths are mostly around block and chunk boundaries."""
    chunk = rng.choice((64, 64, 128, 192, 256, 512))
    borders = (chunk - 1, chunk, chunk + 1, 2 * chunk - 1, 2 * chunk, 2 * chunk + 1, 511, 512, 513)
    tight = rng.random() < 0.3  # blocks run out while many answers grow
    lengths, limits = ([20, 50, 63, 64, 65, 129], [66, 130, 200]) if tight else ([*LENGTHS, *borders], LIMITS)
    asks: list[Ask] = []
    for _ in range(rng.randint(2, requests)):
        asks.append(_ask(rng, asks, lengths, limits, vocab))
    if rng.random() < 0.3:  # concurrent repeats of one prompt
        ask = rng.choice(asks)
        asks += [replace(ask, sampling_params=_draw(rng), cancel=None) for _ in range(rng.randint(1, 4))]
    needed = -(-max(len(ask.prompt) + max(ask.max_tokens, 1) for ask in asks) // BLOCK)
    fails = tuple((rng.randrange(40), rng.choice(("run", "result"))) for _ in range(rng.randint(1, 2)))
    return Schedule(
        asks=tuple(asks),
        batch=rng.choice((4, 8) if tight else (1, 2, 3, 4, 8, 16)),
        chunk=chunk,
        blocks=needed + rng.choice((2, 3, 5) if tight else (2, 3, needed, 200)),
        snapshots=rng.choice((0, 1, 2, 3, 16)),
        ahead=rng.random() < 0.6,
        prefix_cache=rng.random() < 0.9,
        invariant=invariant,
        graphs=rng.random() < 0.3,
        failing=fails if failing else (),
    )


def _ask(rng: random.Random, before: list[Ask], lengths: Sequence[int], limits: Sequence[int], vocab: int) -> Ask:
    prompt = _prompt(rng, before, lengths, vocab)
    limit = rng.choice(limits)
    first = tuple(rng.randrange(vocab) for _ in range(rng.randint(1, 5))) if rng.random() < 0.15 else ()
    forced = []
    if limit > 2 and rng.random() < 0.3:
        for count in rng.sample(range(1, limit), rng.randint(1, 2)):
            forced.append((count, tuple(rng.randrange(vocab) for _ in range(rng.choice((1, 2, 9, 70))))))
    return Ask(
        prompt=prompt,
        max_tokens=limit,
        sampling_params=_draw(rng),
        initial_tokens=first if len(first) < limit else (),
        forced=tuple(forced),
        stop=rng.choice((0, 0, 0, 37)),
        stop_token_ids=frozenset(rng.sample(range(vocab), 3)) if rng.random() < 0.2 else frozenset(),
        num_scored=0 if limit else min(rng.choice((0, 1, len(prompt) // 2, len(prompt))), len(prompt) - 1),
        logprobs=rng.random() < 0.8,
        arrive=rng.choice((0, 0, 0, 1, 2, rng.randrange(40))),
        cancel=rng.randrange(1, 12) if rng.random() < 0.12 else None,
    )


def _prompt(rng: random.Random, before: list[Ask], lengths: Sequence[int], vocab: int) -> tuple[int, ...]:
    size = rng.choice(lengths)
    kind = rng.random()
    old = rng.choice(before).prompt if before else ()
    if before and kind < 0.25:
        return old
    if before and kind < 0.65:  # a shared prefix up to about a block boundary
        old = old[: max(1, rng.choice(lengths) + rng.choice((-1, 0, 0, 1)))]
        size = len(old) + rng.choice((1, 1, 5, 63, 64, 65))
    else:
        old = ()
    return (*old, *(rng.randrange(vocab) for _ in range(size - len(old))))


def _draw(rng: random.Random) -> Any:
    if rng.random() < 0.6:
        return GREEDY
    top_p, top_k, min_p = rng.choice(((1.0, 0, 0.0), (0.9, 0, 0.0), (1.0, 20, 0.0), (0.95, 50, 0.01)))
    return sampling.SamplingParams(rng.choice((0.7, 1.0, 1.5)), top_p, top_k, min_p, rng.randrange(2**62))
