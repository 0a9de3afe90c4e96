"""`m1eval bench`: figures beside bounds that are counted from the model."""

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


def test_the_work_of_a_model_is_counted_from_its_parts(tiny: Callable[..., Any]) -> None:
    made = tiny(tie_word_embeddings=False)
    found = bench.work(read(made.folder), torch.float32)
    sizes = {name: weight.numel() for name, weight in made.reference.named_parameters()}
    embedding, head = sizes["model.embed_tokens.weight"], sizes["lm_head.weight"]
    assert found.weights == 4 * (sum(sizes.values()) - embedding)
    assert found.token == 2 * (sum(sizes.values()) - embedding - head)
    assert found.pair == 4 * 3 * 6 * 8
    assert found.kept == 4 * 3 * 2 * 2 * 8
    assert found.state == 0


def test_of_experts_only_those_chosen_are_work_and_read(tiny: Callable[..., Any]) -> None:
    made = tiny("qwen3_moe")
    found = bench.work(read(made.folder), torch.float32)
    sizes = {name: weight.numel() for name, weight in made.reference.named_parameters()}
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    rest = sum(sizes.values()) - experts - sizes["model.embed_tokens.weight"]
    assert (found.weights, found.experts, found.share) == (4 * rest, 4 * experts, 3 / 8)
    assert found.token == 2 * (rest - sizes["lm_head.weight"] + experts * 3 // 8)
    memory = bench.Rates(bytes=1e9, operations=1e9)
    alone = bench.bounds(found, memory, batch=1, context=0)
    assert alone == pytest.approx(1e9 / (4 * (rest + experts * 3 / 8)))
    assert bench.bounds(found, memory, batch=64, context=0) == pytest.approx(64e9 / (4 * (rest + experts)), rel=1e-6)


def test_the_command_prints_a_table_or_json(m1eval: Any, llama: Any) -> None:
    command = ["bench", f"local:{llama.folder}", "-o", "threads=1", "--lengths", "100,300", "--batches", "1,4"]
    shown = m1eval(*command)
    assert shown.code == 0, shown.err
    rows = [line.split(" | ")[0] for line in shown.out.splitlines() if line.startswith("| ")]
    assert rows[1:] == ["| prompt of 100", "| prompt of 300", "| 1 at once", "| 4 at once"]
    found = json.loads(m1eval(*command, "--json").out)
    assert [row["prompt"] for row in found["prefill"]] == [100, 300]
    for row in found["prefill"]:
        assert row["tokens_per_s"] == pytest.approx(row["prompt"] / row["seconds"], rel=0.01)
    assert all(row["new"] == 64 and row["drawing_tokens_per_s"] > 0 for row in found["decode"])
    assert found["peak_gib"] > 0


def test_a_runner_that_runs_nothing_here_cannot_be_measured(m1eval: Any) -> None:
    refused = m1eval("bench", "echo:gold")
    assert refused.code == 2
    assert "runs nothing on this machine" in refused.err
    assert "number of tokens" in m1eval("bench", "local:smollm2", "--lengths", "many").err
