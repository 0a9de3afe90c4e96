"""Modules of m1eval that the built-in plugins may import, as import-linter sees only the package itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UPPER_ROOMS = ("run", "store", "analysis", "report", "cli", "api", "results", "plugins.foreign")


def imported(file: Path) -> set[str]:
    """The modules that a file imports, relative ones with their dots."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            modules |= {base, *(f"{base}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
    return modules


@pytest.mark.parametrize("folder", ["runners", "scorers", "tasks"])
def test_plugins_stand_on_the_lower_rooms_alone(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    above = tuple(f"m1eval.{room}" for room in UPPER_ROOMS)
    violations = {
        f"{file.relative_to(ROOT)}: {module}"
        for file in files
        for module in imported(file)
        if any(module == room or module.startswith(f"{room}.") for room in above)
    }
    assert not violations


def test_kernels_import_of_the_operations_their_layout_alone():
    files = sorted((ROOT / "runners/local/kernels").glob("*.py"))
    assert len(files) > 5
    violations = {
        f"{file.name}: {module}"
        for file in files
        for module in imported(file)
        if module.startswith("..ops") and not module.startswith("..ops.layout") and module not in ("..ops", "..")
    }
    assert not violations


@pytest.mark.parametrize(("room", "below"), [("layers", ("engine", "weights", "models")), ("models", ("engine",))])
def test_models_know_no_requests_and_layers_know_no_files(room, below):
    violations = {
        f"{file.name}: {module}"
        for file in sorted((ROOT / "runners/local" / room).glob("*.py"))
        for module in imported(file)
        if any(module.startswith(f"..{each}") for each in below)
    }
    assert not violations
