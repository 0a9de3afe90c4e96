"""The kernels that begin and end a step against PyTorch."""

import pytest
import torch

SPARE, BLOCK = 5, 16


@pytest.fixture
def held(device):
    """ints, tables, and rows in which the spare one stands twice."""
    torch.manual_seed(0)
    ints = torch.randint(-(2**62), 2**62, (5, 6), device=device)
    ints[0] = torch.tensor([7, -1, 3, 0, 9, 0], device=device)
    ints[1] = torch.tensor([0, 15, 16, 40, 319, 0], device=device)
    ints[:, SPARE] = 0
    tables = torch.randint(0, 50, (6, 300), dtype=torch.int32, device=device)
    return ints, tables, torch.tensor([4, 1, SPARE, 3, SPARE, 2], device=device)


@pytest.mark.parametrize("blocks", [20, 300])
def test_a_step_begins_with_what_pytorch_gathers(part, held, blocks):
    ints, tables, rows = held
    found = part("kernels.slot_mapping").load_step_inputs(ints, tables[:, :blocks], rows, BLOCK)
    wanted = part("ops.slot_mapping").load_step_inputs.reference(ints, tables[:, :blocks], rows, BLOCK)
    for a, b in zip((*found[:3], *found[3]), (*wanted[:3], *wanted[3]), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
        assert a.is_contiguous()


@pytest.mark.parametrize("longer", [0, 1])
def test_a_step_ends_with_what_pytorch_scatters(part, held, longer):
    ints, _, rows = held
    tokens = torch.tensor([11, -1, 12, 13, 14, 15], device=ints.device)
    wanted = ints.clone()
    part("ops.slot_mapping").store_step_outputs.reference(wanted, rows, tokens, SPARE, longer)
    part("kernels.slot_mapping").store_step_outputs(ints, rows, tokens, SPARE, longer)
    assert torch.equal(ints, wanted)
