"""Output of `m1eval bench`."""

from typing import Any


def table(speeds: dict[str, Any]) -> str:
    """The speeds as a Markdown table, each with its share of the bound that the device sets."""
    rates = speeds["rates"]
    memory, compute = f"{rates['bytes'] / 1e9:,.0f} GB/s", f"{rates['operations'] / 1e12:,.2f} TFLOP/s"
    lines = [
        f"{speeds['model']}: memory {memory}, compute {compute}, peak memory {speeds['peak_gib']:.2f} GiB",
        "",
        "| phase | tokens/s | of the bound | first token | total |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in speeds["prefill"]:
        share, seconds = row["tokens_per_s"] / row["bound_tokens_per_s"], f"{row['seconds']:.3f} s"
        lines.append(_row(f"prefill, {row['prompt']:,} tokens", row["tokens_per_s"], share, seconds, seconds))
    for row in speeds["decode"]:
        share, first = row["drawing_tokens_per_s"] / row["bound_tokens_per_s"], f"{row['first_token_s']:.3f} s"
        lines.append(
            _row(
                f"decode, batch {row['batch']:,}", row["drawing_tokens_per_s"], share, first, f"{row['seconds']:.3f} s"
            )
        )
    return "\n".join(lines)


def _row(phase: str, speed: float, share: float, first: str, whole: str) -> str:
    return f"| {phase} | {speed:,.0f} | {share:.0%} | {first} | {whole} |"
