"""The norm kernels against PyTorch."""

import pytest
import torch

EPS = 1e-5


@pytest.mark.parametrize("width", [64, 96, 576])
def test_each_kernel_computes_what_pytorch_does(part, device, width):
    torch.manual_seed(0)
    operations, kernel = part("ops.norm"), part("kernels.norm")
    x, other, weight = (torch.randn(*shape, device=device) for shape in ((3, width), (3, width), (width,)))
    for name, args in {
        "rms_norm": (x, weight, EPS),
        "add_norm": (x, other, weight, EPS, 0.5, 3.0),
        "gated_norm": (x, other, weight, EPS),
        "silu_mul": (x,),
    }.items():
        torch.testing.assert_close(getattr(kernel, name)(*args), getattr(operations, name).reference(*args), msg=name)


def test_rows_may_be_strided(part, device):
    torch.manual_seed(0)
    operations, kernel = part("ops.norm"), part("kernels.norm")
    wide, weight = torch.randn(3, 100, device=device), torch.randn(40, device=device)
    x, gate = wide[:, :40], wide[:, 60:]
    torch.testing.assert_close(kernel.rms_norm(x, weight, EPS), operations.rms_norm.reference(x, weight, EPS))
    torch.testing.assert_close(
        kernel.gated_norm(x, gate, weight, EPS), operations.gated_norm.reference(x, gate, weight, EPS)
    )
    torch.testing.assert_close(kernel.silu_mul(x), operations.silu_mul.reference(x))


def test_no_rows_give_empty_outputs(part, device):
    kernel = part("kernels.norm")
    empty, weight = torch.empty(0, 64, device=device), torch.ones(64, device=device)
    assert kernel.rms_norm(empty, weight, EPS).shape == (0, 64)
    assert kernel.silu_mul(empty).shape == (0, 32)
