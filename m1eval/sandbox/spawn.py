"""Worker processes that do not import the caller's main module.

multiprocessing would run a script once more in each of its workers: without `if __name__ == "__main__"` the script
would evaluate again there, and a script on standard input has no file to run. Our workers need neither.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

_starting = threading.Lock()


class WorkerProcess(SpawnProcess):
    """A spawned process whose `__main__` is multiprocessing's own; its functions are imported by their paths."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  as in multiprocessing
        with _without_main_module():
            return SpawnProcess._Popen(process_obj)


class WorkerContext(SpawnContext):
    """A context of multiprocessing whose processes are WorkerProcess."""

    Process = WorkerProcess


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Leave the main module out of what processes started by this thread are told to import."""
    thread = threading.get_ident()

    def without_main(name: str) -> dict[str, Any]:
        data = original(name)
        if threading.get_ident() != thread:
            return data
        return {key: value for key, value in data.items() if not key.startswith("init_main_")}

    with _starting:
        original = spawn.get_preparation_data
        spawn.get_preparation_data = without_main
        try:
            yield
        finally:
            spawn.get_preparation_data = original
