"""Tensor-parallel sharding and process-group setup: one process per GPU, each with a part of the model."""

import socket
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import TCPStore

from m1eval import RunnerError

LOCAL = "127.0.0.1"
JOIN_TIMEOUT = timedelta(minutes=2)
"""Timeout for ranks to join the process group."""


class Shard(NamedTuple):
    """The part of a model in this process: `rank` of `size`; `group` as in torch.distributed."""

    rank: int = 0
    size: int = 1
    group: Any = None

    def divide(self, count: int, name: str) -> int:
        """The number per rank; RunnerError if they cannot be divided."""
        if count % self.size:
            raise RunnerError(f"the model's {count} {name} cannot be split over {self.size} GPUs: choose a divisor")
        return count // self.size

    def all_reduce(self, x: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(x, group=self.group)
        return x

    def broadcast(self, x: Tensor) -> Tensor:
        """The tensor of rank 0, in place: for what all ranks compute and must not differ even by a rounding."""
        if self.size > 1:
            dist.broadcast(x, 0, group=self.group)
        return x


ALONE = Shard()


def create_store(size: int) -> TCPStore:
    """The rendezvous of the ranks, held by rank 0 and reachable from this machine only; others need its `port`."""
    listener = socket.create_server((LOCAL, 0))
    port: int = listener.getsockname()[1]
    return TCPStore(
        LOCAL,
        port,
        size,
        is_master=True,
        timeout=JOIN_TIMEOUT,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )


def connect_store(port: int, size: int) -> TCPStore:
    """The rendezvous for the other ranks."""
    return TCPStore(LOCAL, port, size, timeout=JOIN_TIMEOUT, wait_for_workers=False)


def join_group(store: TCPStore, shard: Shard, device: torch.device) -> None:
    """Make this process one of the ranks, by NCCL on GPUs and Gloo on a CPU; returns when all have joined.

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
    """Stop kernels from waiting for a rank that is gone. (Gloo notices by itself: its connection is closed.)"""
    if dist.is_initialized() and dist.get_backend() == "nccl":
        group = dist.group.WORLD
        assert group is not None
        group.abort()


def leave_group() -> None:
    """Leave the process group without waiting for others. CUDA graphs with all-reduces must be freed first."""
    if dist.is_initialized():
        abort()
        dist.destroy_process_group()
