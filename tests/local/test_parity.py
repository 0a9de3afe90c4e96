"""benchmarks/parity.py: it accepts correct outputs and detects wrong ones."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.local.models.test_minimax_m1 import TINY, naive, random_weights, saved

FILE = Path(__file__).parents[2] / "benchmarks" / "parity.py"
EXPECTED = "expected.safetensors"


@pytest.fixture(scope="module")
def parity() -> Any:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("parity", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny M1 and the outputs of the plain recurrence: two prompts, and six greedy tokens after thirty."""
    weights = random_weights(TINY)
    ids = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(3))
    greedy = ids[0, :30].tolist()
    for _ in range(6):
        greedy.append(int(naive(TINY, weights, greedy)[-1].argmax()))
    logits = torch.stack([naive(TINY, weights, prompt).float() for prompt in ids.tolist()])
    folder = saved(tmp_path / "m1", TINY, weights)
    save_file({"ids": ids, "logits": logits, "greedy": torch.tensor([greedy])}, folder / EXPECTED)
    return folder


def spoilt(folder: Path, **changed: torch.Tensor) -> None:
    save_file(load_file(folder / EXPECTED) | changed, folder / EXPECTED)


def compare(parity: Any, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], dict[str, Any]]:
    """Exit status, the table's rows and the JSON."""
    status = parity.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    return status, [line for line in lines[4:] if line.startswith("|")], json.loads(lines[-1])


def test_equal_models_pass(parity: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows, worst = compare(parity, capsys, str(folder))
    assert status == 0
    assert len(rows) == 1
    assert rows[0].startswith("| minimax_m1 | 80 |")
    assert worst.keys() == {"max_abs_dlogit", "kl", "greedy_equal"}
    assert 0 < worst["max_abs_dlogit"] < 2e-4
    assert abs(worst["kl"]) < 1e-7
    assert worst["greedy_equal"] is True


def test_a_wrong_logit_is_seen(parity: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logits = load_file(folder / EXPECTED)["logits"]
    chance = logits[1, 7].softmax(-1)[5].item()
    logits[1, 7, 5] += 0.5
    spoilt(folder, logits=logits)
    status, _, worst = compare(parity, capsys, str(folder), str(folder))
    assert status == 1
    assert worst["max_abs_dlogit"] == pytest.approx(0.5, abs=1e-3)
    shifted = chance * (2.718281828459045**0.5 - 1) + 1
    expected = chance * 2.718281828459045**0.5 / shifted * 0.5 - torch.tensor(shifted).log().item()
    assert worst["kl"] == pytest.approx(expected / 80, rel=1e-2, abs=1e-8)


def test_a_wrong_greedy_token_is_seen(parity: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    greedy = load_file(folder / EXPECTED)["greedy"]
    greedy[0, -1] = (greedy[0, -1] + 1) % 97
    spoilt(folder, greedy=greedy)
    status, rows, worst = compare(parity, capsys, str(folder))
    assert (status, worst["greedy_equal"]) == (1, False)
    assert "| no |" in rows[0]


def test_a_logit_of_nan_fails(parity: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logits = load_file(folder / EXPECTED)["logits"]
    spoilt(folder, logits=logits.fill_(torch.nan))
    assert compare(parity, capsys, str(folder))[0] == 1


def test_bf16_is_measured_and_not_judged(parity: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, worst = compare(parity, capsys, str(folder), "--dtype", "bfloat16")
    assert status == 0
    assert worst["max_abs_dlogit"] > 1e-3


@pytest.mark.filterwarnings("ignore:The explicitly set RoPE scaling factor")
def test_models_of_transformers_are_compared(
    parity: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {name: parity.ARCHITECTURES[name] for name in ("DeepseekV3", "MiniMax")}
    monkeypatch.setattr(parity, "ARCHITECTURES", chosen)
    monkeypatch.setattr(parity, "TOKENS", 80)
    status, rows, worst = compare(parity, capsys)
    assert status == 0
    assert [row.split()[1] for row in rows] == ["DeepseekV3", "MiniMax"]
    assert worst["greedy_equal"] is True
