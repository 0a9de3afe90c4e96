"""Proxies from the environment, as for curl and requests; their logins are never shown."""

import importlib
from pathlib import Path

import pytest

from m1eval import RunnerError, UsageError
from tests.http.conftest import Loopback, ReceivedRequest, Reply, answer, ask, http, one_line, start

proxies = importlib.import_module(f"{http.__name__}.proxies")
P = "http://proxy:3128"
FOUND: list[tuple[str, dict[str, str], str | None]] = [
    ("http://h/v1", {}, None),
    ("http://h/v1", {"HTTP_PROXY": P}, P),
    ("http://h/v1", {"http_proxy": P}, P),
    ("http://h/v1", {"http_proxy": P, "HTTP_PROXY": "http://other:1"}, P),
    ("http://h/v1", {"http_proxy": "", "HTTP_PROXY": P}, None),
    ("http://h/v1", {"HTTPS_PROXY": P}, None),
    ("https://h/v1", {"HTTPS_PROXY": P}, P),
    ("https://h/v1", {"HTTP_PROXY": P}, None),
    ("https://h/v1", {"ALL_PROXY": P}, P),
    ("http://h/v1", {"all_proxy": P}, P),
    ("http://h/v1", {"HTTP_PROXY": "proxy:3128"}, P),
    ("http://127.0.0.1:8000/v1", {"HTTP_PROXY": P}, P),
    ("http://127.0.0.1:8000/v1", {"HTTP_PROXY": P, "NO_PROXY": "localhost,127.0.0.1"}, None),
    ("http://localhost:8000/v1", {"HTTP_PROXY": P, "no_proxy": "localhost"}, None),
    ("http://a.example.com/v1", {"HTTP_PROXY": P, "NO_PROXY": "example.com"}, None),
    ("http://a.example.com/v1", {"HTTP_PROXY": P, "NO_PROXY": ".example.com"}, None),
    ("http://a.example.com/v1", {"HTTP_PROXY": P, "NO_PROXY": "*.example.com"}, None),
    ("http://badexample.com/v1", {"HTTP_PROXY": P, "NO_PROXY": "example.com"}, P),
    ("http://h:8000/v1", {"HTTP_PROXY": P, "NO_PROXY": "h:8000"}, None),
    ("http://h:8001/v1", {"HTTP_PROXY": P, "NO_PROXY": "h:8000"}, P),
    ("http://10.1.2.3/v1", {"HTTP_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, None),
    ("http://11.1.2.3/v1", {"HTTP_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, P),
    ("http://[::1]:8000/v1", {"HTTP_PROXY": P, "NO_PROXY": "::1"}, None),
    ("http://[::1]:8000/v1", {"HTTP_PROXY": P, "NO_PROXY": "[::1]:8000"}, None),
    ("http://h/v1", {"HTTP_PROXY": P, "NO_PROXY": "*"}, None),
    ("http://h/v1", {"HTTP_PROXY": P, "NO_PROXY": " "}, P),
    ("http://H.Example/v1", {"HTTP_PROXY": P, "NO_PROXY": "h.example"}, None),
]


@pytest.mark.parametrize(("url", "environ", "expected"), FOUND, ids=range(len(FOUND)))
def test_the_environment_names_the_proxy_of_an_address(url: str, environ: dict[str, str], expected: str | None) -> None:
    proxy = proxies.find(url, environ)
    assert (proxy.url if proxy else None) == expected


@pytest.mark.parametrize("given", ["socks5://p:1", "http://p:notaport", "http://:3128", "ftp://user:hunter22@p"])
def test_a_proxy_that_cannot_be_used_is_an_error_that_names_the_variable(given: str) -> None:
    with pytest.raises(UsageError, match=r"\$https_proxy") as error:
        proxies.find("https://h/v1", {"https_proxy": given})
    assert "hunter22" not in one_line(error)


def test_requests_go_through_the_proxy_with_its_login_and_without_a_netrc(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine model.invalid login me password hunter33\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@127.0.0.1:{server.port}")
    output = ask(server, base_url="http://model.invalid/v1")
    assert output.text == "Paris"
    [request] = server.posts
    assert request.path == "http://model.invalid/v1/chat/completions"
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"
    assert "authorization" not in request.headers
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ask(server).text == "Paris"
    assert server.posts[1].path == "/v1/chat/completions"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login_ends_the_start_with_one_line(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    server.models = Reply({"error": "login"}, 407)
    server.script = lambda request: Reply(status=407)
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://user:hunter22@127.0.0.1:{server.port}")
    with pytest.raises(RunnerError, match="proxy") as error:
        start(server, base_url=f"{scheme}://model.invalid/v1")
    assert "hunter22" not in one_line(error)
    assert "407" in str(error.value)


def test_a_proxy_that_is_away_is_named_without_its_login(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    server.stop()
    monkeypatch.setenv("ALL_PROXY", f"http://user:hunter22@127.0.0.1:{server.port}")
    with pytest.raises(RunnerError, match=rf"through the proxy http://127\.0\.0\.1:{server.port}: connection") as error:
        start(server, base_url="http://model.invalid/v1")
    assert "hunter22" not in one_line(error)


def test_what_a_proxy_echoes_of_its_login_is_masked(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    def echo(request: ReceivedRequest) -> Reply:
        return Reply({"error": {"message": "no way for hunter22"}}, 400) if request.method == "POST" else answer()

    server.script = echo
    monkeypatch.setenv("HTTP_PROXY", f"http://user:hunter22@127.0.0.1:{server.port}")
    with pytest.raises(http.RequestFailed, match=r"no way for \*\*\*"):
        ask(server, base_url="http://model.invalid/v1")
