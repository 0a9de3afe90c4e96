"""A model's tokenizer: from a folder or a GGUF file, checked before use, with its chat template."""
