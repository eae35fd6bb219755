"""Layers without weights that change shapes: flatten, reshape, permute, repeat, crop, pad and enlarge."""

from __future__ import annotations

import math
from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.keras import config
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.specs import InputSpec
from gradloom.nn import functional as F
from gradloom.tensor import Tensor


class Flatten(Layer):
    """(n, ...) to (n, product of the rest).

    Input: (n, ...).
    Output: (n, product of the other sizes).
    """

    def __init__(self, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = config.checked_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the class."""
        rest = tuple(input_shape[1:])
        return (input_shape[0], None if None in rest else math.prod(rest))

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x = inputs
        if self.data_format == "channels_first" and x.ndim > 2:
            x = G.permute(x, (0, *range(2, x.ndim), 1))
        return x if x.ndim == 2 else x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Reshape(Layer):
    """(n, ...) to (n, *target_shape); one entry of it may be -1.

    Input: (n, ...).
    Output: (n, *target_shape).
    """

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        target = tuple(target_shape)
        if target.count(-1) > 1:
            raise ValueError("The `target_shape` argument must not contain more than one `-1` value, at most one "
                             f"unknown dimension. Received: target_shape={target}")  # fmt: skip
        if any(not hasattr(d, "__index__") or d < -1 for d in target):
            raise ValueError("Each entry of `target_shape` must be a non-negative integer, or -1 for what remains. "
                             f"Received: target_shape={target}")  # fmt: skip
        self.target_shape = target

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the class. ShapeError where the sizes differ."""
        if None in input_shape[1:]:
            return (input_shape[0], *(None if d == -1 else d for d in self.target_shape))
        size = math.prod(input_shape[1:])
        known = math.prod(d for d in self.target_shape if d != -1)
        if size != known if -1 not in self.target_shape else known == 0 or size % known:
            raise ShapeError(
                f"layer {self.name!r} (Reshape): samples of shape {tuple(input_shape[1:])} have {size} elements, "
                f"which do not fill {self.target_shape}",
                code="keras.reshape",
                hint="the product of target_shape must be that of the sample's shape",
            )
        return (input_shape[0], *(size // known if d == -1 else d for d in self.target_shape))

    def compute_output_spec(self, inputs: Any) -> Any:
        """Of the dtype that came in."""
        from gradloom.keras.variables import KerasTensor

        return KerasTensor(self.compute_output_shape(inputs.shape), inputs.dtype)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        return inputs.reshape(inputs.shape[0], *self.compute_output_shape((None, *inputs.shape[1:]))[1:])


class Permute(Layer):
    """Axes in another order, counted from 1, the batch's being left out.

    Input: (n, ...).
    Output: (n, ...), the axes in the order of ``dims``.
    """

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(dims) != list(range(1, len(dims) + 1)):
            raise ValueError("Invalid permutation argument `dims` for Permute Layer. The set of indices in `dims` must "
                             f"be consecutive and start from 1. Received dims={dims}")  # fmt: skip
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the class."""
        return (input_shape[0], *(input_shape[d] for d in self.dims))

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        return G.permute(inputs, (0, *self.dims))


class RepeatVector(Layer):
    """(n, features) to (n, times, features).

    Input: (batch, features).
    Output: (batch, n, features).
    """

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(n, int):
            raise TypeError(f"Expected an integer value for `n`, got {type(n)}.")
        if n < 1:
            raise ValueError(f"The `n` argument should be a positive integer. Received: n={n}")
        self.n = n
        self.input_spec = InputSpec(ndim=2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the class."""
        return (input_shape[0], self.n, input_shape[1])

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        n, features = inputs.shape
        return G.broadcast_to(inputs.unsqueeze(1), (n, self.n, features))


def pairs(value: Any, rank: int, what: str) -> tuple[tuple[int, int], ...]:
    """Two numbers for each of ``rank`` axes, of one number, one for each axis, or a pair for each."""
    if isinstance(value, int):
        found: Any = ((value, value),) * rank
    elif rank == 1 and isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int) for v in value):
        found = (tuple(value),)
    elif rank == 1:
        raise ValueError(f"The `{what}` argument must be a number or a tuple of 2 integers. Received: {what}={value}")
    elif not isinstance(value, list | tuple) or len(value) != rank:
        raise ValueError(f"`{what}` should have {'two' if rank == 2 else rank} elements. Received: {what}={value}.")
    else:
        found = tuple((v, v) if isinstance(v, int) else tuple(v) for v in value)
    if any(len(p) != 2 or any(not isinstance(v, int) or v < 0 for v in p) for p in found):
        raise ValueError(f"`{what}` must be numbers from 0 upward, or pairs of them. Received: {what}={value}")
    return found


class _Spatial(Layer):
    """Base: axes between batch and channels, channels last or first."""

    rank = 1

    def _format(self, data_format: Any) -> None:
        self.data_format = "channels_last" if self.rank == 1 and data_format is None else config.checked_format(
            data_format
        )  # fmt: skip
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def _first(self) -> int:
        """The first spatial axis."""
        return 2 if self.data_format == "channels_first" else 1


class _Cropping(_Spatial):
    """Base of the croppings."""

    def _set(self, cropping: Any, data_format: Any = None) -> None:
        self._format(data_format)
        self._pairs = pairs(cropping, self.rank, "cropping")
        self.cropping = self._pairs[0] if self.rank == 1 else self._pairs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """What is left. ValueError where that is nothing."""
        found = list(input_shape)
        for k, (a, b) in enumerate(self._pairs, self._first()):
            if found[k] is not None:
                found[k] -= a + b
                if found[k] <= 0:
                    raise ValueError("Values in `cropping` argument should be smaller than the corresponding spatial "
                                     f"dimension of the input: the `cropping` parameter of `{type(self).__name__}` "
                                     "layer must be smaller than what there is. Received: input_shape="
                                     f"{input_shape}, cropping={self.cropping}")  # fmt: skip
        return tuple(found)

    def call(self, inputs: Tensor) -> Tensor:
        """What is left."""
        self.compute_output_shape(tuple(inputs.shape))
        index: list[Any] = [slice(None)] * inputs.ndim
        for k, (a, b) in enumerate(self._pairs, self._first()):
            index[k] = slice(a, inputs.shape[k] - b)
        return inputs[tuple(index)]


class Cropping1D(_Cropping):
    """Cut steps off (n, steps, channels).

    Input: (n, steps, channels).
    Output: (n, new steps, channels).
    """

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(cropping)


class Cropping2D(_Cropping):
    """Cut rows and columns off images.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, new rows, new columns, channels), or with the channels first.
    """

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(cropping, data_format)


class Cropping3D(_Cropping):
    """Cut the sides off volumes.

    Input: (n, depth, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, depth, rows,
    columns).
    Output: (n, new depth, new rows, new columns, channels), or with the channels first.
    """

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(cropping, data_format)


class _Padding(_Spatial):
    """Base of the paddings with zeros."""

    def _set(self, padding: Any, data_format: Any = None) -> None:
        self._format(data_format)
        self._pairs = pairs(padding, self.rank, "padding")
        self.padding = self._pairs[0] if self.rank == 1 else self._pairs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The larger sizes."""
        found = list(input_shape)
        for k, (a, b) in enumerate(self._pairs, self._first()):
            found[k] = None if found[k] is None else found[k] + a + b
        return tuple(found)

    def call(self, inputs: Tensor) -> Tensor:
        """With zeros around."""
        after = inputs.ndim - self._first() - self.rank
        flat = [n for pair in reversed((*self._pairs, *(((0, 0),) * after))) for n in pair]
        return F.pad(inputs, flat)


class ZeroPadding1D(_Padding):
    """Zeros before and behind the steps of (n, steps, channels).

    Input: (n, steps, channels).
    Output: (n, new steps, channels).
    """

    def __init__(self, padding: Any = 1, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(padding, data_format)


class ZeroPadding2D(_Padding):
    """Zeros around images.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, new rows, new columns, channels), or with the channels first.
    """

    rank = 2

    def __init__(self, padding: Any = (1, 1), data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(padding, data_format)


class ZeroPadding3D(_Padding):
    """Zeros around volumes.

    Input: (n, depth, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, depth, rows,
    columns).
    Output: (n, new depth, new rows, new columns, channels), or with the channels first.
    """

    rank = 3

    def __init__(self, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(padding, data_format)


class _UpSampling(_Spatial):
    """Base of the enlargements by whole factors."""

    def _set(self, size: Any, data_format: Any = None) -> None:
        self._format(data_format)
        self._sizes = (size,) * self.rank if isinstance(size, int) else tuple(size)
        if len(self._sizes) != self.rank or any(not isinstance(n, int) or n < 1 for n in self._sizes):
            raise ValueError(f"The `size` argument must be a tuple of {self.rank} integers. Received: size={size}")
        self.size = self._sizes[0] if self.rank == 1 else self._sizes

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The larger sizes."""
        found = list(input_shape)
        for k, n in enumerate(self._sizes, self._first()):
            found[k] = None if found[k] is None else found[k] * n
        return tuple(found)

    def call(self, inputs: Tensor) -> Tensor:
        """Each value so many times."""
        x = inputs
        for k, n in enumerate(self._sizes, self._first()):
            if n == 1:
                continue
            shape = tuple(x.shape)
            wide = G.broadcast_to(x.reshape(*shape[: k + 1], 1, *shape[k + 1 :]), (*shape[: k + 1], n, *shape[k + 1 :]))
            x = wide.reshape(*shape[:k], shape[k] * n, *shape[k + 1 :])
        return x


class UpSampling1D(_UpSampling):
    """Each step of (n, steps, channels) so many times.

    Input: (n, steps, channels).
    Output: (n, new steps, channels).
    """

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"Expected an integer value for `size`, got {type(size)}.")
        if size < 1:
            raise ValueError(f"The `size` argument should be a positive integer. Received: size={size}")
        self._set(size)


class UpSampling2D(_UpSampling):
    """Images enlarged: each pixel repeated, or interpolated.

    Input: (n, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, rows, columns).
    Output: (n, new rows, new columns, channels), or with the channels first.

    Parameters
    ----------
    interpolation : "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5".
    """

    rank = 2

    def __init__(
        self, size: Any = (2, 2), data_format: Any = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._set(size, data_format)
        kinds = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
        if interpolation.lower() not in kinds:
            raise ValueError(f"interpolation={interpolation!r}: expected one of {', '.join(map(repr, kinds))}")
        self.interpolation = interpolation.lower()

    def call(self, inputs: Tensor) -> Tensor:
        """The larger images."""
        if self.interpolation == "nearest":
            return super().call(inputs)
        from gradloom.keras.images import resize

        a = self._first()
        sizes = tuple(n * f for n, f in zip(inputs.shape[a : a + 2], self._sizes))
        return resize(inputs, sizes, self.interpolation, False, self.data_format)


class UpSampling3D(_UpSampling):
    """Each voxel so many times.

    Input: (n, depth, rows, columns, channels); with ``data_format="channels_first"`` (n, channels, depth, rows,
    columns).
    Output: (n, new depth, new rows, new columns, channels), or with the channels first.
    """

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(size, data_format)
