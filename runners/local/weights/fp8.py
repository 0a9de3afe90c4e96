"""Weights in 8-bit floats (e4m3) with one fp32 scale for each block, as DeepSeek-V3 (arXiv 2412.19437) ships them.

A checkpoint stores `X.weight` [rows, columns] with `X.weight_scale_inv` [block rows, block columns], a factor in spite
of its name; blocks at the right and lower edge may be cut short.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from m1eval import RunnerError

SCALE_SUFFIX = "_scale_inv"
"""Suffix of the scales' name after the weight's."""

BLOCK = (128, 128)


def block_size(quantization: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of a block from the `quantization_config` of config.json; RunnerError for other formats."""
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


def dequantize(
    weight: Tensor,
    scales: Tensor,
    block: tuple[int, int] = BLOCK,
    *,
    origin: tuple[int, int] = (0, 0),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weight [rows, columns] times the scale of each element's block, multiplied in fp32.

    `weight` may be a piece of the stored matrix that starts at `origin`; `scales` are always those of the whole.
    RunnerError if the scales do not cover the weight.
    """
    num_scales = [-(-(start + size) // side) for start, size, side in zip(origin, weight.shape, block, strict=True)]
    if scales.dim() != 2 or any(size < count for size, count in zip(scales.shape, num_scales, strict=True)):
        raise RunnerError(
            f"fp8 scales of shape {list(scales.shape)} do not cover a weight of shape {list(weight.shape)} at "
            f"{list(origin)} in blocks of {block[0]} x {block[1]}, which takes {num_scales}"
        )
    rows, columns = (
        (torch.arange(size, device=scales.device) + start) // side
        for start, size, side in zip(origin, weight.shape, block, strict=True)
    )
    return (weight.float() * scales.float()[:, columns][rows]).to(dtype)
