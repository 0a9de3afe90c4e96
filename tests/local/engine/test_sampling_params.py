"""Sampling parameters of one request."""

from typing import Any

import pytest

from m1eval import Sampling, load

SamplingParams = load("runners", "local").engine.sampling_params.SamplingParams


@pytest.mark.parametrize(
    "bad", [{"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -1.0}, {"min_p": 2.0}]
)
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sampling requires"):
        SamplingParams.from_sampling(Sampling(**bad), 0)


def test_settings_left_open_are_greedy_and_unfiltered() -> None:
    assert SamplingParams.from_sampling(Sampling(), 5) == SamplingParams(0.0, 1.0, 0, 0.0, 5)
    assert SamplingParams.from_sampling(Sampling(), 5).greedy
    assert SamplingParams.from_sampling(Sampling(temperature=1.0, top_k=-1), 5) == SamplingParams(1.0, 1.0, 0, 0.0, 5)
