"""`--tokenizer FOLDER` counts what the local runner and transformers count, whatever the chat template."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from m1eval import UsageError, load
from m1eval.model.tokenizers import resolve
from tests.conftest import write

LLAMA = """
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" + system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""
MISTRAL = """
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- else %}{{- " " + message["content"] | trim + eos_token }}{%- endif %}
{%- endfor %}
"""
QWEN = """
{%- if tools %}{{- '<|im_start|>system\\n' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not message.content.startswith('<tool_response>') %}
        {%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}{%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last_query_index and reasoning_content %}
            {{- '<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
            {{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- else %}{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
TEMPLATES = {"llama": LLAMA, "mistral": MISTRAL, "qwen": QWEN}
ADDED = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "[INST]",
]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": ["<é>", 1]}}}
TALKS: dict[str, list[dict[str, Any]]] = {
    "one": [{"role": "user", "content": "What is the capital of France? <b>&</b>"}],
    "system": [{"role": "system", "content": " Be\nbrief. "}, {"role": "user", "content": "日本語 😀"}],
    "turns": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello <s>"},
        {"role": "user", "content": "x" * 50},
    ],
    "reasoning": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "reasoning_content": "a while"},
        {"role": "user", "content": ""},
    ],
}
CALLS: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"r": 1}'},
]


@pytest.fixture(scope="module")
def trained() -> str:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=350, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["What is the capital of France? system user assistant Today Date"] * 3, trainer)
    return str(core.to_str())


def folder(tmp_path: Path, core: str, template: str, where: str) -> Path:
    """A model's folder whose special tokens are in tokenizer_config.json, and its template in one of its places."""
    size = Tokenizer.from_str(core).get_vocab_size()
    added = {str(size + i): {"content": token, "special": True} for i, token in enumerate(ADDED)}
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added}
    config |= {"bos_token": "<s>", "eos_token": {"__type": "AddedToken", "content": "</s>", "special": True}}
    if where == "chat_template.jinja":
        (tmp_path / where).write_text(template)
    elif where == "named":
        config["chat_template"] = [
            {"name": "tool_use", "template": "TOOLS" + template},
            {"name": "default", "template": template},
        ]
    else:
        config["chat_template"] = template
    (tmp_path / "tokenizer.json").write_text(core)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("where", ["chat_template.jinja", "tokenizer_config.json", "named"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_folder_counts_as_the_local_runner_and_transformers(name, where, trained, tmp_path):
    from transformers import PreTrainedTokenizerFast

    path = folder(tmp_path, trained, TEMPLATES[name], where)
    ours, file = resolve(str(path), {}, "m"), resolve(str(path / "tokenizer.json"), {}, "m")
    local = load("runners", "local").tokenizer.files.from_folder(path)
    theirs: Any = PreTrainedTokenizerFast.from_pretrained(str(path))
    for talk in [*TALKS.values(), *([CALLS] if name == "qwen" else [])]:
        text = theirs.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
        expected = len(theirs.encode(text, add_special_tokens=False))
        assert ours.count(talk) == file.count(talk) == local.count(talk) == expected
        for message in talk:
            assert ours.encode(message["content"]) == theirs.encode(message["content"], add_special_tokens=False)


def test_a_conversation_that_the_template_refuses(trained, tmp_path):
    ours = resolve(str(folder(tmp_path, trained, MISTRAL, "named")), {}, "m")
    with pytest.raises(ValueError, match="roles must alternate"):
        ours.count([{"role": "assistant", "content": "x"}])


def test_without_a_template_texts_are_counted(trained, tmp_path):
    (tmp_path / "other.json").write_text(trained)
    ours = resolve(str(tmp_path / "other.json"), {}, "m")
    assert ours.count(TALKS["one"]) == len(ours.encode(TALKS["one"][0]["content"])) + 4
    assert ours.decode(ours.encode("naïve 日本")) == "naïve 日本"
    counts: Any = ours
    assert counts.counts(["a", "What is"]) == [len(ours.encode("a")), len(ours.encode("What is"))]


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("tokenizer.json", "{", "is not JSON"),
        ("tokenizer.json", None, "has no tokenizer.json"),
        ("tokenizer_config.json", "[]", "does not hold a JSON object"),
        ("chat_template.jinja", "{% if %}", "the chat template 'default' is broken"),
        (
            "chat_template.jinja",
            "{% for x in range(99999) %}{% for y in range(99999) %}a{% endfor %}{% endfor %}",
            "the chat template does not end",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line(file, text, words, trained, tmp_path):
    path = folder(tmp_path, trained, LLAMA, "named")
    (path / file).unlink(missing_ok=True) if text is None else (path / file).write_text(text)
    with pytest.raises(UsageError) as error:
        resolve(str(path), {}, "m")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_counts_by_a_folder_without_loading_torch(trained, tmp_path, m1eval):
    path = folder(tmp_path, trained, QWEN, "chat_template.jinja")
    script = "import sys; from m1eval.model.tokenizers import resolve\n"
    script += "resolve(sys.argv[1], {}, 'm'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    command = ("run", "--tasks", "needle", "--set", "lengths=[2000]", "--set", "samples=1", "--model", "echo:gold")
    result = m1eval(*command, "--tokenizer", path, "--out", tmp_path / "x", "--json", "--limit", 2)
    assert result.code == 0, result.err
    write(tmp_path / "chat_template.jinja", "{{ raise_exception('never') }}")
    result = m1eval(*command, "--tokenizer", path, "--out", tmp_path / "y", "--json", "--limit", 2)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "never" in result.err
