"""New tensors: constants, ranges, the identity, memory. All take PyTorch's options, and refuse what is not there."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import apply, const, operand, sizes_of, whole
from gradloom.functions.elementwise import _add, cast, eq, mul, where
from gradloom.functions.movement import broadcast_to, unsqueeze
from gradloom.graph.node import Aval
from gradloom.ops import structure as S
from gradloom.options import check_options
from gradloom.runtime.buffers import allocate
from gradloom.tape import TAPE, Value
from gradloom.tensor import Tensor, as_tensor, tensor

__all__ = (
    "arange empty empty_like empty_permuted empty_strided eye fill full full_like linspace logspace ones ones_like "
    "range scalar_tensor tril_indices triu_indices zeros zeros_like"
).split()
METHODS = "new_empty new_empty_strided new_full new_ones new_tensor new_zeros".split()
FUNCTION_ONLY = __all__


def _shape(args: tuple, named: Any) -> tuple[int, ...]:
    shape = sizes_of(args) if args or named is None else sizes_of((named,))
    if builtins.any(n < 0 for n in shape):
        raise ShapeError(f"sizes must not be negative, got {shape}", code="shape.negative")
    return shape


def _finish(t: Tensor, requires_grad: bool) -> Tensor:
    return t.requires_grad_() if requires_grad else t


def _of_value(value: Any) -> DType:
    if isinstance(value, Tensor):
        return value.dtype
    if isinstance(value, np.generic):
        return as_dtype(value.dtype)
    return dtypes.default_complex() if isinstance(value, complex) else as_dtype(type(value))


def full(
    size: Any = None, fill_value: Any = None, *, shape: Any = None, dtype: Any = None, requires_grad: bool = False,
    device: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of one value, a number or a 0-d tensor, in the dtype of the value unless given."""
    check_options(device, layout, pin_memory)
    if fill_value is None:
        raise DTypeError("full: needs a fill_value")
    sizes = _shape((size,) if shape is None else (), shape)
    value = fill_value.item() if isinstance(fill_value, np.generic) else fill_value
    if not isinstance(value, (Tensor, bool, int, float, complex)):
        raise DTypeError(
            f"full: the value must be a number, got {value!r} ({type(value).__name__})", code="dtype.full",
            hint="give a number or a 0-d tensor",
        )  # fmt: skip
    d = as_dtype(dtype) if dtype is not None else _of_value(fill_value)
    if isinstance(value, Tensor):
        return _finish(broadcast_to(cast(value, d), sizes), requires_grad)
    return _finish(apply(S.full, (), (value, sizes, d, False)), requires_grad)


def zeros(
    *size: Any, shape: Any = None, dtype: Any = None, requires_grad: bool = False, device: Any = None,
    layout: Any = None, pin_memory: bool = False, **named: Any,
) -> Tensor:  # fmt: skip
    """Zeros of a shape, in the default dtype unless given."""
    return _constant(0.0, "zeros", size, shape, dtype, requires_grad, device, layout, pin_memory, named)


def ones(
    *size: Any, shape: Any = None, dtype: Any = None, requires_grad: bool = False, device: Any = None,
    layout: Any = None, pin_memory: bool = False, **named: Any,
) -> Tensor:  # fmt: skip
    """Ones of a shape, in the default dtype unless given."""
    return _constant(1.0, "ones", size, shape, dtype, requires_grad, device, layout, pin_memory, named)


def _constant(
    value: float, name: str, size: tuple, shape: Any, dtype: Any, requires_grad: bool, device: Any, layout: Any,
    pin_memory: bool, named: dict[str, Any],
) -> Tensor:  # fmt: skip
    check_options(device, layout, pin_memory)
    sizes = _shape(size, _size_of(name, shape, named))
    d = as_dtype(dtype) if dtype is not None else dtypes.default_float()
    return _finish(apply(S.full, (), (value, sizes, d, False)), requires_grad)


def _size_of(name: str, shape: Any, named: dict[str, Any]) -> Any:
    """``size=`` or ``shape=``. A parameter cannot be called size beside ``*size``."""
    size = named.pop("size", None)
    named.pop("memory_format", None)
    if named:
        raise DTypeError(f"{name}: unexpected arguments {', '.join(sorted(named))}")
    return size if shape is None else shape


def empty(
    *size: Any, shape: Any = None, dtype: Any = None, requires_grad: bool = False, device: Any = None,
    layout: Any = None, pin_memory: bool = False, **named: Any,
) -> Tensor:  # fmt: skip
    """Memory of a shape, its content undefined."""
    check_options(device, layout, pin_memory, named.get("memory_format"))
    sizes = _shape(size, _size_of("empty", shape, named))
    d = as_dtype(dtype) if dtype is not None else dtypes.default_float()
    t = TAPE.make_tensor(Value(Aval(sizes, d), None, allocate(builtins.max(1, math.prod(sizes) * d.itemsize))))
    return _finish(t, requires_grad)


def empty_permuted(size: Any, physical_layout: Sequence[int], **options: Any) -> Tensor:
    """As :func:`empty`: the order of axes in memory is the compiler's. Raises ShapeError for no order of the axes."""
    sizes = sizes_of((size,))
    if sorted(int(k) for k in physical_layout) != list(builtins.range(len(sizes))):
        raise ShapeError(
            f"empty_permuted: {tuple(physical_layout)} is no order of {len(sizes)} axes", code="shape.permute"
        )
    return empty(sizes, **options)


def empty_strided(size: Any, stride: Sequence[int], **options: Any) -> Tensor:
    """As :func:`empty`: new tensors are laid out in order whatever the strides. Raises ShapeError for their number."""
    sizes, steps = sizes_of((size,)), sizes_of((stride,))
    if len(sizes) != len(steps):
        raise ShapeError(f"empty_strided: sizes {sizes} with strides {steps}", code="shape.strides")
    return empty(sizes, **options)


# -- like another tensor --------------------------------------------------------------------------------
def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, device: Any = None,
    layout: Any = None, pin_memory: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """One value in another tensor's shape and dtype."""
    check_options(device, layout, pin_memory, memory_format)
    return full(tuple(input.shape), fill_value, dtype=dtype or input.dtype, requires_grad=requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Zeros of another tensor's shape and dtype."""
    if options:
        check_options(**options)
    d = input.dtype if dtype is None else as_dtype(dtype)
    return _finish(apply(S.full, (), (0.0, tuple(input.shape), d, False)), requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **options: Any) -> Tensor:
    """Ones of another tensor's shape and dtype."""
    if options:
        check_options(**options)
    d = input.dtype if dtype is None else as_dtype(dtype)
    return _finish(apply(S.full, (), (1.0, tuple(input.shape), d, False)), requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, memory_format: Any = None, **options: Any) -> Tensor:
    """Memory of another tensor's shape and dtype, its content undefined."""
    check_options(memory_format=memory_format)
    return empty(tuple(input.shape), dtype=dtype or input.dtype, **options)


def new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """One value in a shape, in this tensor's dtype."""
    return full(size, fill_value, dtype=dtype or self.dtype, **options)


def new_zeros(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Zeros of a shape in this tensor's dtype."""
    return zeros(*size, dtype=dtype or self.dtype, **options)


def new_ones(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Ones of a shape in this tensor's dtype."""
    return ones(*size, dtype=dtype or self.dtype, **options)


def new_empty(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Memory of a shape in this tensor's dtype, its content undefined."""
    return empty(*size, dtype=dtype or self.dtype, **options)


def new_empty_strided(self: Tensor, size: Any, stride: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """As :func:`empty_strided` in this tensor's dtype."""
    return empty_strided(size, stride, dtype=dtype or self.dtype, **options)


def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A copy of data in this tensor's dtype."""
    return tensor(data, dtype=dtype or self.dtype, device=device, requires_grad=requires_grad)


def scalar_tensor(s: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """A 0-d tensor, in the default dtype unless given."""
    return full((), s, dtype=dtype or dtypes.default_float(), **options)


def fill(input: Tensor, value: Any) -> Tensor:
    """One value, a number or a 0-d tensor, in the tensor's shape and dtype; its gradient is the value's."""
    v = operand(value)
    if v.ndim:
        raise ShapeError(f"fill: the value must be 0-d, got shape {tuple(v.shape)}", code="shape.fill")
    if not input.requires_grad:
        return full(tuple(input.shape), value, dtype=input.dtype)
    return where(const(False), input, cast(v, input.dtype))


# -- ranges ---------------------------------------------------------------------------------------------
def _number(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor | np.generic) else x


def arange(
    start: Any = 0, end: Any = None, step: Any = 1, *, stop: Any = None, dtype: Any = None,
    requires_grad: bool = False, device: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, … below end. Integers give int64. Raises ArgumentError for a step of 0."""
    check_options(device, layout, pin_memory)
    start, end, step = _number(start), _number(end if stop is None else stop), _number(step)
    if end is None:
        start, end = 0, start
    if step == 0:
        raise ArgumentError("arange: step must not be 0")
    integer = builtins.all(isinstance(v, int) for v in (start, end, step))
    d = as_dtype(dtype) if dtype is not None else dtypes.int64 if integer else dtypes.default_float()
    if d.is_complex:
        raise DTypeError(
            f"arange: dtype {d.name} has no order", code="dtype.arange", hint="make a real range and convert it"
        )
    if d.category < 2:  # PyTorch takes floating bounds of integer ranges as integers
        start, end, whole_step, integer = int(start), int(end), int(step), True
        if not whole_step:
            raise ArgumentError(f"arange: a step of {step} is 0 in {d.name}; make a floating range and convert it")
        step = whole_step
    n = builtins.max(0, -((start - end) // step) if integer else math.ceil((end - start) / step))
    if start == 0 and step == 1:
        return _finish(apply(S.iota, (), (n, d)), requires_grad)
    x = apply(S.iota, (), (n, dtypes.int64 if integer else dtypes.float64))
    return _finish(cast(_add(mul(x, const(step)), const(start)), d), requires_grad)


def range(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None, **options: Any) -> Tensor:
    """As :func:`arange`, ``end`` included and in the default dtype; kept for PyTorch's old programs."""
    if end is None:
        start, end = 0, start
    if not step:
        raise ArgumentError("range: step must not be 0")
    n = math.floor((end - start) / step)
    d = dtype or dtypes.default_float()
    return arange(start, start + (n + 0.5) * step, step, dtype=d, **options)


def _spaced(start: Any, end: Any, steps: int, d: DType, endpoint: bool) -> np.ndarray:
    start, end, n = _number(start), _number(end), whole("linspace", "steps", steps)
    if n < 0:
        raise ArgumentError(f"the number of steps must not be negative, got {n}")
    if d.category == dtypes.INTEGER:  # whole bounds, and steps between them rounded towards the start
        start, end = int(start), int(end)
    wide = np.complex128 if d.is_complex else np.float64
    if n == 1:
        return np.asarray([start], wide)
    gaps = builtins.max(n - 1 if endpoint else n, 1)
    k = np.arange(n)
    if d.category == dtypes.INTEGER:
        step = (end - start) / gaps
        return np.trunc(np.where(k < n // 2, start + step * k, end - step * (gaps - k)))
    step = wide(end - start) / gaps
    return np.where(k < n // 2, start + step * k, end - step * (gaps - k))


def linspace(
    start: Any, end: Any = None, steps: Any = None, *, stop: Any = None, num: int | None = None, endpoint: bool = True,
    dtype: Any = None, requires_grad: bool = False, device: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """``steps`` values evenly from start to end, which is included unless ``endpoint=False``.

    Bounds are numbers or 0-d tensors, whose values are looked at. ``stop`` and ``num`` are NumPy's names.
    """
    check_options(device, layout, pin_memory)
    end, count = (end if stop is None else stop), (steps if num is None else num)
    if end is None or count is None:
        raise DTypeError("linspace: needs start, end and steps")
    numeric = isinstance(_number(start), complex) or isinstance(_number(end), complex)
    usual = dtypes.default_complex() if numeric else dtypes.default_float()
    d = usual if dtype is None else as_dtype(dtype)
    return _finish(as_tensor(_spaced(start, end, count, d, endpoint), dtype=d), requires_grad)


def logspace(
    start: Any, end: Any, steps: Any, base: float = 10.0, *, dtype: Any = None, requires_grad: bool = False,
    device: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """``base`` to the powers of :func:`linspace`."""
    check_options(device, layout, pin_memory)
    d = dtypes.default_float() if dtype is None else as_dtype(dtype)
    wide = np.complex128 if d.is_complex else np.float64
    if d.category == dtypes.INTEGER:  # whole bounds, the exponents between them are not
        start, end = int(start), int(end)
    powers = np.power(wide(base), _spaced(start, end, steps, d if d.is_complex else dtypes.float64, True))
    with np.errstate(invalid="ignore"):
        return _finish(as_tensor(powers.astype(d.numpy)), requires_grad)


def eye(
    n: int, m: int | None = None, *, k: int = 0, dtype: Any = None, requires_grad: bool = False, device: Any = None,
    layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Ones on the diagonal of an (n, m) matrix, or on the one ``k`` above it."""
    check_options(device, layout, pin_memory)
    rows, cols = _shape((n, n if m is None else m), None)
    at = unsqueeze(arange(rows), 1)
    return _finish(
        cast(eq(_add(at, const(k)) if k else at, arange(cols)), dtype or dtypes.default_float()), requires_grad
    )


def _triangle(row: int, col: int, offset: int, upper: bool, dtype: Any, options: dict[str, Any]) -> Tensor:
    check_options(**options)
    row, col = _shape((row, col), None)
    keep = np.arange(col) - np.arange(row)[:, None]
    at = np.nonzero(keep >= offset if upper else keep <= offset)
    return as_tensor(np.stack(at), dtype=dtype or dtypes.int64)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, **options: Any) -> Tensor:
    """(2, entries): rows and columns of the entries of an (row, col) matrix on and below a diagonal."""
    return _triangle(row, col, offset, False, dtype, options)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, **options: Any) -> Tensor:
    """(2, entries): rows and columns of the entries of an (row, col) matrix on and above a diagonal."""
    return _triangle(row, col, offset, True, dtype, options)
