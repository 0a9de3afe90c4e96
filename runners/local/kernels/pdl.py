# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped"
"""Programmatic dependent launch (from sm_90 on): a kernel starts while the previous one ends, and waits where it must.

A participating kernel first reads, if anything, only what no kernel of its chain writes: weights, and what existed when
the last kernel outside the chain started (the embedding lookup, at the latest, starts when a step's tables and lengths
and all earlier steps are done). Then it calls `wait_for_previous`, in every program that continues, and only then
touches what another kernel writes or reads. The wait is for the whole previous kernel, which has itself waited for the
one before: so order holds along the chain, through kernels outside it as well.
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
    """Whether dependent launches are switched on."""
    return os.environ.get(CHOICE, "1") != "0"


@cache
def _supported() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 9


def use_pdl(pdl: bool | None = None) -> bool:
    """The caller's choice, or the environment's for None; never on hardware without support, nor interpreted."""
    return (enabled() if pdl is None else pdl) and _supported()


def launch_options(used: bool) -> dict[str, Any]:
    """Keyword options of a launch."""
    return {"launch_pdl": True} if used else {}


@triton.jit
def wait_for_previous(pdl: tl.constexpr):
    """Let the next kernel start, and wait for the writes of the previous ones."""
    if pdl:
        cuda.gdc_launch_dependents()
        cuda.gdc_wait()
