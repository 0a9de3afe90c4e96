"""Odd values for every option of the http runner, at a server that answers: see tests/odd.py."""

import pytest

from tests import odd


@pytest.mark.parametrize("part", range(5))
def test_odd_options_end_in_one_line(m1eval, server, tmp_path, monkeypatch, part):
    monkeypatch.chdir(tmp_path)
    odd.make(tmp_path)
    always = {"base_url": server.url, "patience": "0", "retries": "0"}
    problems = odd.all_wrong(m1eval, list(odd.odd_options("http", "http:m", always))[part::5])
    assert not problems, problems
    assert server.posts, "some are values that can be"
