"""Parts that architectures share, above `ops`; models are built of them and of nothing else."""
