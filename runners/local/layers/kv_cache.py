"""The cache tensors of all layers on one device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops.layout import PagedCache
from .cache_spec import BLOCK_SIZE, CacheSpec, KVSpec, LinearStateSpec, MLASpec


class KVCache:
    """Keys and values in `blocks` blocks, `rows` linear-attention states (and a spare one), `snapshots` saved ones."""

    def __init__(
        self,
        specs: Sequence[CacheSpec],
        *,
        blocks: int,
        rows: int,
        snapshots: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        # On a CPU, memory that was never touched costs nothing; on a GPU, noise that a mask hides may still be NaN.
        new = torch.empty if device.type == "cpu" else torch.zeros
        self.device = device
        self.paged: list[PagedCache | None] = []
        self.state_index: list[int] = []
        """Index of a layer's states."""
        state_specs = [spec for spec in specs if isinstance(spec, LinearStateSpec)]
        for spec in specs:
            self.state_index.append(sum(isinstance(s, LinearStateSpec) for s in specs[: len(self.state_index)]))
            if isinstance(spec, KVSpec):
                shape = (blocks, BLOCK_SIZE, spec.heads, spec.dim)
                keys, values = (new(shape, dtype=dtype, device=device) for _ in range(2))
                self.paged.append(PagedCache(keys, values))
            elif isinstance(spec, MLASpec):
                keys = new((blocks, BLOCK_SIZE, 1, spec.dim), dtype=dtype, device=device)
                self.paged.append(PagedCache(keys, keys[..., : spec.values]))
            else:
                self.paged.append(None)
        state_shape = (state_specs[0].heads, state_specs[0].dim, state_specs[0].dim) if state_specs else (0, 0, 0)
        self.states = torch.zeros(len(state_specs), rows + 1, *state_shape, device=device)
        self.saved = new((snapshots, len(state_specs), *state_shape), device=device)

    def load_state(self, row: int, snapshot: int | None) -> None:
        """Start a row from the saved state, or from an empty one."""
        if len(self.states):
            self.states[:, row] = 0 if snapshot is None else self.saved[snapshot]

    def save_state(self, row: int, snapshot: int) -> None:
        """Save a row's state."""
        self.saved[snapshot] = self.states[:, row]

    def layer(self, layer: int) -> PagedCache:
        """Keys and values of a softmax layer."""
        cache = self.paged[layer]
        assert cache is not None
        return cache

    def layer_states(self, layer: int) -> Tensor:
        """States of a linear-attention layer, [rows + 1, heads, dim, dim] fp32."""
        return self.states[self.state_index[layer]]
