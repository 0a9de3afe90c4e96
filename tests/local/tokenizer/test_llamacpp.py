"""Every pre-tokenizer that a GGUF file may name, against llama.cpp itself on the same file."""

import json
import os
import random
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import regex  # type: ignore[import-untyped]

from m1eval import load
from tests.llamacpp import interpreter
from tests.local.tokenizer.test_files import byte_level

local = load("runners", "local")
NAMES = local.tokenizer.pretokenizers.NAMES

NORMALISED = {"qwen2", "qwen35", "mpt", "olmo", "command-r"}
"""Pre-tokenizers of models whose own tokenizer composes characters first (NFC), which llama.cpp leaves out."""


def cased(han: str, besides: str, contractions: str, digits: str, after: str) -> str:
    """A pattern of the family that tells capital letters from small ones."""
    upper = rf"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}{besides}]"
    lower = rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}{besides}]"
    before = r"[^\r\n\p{L}\p{N}]?"
    words = f"{before}{upper}*{lower}+{contractions}|{before}{upper}+{lower}*{contractions}"
    return rf"{han}{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n{after}]*|\s*[\r\n]+|\s+(?!\S)|\s+"


_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERNS = {
    "gpt-4o": cased("", "", _CONTRACTIONS, r"\p{N}{1,3}", "/"),
    "tekken": cased("", "", "", r"\p{N}", "/"),
    "kimi-k2": cased(r"\p{Han}+|", r"&&[^\p{Han}]", _CONTRACTIONS, r"\p{N}{1,3}", ""),
}
"""Patterns published with the models (tiktoken's o200k_base, Mistral's tekken.json, Kimi K2's tokenization_kimi.py)."""
CASED = {*PATTERNS, "kanana2", "llama4", "minimax-m2"}
"""Their words hold combining marks, which llama.cpp's own version of the patterns cuts off at some places."""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LETTERS = "a Z the ing ǅ ʰ é ß a\u0301 日本 語 中文 한국 ру ской अ ि ا ע Ａ 's 'LL ’t"
SPACES = [" ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u200b", "\u2028", "\ufeff"]
SIGNS = "1 23 4567 ½ ² Ⅷ ٣ ! ?! ... -- / _ $ € < | {} \\n 🙂 👩\u200d👩\u200d👧"
PIECES = [*LETTERS.split(), *SPACES, *SIGNS.split(), *SPECIAL]


def texts(count: int) -> list[str]:
    """Texts in which letters, marks, digits, spaces and signs of many scripts are mixed."""
    draw = random.Random(7)
    return ["".join(draw.choices(PIECES, k=draw.randint(1, 14))) for _ in range(count)]


TEXTS = texts(120)


@pytest.fixture(scope="module")
def tokenizer() -> dict[str, Any]:
    """The keys of a tokenizer that was trained on bytes, but for the name of its pre-tokenizer."""
    model = json.loads(byte_level().to_str())["model"]
    words = [*sorted(model["vocab"], key=model["vocab"].get), *SPECIAL]
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [1] * (len(words) - len(SPECIAL)) + [3] * len(SPECIAL),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.bos_token_id": len(words) - 3,
        "tokenizer.ggml.eos_token_id": len(words) - 3,
    }


def write(file: Path, tokenizer: dict[str, Any], name: str) -> None:
    """The smallest model that llama.cpp loads, with this tokenizer."""
    writer, width, words = gguf.GGUFWriter(file, "llama"), 32, tokenizer["tokenizer.ggml.tokens"]
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(width)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(words)
    writer.add_token_types(tokenizer["tokenizer.ggml.token_type"])
    writer.add_token_merges(tokenizer["tokenizer.ggml.merges"])
    writer.add_bos_token_id(tokenizer["tokenizer.ggml.bos_token_id"])
    writer.add_eos_token_id(tokenizer["tokenizer.ggml.eos_token_id"])
    shapes = {"token_embd": (len(words), width), "output_norm": (width,)}
    shapes |= {f"blk.0.{norm}": (width,) for norm in ("attn_norm", "ffn_norm")}
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes |= {f"blk.0.{matrix}": (width, width) for matrix in square}
    for part, shape in shapes.items():
        writer.add_tensor(f"{part}.weight", np.full(shape, 0.01, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def theirs(tokenizer: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[int]]]:
    """The ids of llama.cpp by the name of the pre-tokenizer."""
    python, folder = interpreter(), tmp_path_factory.mktemp("gguf")
    for name in NAMES:
        write(folder / f"{name}.gguf", tokenizer, name)
    texts_of = {name: [unicodedata.normalize("NFC", t) if name in NORMALISED else t for t in TEXTS] for name in NAMES}
    token_ids: dict[str, list[list[int]]] = {}
    for normalised in (False, True):
        names = [name for name in NAMES if (name in NORMALISED) == normalised]
        (folder / "texts.json").write_text(json.dumps(texts_of[names[0]]))
        files = [str(folder / f"{name}.gguf") for name in names]
        script = str(Path(__file__).with_name("tokenize_llamacpp.py"))
        output = subprocess.run(
            [python, script, str(folder / "texts.json"), *files],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        token_ids |= zip(names, map(json.loads, output.stdout.splitlines()), strict=True)
    return token_ids


@pytest.mark.parametrize("name", NAMES)
def test_a_pre_tokenizer_cuts_as_that_of_llama_cpp(
    name: str, tokenizer: dict[str, Any], theirs: dict[str, list[list[int]]]
) -> None:
    ours = local.tokenizer.gguf.from_gguf(tokenizer | {"tokenizer.ggml.pre": name})
    expected = {
        text: ids for text, ids in zip(TEXTS, theirs[name], strict=True) if name not in CASED or not marks(text)
    }
    assert len(expected) > 20
    assert not {text: ids for text, ids in expected.items() if ours.encode(text) != ids}


@pytest.mark.parametrize("name", PATTERNS)
def test_words_of_the_cased_family_are_those_of_the_published_pattern(name: str) -> None:
    step = local.tokenizer.pretokenizers.pre_tokenizer(name).steps[0]
    pattern = regex.compile(PATTERNS[name], regex.V1)
    for text in texts(1000):
        assert [word for word, _ in step.pre_tokenize_str(text)] == pattern.findall(text)


def marks(text: str) -> bool:
    return any(unicodedata.category(letter).startswith("M") for letter in text)
