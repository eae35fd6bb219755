"""Fashion-MNIST; see :mod:`gradloom.datasets.fashion_mnist`."""

from gradloom.datasets.fashion_mnist import load_data

__all__ = ["load_data"]
