"""Inputs, Dense, EinsumDense, Activation, Masking, Lambda, Identity and the base of wrappers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.einsum import einsum
from gradloom.keras import activations, config, constraints, initializers, regularizers
from gradloom.keras.layers.base import Layer, Shape
from gradloom.keras.layers.specs import InputSpec
from gradloom.keras.symbolic import Node
from gradloom.keras.variables import KerasTensor
from gradloom.tape import composite
from gradloom.tensor import Tensor


class InputLayer(Layer):
    """Says shape and dtype of an input, so that a model is built before it sees data.

    Input: none.
    Output: a symbolic tensor (n, *shape).

    Parameters
    ----------
    shape : of one sample, without the batch's axis. batch_shape : with it, in place of ``shape``.
    batch_size : where it is fixed.
    input_tensor : a symbolic tensor to be wrapped.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: Any = None,
        ragged: Any = None,
        batch_shape: Any = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name)
        if sparse or ragged:
            raise NotImplementedError("sparse and ragged inputs are not offered: give dense tensors, padded")
        if "input_shape" in kwargs:  # Keras' older names
            shape = kwargs.pop("input_shape")
        if "batch_input_shape" in kwargs:
            batch_shape = kwargs.pop("batch_input_shape")
        if kwargs:
            raise TypeError(f"InputLayer: unknown argument {', '.join(map(repr, kwargs))}")
        for other, value in (("shape", shape), ("batch_size", batch_size)):
            if value is not None and batch_shape is not None:
                raise ValueError(f"You cannot pass both `{other}` and `batch_shape` at the same time.")
        if input_tensor is not None:
            if not isinstance(input_tensor, KerasTensor):
                raise ValueError("Argument `input_tensor` must be a KerasTensor.")
            made = input_tensor.shape
            for other, value, own in (
                ("shape", shape and tuple(shape), made[1:]), ("batch_shape", batch_shape and tuple(batch_shape), made),
                ("batch_size", batch_size, made[0]), ("dtype", dtype, input_tensor.dtype),
            ):  # fmt: skip
                if value is not None and value != own:
                    raise ValueError(f"When providing the `input_tensor` argument, you cannot provide an incompatible "
                                     f"`{other}` argument: {value} is not {own}.")  # fmt: skip
            shape, batch_shape, dtype = None, made, input_tensor.dtype
        if batch_shape is None:
            if shape is None:
                raise ValueError("You must pass a `shape` argument.")
            sample = (shape,) if isinstance(shape, int) else tuple(shape)
            batch_shape = (batch_size, *sample)
        batch_shape = tuple(int(d) if isinstance(d, np.integer) else d for d in batch_shape)
        if any(d is not None and (not isinstance(d, int) or d < 0) for d in batch_shape):
            raise ValueError(f"Cannot convert '{shape if shape is not None else batch_shape}' to a shape.")
        self.batch_shape = tuple(batch_shape)
        self._input_dtype = config.standardize_dtype(dtype)
        self.sample_shape = self.batch_shape[1:]
        self.optional, self.sparse, self.ragged = optional, False, False
        self.built = True
        tensor = input_tensor if input_tensor is not None else KerasTensor(
            self.batch_shape, self._input_dtype, name=self.name
        )  # fmt: skip
        Node(self, (), {}, tensor)

    @property
    def dtype(self) -> str:
        """The dtype of the input."""
        return self._input_dtype

    def call(self) -> Any:
        """An input computes nothing."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Shape, dtype and name."""
        return {
            "batch_shape": self.batch_shape,
            "dtype": self._input_dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": self.optional,
        }


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: Any = None,
    ragged: Any = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
) -> KerasTensor:
    """A symbolic input: the shape of a sample, None for sizes that are open."""
    layer = InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, tensor, optional, name)
    return layer.output


@composite
def _affine(x: Tensor, kernel: Tensor, bias: Tensor | None = None, activation: Any = activations.linear) -> Tensor:
    """activation(x @ kernel + bias), one step of the tape."""
    y = G.matmul(x, kernel)
    return activation(y if bias is None else y + bias)


class _Weighted(Layer):
    """Base of layers with a kernel, a bias and an activation."""

    def _options(self, options: dict[str, Any]) -> None:
        """Set what the constructor was given, names looked up."""
        kinds: dict[str, Any] = {
            "initializer": initializers.get, "regularizer": regularizers.get, "constraint": constraints.get,
            "activation": activations.get,
        }  # fmt: skip
        for name, value in options.items():
            make = kinds.get(name.rpartition("_")[2])
            setattr(self, name, make(value) if make is not None else value)

    def weight(self, name: str, shape: Any, trainable: bool = True) -> Any:
        """A weight with the initialiser, regulariser and constraint that the constructor was given for its name."""
        return self.add_weight(
            shape,
            getattr(self, f"{name}_initializer"),
            regularizer=getattr(self, f"{name}_regularizer", None),
            constraint=getattr(self, f"{name}_constraint", None),
            trainable=trainable,
            name=name,
        )


def floats(x: Tensor, layer: Layer) -> Tensor:
    """Integers in the layer's compute dtype."""
    return x if x.dtype.is_floating else x.to(config.as_dtype(layer.compute_dtype))


class Dense(_Weighted):
    """activation(x @ kernel + bias), over the last axis.

    Input: (..., features).
    Output: (..., units).

    Parameters
    ----------
    units : size of the output.
    activation : a name or a function; None is linear.
    use_bias : whether there is a bias, (units,).
    kernel_initializer, bias_initializer : names or initialisers; the kernel is (inputs, units).
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if not isinstance(units, int) or units < 1:
            raise ValueError(f"Dense: units={units}, but it must be at least 1: expected a positive integer")
        self._options({
            "units": int(units), "activation": activation, "use_bias": use_bias,
            "kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "bias_constraint": bias_constraint,
        })  # fmt: skip
        self.units: int
        self.input_spec = InputSpec(min_ndim=2)
        self.supports_masking = True
        self._inputs = 0

    def build(self, input_shape: Any) -> None:
        """Make kernel (inputs, units) and bias (units,)."""
        inputs = input_shape[-1]
        if len(input_shape) < 2 or inputs is None:
            raise ShapeError(
                f"layer {self.name!r} (Dense): inputs of shape {input_shape} have no features",
                code="keras.input-shape",
                hint="give a batch of samples, (n, features)",
            )
        self._inputs = inputs
        self.kernel = self.weight("kernel", (inputs, self.units))
        self.bias = self.weight("bias", (self.units,)) if self.use_bias else None
        self.input_spec = InputSpec(min_ndim=2, axes={-1: inputs})
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The last axis becomes ``units``."""
        if self.built and input_shape[-1] not in (None, self._inputs):
            self.input_spec.check(KerasTensor(input_shape), self)
        return (*input_shape[:-1], self.units)

    def before_activation(self, x: Tensor) -> Tensor:
        """``x @ kernel + bias``."""
        if not self.built:
            self._build_once(tuple(x.shape))
        if x.shape[-1] != self._inputs:
            self.input_spec.check(x, self)
        x = floats(x, self)
        return _affine(x, self.kernel, self.bias) if self.bias is not None else _affine(x, self.kernel)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """activation(x @ kernel + bias): (n, ..., inputs) to (n, ..., units)."""
        if not activations.is_ours(self.activation):
            y = self.before_activation(inputs)
            return y if self.activation is None else self.activation(y)
        x = floats(inputs, self)
        if self.bias is not None:
            return _affine(x, self.kernel, self.bias, activation=self.activation)
        return _affine(x, self.kernel, activation=self.activation)


class EinsumDense(_Weighted):
    """activation(einsum(equation, x, kernel) + bias).

    Input: as the first operand of ``equation``, such as (n, steps, features).
    Output: as its result, of ``output_shape``.

    Parameters
    ----------
    equation : such as "abc,cd->abd"; "..." stands for leading axes.
    output_shape : without the batch; None for sizes that follow from the inputs.
    bias_axes : the output's axes that the bias has, such as "d"; None for no bias.
    """

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._options({
            "equation": equation, "activation": activation, "bias_axes": bias_axes,
            "kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "bias_constraint": bias_constraint,
        })  # fmt: skip
        self.output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)

    def _plan(self, input_shape: Any) -> tuple[tuple[Any, ...], Any, tuple[Any, ...]]:
        """Shapes of kernel, bias and output."""
        found = re.fullmatch(r"\s*(\.{3})?([a-zA-Z]+)(\.{3})?\s*,\s*([a-zA-Z]+)\s*->\s*(\.{3})?([a-zA-Z]+)(\.{3})?\s*",
                             self.equation)  # fmt: skip
        if found is None:
            raise ValueError(f"Invalid einsum equation '{self.equation}'. Equations must be in the form "
                             "[X],[Y]->[Z], ...[X],[Y]->...[Z], or [X]...,[Y]->[Z]....")  # fmt: skip
        lead, ins, tail, kernel, _, outs, _ = found.groups()
        shape = tuple(input_shape)
        extra = len(shape) - len(ins)
        sizes = dict(zip(ins, shape[extra:] if lead else shape[: len(ins)] if tail else shape))
        given = (shape[0], *self.output_shape) if not lead else self.output_shape
        wanted: dict[str, Any] = {}
        if lead:
            tail_sizes = self.output_shape[len(self.output_shape) - len(outs) :]
            if len(tail_sizes) < len(outs):
                tail_sizes = (None,) * (len(outs) - len(tail_sizes)) + tuple(tail_sizes)
            wanted = dict(zip(outs, tail_sizes))
        else:
            wanted = dict(zip(outs, given))
        for axis, size in wanted.items():
            if axis in sizes and size is not None and sizes[axis] is not None and sizes[axis] != size:
                raise ValueError(f"Input shape and output shape do not match at shared dimension '{axis}'. Input shape "
                                 f"is {sizes[axis]}, and output shape is {size}.")  # fmt: skip
            if axis not in sizes and axis not in kernel:
                raise ValueError(f"Dimension '{axis}' was specified in the output '{outs}' but has no corresponding "
                                 f"dim in the input spec '{ins}' or weight spec '{kernel}'")  # fmt: skip
            if size is not None:
                sizes.setdefault(axis, size)
        for axis in kernel:
            if axis not in sizes:
                raise ValueError(f"Weight dimension '{axis}' did not have a match in either the input spec '{ins}' or "
                                 f"the output spec '{outs}': the weight must be fully specified.")  # fmt: skip
        between = shape[:extra] if lead else shape[len(ins) :] if tail else ()
        body = tuple(sizes.get(a) for a in outs)
        full = (*between, *body) if lead else (*body, *between) if tail else body
        bias = None
        if self.bias_axes:
            missing = [a for a in self.bias_axes if a not in outs]
            if missing:
                raise ValueError(f"Bias dimension '{missing[0]}' was requested, but is not part of the output spec "
                                 f"'{outs}'")  # fmt: skip
            first = min(outs.index(a) for a in self.bias_axes)
            bias = tuple(sizes[a] if a in self.bias_axes else 1 for a in outs[first:])
            bias += (1,) * (extra if tail else 0)
        return tuple(sizes[a] for a in kernel), bias, full

    def _kernel_start(self) -> Any:
        """The kernel's initialiser, told which of its axes are summed over and which stay."""
        start = self.kernel_initializer
        if not isinstance(start, initializers.VarianceScaling) or None not in (start.input_axes, start.output_axes):
            return start
        axes, outs = (part.strip(" .") for part in self.equation.partition(",")[2].split("->"))
        return start.between(
            [k for k, axis in enumerate(axes) if axis not in outs], [k for k, axis in enumerate(axes) if axis in outs]
        )

    def build(self, input_shape: Any) -> None:
        """Make kernel and bias."""
        kernel, bias, self.full_output_shape = self._plan(input_shape)
        self.kernel = self.add_weight(
            kernel, self._kernel_start(), regularizer=self.kernel_regularizer, constraint=self.kernel_constraint,
            name="kernel",
        )  # fmt: skip
        self.bias = self.weight("bias", bias) if bias is not None else None
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See ``output_shape``."""
        return self._plan(input_shape)[2]

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        y = einsum(self.equation, floats(inputs, self), self.kernel)
        if self.bias is not None:
            y = y + self.bias
        return self.activation(y)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        return {**super().get_config(), "output_shape": self.output_shape}


class Activation(Layer):
    """An activation function as a layer.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)
        self.supports_masking = True

    def before_activation(self, x: Tensor) -> Tensor:
        """``x`` as it is."""
        return x

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return input_shape

    def call(self, inputs: Tensor) -> Tensor:
        """activation(x)."""
        return self.activation(inputs)


class Identity(Layer):
    """What goes in comes out.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_output_spec(self, inputs: Any) -> Any:
        """The same."""
        from gradloom.keras import tree

        return tree.map_structure(lambda x: KerasTensor(x.shape, x.dtype), inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return input_shape

    def call(self, inputs: Any) -> Any:
        """See the class."""
        return inputs


class Masking(Layer):
    """Steps in which every value is ``mask_value`` are padding: set to 0, and left out by later layers.

    Input: (n, steps, ...).
    Output: the same shape, with a mask (n, steps).
    """

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value
        self.supports_masking = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """(n, steps): where any value differs."""
        return G.any(inputs != self.mask_value, -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return input_shape

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        keep = G.any(inputs != self.mask_value, -1, True)
        y = inputs * keep.to(inputs.dtype)
        y._keras_mask = keep.squeeze(-1)  # type: ignore[attr-defined]
        return y


class Lambda(Layer):
    """A function as a layer. A model with a lambda cannot be written to a file; one with a named function can.

    Input: what the function takes.
    Output: what it gives.

    Parameters
    ----------
    function : of a tensor, or a structure of them; it may take ``mask`` and ``training``.
    output_shape : where it cannot be found by recording the function.
    arguments : further keyword arguments.
    """

    def __init__(
        self, function: Any, output_shape: Any = None, mask: Any = None, arguments: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        from gradloom.keras.layers.base import _parameters_of

        if isinstance(function, dict | str):
            from gradloom.keras.saving import deserialize_keras_object

            function = deserialize_keras_object(function)
        self.function = function
        self.arguments = arguments or {}
        self._output_shape, self.mask = output_shape, mask
        self._wanted = set(_parameters_of(function))
        self.supports_masking = mask is not None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """What the constructor was told, or found by recording the function."""
        if self._output_shape is None:
            return Layer.compute_output_shape(self, input_shape)
        if callable(self._output_shape):
            return self._output_shape(input_shape)
        return (input_shape[0], *self._output_shape)

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Symbolic tensors of the shape and dtype that come out."""
        from gradloom.keras.symbolic import infer

        if self._output_shape is None:
            return infer(self._call_plain, inputs, **kwargs)
        return super().compute_output_spec(inputs, **kwargs)

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """See the class."""
        extra = {k: v for k, v in (("mask", mask), ("training", training)) if k in self._wanted}
        return self.function(inputs, **extra, **self.arguments)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """What the constructor was told."""
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        """The function by its registered name; a lambda as it is, which files refuse."""
        from gradloom.keras.saving import NotSerializableError, serialize_keras_object

        try:
            function = serialize_keras_object(self.function)
        except NotSerializableError:
            function = self.function
        found = {**self._base_config(), "function": function}
        if self._output_shape is not None:
            found["output_shape"] = self._output_shape
        if self.mask is not None:
            found["mask"] = self.mask if callable(self.mask) else serialize_keras_object(self.mask)
        return {**found, "arguments": {k: serialize_keras_object(v) for k, v in self.arguments.items()}}

    @classmethod
    def from_config(cls, config: dict[str, Any], safe_mode: bool = False) -> Any:
        """The layer that gave this configuration, which holds a lambda only if it never left this process.

        Raises
        ------
        ValueError : a lambda, with ``safe_mode``.
        """
        from gradloom.keras.saving import deserialize_keras_object

        functions = [config.get(name) for name in ("function", "output_shape", "mask")]
        if safe_mode and any(getattr(f, "__name__", "") == "<lambda>" for f in functions):
            raise ValueError(
                "The configuration of this Lambda layer holds a Python lambda, and safe_mode=True: use a named "
                "function that is registered"
            )
        return super().from_config({k: deserialize_keras_object(v) for k, v in config.items()})


class Wrapper(Layer):
    """Base of layers around another layer.

    Input: what the wrapped layer takes.
    Output: what a subclass makes of it.
    """

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(layer, dict):
            from gradloom.keras.saving import deserialize_keras_object

            layer = deserialize_keras_object(layer)
        if not isinstance(layer, Layer):
            raise ValueError(f"Layer {layer} supplied to Wrapper isn't a supported layer type. Please ensure wrapped "
                             "layer is a valid Keras layer.")  # fmt: skip
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        """Build the layer within."""
        self.layer._build_once(input_shape)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """What the layer within gives."""
        return self.layer(inputs)

    def get_config(self) -> dict[str, Any]:
        """The layer within, and the constructor's other arguments."""
        from gradloom.keras.layers import configs
        from gradloom.keras.saving import serialize_keras_object

        found = self._base_config()
        cls = type(self)
        if configs.of_library(cls):
            names = [n for n in configs.parameters(cls) if n != "layer"]
            found |= {n: configs.written(n, getattr(self, n)) for n in names}
        return {**found, "layer": serialize_keras_object(self.layer)}
