"""Matrix-vector products against PyTorch."""

import pytest
import torch


@pytest.mark.parametrize(("depth", "out"), [(64, 24), (300, 20), (1400, 6)])
def test_each_kernel_computes_what_pytorch_does(part, device, depth, out):
    torch.manual_seed(0)
    operations, kernel = part("ops.gemv"), part("kernels.gemv")

    def normal(*shape):
        return torch.randn(*shape, device=device)

    x, delta, scale, bias, residual = normal(1, depth), normal(1, depth), normal(depth), normal(out), normal(1, out)
    weight, both = normal(out, depth) / depth**0.5, normal(2 * out, depth) / depth**0.5
    for name, args in {
        "linear": (x, weight),
        "norm_linear": (x, delta, scale, 1e-5, weight, bias, 0.5, 3.0),
        "norm_gate_up": (x, delta, scale, 1e-5, both),
        "head": (x, weight),
    }.items():
        actual, expected = getattr(kernel, name)(*args), getattr(operations, name).reference(*args)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5, msg=name)
    actual, expected = kernel.linear(x, weight, bias, residual), operations.linear.reference(x, weight, bias, residual)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_head_logits_are_fp32(part, device):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 64, device=device).half(), torch.randn(30, 64, device=device).half()
    actual = part("kernels.gemv").head(x, weight)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, x.float() @ weight.float().t(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tile", [(2, 256, 4), (8, 512, 4)])
def test_the_tile_changes_no_result(part, device, tile):
    torch.manual_seed(0)
    x, weight = torch.randn(1, 600, device=device), torch.randn(21, 600, device=device)
    actual = part("kernels.gemv").linear(x, weight, tile=tile)
    torch.testing.assert_close(actual, x @ weight.t(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefetch", [0, 256, 512, 4096])
def test_prefetching_changes_no_result(part, device, prefetch, monkeypatch):
    torch.manual_seed(0)
    kernel = part("kernels.gemv")
    monkeypatch.setattr(kernel, "PREFETCH", prefetch)
    x, delta, scale = (torch.randn(*shape, device=device) for shape in ((1, 600), (1, 600), (600,)))
    weight = torch.randn(22, 600, device=device) / 25
    args = x, delta, scale, 1e-5, weight
    actual = kernel.norm_gate_up(*args, tile=(4, 256, 4))
    torch.testing.assert_close(actual, part("ops.gemv").norm_gate_up.reference(*args), rtol=1e-4, atol=1e-5)


def test_tiles_give_every_processor_work_where_there_is_enough(part):
    tile_for = part("kernels.gemv").tile_for
    for columns, depth in ((4096, 1024), (1024, 3072), (1024, 2048), (576, 1536)):
        wide, deep, _ = tile_for(columns, depth, 1)
        assert columns // wide >= 132
        assert -(-depth // deep) * deep <= 1.34 * depth
