"""What `m1eval bench` measures and prints."""

import asyncio
from collections.abc import Sequence
from typing import Any

from m1eval import terminal
from m1eval.errors import UsageError
from m1eval.model.model import Model
from m1eval.progress import NullProgress


class _Lines(NullProgress):
    """Says on standard error what is being done, one line each."""

    def status(self, text: str) -> None:
        if not text.startswith("loading weights"):
            terminal.line(text, err=True)


def measure(model: Model, lengths: Sequence[int], batches: Sequence[int]) -> dict[str, Any]:
    """The figures of a runner that can measure itself; UsageError for others."""
    runner = model.runner()
    if not hasattr(runner, "bench"):
        raise UsageError(f"{model.label}: this runner runs nothing on this machine; `m1eval bench local:…` does")

    async def run() -> dict[str, Any]:
        try:
            found: dict[str, Any] = await runner.bench(_Lines(), lengths, batches)
            return found | {"model": model.label}
        finally:
            await runner.aclose()

    return asyncio.run(run())


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown, each beside the bound that the device sets."""
    rates = found["rates"]
    memory, products = f"{rates['bytes'] / 1e9:,.0f} GB/s", f"{rates['operations'] / 1e12:,.2f} TFLOP/s"
    lines = [
        f"{found['model']}: memory {memory}, products {products}, peak memory {found['peak_gib']:.2f} GiB",
        "",
        "| | tokens/s | of the bound | first token | in all |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in found["prefill"]:
        share, seconds = row["tokens_per_s"] / row["bound_tokens_per_s"], f"{row['seconds']:.3f} s"
        lines.append(_row(f"prompt of {row['prompt']:,}", row["tokens_per_s"], share, seconds, seconds))
    for row in found["decode"]:
        share, first = row["drawing_tokens_per_s"] / row["bound_tokens_per_s"], f"{row['first_token_s']:.3f} s"
        lines.append(
            _row(f"{row['batch']} at once", row["drawing_tokens_per_s"], share, first, f"{row['seconds']:.3f} s")
        )
    return "\n".join(lines)


def _row(what: str, speed: float, share: float, first: str, whole: str) -> str:
    return f"| {what} | {speed:,.0f} | {share:.0%} | {first} | {whole} |"
