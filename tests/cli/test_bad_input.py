"""Faults of a model or its server: one clear line, its exit code, and no folder left behind."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.conftest import write
from tests.serving import Closed


@pytest.fixture
def server():
    """A server that wants a key and has one model."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            right = self.headers.get("Authorization") == "Bearer right"
            body = {"data": [{"id": "small-model"}]} if right else {"error": {"message": "Incorrect API key provided"}}
            data = json.dumps(body).encode()
            self.send_response(200 if right else 401)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def error(result, folder, code=2):
    assert (result.code, result.out) == (code, ""), result.err
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err
    assert not (folder / "x").exists(), "nothing half-written is left"
    return result.err.removeprefix("Error: ").strip()


@pytest.mark.parametrize(
    ("tasks", "model", "words"),
    [
        ("amie24", "echo:gold", "no task 'amie24'; did you mean aime24?"),
        ("demo", "ehco:gold", "no runner 'ehco'; did you mean echo?"),
        ("./nowhere.yaml", "echo:gold", "no file ./nowhere.yaml"),
        ("demo", "echo:glod", "echo: unknown part 'glod'; did you mean 'gold'?"),
        ("demo", "http:", "http: which model? --model http:NAME"),
        ("demo", "http:m", "http: which server? --base-url"),
        (",", "echo:gold", "no name given"),
    ],
)
def test_unknown_tasks_and_models_are_refused_by_name(m1eval, monkeypatch, tmp_path, tasks, model, words):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    result = m1eval("run", "--tasks", tasks, "--model", model, "--out", tmp_path / "x", "--display", "none")
    assert words in error(result, tmp_path)


def test_an_unreachable_server_is_named_with_its_url(m1eval, capitals, tmp_path):
    with Closed() as port:
        command = ("run", "--tasks", capitals, "--model", "http:m", "--base-url", f"http://127.0.0.1:{port}/v1")
        message = error(m1eval(*command, "--out", tmp_path / "x", "--display", "none"), tmp_path, code=4)
    assert f"http://127.0.0.1:{port}/v1: cannot connect: connection refused" in message
    assert "is the server up, and is --base-url right?" in message


def test_a_wrong_key_and_a_missing_one(m1eval, monkeypatch, capitals, tmp_path, server):
    command = ("run", "--tasks", capitals, "--model", "http:small-model", "--base-url", server)
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-secret")
    message = error(m1eval(*command, "--out", tmp_path / "x", "--display", "none"), tmp_path, code=4)
    assert "the key in $OPENAI_API_KEY is refused" in message
    assert "wrong-secret" not in message
    monkeypatch.delenv("OPENAI_API_KEY")
    message = error(m1eval(*command, "--out", tmp_path / "x", "--display", "none"), tmp_path, code=4)
    assert "set $OPENAI_API_KEY to a key" in message


def test_a_model_that_the_server_does_not_have(m1eval, monkeypatch, capitals, tmp_path, server):
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    command = ("run", "--tasks", capitals, "--model", "http:smal-model", "--base-url", server)
    message = error(m1eval(*command, "--out", tmp_path / "x", "--display", "none"), tmp_path, code=4)
    assert "or model 'smal-model' is not there (501 " in message
    assert "did you mean small-model? (models: small-model" in message


@pytest.mark.parametrize(
    ("model", "words", "code"),
    [
        ("nowhere", "no model 'nowhere': give smollm2, a folder, a .gguf file, or org/name on the hub", 2),
        ("{folder}/empty", "has no config.json", 4),
        ("{folder}/torn.gguf", "is not a GGUF file, or is damaged", 4),
    ],
)
def test_a_local_model_that_cannot_be_loaded(m1eval, capitals, tmp_path, model, words, code):
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.gguf").write_bytes(b"GGUF\x03\x00")
    command = ("run", "--tasks", capitals, "--model", f"local:{model.format(folder=tmp_path)}")
    assert words in error(m1eval(*command, "--out", tmp_path / "x", "--display", "none"), tmp_path, code)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_without_a_chat_template(m1eval, capitals, tmp_path):
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 8}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2)).save_pretrained(tmp_path / "bare")
    vocabulary = {letter: i for i, letter in enumerate("abcdefgh")}
    Tokenizer(models.BPE(vocab=vocabulary, merges=[])).save(str(tmp_path / "bare" / "tokenizer.json"))
    result = m1eval("run", "--tasks", capitals, "--model", f"local:{tmp_path / 'bare'}", "--out", tmp_path / "x")
    assert result.code == 4
    assert result.err.splitlines()[-1] == (
        "Error: the model has no chat template: put a chat_template.jinja into its folder, or use raw prompts"
    )
    assert not (tmp_path / "x").exists()


def test_debug_shows_the_traceback(shell, capitals):
    result = shell("--debug", "run", "--tasks", "amie24", "--model", "echo:gold")
    assert "Traceback" in result.err
    assert "no task 'amie24'" in result.err


def test_a_task_needs_its_keys(m1eval, tmp_path):
    task = write(tmp_path / "t.yaml", "title: T\nprompt: x\nscorer: exact\n")
    result = m1eval("run", "--tasks", task, "--model", "echo:gold", "--out", tmp_path / "x")
    assert "t.yaml:1: the key 'dataset' is missing" in error(result, tmp_path)
