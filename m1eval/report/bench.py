"""Output of `m1eval bench`."""

from typing import Any


def table(found: dict[str, Any]) -> str:
    """The speeds as Markdown, each with the share of the bound that the device sets."""
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
