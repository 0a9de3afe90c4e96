"""Progress of a run on standard error: a live block on a terminal, plain lines elsewhere."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from m1eval import terminal
from m1eval.report.layout import width_of
from m1eval.store.description import RunDescription
from m1eval.store.tally import OUTCOMES, Tally
from m1eval.text import (
    format_cost,
    format_count,
    format_duration,
    format_interval,
    format_score,
    plural,
    shorten,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

Mode = Literal["full", "plain", "none"]
PLAIN_SECONDS = 60.0
WINDOW = 30.0
"""Seconds over which token rates are taken."""
STOPPING = "stopping: waiting for requests in flight; Ctrl-C again cancels them"
STALE = 50
"""A description is shown for this many times the seconds that computing it took."""


class LiveRun(Protocol):
    """A run in progress."""

    @property
    def meta(self) -> Mapping[str, Any]: ...
    @property
    def tally(self) -> Tally: ...
    def description(self) -> RunDescription: ...


class LiveLimit(Protocol):
    """The limit on requests in flight."""

    @property
    def in_flight(self) -> int: ...
    @property
    def limit(self) -> Callable[[], int]: ...


class LiveSession(Protocol):
    """The parts of a run's session that the live view shows."""

    @property
    def concurrency_limit(self) -> LiveLimit: ...
    @property
    def stop(self) -> asyncio.Event: ...


class Terminal:
    """The progress of runs. Runners may report from any thread; it is drawn from the event loop."""

    def __init__(self, mode: Mode | None = None) -> None:
        self.mode: Mode = mode or ("full" if terminal.is_terminal(err=True) else "plain")
        self.retries = 0
        self._waited = 0.0
        self._lock = threading.Lock()
        self._prompt = self._output = 0
        self._status = ""
        self._said: tuple[str, float] = ("", 0.0)  # the last plain line's mark (status or tenth) and its time
        self._said_stopping = False
        self._run: LiveRun | None = None
        self._about: RunDescription | None = None
        self._about_until = 0.0
        self._session: LiveSession | None = None
        self._begin = time.monotonic()
        self._first = (0, 0)  # finished and output tokens when the run began
        self._rates: list[tuple[float, int, int]] = []
        self._live: Live | None = None
        self._ticking: asyncio.Task[None] | None = None

    def __enter__(self) -> "Terminal":
        if self.mode == "full":
            from rich.live import Live

            self._live = Live(console=terminal.console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        if self.mode != "none":
            self._ticking = asyncio.create_task(self._tick())
        return self

    def __exit__(self, *exc: object) -> None:
        if self._ticking:
            self._ticking.cancel()
        if self._live:
            self._live.stop()

    def status(self, text: str) -> None:
        """Set the status that is shown before the first token."""
        with self._lock:
            self._status = text

    def tokens(self, *, prompt: int = 0, output: int = 0) -> None:
        """Tokens read and written since the last call."""
        with self._lock:
            self._prompt += prompt
            self._output += output

    def retry(self, reason: str, wait: float) -> None:
        """Count and show a retry of a request."""
        with self._lock:
            self.retries += 1
            self._waited += wait
            self._status = f"retry in {format_duration(wait)}: {reason}"

    def begin(self, run: LiveRun, session: LiveSession) -> None:
        """Show the progress of a run."""
        self._run, self._session = run, session
        self._about, self._about_until = None, 0.0
        self._begin = time.monotonic()
        self._first = (run.tally.finished, self._output)
        self._rates.clear()
        self._said = ("", 0.0)
        self._draw()

    def end(self) -> None:
        """Leave the last state of the finished run on the screen."""
        self._draw(last=True)
        self._run = None

    async def _tick(self) -> None:
        while True:
            begin = time.monotonic()
            self._draw()
            # The counts of a million samples take their time; drawing must not take that of the requests.
            await asyncio.sleep(max(0.5 if self.mode == "full" else 1.0, 20 * (time.monotonic() - begin)))

    def _draw(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._run and (last or now >= self._about_until):
            # A description goes through all samples, so it is made only now and then, and at the end.
            self._about = self._run.description()
            self._about_until = now + STALE * (time.monotonic() - now)
        self._rates.append((now, self._prompt, self._output))
        while now - self._rates[0][0] > WINDOW:
            del self._rates[0]
        if self._live:
            block = self._block(self._live.console)
            if last:  # above the live part, where it stays
                self._live.console.print(block)
            self._live.update("" if last else block, refresh=True)
        elif self.mode == "plain":
            self._line(now, last=last)

    def _line(self, now: float, *, last: bool) -> None:
        """One line each tenth of the way, each minute, for each new thing before the first token, and for a stop."""
        if self._is_stopping and not self._said_stopping and not last:
            self._said_stopping = True
            terminal.line(STOPPING, err=True)
        if self._run is None or self._about is None:
            mark, text = self._status, self._status
        else:
            done, total = self._done()
            mark = f"{10 * done // max(total, 1)}{last}"
            text = f"{self._about.task} {done}/{total} · {self._counts()} · {self._speed()}"
            text += "" if done == total else f" · ETA {self._eta()}"
            text += f" · {reason}" if (reason := self._reason()) else ""
        if text and (mark != self._said[0] or now - self._said[1] > PLAIN_SECONDS):
            self._said = (mark, now)
            terminal.line(text, err=True)

    def _block(self, console: "Console") -> "RenderableType":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        if self._run is None or self._about is None:
            return terminal.styled(self._status or "starting", "dim")
        done, total = self._done()
        head = Table.grid(expand=True, padding=(0, 1))
        title = terminal.cell(self._title())
        head.add_column(no_wrap=True, min_width=len(title))
        head.add_column(justify="right", style="dim", no_wrap=True)
        path = terminal.cell(self._about.path)
        fits = width_of(title) + width_of(path) + 2 <= console.width  # half a path would name another folder
        head.add_row(terminal.styled(title, "bold"), terminal.styled(path if fits else ""))
        bar = Table.grid(padding=(0, 2))
        eta = "" if done == total else f"ETA {self._eta()}"
        width = max(20, min(60, console.width - 45))
        elapsed = format_duration(time.monotonic() - self._begin)
        bar.add_row(ProgressBar(total=max(total, 1), completed=done, width=width), f"{done}/{total}", elapsed, eta)
        lines = [terminal.styled(f" {self._counts()}"), terminal.styled(f" {self._speed()}", "dim")]
        if self._is_stopping:
            lines.append(terminal.styled(f" {STOPPING}", "yellow"))
        elif self._status and not self._output:
            lines.append(terminal.styled(f" {self._status}", "dim"))
        if reason := self._reason():
            lines.append(terminal.styled(f" {reason}", "yellow"))
        return Group(head, bar, *lines)

    @property
    def _is_stopping(self) -> bool:
        return self._session is not None and self._session.stop.is_set()

    def _title(self) -> str:
        assert self._run is not None
        assert self._about is not None
        max_tokens = self._run.meta["config"]["task"].get("generation", {}).get("max_tokens")
        shape = f"{self._about.samples_chosen} × {self._about.repeats_asked}"
        limit = [f"max {plural(max_tokens, 'token')}"] if max_tokens else []
        return " · ".join([self._about.task, self._about.model, shape, *limit])

    def _done(self) -> tuple[int, int]:
        assert self._run is not None
        assert self._about is not None
        total = self._about.answers_wanted
        return min(self._run.tally.finished, total), total

    def _counts(self) -> str:
        assert self._run is not None
        outcomes, always = self._run.tally.outcomes, ("right", "wrong")
        shown = [f"{o} {outcomes[o]}" for o in OUTCOMES if outcomes[o] or o in always]
        about = self._about
        interval = f" (95% {format_interval(about.interval)})" if about and about.interval else ""
        return f"score {format_score(about.score if about else None)}{interval}   {' · '.join(shown)}"

    def _reason(self) -> str:
        """The most frequent error; empty if there is none."""
        errors = self._about.errors if self._about else []
        return f"errored {errors[0]['count']} × {shorten(errors[0]['reason'], 120)}" if errors else ""

    def _speed(self) -> str:
        (begin, prompt, output), (now, *_) = self._rates[0], self._rates[-1]
        seconds = max(now - begin, 1e-9)
        rate_in, rate_out = ((self._prompt - prompt) / seconds, (self._output - output) / seconds)
        about = self._about
        mean = about.tokens_per_answer if about else None
        each = "" if mean is None else f" · {format_count(mean)} tok/sample"
        if seconds < 0.2:
            rate_in = rate_out = 0.0
        spent = (
            f" · {format_cost(about.cost, complete=about.cost_complete)}" if about and about.cost is not None else ""
        )
        limit = self._session.concurrency_limit if self._session else None
        in_flight = f" · in flight {limit.in_flight}/{limit.limit()}" if limit else ""
        speed = f"out {format_count(rate_out)} tok/s · in {format_count(rate_in)} tok/s{each}{spent}{in_flight}"
        waited = f" (waited {format_duration(self._waited)})" if self._waited >= 1 else ""
        return f"{speed} · retries {self.retries}{waited}"

    def _eta(self) -> str:
        """Estimated time left, from tokens, not samples: the remaining ones at the mean length and the present rate."""
        assert self._run is not None
        tally = self._run.tally
        done, total = self._done()
        fresh = tally.finished - self._first[0]
        elapsed = time.monotonic() - self._begin
        written = self._output - self._first[1]
        if not fresh or elapsed < 1:
            return "–"
        mean = tally.usage.output / tally.finished
        if mean and written:
            begun = max(0.0, written - mean * fresh)  # already written of what is in flight
            left = mean * (total - done) - begun
            return format_duration(left * elapsed / written) if left > 0 else "–"
        return format_duration((total - done) * elapsed / fresh)
