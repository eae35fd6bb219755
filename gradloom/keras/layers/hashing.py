"""Preprocessing by hashes: texts and numbers as numbers of bins, alone or crossed. The bins are TensorFlow's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.keras import config
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.fingerprints import fingerprint, joined, keyed
from gradloom.keras.layers.preprocessing import checked_mode, encoded
from gradloom.keras.symbolic import inferring, unseen
from gradloom.tensor import Tensor, from_numpy

_CROSSED = 0xDECAFCAFFE  # what TensorFlow's crossing of columns begins with


def key_of(salt: Any) -> tuple[int, int] | None:
    """The key of a hash: None for none, one number twice, or two numbers."""
    if salt is None:
        return None
    if isinstance(salt, int | np.integer):
        return int(salt), int(salt)
    if isinstance(salt, tuple | list) and len(salt) == 2:
        return int(salt[0]), int(salt[1])
    raise ValueError("The `salt` argument for `Hashing` can only be a tuple of size 2 integers, or a single integer. "
                     f"Received: salt={salt}")  # fmt: skip


def bin_of(value: Any, num_bins: int, key: tuple[int, int] | None = None) -> int:
    """The bin of a text or a number."""
    return (fingerprint(value) if key is None else keyed(value, key)) % num_bins


def _plain(x: Any) -> np.ndarray:
    """Texts and whole numbers as an array; bytes as texts."""
    array = np.asarray(x.detach().numpy() if isinstance(x, Tensor) else x)
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _each(array: np.ndarray, found: Callable[[Any], int]) -> np.ndarray:
    """What is found for each value, once for equal ones."""
    flat = array.reshape(-1).tolist()
    known = {v: found(v) for v in set(flat)}
    return np.array([known[v] for v in flat], np.int64).reshape(array.shape)


class Hashing(Layer):
    """Texts and whole numbers as numbers of bins: by FarmHash, with a salt by SipHash.

    Input: texts or whole numbers of any shape, (..., n).
    Output: of the same shape for "int"; (..., num_bins) for "multi_hot" and "count"; (..., n, num_bins) for "one_hot",
    where n = 1 is left out.

    Parameters
    ----------
    num_bins : how many. mask_value : this value alone gets bin 0. salt : a number or two.
    """

    takes_texts = True

    def __init__(
        self, num_bins: int, mask_value: Any = None, salt: Any = None, output_mode: str = "int", sparse: bool = False,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = "int64" if output_mode == "int" else config.floatx()
        super().__init__(**kwargs)
        if output_mode == "int" and not self.compute_dtype.startswith("int"):
            raise ValueError('When `output_mode="int"`, `dtype` should be an integer type, "int32" or "int64". '
                             f"Received: dtype={self.compute_dtype}")  # fmt: skip
        if num_bins is None or num_bins <= 0:
            raise ValueError("The `num_bins` for `Hashing` cannot be `None` or non-positive values. Received: "
                             f"num_bins={num_bins}.")  # fmt: skip
        if sparse:
            raise NotImplementedError("sparse=True: sparse tensors are not offered")
        checked_mode(output_mode, "int", "one_hot", "multi_hot", "count")
        self.num_bins, self.mask_value, self.output_mode = num_bins, mask_value, output_mode
        key = key_of(salt)
        self.salt = None if key is None else list(key)
        self.sparse, self.autocast, self.wants_dtype = sparse, False, "string"

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the class."""
        return coded_shape(input_shape, self.num_bins, self.output_mode)

    def call(self, inputs: Any) -> Tensor:
        """See the class."""
        if inferring():
            return unseen(self, inputs)
        array = _plain(inputs)
        if array.dtype.kind == "f":
            raise ValueError(f"Hashing takes texts and whole numbers, and was given {array.dtype}")
        index = from_numpy(np.ascontiguousarray(_each(array, self._bin)))
        dtype = config.as_dtype(self.compute_dtype)
        if self.output_mode == "int":
            return index.to(dtype)
        return encoded(index if index.ndim else index.reshape(1), self.num_bins, self.output_mode, dtype)

    def _bin(self, value: Any) -> int:
        key = key_of(self.salt)
        if self.mask_value is None:
            return bin_of(value, self.num_bins, key)
        if value == self.mask_value:
            return 0
        return 1 + bin_of(value, self.num_bins - 1, key) if self.num_bins > 1 else 0


class HashedCrossing(Layer):
    """Columns of texts or whole numbers crossed: each combination gets a bin.

    Input: a list of two or more inputs, each (), (n,) or (n, 1).
    Output: of that shape for "int"; (num_bins,) or (n, num_bins) for "one_hot".
    """

    takes_texts = True

    def __init__(
        self, num_bins: int, output_mode: str = "int", sparse: bool = False, name: str | None = None,
        dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if dtype is None:
            dtype = "int64" if output_mode == "int" else config.floatx()
        super().__init__(name=name, dtype=dtype, **kwargs)
        if sparse:
            raise NotImplementedError("sparse=True: sparse tensors are not offered")
        checked_mode(output_mode, "int", "one_hot")
        self.num_bins, self.output_mode, self.sparse = num_bins, output_mode, sparse
        self.autocast = False

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See the class."""
        if len(input_shape) < 2 or not all(isinstance(s, tuple | list) for s in input_shape):
            raise ValueError(f"Expected as input a list/tuple of 2 tensors. Received input_shape={input_shape}")
        if len({tuple(s) for s in input_shape}) > 1:
            raise ValueError("Expected the two input tensors to have identical shapes. Received input_shape="
                             f"{input_shape}")  # fmt: skip
        return coded_shape(input_shape[0], self.num_bins, self.output_mode)

    def call(self, inputs: Any) -> Tensor:
        """See the class."""
        if not isinstance(inputs, list | tuple):
            raise ValueError(
                f"`HashedCrossing` should be called on a list or tuple of inputs. Received: inputs={inputs}"
            )
        if len(inputs) < 2:
            raise ValueError(f"`HashedCrossing` should be called on at least two inputs. Received: inputs={inputs}")
        if inferring():
            return unseen(self, inputs)
        columns = [_plain(x) for x in inputs]
        shape = columns[0].shape
        if len(shape) > 2 or (len(shape) == 2 and shape[-1] != 1):
            raise ValueError("All `HashedCrossing` inputs should have shape `()`, `(batch_size)` or `(batch_size, 1)`. "
                             f"Received: inputs={inputs}")  # fmt: skip
        if any(c.shape != shape for c in columns):
            raise ValueError(f"All `HashedCrossing` inputs should have equal shape. Received: inputs={inputs}")
        if any(c.dtype.kind not in "iubUO" for c in columns):
            raise ValueError("All `HashedCrossing` inputs should have an integer or string dtype. Received: inputs="
                             f"{inputs}")  # fmt: skip
        rows = zip(*(c.reshape(-1).tolist() for c in columns), strict=True)
        bins = np.array([joined(row, _CROSSED) % self.num_bins for row in rows], np.int64).reshape(shape)
        index, dtype = from_numpy(bins), config.as_dtype(self.compute_dtype)
        if self.output_mode == "int":
            return index.to(dtype)
        found = encoded(index if index.ndim else index.reshape(1), self.num_bins, "one_hot", dtype)
        return found if index.ndim else found.reshape(self.num_bins)


def coded_shape(input_shape: Any, depth: int, mode: str) -> tuple[Any, ...]:
    """The shape of numbers, or of their encodings."""
    shape = tuple(input_shape)
    if mode == "int":
        return shape
    if mode == "one_hot" and shape and shape[-1] != 1:
        return (*shape, depth)
    return (*shape[:-1], depth)
