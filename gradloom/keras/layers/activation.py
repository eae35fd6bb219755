"""Layers that are only an activation."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras import activations, constraints, initializers, regularizers
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.specs import InputSpec
from gradloom.keras.operations import as_tensor
from gradloom.nn import functional as F
from gradloom.tape import composite
from gradloom.tensor import Tensor


class _Pointwise(Layer):
    """Base: shape and mask go through."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return input_shape


class ReLU(_Pointwise):
    """max(x, 0), or with options: a slope below ``threshold``, cut off at ``max_value``.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if (value is None and name != "max_value") or (value is not None and value < 0):
                what = "a negative value" if name == "max_value" else "None or a negative value"
                raise ValueError(f"{name} of a ReLU layer cannot be {what}. Received: {name}={value}")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def call(self, inputs: Tensor) -> Tensor:
        """Of the shape of the inputs."""
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(_Pointwise):
    """``x`` where positive, else ``negative_slope`` times x.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            raise ValueError("The negative_slope value of a Leaky ReLU layer cannot be None or negative value. "
                             f"Expected a float. Received: negative_slope={negative_slope}")  # fmt: skip
        self.negative_slope = negative_slope

    def call(self, inputs: Tensor) -> Tensor:
        """Of the shape of the inputs."""
        return activations.leaky_relu(inputs, self.negative_slope)


class ELU(_Pointwise):
    """``x`` where positive, else alpha (eˣ - 1).

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs: Tensor) -> Tensor:
        """Of the shape of the inputs."""
        return F.elu(inputs, float(self.alpha))


@composite
def _prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return G.relu(x) - alpha * G.relu(-x)


class PReLU(_Pointwise):
    """``x`` where positive, else learnt slopes times x (He et al. 2015).

    Input: any shape.
    Output: the same shape.

    Parameters
    ----------
    shared_axes : axes along which the slopes are the same.
    """

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = None if shared_axes is None else (
            list(shared_axes) if isinstance(shared_axes, list | tuple) else [shared_axes]
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Make the slopes."""
        shape = list(input_shape[1:])
        for axis in self.shared_axes or []:
            shape[axis - 1] = 1
        self.alpha = self.add_weight(
            shape, self.alpha_initializer, regularizer=self.alpha_regularizer, constraint=self.alpha_constraint,
            name="alpha",
        )  # fmt: skip
        free = {k: input_shape[k] for k in range(1, len(input_shape)) if k not in (self.shared_axes or [])}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=free)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Of the shape of the inputs."""
        return _prelu(inputs, self.alpha)


class Softmax(_Pointwise):
    """Softmax along ``axis``, or along several together; positions that a mask leaves out get 0, all of them too.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis
        if axis == -1:
            self.activation = activations.softmax

    def before_activation(self, x: Tensor) -> Tensor:
        """``x`` as it is."""
        return x

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        """Of the shape of the inputs, sums of 1 along the axis."""
        axis: Any = self.axis
        if isinstance(axis, list | tuple):
            axis = tuple(axis) if len(axis) > 1 else axis[0]
        if mask is None:
            return activations.softmax(inputs, axis)
        keep = self._keep(mask, inputs)
        low = -3e4 if inputs.dtype.name == "float16" else -1e9
        y = activations.softmax(G.where(keep, inputs, G.full_like(inputs, low)), axis)
        return G.where(keep, y, G.zeros_like(y))

    @staticmethod
    def _keep(mask: Any, x: Tensor) -> Tensor:
        """The mask as bool; numbers above 0.5 are True. ValueError where it does not broadcast to ``x``."""
        keep = as_tensor(mask)
        pairs = zip(reversed(keep.shape), reversed(x.shape))
        if keep.ndim > x.ndim or any(m not in (1, n) for m, n in pairs):
            raise ValueError("The `mask` must be broadcastable to `inputs` and must not have more dimensions. "
                             f"Received: inputs.shape={tuple(x.shape)}, mask.shape={tuple(keep.shape)}")  # fmt: skip
        return keep if keep.dtype is dtypes.bool_ else keep > 0.5
