# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Programmatic dependent launch (sm_90 on): a kernel starts while the one before it ends, and waits where it must.

A kernel that takes part first reads, if anything, what no kernel of its chain writes: weights, and what was there when
the last kernel that takes no part began (the lookup of embeddings, at the latest, begins when a step's tables and
lengths and all earlier steps are done). Then it calls `follow`, in every program that goes on, and only then touches
what another kernel writes or reads. The wait is for the whole kernel before, which has itself waited for the one before
that: so order holds along the chain, through kernels that take no part as well.
"""

import os
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra import cuda

CHOICE = "M1EVAL_PDL"
"""Environment variable: `0` switches dependent launches off."""


@cache
def enabled() -> bool:
    """Whether kernels that can are launched so."""
    return os.environ.get(CHOICE, "1") != "0"


@cache
def _able() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 9


def use_pdl(pdl: bool | None = None) -> bool:
    """The caller's choice, or the environment's for None; never on hardware without it, nor interpreted."""
    return (enabled() if pdl is None else pdl) and _able()


def launch_options(used: bool) -> dict[str, Any]:
    """What a launch is told beside its arguments."""
    return {"launch_pdl": True} if used else {}


@triton.jit
def wait_for_previous(pdl: tl.constexpr):
    """Let the next kernel start, and wait for what the ones before have written."""
    if pdl:
        cuda.gdc_launch_dependents()
        cuda.gdc_wait()
