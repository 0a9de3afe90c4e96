"""How a model is reached: runners by name, tokenizers, thinking, prices."""
