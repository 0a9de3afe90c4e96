"""Triton kernels with the names and arguments of `ops/`; imported only where they run."""
