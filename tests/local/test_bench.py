"""`m1eval bench`: measurements next to bounds counted from the model."""

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from m1eval import load
from tests.local.conftest import read

local = load("runners", "local")
bench = import_module(f"{local.__name__}.bench")


def test_the_costs_of_a_model_are_counted_from_its_modules(tiny: Callable[..., Any]) -> None:
    checkpoint = tiny(tie_word_embeddings=False)
    costs = bench.model_costs(read(checkpoint.folder), torch.float32)
    sizes = {name: weight.numel() for name, weight in checkpoint.reference.named_parameters()}
    embedding, head = sizes["model.embed_tokens.weight"], sizes["lm_head.weight"]
    assert costs.weight_bytes == 4 * (sum(sizes.values()) - embedding)
    assert costs.flops_per_token == 2 * (sum(sizes.values()) - embedding - head)
    assert costs.flops_per_pair == 4 * 3 * 6 * 8
    assert costs.cache_bytes_per_token == 4 * 3 * 2 * 2 * 8
    assert costs.state_bytes == 0


def test_only_the_experts_of_the_top_k_count(tiny: Callable[..., Any]) -> None:
    checkpoint = tiny("qwen3_moe")
    costs = bench.model_costs(read(checkpoint.folder), torch.float32)
    sizes = {name: weight.numel() for name, weight in checkpoint.reference.named_parameters()}
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    rest = sum(sizes.values()) - experts - sizes["model.embed_tokens.weight"]
    assert (costs.weight_bytes, costs.expert_bytes, costs.expert_share) == (4 * rest, 4 * experts, 3 / 8)
    assert costs.flops_per_token == 2 * (rest - sizes["lm_head.weight"] + experts * 3 // 8)
    rates = bench.DeviceRates(bytes=1e9, operations=1e9)
    alone = bench.decode_bound(costs, rates, batch=1, context=0)
    assert alone == pytest.approx(1e9 / (4 * (rest + experts * 3 / 8)))
    assert bench.decode_bound(costs, rates, batch=64, context=0) == pytest.approx(
        64e9 / (4 * (rest + experts)), rel=1e-6
    )


def test_the_command_prints_a_table_or_json(m1eval: Any, llama: Any) -> None:
    command = ["bench", f"local:{llama.folder}", "-o", "threads=1", "--lengths", "100,300", "--batches", "1,4"]
    result = m1eval(*command)
    assert result.code == 0, result.err
    rows = [line.split(" | ")[0] for line in result.out.splitlines() if line.startswith("| ")]
    assert rows[1:] == ["| prefill, 100 tokens", "| prefill, 300 tokens", "| decode, batch 1", "| decode, batch 4"]
    report = json.loads(m1eval(*command, "--json").out)
    assert [row["prompt"] for row in report["prefill"]] == [100, 300]
    for row in report["prefill"]:
        assert row["tokens_per_s"] == pytest.approx(row["prompt"] / row["seconds"], rel=0.01)
    assert all(row["new"] == 64 and row["drawing_tokens_per_s"] > 0 for row in report["decode"])
    assert report["peak_gib"] > 0


def test_a_runner_that_runs_nothing_here_cannot_be_measured(m1eval: Any) -> None:
    result = m1eval("bench", "echo:gold")
    assert result.code == 2
    assert "runs nothing on this machine" in result.err
    assert "number of tokens" in m1eval("bench", "local:smollm2", "--lengths", "many").err
