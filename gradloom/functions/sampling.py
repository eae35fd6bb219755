"""Random tensors: uniform, normal and other numbers, permutations, draws by weights, and filling tensors with them.

Every call takes the next draw of its generator, see :mod:`gradloom.random`; the numbers depend on the generator's seed,
the number of the draw and the element's position alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions.base import apply, const, operand, sizes_of
from gradloom.functions.creation import _finish, _shape, _size_of
from gradloom.functions.elementwise import cast, ceil, cos, div, floor, log1p, lt, mul, neg, sqrt, tan
from gradloom.functions.movement import broadcast_to
from gradloom.functions.scans import cumsum
from gradloom.functions.sorting import topk
from gradloom.ops import sampling as P
from gradloom.ops import structure as S
from gradloom.ops.core import broadcast_shapes
from gradloom.options import check_options
from gradloom.random import Generator, default_generator
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, from_numpy

__all__ = (
    "bernoulli binomial multinomial normal poisson rand rand_like randint randint_like randn randn_like randperm"
).split()
METHODS = "bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_".split()
INTERNAL = "drawn_by_weight standard_gamma uniform_like".split()
FUNCTION_ONLY = "normal poisson rand rand_like randint randint_like randn randn_like randperm".split()


def _draw(generator: Generator | None) -> tuple[Tensor, Tensor]:
    """Seed and number of the next draw, as inputs of the program."""
    if generator is not None and not isinstance(generator, Generator):
        raise DTypeError(f"generator: expected a gradloom.Generator, got {type(generator).__name__}")
    seed, stream = (generator or default_generator).draw()
    return TAPE.scalar(seed), TAPE.scalar(stream)


def _uniform(shape: tuple[int, ...], dtype: DType, generator: Generator | None) -> Tensor:
    return apply(S.uniform, _draw(generator), (shape, dtype))


def _normal(shape: tuple[int, ...], dtype: DType, generator: Generator | None) -> Tensor:
    """Box and Muller 1958."""
    work = dtypes.float64 if dtype is dtypes.float64 else dtypes.float32
    u, v = _uniform(shape, work, generator), _uniform(shape, work, generator)
    r = sqrt(mul(const(-2.0), log1p(neg(u))))
    return cast(mul(r, cos(mul(v, const(2 * math.pi)))), dtype)


def _floating(name: str, dtype: Any, default: DType | None = None) -> DType:
    d = as_dtype(dtype) if dtype is not None else default or dtypes.default_float()
    if d.category < 2:
        raise DTypeError(
            f"{name}: dtype {d.name} is not floating", code="dtype.random", hint="use randint or .to(dtype)"
        )
    return d


def _filled(fill: Any, shape: tuple[int, ...], d: DType, generator: Generator | None) -> Tensor:
    """Numbers of a floating dtype; of a complex one both parts are drawn, each with half the variance if normal."""
    if d.category < 3:
        return fill(shape, d, generator)
    from gradloom.functions import PUBLIC

    part = dtypes.float64 if d.itemsize == 16 else dtypes.float32
    a, b = fill(shape, part, generator), fill(shape, part, generator)
    if fill is _normal:
        a, b = mul(a, const(math.sqrt(0.5))), mul(b, const(math.sqrt(0.5)))
    return PUBLIC["complex"](a, b)


# -- uniform and normal -----------------------------------------------------------------------------------
def rand(
    *size: Any, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False, device: Any = None,
    layout: Any = None, pin_memory: bool = False, names: None = None, **named: Any,
) -> Tensor:  # fmt: skip
    """Uniform numbers of [0, 1) in a floating dtype, the default one unless given."""
    check_options(device, layout, pin_memory)
    sizes = _shape(size, _size_of("rand", None, named))
    return _finish(_filled(_uniform, sizes, _floating("rand", dtype), generator), requires_grad)


def randn(
    *size: Any, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False, device: Any = None,
    layout: Any = None, pin_memory: bool = False, names: None = None, **named: Any,
) -> Tensor:  # fmt: skip
    """Standard normal numbers in a floating or complex dtype, the default one unless given."""
    check_options(device, layout, pin_memory)
    sizes = _shape(size, _size_of("randn", None, named))
    return _finish(_filled(_normal, sizes, _floating("randn", dtype), generator), requires_grad)


def rand_like(
    input: Tensor, *, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False,
    device: Any = None, layout: Any = None, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """:func:`rand` in another tensor's shape and dtype."""
    check_options(device, layout, False, memory_format)
    d = _floating("rand_like", dtype, input.dtype)
    return _finish(_filled(_uniform, tuple(input.shape), d, generator), requires_grad)


def randn_like(
    input: Tensor, *, dtype: Any = None, generator: Generator | None = None, requires_grad: bool = False,
    device: Any = None, layout: Any = None, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """:func:`randn` in another tensor's shape and dtype."""
    check_options(device, layout, False, memory_format)
    d = _floating("randn_like", dtype, input.dtype)
    return _finish(_filled(_normal, tuple(input.shape), d, generator), requires_grad)


def uniform_like(x: Tensor) -> Tensor:
    """Uniform float32 numbers of [0, 1) in the shape of ``x``."""
    return _uniform(tuple(x.shape), dtypes.float32, None)


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, dtype: Any = None,
    requires_grad: bool = False, device: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers of a mean and a standard deviation: tensors that broadcast, or numbers with a ``size``."""
    check_options(device, layout, pin_memory)
    given = [t for t in (mean, std) if isinstance(t, Tensor)]
    if not isinstance(std, Tensor) and std < 0:
        raise ArgumentError(f"normal: std must not be negative, got {std}")
    shape = (
        sizes_of((size,)) if size is not None else broadcast_shapes("normal", [tuple(t.shape) for t in given] or [()])
    )
    d = _floating("normal", dtype, given[0].dtype if given else None)
    return _finish(_filled(_normal, shape, d, generator) * std + mean, requires_grad)


# -- integers ---------------------------------------------------------------------------------------------
def randint(
    low: Any = None, high: Any = None, size: Any = None, *, dtype: Any = None, generator: Generator | None = None,
    requires_grad: bool = False, device: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Integers of low <= i < high, int64 unless given; ``randint(high, size)`` starts at 0.

    Raises ArgumentError where there is no such integer.
    """
    check_options(device, layout, pin_memory)
    if size is None and isinstance(high, (tuple, list)):
        low, high, size = 0, low, high
    elif high is None or low is None:
        low, high = 0, low if high is None else high
    if high is None:
        raise ArgumentError("randint: expected (low, high, size) or (high, size), got no high")
    d = as_dtype(dtype) if dtype is not None else dtypes.int64
    return _finish(
        _integers(_shape((size if size is not None else (),), None), int(low), int(high), d, generator), requires_grad
    )


def _integers(shape: tuple[int, ...], low: int, high: int, d: DType, generator: Generator | None) -> Tensor:
    if high <= low:
        raise ArgumentError(f"randint: there is no integer of {low} <= i < {high}")
    if 2**53 < high - low <= 2**63:
        upper, lower = (floor(_uniform(shape, dtypes.float64, generator) * 2.0**bits) for bits in (31, 32))
        bits = cast(upper, dtypes.int64) * 2**32 + cast(lower, dtypes.int64)
        return cast((bits if high - low == 2**63 else bits % (high - low)) + low, d)
    u = _uniform(shape, dtypes.float64, generator)  # 53 bits
    return cast(cast(floor(u * float(high - low)), dtypes.int64) + low, d)


def randint_like(
    input: Tensor, low: Any, high: Any = None, *, dtype: Any = None, generator: Generator | None = None,
    requires_grad: bool = False, device: Any = None, layout: Any = None, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """:func:`randint` in another tensor's shape and dtype."""
    check_options(device, layout, False, memory_format)
    if high is None:
        low, high = 0, low
    d = as_dtype(dtype) if dtype is not None else input.dtype
    return _finish(_integers(tuple(input.shape), int(low), int(high), d, generator), requires_grad)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: Any = None, requires_grad: bool = False, device: Any = None,
    layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A permutation of 0..n-1, int64 unless given: the order of n random 64-bit keys."""
    check_options(device, layout, pin_memory)
    if n < 0:
        raise ArgumentError(f"randperm: n must not be negative, got {n}")
    seed, stream = (generator or default_generator).draw()
    hi, lo = S.philox_words(seed, stream, n, 2)
    keys = (hi.astype(np.uint64) << np.uint64(32)) | lo
    t = from_numpy(np.argsort(keys, kind="stable").astype(np.int64))
    return _finish(t if dtype is None else t.to(as_dtype(dtype)), requires_grad)


# -- by probability ----------------------------------------------------------------------------------------
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with probability ``input`` (or ``p``), else 0, in the dtype of ``input``. Raises DTypeError for integers."""
    x = operand(input)
    if p is None and x.dtype.category != 2:
        raise DTypeError(
            f"bernoulli: dtype {x.dtype.name} is not floating", code="dtype.bernoulli", hint="convert with .float()"
        )
    if p is not None and not 0 <= p <= 1:
        raise ArgumentError(f"bernoulli: p must be within [0, 1], got {p}")
    work = dtypes.float64 if x.dtype is dtypes.float64 else dtypes.float32
    return cast(lt(_uniform(tuple(x.shape), work, generator), x.detach() if p is None else p), x.dtype)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers of the rates ``input``, in their dtype; NaN for a negative rate."""
    return apply(P.poisson, (*_draw(generator), operand(input).detach()))


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """How many of ``count`` trials succeed with probability ``prob``; both broadcast. NaN for impossible ones."""
    n, p = operand(count).detach(), operand(prob).detach()
    shape = broadcast_shapes("binomial", [tuple(n.shape), tuple(p.shape)])
    return apply(P.binomial, (*_draw(generator), broadcast_to(n, shape), broadcast_to(cast(p, n.dtype), shape)))


def standard_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers of a shape and rate 1, differentiable in the shape (Figurnov, Mohamed and Mnih 2018)."""
    return apply(P.standard_gamma, (*_draw(generator), concentration))


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Indices drawn by weight, int64: (n) gives (num_samples), (m, n) gives (m, num_samples). Weights need no sum of 1.

    Without replacement by exponential races (Efraimidis and Spirakis 2006).

    Raises
    ------
    ValueError: a weight is negative, infinite or NaN, all are 0, or more are wanted than have a weight.
    """
    w = operand(input).detach()
    if w.ndim not in (1, 2):
        raise ShapeError(f"multinomial: expects one or two axes, got {tuple(w.shape)}", code="shape.multinomial")
    if w.dtype.category != 2:
        raise DTypeError(f"multinomial: dtype {w.dtype.name} is not floating", code="dtype.multinomial")
    a = w.numpy().astype(np.float64)
    if not np.isfinite(a).all() or (a < 0).any() or (a.sum(-1) <= 0).any():
        raise ArgumentError("multinomial: weights must be finite, not negative, and not all 0 in a row")
    if num_samples < 1 or (not replacement and num_samples > int((a > 0).sum(-1).min())):
        raise ArgumentError(
            f"multinomial: cannot draw {num_samples} of {w.shape[-1]} without replacement: "
            f"{int((a > 0).sum(-1).min())} have a weight"
        )
    if replacement:
        return drawn_by_weight(w, num_samples, generator)
    race = neg(log1p(neg(_uniform(tuple(w.shape), w.dtype, generator))))
    return topk(div(w, race + float(np.finfo(np.float32).tiny)), num_samples, -1)[1]


def drawn_by_weight(weights: Tensor, count: int, generator: Generator | None = None) -> Tensor:
    """``count`` indices for each row of weights that are known to be right, with replacement; looks at nothing."""
    from gradloom.functions import PUBLIC

    edges = cumsum(weights, -1)
    u = _uniform((*weights.shape[:-1], count), weights.dtype, generator)
    return PUBLIC["clamp"](
        PUBLIC["searchsorted"](div(edges, edges[..., -1:]), u, right=True), max=weights.shape[-1] - 1
    )


# -- filling -----------------------------------------------------------------------------------------------
def uniform_(
    self: Tensor, from_: Any = 0.0, to: Any = 1.0, *, generator: Generator | None = None, **named: Any
) -> Tensor:
    """Filled with uniform numbers of [from, to)."""
    low = named.pop("from", named.pop("a", from_))
    high = named.pop("b", to)
    if named:
        raise DTypeError(f"uniform_: unknown arguments {sorted(named)}")
    if not low <= high:
        raise ArgumentError(f"uniform_: expected from <= to, got {low} and {high}")
    return self._write(_filled(_uniform, tuple(self.shape), self.dtype, generator) * (high - low) + low)


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Filled with normal numbers."""
    if std < 0:
        raise ArgumentError(f"normal_: std must not be negative, got {std}")
    return self._write(_filled(_normal, tuple(self.shape), self.dtype, generator) * std + mean)


def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Filled with numbers whose logarithm is normal with this mean and deviation."""
    if not std > 0:
        raise ArgumentError(f"log_normal_: std must be positive, got {std}")
    return self._write((_normal(tuple(self.shape), self.dtype, generator) * std + mean).exp())


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Filled with exponential numbers of the rate ``lambd``."""
    if not lambd > 0:
        raise ArgumentError(f"exponential_: the rate must be positive, got {lambd}")
    return self._write(neg(log1p(neg(_uniform(tuple(self.shape), self.dtype, generator)))) / lambd)


def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Filled with numbers of a Cauchy distribution."""
    if not sigma > 0:
        raise ArgumentError(f"cauchy_: sigma must be positive, got {sigma}")
    u = _uniform(tuple(self.shape), self.dtype, generator)
    return self._write(tan(mul(u + (-0.5), const(math.pi))) * sigma + median)


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Filled with the number of trials up to the first success, 1, 2, …, each succeeding with probability p."""
    if not 0 < p < 1:
        raise ArgumentError(f"geometric_: p must be within (0, 1), got {p}")
    work = self.dtype if self.dtype.category == 2 else dtypes.float32
    trials = ceil(log1p(neg(_uniform(tuple(self.shape), work, generator))) / math.log1p(-p))
    return self._write(cast(trials.clamp(min=1.0), self.dtype))


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Filled with 1 with probability p (a number, or a tensor that broadcasts), else 0."""
    u = _uniform(tuple(self.shape), dtypes.float64 if self.dtype is dtypes.float64 else dtypes.float32, generator)
    return self._write(cast(lt(u, p), self.dtype))


def random_(self: Tensor, *limits: int | None, generator: Generator | None = None, **named: int | None) -> Tensor:
    """``random_(from, to)``: filled with integers of from <= i < to; ``random_(to)`` starts at 0.

    Without limits, and with None for ``to``, up to the dtype's largest integer (2**24 for float32, 2**53 for float64).
    """
    if len(limits) > 2 or not named.keys() <= {"from", "to"}:
        raise ArgumentError(f"random_: expected (from, to), got {(*limits, *named)}")
    given = dict(zip(("from", "to") if len(limits) == 2 else ("to",), limits, strict=False)) | named
    low, high = given.get("from") or 0, given.get("to")
    if high is None:
        d = self.dtype
        bits = {dtypes.float16: 11, dtypes.bfloat16: 8, dtypes.float32: 24, dtypes.float64: 53}.get(d)
        high = 2**bits + 1 if bits else 2 if d is dtypes.bool_ else min(int(np.iinfo(d.numpy).max) + 1, 2**63)
    return self._write(_integers(tuple(self.shape), int(low), int(high), self.dtype, generator))
