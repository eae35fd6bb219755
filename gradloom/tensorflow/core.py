"""Names that stand directly in `tf`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import ShapeError
from gradloom.functions.creation import arange
from gradloom.functions.elementwise import cast as _cast
from gradloom.functions.movement import flip
from gradloom.keras import ops as keras_ops
from gradloom.keras.variables import Variable
from gradloom.tensor import Tensor, as_tensor, tensor

__all__ = [
    "TensorSpec", "Variable", "boolean_mask", "cast", "clip_by_global_norm", "clip_by_norm", "clip_by_value",
    "constant",
    "convert_to_tensor", "ensure_shape", "executing_eagerly", "function", "global_norm", "group", "identity",
    "map_fn", "no_op", "numpy_function", "pad", "py_function", "rank", "reduce_all", "reduce_any",
    "reduce_logsumexp", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_std", "reduce_sum",
    "reduce_variance", "reverse", "sequence_mask", "shape", "size", "slice", "stop_gradient",
]  # fmt: skip

ops: Any = keras_ops  # its functions stand in tables


class TensorSpec:
    """Shape and dtype of a tensor; None in a shape is any length.

    Parameters
    ----------
    shape : sequence of int or None, or None for any shape
    dtype : of the elements
    name : only shown
    """

    def __init__(self, shape: Sequence[int | None] | None, dtype: Any = None, name: str | None = None) -> None:
        self.shape = None if shape is None else tuple(shape)
        self.dtype = dtypes.as_dtype(dtype if dtype is not None else "float32")
        self.name = name

    def is_compatible_with(self, value: Any) -> bool:
        """Whether a tensor has this dtype and a shape that fits."""
        seen = as_tensor(value)
        if seen.dtype is not self.dtype:
            return False
        return self.shape is None or (
            len(self.shape) == seen.ndim and all(a in (None, b) for a, b in zip(self.shape, seen.shape))
        )

    def __repr__(self) -> str:
        return f"TensorSpec(shape={self.shape}, dtype={self.dtype.name}, name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype.name))


def constant(value: Any, dtype: Any = None, shape: Sequence[int] | None = None, name: str = "Const") -> Tensor:
    """A tensor of given values; Python's numbers are float32 and int32 unless `dtype` is given.

    shape: what the values are reshaped to; one value fills it.
    """
    out = convert_to_tensor(value, dtype)
    if shape is None:
        return out
    return out.expand(tuple(shape)).clone() if out.numel() == 1 else out.reshape(tuple(shape))


def convert_to_tensor(value: Any, dtype: Any = None, dtype_hint: Any = None, name: str | None = None) -> Tensor:
    """A tensor of an array, a list, a number or a tensor; Python's integers become int32, as TensorFlow's do."""
    if isinstance(value, Tensor):
        return value if dtype is None else _cast(value, dtypes.as_dtype(dtype))
    if dtype is None and not isinstance(value, (np.ndarray, np.generic)):
        found = np.asarray([as_tensor(v).numpy() if isinstance(v, Tensor) else v for v in value]) if isinstance(
            value, (list, tuple)
        ) else np.asarray(value)  # fmt: skip
        dtype = {"float64": dtypes.default_float(), "int64": dtypes.int32}.get(found.dtype.name)
        value = found
    return tensor(value, dtype=None if dtype is None else dtypes.as_dtype(dtype))


def cast(x: Any, dtype: Any, name: str | None = None) -> Tensor:
    """Another dtype."""
    return _cast(as_tensor(x), dtypes.as_dtype(dtype))


def shape(input: Any, out_type: Any = None, name: str | None = None) -> tuple[int, ...]:
    """The shape: integers, known when it is asked."""
    return tuple(as_tensor(input).shape)


def rank(input: Any, name: str | None = None) -> int:
    """The number of axes."""
    return as_tensor(input).ndim


def size(input: Any, out_type: Any = None, name: str | None = None) -> int:
    """The number of elements."""
    return as_tensor(input).numel()


def _reduction(name: str, op: Callable[..., Any]) -> Callable[..., Tensor]:
    def reduce(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
        return op(as_tensor(input_tensor), axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]

    reduce.__name__ = reduce.__qualname__ = f"reduce_{name}"
    reduce.__doc__ = f"`{name}` over `axis` (an axis or several; all with None)."
    return reduce


reduce_sum = _reduction("sum", ops.sum)
reduce_max = _reduction("max", ops.max)
reduce_min = _reduction("min", ops.min)
reduce_prod = _reduction("prod", ops.prod)
reduce_std = _reduction("std", ops.std)
reduce_variance = _reduction("variance", ops.var)
reduce_all = _reduction("all", ops.all)
reduce_any = _reduction("any", ops.any)
reduce_logsumexp = _reduction("logsumexp", ops.logsumexp)


def reduce_mean(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The mean over `axis`; of integers an integer, as TensorFlow's, rounded towards zero."""
    x = as_tensor(input_tensor)
    mean: Tensor = ops.mean(x, axis, keepdims=keepdims)
    return mean if x.dtype.is_floating or x.dtype.is_complex else _cast(mean.trunc(), x.dtype)


def boolean_mask(tensor: Any, mask: Any, axis: int | None = None, name: str = "boolean_mask") -> Tensor:
    """The elements at which `mask`, which covers axes from `axis` on, is true, on one axis."""
    x, where = as_tensor(tensor), as_tensor(mask)
    start = axis or 0
    if tuple(x.shape[start : start + where.ndim]) != tuple(where.shape):
        raise ShapeError(
            f"boolean_mask: a mask of shape {tuple(where.shape)} does not fit axes {start} and on of {tuple(x.shape)}",
            code="shape.mask",
            hint="the mask has the lengths of the axes that it covers",
        )
    return x[(np.s_[:],) * start + (where,)]


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Tensor:
    """Values held between two limits."""
    return ops.clip(as_tensor(t), clip_value_min, clip_value_max)  # type: ignore[no-any-return]


def clip_by_norm(t: Any, clip_norm: float, axes: Any = None, name: str | None = None) -> Tensor:
    """Shortened to a Euclidean norm of `clip_norm` over `axes` where it is longer."""
    x = as_tensor(t)
    length = ops.sqrt(ops.sum(ops.square(x), axes, keepdims=True))
    return x * (clip_norm / ops.maximum(length, clip_norm))  # type: ignore[no-any-return]


def global_norm(t_list: Sequence[Any], name: str | None = None) -> Tensor:
    """The Euclidean norm of several tensors taken as one vector; None among them counts nothing."""
    return ops.sqrt(sum(ops.sum(ops.square(as_tensor(t))) for t in t_list if t is not None))  # type: ignore[no-any-return]


def clip_by_global_norm(
    t_list: Sequence[Any], clip_norm: float, use_norm: Any = None, name: str | None = None
) -> tuple[list[Any], Tensor]:
    """Several tensors scaled so that their common norm is at most `clip_norm`, and what that norm was."""
    norm = global_norm(t_list) if use_norm is None else as_tensor(use_norm)
    factor = clip_norm / ops.maximum(norm, clip_norm)
    return [None if t is None else t * factor for t in t_list], norm


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """The same values, through which no gradient flows."""
    return as_tensor(input).detach()


def identity(input: Any, name: str | None = None) -> Tensor:
    """The same values in a tensor of their own."""
    return as_tensor(input).clone()


def ensure_shape(x: Any, shape: Sequence[int | None], name: str | None = None) -> Tensor:
    """`x`, checked to have a shape. Raises ShapeError where it has not."""
    seen = as_tensor(x)
    if len(shape) != seen.ndim or any(w not in (None, n) for w, n in zip(shape, seen.shape)):
        raise ShapeError(f"ensure_shape: the shape is {tuple(seen.shape)}, not {tuple(shape)}", code="shape.ensure")
    return seen


def reverse(tensor: Any, axis: Sequence[int], name: str | None = None) -> Tensor:
    """The elements along axes in the opposite order."""
    return flip(as_tensor(tensor), tuple(axis))


def slice(input_: Any, begin: Sequence[int], size: Sequence[int], name: str | None = None) -> Tensor:
    """A part that starts at `begin` and is `size` long; -1: to the end."""
    x = as_tensor(input_)
    where = tuple(
        np.s_[int(b) : (n if int(s) == -1 else int(b) + int(s))] for b, s, n in zip(begin, size, x.shape, strict=True)
    )
    return x[where]


def pad(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0, name: str | None = None
) -> Tensor:
    """Pairs of lengths that are put before and behind each axis; mode CONSTANT, REFLECT or SYMMETRIC."""
    widths = tuple((int(a), int(b)) for a, b in np.asarray(as_tensor(paddings).numpy()))
    kind = mode.lower()
    if kind == "constant":
        return ops.pad(as_tensor(tensor), widths, kind, constant_values)  # type: ignore[no-any-return]
    return ops.pad(as_tensor(tensor), widths, kind)  # type: ignore[no-any-return]


def sequence_mask(lengths: Any, maxlen: int | None = None, dtype: Any = "bool", name: str | None = None) -> Tensor:
    """For each length a row that is true so many times; `maxlen` long, or as long as the longest."""
    rows = as_tensor(lengths)
    width = int(rows.max()) if maxlen is None else int(maxlen)
    return _cast(arange(width) < rows.unsqueeze(-1), dtypes.as_dtype(dtype))


def map_fn(fn: Callable[..., Any], elems: Any, fn_output_signature: Any = None, **options: Any) -> Any:
    """`fn` of each element along the first axis, stacked."""
    unknown = set(options) - {"parallel_iterations", "back_prop", "swap_memory", "infer_shape", "name", "dtype"}
    if unknown:
        raise TypeError(f"map_fn got unexpected arguments {sorted(unknown)}")
    return ops.map(fn, elems)


def function(func: Callable[..., Any] | None = None, **options: Any) -> Any:
    """A decorator that programs put before steps: everything is compiled here anyway, so the function stays as it is.

    The options (`input_signature`, `jit_compile`, `reduce_retracing`, …) say nothing that changes results.
    """
    unknown = set(options) - {
        "autograph", "experimental_attributes", "experimental_autograph_options", "experimental_compile",
        "experimental_follow_type_hints", "experimental_implements", "experimental_relax_shapes", "input_signature",
        "jit_compile", "reduce_retracing",
    }  # fmt: skip
    if unknown:
        raise TypeError(f"function got unexpected arguments {sorted(unknown)}")
    return func if func is not None else function


def py_function(func: Callable[..., Any], inp: Sequence[Any], Tout: Any = None, name: str | None = None) -> Any:
    """`func` of the tensors `inp`; with `Tout` its results have these dtypes."""
    return _typed(func(*map(as_tensor, inp)), Tout)


def numpy_function(func: Callable[..., Any], inp: Sequence[Any], Tout: Any = None, **options: Any) -> Any:
    """`func` of the arrays of `inp`; no gradient flows through it. With `Tout` its results have these dtypes."""
    return _typed(func(*(as_tensor(x).detach().numpy() for x in inp)), Tout)


def _typed(found: Any, wanted: Any) -> Any:
    if isinstance(found, (list, tuple)):
        kinds = wanted if isinstance(wanted, (list, tuple)) else [wanted] * len(found)
        return [_typed(f, w) for f, w in zip(found, kinds, strict=True)]
    kind = wanted[0] if isinstance(wanted, (list, tuple)) and len(wanted) == 1 else wanted
    return convert_to_tensor(found, kind)


def executing_eagerly() -> bool:
    """True: values may be looked at anywhere."""
    return True


def group(*inputs: Any, **kwargs: Any) -> None:
    """Nothing is left to do: what was written has its effect."""


def no_op(name: str | None = None) -> None:
    """Nothing."""
