"""The loopback server of the http runner's tests."""

from tests.http.conftest import server

__all__ = ["server"]
