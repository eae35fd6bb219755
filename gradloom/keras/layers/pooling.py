"""Pooling: the largest or the mean of windows, of everything, or of as many windows as are asked for."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.functions.pooling import window_max, window_sum
from gradloom.keras import config
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.convolutional import checked_padding, ends, length, numbers
from gradloom.keras.layers.core import floats
from gradloom.keras.layers.specs import InputSpec
from gradloom.nn import functional as F
from gradloom.ops.windows import Span
from gradloom.tape import composite
from gradloom.tensor import Tensor


class _Pooled(Layer):
    """Base: axes between batch and channels."""

    rank = 2

    def _format(self, data_format: Any) -> None:
        self.data_format = config.checked_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _axes(self) -> tuple[int, ...]:
        first = 2 if self.data_format == "channels_first" else 1
        return tuple(range(first, first + self.rank))


@composite
def _max(x: Tensor, axes: Any, spans: Any) -> Tensor:
    return window_max(x, axes, spans).values


@composite
def _mean(x: Tensor, axes: Any, spans: Any) -> Tensor:
    y = window_sum(x, axes, spans)
    for axis, s in zip(axes, spans):
        if s.low == 0 and (s.number - 1) * s.step + s.size <= s.length:
            y = y * (1.0 / s.size)
            continue
        # at the edges fewer positions count
        first = G.arange(s.number) * s.step - s.low
        inside = G.clamp(first + s.size, max=s.length) - G.clamp(first, min=0)
        shape = [1] * x.ndim
        shape[axis] = s.number
        y = y / G.cast(inside, y.dtype).reshape(*shape)
    return y


def pooled(x: Tensor, axes: tuple[int, ...], size: Any, strides: Any, padding: str, largest: bool) -> Tensor:
    """Windows over some axes of a tensor, each its largest entry or its mean; what is outside does not count."""
    spans = []
    for axis, k, s in zip(axes, size, strides):
        n = x.shape[axis]
        low, _ = ends(n, k, s, 1, padding)
        spans.append(Span(n, k, s, 1, low, length(n, k, s, 1, padding)))
    return (_max if largest else _mean)(x, tuple(axes), tuple(spans))


class BasePooling(_Pooled):
    """Windows over the inputs.

    Parameters
    ----------
    pool_size : one number, or one for each axis. strides : as the windows are large, where None.
    padding : "valid", or "same", in which windows reach beyond the edges.
    """

    largest = True

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.pool_size = numbers(pool_size, self.rank, "pool_size")
        self.strides = self.pool_size if strides is None else numbers(strides, self.rank, "strides")
        self.padding = checked_padding(padding)
        self._format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Windows along each axis."""
        found = list(input_shape)
        for axis, k, s in zip(self._axes(), self.pool_size, self.strides):
            n = length(found[axis], k, s, 1, self.padding)
            if n is not None and n <= 0:
                raise ValueError(f"layer {self.name!r} ({type(self).__name__}): inputs of shape {tuple(input_shape)} "
                                 f"are smaller than the windows {self.pool_size}: Computed output size would be "
                                 "zero or negative")  # fmt: skip
            found[axis] = n
        return tuple(found)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        self.compute_output_shape(tuple(inputs.shape))
        x = inputs if self.largest else floats(inputs, self)
        return pooled(x, self._axes(), self.pool_size, self.strides, self.padding, self.largest)


def _shapes(rank: int) -> str:
    """What goes in and what comes out, for a docstring."""
    axes = ("steps", "rows, columns", "depth, rows, columns")[rank - 1]
    new = ", ".join(f"new {a}" for a in axes.split(", "))
    return f"""
    Input: (n, {axes}, channels); with ``data_format="channels_first"`` (n, channels, {axes}).
    Output: (n, {new}, channels), or with the channels first.
    """


def _pooling(rank: int, largest: bool) -> Any:
    kind = "Max" if largest else "Average"
    what = "The largest entry" if largest else "The mean"
    over = ("steps", "images", "volumes")[rank - 1]
    body = {
        "rank": rank,
        "largest": largest,
        "__module__": __name__,
        "__doc__": f"{what} of windows over {over}.\n{_shapes(rank)}",
    }
    return type(f"{kind}Pooling{rank}D", (BasePooling,), body)


MaxPooling1D: Any = _pooling(1, True)
MaxPooling2D: Any = _pooling(2, True)
MaxPooling3D: Any = _pooling(3, True)
AveragePooling1D: Any = _pooling(1, False)
AveragePooling2D: Any = _pooling(2, False)
AveragePooling3D: Any = _pooling(3, False)


class BaseGlobalPooling(_Pooled):
    """One number a channel.

    Parameters
    ----------
    keepdims : whether the axes stay, with size 1.
    """

    largest = True

    def __init__(self, data_format: Any = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keepdims = keepdims
        self._format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """(n, channels), or with axes of size 1."""
        axes = self._axes()
        found = [1 if k in axes else n for k, n in enumerate(input_shape)]
        return tuple(found) if self.keepdims else tuple(n for k, n in enumerate(found) if k not in axes)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        if self.largest:
            return G.amax(inputs, self._axes(), self.keepdims)
        return G.mean(floats(inputs, self), self._axes(), self.keepdims)


class GlobalMaxPooling1D(BaseGlobalPooling):
    """The largest entry of each channel over all steps.

    Input: (n, steps, channels); with ``data_format="channels_first"`` (n, channels, steps).
    Output: (n, channels); with ``keepdims`` (n, 1, channels).
    """

    rank = 1


class GlobalMaxPooling2D(BaseGlobalPooling):
    """The largest entry of each channel of images.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, channels); with ``keepdims`` (n, 1, 1, channels).
    """


class GlobalMaxPooling3D(BaseGlobalPooling):
    """The largest entry of each channel of volumes.

    Input: (n, depth, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, depth, rows,
    columns).
    Output: (n, channels); with ``keepdims`` (n, 1, 1, 1, channels).
    """

    rank = 3


class GlobalAveragePooling1D(BaseGlobalPooling):
    """The mean of each channel over all steps; steps that a mask leaves out do not count.

    Input: (n, steps, channels); with ``data_format="channels_first"`` (n, channels, steps).
    Output: (n, channels); with ``keepdims`` (n, 1, channels).
    """

    rank = 1
    largest = False

    def __init__(self, data_format: Any = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(data_format, keepdims, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        """See the class."""
        if mask is None:
            return super().call(inputs)
        axis = self._axes()[0]
        weight = mask.to(inputs.dtype).unsqueeze(2 if axis == 1 else 1)
        total = (inputs * weight).sum(axis, keepdim=self.keepdims)
        return total / weight.sum(axis, keepdim=self.keepdims)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """None: the steps are gone."""
        return None


class GlobalAveragePooling2D(BaseGlobalPooling):
    """The mean of each channel of images.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, channels); with ``keepdims`` (n, 1, 1, channels).
    """

    largest = False


class GlobalAveragePooling3D(BaseGlobalPooling):
    """The mean of each channel of volumes.

    Input: (n, depth, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, depth, rows,
    columns).
    Output: (n, channels); with ``keepdims`` (n, 1, 1, 1, channels).
    """

    rank = 3
    largest = False


class BaseAdaptivePooling(_Pooled):
    """As many windows as ``output_size`` says, spread evenly."""

    largest = True

    def __init__(self, output_size: Any, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = numbers(output_size, self.rank, "output_size")
        self._format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The sizes asked for."""
        found = list(input_shape)
        for axis, n in zip(self._axes(), self.output_size):
            found[axis] = n
        return tuple(found)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x = floats(inputs, self)
        last = self.data_format == "channels_last"
        if last:
            x = G.permute(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))
        kind = "max" if self.largest else "avg"
        y = getattr(F, f"adaptive_{kind}_pool{self.rank}d")(x, self.output_size)
        return G.permute(y, (0, *range(2, y.ndim), 1)) if last else y


def _adaptive(rank: int, largest: bool) -> Any:
    kind = "Max" if largest else "Average"
    what = "the largest entry" if largest else "the mean"
    body = {"rank": rank, "largest": largest, "__module__": __name__,
            "__doc__": f"A given number of windows over {rank} axes, each {what}.\n{_shapes(rank)}"}  # fmt: skip
    return type(f"Adaptive{kind}Pooling{rank}D", (BaseAdaptivePooling,), body)


AdaptiveMaxPooling1D: Any = _adaptive(1, True)
AdaptiveMaxPooling2D: Any = _adaptive(2, True)
AdaptiveMaxPooling3D: Any = _adaptive(3, True)
AdaptiveAveragePooling1D: Any = _adaptive(1, False)
AdaptiveAveragePooling2D: Any = _adaptive(2, False)
AdaptiveAveragePooling3D: Any = _adaptive(3, False)

MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
