"""Weights in 8-bit floats with block scales: what dequantising gives, and checkpoints that hold them."""

from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import RunnerError, load

local = load("runners", "local")
fp8 = import_module(f"{local.__name__}.weights.fp8")

LARGEST = 448.0  # of e4m3


def quantise(weight: torch.Tensor, block: tuple[int, int] = (128, 128)) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight in e4m3 and its scales [block rows, block columns]: each block's largest value becomes 448."""
    scales = torch.tensor(
        [[float(piece.abs().max()) / LARGEST for piece in row.split(block[1], 1)] for row in weight.split(block[0])]
    )
    wide = scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return (weight / wide[: weight.shape[0], : weight.shape[1]]).to(torch.float8_e4m3fn), scales


@pytest.mark.parametrize("shape", [(128, 128), (256, 384), (300, 200), (1, 129), (130, 5)])
def test_a_round_trip_keeps_every_value_to_a_sixteenth(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weight *= torch.logspace(-2, 2, shape[0])[:, None]  # blocks of very different size
    stored, scales = quantise(weight)
    dequantised = fp8.dequantize(stored, scales)
    # Half a step of three mantissa bits; below 2^-6 the steps are 2^-9 of the block's own unit.
    unit = scales.repeat_interleave(128, 0).repeat_interleave(128, 1)[: shape[0], : shape[1]]
    assert dequantised.dtype == torch.float32
    assert bool(((dequantised - weight).abs() <= torch.maximum(weight.abs() / 16, unit * 2**-10) * 1.0001).all())


def test_every_element_is_multiplied_by_the_scale_of_its_own_block() -> None:
    stored = torch.ones(5, 7).to(torch.float8_e4m3fn)
    scales = torch.arange(1.0, 13.0).view(3, 4)
    dequantised = fp8.dequantize(stored, scales, (2, 2))
    expected = torch.tensor([[scales[i // 2, j // 2] for j in range(7)] for i in range(5)])
    assert torch.equal(dequantised, expected)


def test_a_slice_of_a_matrix_takes_the_scales_of_its_position() -> None:
    weight = torch.randn(300, 260, generator=torch.Generator().manual_seed(1))
    stored, scales = quantise(weight)
    whole = fp8.dequantize(stored, scales)
    for rows, columns in [((0, 75), (0, 260)), ((75, 150), (0, 260)), ((0, 300), (130, 260)), ((127, 129), (100, 200))]:
        piece = fp8.dequantize(stored[slice(*rows), slice(*columns)], scales, origin=(rows[0], columns[0]))
        assert torch.equal(piece, whole[slice(*rows), slice(*columns)])


def test_bf16_is_rounded_once_from_fp32() -> None:
    stored, scales = quantise(torch.randn(130, 130, generator=torch.Generator().manual_seed(2)))
    dequantised = fp8.dequantize(stored, scales, dtype=torch.bfloat16)
    assert torch.equal(dequantised, fp8.dequantize(stored, scales).bfloat16())


def test_scales_that_do_not_cover_the_weight_are_refused() -> None:
    stored = torch.zeros(300, 100).to(torch.float8_e4m3fn)
    with pytest.raises(RunnerError, match=r"fp8 scales of shape \[2, 1\] do not cover .*\[300, 100\].*\[3, 1\]"):
        fp8.dequantize(stored, torch.ones(2, 1))


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "fp8", "fmt": "e5m2", "weight_block_size": [128, 128]},
        {"quant_method": "fp8", "fmt": "e4m3"},
    ],
)
def test_other_quantisations_are_refused(quantization: dict[str, Any]) -> None:
    with pytest.raises(RunnerError, match="fp8 e4m3 in blocks"):
        fp8.block_size(quantization)


def test_the_block_size_is_that_of_the_config() -> None:
    deepseek = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
    assert fp8.block_size(deepseek) == (128, 128)
    assert fp8.block_size({"quant_method": "fp8", "weight_block_size": [64, 32]}) == (64, 32)
