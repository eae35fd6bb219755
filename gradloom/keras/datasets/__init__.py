"""Data sets, by the names that Keras gives them."""

from gradloom.keras import absent
from gradloom.keras.datasets import fashion_mnist

__all__ = ["fashion_mnist"]

__getattr__ = absent.names_of("datasets")
