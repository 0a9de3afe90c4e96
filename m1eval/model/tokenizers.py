"""Tokenizers that `--tokenizer` names: of a file or a hub model, of tiktoken, of the server, or four characters.

The `http` runner has no tokenizer, and prompts of an exact length need the model's own tokens. The tokens that a chat
template adds are exact where the tokenizer's folder or the server has the template; else four tokens per message are
assumed.
"""

import http.client
import json
import os
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from m1eval import plugins
from m1eval.errors import RunnerError, UsageError
from m1eval.model.runner_tokenizer import MESSAGE_TOKENS, CharacterTokenizer
from m1eval.option_names import option
from m1eval.protocols import Tokenizer
from m1eval.types import Message
from m1eval.yaml_file import expand_user

CONNECTIONS = 8
"""Concurrent requests to a server's /tokenize."""
SIBLING_FILES = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    "chat_template.json",
)
"""Optional files that complete a tokenizer.json."""
LARGEST = 64 * 2**20
"""Maximum size of a server's reply in bytes; a million token ids take about eight million."""


def resolve(name: str, options: Mapping[str, Any], model: str) -> Tokenizer:
    """The tokenizer that `--tokenizer` names; UsageError with the accepted forms.

    `chars`, `server` (of the `base_url` in `options`), `o200k_base` or another encoding of tiktoken, a tokenizer.json
    or a folder with one, or `org/name` on the hub.
    """
    if name == "chars":
        return CharacterTokenizer()
    if name == "server":
        url = options.get("base_url") or os.environ.get("OPENAI_BASE_URL", "")
        return ServerTokenizer(str(url), model, os.environ.get(str(options.get("api_key_env") or "OPENAI_API_KEY"), ""))
    path = expand_user(name)
    try:
        if os.path.exists(path):  # noqa: PTH110 - False also for what is too long to be a path
            return TokenizerFile(path if path.is_file() else path / "tokenizer.json")
        return TiktokenTokenizer(name) if "/" not in name else TokenizerFile(_download(name))
    except ModuleNotFoundError as error:
        raise plugins.missing_package(option("tokenizer", name), error) from error


class TokenizerFile:
    """A tokenizer.json with the files next to it, read and rendered by the same code as the `local` runner's."""

    def __init__(self, path: Path) -> None:
        files = plugins.import_part("runners", "local/tokenizer", "files", option("tokenizer", str(path)))
        try:
            self._tokenizer = files.from_folder(path.parent) if path.name == "tokenizer.json" else files.from_file(path)
        except RunnerError as error:
            raise UsageError(f"{option('tokenizer', str(path))}: {error}") from None

    def encode(self, text: str) -> list[int]:
        """Token ids, nothing added."""
        ids: list[int] = self._tokenizer.encode(text)
        return ids

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, on all cores."""
        counts: list[int] = []
        for i in range(0, len(texts), 64):  # an encoding takes a hundred times the memory of its count
            counts += map(
                len, self._tokenizer.backend.encode_batch_fast(list(texts[i : i + 64]), add_special_tokens=False)
            )
        return counts

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens included."""
        text: str = self._tokenizer.decode(ids)
        return text

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens after the chat template; without one, those of the texts and four for each message."""
        if self._tokenizer.template:
            count: int = self._tokenizer.count(messages)
            return count
        return sum(len(self.encode(str(m.get("content") or ""))) + MESSAGE_TOKENS for m in messages)


class TiktokenTokenizer:
    """One of OpenAI's encodings, without a chat template.

    It uses the package quicktok-v1, which ships the vocabularies, or tiktoken, which downloads one at its first use.
    """

    def __init__(self, name: str) -> None:
        try:
            import quicktok as tiktoken
        except ModuleNotFoundError:
            import tiktoken
        try:
            self._encoding = tiktoken.get_encoding(name)
        except (KeyError, RuntimeError, ValueError):
            if not hasattr(tiktoken, "list_encoding_names"):
                raise UsageError(f"{option('tokenizer', name)}: no such file, folder or encoding") from None
            names = ", ".join(tiktoken.list_encoding_names())
            raise UsageError(
                f"{option('tokenizer', name)}: no such file, folder or encoding: write chars, server, "
                f"a tokenizer.json, org/name of the hub, or one of tiktoken's ({names})"
            ) from None
        except OSError as error:  # requests' errors are OSErrors
            raise UsageError(f"{option('tokenizer', name)}: tiktoken cannot download it: {error}") from None

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens that are spelled out in a text are text."""
        return list(self._encoding.encode_ordinary(text))

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, on all cores."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(map(len, pool.map(self._encoding.encode_ordinary, texts)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return str(self._encoding.decode(list(ids)))

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the texts, and four for each message."""
        return sum(len(self.encode(str(m.get("content") or ""))) + MESSAGE_TOKENS for m in messages)


def _other_tokenizer() -> str:
    return f"use {option('tokenizer', 'NAME')}"


class ServerTokenizer:
    """The /tokenize endpoint of vLLM, SGLang and llama.cpp. A million tokens of text take about 900 requests."""

    def __init__(self, url: str, model: str, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(
                f"{option('tokenizer', 'server')}: which server? {option('base_url', 'http://host:port/v1')}"
            )
        self._parts, self._model = parts, model
        self._root = parts.path.rstrip("/").removesuffix("/v1")
        self._headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        self._idle: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close, self._idle)

    def encode(self, text: str) -> list[int]:
        """Token ids, nothing added."""
        return self._tokens(text, added=False)

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, with a few concurrent requests."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return list(map(len, pool.map(self.encode, texts)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        reply = self._ask("/detokenize", {"model": self._model, "tokens": list(ids)})
        return str(reply.get("prompt", reply.get("content", "")))

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens after the server's chat template."""
        rendered = self._ask("/apply-template", {"messages": list(messages)}, absent=True)
        if rendered:  # llama.cpp
            return len(self._tokens(str(rendered["prompt"]), added=True))
        body = {"model": self._model, "messages": list(messages), "add_generation_prompt": True}
        reply = self._ask("/tokenize", body)
        if "count" not in reply:
            return len(self._ids(reply))
        count = reply["count"]
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**40:
            raise UsageError(
                f"{option('tokenizer', 'server')}: /tokenize counts {str(count)[:40]!r} tokens; {_other_tokenizer()}"
            )
        return count

    def _tokens(self, text: str, *, added: bool) -> list[int]:
        body = {"model": self._model, "prompt": text, "content": text}  # vLLM's and llama.cpp's names
        reply = self._ask("/tokenize", {**body, "add_special_tokens": added, "add_special": added})
        return self._ids(reply)

    def _ids(self, reply: Mapping[str, Any]) -> list[int]:
        ids = reply.get("tokens")
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            raise UsageError(
                f"{option('tokenizer', 'server')}: /tokenize does not return a list of token ids; {_other_tokenizer()}"
            )
        return ids

    def _ask(self, path: str, body: dict[str, Any], *, absent: bool = False) -> dict[str, Any]:
        where = f"{self._parts.scheme}://{self._parts.hostname}:{self._parts.port or ''}{self._root}{path}"
        try:
            status, data = self._post(self._root + path, json.dumps(body, ensure_ascii=False).encode())
            if absent and status in {404, 405, 501}:
                return {}
            reply = json.loads(data) if status == 200 else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UsageError(f"{option('tokenizer', 'server')}: {where}: {error or type(error).__name__}") from None
        if not isinstance(reply, dict):
            raise UsageError(
                f"{option('tokenizer', 'server')}: {where} answers {status}: "
                f"does it offer /tokenize? If not, {_other_tokenizer()}"
            )
        return reply

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connect = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        while True:
            try:
                connection, reused = self._idle.pop(), True
            except IndexError:
                connection, reused = connect(self._parts.netloc.rpartition("@")[2], timeout=300), False
            try:
                connection.request("POST", path, body, self._headers)
                response = connection.getresponse()
                result = response.status, _read(response)
            except (http.client.HTTPException, OSError):
                connection.close()
                if not reused:  # an idle connection may have been closed by the server
                    raise
            except ValueError:
                connection.close()
                raise
            else:
                self._idle.append(connection)
                return result


def _read(reply: http.client.HTTPResponse) -> bytes:
    """The body of a reply; ValueError if it is too large."""
    body = reply.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise ValueError(f"the reply is longer than {LARGEST >> 20} MB")
    return body


def _close(connections: Sequence[http.client.HTTPConnection]) -> None:
    for line in connections:
        line.close()


def _download(name: str) -> Path:
    import huggingface_hub

    try:
        for file in SIBLING_FILES:
            try:
                huggingface_hub.hf_hub_download(name, file)
            except huggingface_hub.errors.EntryNotFoundError:
                continue
        return Path(huggingface_hub.hf_hub_download(name, "tokenizer.json"))
    except (huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{option('tokenizer', name)}: not a file, and not available from the hub: {reason}") from None
