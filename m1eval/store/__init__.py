"""A run on disk: what is written, read back and summed up."""
