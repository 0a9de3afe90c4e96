"""Is `--max-cost` ever exceeded? `python -m benchmarks.limits [--trials 200]`.

Each trial draws prices, a limit, concurrency, repeats, lengths of answers with heavy tails, faults of the server and
judges, and runs the real command against a server on the loopback that counts what it really served: answers that were
cut off on the way, filtered or of no use as well. Said are how often the limit was exceeded, and how much of it was
used where the command stopped because of it.
"""

import argparse
import asyncio
import contextlib
import io
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from m1eval import cli
from tests.serving import Server

TASK = """
title: T
dataset: {{file: t.jsonl}}
prompt: "{{{{ q }}}}"
target: "yes"
scorer: {scorer}
repeats: {repeats}
generation: {generation}
"""
RUBRIC = '{judge: {rubric: "Is it right? {{ answer }}", verdicts: {CORRECT: 1, INCORRECT: 0}}}'


class Setting(NamedTuple):
    """What a trial is run with."""

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

    @property
    def is_fine(self) -> bool:
        """Whether one answer is small compared with the limit, so that little of it need be left over."""
        tokens = (self.max_tokens or 8 * self.mean) + 5000 * self.judged
        return (tokens * self.output + 150 * self.input) / 1e6 < 0.1 * self.limit


def drawn(seed: int) -> Setting:
    """The setting of a trial."""
    draw = random.Random(seed)
    mean, output = draw.choice((20, 200, 2000)), draw.choice((1.0, 10.0, 60.0))
    samples, repeats = draw.choice((10, 40, 80)), draw.choice((1, 2, 4))
    judged = draw.random() < 0.3
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
    )


class Priced(Server):
    """An OpenAI-compatible server that counts what it served, in dollars."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.served, self.answers, self.dearest = setting, 0.0, 0, 0.0
        self._draw = random.Random(setting.seed)
        super().__init__(self._exchange)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
                size = next((int(line.split(b":")[1]) for line in head if b"content-length" in line), 0)
                body = json.loads(await reader.readexactly(size)) if size else None
                status, said = await self._said(body)
                text = json.dumps(said).encode()
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
        wanted = round((self.setting.mean if not judge else 30) * self._draw.paretovariate(self.setting.tail) / 1.5)
        most = body.get("max_tokens") or body.get("max_completion_tokens") or 10**7
        written = max(1, min(wanted, most))
        cost = (prompt * self.setting.input + written * self.setting.output) / 1e6
        self.served += cost
        self.answers += not judge
        self.dearest = max(self.dearest, cost)
        reason = "length" if wanted > most else "stop"
        if fault == "filtered":
            reason = "content_filter"
        text = self._draw.choice(("Verdict: CORRECT", "Verdict: INCORRECT", "Who knows")) if judge else "yes"
        choices = [] if fault == "empty" else [{"message": {"content": text}, "finish_reason": reason}]
        usage = {"prompt_tokens": prompt, "completion_tokens": written}
        return 0 if fault == "broken" else 200, {"choices": choices, "usage": usage}

    def _fails(self) -> bool:
        return self._draw.random() < self.setting.faults


class Came(NamedTuple):
    """What a trial came to."""

    setting: Setting
    code: int
    served: float
    dearest: float
    stopped: bool
    answers: int
    said: str

    @property
    def exceeded(self) -> bool:
        """Whether more was served than the limit allows."""
        return self.served > self.setting.limit * (1 + 1e-9)


@contextlib.contextmanager
def serving(setting: Setting) -> Iterator[Priced]:
    """A server for one trial."""
    server = Priced(setting)
    try:
        yield server
    finally:
        server.stop()


def trial(setting: Setting, folder: Path) -> Came:
    """Run the command once."""
    rows = (json.dumps({"q": f"Question {i}? " + "word " * (i % 7 * 10)}) + "\n" for i in range(setting.samples))
    (folder / "t.jsonl").write_text("".join(rows))
    generation = {"temperature": 1.0} | ({"max_tokens": setting.max_tokens} if setting.max_tokens else {})
    scorer = RUBRIC if setting.judged else "contains"
    text = TASK.format(scorer=scorer, repeats=setting.repeats, generation=json.dumps(generation))
    (folder / "t.yaml").write_text(text)
    (folder / "p.yaml").write_text(f"'*': {{input: {setting.input}, output: {setting.output}}}\n")
    said = io.StringIO()
    with serving(setting) as server:
        command = ["run", "--tasks", folder / "t.yaml", "--model", "http:m", "--base-url", server.url]
        command += ["-o", "retries=2", "-o", "backoff=0.01", "--prices", folder / "p.yaml", "--max-cost", setting.limit]
        command += ["-j", setting.concurrency, "--out", folder / "x", "--display", "none"]
        command += ["--judge", f"http:judge,base_url={server.url},retries=2,backoff=0.01"] if setting.judged else []
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                cli.main([str(part) for part in command])
            except SystemExit as left:
                code = int(left.code or 0)
        served, dearest, answers = server.served, server.dearest, server.answers
    return Came(setting, code, served, dearest, "stopped by --max-cost" in said.getvalue(), answers, said.getvalue())


def main() -> None:
    """Run the trials, and print what they came to."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--trials", type=int, default=200)
    ask.add_argument("--first", type=int, default=0)
    ask.add_argument("--verbose", action="store_true")
    given = ask.parse_args()
    found = []
    for seed in range(given.first, given.first + given.trials):
        with tempfile.TemporaryDirectory() as folder:
            found.append(came := trial(drawn(seed), Path(folder)))
        if came.exceeded or (came.stopped and came.code != 3) or (not came.stopped and came.code not in (0, 3)):
            print(came._replace(said=came.said[-600:]), file=sys.stderr)
        elif given.verbose:
            print(f"{came.served / came.setting.limit:.2f}", came, file=sys.stderr)
    print("| answers limited | trials | exceeded | stopped by the limit | rc 3 of these | limit used, median | least |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, limited in (("by max_tokens", True), ("by nothing", False)):
        some = [came for came in found if (came.setting.max_tokens is not None) is limited]
        ended = [came for came in some if came.stopped]
        fine = [came.served / came.setting.limit for came in ended if came.setting.is_fine]
        used = (f"{statistics.median(fine):.2f}", f"{min(fine):.2f}") if fine else ("–", "–")
        counts = (len(some), sum(c.exceeded for c in some), len(ended), sum(c.code == 3 for c in ended))
        print(f"| {name} | {' | '.join(map(str, [*counts, *used]))} |")
    sys.exit(any(came.exceeded for came in found))


if __name__ == "__main__":
    main()
