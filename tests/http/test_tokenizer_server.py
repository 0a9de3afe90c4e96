"""`--tokenizer server`: a server's /tokenize responses, parsed with distrust and within bounds."""

from typing import Any

import pytest

from m1eval import UsageError
from m1eval.model.tokenizers import ServerTokenizer
from tests.http.conftest import Loopback, Reply, one_line

MESSAGES = [{"role": "user", "content": "Hi"}]


def test_tokens_are_counted_by_the_server(server: Loopback) -> None:
    tokenizer = ServerTokenizer(server.url, "m")
    server.script = lambda request: Reply({"tokens": [1, 2, 3]}) if request.path == "/tokenize" else Reply(status=404)
    assert (tokenizer.encode("abc"), tokenizer.count(MESSAGES), tokenizer.counts(["a", "b"])) == ([1, 2, 3], 3, [3, 3])


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}])
def test_a_reply_without_end_is_not_read(server: Loopback, headers: dict[str, str]) -> None:
    server.reply(Reply(b" " * 2**20, repeat=100, headers=headers))
    with pytest.raises(UsageError, match=r"/tokenize: the reply is longer than 64 MB") as error:
        ServerTokenizer(server.url, "m").encode("abc")
    one_line(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tokens": None}, "not return a list of token ids"),
        ({"tokens": ["a"]}, "not return a list of token ids"),
        ({}, "not return a list of token ids"),
        ({"count": "many"}, "counts 'many' tokens"),
        ({"count": 2**63}, "counts '9223372036854775808' tokens"),
        ({"count": -1}, "counts '-1' tokens"),
        ([1], "answers 200"),
    ],
)
def test_a_reply_that_makes_no_sense_is_one_line(server: Loopback, body: Any, words: str) -> None:
    server.script = lambda request: Reply(body) if request.path == "/tokenize" else Reply(status=404)
    with pytest.raises(UsageError, match=words) as error:
        ServerTokenizer(server.url, "m").count(MESSAGES)
    one_line(error)
