"""Sliding-window layers of a model by its config, and the length up to which they equal full attention."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from m1eval import RunnerError

from ..config.keys import CONFIG

FULL, SLIDING = "full_attention", "sliding_attention"


class SlidingWindow(NamedTuple):
    """`layers` that attend to the last `size` tokens, including the token itself."""

    size: int
    layers: tuple[int, ...]


def sliding_window(config: Mapping[str, Any], *, default: int | None, per_layer: bool) -> SlidingWindow | None:
    """The sliding-window layers of a config, None without any; `default` is the size where a config has none.

    As in transformers: `layer_types` names the type of every layer, without it layers from `max_window_layers` on
    slide; if not `per_layer`, all slide. RunnerError for other types of layers and for contradicting fields.
    """
    layers, kinds = config.get("num_hidden_layers"), config.get("layer_types")
    size = config.get("sliding_window", default) if config.get("use_sliding_window", default is None) else None
    for name, value in (("num_hidden_layers", layers), ("sliding_window", size)):
        if value is not None and (type(value) is not int or value < 1):
            raise RunnerError(f"{CONFIG}: {name} is {str(value)[:40]}, and must be a whole number from 1")
    if kinds is not None and _checked(kinds, layers).count(SLIDING) and size is None:
        raise RunnerError(
            f"{CONFIG}: layer_types has {SLIDING}, but there is no sliding_window, or use_sliding_window is off: take "
            "a config that agrees with itself, or leave one out with -o ignore_config_keys=layer_types"
        )
    if size is None or layers is None:
        return None
    if per_layer and kinds is not None:
        return _window(size, [i for i, kind in enumerate(kinds) if kind == SLIDING])
    first = _first(config, 0 if default is None else _QWEN_FIRST) if per_layer else 0
    return _window(size, range(first, layers))


def _window(size: int, layers: Sequence[int]) -> SlidingWindow | None:
    return SlidingWindow(size, tuple(layers)) if layers else None


_QWEN_FIRST = 28
"""The first sliding layer where a config of Qwen does not name it."""


def _first(config: Mapping[str, Any], first: Any) -> int:
    if config.get("max_window_layers") is not None:
        first = config["max_window_layers"]
    if type(first) is not int or first < 0:
        raise RunnerError(f"{CONFIG}: max_window_layers is {str(first)[:40]}, and must be a whole number from 0")
    return int(first)


def _checked(kinds: Any, layers: Any) -> list[str]:
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise RunnerError(f"{CONFIG}: layer_types must be a list of names")
    if len(kinds) != layers:
        raise RunnerError(f"{CONFIG}: layer_types has {len(kinds)} entries, but num_hidden_layers is {layers}")
    if unknown := sorted(set(kinds) - {FULL, SLIDING}):
        raise RunnerError(f"{CONFIG}: layer_types '{unknown[0][:40]}' is not built in; there are {FULL}, {SLIDING}")
    return kinds


def check_window(sliding: SlidingWindow | None, window: int) -> None:
    """RunnerError if for sequences of up to `window` tokens sliding windows would differ from full attention."""
    if sliding is None or window <= sliding.size:
        return
    layers = sliding.layers
    names = ", ".join(map(str, layers[:4])) + (f", … {layers[-1]}" if len(layers) > 4 else "")
    raise RunnerError(
        f"{CONFIG}: a sliding window of {sliding.size} tokens is not built in, and layers {names} have one "
        f"(sliding_window): go on with -o window={sliding.size}, up to which full attention computes the same"
    )
