"""Parsing of the runner's options; invalid values are a UsageError in one line."""

import torch

from m1eval import UsageError
from m1eval.option_names import runner_option
from m1eval.text import parse_tokens
from m1eval.yaml_file import number_or_none

DEVICES = ("cpu", "cuda")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def integer(name: str, value: object, maximum: int) -> int:
    """An option that is a whole number from 1 to `maximum`."""
    number = number_or_none(value)
    if number is None or not number.is_integer() or number < 1:
        raise UsageError(f"local: {name} must be a whole number of at least 1, not {str(value)[:40]!r}")
    if number > maximum:
        raise UsageError(f"local: {name} must be at most {maximum:,}, not {str(value)[:40]!r}")
    return int(number)


def tokens(name: str, value: object) -> int:
    """An option that is a number of tokens, such as 8192 or 32k."""
    try:
        return parse_tokens(value, minimum=1)
    except ValueError as error:
        raise UsageError(f"local: {name}: {error}") from None


def positive(name: str, value: object, unit: str) -> float:
    """An option that is a number above 0."""
    number = number_or_none(value)
    if number is None or number <= 0:
        raise UsageError(f"local: {name} must be a number of {unit} above 0, not {str(value)[:40]!r}")
    return number


def text(name: str, value: object) -> str:
    """An option that is a text."""
    if not isinstance(value, str):
        raise UsageError(f"local: {name} is a text, not {str(value)[:40]!r}")
    return value


def boolean(name: str, value: object) -> bool:
    """An option that is true or false."""
    boolean = _BOOLEANS.get(str(value).lower())
    if boolean is None:
        raise UsageError(f"local: {name} is true or false, not {str(value)[:40]!r}")
    return boolean


def device(value: object) -> torch.device:
    """The named device, else the first GPU, else the CPU."""
    name = str(value) if value else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in DEVICES:
        raise UsageError(f"local: no device {name[:40]!r}; there are cpu, cuda, cuda:0, cuda:1, …")
    num_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= num_gpus:
        have = "no GPU" if not num_gpus else "1 GPU" if num_gpus == 1 else f"{num_gpus} GPUs"
        raise UsageError(f"local: device={name} is not here: PyTorch finds {have}; {runner_option('device', 'cpu')}")
    return device
