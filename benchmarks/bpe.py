"""Writes a tokenizer.json from a tiktoken vocabulary, for benchmarks with a real, large BPE tokenizer.

    pip download --no-deps dashscope==2.0.2 && unzip dashscope-*.whl dashscope/resources/qwen.tiktoken
    python benchmarks/bpe.py dashscope/resources/qwen.tiktoken FOLDER [DIGITS]

Qwen's has 151,643 entries. DIGITS is how many digits make a word at most: 1 for Qwen, 3 for cl100k_base.
"""

import base64
import sys
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_names() -> dict[int, str]:
    """The printable character that stands for each byte in a byte-level vocabulary, as GPT-2 has it."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def parts(ranks: dict[bytes, int], token: bytes) -> list[bytes]:
    """The two tokens that a token is merged from: what merges of lower rank make of its bytes."""
    parts = [bytes([byte]) for byte in token]
    while True:
        pairs = [(ranks.get(a + b, ranks[token]), i) for i, (a, b) in enumerate(pairwise(parts))]
        rank, i = min(pairs, default=(ranks[token], 0))
        if rank >= ranks[token]:
            return parts
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def converted(file: Path, digits: int) -> Tokenizer:
    """The tokenizer of a vocabulary with lines of base64 and rank."""
    lines = [line.split() for line in file.read_bytes().splitlines() if line.strip()]
    ranks = {base64.b64decode(word): int(rank) for word, rank in lines}
    names = byte_names()

    def name(token: bytes) -> str:
        return "".join(names[byte] for byte in token)

    pairs = (parts(ranks, token) for token in ranks if len(token) > 1)
    merges = [(name(pair[0]), name(pair[1])) for pair in pairs if len(pair) == 2]
    core = Tokenizer(models.BPE(vocab={name(token): rank for token, rank in ranks.items()}, merges=merges))
    number = r"\p{N}" if digits == 1 else rf"\p{{N}}{{1,{digits}}}"
    words = rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{number}"
    split = Regex(words + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIALS])
    return core


def main() -> None:
    """Write tokenizer.json and a chat template of ChatML's form."""
    file, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    core = converted(file, int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    core.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    print(f"{folder}: {core.get_vocab_size():,} entries")


if __name__ == "__main__":
    main()
