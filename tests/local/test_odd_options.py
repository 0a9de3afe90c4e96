"""Odd values for every option of the local runner, with a model that loads: see tests/odd.py."""

import pytest

from tests import odd


@pytest.mark.parametrize("part", range(5))
def test_odd_options_end_in_one_line(m1eval, llama, tmp_path, monkeypatch, part):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    odd.make(tmp_path)
    limited = {"window": "64", "chunk": "64"}
    try:
        tried = list(odd.odd_options("local", f"local:{llama.folder}", limited))[part::5]
        problems = odd.all_wrong(m1eval, [[*words, "--max-tokens", "2"] for words in tried])
    finally:
        torch.set_num_threads(threads)
    assert not problems, problems
