"""The command line starts quickly: listings import nothing that is heavy."""

import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "pandas",
    "numpy",
    "datasets",
    "pyarrow",
    "sympy",
    "pint",
    "transformers",
    "aiohttp",
    "jinja2",
    "rich",
    "asyncio",
}


@pytest.mark.parametrize("args", [["--help"], ["tasks"], ["run", "--help"], ["schema"], ["tasks", "aime24", "--json"]])
def test_nothing_heavy_is_imported(args):
    command = [sys.executable, "-X", "importtime", "-m", "m1eval", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "m1eval" in imported
    assert not imported & HEAVY


def test_a_run_without_local_or_http_imports_neither_torch_nor_aiohttp(tmp_path):
    code = "import sys; from m1eval.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'aiohttp', 'pandas', 'datasets'} & set(sys.modules)), file=sys.stderr)"
    command = [sys.executable, "-c", code, "run", "--tasks", "needle", "--limit", "1", "--model", "echo:gold"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "x"), "--json"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "[]"
