"""Problems of the package reasoning-gym, made one by one from (dataset, seed, index)."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import reasoning_gym
from reasoning_gym.factory import CURRICULA, DATASETS, create_curriculum

from m1eval import LazySample, load

SEEDS_APART = 1_000_003
"""The library makes problem i of seed s from s + i: neighbouring seeds would share all problems but one."""

_RUNS = "its grader would run the model's answer as code"
LEFT_OUT = {
    "binary_matrix": _RUNS,
    "codeio": "it runs stored code to make a problem",
    "countdown": _RUNS,
    "intermediate_integration": _RUNS,
    "list_functions": "it makes another problem each time, so an answer cannot be graded",
    "n_queens": _RUNS,
    "polynomial_multiplication": _RUNS,
    "puzzle24": _RUNS,
    "simple_integration": _RUNS,
    "spiral_matrix": _RUNS,
    "string_insertion": _RUNS,
}
"""Datasets that cannot be used; the graders give an answer to `eval`, or to sympy's parser, which evaluates it too."""


def problems(
    *, seed: int, kinds: Sequence[str], samples: int, level: int | Literal["default"] = "default"
) -> Iterator[LazySample]:
    """`samples` problems of each dataset in `kinds`, by turns; the same seed gives the same problems anywhere.

    `level` sets every difficulty of the library's curriculum for the dataset to this step (0 is the easiest; the
    highest there is if it has fewer); `default`: the dataset's own settings. ValueError for what cannot be used.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}, but at least 1 is needed")
    configs = {name: {**_difficulty(name, level), "seed": seed * SEEDS_APART, "size": samples} for name in kinds}
    makers = {name: _maker(name, config) for name, config in configs.items()}
    for index in range(samples):
        for name, maker in makers.items():
            build = partial(_row, name, json.dumps(configs[name], sort_keys=True), maker, index)
            yield LazySample(id=f"{name}-{index + 1}", build=build, columns={"dataset": name})


def _row(name: str, config: str, maker: Any, index: int) -> dict[str, Any]:
    entry = maker[index]
    digest = load("scorers", "reasoning_gym").fingerprint(entry)
    problem = {"dataset": name, "category": maker.category, "config": config, "index": index, "digest": digest}
    return {"question": entry["question"].strip(), "answer": entry["answer"] or "", **problem}


def _maker(name: str, config: dict[str, Any]) -> Any:
    try:
        return reasoning_gym.create_dataset(name, **config)
    except AssertionError as error:  # how the library checks its settings
        raise ValueError(f"{name}: {error}") from error


def _difficulty(name: str, level: int | Literal["default"]) -> dict[str, Any]:
    if name in LEFT_OUT:
        raise ValueError(f"'{name}' is left out, {LEFT_OUT[name]}")
    if name not in DATASETS:
        raise ValueError(f"reasoning-gym has no dataset '{name}'; it has {', '.join(sorted(DATASETS))}")
    if level == "default":
        return {}
    if not isinstance(level, int) or level < 0:
        raise ValueError(f"level is 'default' or a number from 0, not '{level}'")
    if name not in CURRICULA:
        raise ValueError(f"'{name}' has no difficulty levels; leave level at default")
    curriculum = create_curriculum(name)
    curriculum.set_global_level(level)
    settings = curriculum.generate_configuration()
    fields = [
        getattr(attribute, field)
        for attribute in curriculum.attributes.values()
        for field in ("field_name", "lower_field_name", "upper_field_name")
        if hasattr(attribute, field)
    ]
    return {field: getattr(settings, field) for field in fields}
