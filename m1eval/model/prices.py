"""Prices of tokens: from a file of the user's, or those of public services in genai-prices.

A price is that of a service, not of a model: on one's own machine the same model has none, and none is guessed.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from m1eval.errors import UsageError
from m1eval.text import display_path, unknown_name
from m1eval.types import Usage
from m1eval.yaml_file import YamlFile

Prices = Callable[[Usage], float]
"""US dollars of one request."""


Price = Annotated[float, Meta(ge=0, le=1e6)]


class Rates(Struct, forbid_unknown_fields=True):
    """US dollars per million tokens: of the prompt, of its cached part (default: the same), of the output."""

    input: Price
    output: Price
    cached: Price | None = None

    def __call__(self, usage: Usage) -> float:
        """The cost of one request."""
        cached = self.input if self.cached is None else self.cached
        fresh = usage.sent - usage.cached
        return (fresh * self.input + usage.cached * cached + usage.output * self.output) / 1e6


def find(model: str, address: str | None, file: Path | None = None) -> Prices | None:
    """The prices of a model: of the first pattern in `file` that matches, else of the service at `address`."""
    if file is not None:
        return _in_file(model, file)
    return _of_service(model, address) if address else None


def _in_file(model: str, file: Path) -> Prices:
    source = YamlFile.read(file)
    for pattern in source.data:
        if fnmatchcase(model.lower(), pattern.lower()):
            try:
                return msgspec.convert(source.data[pattern], Rates)
            except msgspec.ValidationError as error:
                raise source.error((pattern,), f"{error}; write {{input: 0.4, output: 2.2, cached: 0.1}}") from None
    raise UsageError(f"{display_path(file)}: no pattern fits '{model}' ({unknown_name('model', model, source.data)})")


def _of_service(model: str, address: str) -> Prices | None:
    host = urlsplit(address).hostname or ""
    if "." not in host or host.rpartition(".")[2].isdecimal() or ":" in host:  # a machine of one's own
        return None
    try:
        import genai_prices
    except ModuleNotFoundError:
        return None

    def cost(usage: Usage) -> float:
        counts = genai_prices.Usage(input_tokens=usage.sent, cache_read_tokens=usage.cached, output_tokens=usage.output)
        return float(genai_prices.calc_price(counts, model, provider_api_url=address).total_price)

    try:
        cost(Usage(prompt=1, answer=1))
    except (LookupError, ValueError):
        return None
    return cost
