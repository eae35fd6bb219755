"""Input, Flatten and Reshape: layers without weights that only say or change shapes."""

from __future__ import annotations

import math
from typing import Any

from gradloom.errors import ShapeError
from gradloom.keras.layers.base import Layer, Shape
from gradloom.tensor import Tensor


class InputLayer(Layer):
    """Says the shape of a sample, so that a model is built before it sees data.

    Parameters
    ----------
    shape : of one sample, without the batch's axis.
    """

    def __init__(self, shape: tuple[int, ...] | int, name: str | None = None) -> None:
        super().__init__(name)
        self.sample_shape: tuple[int, ...] = (shape,) if isinstance(shape, int) else tuple(shape)

    def call(self, x: Tensor) -> Tensor:
        """``x`` as it is."""
        return x


def Input(shape: tuple[int, ...] | int, name: str | None = None) -> InputLayer:
    """The first entry of a Sequential: the shape of a sample."""
    return InputLayer(shape, name)


class Flatten(Layer):
    """(n, ...) to (n, product of the rest).

    Parameters
    ----------
    input_shape : shape of a sample, for a first layer that is to be built at once.
    """

    def __init__(self, *, input_shape: tuple[int, ...] | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.sample_shape = input_shape

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """See the class."""
        return (input_shape[0], _size(input_shape[1:], self.name))

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        return x if x.ndim == 2 else x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Reshape(Layer):
    """(n, ...) to (n, *target_shape); one entry of it may be -1."""

    def __init__(self, target_shape: tuple[int, ...], name: str | None = None) -> None:
        super().__init__(name)
        self.target_shape = tuple(target_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """See the class. ShapeError where the sizes differ."""
        size = _size(input_shape[1:], self.name)
        known = math.prod(d for d in self.target_shape if d != -1)
        if size != known if -1 not in self.target_shape else known == 0 or size % known:
            raise ShapeError(
                f"layer {self.name!r} (Reshape): samples of shape {tuple(input_shape[1:])} have {size} elements, "
                f"which do not fill {self.target_shape}",
                code="keras.reshape",
                hint="the product of target_shape must be that of the sample's shape",
            )
        return (input_shape[0], *(size // known if d == -1 else d for d in self.target_shape))

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.reshape(x.shape[0], *self.compute_output_shape((None, *x.shape[1:]))[1:])


def _size(dims: tuple[Any, ...], name: str) -> int:
    if any(d is None for d in dims):
        raise ShapeError(
            f"layer {name!r}: the shape {dims} of a sample is not known",
            code="keras.input-shape",
            hint="give Input((...))",
        )
    return math.prod(dims)
