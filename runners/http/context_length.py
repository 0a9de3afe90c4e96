"""Recognises refusals of a prompt that is longer than the context window. No state, no network.

There is no common form: some forty servers and services have a wording each, which changes with their versions. A code
for the case decides. Otherwise a sentence must hold three things: what is too long (the prompt, the input, the
messages), that it is (too long, exceeds, at most), and of what measure (tokens, a context length). Messages
about rates, quotas, images, time, memory, or another field than the prompt do not count. `tests/http/refusals.jsonl`
has real messages of both kinds. `languages.py` has the words of languages other than English.
"""

import re
from typing import NamedTuple

import msgspec

from . import languages
from .errors import MAX_MESSAGE, ServerError, strip_quotations

# Most runs have no refusal: `re` compiles these on first use, and caches them.
_CODES = (
    r"(?:model_|max(?:imum)?_)*"
    r"(?:context_?(?:length|window|size|limit)?|(?:prompt|input|conversation)_?(?:length|tokens?)?)"
    r"_?(?:limit_?)?(?:is_?)?(?:exceeded|exceeds|overflow|too_?long)_?(?:error|exception)?"
    r"|exceed_context_size(?:_error)?|tokens_limit_reached|outofcontexterror|out_of_context_error|1261"
)
"""Codes and types: of OpenAI and most others, LiteLLM, llama.cpp, GitHub, Azure AI, Volcengine, Zhipu."""
_CODES_IN_TEXT = (
    r"(?<![\w./-])(?:context_length_exceeded|context_window_overflow|exceed_context_size_error"
    r"|(?:litellm\.)?contextwindowexceedederror)(?![\w/-])"
    r"|default_max_tokens \(-?\d+\) must be greater than 0"  # TensorRT-LLM
    r"|maximum context length (?:is|of) (?:only )?\d+ tokens\W{1,3}(?:however|but)\b"
    r"|context shift is disabled"  # llama.cpp, where the window is full
    r"|\bn_(?:keep|tokens|past|prompt_tokens)\b\W{0,3}\d* ?>=? ?n_ctx\b"
)
_OTHER_SUBJECTS = (
    r"per[ _-]?(?:min|sec|hour|day|month|week)|\b[trip]+p[msdh]\b|rate[ _-]?limit|tokens? rate"
    r"|(?:/ ?|\b(?:a|each|every|one|last|past|\d{1,4}) )(?:min(?:ute)?|sec(?:ond)?|hour|day|week|month)s?\b"
    r"|quota|usage limit|daily|monthly|hourly|billing|\bbalance\b|allowance|insufficient (?:tokens|funds)"
    r"|credit|throttl|please wait|concurren|number of requests|\bqueue|overload|in flight"
    r"|try again (?:later|in \d|after)|pending|backlog|number of (?:attempts|retries)"
    r"|after \d+ (?:attempts|retries|tries)|(?:bearer|access|auth\w*|jwt|api|refresh|session) tokens?\b"
    r"|\bfor (?:this|your|the) (?:api )?(?:key|user|team|org\w*|project|workspace|tenant)\b"
    r"|\bretry (?:after|in) \d"  # rates and accounts
    r"|deadline|timed? ?out|cancell?ed|took too long|taking too long"  # time
    r"|out of memory|\boom\b|\bcuda|kv[ _-]?cache|memory|max_num_batched_tokens|batch[ _]size"  # the machine
    r"|\bstop\b|stop_sequence|\btools?\b(?! inputs?\b)|schema|logprobs|\bheaders?\b|\bcookie|\bur[li]\b"
    r"|array too long|\bdepth\b"
    r"|content[_ ]filter|web ?socket|(?<!generation )(?<!output )budget|moderation|policy|safety|\bflagged\b"
    r"|(?:unsupported|unrecogni[sz]ed|unknown|unexpected) (?:request )?(?:parameter|argument|value|field|property|key)"
    r"|vocab\w*|token[ _]ids?\b|logit_bias|\buser[ _]?id|\bname of\b|\.name\b|['\"`]name['\"`]|metadata"  # other fields
    r"|upgrade|\byour plan\b|\baccount\b|\bwait\b"
    r"|(?:parameter|argument|field|property) ['\"`](?!messages?\b|prompt|inputs?\b|contents?\b|text\b|max_\w*tokens)"
    r"|invalid token|(?:security|ssl|tls|execution|call) context|special tokens|extra inputs|extraneous"
    r"|too (?:short|small)"
    r"|must (?:be|have|contain) (?:at least|(?:more|longer|greater) than)|\bempty\b"
    rf"|{languages.OTHER_SUBJECTS}"
)
"""Subjects of refusals that are not about the window."""
_MEDIA = rf"\b(?:image|picture|pixels?|audio|video|file|upload\w*|png|jpe?g)s?\b|{languages.MEDIA}"
_MEDIA_TOO_LARGE = (
    r"\b(?:image|picture|audio|video|file|document|pdf|attachment)s?(?: inputs?)?"
    r" (?:has|have|contains?|exceeds?|(?:is|are) too)\b"
    r"|\btoo many (?:image|picture|audio|video|file|document|pdf|attachment|message)s\b"
)
"""Refusals of an image, not the prompt, for its size; those that mention the context are about the prompt."""
_SUBJECT = (
    r"\b(?:prompts?|inputs?|messages?|conversation|chat history|context|text|(?<!stop )sequence|request length"
    r"|(?:input|prompt|requested|total|too many) tokens?|(?:prompt|input)_(?:tokens|length)|token count"
    r"|request \(\d+ tokens|requested number of tokens|(?:this|the|your) request requires"
    r"|request (?:exceed|contain)\w*|tokens in (?:the|your) request)\b"
    r"|\brequest (?:is |was )?too (?:long|large)\b(?=.{0,60}\btokens?\b)"
    rf"|{languages.SUBJECT}"
)
_EXCESS = (
    r"too (?:long|large|big|many)|exceed|overflow|surpass|(?:long|great|larg|bigg)er (?:\([^()]{1,40}\) )?than"
    r"|more (?:tokens )?than|\bover\b|above the|beyond|oversized"
    r"|at most"
    r"|must (?:be|have|contain) (?:<=?|less|fewer|at most|below|under|no more|(?:in|within|between)\b[^a-z]{0,3}\d)"
    r"|cannot be (?:more|greater|longer)"
    r"|\bmax(?:imum)?\b|\bonly\b|\breached\b|\bis full\b|out of range"
    r"|\d\)? > \(?[a-z_ ]*\(?\d|requires? \d+ tokens|\bmax_length\b"
    r"|supports? up to|limited to|reduce the|shorten|shorter|not enough|(?:not|n't|unable to) fit|range of|ran out of"
    rf"|{languages.EXCESS}"
)
_MEASURE = (
    r"(?<![a-z_])tokens?(?![a-z_])|(?:prompt|input)_tokens|context[ _-]?(?:length|window|size|limit|len)"
    r"|\b(?:input|prompt|sequence|maximum|max|session|total|allowed|model) length"
    r"|max_model_len|max_seq_len|max_seq_length|max_input_len\w*|max_(?:num|total)_tokens"
    r"|(?:than|exceed\w*|max(?:imum)?) (?:the |your |model |(?:the|this) model's )?context\b(?! deadline)"
    r"|(?:the|context) window|\bn_ctx\b"
    r"|(?:context|prompts?) (?:is |are |was )?too (?:large|big)|conversation length"
    r"|length of (?:the |your )?(?:prompt|input|messages?|request|conversation)"
    rf"|too long|max length|input characters|{languages.MEASURE}"
)
_PHRASES = (
    r"reduce the length of the (?:messages|prompt|input)|max(?:imum)? tokens of \d+ exceeded"
    r"|exceed\w*(?: the| your)?(?: model'?s?)? token limit"
    r"|(?<!output )(?<!completion )token limit (?:has been |was )?(?:exceeded|reached)"
    r"|max_(?:input|prompt)_tokens exceeded|reached its conversation limit|(?:shorter|shorten your) (?:prompt|input)\b"
    r"|(?:only supports|supports at most|supports up to) \d+ tokens,? but|too many tokens: |expected maxlength: \d+"
    r"|(?:body|request) too large for .{1,60} max size: \d+ tokens|requested tokens? .{0,20}exceed"
    rf"|{languages.PHRASES}"
)
"""Wordings without all three: Groq and Cerebras, Snowflake, Moonshot, Cohere, Bedrock, Azure AI, llama-cpp-python."""
_STRING = r"string[ _](?:too long|above_max_length)|string with maximum length|string_too_long"
_TEXT_FIELD = r"^(?:messages?[\[.]\d+\]?\.)?(?:content(?:[\[.]\d+\]?(?:\.text)?)?|prompt|input(?:[\[.]\d+\]?)?)$"
_FIELD = r"['\"`]((?:messages?|prompt|input|content)[\w\[\].]*)['\"`]"
_OTHER_STATUSES = {401, 402, 403, 404, 407, 414, 429, 431}
"""Statuses about keys, accounts, rates, addresses and headers: only a code counts there, not words."""
_LINKS = r"https?://[^\s\"'<>]+|\bin account \d+"
"""Links to logs, as SageMaker adds."""
_MODEL = r"\bmodel\s+['\"`‘“][^'\"`’”]{1,200}['\"`’”]|\bmodel=\S+"
_SENTENCE_END = r"(?<=[^\d\W])[.!?]\s+|(?<=[)\d])\.\s+(?=[a-z])|[;\n]|。|；"
_WINDOW = (
    r"(?:\bcontext[ _-]?(?:window|length|size|limit)(?: (?:is|of|was|only|just|to)|[:=(]){0,3}\s?"
    r"|\bmaximum(?: allowed| prompt| input)?(?: is|:) )(\d{3,9})\b"
)
_TOKENS = r"\b(?:prompt|input|messages?|request)s? (?:\w+ ){0,3}(\d{3,9})\b|\b(\d{3,9}) (?:input |prompt )?tokens\b"

_MAX_SENTENCES = 20
"""Maximum number of matching sentences."""


class TokenCounts(NamedTuple):
    """The tokens of the prompt and of the whole window, as a refusal gives them."""

    prompt: int
    window: int


def exceeded(status: int, error: ServerError, request_body: bytes = b"") -> bool:
    """Whether an error with this status says that the prompt is longer than the context window.

    `request_body`: words of the error that also occur in it are the prompt's, not the server's.
    """
    if error.page or any(re.fullmatch(_CODES, _snake_case(code)) for code in (error.code, error.type)):
        return not error.page
    if status in _OTHER_STATUSES:
        return False
    text = _normalized(error.message)
    if re.search(_STRING, text) or {error.code, error.type} & {"string_above_max_length", "string_too_long"}:
        field = error.param or (field[1] if (field := re.search(_FIELD, error.message)) else "")
        return bool(re.match(_TEXT_FIELD, field))
    return any(not _is_echo(text, start, end, request_body) for start, end in _find_spans(text))


def token_counts(error: ServerError) -> TokenCounts | None:
    """The tokens of prompt and window, where a refusal gives both exactly."""
    text = _normalized(error.message).replace("`", "")
    for pattern in _TOKEN_COUNTS:
        if match := re.search(pattern, text):
            return TokenCounts(int(match["prompt"]), int(match["window"]))
    return None


_TOKEN_COUNTS = [
    form.replace(r"\d+", r"\d{1,12}")
    for form in (
        r"context length (?:is|of) (?:only )?(?P<window>\d+).{0,200}?\((?P<prompt>\d+) (?:in (?:the|your)|of text)",
        r"context length (?:is|of) (?:only )?(?P<window>\d+).{0,120}?messages resulted in (?P<prompt>\d+)",
        r"context length (?:is|of) (?:only )?(?P<window>\d+).{0,160}?: (?P<prompt>\d+) tokens from the input",
        r"context length (?:is|of) (?:only )?(?P<window>\d+).{0,80}?request has (?P<prompt>\d+) input tokens",
        r"passed (?P<prompt>\d+) input tokens.{0,120}?context length is only (?P<window>\d+)",
        r"must be <= (?P<window>\d+)\. given: (?P<prompt>\d+) inputs tokens",
        r"exceed context limit: (?P<prompt>\d+) \+ \d+ > (?P<window>\d+)",
        r"too long: (?P<prompt>\d+) tokens > (?P<window>\d+)",
        r"too long: (?P<prompt>\d+), model maximum context length: (?P<window>\d+)",
        r"request length (?P<prompt>\d+) \+ \d+ is greater than max_seq_len (?P<window>\d+)",
        r"prompt length \((?P<prompt>\d+)(?:\.0)?\), query length \(\d+\)(?: and|,) max_tokens \(\d+\)"
        r" should not exceed max_seq_len \((?P<window>\d+)\)",
        r"(?:input|request) \((?P<prompt>\d+) tokens\) (?:is longer than the model's context length"
        r"|exceeds the available context size) \((?P<window>\d+) tokens\)",
        r"prompt length is (?P<window>\d+) but the request contains (?P<prompt>\d+)",
        r"input token count \((?P<prompt>\d+)\) exceeds the maximum number of tokens allowed \((?P<window>\d+)\)",
        r"input token count is (?P<prompt>\d+) but model only supports up to (?P<window>\d+)",
    )
]
"""OpenAI (also DeepSeek, vLLM, OpenRouter), SGLang, vLLM, TGI, Anthropic, Fireworks, ExLlama, TensorRT-LLM, llama.cpp,
xAI, Gemini. vLLM's "at least N input tokens" is not a count: it stops counting where the limit is passed."""


def _snake_case(code: str) -> str:
    code_words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", code.strip())
    return code_words.lower().replace("-", "_").replace(" ", "_")


def _normalized(message: str) -> str:
    """The message in lower case, without model names and quotations of several words."""
    text = strip_quotations(re.sub(_MODEL, "model", re.sub(_LINKS, "", message[:MAX_MESSAGE]))).lower()
    text = text.replace("’", "'").replace("\\n", "\n").replace("i\u0307", "i")
    return re.sub(r"(?<=\d)[,_](?=\d{3}\b)", "", text)


def _find_spans(text: str) -> list[tuple[int, int]]:
    """Spans that say that a prompt is too long: a known wording, or sentences with subject, excess and measure."""
    text = languages.strip_accents(text)
    if match := re.search(_CODES_IN_TEXT, text):
        return [match.span()]
    if re.search(_OTHER_SUBJECTS, text) or (re.search(_MEDIA, text) and not re.search(r"\btokens?\b", text)):
        return []
    if re.search(_MEDIA_TOO_LARGE, text) and "context" not in text:
        return []
    if match := re.search(_PHRASES, text) or _window_below_prompt(text):
        return [match.span()]
    spans: list[tuple[int, int]] = []
    start = 0
    for end in [*(match.start() for match in re.finditer(_SENTENCE_END, text)), len(text)]:
        sentence = text[start:end]
        if (
            len(spans) < _MAX_SENTENCES
            and (excess := re.search(_EXCESS, sentence))
            and re.search(_SUBJECT, sentence)
            and re.search(_MEASURE, sentence)
        ):
            spans.append((start + excess.start(), start + excess.end()))
        start = end
    return spans


def _window_below_prompt(text: str) -> re.Match[str] | None:
    """The match of a window that is smaller than the prompt in the same message, which does not say so in words."""
    window = re.search(_WINDOW, text)
    tokens = (int(match[1] or match[2]) for match in re.finditer(_TOKENS, text))
    return window if window and any(count > int(window[1]) for count in tokens) else None


def _is_echo(text: str, start: int, end: int, request_body: bytes) -> bool:
    """Whether the words of this span, with enough context, occur in the request."""
    first, last = max(0, start - 30), min(len(text), end + 30)
    contexts = [(first, last)] if last - first >= end - start + 12 else []
    contexts += [(start, last)] if last - end >= 24 else []
    contexts += [(first, end)] if start - first >= 24 else []
    if not request_body or not contexts:
        return False
    request_body = request_body.lower()
    return any(msgspec.json.encode(text[a:b])[1:-1].lower() in request_body for a, b in contexts)
