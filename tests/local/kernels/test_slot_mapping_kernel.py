"""The kernels that load the inputs and store the outputs of a step, against PyTorch."""

import pytest
import torch

SPARE, BLOCK = 5, 16


@pytest.fixture
def state(device):
    """ints, tables, and rows that contain the spare one twice."""
    torch.manual_seed(0)
    ints = torch.randint(-(2**62), 2**62, (5, 6), device=device)
    ints[0] = torch.tensor([7, -1, 3, 0, 9, 0], device=device)
    ints[1] = torch.tensor([0, 15, 16, 40, 319, 0], device=device)
    ints[:, SPARE] = 0
    tables = torch.randint(0, 50, (6, 300), dtype=torch.int32, device=device)
    return ints, tables, torch.tensor([4, 1, SPARE, 3, SPARE, 2], device=device)


@pytest.mark.parametrize("blocks", [20, 300])
def test_step_inputs_are_those_that_pytorch_gathers(part, state, blocks):
    ints, tables, rows = state
    actual = part("kernels.slot_mapping").load_step_inputs(ints, tables[:, :blocks], rows, BLOCK)
    expected = part("ops.slot_mapping").load_step_inputs.reference(ints, tables[:, :blocks], rows, BLOCK)
    for a, b in zip((*actual[:3], *actual[3]), (*expected[:3], *expected[3]), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
        assert a.is_contiguous()


@pytest.mark.parametrize("growth", [0, 1])
def test_step_outputs_are_those_that_pytorch_scatters(part, state, growth):
    ints, _, rows = state
    tokens = torch.tensor([11, -1, 12, 13, 14, 15], device=ints.device)
    expected = ints.clone()
    part("ops.slot_mapping").store_step_outputs.reference(expected, rows, tokens, SPARE, growth)
    part("kernels.slot_mapping").store_step_outputs(ints, rows, tokens, SPARE, growth)
    assert torch.equal(ints, expected)
