"""Inputs and outputs of a decode step."""

import importlib

import torch

from m1eval import load

parts = load("runners", "local").__name__ + ".ops"
ops, layout = (importlib.import_module(f"{parts}.{name}") for name in ("slot_mapping", "layout"))


def fresh():
    ints = torch.arange(20).view(5, 4)
    ints[layout.LAST] = torch.tensor([9, -1, 8, 0])
    ints[layout.LENGTH] = torch.tensor([0, 5, 8, 0])
    ints[:, 3] = 0
    return ints


def test_step_inputs_are_the_last_tokens_and_their_positions():
    tables = torch.tensor([[7, 0, 0], [3, 6, 0], [1, 4, 2], [0, 0, 0]], dtype=torch.int32)
    ids, positions, own, (slots, lengths) = ops.load_step_inputs(fresh(), tables, torch.tensor([2, 1, 0, 3, 3]), 4)
    assert ids.tolist() == [8, 0, 9, 0, 0]
    assert positions.tolist() == [8, 5, 0, 0, 0]
    assert own.tolist() == [[1, 4, 2], [3, 6, 0], [7, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert slots.tolist() == [2 * 4, 6 * 4 + 1, 7 * 4, 0, 0]
    assert lengths.tolist() == [9, 6, 1, 1, 1]


def test_step_outputs_advance_slots_and_leave_the_spare_slot_zero():
    ints = fresh()
    before = ints.clone()
    ops.store_step_outputs(ints, torch.tensor([2, 3, 0, 3]), torch.tensor([5, 6, -1, 7]), 3, 1)
    assert ints[layout.LAST].tolist() == [-1, -1, 5, 0]
    assert ints[layout.LENGTH].tolist() == [1, 5, 9, 0]
    assert (ints[layout.INDEX] - before[layout.INDEX]).tolist() == [1, 0, 1, 0]
    assert not ints[:, 3].any()
    for field in (layout.SEED, layout.TOP_K):
        assert torch.equal(ints[field], before[field])
