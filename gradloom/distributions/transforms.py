"""Invertible maps with the logarithm of their Jacobian's determinant, for transformed distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gradloom as gl
from gradloom.distributions import constraints as C
from gradloom.nn import functional as F
from gradloom.tensor import Tensor

__all__ = [
    "AbsTransform", "AffineTransform", "CatTransform", "ComposeTransform", "CorrCholeskyTransform",
    "CumulativeDistributionTransform", "ExpTransform", "IndependentTransform", "LowerCholeskyTransform",
    "PositiveDefiniteTransform", "PowerTransform", "ReshapeTransform", "SigmoidTransform", "SoftmaxTransform",
    "SoftplusTransform", "StackTransform", "StickBreakingTransform", "TanhTransform", "Transform",
    "identity_transform",
]  # fmt: skip


class Transform:
    """A map y = f(x).

    Attributes
    ----------
    domain, codomain : what it maps from and to; their ``event_dim`` axes make one value.
    bijective : whether it can be inverted. sign : of its derivative, where it is monotone.
    """

    bijective = True
    sign: Any = 1
    domain: C.Constraint = C.real
    codomain: C.Constraint = C.real

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def inverse_of(self, y: Tensor) -> Tensor:
        """The x of a y."""
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log |det dy/dx|, of the shape without the event's axes."""
        raise NotImplementedError(f"{type(self).__name__} does not keep volumes comparable")

    @property
    def inv(self) -> Transform:
        """The inverse."""
        return _Inverse(self)

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        """Shape of y for one of x."""
        return tuple(shape)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        """Shape of x for one of y."""
        return tuple(shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Inverse(Transform):
    def __init__(self, of: Transform) -> None:
        self._of = of
        self.domain, self.codomain, self.bijective, self.sign = of.codomain, of.domain, of.bijective, of.sign

    def __call__(self, x: Tensor) -> Tensor:
        return self._of.inverse_of(x)

    def inverse_of(self, y: Tensor) -> Tensor:
        return self._of(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self._of.log_abs_det_jacobian(y, x)

    @property
    def inv(self) -> Transform:
        return self._of

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        return self._of.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        return self._of.forward_shape(shape)

    def __repr__(self) -> str:
        return f"{self._of!r}.inv"


def _sum_last(x: Tensor, n: int) -> Tensor:
    return x.sum(tuple(range(-n, 0))) if n else x


class ComposeTransform(Transform):
    """Transforms one after the other."""

    def __init__(self, parts: Sequence[Transform]) -> None:
        self.parts = list(parts)
        self.bijective = all(p.bijective for p in self.parts)
        self.sign = 1
        for p in self.parts:
            self.sign = self.sign * p.sign
        if self.parts:
            need = max(p.domain.event_dim for p in self.parts)
            self.domain = C.independent(self.parts[0].domain, max(0, need - self.parts[0].domain.event_dim))
            last = self.parts[-1].codomain
            self.codomain = C.independent(last, max(0, need - last.event_dim))

    def __call__(self, x: Tensor) -> Tensor:
        for p in self.parts:
            x = p(x)
        return x

    def inverse_of(self, y: Tensor) -> Tensor:
        for p in reversed(self.parts):
            y = p.inverse_of(y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if not self.parts:
            return gl.zeros_like(x)
        event = self.domain.event_dim
        total: Any = None
        for p in self.parts:
            after = p(x)
            term = _sum_last(p.log_abs_det_jacobian(x, after), event - p.domain.event_dim)
            total = term if total is None else total + term
            event += p.codomain.event_dim - p.domain.event_dim
            x = after
        return total

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        for p in self.parts:
            shape = p.forward_shape(shape)
        return tuple(shape)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        for p in reversed(self.parts):
            shape = p.inverse_shape(shape)
        return tuple(shape)

    def __repr__(self) -> str:
        return "ComposeTransform([" + ", ".join(map(repr, self.parts)) + "])"


identity_transform = ComposeTransform([])


class ExpTransform(Transform):
    """y = e**x."""

    codomain = C.positive

    def __call__(self, x: Tensor) -> Tensor:
        return gl.exp(x)

    def inverse_of(self, y: Tensor) -> Tensor:
        return gl.log(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class PowerTransform(Transform):
    """y = x**exponent for positive x."""

    domain = codomain = C.positive

    def __init__(self, exponent: Any) -> None:
        self.exponent = gl.as_tensor(exponent)
        self.sign = gl.sign(self.exponent)

    def __call__(self, x: Tensor) -> Tensor:
        return x**self.exponent

    def inverse_of(self, y: Tensor) -> Tensor:
        return y ** (1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return gl.log(gl.abs(self.exponent * y / x))


class SigmoidTransform(Transform):
    """y = 1 / (1 + e**-x)."""

    codomain = C.unit_interval

    def __call__(self, x: Tensor) -> Tensor:
        info = gl.finfo(x.dtype)
        return gl.clamp(gl.sigmoid(x), info.tiny, 1.0 - info.eps)

    def inverse_of(self, y: Tensor) -> Tensor:
        info = gl.finfo(y.dtype)
        y = gl.clamp(y, info.tiny, 1.0 - info.eps)
        return gl.log(y) - gl.log1p(-y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -F.softplus(-x) - F.softplus(x)


class SoftplusTransform(Transform):
    """y = log(1 + e**x)."""

    codomain = C.positive

    def __call__(self, x: Tensor) -> Tensor:
        return F.softplus(x)

    def inverse_of(self, y: Tensor) -> Tensor:
        return gl.log(-gl.expm1(-y)) + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -F.softplus(-x)


class TanhTransform(Transform):
    """y = tanh(x)."""

    codomain = C.interval(-1.0, 1.0)

    def __call__(self, x: Tensor) -> Tensor:
        return gl.tanh(x)

    def inverse_of(self, y: Tensor) -> Tensor:
        return gl.atanh(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return 2.0 * (math.log(2.0) - x - F.softplus(-2.0 * x))


class AbsTransform(Transform):
    """y = |x|; its inverse is taken to be y."""

    bijective = False
    codomain = C.positive

    def __call__(self, x: Tensor) -> Tensor:
        return gl.abs(x)

    def inverse_of(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """y = loc + scale * x."""

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0) -> None:
        self.loc, self.scale = loc, scale
        self.domain = self.codomain = C.independent(C.real, event_dim) if event_dim else C.real
        self.sign = gl.sign(scale) if isinstance(scale, Tensor) else 1 if scale > 0 else -1 if scale < 0 else 0

    def __call__(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def inverse_of(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        s = self.scale
        one = gl.log(gl.abs(s)) if isinstance(s, Tensor) else gl.tensor(math.log(abs(s)), dtype=x.dtype)
        return _sum_last(gl.broadcast_to(one, x.shape), self.domain.event_dim)


class SoftmaxTransform(Transform):
    """y = softmax(x) over the last axis; inverted up to a constant."""

    bijective = False
    domain, codomain = C.real_vector, C.simplex

    def __call__(self, x: Tensor) -> Tensor:
        return gl.softmax(x, -1)

    def inverse_of(self, y: Tensor) -> Tensor:
        return gl.log(y)


class StickBreakingTransform(Transform):
    """Vectors of k - 1 reals to points of the simplex of k, by breaking a stick."""

    domain, codomain = C.real_vector, C.simplex

    @staticmethod
    def _offset(x: Tensor, n: int) -> Tensor:
        return gl.log(gl.arange(n, 0, -1, dtype=x.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        z = gl.sigmoid(x - self._offset(x, x.shape[-1]))
        left = gl.cumprod(1 - z, -1)
        return F.pad(z, (0, 1), value=1.0) * F.pad(left, (1, 0), value=1.0)

    def inverse_of(self, y: Tensor) -> Tensor:
        head = y[..., :-1]
        left = gl.clamp(1 - gl.cumsum(head, -1), min=gl.finfo(y.dtype).tiny)
        return gl.log(head) - gl.log(left) + self._offset(y, head.shape[-1])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        moved = x - self._offset(x, x.shape[-1])
        return (-moved + F.logsigmoid(moved) + gl.log(y[..., :-1])).sum(-1)

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] - 1)


class LowerCholeskyTransform(Transform):
    """Square matrices to lower triangular ones with a positive diagonal, by exp of the diagonal."""

    domain, codomain = C.independent(C.real, 2), C.lower_cholesky

    def __call__(self, x: Tensor) -> Tensor:
        return gl.tril(x, -1) + gl.diag_embed(gl.exp(gl.diagonal(x, dim1=-2, dim2=-1)))

    def inverse_of(self, y: Tensor) -> Tensor:
        return gl.tril(y, -1) + gl.diag_embed(gl.log(gl.diagonal(y, dim1=-2, dim2=-1)))


class PositiveDefiniteTransform(Transform):
    """Square matrices to positive-definite ones, by way of their Cholesky factor."""

    domain, codomain = C.independent(C.real, 2), C.positive_definite

    def __call__(self, x: Tensor) -> Tensor:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def inverse_of(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inverse_of(gl.linalg.cholesky(y))


class CorrCholeskyTransform(Transform):
    """Vectors of n (n - 1) / 2 reals to Cholesky factors of correlation matrices, by tanh and sticks."""

    domain, codomain = C.real_vector, C.corr_cholesky

    @staticmethod
    def _size(length: int) -> int:
        n = round((1 + math.sqrt(1 + 8 * length)) / 2)
        if n * (n - 1) // 2 != length:
            raise ValueError(f"CorrCholeskyTransform: {length} is not the number of entries below a diagonal")
        return n

    def _place(self, x: Tensor, n: int) -> Tensor:
        rows, columns = gl.tril_indices(n, n, -1)
        out = gl.zeros((*x.shape[:-1], n, n), dtype=x.dtype)
        out[..., rows, columns] = x
        return out

    def __call__(self, x: Tensor) -> Tensor:
        eps = gl.finfo(x.dtype).eps
        n = self._size(x.shape[-1])
        r = self._place(gl.clamp(gl.tanh(x), -1 + eps, 1 - eps), n)
        left = gl.cumprod(gl.sqrt(1 - r**2), -1)
        return (r + gl.eye(n, dtype=x.dtype)) * F.pad(left[..., :-1], (1, 0), value=1.0)

    def inverse_of(self, y: Tensor) -> Tensor:
        n = y.shape[-1]
        left = 1 - gl.cumsum(y * y, -1)
        shifted = F.pad(left[..., :-1], (1, 0), value=1.0)
        rows, columns = gl.tril_indices(n, n, -1)
        t = y[..., rows, columns] / gl.sqrt(gl.clamp(shifted[..., rows, columns], min=gl.finfo(y.dtype).tiny))
        return gl.atanh(t)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        left = 1 - gl.cumsum(y * y, -1)
        n = y.shape[-1]
        rows, columns = gl.tril_indices(n, n, -2)
        sticks = 0.5 * gl.log(left[..., rows, columns]).sum(-1)
        return sticks - 2 * (x + F.softplus(-2 * x) - math.log(2.0)).sum(-1)

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        n = self._size(shape[-1])
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


class IndependentTransform(Transform):
    """A transform whose last axes count as one value."""

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int) -> None:
        self.base_transform, self.n = base_transform, reinterpreted_batch_ndims
        self.bijective, self.sign = base_transform.bijective, base_transform.sign
        self.domain = C.independent(base_transform.domain, self.n)
        self.codomain = C.independent(base_transform.codomain, self.n)

    def __call__(self, x: Tensor) -> Tensor:
        return self.base_transform(x)

    def inverse_of(self, y: Tensor) -> Tensor:
        return self.base_transform.inverse_of(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return _sum_last(self.base_transform.log_abs_det_jacobian(x, y), self.n)


class ReshapeTransform(Transform):
    """Events of one shape to another."""

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            raise ValueError(f"ReshapeTransform: {self.in_shape} and {self.out_shape} have different sizes")
        self.domain, self.codomain = (C.independent(C.real, len(s)) for s in (self.in_shape, self.out_shape))

    def __call__(self, x: Tensor) -> Tensor:
        return x.reshape((*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape))

    def inverse_of(self, y: Tensor) -> Tensor:
        return y.reshape((*y.shape[: y.ndim - len(self.out_shape)], *self.in_shape))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return gl.zeros(x.shape[: x.ndim - len(self.in_shape)], dtype=x.dtype)

    def forward_shape(self, shape: Any) -> tuple[int, ...]:
        return (*shape[: len(shape) - len(self.in_shape)], *self.out_shape)

    def inverse_shape(self, shape: Any) -> tuple[int, ...]:
        return (*shape[: len(shape) - len(self.out_shape)], *self.in_shape)


class CatTransform(Transform):
    """Transforms on pieces of an axis, of the lengths given."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None) -> None:
        self.transforms, self.dim = list(tseq), dim
        self.lengths = list(lengths) if lengths is not None else [1] * len(self.transforms)
        self.bijective = all(t.bijective for t in self.transforms)

    def _each(self, x: Tensor, what: str, *more: Tensor) -> Tensor:
        pieces = [gl.split(v, self.lengths, self.dim) for v in (x, *more)]
        calls = [t if what == "call" else getattr(t, what) for t in self.transforms]
        return gl.cat([f(*args) for f, *args in zip(calls, *pieces, strict=True)], self.dim)

    def __call__(self, x: Tensor) -> Tensor:
        return self._each(x, "call")

    def inverse_of(self, y: Tensor) -> Tensor:
        return self._each(y, "inverse_of")

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._each(x, "log_abs_det_jacobian", y)


class StackTransform(CatTransform):
    """Transforms on the slices of an axis."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0) -> None:
        super().__init__(tseq, dim, [1] * len(tseq))


class CumulativeDistributionTransform(Transform):
    """y = cdf(x) of a distribution on the line."""

    codomain = C.unit_interval

    def __init__(self, distribution: Any) -> None:
        self.distribution = distribution
        self.domain = distribution.support

    def __call__(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def inverse_of(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distribution.log_prob(x)
