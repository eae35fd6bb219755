"""Preprocessing of numbers: rescaling, normalisation, categories, bins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras import config
from gradloom.keras.layers.base import Layer
from gradloom.tensor import Tensor, from_numpy


class Rescaling(Layer):
    """``x`` · scale + offset.

    Input: any shape.
    Output: the same shape.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset
        self.supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x = inputs.to(config.as_dtype(self.compute_dtype))
        scale, offset = (
            v if isinstance(v, int | float) else from_numpy(np.asarray(v, x.dtype.numpy))
            for v in (self.scale, self.offset)
        )
        return x * scale + offset


class Normalization(Layer):
    """Numbers shifted and scaled to mean 0 and variance 1, by statistics that ``adapt`` takes, or that are given.

    Input: any shape.
    Output: the same shape.

    Parameters
    ----------
    axis : axes with statistics of their own; None: one mean and variance for all.
    mean, variance : given ones. invert : the other way round.
    """

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ValueError("When setting values directly, both `mean` and `variance` must be set. Received: "
                             f"mean={mean} and variance={variance}")  # fmt: skip
        axes = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if mean is not None and np.shape(mean) != np.shape(variance):
            raise ValueError("When setting values directly, `mean` and `variance` must have the same shape. Received: "
                             f"mean shape {np.shape(mean)} and variance shape {np.shape(variance)}")  # fmt: skip
        if mean is not None and np.ndim(mean) > len(axes):
            raise ValueError(f"The rank of `mean` must be less than or equal to the number of axes ({len(axes)}). "
                             f"Received: mean shape {np.shape(mean)} for axis {axes}")  # fmt: skip
        self.axis, self.input_mean, self.input_variance, self.invert = axes, mean, variance, invert
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Place for the statistics. ValueError where an axis is not there, or its size is open."""
        rank = len(input_shape)
        if any(not -rank <= a < rank for a in self.axis):
            raise ValueError(f"All `axis` values must be in the range [-ndim, ndim). Received inputs with ndim={rank}, "
                             f"while axis={self.axis}")  # fmt: skip
        self._keep = sorted(a % rank for a in self.axis)
        self._shape = tuple(input_shape[a] for a in self._keep)
        if None in self._shape:
            raise ValueError(f"All `axis` values to be kept must have a known shape. Received axis={self.axis}, "
                             f"inputs.shape={input_shape}")  # fmt: skip
        self._wide_shape = tuple(input_shape[k] if k in self._keep else 1 for k in range(rank))
        if self.input_mean is None:
            self.adapt_mean = self.add_weight(self._shape, "zeros", trainable=False, name="mean")
            self.adapt_variance = self.add_weight(self._shape, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", dtype="int32", trainable=False, name="count")
        self.built = True

    def adapt(self, data: Any) -> None:
        """Take mean and variance of an array (n, ...), or of an iterable of batches, or of (batch, answers).

        Raises
        ------
        ValueError : there is no batch, or one of another shape than those before it or than the layer was built for.
        """
        n, mean, var = 0, np.zeros(()), np.zeros(())
        for a in batches(data):  # Chan et al. 1979
            if not a.size:
                continue
            if not self.built:
                self._build_once(tuple(a.shape) if 0 in self._kept(a.ndim) else (None, *a.shape[1:]))
            if a.ndim != len(self._wide_shape) or tuple(a.shape[k] for k in self._keep) != self._shape:
                raise ValueError(f"adapt: a batch of an incompatible shape, {a.shape}: the axes {self.axis} have the "
                                 f"sizes {self._shape}")  # fmt: skip
            over = tuple(k for k in range(a.ndim) if k not in self._keep)
            m = math.prod(a.shape[k] for k in over)
            mu, v = a.mean(over, dtype=np.float64), a.var(over, dtype=np.float64)
            d = mu - mean
            mean, var = mean + d * m / (n + m), (var * n + v * m) / (n + m) + d * d * n * m / (n + m) ** 2
            n += m
        if not n:
            raise ValueError("adapt() received an empty iterable: give one batch at least")
        self.adapt_mean.assign(mean)
        self.adapt_variance.assign(var)
        self.count.assign(n)

    def _kept(self, rank: int) -> list[int]:
        return [a % rank for a in self.axis if -rank <= a < rank]

    @property
    def mean(self) -> Any:
        """The mean, with an axis for each of the inputs'; None before the layer is built."""
        return self._wide(self.input_mean, "adapt_mean")

    @property
    def variance(self) -> Any:
        """The variance, as :attr:`mean`."""
        return self._wide(self.input_variance, "adapt_variance")

    def _wide(self, given: Any, name: str) -> Any:
        if not self.built:
            return None
        if given is None:
            return getattr(self, name).reshape(*self._wide_shape)
        values = np.broadcast_to(np.asarray(given, np.float32), self._shape)
        return from_numpy(np.array(values).reshape(self._wide_shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x = inputs.to(config.as_dtype(self.compute_dtype))
        mean, var = self.mean.to(x.dtype), self.variance.to(x.dtype)
        deviation = G.clamp(G.sqrt(var), min=config.epsilon())
        return mean + x * deviation if self.invert else (x - mean) / deviation

    def get_config(self) -> dict[str, Any]:
        """Axis, given statistics and direction."""
        values = [None if v is None else np.asarray(v).tolist() for v in (self.input_mean, self.input_variance)]
        found = {"axis": self.axis, "mean": values[0], "variance": values[1], "invert": self.invert}
        return self._base_config() | found


def batches(data: Any, steps: int | None = None) -> Iterator[np.ndarray]:
    """The arrays that a layer adapts to: one, or the inputs of so many batches."""
    if isinstance(data, np.ndarray | Tensor) or (isinstance(data, list | tuple) and not _of_batches(data)):
        data = [list(data) if isinstance(data, tuple) else data]
    for batch in itertools.islice(data, steps):
        found = batch[0] if isinstance(batch, tuple) else batch
        yield np.asarray(found.detach().numpy() if isinstance(found, Tensor) else found)


def _of_batches(data: Any) -> bool:
    """Whether a list holds arrays with an axis, or pairs of which the first is one, and not numbers or texts."""
    first = data[0] if data else None
    return getattr(first[0] if isinstance(first, tuple) and first else first, "ndim", 0) > 0


def checked_mode(mode: str, *allowed: str) -> str:
    """How numbers come out. ValueError for what is not offered."""
    if mode not in allowed:
        raise ValueError(f"Invalid value for argument `output_mode`. Expected one of {set(allowed)}. Received: "
                         f"output_mode={mode}")  # fmt: skip
    return mode


def encoded(index: Tensor, depth: int, mode: str, dtype: Any, weights: Any = None) -> Tensor:
    """Numbers as one-hot, multi-hot or counted vectors of a length; each row of the last axis is one sample."""
    hot = (index.unsqueeze(-1) == G.arange(depth)).to(dtype)
    if mode == "one_hot":
        return hot.squeeze(-2) if index.ndim > 1 and index.shape[-1] == 1 else hot
    if weights is not None:
        hot = hot * weights.to(dtype).unsqueeze(-1)
    axis = -2
    return G.amax(hot, axis) if mode == "multi_hot" else G.sum(hot, axis)


class CategoryEncoding(Layer):
    """Class numbers as one-hot, multi-hot or counted vectors.

    Input: whole numbers (..., k).
    Output: (..., num_tokens) for "multi_hot" and "count"; (..., k, num_tokens) for "one_hot", where k = 1 is left
    out.

    Parameters
    ----------
    num_tokens : numbers run from 0 to ``num_tokens - 1``.
    output_mode : "one_hot", "multi_hot" or "count".
    """

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if output_mode == "binary":
            output_mode = "multi_hot"
        checked_mode(output_mode, "one_hot", "multi_hot", "count")
        if num_tokens is None:
            raise ValueError("num_tokens must be set to use this layer. If the number of tokens is not known "
                             "beforehand, use the IntegerLookup layer instead.")  # fmt: skip
        if num_tokens < 1:
            raise ValueError(f"`num_tokens` must be >= 1. Received: num_tokens={num_tokens}.")
        if sparse:
            raise NotImplementedError("sparse=True: sparse tensors are not offered")
        self.num_tokens, self.output_mode, self.sparse = num_tokens, output_mode, sparse
        self.autocast, self.wants_dtype = False, "int64"

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The last axis becomes the tokens."""
        shape = tuple(input_shape)
        if self.output_mode == "one_hot":
            return (*shape[:-1], self.num_tokens) if shape and shape[-1] == 1 and len(shape) > 1 else (
                *shape, self.num_tokens)  # fmt: skip
        return (*shape[:-1], self.num_tokens) if len(shape) else (self.num_tokens,)

    def call(self, inputs: Any, count_weights: Any = None) -> Tensor:
        """See the class."""
        index = inputs.to(dtypes.int64)
        if count_weights is not None and self.output_mode != "count":
            raise ValueError("`count_weights` is not used when `output_mode` is not `'count'`. Received: "
                             f"count_weights={count_weights}")  # fmt: skip
        if index.ndim == 0:
            index = index.unsqueeze(0)
        return encoded(index, self.num_tokens, self.output_mode, config.as_dtype(self.compute_dtype), count_weights)


class Discretization(Layer):
    """Numbers as the bins that they fall into.

    Input: numbers of any shape, (..., k).
    Output: of the same shape for "int"; (..., bins) for "multi_hot" and "count"; (..., k, bins) for "one_hot",
    where k = 1 is left out.

    Parameters
    ----------
    bin_boundaries : between the bins; or ``num_bins`` bins of equal shares, which ``adapt`` finds.
    output_mode : "int", "one_hot", "multi_hot" or "count".
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        if dtype is None:
            dtype = "int64" if output_mode == "int" else config.floatx()
        super().__init__(name=name, dtype=dtype)
        if sparse:
            raise NotImplementedError("sparse=True: sparse tensors are not offered")
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError("exactly one of `bin_boundaries` and `num_bins` must be given. Both `num_bins` and "
                             f"`bin_boundaries`: {num_bins} and {bin_boundaries}")  # fmt: skip
        checked_mode(output_mode, "int", "one_hot", "multi_hot", "count")
        self.input_bin_boundaries, self.num_bins, self.epsilon = bin_boundaries, num_bins, epsilon
        self.output_mode, self.sparse = output_mode, sparse
        self.bin_boundaries = None if bin_boundaries is None else [float(b) for b in bin_boundaries]
        self.autocast = False

    @property
    def input_dtype(self) -> str:
        """Numbers come as floats."""
        return config.floatx()

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find boundaries between equal shares of the data, or of its first ``steps`` batches."""
        if self.input_bin_boundaries is not None:
            raise ValueError("Cannot adapt a Discretization layer that has been initialized with `bin_boundaries`, use "
                             "`num_bins` instead.")  # fmt: skip
        values = np.concatenate([np.asarray(a, np.float64).reshape(-1) for a in batches(data, steps)])
        assert self.num_bins is not None
        shares = np.arange(1, self.num_bins) / self.num_bins
        self.bin_boundaries = np.quantile(values, shares).tolist()

    def compute_output_spec(self, inputs: Any) -> Any:
        """Of the dtype of the layer."""
        from gradloom.keras.variables import KerasTensor

        return KerasTensor(self.compute_output_shape(inputs.shape), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same, or with the bins last."""
        if self.output_mode == "int":
            return tuple(input_shape)
        depth = self.num_bins if self.num_bins is not None else len(self.bin_boundaries or []) + 1
        shape = tuple(input_shape)
        if self.output_mode == "one_hot" and shape[-1] != 1:
            return (*shape, depth)
        return (*shape[:-1], depth)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        if self.bin_boundaries is None:
            raise ValueError("You need to call .adapt(dataset) on the layer before using it, or give bin_boundaries")
        edges = from_numpy(np.asarray(self.bin_boundaries, np.float32))
        x = inputs.to(dtypes.float32)
        index = (x.unsqueeze(-1) >= edges).to(dtypes.int64).sum(-1)
        if self.output_mode == "int":
            return index.to(config.as_dtype(self.compute_dtype))
        return encoded(index, len(self.bin_boundaries) + 1, self.output_mode, config.as_dtype(self.compute_dtype))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; boundaries that were found too."""
        return {
            "bin_boundaries": self.bin_boundaries,
            "num_bins": self.num_bins if self.bin_boundaries is None else None,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
            "name": self.name,
            "dtype": self.dtype,
        }
