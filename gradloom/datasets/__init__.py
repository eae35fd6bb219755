"""Data sets: one module each, with ``load_data()`` and the names of its classes.

What is shipped inside the package needs no network. What is fetched is checked against a SHA-256 that stands in the
code, and kept decoded in the cache folder (:func:`gradloom.datasets.cache.folder`).
"""

from gradloom.datasets import fashion_mnist

__all__ = ["fashion_mnist"]
