"""``keras.ops`` beyond arrays: creation, products, neural networks, control, conversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions import PUBLIC
from gradloom.functions.convolution import convolve, convolve_transpose
from gradloom.functions.einsum import einsum as _einsum
from gradloom.keras import activations, config
from gradloom.keras.layers.convolutional import depthwise, ends, numbers, transposed
from gradloom.keras.layers.pooling import pooled
from gradloom.keras.losses import functions as L
from gradloom.keras.operations import as_tensor, operation
from gradloom.keras.ops.arrays import _floated, _of_list
from gradloom.keras.symbolic import any_size, inferring
from gradloom.tensor import Tensor

TABLE: dict[str, Callable[..., Any]] = {}


def _put(*fns: Callable[..., Any]) -> None:
    for fn in fns:
        TABLE[fn.__name__] = fn


# -- creation and conversion -----------------------------------------------------------------------------------------


def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Any:
    """Arrays, lists and numbers as tensors."""
    return as_tensor(x, dtype)


def array(x: Any, dtype: Any = None) -> Any:
    """The same as :func:`convert_to_tensor`."""
    return as_tensor(x, dtype)


def convert_to_numpy(x: Any) -> np.ndarray:
    """A tensor as an array."""
    return np.asarray(x.detach().numpy() if isinstance(x, Tensor) else x)


def is_tensor(x: Any) -> bool:
    """Whether this is a tensor with values."""
    return isinstance(x, Tensor)


def shape(x: Any) -> tuple[Any, ...]:
    """The sizes of the axes, None where they are open."""
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def ndim(x: Any) -> int:
    """The number of axes."""
    return len(shape(x))


def size(x: Any) -> int | None:
    """The number of elements; None where a size is unknown."""
    return None if None in shape(x) else int(np.prod([n for n in shape(x)], dtype=np.int64))


def dtype(x: Any) -> str:
    """The dtype's name."""
    return config.standardize_dtype(getattr(x, "dtype", None) or as_tensor(x).dtype)


def _dtype(name: Any) -> Any:
    return config.as_dtype(name)


def zeros(shape: Any, dtype: Any = None) -> Tensor:
    """All zero."""
    return G.full((shape,) if isinstance(shape, int) else tuple(shape), 0, dtype=_dtype(dtype))


def ones(shape: Any, dtype: Any = None) -> Tensor:
    """All one."""
    return G.full((shape,) if isinstance(shape, int) else tuple(shape), 1, dtype=_dtype(dtype))


empty = zeros


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """All the same."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if isinstance(fill_value, int | float | bool):
        return G.full(sizes, fill_value, dtype=_dtype(dtype))
    return G.broadcast_to(as_tensor(fill_value, dtype), sizes)


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Tensor:
    """Numbers from ``start`` up to, not with, ``stop``."""
    found = np.arange(start, step=step or 1) if stop is None else np.arange(start, stop, step or 1)
    return as_tensor(found, dtype or ("int32" if found.dtype.kind == "i" else config.floatx()))


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
             dtype: Any = None, axis: int = 0) -> Any:  # fmt: skip
    """Numbers spread evenly."""
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        found, step = spread(start, stop, num, endpoint, dtype, axis)
    else:
        made, width = np.linspace(start, stop, num, endpoint, retstep=True, axis=axis)
        found, step = as_tensor(made, dtype or config.floatx()), as_tensor(width, dtype or config.floatx())
    return (found, step) if retstep else found


def spread(start: Any, stop: Any, num: int, endpoint: bool, dtype: Any, axis: int) -> tuple[Tensor, Tensor]:
    """:func:`linspace` between tensors, and the steps."""
    a, b = _same_dtype(start, stop)
    kind = _dtype(dtype if dtype is not None else config.result_type(a.dtype, float))
    wide = kind if kind.itemsize >= 4 else _dtype("float32")
    a, b = PUBLIC["broadcast_tensors"](a.to(wide), b.to(wide))
    parts = max(num - 1 if endpoint else num, 0)
    step = (b - a) / parts if parts else G.full_like(a, np.nan)
    axis = axis % (a.ndim + 1)
    at = G.arange(num, dtype=wide).reshape([-1 if k == axis else 1 for k in range(a.ndim + 1)])
    found = a.unsqueeze(axis) + at * ((b - a) / max(parts, 1)).unsqueeze(axis)
    if endpoint and num > 1:  # the end as it was given, not as it is reached
        found = G.where(at == num - 1, b.unsqueeze(axis), found)
    return found.to(kind), step.to(kind)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """Ones on a diagonal."""
    return as_tensor(np.eye(N, M, k), dtype or config.floatx())


def identity(n: int, dtype: Any = None) -> Tensor:
    """The identity matrix."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """Ones at and below a diagonal."""
    return as_tensor(np.tri(N, M, k), dtype or config.floatx())


def meshgrid(*x: Any, indexing: str = "xy") -> list[Tensor]:
    """Coordinates of a grid."""
    return list(PUBLIC["meshgrid"](*[as_tensor(v).reshape(-1) for v in x], indexing=indexing))


@operation
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """All zero, of the shape of x."""
    return G.full(tuple(x.shape), 0, dtype=x.dtype if dtype is None else _dtype(dtype))


@operation
def ones_like(x: Any, dtype: Any = None) -> Any:
    """All one, of the shape of x."""
    return G.full(tuple(x.shape), 1, dtype=x.dtype if dtype is None else _dtype(dtype))


@operation
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """All the same, of the shape of x."""
    return full(tuple(x.shape), fill_value, x.dtype if dtype is None else dtype)


@operation
def cast(x: Any, dtype: Any) -> Any:
    """In another dtype."""
    return x.to(_dtype(dtype))


@operation
def copy(x: Any) -> Any:
    """Another tensor of the same values."""
    return x.clone()


@operation
def stop_gradient(variable: Any) -> Any:
    """The values, through which no gradient flows."""
    return variable.detach()


# -- products --------------------------------------------------------------------------------------------------------


def _same_dtype(*xs: Any) -> list[Any]:
    ts = [as_tensor(x) for x in xs]
    name = _dtype(config.result_type(*(t.dtype for t in ts)))
    return [t.to(name) if t.dtype is not name else t for t in ts]


def matmul(x1: Any, x2: Any) -> Any:
    """The matrix product."""
    return G.matmul(*_same_dtype(x1, x2))


def dot(x1: Any, x2: Any) -> Any:
    """The dot product, as NumPy's."""
    a, b = _same_dtype(x1, x2)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return G.matmul(a, b) if b.ndim <= 2 else PUBLIC["tensordot"](a, b, ([a.ndim - 1], [b.ndim - 2]))


def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Products summed over axes of both."""
    a, b = _same_dtype(x1, x2)
    return PUBLIC["tensordot"](a, b, axes)


def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Any:
    """Products and sums by letters."""
    return _einsum(subscripts, *_same_dtype(*operands))


def outer(x1: Any, x2: Any) -> Any:
    """All products of two vectors."""
    a, b = _same_dtype(x1, x2)
    return a.reshape(-1, 1) * b.reshape(1, -1)


def inner(x1: Any, x2: Any) -> Any:
    """Products summed over the last axes."""
    return PUBLIC["inner"](*_same_dtype(x1, x2))


def vdot(x1: Any, x2: Any) -> Any:
    """The dot product of flattened tensors."""
    a, b = _same_dtype(x1, x2)
    return (a.reshape(-1) * b.reshape(-1)).sum()


def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None) -> Any:
    """The cross product of vectors of 2 or 3 components; of two with 2 it is the third component alone."""
    a, b = _same_dtype(x1, x2)
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = PUBLIC["moveaxis"](a, axisa, -1), PUBLIC["moveaxis"](b, axisb, -1)
    for v in (a, b):
        if v.shape[-1] not in (2, 3):
            raise ValueError(
                f"cross: expected vectors of 2 or 3 components. Received: {tuple(a.shape)}, {tuple(b.shape)}"
            )
    if a.shape[-1] == b.shape[-1] == 2:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    a, b = (v if v.shape[-1] == 3 else PUBLIC["constant_pad_nd"](v, [0, 1], 0) for v in (a, b))
    return PUBLIC["moveaxis"](PUBLIC["cross"](*PUBLIC["broadcast_tensors"](a, b), dim=-1), -1, axisc)


@operation
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of vectors or matrices."""
    from gradloom.functions.linalg_norms import linalg_norm

    return linalg_norm(_floated(x), ord, axis, keepdims)


@operation
def normalize(x: Any, axis: int = -1, order: int = 2, epsilon: float | None = None) -> Any:
    """Vectors along an axis brought to length 1."""
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"Argument `order` must be an int >= 1. Received: order={order!r}")
    tiny = config.epsilon() if epsilon is None else epsilon
    x = _floated(x)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"normalize: axis {axis} is out of bounds for a tensor of {x.ndim} dimensions")
    lengths = PUBLIC["sum"](G.abs(x) ** order, axis, True) ** (1.0 / order)
    return x / G.clamp(lengths, min=tiny)


@operation
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> Any:
    """Mean and variance."""
    x, axes = _floated(x), tuple(axes) if isinstance(axes, list | tuple) else axes
    kind, x = x.dtype, x.to(_dtype("float32")) if x.dtype.name == "float16" else x
    mean = G.mean(x, axes, True)
    var = G.mean((x - mean) ** 2, axes, keepdims)
    found = (mean if keepdims else G.squeeze(mean, axes)), var
    if kind is x.dtype:
        return found
    top = float(np.finfo(kind.numpy).max)
    return tuple(G.clamp(y, -top, top).to(kind) for y in found)


# -- neural networks -------------------------------------------------------------------------------------------------


@operation
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """1 at each number's place; all 0 for numbers out of range."""
    hot = (x.unsqueeze(-1) == G.arange(num_classes)).to(_dtype(dtype))
    return hot if axis in (-1, hot.ndim - 1) else PUBLIC["moveaxis"](hot, -1, axis)


@operation
def multi_hot(inputs: Any, num_classes: int | None = None, axis: int = -1, dtype: Any = None, **kwargs: Any) -> Any:
    """1 at the places of all numbers along the last axis."""
    n = num_classes if num_classes is not None else kwargs["num_tokens"]
    hot = one_hot.__wrapped__(inputs, n, axis, dtype)  # type: ignore[attr-defined]
    return G.amax(hot, 1 if inputs.ndim > 1 else 0)


@operation
def top_k(x: Any, k: int, sorted: bool = True) -> Any:
    """The k largest along the last axis, and where they stand."""
    found = PUBLIC["topk"](x, k, -1)
    return found.values, found.indices.to(_dtype("int32"))


@operation
def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """Whether each answer is among the k highest scores."""
    from gradloom.keras.metrics.accuracy import sparse_top_k_categorical_accuracy

    return sparse_top_k_categorical_accuracy(targets, predictions, k) > 0.5


def _spatial(x: Tensor, data_format: Any) -> tuple[bool, int]:
    return config.checked_format(data_format) == "channels_first", x.ndim - 2


def _padding(padding: Any) -> str:
    """In lower case. ValueError for what is neither "valid" nor "same"."""
    name = str(padding).lower()
    if name not in ("valid", "same"):
        raise ValueError(f"padding={padding!r}: expected 'valid' or 'same'")
    return name


def _to_last(x: Tensor, first: bool) -> Tensor:
    return G.permute(x, (0, *range(2, x.ndim), 1)) if first else x


def _to_first(y: Tensor, first: bool) -> Tensor:
    return G.permute(y, (0, y.ndim - 1, *range(1, y.ndim - 1))) if first else y


@operation
def conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """Convolution; kernel (*sizes, channels / groups, filters)."""
    w = as_tensor(kernel)
    first, n = _spatial(inputs, data_format)
    x = _to_last(inputs, first)
    s, d = numbers(strides, n, "strides"), numbers(dilation_rate, n, "dilation_rate")
    how = _padding(padding)
    pads = [ends(size, k, si, di, how) for size, k, si, di in zip(x.shape[1:-1], w.shape, s, d)]
    if x.shape[-1] % w.shape[-2]:
        raise ValueError("conv: the number of input channels must match the kernel, or be a multiple of it for groups. "
                         f"Received: {x.shape[-1]} channels, kernel {tuple(w.shape)}")  # fmt: skip
    return _to_first(convolve(x, w, s, tuple(pads), d, x.shape[-1] // w.shape[-2], "conv"), first)


@operation
def depthwise_conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """Each channel with filters of its own; kernel (*sizes, channels, multiplier)."""
    w = as_tensor(kernel)
    first, n = _spatial(inputs, data_format)
    x = _to_last(inputs, first)
    s, d = numbers(strides, n, "strides"), numbers(dilation_rate, n, "dilation_rate")
    how = _padding(padding)
    pads = [ends(size, k, si, di, how) for size, k, si, di in zip(x.shape[1:-1], w.shape, s, d)]
    return _to_first(depthwise(x, w, s, tuple(pads), d), first)


def separable_conv(
    inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1, padding: str = "valid",
    data_format: Any = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """A depthwise convolution, then one over channels."""
    y = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(y, pointwise_kernel, 1, "valid", data_format)


@operation
def conv_transpose(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", output_padding: Any = None,
    data_format: Any = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """Transposed convolution; kernel (*sizes, filters, channels)."""
    w = as_tensor(kernel)
    first, n = _spatial(inputs, data_format)
    x = _to_last(inputs, first)
    s, d = numbers(strides, n, "strides"), numbers(dilation_rate, n, "dilation_rate")
    more = [None] * n if output_padding is None else numbers(output_padding, n, "output_padding", 0)
    each = zip(w.shape, s, d, more, x.shape[1:-1])
    how = _padding(padding)
    sizes, low = zip(*(transposed(k, si, di, how, p, m) for k, si, di, p, m in each))
    return _to_first(convolve_transpose(x, w, sizes, s, tuple((a, 0) for a in low), d), first)


def _pool(inputs: Tensor, pool_size: Any, strides: Any, padding: str, data_format: Any, largest: bool) -> Tensor:
    first, n = _spatial(inputs, data_format)
    size = numbers(pool_size, n, "pool_size")
    axes = tuple(range(2, n + 2)) if first else tuple(range(1, n + 1))
    steps = size if strides is None else numbers(strides, n, "strides")
    return pooled(inputs, axes, size, steps, _padding(padding), largest)


@operation
def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None) -> Any:
    """The largest entry of windows."""
    return _pool(inputs, pool_size, strides, padding, data_format, True)


@operation
def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
) -> Any:
    """The mean of windows."""
    return _pool(_floated(inputs), pool_size, strides, padding, data_format, False)


@operation
def gelu(x: Any, approximate: bool = True) -> Any:
    """The input times Φ of it, by the tanh approximation unless told otherwise."""
    return activations.gelu(x, approximate)


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-Σ y log p."""
    return L.categorical_crossentropy(target, output, from_logits, 0.0, axis)


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-log p[answer]."""
    return L.sparse_categorical_crossentropy(target, output, from_logits, None, axis)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """-y log p - (1 - y) log(1 - p), element by element."""
    y, p = L._pair(target, output)
    return L._binary(y, p, bool(from_logits), 0.0, None, config.epsilon())


@operation
def divide_no_nan(x1: Any, x2: Any) -> Any:
    """x1 / x2, 0 where x2 is 0."""
    a, b = _same_dtype(_floated(as_tensor(x1)), _floated(as_tensor(x2)))
    found = a / G.where(b == 0, G.ones_like(b), b)
    return G.where(b == 0, G.zeros_like(found), found)


# -- control and writing ---------------------------------------------------------------------------------------------


def _block(inputs: Tensor, start_indices: Any, shape: Any) -> tuple[Any, ...]:
    """The index of a block; starts that are not known yet are counted from."""
    starts = start_indices if isinstance(start_indices, list | tuple) else as_tensor(start_indices)
    index: list[Any] = []
    rank = inputs.ndim
    if isinstance(starts, Tensor) and inferring():
        starts = list(PUBLIC["unbind"](starts.to(_dtype("int64")), 0))
    elif isinstance(starts, Tensor):
        starts = starts.numpy().reshape(-1)
    if not len(starts) == len(shape) == rank:
        raise ValueError(f"a block of {rank} axes needs {rank} starts and {rank} sizes. Received: {len(starts)} starts "
                         f"and {len(shape)} sizes")  # fmt: skip
    for axis, (start, n) in enumerate(zip(starts, shape, strict=True)):
        if isinstance(start, Tensor) and inferring():
            at = start + G.arange(n if n != -1 else any_size(), dtype=_dtype("int64"))
            index.append(at.reshape([-1 if k == axis else 1 for k in range(rank)]))
        else:
            first = int(start)
            index.append(_Slice(first, inputs.shape[axis] if n == -1 else first + int(n)))
    return tuple(index)


@operation
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """A block replaced."""
    u = as_tensor(updates)
    found = inputs.clone()
    found[_block(inputs, start_indices, u.shape)] = u.to(inputs.dtype)
    return found


@operation
def slice(inputs: Any, start_indices: Any, shape: Any) -> Any:
    """A block; a size of -1 goes to the end."""
    return inputs[_block(inputs, start_indices, tuple(shape))]


_Slice = type(np.s_[0:1])


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """``true_fn()`` or ``false_fn()``, by a value that is looked at."""
    return true_fn() if bool(pred) else false_fn()


def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum_iterations: Any = None
) -> Any:
    """``body`` as long as ``cond`` holds."""
    one = not isinstance(loop_vars, list | tuple)
    values = (loop_vars,) if one else tuple(loop_vars)
    done = 0
    while bool(cond(*values)) and (maximum_iterations is None or done < maximum_iterations):
        found = body(*values)
        values = tuple(found) if isinstance(found, list | tuple) else (found,)
        done += 1
    return values[0] if one else values


def fori_loop(lower: int, upper: int, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """``body_fun(i, value)`` for each i."""
    for i in range(int(lower), int(upper)):
        init_val = body_fun(i, init_val)
    return init_val


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """A function of each entry of the first axis; of structures of tensors too."""
    from gradloom.keras import tree

    given = tree.map_structure(as_tensor, xs)
    found = [f(tree.map_structure(lambda x, i=i: x[i], given)) for i in range(tree.flatten(given)[0].shape[0])]
    return tree.map_structure(lambda *ys: PUBLIC["stack"]([as_tensor(y) for y in ys]), *found)


def vectorized_map(function: Callable[..., Any], elements: Any) -> Any:
    """A function of each entry of the first axis, all at once."""
    from gradloom.autodiff.vmap import vmap
    from gradloom.keras import tree

    return vmap(function)(tree.map_structure(as_tensor, elements))


_put(
    convert_to_tensor, array, convert_to_numpy, is_tensor, shape, ndim, size, dtype, zeros, ones, full, arange,
    eye, identity, tri, zeros_like, ones_like, full_like, cast, copy, stop_gradient, norm,
    normalize, moments, one_hot, multi_hot, top_k, in_top_k, conv, depthwise_conv, separable_conv, conv_transpose,
    max_pool, average_pool, divide_no_nan, slice_update, slice,
)  # fmt: skip
TABLE["empty"], TABLE["linspace"], TABLE["meshgrid"] = zeros, _of_list(linspace), _of_list(meshgrid)
_CALLED: tuple[Callable[..., Any], ...] = (
    cond, while_loop, fori_loop, map, vectorized_map, categorical_crossentropy, sparse_categorical_crossentropy,
    binary_crossentropy, matmul, dot, tensordot, einsum, outer, inner, vdot, cross,
)  # fmt: skip
for _fn in _CALLED:
    TABLE[_fn.__name__] = _of_list(_fn)
for _name, _act in activations._TABLE.items():
    if _name not in ("linear", "exponential", "mish"):
        TABLE[_name] = _act
TABLE["gelu"] = gelu
