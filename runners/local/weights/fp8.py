"""Weights in 8-bit floats (e4m3) with one fp32 scale for each block, as DeepSeek-V3 (arXiv 2412.19437) ships them.

In a checkpoint `X.weight` [rows, columns] stands beside `X.weight_scale_inv` [block rows, block columns], which is what
to multiply by in spite of its name; blocks at the right and lower edge may be cut short.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from m1eval import RunnerError

SCALES = "_scale_inv"
"""What the name of the scales has after that of the weight."""

BLOCK = (128, 128)


def block_size(quantization: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of a block by the `quantization_config` of config.json; RunnerError if it is anything else."""
    block = quantization.get("weight_block_size")
    method, form = quantization.get("quant_method"), quantization.get("fmt", "e4m3")
    if (
        method != "fp8"
        or form != "e4m3"
        or not (isinstance(block, list) and len(block) == 2)
        or not all(type(size) is int and size > 0 for size in block)
    ):
        raise RunnerError(
            f"the weights are quantised ({_short(method)}, {_short(form)}, blocks {_short(block)}), of "
            "which local reads fp8 e4m3 in blocks of rows and columns only; take bf16 weights"
        )
    return int(block[0]), int(block[1])


def _short(value: Any) -> str:
    text = str(value)[:60]
    return text if text.isprintable() else repr(text)


def dequantise(
    weight: Tensor,
    scales: Tensor,
    block: tuple[int, int] = BLOCK,
    *,
    origin: tuple[int, int] = (0, 0),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weight [rows, columns] times the scale of the block that each element stands in, multiplied in fp32.

    `weight` may be a piece of the stored matrix that begins at `origin`; `scales` are always those of the whole.
    RunnerError if the scales do not reach as far as the weight.
    """
    needed = [-(-(start + size) // side) for start, size, side in zip(origin, weight.shape, block, strict=True)]
    if scales.dim() != 2 or any(there < want for there, want in zip(scales.shape, needed, strict=True)):
        raise RunnerError(
            f"fp8 scales of shape {list(scales.shape)} do not cover a weight of shape {list(weight.shape)} at "
            f"{list(origin)} in blocks of {block[0]} x {block[1]}, which takes {needed}"
        )
    rows, columns = (
        (torch.arange(size, device=scales.device) + start) // side
        for start, size, side in zip(origin, weight.shape, block, strict=True)
    )
    return (weight.float() * scales.float()[:, columns][rows]).to(dtype)
