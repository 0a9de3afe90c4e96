"""Access to a model: runners by name, tokenizers, thinking, prices."""
