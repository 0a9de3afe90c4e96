"""Types of config.json fields, and their checks."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from m1eval import RunnerError

from .keys import CONFIG

Fields = TypeVar("Fields", bound=msgspec.Struct)
SILU = ("silu", "swish")
"""Names of the only supported activation of MLPs."""
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
"""A dimension or a count in a config; products of four of them cannot wrap to something small."""
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
"""A count that may be zero."""
Layers = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Positions = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]
Eps = Annotated[float, msgspec.Meta(ge=0, le=1)]


def convert(fields: Mapping[str, Any], kind: type[Fields]) -> Fields:
    """The fields of a config as a struct; RunnerError naming the one that does not fit."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise RunnerError(f"{CONFIG}: {error}") from error


def check(condition: bool, message: str) -> None:
    """RunnerError about a model's config.json unless the condition holds."""
    if not condition:
        raise RunnerError(f"{CONFIG}: {message}")
