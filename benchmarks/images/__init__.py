"""Convolutional networks, training and inference, beside the peers: ``python -m benchmarks.images --help``."""
