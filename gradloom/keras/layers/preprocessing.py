"""Preprocessing of numbers: rescaling, normalisation, categories, bins, hashes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras import config
from gradloom.keras.layers.base import Layer
from gradloom.keras.names import lookup
from gradloom.tensor import Tensor, from_numpy


class Rescaling(Layer):
    """``x`` · scale + offset."""

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
        self.axis, self.input_mean, self.input_variance, self.invert = axes, mean, variance, invert
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Place for the statistics."""
        rank = len(input_shape)
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
        """Take mean and variance of an array (n, ...), or of an iterable of batches."""
        batches = [data] if isinstance(data, np.ndarray | Tensor | list) else list(data)
        arrays = [np.asarray(b[0] if isinstance(b, tuple) else b, np.float64) for b in batches]
        if not self.built:
            self._build_once((None, *arrays[0].shape[1:]))
        over = tuple(k for k in range(arrays[0].ndim) if k not in self._keep)
        n, mean, var = 0, np.zeros(self._shape), np.zeros(self._shape)
        for a in arrays:  # Chan et al. 1979
            m = a.size // max(int(np.prod(self._shape)), 1)
            mu, v = a.mean(over), a.var(over)
            d = mu - mean
            mean, var = mean + d * m / (n + m), (var * n + v * m) / (n + m) + d * d * n * m / (n + m) ** 2
            n += m
        self.adapt_mean.assign(mean)
        self.adapt_variance.assign(var)
        self.count.assign(n)

    @property
    def mean(self) -> Any:
        """The mean."""
        return self._given(self.input_mean) if self.input_mean is not None else self.adapt_mean

    @property
    def variance(self) -> Any:
        """The variance."""
        return self._given(self.input_variance) if self.input_variance is not None else self.adapt_variance

    def _given(self, value: Any) -> Tensor:
        return from_numpy(np.array(np.broadcast_to(np.asarray(value, np.float32), self._shape)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return tuple(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """See the class."""
        x = inputs.to(config.as_dtype(self.compute_dtype))
        mean, var = (v.to(x.dtype).reshape(*self._wide_shape) for v in (self.mean, self.variance))
        deviation = G.clamp(G.sqrt(var), min=config.epsilon())
        return mean + x * deviation if self.invert else (x - mean) / deviation

    def get_config(self) -> dict[str, Any]:
        """Axis, given statistics and direction."""
        values = [None if v is None else np.asarray(v).tolist() for v in (self.input_mean, self.input_variance)]
        found = {"axis": self.axis, "mean": values[0], "variance": values[1], "invert": self.invert}
        return self._base_config() | found


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
        lookup("output_mode", output_mode, {"one_hot": 1, "multi_hot": 1, "count": 1})
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
        lookup("output_mode", output_mode, {"int": 1, "one_hot": 1, "multi_hot": 1, "count": 1})
        self.input_bin_boundaries, self.num_bins, self.epsilon = bin_boundaries, num_bins, epsilon
        self.output_mode, self.sparse = output_mode, sparse
        self.bin_boundaries = None if bin_boundaries is None else [float(b) for b in bin_boundaries]
        self.autocast = False

    @property
    def input_dtype(self) -> str:
        """Numbers come as floats."""
        return config.floatx()

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find boundaries between equal shares of the data."""
        if self.input_bin_boundaries is not None:
            raise ValueError("Cannot adapt a Discretization layer that has been initialized with `bin_boundaries`, use "
                             "`num_bins` instead.")  # fmt: skip
        parts = [data] if isinstance(data, np.ndarray | Tensor | list) else list(data)
        values = np.concatenate([np.asarray(p, np.float64).reshape(-1) for p in parts])
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


class Hashing(Layer):
    """Texts and numbers as numbers of bins, by a hash. The bins are not those that TensorFlow's hash gives.

    Parameters
    ----------
    num_bins : how many. mask_value : this value alone gets bin 0. salt : changes the hash.
    """

    takes_texts = True

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "int64" if output_mode == "int" else None)
        super().__init__(**kwargs)
        if num_bins is None or num_bins <= 0:
            raise ValueError(f"The `num_bins` for `Hashing` cannot be `None` or non-positive values. Received: "
                             f"num_bins={num_bins}.")  # fmt: skip
        if sparse:
            raise NotImplementedError("sparse=True: sparse tensors are not offered")
        lookup("output_mode", output_mode, {"int": 1, "one_hot": 1, "multi_hot": 1, "count": 1})
        self.num_bins, self.mask_value, self.salt, self.output_mode = num_bins, mask_value, salt, output_mode
        self.sparse, self.autocast, self.wants_dtype = sparse, False, "string"

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same, or with the bins last."""
        return tuple(input_shape) if self.output_mode == "int" else (*input_shape[:-1], self.num_bins)

    def call(self, inputs: Any) -> Tensor:
        """See the class."""
        array = np.asarray(inputs.numpy() if isinstance(inputs, Tensor) else inputs)
        unique, places = np.unique(array, return_inverse=True)
        bins = np.array([self._bin(v) for v in unique.tolist()], np.int64)
        index = from_numpy(np.ascontiguousarray(bins[places].reshape(array.shape)))
        if self.output_mode == "int":
            return index.to(config.as_dtype(self.compute_dtype))
        return encoded(index, self.num_bins, self.output_mode, config.as_dtype(self.compute_dtype))

    def _bin(self, value: Any) -> int:
        if self.mask_value is not None and value == self.mask_value:
            return 0
        digest = hashlib.blake2b(f"{self.salt!r}|{value}".encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        if self.mask_value is not None and self.num_bins > 1:
            return 1 + number % (self.num_bins - 1)
        return number % self.num_bins
