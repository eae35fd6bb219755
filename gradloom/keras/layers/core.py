"""Dense, Dropout, Activation and the layers that are only an activation."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.keras import activations
from gradloom.keras.layers.base import Layer, Shape
from gradloom.tape import composite
from gradloom.tensor import Tensor


@composite
def _affine(x: Tensor, kernel: Tensor, bias: Tensor | None = None, activation: Any = activations.linear) -> Tensor:
    """activation(x @ kernel + bias), one step of the tape."""
    y = G.matmul(x, kernel)
    return activation(y if bias is None else y + bias)


class Dense(Layer):
    """activation(x @ kernel + bias), over the last axis.

    Parameters
    ----------
    units : size of the output.
    activation : a name or a function; None is linear.
    use_bias : whether there is a bias, (units,).
    kernel_initializer, bias_initializer : names or initialisers; the kernel is (inputs, units).
    input_shape : shape of a sample, for a first layer that is to be built at once.
    """

    kernel: Tensor
    bias: Tensor

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        *,
        input_shape: tuple[int, ...] | None = None,
        input_dim: int | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name, trainable)
        if units < 1:
            raise ValueError(f"Dense: units={units}, but it must be at least 1")
        self.units = int(units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer, self.bias_initializer = kernel_initializer, bias_initializer
        self.sample_shape = (input_dim,) if input_dim is not None else input_shape
        self._inputs = 0

    def build(self, input_shape: Shape) -> None:
        """Make kernel (inputs, units) and bias (units,)."""
        inputs = input_shape[-1]
        if len(input_shape) < 2 or inputs is None:
            raise ShapeError(
                f"layer {self.name!r} (Dense): inputs of shape {input_shape} have no features",
                code="keras.input-shape",
                hint="give a batch of samples, (n, features)",
            )
        self._inputs = inputs
        self.add_weight((inputs, self.units), self.kernel_initializer, "kernel")
        if self.use_bias:
            self.add_weight((self.units,), self.bias_initializer, "bias")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The last axis becomes ``units``."""
        self.check_input(input_shape)
        return (*input_shape[:-1], self.units)

    def check_input(self, shape: tuple[Any, ...]) -> None:
        """Refuse inputs with another number of features than the kernel has."""
        if self.built and shape[-1] != self._inputs:
            raise ShapeError(
                f"layer {self.name!r} (Dense): inputs of shape {tuple(shape)} have {shape[-1]} features, its kernel "
                f"({self._inputs}, {self.units}) takes {self._inputs}",
                code="keras.input-shape",
                hint="give samples of the size that the model was built with, or flatten them first (layers.Flatten)",
            )

    def before_activation(self, x: Tensor) -> Tensor:
        """``x @ kernel + bias``."""
        if x.shape[-1] != self._inputs:
            self.check_input(x.shape)
        return _affine(x, self.kernel, self.bias) if self.use_bias else _affine(x, self.kernel)

    def call(self, x: Tensor) -> Tensor:
        """activation(x @ kernel + bias): (n, ..., inputs) to (n, ..., units)."""
        if not activations.is_ours(self.activation):
            return self.activation(self.before_activation(x))
        if x.shape[-1] != self._inputs:
            self.check_input(x.shape)
        if self.use_bias:
            return _affine(x, self.kernel, self.bias, activation=self.activation)
        return _affine(x, self.kernel, activation=self.activation)


class Activation(Layer):
    """An activation function as a layer."""

    def __init__(self, activation: Any, name: str | None = None) -> None:
        super().__init__(name)
        self.activation = activations.get(activation)

    def before_activation(self, x: Tensor) -> Tensor:
        """``x`` as it is."""
        return x

    def call(self, x: Tensor) -> Tensor:
        """activation(x)."""
        return self.activation(x)


class ReLU(Layer):
    """max(x, 0), or with options: slope below 0, cut off at ``max_value``."""

    def __init__(self, max_value: float | None = None, negative_slope: float = 0.0, name: str | None = None) -> None:
        super().__init__(name)
        self.max_value, self.negative_slope = max_value, negative_slope

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of x."""
        y = activations.leaky_relu(x, self.negative_slope) if self.negative_slope else G.relu(x)
        return y if self.max_value is None else G.clamp(y, max=self.max_value)


class Softmax(Layer):
    """Softmax along ``axis``."""

    def __init__(self, axis: int = -1, name: str | None = None) -> None:
        super().__init__(name)
        self.axis = axis
        if axis == -1:
            self.activation = activations.softmax

    def before_activation(self, x: Tensor) -> Tensor:
        """``x`` as it is."""
        return x

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of x, sums of 1 along the axis."""
        return G.softmax(x, self.axis)


class Dropout(Layer):
    """In training, zero a share ``rate`` of the inputs and scale the rest by 1/(1 - rate) (Srivastava et al. 2014)."""

    def __init__(self, rate: float, name: str | None = None) -> None:
        super().__init__(name)
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout: rate={rate}, but it lies in [0, 1)")
        self.rate = float(rate)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Of the shape of x; x itself when not training."""
        return G.dropout(x, self.rate, True) if training and self.rate else x
