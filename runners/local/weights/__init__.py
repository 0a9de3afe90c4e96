"""Checkpoints: configs and weights from safetensors and GGUF files, loaded into a model."""
