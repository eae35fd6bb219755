"""Single convolutions in three directions beside PyTorch: ``python -m benchmarks.convolutions --help``."""
