"""Worker processes for scorers that need them."""

import asyncio
from types import SimpleNamespace

import pytest

from m1eval.sandbox.workers import Pool


@pytest.fixture(scope="module")
def tools():
    workers = Pool(1)
    yield SimpleNamespace(workers=workers)
    asyncio.run(workers.aclose())
