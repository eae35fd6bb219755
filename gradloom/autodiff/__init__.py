"""Transformations of programs. Nothing here names an op."""

from gradloom.autodiff.reverse import backward, grad

__all__ = ["backward", "grad"]
