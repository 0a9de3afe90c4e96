"""Location of llama.cpp, a real peer of the tests, in an environment of its own."""

import os
from pathlib import Path

import pytest

_PYTHON = Path(os.environ.get("M1EVAL_XLLAMACPP_PYTHON", Path(__file__).parents[1] / ".venv-xllamacpp/bin/python"))


def interpreter() -> str:
    """The Python that has llama.cpp; skips the test, and says what to install, where there is none."""
    if not _PYTHON.is_file():
        pytest.skip(
            f"no {_PYTHON}: python -m venv .venv-xllamacpp && "
            ".venv-xllamacpp/bin/pip install xllamacpp==2026.10.11549, "
            "or name an interpreter with it in M1EVAL_XLLAMACPP_PYTHON"
        )
    return str(_PYTHON)
