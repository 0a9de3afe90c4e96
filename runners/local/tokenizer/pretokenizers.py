"""Pre-tokenizers of byte-level BPE by their names in GGUF files (`tokenizer.ggml.pre`).

The patterns are those of the models' own tokenizer.json. Unknown names are refused: another pattern would give almost
the same tokens, with occasional errors.
"""

from typing import Any, NamedTuple

from tokenizers import Regex, normalizers, pre_tokenizers

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"


def _cased_words(extra: str = "", without: str = "") -> str:
    """The word pattern of o200k: upper-case, then lower-case letters, either optional; `extra` may follow."""
    upper, lower = f"[{_UPPER}{without}]", f"[{_LOWER}{without}]"
    begin = r"[^\r\n\p{L}\p{N}]?"
    return f"{begin}{upper}*{lower}+{extra}|{begin}{upper}+{lower}*{extra}"


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACE}"
QWEN2 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_SIGNS}|{_SPACE}"
QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACE}"
)
TEKKEN = rf"{_cased_words()}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACE}"
O200K = rf"{_cased_words(_CONTRACTIONS + '?')}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACE}"
_NOT_HAN = r"&&[^\p{Han}]"
KIMI = rf"[\p{{Han}}]+|{_cased_words(_CONTRACTIONS + '?', _NOT_HAN)}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACE}"
SEED = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACE}"
BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    rf"|{_SPACE}",
)
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+")

KNOWN = frozenset(
    {
        *(GPT2, LLAMA3, QWEN2, QWEN35, TEKKEN, O200K, KIMI, SEED, BAILING, *DEEPSEEK3, *DEEPSEEK_CODER),
        *("\\s+", " ", "\\d", "\\p{N}", "[0-9]", "\\n", "\\s", "\\d{1,3}", "\\p{N}+", "[^\\s]+", "\\w+"),
    }
)
"""Regular expressions that are harmless for any text."""


class PreTokenizer(NamedTuple):
    """`steps` split the text; `normalizer` runs first; `whole_words`: a word that is a token skips the merges."""

    steps: list[Any]
    normalizer: Any = None
    whole_words: bool = False
    adds_bos: bool = False
    """Whether a text starts with BOS unless the file says otherwise."""


def pre_tokenizer(name: str) -> PreTokenizer | None:
    """The pre-tokenizer of that name, None if it is not one of `NAMES`."""
    pattern = _BY_NAME.get(name)
    if pattern is None:
        return None
    gpt2 = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    nfc = normalizers.NFC()
    if pattern == "gpt2":
        return PreTokenizer(gpt2, nfc if name in _NFC else None)
    if pattern == "digits":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return PreTokenizer([digits, *gpt2], nfc if name in _NFC else None)
    patterns = pattern if isinstance(pattern, tuple) else (pattern,)
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    if pattern is DEEPSEEK_CODER:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    whole_words = name in _WHOLE_WORDS
    return PreTokenizer(steps, nfc if name in _NFC else None, whole_words=whole_words, adds_bos=whole_words)


_LLAMA3 = ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
_BY_NAME: dict[str, str | tuple[str, ...]] = {
    **dict.fromkeys((*_LLAMA3, "smaug-bpe", "dbrx", "glm4", "chatglm-bpe"), LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"), QWEN2),
    "qwen35": QWEN35,
    "tekken": TEKKEN,
    **dict.fromkeys(("gpt-4o", "llama4", "minimax-m2", "kanana2"), O200K),
    "kimi-k2": KIMI,
    "seed-coder": SEED,
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), BAILING),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), DEEPSEEK3),
    "deepseek-coder": DEEPSEEK_CODER,
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "mellum", "exaone4", "trillion"), "gpt2"),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), "digits"),
}
_WHOLE_WORDS = frozenset({*_LLAMA3, "tekken"})
_NFC = frozenset({"qwen2", "qwen35", "mpt", "olmo", "command-r"})
NAMES = tuple(sorted(_BY_NAME))
