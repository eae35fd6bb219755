"""Convolutions: images channels last by default, filters in Keras' layout, over the one primitive ``convolve``."""

from __future__ import annotations

from functools import partial
from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.convolution import convolve, convolve_transpose
from gradloom.keras import activations, config
from gradloom.keras.layers.core import _Weighted, floats
from gradloom.keras.layers.specs import InputSpec
from gradloom.tape import composite
from gradloom.tensor import Tensor


def numbers(value: Any, rank: int, what: str, least: int = 1) -> tuple[int, ...]:
    """One whole number for each of ``rank`` axes. ValueError for anything else."""
    found = (value,) * rank if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else None
    start = f"The `{what}` argument must be a tuple of {rank} integers. Received {what}={value}"
    if found is None or len(found) != rank or any(not isinstance(v, int) for v in found):
        raise ValueError(start)
    low = {v for v in found if v < least}
    if low:
        wanted = "value > 0" if least == 1 else f"value >= {least}"
        raise ValueError(f"{start}, including values {low} that do not satisfy `{wanted}`")
    return found


def checked_padding(padding: Any, causal: bool = False) -> str:
    """A padding's name in lower case."""
    kinds = ("valid", "same", "causal") if causal else ("valid", "same")
    name = padding.lower() if isinstance(padding, str) else padding
    if name not in kinds:
        raise ValueError(f"padding={padding!r}: expected one of {', '.join(map(repr, kinds))}")
    return name


def ends(size: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Zeros before and behind an axis."""
    extent = (kernel - 1) * dilation + 1
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return extent - 1, 0
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def length(size: Any, kernel: int, stride: int, dilation: int, padding: str) -> Any:
    """Windows along an axis, None where its size is open."""
    if size is None:
        return None
    extent = (kernel - 1) * dilation + 1
    return (size - extent) // stride + 1 if padding == "valid" else -(-size // stride)


@composite
def _finished(y: Tensor, bias: Tensor | None = None, activation: Any = activations.linear) -> Tensor:
    return activation(y if bias is None else y + bias)


class _Conv(_Weighted):
    """Base: axes, strides and formats."""

    rank = 2
    causal = False

    def _geometry(self, kernel_size: Any, strides: Any, padding: Any, data_format: Any, dilation_rate: Any) -> None:
        n = self.rank
        self.kernel_size = numbers(kernel_size, n, "kernel_size")
        self.strides = numbers(strides, n, "strides")
        self.dilation_rate = numbers(dilation_rate, n, "dilation_rate")
        self.padding = checked_padding(padding, self.causal)
        self.data_format = config.checked_format(data_format)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(f"`strides > 1` not supported in conjunction with `dilation_rate > 1`. Received: "
                             f"strides={self.strides} and dilation_rate={self.dilation_rate}")  # fmt: skip
        self.input_spec = InputSpec(ndim=n + 2)

    def _channels(self, input_shape: Any) -> int:
        axis = 1 if self.data_format == "channels_first" else -1
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(f"The channel dimension of the inputs should be defined. The input_shape received is "
                             f"{input_shape}, where axis {axis} (0-based) is the channel dimension, which found to be "
                             "`None`.")  # fmt: skip
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: channels})
        return channels

    def _sizes(self, input_shape: Any) -> Any:
        return input_shape[2:] if self.data_format == "channels_first" else input_shape[1:-1]

    def _shaped(self, input_shape: Any, sizes: Any, channels: int) -> Any:
        if self.data_format == "channels_first":
            return (input_shape[0], channels, *sizes)
        return (input_shape[0], *sizes, channels)

    def _lengths(self, input_shape: Any) -> Any:
        if len(input_shape) != self.rank + 2:
            self.input_spec.check(_Shape(input_shape), self)
        found = []
        for size, k, s, d in zip(self._sizes(input_shape), self.kernel_size, self.strides, self.dilation_rate):
            n = length(size, k, s, d, self.padding)
            if n is not None and n <= 0:
                raise ShapeError(
                    f"layer {self.name!r} ({type(self).__name__}): inputs of shape {tuple(input_shape)} are smaller "
                    f"than the kernel {self.kernel_size}: Computed output size would be zero or negative.",
                    code="keras.conv-size",
                    hint="use padding='same', a smaller kernel, or larger inputs",
                )
            found.append(n)
        return tuple(found)

    def _last(self, x: Tensor) -> Tensor:
        """Channels last."""
        x = floats(x, self)
        if self.data_format == "channels_first":
            x = G.permute(x, (0, *range(2, x.ndim), 1))
        return x

    def _back(self, y: Tensor) -> Tensor:
        """Channels where they were."""
        if self.data_format == "channels_first":
            y = G.permute(y, (0, y.ndim - 1, *range(1, y.ndim - 1)))
        return y

    def _pads(self, x: Tensor) -> tuple[tuple[int, int], ...]:
        rows = zip(x.shape[1:-1], self.kernel_size, self.strides, self.dilation_rate)
        return tuple(ends(n, k, s, d, self.padding) for n, k, s, d in rows)

    def _biased(self, y: Tensor) -> Tensor:
        if not activations.is_ours(self.activation):
            return self.activation(y if self.bias is None else y + self.bias)
        if self.bias is None:
            return _finished(y, activation=self.activation)
        return _finished(y, self.bias, activation=self.activation)


class _Shape:
    """A shape in the place of a tensor, for checks."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


class BaseConv(_Conv):
    """activation(convolution + bias): each output channel sees the channels of its group.

    Parameters
    ----------
    filters : channels of the output. kernel_size, strides, dilation_rate : one number, or one for each axis.
    padding : "valid" (none), "same" (as many places as before over the stride); "causal" for Conv1D.
    data_format : "channels_last" or "channels_first". groups : of channels that are kept apart.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
        groups: int = 1,
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
        if filters is not None and (not isinstance(filters, int) or filters <= 0):
            raise ValueError(f"Invalid value for argument `filters`. Expected a strictly positive value. Received "
                             f"filters={filters}.")  # fmt: skip
        if not isinstance(groups, int) or groups <= 0:
            raise ValueError(f"The number of groups must be a positive integer. Received: groups={groups}.")
        if filters is not None and filters % groups:
            raise ValueError("The number of filters must be evenly divisible by the number of groups. Received: "
                             f"groups={groups}, filters={filters}.")  # fmt: skip
        self._options({
            "filters": filters, "groups": groups, "activation": activation, "use_bias": use_bias,
            "kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "bias_constraint": bias_constraint,
        })  # fmt: skip
        self._geometry(kernel_size, strides, padding, data_format, dilation_rate)

    def build(self, input_shape: Any) -> None:
        """Make kernel (*kernel_size, channels / groups, filters) and bias (filters,)."""
        channels = self._channels(input_shape)
        if channels % self.groups:
            raise ValueError("The number of input channels must be evenly divisible by the number of groups. Received "
                             f"groups={self.groups}, but the input has {channels} channels (full input shape is "
                             f"{input_shape}).")  # fmt: skip
        self.kernel = self.weight("kernel", (*self.kernel_size, channels // self.groups, self.filters))
        self.bias = self.weight("bias", (self.filters,)) if self.use_bias else None
        self.built = True
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Windows along each axis, ``filters`` channels. ShapeError where a window does not fit."""
        return self._shaped(input_shape, self._lengths(input_shape), self.filters)

    def before_activation(self, x: Tensor) -> Tensor:
        """The convolution with its bias."""
        x = self._last(x)
        y = convolve(x, self.kernel, self.strides, self._pads(x), self.dilation_rate, self.groups, type(self).__name__)
        return self._back(y if self.bias is None else y + self.bias)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x = self._last(inputs)
        y = convolve(x, self.kernel, self.strides, self._pads(x), self.dilation_rate, self.groups, type(self).__name__)
        if self.data_format == "channels_first" and self.activation is not activations.linear:
            y = self._back(y if self.bias is None else y + self.bias)
            return self.activation(y)
        return self._back(self._biased(y))


class Conv1D(BaseConv):
    """Convolution over steps, (n, steps, channels).

    Input: (n, steps, channels); with ``data_format="channels_first"`` (n, channels, steps).
    Output: (n, new steps, filters), or (n, filters, new steps).
    """

    rank = 1
    causal = True


class Conv2D(BaseConv):
    """Convolution over images, (n, height, width, channels).

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, new rows, new columns, filters), or (n, filters, new rows, new columns).
    """


class Conv3D(BaseConv):
    """Convolution over volumes, (n, depth, height, width, channels).

    Input: (n, depth, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, depth, rows,
    columns).
    Output: (n, new depth, new rows, new columns, filters), or (n, filters, new depth, new rows, new columns).
    """

    rank = 3


def transposed(
    kernel: int, stride: int, dilation: int, padding: str, output_padding: int | None, size: int
) -> tuple[int, int]:
    """The size that a transposed convolution of ``size`` places gives, and how many before its first are cut off.

    Parameters
    ----------
    output_padding : places more at the end; None: what makes the size ``stride`` times larger, or just holds all.
    """
    extent = (kernel - 1) * dilation + 1
    if padding == "valid":
        more = max(stride - extent, 0) if output_padding is None else output_padding
        return (size - 1) * stride + extent + more, 0
    if output_padding is None:
        around, found = stride + extent - 2, size * stride
    else:
        around = extent + extent % 2 - 2 + output_padding
        found = (size - 1) * stride + extent % 2 + output_padding
    return found, extent - 1 - min((around + 1) // 2, extent - 1)


class BaseConvTranspose(_Conv):
    """activation(transposed convolution + bias), also called deconvolution.

    Parameters
    ----------
    output_padding : places more at the end; None: as many as make the size ``strides`` times larger.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: Any = None,
        dilation_rate: Any = 1,
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
        if not isinstance(filters, int) or filters <= 0:
            raise ValueError(f"Invalid value for argument `filters`. Expected a strictly positive value. Received "
                             f"filters={filters}.")  # fmt: skip
        self._options({
            "filters": filters, "activation": activation, "use_bias": use_bias,
            "kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "bias_constraint": bias_constraint,
        })  # fmt: skip
        self._geometry(kernel_size, strides, padding, data_format, dilation_rate)
        self.output_padding = None
        if output_padding is not None:
            self.output_padding = numbers(output_padding, self.rank, "output_padding", 0)
            for p, s in zip(self.output_padding, self.strides):
                if p >= s:
                    raise ValueError(f"The `output_padding` argument must be smaller than `strides`. Received: "
                                     f"output_padding={output_padding}, strides={strides}")  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Make kernel (*kernel_size, filters, channels) and bias (filters,)."""
        channels = self._channels(input_shape)
        self.kernel = self.weight("kernel", (*self.kernel_size, self.filters, channels))
        self.bias = self.weight("bias", (self.filters,)) if self.use_bias else None
        self.built = True

    def _results(self, sizes: Any) -> tuple[Any, ...]:
        return tuple(n if n is None else place(n)[0] for n, place in zip(sizes, self._places()))

    def _places(self) -> list[Any]:
        more = self.output_padding or [None] * self.rank
        each = zip(self.kernel_size, self.strides, self.dilation_rate, more)
        return [partial(transposed, k, s, d, self.padding, p) for k, s, d, p in each]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The larger sizes, ``filters`` channels."""
        return self._shaped(input_shape, self._results(self._sizes(input_shape)), self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x = self._last(inputs)
        sizes, cuts = zip(*(place(n) for n, place in zip(x.shape[1:-1], self._places())))
        pads = tuple((cut, 0) for cut in cuts)
        y = convolve_transpose(x, self.kernel, sizes, self.strides, pads, self.dilation_rate)
        return self._back(self._biased(y))


class Conv1DTranspose(BaseConvTranspose):
    """Transposed convolution over steps.

    Input: (n, steps, channels); with ``data_format="channels_first"`` (n, channels, steps).
    Output: (n, new steps, filters), or (n, filters, new steps).
    """

    rank = 1


class Conv2DTranspose(BaseConvTranspose):
    """Transposed convolution over images.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, new rows, new columns, filters), or (n, filters, new rows, new columns).
    """


class Conv3DTranspose(BaseConvTranspose):
    """Transposed convolution over volumes.

    Input: (n, depth, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, depth, rows,
    columns).
    Output: (n, new depth, new rows, new columns, filters), or (n, filters, new depth, new rows, new columns).
    """

    rank = 3


class BaseDepthwiseConv(_Conv):
    """Each channel with ``depth_multiplier`` filters of its own."""

    causal = False

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: Any = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        if not isinstance(depth_multiplier, int) or depth_multiplier <= 0:
            raise ValueError("Invalid value for argument `depth_multiplier`. Expected a strictly positive value. "
                             f"Received depth_multiplier={depth_multiplier}.")  # fmt: skip
        self._options({
            "depth_multiplier": depth_multiplier, "activation": activation, "use_bias": use_bias,
            "depthwise_initializer": depthwise_initializer, "bias_initializer": bias_initializer,
            "depthwise_regularizer": depthwise_regularizer, "bias_regularizer": bias_regularizer,
            "depthwise_constraint": depthwise_constraint, "bias_constraint": bias_constraint,
        })  # fmt: skip
        self._geometry(kernel_size, strides, padding, data_format, dilation_rate)

    def build(self, input_shape: Any) -> None:
        """Make kernel (*kernel_size, channels, depth_multiplier) and bias."""
        channels = self._channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.add_weight(
            shape, self.depthwise_initializer, regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint, name="kernel",
        )  # fmt: skip
        self.bias = self.weight("bias", (channels * self.depth_multiplier,)) if self.use_bias else None
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Windows along each axis, channels times ``depth_multiplier``."""
        axis = 1 if self.data_format == "channels_first" else -1
        return self._shaped(input_shape, self._lengths(input_shape), input_shape[axis] * self.depth_multiplier)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        self._lengths(tuple(inputs.shape))  # refuses images smaller than the filters
        x = self._last(inputs)
        return self._back(self._biased(depthwise(x, self.kernel, self.strides, self._pads(x), self.dilation_rate)))


def depthwise(x: Tensor, kernel: Tensor, strides: Any, pads: Any, dilation: Any) -> Tensor:
    """Each channel of (n, ..., channels) with filters (..., channels, multiplier) of its own."""
    shape = tuple(kernel.shape)
    filters = kernel.reshape(*shape[:-2], 1, shape[-2] * shape[-1])
    return convolve(x, filters, strides, pads, dilation, shape[-2], "DepthwiseConv")


class DepthwiseConv1D(BaseDepthwiseConv):
    """Depthwise convolution over steps.

    Input: (n, steps, channels); with ``data_format="channels_first"`` (n, channels, steps).
    Output: (n, new steps, channels · depth_multiplier), or with these first.
    """

    rank = 1


class DepthwiseConv2D(BaseDepthwiseConv):
    """Depthwise convolution over images.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, new rows, new columns, channels · depth_multiplier), or with these first.
    """


class BaseSeparableConv(_Conv):
    """A depthwise convolution, then one of kernel size 1 over all channels (Chollet 2017)."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        for what, value in (("depth_multiplier", depth_multiplier), ("filters", filters)):
            if not isinstance(value, int) or value <= 0:
                raise ValueError(f"Invalid value for argument `{what}`. Expected a strictly positive value. Received "
                                 f"{what}={value}.")  # fmt: skip
        self._options({
            "filters": filters, "depth_multiplier": depth_multiplier, "activation": activation, "use_bias": use_bias,
            "depthwise_initializer": depthwise_initializer, "pointwise_initializer": pointwise_initializer,
            "bias_initializer": bias_initializer, "depthwise_regularizer": depthwise_regularizer,
            "pointwise_regularizer": pointwise_regularizer, "bias_regularizer": bias_regularizer,
            "depthwise_constraint": depthwise_constraint, "pointwise_constraint": pointwise_constraint,
            "bias_constraint": bias_constraint,
        })  # fmt: skip
        self._geometry(kernel_size, strides, padding, data_format, dilation_rate)

    def build(self, input_shape: Any) -> None:
        """Make both kernels and the bias."""
        channels = self._channels(input_shape)
        ones = (1,) * self.rank
        middle = channels * self.depth_multiplier
        names = ("depthwise", "pointwise")
        shapes = ((*self.kernel_size, channels, self.depth_multiplier), (*ones, middle, self.filters))
        kernels = [
            self.add_weight(
                shape, getattr(self, f"{n}_initializer"), regularizer=getattr(self, f"{n}_regularizer"),
                constraint=getattr(self, f"{n}_constraint"), name=f"{n}_kernel",
            )
            for n, shape in zip(names, shapes)
        ]  # fmt: skip
        self.depthwise_kernel, self.pointwise_kernel = kernels
        self.bias = self.weight("bias", (self.filters,)) if self.use_bias else None
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Windows along each axis, ``filters`` channels."""
        return self._shaped(input_shape, self._lengths(input_shape), self.filters)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        self._lengths(tuple(inputs.shape))  # refuses images smaller than the filters
        x = self._last(inputs)
        y = depthwise(x, self.depthwise_kernel, self.strides, self._pads(x), self.dilation_rate)
        return self._back(self._biased(convolve(y, self.pointwise_kernel)))


class SeparableConv1D(BaseSeparableConv):
    """Separable convolution over steps.

    Input: (n, steps, channels); with ``data_format="channels_first"`` (n, channels, steps).
    Output: (n, new steps, filters), or (n, filters, new steps).
    """

    rank = 1
    causal = True


class SeparableConv2D(BaseSeparableConv):
    """Separable convolution over images.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, new rows, new columns, filters), or (n, filters, new rows, new columns).
    """


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
Convolution1DTranspose, Convolution2DTranspose = Conv1DTranspose, Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
