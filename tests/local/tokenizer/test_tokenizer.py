"""Text to tokens and back, chat templates, and stop strings that are watched for while tokens come."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from m1eval import RunnerError, load
from m1eval.model.chat_template import ChatTemplate
from m1eval.model.thinking import DEFAULT

local = load("runners", "local")
ModelTokenizer = local.tokenizer.model_tokenizer.ModelTokenizer
IncrementalDetokenizer = local.tokenizer.streaming.IncrementalDetokenizer
StopStringMatcher = local.tokenizer.streaming.StopStringMatcher
from_folder = local.tokenizer.files.from_folder
from_gguf = local.tokenizer.gguf.from_gguf

ASK = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def tokenizer(llama: Any) -> Any:
    return from_folder(llama.folder)


def streamed(decode: Any, ids: list[int]) -> list[str]:
    stream = IncrementalDetokenizer(decode)
    return [*(stream.push(token) for token in ids), stream.flush()]


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=30))
def test_text_survives_and_comes_in_whole_characters(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    pieces = streamed(tokenizer.decode, ids)
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not [piece for piece in pieces if "\ufffd" in piece]


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 260), max_size=30))
def test_tokens_of_broken_text_stream_as_they_decode_together(tokenizer: Any, ids: list[int]) -> None:
    for decode in (tokenizer.decode, tokenizer.decode_plain):
        assert "".join(streamed(decode, ids)) == decode(ids)


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.sampled_from([[1], [2], [3], [4], [5, 6, 7]]), max_size=20))
def test_words_that_carry_their_space_come_with_it(words: list[list[int]]) -> None:
    vocab = {word: i for i, word in enumerate(["<unk>", "▁", "▁a", "b", "▁▁", "<0xE2>", "<0x82>", "<0xAC>"])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    spaces = decoders.Replace("▁", " ")
    core.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    ids = [token for word in words for token in word]
    pieces = streamed(core.decode, ids)
    assert "".join(pieces) == core.decode(ids)
    assert "".join(pieces).count("€") == words.count([5, 6, 7])


def test_a_text_has_the_same_tokens_every_time_whatever_it_was_trained_with(llama: Any, tmp_path: Path) -> None:
    tree = json.loads((llama.folder / "tokenizer.json").read_text())
    expected = from_folder(llama.folder).encode("the thick cloth" * 9)
    tree["model"]["dropout"] = 0.5
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
    assert from_folder(tmp_path).encode("the thick cloth" * 9) == expected


def test_special_tokens_written_in_a_prompt_are_recognised_and_left_out_of_answers(tokenizer: Any) -> None:
    ids = tokenizer.encode("a<|im_end|></think>")
    assert ids[1:] == [258, 260]
    assert tokenizer.decode(ids) == "a<|im_end|></think>"
    assert tokenizer.decode_plain(ids) == "a</think>"
    assert tokenizer.thinking_end_id() == 260


def test_counting_messages_counts_the_whole_prompt(tokenizer: Any) -> None:
    assert tokenizer.render(ASK) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.count(ASK) == len("user\nhi\nassistant\n") + 3


def test_end_tokens_are_gathered_from_all_files_of_a_model(llama: Any, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((llama.folder / "tokenizer.json").read_bytes())
    assert from_folder(tmp_path).stop_token_ids == frozenset()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|im_end|>"}}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 3}))
    assert from_folder(tmp_path).stop_token_ids == {1, 2, 3, 258}


def test_chat_templates_are_found_where_transformers_finds_them(llama: Any, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((llama.folder / "tokenizer.json").read_bytes())
    with pytest.raises(RunnerError, match="no chat template"):
        from_folder(tmp_path).render(ASK)
    named = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T{{ tools | length }}"}]
    cases: list[tuple[str, Any, str]] = [
        ("tokenizer_config.json", {"chat_template": "{{ bos_token }}C", "bos_token": "<s>"}, "<s>C"),
        ("tokenizer_config.json", {"chat_template": named}, "D"),
        ("chat_template.json", {"chat_template": "J"}, "J"),
        ("chat_template.jinja", "F", "F"),
    ]
    for file, content, wanted in cases:
        (tmp_path / file).write_text(content if isinstance(content, str) else json.dumps(content))
        assert from_folder(tmp_path).render(ASK) == wanted
        if wanted == "D":
            assert from_folder(tmp_path).render(ASK, tools=[{}]) == "T1"


def test_a_raw_prompt_begins_as_the_model_wants_it_but_not_twice(llama: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    core = Tokenizer.from_file(str(llama.folder / "tokenizer.json"))
    plain = ModelTokenizer(core, None, frozenset())
    assert plain.encode_raw("ab") == plain.encode("ab")
    core.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 257)])
    begun = ModelTokenizer(core, None, frozenset())
    assert begun.encode_raw("ab") == [257, *plain.encode("ab")]
    assert begun.encode_raw("<|im_start|>ab") == [257, *plain.encode("ab")]
    assert begun.encode("ab") == plain.encode("ab")


def template(source: str, **specials: str) -> Any:
    return ChatTemplate({"default": source}, specials)


def test_templates_render_as_in_transformers() -> None:
    from transformers.utils import chat_template_utils

    reference: Any = chat_template_utils

    source = """
    {%- for message in messages %}
        {%- if loop.first and message.role == 'system' %}{% continue %}{% endif %}
        {{ message.role | upper }}: {{ message.content | trim }}
        {%- for call in message.tool_calls or [] %}
            {{ call.function.arguments | tojson }}{{ {'ü': '<&>'} | tojson(indent=2) }}
        {%- endfor %}
        {% set own = 'a' %}
        {% generation %}{{ message.content }}{{ loop.index }}{{ own }}{% set own = 'b' %}{{ own }}{% endgeneration %}
        {{ own }}
    {% endfor %}
    {% if tools %}{{ tools | tojson }}{% endif %}{{ eos_token }}{% if add_generation_prompt %}A:{% endif %}
    """
    messages = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": " <b>ß</b>\n"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, "é"]}}}]},
    ]
    tools = [{"type": "function", "function": {"name": "f"}}]
    for some in ([], tools):
        wanted, _ = reference.render_jinja_template(
            [messages], tools=some or None, chat_template=source, add_generation_prompt=True, eos_token="</s>"
        )
        assert template(source, eos_token="</s>").render(messages, some) == wanted[0]


@pytest.mark.parametrize(
    "source",
    [
        "{{ tools | tojson(true) }}",
        "{{ tools | tojson(4) }}",
        "{{ tools | tojson(false, 2) }}",
        "{{ tools | tojson(false, none, (',', ':'), true) }}",
        "{{ tools | tojson(separators=(', ', ' : '), indent='--', sort_keys=true) }}",
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
        "{% for m in messages %}{%- generation -%} {{ loop.index }}{% set y = m.role %}{%- endgeneration -%}{{ y }}"
        "{% endfor %}{{ tools | length }}",
        "{% set ns = namespace(a=1) %}{% generation %}{% set ns.a = 2 %}{% endgeneration %}{{ ns.a }}{{ tools }}",
    ],
)
def test_what_transformers_gives_templates_is_the_same_here(source: str) -> None:
    from transformers.utils import chat_template_utils

    reference: Any = chat_template_utils
    tools = [{"type": "function", "é": {"name": "<f>", "arguments": [1, None]}}]
    wanted, _ = reference.render_jinja_template([ASK], tools=tools, chat_template=source, add_generation_prompt=True)
    assert template("{# tools #}" + source).render(ASK, tools) == wanted[0]


def test_separators_of_json_are_charged_before_they_are_written() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RunnerError, match="does not end"):
            template("{{ range(500) | list | tojson(separators=(',' * 200000, ':')) }}")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_arguments_of_tool_calls_reach_a_template_as_objects() -> None:
    shown = template("{{ messages[0].tool_calls[0].function.arguments | tojson }}")
    for written, wanted in (('{"a": 1}', '{"a": 1}'), ("{broken", '"{broken"'), ({"a": 2}, '{"a": 2}')):
        message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": written}}]}
        assert shown.render([message]) == wanted
        assert message["tool_calls"][0]["function"]["arguments"] == written  # type: ignore[index]


def test_a_template_that_refuses_says_why() -> None:
    for source, reason in (
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content.parts.text }}", "no attribute 'parts'"),
        ("{{ messages.append(1) }}", "append"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ):
        with pytest.raises(ValueError, match=reason):
            template(source).render(ASK)


def test_tools_need_a_template_with_a_place_for_them() -> None:
    with pytest.raises(ValueError, match="no place for tools"):
        template("{{ messages[0].content }}").render(ASK, tools=[{"type": "function"}])


def test_the_date_is_there_for_templates_that_show_it() -> None:
    assert template("{{ strftime_now('%Y') }}").render(ASK).isdigit()


def test_a_gguf_tokenizer_that_is_not_built_in_is_refused_with_a_way_out() -> None:
    for meta in ({"tokenizer.ggml.model": "llama"}, {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "tekken"}):
        with pytest.raises(RunnerError, match=r"put the model's tokenizer\.json next to the file"):
            from_gguf(meta)


def watched(text: str, *stops: str, opened: bool = False, size: int = 1) -> str | None:
    """The answer before the first stop string, if one comes; tokens are `size` characters."""
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    watch = StopStringMatcher(lambda ids: "".join(pieces[i] for i in ids), stops, opened=opened)
    for token in range(len(pieces)):
        if watch(token):
            before, now = ("".join(pieces[:count]) for count in (token, token + 1))
            assert any(stop in now for stop in stops)
            assert watch.text is not None
            assert opened or "<think>" in text or not any(stop in before for stop in stops)
            return str(watch.text)
    assert watch.text is None
    return None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_the_answer_ends_before_the_first_stop_string(size: int) -> None:
    assert watched("one two\n\nthree", "\n\n", size=size) == "one two"
    assert watched("one two\n\nthree", "three", "wo", size=size) == "one t"
    assert watched("one two", "three", size=size) is None
    assert watched("STOP", "STOP", size=size) == ""
    assert watched("anything", "", size=size) is None


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_stop_strings_do_not_end_the_thinking(size: int) -> None:
    assert watched("a\n\nb</think>c\n\nd", "\n\n", opened=True, size=size) == "a\n\nb</think>c"
    assert watched("<think>a\n\nb</think>c\n\nd", "\n\n", size=size) == "<think>a\n\nb</think>c"
    assert watched("a\n\nb", "\n\n", opened=True, size=size) is None
    assert watched("<thing>a\n\nb", "\n\n", size=size) == "<thing>a"


@settings(max_examples=100, deadline=None)
@given(text=st.text("ab\n", max_size=40), stop=st.text("ab\n", min_size=1, max_size=4), size=st.integers(1, 5))
def test_a_stop_string_is_found_wherever_token_borders_fall(text: str, stop: str, size: int) -> None:
    assert watched(text, stop, size=size) == (text.split(stop, maxsplit=1)[0] if stop in text else None)


def test_a_stop_string_is_found_when_nothing_follows_its_token() -> None:
    """The last token ends within a character, of which the rest is waited for."""
    pieces = ["one", "\n\n\ufffd"]
    watch = StopStringMatcher(lambda ids: "".join(pieces[i] for i in ids), ["\n\n"], opened=False)
    assert [watch(0), watch(1)] == [False, False]
    assert watch.finish()
    assert watch.text == "one"


def test_an_end_without_a_stop_string_finds_none() -> None:
    pieces = ["one", "\n\ufffd"]
    for stops in (["\n\n"], [""], []):
        watch = StopStringMatcher(lambda ids: "".join(pieces[i] for i in ids), stops, opened=False)
        assert [watch(0), watch(1), watch.finish()] == [False] * 3
        assert watch.text is None


class Counted:
    """A decoder that counts the tokens it is given."""

    def __init__(self, decode: Any) -> None:
        self.decode, self.tokens = decode, 0

    def __call__(self, ids: list[int]) -> str:
        self.tokens += len(ids)
        return str(self.decode(ids))


@pytest.mark.parametrize("kind", ["broken bytes", "no text", "letters"])
def test_a_token_costs_the_same_however_many_came_before(kind: str, tokenizer: Any) -> None:
    token = {"broken bytes": tokenizer.backend.token_to_id("Ģ"), "no text": 258, "letters": 70}[kind]
    costs = []
    for size in (1000, 2000):
        decode = Counted(tokenizer.decode_plain)
        text = "".join(streamed(decode, [token] * size))
        assert text == tokenizer.decode_plain([token] * size)
        costs.append(decode.tokens)
    assert costs[1] < 2.2 * costs[0]
    assert costs[1] < 100 * 2000


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", " ", "a", "\n", "think"]), max_size=12),
    opened=st.booleans(),
    size=st.integers(1, 9),
)
def test_thinking_is_followed_wherever_pieces_are_cut(parts: list[str], opened: bool, size: int) -> None:
    text = "".join(parts)
    thought = local.tokenizer.streaming.ThinkingFollower(opened, (DEFAULT,))
    for i in range(0, len(text), size):
        thought.push(text[i : i + size])
    begun = opened or text.lstrip().startswith("<think>")
    begin = 0 if opened else text.find("<think>") + len("<think>")
    close = text.find("</think>", begin) if begun else -1
    assert bool(thought.inside) == (begun and close < 0)
    if close >= 0:
        assert thought.answer == close + len("</think>")


def test_special_tokens_leave_the_text_and_their_names_stay(tokenizer: Any) -> None:
    spelt = [tokenizer.backend.token_to_id(c) for c in "<|im_start|>"]
    ids = [257, *tokenizer.encode("a"), 257, *spelt, *tokenizer.encode("b"), 258]
    model_tokenizer = ModelTokenizer(tokenizer.backend, None, frozenset({258}))
    text = model_tokenizer.decode_output(ids)
    assert text == "<|im_start|>a<|im_start|><|im_start|>b"
    assert model_tokenizer.strip_special(text, text, ids) == "a<|im_start|>b"
    assert model_tokenizer.strip_special("<|im_start|><|im_start|>b", text, ids) == "<|im_start|>b"
    assert model_tokenizer.strip_special("<|im_start|>a", text, ids) == "a"
    assert model_tokenizer.strip_special("b", text, ids) == "b"
