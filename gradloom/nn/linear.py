"""Linear, Bilinear, Identity, Flatten and Unflatten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradloom.errors import ShapeError
from gradloom.functions import empty
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.module import Module, Parameter
from gradloom.nn.parameter import new_parameter
from gradloom.tensor import Tensor


class Linear(Module):
    """x·Wᵀ + b.

    Parameters
    ----------
    in_features, out_features : int
        Length of the last axis before and after.
    bias : bool
        Whether b is added.
    device, dtype : optional
        Of the parameters; the default dtype if not given.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
        Drawn uniformly from ±1/sqrt(in_features).
    bias : Parameter of shape (out_features,), or None
        Drawn likewise.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int | None, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = in_features or 0
        self.out_features = out_features
        lazy = in_features is None
        self.weight = new_parameter((out_features, self.in_features), lazy, device, dtype)
        self.register_parameter("bias", new_parameter(out_features, lazy, device, dtype) if bias else None)
        if not lazy:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes, and whether there is a bias."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class NonDynamicallyQuantizableLinear(Linear):
    """Linear under another name, as the output of attention has it in PyTorch."""


class Bilinear(Module):
    """x1ᵀ·W·x2 + b for each output.

    Parameters
    ----------
    in1_features, in2_features, out_features : int
        Lengths of the last axes of both inputs and of the result.
    bias : bool
        Whether b is added.

    Attributes
    ----------
    weight : Parameter of shape (out_features, in1_features, in2_features)
        Drawn uniformly from ±1/sqrt(in1_features).
    bias : Parameter of shape (out_features,), or None
        Drawn likewise.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got {in1_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(empty(out_features, in1_features, in2_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """(..., in1_features) and (..., in2_features) to (..., out_features)."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes, and whether there is a bias."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """Return the input. Takes and forgets any arguments, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return the input itself."""
        return input


class Flatten(Module):
    """Join the axes from start_dim to end_dim into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) to (N, product) with the defaults."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The two axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split one axis into several; one of the new lengths may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """(..., product, ...) to (..., *unflattened_size, ...)."""
        shape = tuple(input.shape)
        if not -len(shape) <= self.dim < len(shape):
            raise ShapeError(
                f"Unflatten: shape {shape} has no axis {self.dim}", code="shape.unflatten", hint="count axes from 0"
            )
        axis = self.dim % len(shape)
        sizes = list(self.unflattened_size)
        known = math.prod(n for n in sizes if n != -1)
        if -1 in sizes and known:
            sizes[sizes.index(-1)] = shape[axis] // known
        if math.prod(sizes) != shape[axis]:
            raise ShapeError(
                f"Unflatten: axis {axis} of shape {shape} cannot become {self.unflattened_size}",
                code="shape.unflatten",
                hint=f"the product of the new lengths must be {shape[axis]}",
            )
        return input.reshape((*shape[:axis], *sizes, *shape[axis + 1 :]))

    def extra_repr(self) -> str:
        """Axis and new lengths."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
