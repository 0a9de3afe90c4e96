"""Is `--max-cost` ever exceeded? `python -m benchmarks.limits [--trials 200]`.

Each trial draws prices, a limit, concurrency, repeats, several answers a request, lengths of answers with heavy tails,
faults of the server, judges and episodes of several requests, and runs the real command against a server on the
loopback that counts what it really served: answers that were cut off on the way, filtered or of no use as well. Said
are how often the limit was exceeded, and how much of it was used where the command stopped because of it. Some servers
ignore `max_tokens`: then exceeded is more than what one request took beyond it, or that nothing says so.
"""

import argparse
import asyncio
import contextlib
import io
import json
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from m1eval.cli.main import main as run_command
from tests.serving import Server

TASK = """
title: T
dataset: {{file: t.jsonl}}
prompt: "{{{{ q }}}}"
target: "yes"
scorer: {scorer}
repeats: {repeats}
generation: {generation}
{more}
"""
EPISODE = """
from m1eval import Request


async def run(sample, runner, context):
    messages = list(sample.messages)
    for turn in range(2 + len(sample.id) % 3):
        output = await runner.generate(Request(messages=messages))
        messages += [{"role": "assistant", "content": output.text}, {"role": "user", "content": "And on?"}]
    return output
"""
RUBRIC = '{judge: {rubric: "Is it right? {{ answer }}", verdicts: {CORRECT: 1, INCORRECT: 0}}}'


class Setting(NamedTuple):
    """Settings of a trial."""

    seed: int
    input: float
    output: float
    limit: float
    concurrency: int
    repeats: int
    samples: int
    mean: int
    """Tokens of an answer, at the median."""
    tail: float
    """The exponent of the Pareto distribution of lengths; small ones have heavy tails."""
    max_tokens: int | None
    faults: float
    """Share of requests that fail in one of several ways."""
    judged: bool
    tokens_per_byte: float
    answers: int
    """In one request."""
    episode: bool
    ignores: bool
    """Whether the server writes on beyond the limit that it is told."""

    @property
    def is_fine(self) -> bool:
        """Whether one answer is small compared with the limit, so that little of it need be left over."""
        tokens = (self.max_tokens or 8 * self.mean) + 5000 * self.judged
        tokens *= self.answers * (4 if self.episode else 1)
        return (tokens * self.output + 150 * self.input) / 1e6 < 0.1 * self.limit


def drawn(seed: int) -> Setting:
    """The setting of a trial."""
    draw = random.Random(seed)
    mean, output = draw.choice((20, 200, 2000)), draw.choice((1.0, 10.0, 60.0))
    samples, repeats = draw.choice((10, 40, 80)), draw.choice((1, 2, 4))
    judged = draw.random() < 0.3
    episode, ignores = draw.random() < 0.15, draw.random() < 0.15
    whole = samples * repeats * (mean + 1500 * judged) * output / 1e6
    return Setting(
        seed=seed,
        input=output / draw.choice((1, 4, 10)),
        output=output,
        limit=float(f"{whole * draw.choice((0.02, 0.1, 0.3, 0.7)):.3g}"),
        concurrency=draw.choice((1, 4, 16, 60)),
        repeats=repeats,
        samples=samples,
        mean=mean,
        tail=draw.choice((1.1, 1.5, 3.0)),
        max_tokens=draw.choice((None, 2 * mean, 8 * mean)),
        faults=draw.choice((0.0, 0.0, 0.2)),
        judged=judged,
        tokens_per_byte=draw.choice((0.2, 0.3, 0.5)),
        answers=1 if episode else draw.choice((1, 1, min(repeats, 2), repeats)),
        episode=episode,
        ignores=ignores,
    )


class Priced(Server):
    """An OpenAI-compatible server that counts what it served, in dollars."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.served, self.answers, self.beyond, self.cut = setting, 0.0, 0, 0.0, 0.0
        self._draw = random.Random(setting.seed)
        super().__init__(self._exchange)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
                size = next((int(line.split(b":")[1]) for line in head if b"content-length" in line), 0)
                body = json.loads(await reader.readexactly(size)) if size else None
                status, reply = await self._said(body)
                text = json.dumps(reply).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(text)))
                writer.write(text if status else text[: len(text) // 2])
                await writer.drain()
                if not status:
                    break
        writer.close()

    async def _said(self, body: dict[str, Any] | None) -> tuple[int, Any]:
        """The reply; status 0 breaks the connection in the middle of it."""
        if body is None:
            return 200, {"data": [{"id": "m"}, {"id": "judge"}]}
        await asyncio.sleep(self._draw.uniform(0, 0.01))
        fault = self._draw.choice(("busy", "broken", "filtered", "empty")) if self._fails() else ""
        if fault == "busy":
            return 503, {"error": {"message": "overloaded"}}
        judge = body["model"] == "judge"
        prompt = round(len(json.dumps(body["messages"]).encode()) * self.setting.tokens_per_byte) + 10
        max_tokens = body.get("max_tokens") or body.get("max_completion_tokens") or 10**7
        written = [self._written(judge, max_tokens) for _ in range(body.get("n") or 1)]
        tokens = sum(count for count, _ in written)
        self.served += (prompt * self.setting.input + tokens * self.setting.output) / 1e6
        self.answers += 0 if judge else len(written)
        beyond = sum(max(0, count - max_tokens) for count, _ in written) * self.setting.output / 1e6
        self.beyond = max(self.beyond, beyond)
        if not judge and max_tokens != self.setting.max_tokens:
            self.cut += sum(count for count, reason in written if reason == "length") * self.setting.output / 1e6
        choices = []
        for number, (_, reason) in enumerate(written):
            text = self._draw.choice(("Verdict: CORRECT", "Verdict: INCORRECT", "Who knows")) if judge else "yes"
            finish = "content_filter" if fault == "filtered" else reason
            choices.append({"index": number, "message": {"content": text}, "finish_reason": finish})
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens}
        return 0 if fault == "broken" else 200, {"choices": [] if fault == "empty" else choices, "usage": usage}

    def _written(self, judge: bool, most: int) -> tuple[int, str]:
        """The tokens of an answer, and how it ends."""
        length = round((30 if judge else self.setting.mean) * self._draw.paretovariate(self.setting.tail) / 1.5)
        if self.setting.ignores and not judge:
            return max(1, length), "stop"
        return max(1, min(length, most)), "length" if length > most else "stop"

    def _fails(self) -> bool:
        return self._draw.random() < self.setting.faults


class Result(NamedTuple):
    """Result of a trial."""

    setting: Setting
    code: int
    served: float
    beyond: float
    """US dollars of what one request took beyond the limit that it carried, at most."""
    cut: float
    """US dollars of answers that were cut off by a limit that only the command had set."""
    stopped: bool
    answers: int
    said: str

    @property
    def over(self) -> bool:
        """Whether more was served than the limit allows."""
        return self.served > self.setting.limit * (1 + 1e-9)

    @property
    def exceeded(self) -> bool:
        """Whether that is more than what one request took beyond the limit that it carried, or nothing says so."""
        warned = "more than that as the server" in self.said or "is exceeded: " in self.said
        return self.served > self.setting.limit * (1 + 1e-9) + self.beyond or (self.over and not warned)


@contextlib.contextmanager
def serving(setting: Setting) -> Iterator[Priced]:
    """A server for one trial."""
    server = Priced(setting)
    try:
        yield server
    finally:
        server.stop()


def trial(setting: Setting, folder: Path) -> Result:
    """Run the command once."""
    rows = (json.dumps({"q": f"Question {i}? " + "word " * (i % 7 * 10)}) + "\n" for i in range(setting.samples))
    (folder / "t.jsonl").write_text("".join(rows))
    generation = {"temperature": 1.0} | ({"max_tokens": setting.max_tokens} if setting.max_tokens else {})
    scorer = RUBRIC if setting.judged else "contains"
    episode = "episode: _episode.run" if setting.episode else ""
    (folder / "_episode.py").write_text(EPISODE)
    text = TASK.format(scorer=scorer, repeats=setting.repeats, generation=json.dumps(generation), more=episode)
    (folder / "t.yaml").write_text(text)
    (folder / "p.yaml").write_text(f"'*': {{input: {setting.input}, output: {setting.output}}}\n")
    output = io.StringIO()
    with serving(setting) as server:
        command = ["run", "--tasks", folder / "t.yaml", "--model", "http:m", "--base-url", server.url]
        command += ["-o", "retries=2", "-o", "backoff=0.01", "--prices", folder / "p.yaml", "--max-cost", setting.limit]
        command += ["-j", setting.concurrency, "--out", folder / "x", "--display", "none"]
        command += ["-o", f"n={setting.answers}"] if setting.answers > 1 else []
        command += ["--judge", f"http:judge,base_url={server.url},retries=2,backoff=0.01"] if setting.judged else []
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                run_command([str(part) for part in command])
            except SystemExit as left:
                code = int(left.code or 0)
        text = output.getvalue()
        return Result(
            setting, code, server.served, server.beyond, server.cut, "stopped by" in text, server.answers, text
        )


def _kinds(found: list[Result]) -> Iterator[tuple[str, list[Result]]]:
    """The trials by what limits answers, and whether replies broke off, which counts as all they may have taken."""
    for name, limited in (("by max_tokens", True), ("by nothing", False)):
        some = [c for c in found if (c.setting.max_tokens is not None) is limited and not c.setting.ignores]
        yield f"{name}, whole replies", [c for c in some if not c.setting.faults]
        yield f"{name}, a fifth at fault", [c for c in some if c.setting.faults]
    yield "in vain", [c for c in found if c.setting.ignores]


def main() -> None:
    """Run the trials, and print the results."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--trials", type=int, default=200)
    ask.add_argument("--first", type=int, default=0)
    ask.add_argument("--verbose", action="store_true")
    args = ask.parse_args()
    results = []
    for seed in range(args.first, args.first + args.trials):
        with tempfile.TemporaryDirectory() as folder:
            results.append(came := trial(drawn(seed), Path(folder)))
        if came.exceeded or (came.stopped and came.code != 3) or (not came.stopped and came.code not in (0, 3)):
            print(came._replace(said=came.said[-600:]), file=sys.stderr)
        elif args.verbose:
            print(f"{came.served / came.setting.limit:.2f}", came, file=sys.stderr)
    names = "answers limited", "trials", "exceeded", "stopped by the limit", "rc 3 of these"
    print(f"| {' | '.join([*names, 'limit used, median', 'least', 'cut off'])} |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, some in _kinds(results):
        ended = [came for came in some if came.stopped]
        fine = [came for came in ended if came.setting.is_fine]
        shares = [came.served / came.setting.limit for came in fine] or [math.nan]
        used = f"{statistics.median(shares):.2f}", f"{min(shares):.2f}"
        cut = f"{sum(came.cut for came in fine) / max(1e-9, sum(came.served for came in fine)):.1%}"
        counts = (len(some), sum(c.exceeded for c in some), len(ended), sum(c.code == 3 for c in ended))
        print(f"| {name} | {' | '.join(map(str, [*counts, *used, cut]))} |")
    over = [came for came in results if came.over]
    print(
        f"{len(over)} of {sum(c.setting.ignores for c in results)} servers that ignore limits went beyond by one answer"
    )
    sys.exit(any(came.exceeded for came in results))


if __name__ == "__main__":
    main()
