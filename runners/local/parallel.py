"""Splitting one model over several processes, one per GPU: which part is whose, and how the processes meet."""

import socket
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import TCPStore

from m1eval import RunnerError

LOCAL = "127.0.0.1"
PATIENCE = timedelta(minutes=2)
"""How long ranks wait for each other until they have met."""


class Shard(NamedTuple):
    """Which part of a model this process holds: `rank` of `size`; `group` as in torch.distributed."""

    rank: int = 0
    size: int = 1
    group: Any = None

    def part(self, whole: int, what: str) -> int:
        """The share of one rank; RunnerError if `what` cannot be divided."""
        if whole % self.size:
            raise RunnerError(f"the model's {whole} {what} cannot be split over {self.size} GPUs: choose a divisor")
        return whole // self.size

    def sum(self, x: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(x, group=self.group)
        return x

    def first(self, x: Tensor) -> Tensor:
        """What rank 0 has, in place: for what all compute alike and must not differ in even by a rounding."""
        if self.size > 1:
            dist.broadcast(x, 0, group=self.group)
        return x


ALONE = Shard()


def meeting(size: int) -> TCPStore:
    """Where ranks find each other, held by rank 0; only this machine can reach it. Its `port` is for the others."""
    listener = socket.create_server((LOCAL, 0))
    port: int = listener.getsockname()[1]
    return TCPStore(
        LOCAL,
        port,
        size,
        is_master=True,
        timeout=PATIENCE,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )


def found(port: int, size: int) -> TCPStore:
    """The same for the other ranks."""
    return TCPStore(LOCAL, port, size, timeout=PATIENCE, wait_for_workers=False)


def join(store: TCPStore, shard: Shard, device: torch.device) -> None:
    """Make this process one of the ranks, by NCCL on GPUs and Gloo on a CPU; returns when all have come.

    RunnerError if it is one already: a process can be a rank of one model at a time.
    """
    if dist.is_initialized():
        raise RunnerError("local: this process already runs a model over several GPUs: close that first")
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=shard.rank,
        world_size=shard.size,
        device_id=torch.device("cuda", shard.rank) if on_gpu else None,
    )


def abort() -> None:
    """Let no kernel wait for a rank that is gone. (Gloo notices by itself: its connection is closed.)"""
    if dist.is_initialized() and dist.get_backend() == "nccl":
        group = dist.group.WORLD
        assert group is not None
        group.abort()


def leave() -> None:
    """Be no rank any more; waits for nobody. CUDA graphs that hold sums over ranks must be gone before."""
    if dist.is_initialized():
        abort()
        dist.destroy_process_group()
