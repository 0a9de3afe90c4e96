"""The environment of a run: versions of packages, the commit of a checkout, the machine."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "vllm",
    "aiohttp",
    "datasets",
    "math-verify",
    "sympy",
    "reasoning-gym",
)


def hardware() -> dict[str, Any]:
    """The platform and its number of processors."""
    return {"machine": platform.platform(), "cpus": os.cpu_count()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, those that are installed."""
    packages = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return packages


def git() -> dict[str, Any] | None:
    """The commit of the checkout that m1eval runs from, if it runs from one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        sha, changes = (
            subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"sha": sha, "dirty": bool(changes)}
