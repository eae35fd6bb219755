"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The entries of all tensors, one after the other, in one vector."""
    return G.cat([G.reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Fill parameters with the entries of a vector: undoes :func:`parameters_to_vector`."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected a tensor, but got: {type(vec).__name__}")
    listed = list(parameters)
    total = sum(p.numel() for p in listed)
    if vec.numel() < total:
        raise ShapeError(
            f"vector_to_parameters: a vector of {vec.numel()} entries for parameters of {total}", code="shape.vector",
            hint="give the vector that parameters_to_vector made of the same parameters",
        )  # fmt: skip
    at = 0
    flat = vec.detach()
    for p in listed:
        p.data = G.reshape(G.narrow(flat, 0, at, p.numel()), tuple(p.shape))
        at += p.numel()
