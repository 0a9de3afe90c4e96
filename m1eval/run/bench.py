"""`m1eval bench`: measures a runner that runs the model on this machine."""

from collections.abc import Sequence
from typing import Any

from m1eval import terminal
from m1eval.errors import UsageError
from m1eval.model.model import Model
from m1eval.progress import NullProgress
from m1eval.run.interrupts import run_async


class _Lines(NullProgress):
    """Status lines on standard error."""

    def status(self, text: str) -> None:
        if not text.startswith("loading weights"):
            terminal.line(text, err=True)


def measure(model: Model, lengths: Sequence[int], batches: Sequence[int]) -> dict[str, Any]:
    """Speeds of a runner that can measure itself; UsageError for others."""
    runner = model.runner()
    if not hasattr(runner, "bench"):
        raise UsageError(f"{model.label}: this runner runs nothing on this machine; `m1eval bench local:…` does")

    async def run() -> dict[str, Any]:
        try:
            speeds: dict[str, Any] = await runner.bench(_Lines(), lengths, batches)
            return speeds | {"model": model.label}
        finally:
            await runner.aclose()

    return run_async(run())
