"""Templates that would loop for ever, or write more than memory holds, end soon and say so; others are left alone."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from m1eval.sandbox.template import LONGEST_SOURCE, LimitedEnvironment, TemplateLimitError

ENVIRONMENT = LimitedEnvironment()


def meets_the_limit(template: jinja2.Template, megabytes: int) -> None:
    """See a template refused before it has taken so much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(TemplateLimitError):
            ENVIRONMENT.render(template, {})
        assert tracemalloc.get_traced_memory()[1] < megabytes << 20
    finally:
        tracemalloc.stop()


GROWING = "{%% set ns = namespace(x='aaaa') %%}{%% for i in range(60) %%}{%% set ns.x = %s %%}{%% endfor %%}{{ ns.x }}"
TWICE = "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}"

BOMBS = [
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) if i < 0 %}{% endfor %}" * 1000,
    "{% for i in range(100000) %}" + "x" * 10000 + "{% endfor %}",
    "{% for i in range(100000) %}{% set x = range(100000) | select | list %}{% endfor %}",
    "{% for x in range(10) recursive %}{{ loop(range(100000)) }}{% endfor %}",
    "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "{% macro f(n) %}{{ f(n - 1) }}{{ f(n - 1) }}{% endmacro %}{{ f(900) }}",
    TWICE,
    "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "{% set x = 'a' * 9000000 %}{% for i in range(100000) %}{% if 'b' in x %}{% endif %}{% endfor %}",
    "{% set x = 'a' * 9000000 %}{% for i in range(100000) %}{% set y = x[1:] %}{% endfor %}",
    *(
        GROWING % step
        for step in ("ns.x ~ ns.x", "ns.x + ns.x", "[ns.x, ns.x]", "(ns.x, ns.x)", "{'a': ns.x, 'b': ns.x}")
    ),
    *(GROWING % step for step in ("ns.x | replace('a', 'aaaaaaaaaa')", "ns.x.replace('a', 'aaaaaaaaaa')")),
    *(GROWING % step for step in ("'%s%s' % (ns.x, ns.x)", "'{0}{0}'.format(ns.x)", "[ns.x, ns.x] | join('')")),
    "{% set x = 'a' * 9000000 %}{% for i in range(100000) %}{% if x.startswith(x) or x.endswith(x) %}{% endif %}{% endfor %}",
    "{% set x = ('a',) * 100000 %}{% for i in range(100000) %}{% if 'b'.startswith(x) %}{% endif %}{% endfor %}",
    "{% set x = 'a' * 9000000 %}{% for i in range(100000) %}{% set y = ''.maketrans(x, x) %}{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ 10**10 * 'a' }}",
    "{{ [0] * 10**9 }}",
    "{{ ['x' * 1000000] * 100000 }}",
    "{{ (['x' * 1000000] * 100000) | join }}",
    "{{ 2 ** (10 ** 10) }}",
    "{{ 'x' | center(10**10) }}",
    "{{ 'x'.center(10**10) }}",
    "{{ 'x'.ljust(10**10) }}",
    "{{ 'x'.zfill(10**10) }}",
    "{{ '\\t'.expandtabs(10**10) }}",
    "{{ '%0999999999d' | format(1) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '%*d' | format(10**9, 1) }}",
    "{{ '{:>9999999999}'.format(1) }}",
    "{{ '{:>{w}}'.format(1, w=10**10) }}",
    "{{ ('%s' * 100000) % (('x' * 100000,) * 100000) }}",
    "{{ (1).to_bytes(10**10, 'big') }}",
    "{{ range(100000) | map('string') | join('x' * 1000000) }}",
    "{{ ('a\\n' * 100000) | indent(10**9) }}",
    "{{ ('a b ' * 100000) | wordwrap(1, wrapstring='x' * 10000) }}",
    "{{ ('a ' * 5000000) | wordwrap(5) }}",
    *("{{ ('a ' * 1000000) | " + each + " }}" for each in ("min", "sort", "unique | list", "groupby(0)", "urlize")),
    "{{ [1] | batch(10**9, 'x') | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ 1.5 | round(10**9, 'ceil') }}",
    "{{ [1] | tojson(indent=10**9) }}",
    "{{ ([[1] * 1000] * 100000) | sum(start=[]) }}",
]


@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_endless_templates_are_stopped(source: str) -> None:
    with pytest.raises(TemplateLimitError):
        ENVIRONMENT.render(ENVIRONMENT.compiled(source), {})


@pytest.mark.parametrize(
    "call",
    [
        "range(500) | list | tojson(indent='x' * 200000)",
        "[[[range(100) | list]]] | tojson(indent='x' * 200000)",
        "('http://a.com ' * 500) | urlize(target='x' * 200000)",
        "('http://a.com ' * 500) | urlize(rel='x' * 200000)",
    ],
)
def test_texts_that_a_filter_repeats_are_charged_before_it_writes_them(call: str) -> None:
    template = ENVIRONMENT.compiled("{{ " + call + " }}")
    meets_the_limit(template, 20)


def test_json_with_an_indent_costs_what_it_writes() -> None:
    row = {"rows": [{"a": [i, {"b": "c"}]} for i in range(2000)]}
    source = "{{ rows | tojson(indent=4) | length }}"
    assert int(ENVIRONMENT.render(ENVIRONMENT.compiled(source), row)) > 200_000


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{% include 'x' %}",
        "{{ lipsum(10**9) }}",
        "{% for i in range(10**9) %}{% endfor %}",
    ],
)
def test_nothing_is_reached_but_the_variables(source: str) -> None:
    template = ENVIRONMENT.compiled(source)
    with pytest.raises((jinja2.TemplateError, TypeError, OverflowError)):
        ENVIRONMENT.render(template, {"messages": [1]})


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if 1 %}" * 200 + "{% endif %}" * 200,
        "x" * (LONGEST_SOURCE + 1),
        "{{ 1 +",
    ],
)
def test_a_source_that_cannot_be_compiled_is_an_error_of_jinja(source: str) -> None:
    with pytest.raises(jinja2.TemplateError):
        ENVIRONMENT.compiled(source)


# ruff: noqa: E501
SOURCES = [
    "{{ a ~ ' ' ~ b }}{{ a + b }}{{ a * 3 }}{{ '%s-%05d' % (a, n) }}{{ '{} {x}'.format(a, x=n) }}",
    "{% for x in rows %}{{ loop.index }}/{{ loop.length }}{{ x.k | upper }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in rows | selectattr('k', 'equalto', 'u') | list %}{{ x | tojson }}{% else %}none{% endfor %}",
    "{% macro m(x, y=2) %}<{{ x }}{{ y }}{{ caller() if caller }}>{% endmacro %}{{ m(a) }}{% call m(1) %}z{% endcall %}",
    "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}",
    "{% set ns = namespace(n=0, l=[]) %}{% for x in rows[::-1] %}{% set ns.l = ns.l + [x.k, (x, n)] %}{% endfor %}{{ ns.l }}",
    "{{ rows | map(attribute='k') | join(', ') }}{{ rows | length }}{{ [3, 1, 2] | sort | sum }}{{ a | replace('a', 'bb') }}",
    "{{ a.split('b') | first }}{{ a.strip().center(9) }}{{ 'x' in a }}{{ a in (a, b) }}{{ {'k': [a]}['k'][0] }}{{ n ** 2 % 7 }}",
    "{% block one %}{{ a }}{% endblock %}{{ self.one() }}{% filter upper %}{{ b }}{% endfilter %}{{ a[1:] }}{{ rows[0:1] }}",
    "{{ a | indent(4, true) }}{{ a | wordwrap(3) }}{{ rows | batch(2, 'f') | list }}{{ 1.234 | round(1) }}{{ a | default('d') }}",
    "{% set ns = namespace(t=a, n=n) %}{% set ns.t = ns.t ~ n ~ b + b + a %}{% set ns.n = ns.n + n + 1 %}{{ ns.t }}{{ ns.n }}",
    "{% set ns = namespace(t=rows) %}{% set ns.t = ns.t + rows + [n] %}{{ ns.t }}{% set ns.t = ns.t ~ ns.t %}{{ ns.t }}",
    "{% set x %}{{ a }}{{ b }}{% endset %}{{ x }}{% with y = x %}{{ y }}{% endwith %}{% for k, v in rows[0].items() %}{{ k }}{% endfor %}",
]


@settings(max_examples=25, deadline=None)
@given(
    a=st.text(max_size=20),
    b=st.text(max_size=5),
    n=st.integers(0, 99),
    keys=st.lists(st.sampled_from(["u", "v", "é"]), min_size=1, max_size=6),
)
def test_other_templates_render_as_in_jinja(a: str, b: str, n: int, keys: list[str]) -> None:
    row = {"a": a, "b": b, "n": n, "rows": [{"k": key} for key in keys]}
    plain = ImmutableSandboxedEnvironment()
    for source in SOURCES:
        assert ENVIRONMENT.render(ENVIRONMENT.compiled(source), row) == plain.from_string(source).render(row)


def test_a_long_context_stays_within_the_limits() -> None:
    text = "word " * 800_000
    row = {"messages": [{"role": "user", "content": text}, {"role": "user", "content": text}]}
    source = "{% for m in messages %}{{ '<' + m.role + '>' ~ (m.content | trim) + m.content.strip() }}{% endfor %}"
    assert len(ENVIRONMENT.render(ENVIRONMENT.compiled(source), row)) > 16_000_000
    many = {"messages": [{"role": "user", "content": "word " * 100}] * 5000}
    assert len(ENVIRONMENT.render(ENVIRONMENT.compiled(source), many)) > 4_000_000


ACCUMULATING = [
    "{% for m in messages %}{% set ns.text = ns.text ~ m.content %}{% endfor %}",
    "{% for m in messages %}{% set ns.text = ns.text ~ '<' ~ m.role ~ '>' ~ m.content ~ '\n' %}{% endfor %}",
    "{% for m in messages %}{% set ns.text = ns.text + m.content %}{% endfor %}",
    "{% for m in messages %}{% set ns.text = ns.text + '<' + m.role + '>' + m.content + '\n' %}{% endfor %}",
    "{% for m in messages %}{% set ns.text = ns.text ~ '<' ~ m.role ~ '>' + m.content | trim + '\n' %}{% endfor %}",
]
COMPARING = [
    "{% for m in messages %}{% if m == users[-1] or m != users[0] %}{{ m.content }}{% endif %}{% endfor %}",
    "{% for m in messages %}{% if m in users %}{{ m.content }}{% elif m not in users %}!{% endif %}{% endfor %}",
    "{% for m in users %}{% if m.content == users[-1].content %}!{% endif %}{{ users.index(m) }}{% endfor %}",
]


@pytest.mark.parametrize("letter", ["w", "語"])
@pytest.mark.parametrize("source", ACCUMULATING + COMPARING)
def test_a_conversation_of_200_long_messages_stays_within_the_limits(source: str, letter: str) -> None:
    source = (
        "{% set ns = namespace(text='') %}{% set users = messages | selectattr('role', 'equalto', 'user') | list %}"
        f"{source}{{{{ ns.text }}}}"
    )
    content = f"{letter}ord " * 4000
    messages = [{"role": ("user", "assistant")[i % 2], "content": f"{content} {i:03}"} for i in range(200)]
    rendered = ENVIRONMENT.render(ENVIRONMENT.compiled(source), {"messages": messages})
    assert rendered == ImmutableSandboxedEnvironment().from_string(source).render(messages=messages)


@pytest.mark.parametrize(
    "step",
    [
        "{% set ns.kept = namespace(before=ns.kept, text=ns.text) %}",
        "{% set ns.kept = [ns.kept, ns.text] %}",
        "{% set ns.kept = ns.kept, ns.text %}",
        "{% set ns.kept = {'before': ns.kept, 'text': ns.text} %}",
        "{% set ns.kept = dict(before=ns.kept, text=ns.text) %}",
        "{% set ns.kept = cycler(ns.kept, ns.text) %}",
        "{{ ns.text }}",
        "{% set ns.kept = namespace(before=ns.kept, text=ns.text ~ i) %}",
    ],
)
def test_texts_that_are_kept_while_one_grows_are_charged(step: str) -> None:
    source = (
        "{% set ns = namespace(kept=0, text='a' * 2000000) %}"
        "{% for i in range(100000) %}{% set ns.text = ns.text ~ 'a' %}" + step + "{% endfor %}"
    )
    template = ENVIRONMENT.compiled(source)
    meets_the_limit(template, 60)


def test_texts_that_variables_and_calls_keep_are_charged() -> None:
    many = "".join("{% set ns.text = ns.text ~ 'a' %}{% set " + f"x{i} = ns.text %}}" for i in range(500))
    calls = "{% macro f(n) %}{% set ns.text = ns.text ~ 'a' %}{% set t = ns.text %}{{ f(n) }}{{ t }}{% endmacro %}{{ f(1) }}"
    for source in (many, calls):
        template = ENVIRONMENT.compiled("{% set ns = namespace(text='a' * 2000000) %}" + source)
        meets_the_limit(template, 60)


def test_one_rendering_leaves_the_budget_of_the_next_alone() -> None:
    for _ in range(3):
        with pytest.raises(TemplateLimitError):
            ENVIRONMENT.render(ENVIRONMENT.compiled(TWICE), {})
        assert ENVIRONMENT.render(ENVIRONMENT.compiled("{{ 'a' * 1000 }}"), {}) == "a" * 1000


@pytest.mark.parametrize(
    "bomb",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ 'a' * 10**10 }}",
        "{{ 'x'|center(10**10) }}",
        "{{ '%0999999999d'|format(1) }}",
        "{{ [0]*10**9 }}",
        BOMBS[0],
        TWICE,
    ],
)
def test_a_task_with_such_a_prompt_is_refused_in_one_line(
    bomb: str, tmp_path: Path, m1eval: Callable[..., Any], capitals: Path
) -> None:
    capitals.write_text(capitals.read_text().replace('"What is the capital of {{ country }}?"', f"|-\n  {bomb}"))
    done = m1eval(
        "run", "--tasks", capitals, "--model", "echo", "--out", tmp_path / "out", "--limit", 2, "--display", "none"
    )
    assert done.code == 2
    assert done.err.strip().count("\n") == 0
    assert f"{capitals.name}:" in done.err
    assert "prompt" in done.err or "Range too big" in done.err
