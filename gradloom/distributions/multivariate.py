"""Distributions of vectors and matrices, mixtures, and batches read as one event."""

from __future__ import annotations

import math
from typing import Any

import gradloom as gl
from gradloom.distributions import constraints as C
from gradloom.distributions.continuous import Beta, inner, log_gamma_numbers, positive_gamma
from gradloom.distributions.discrete import Categorical
from gradloom.distributions.distribution import Distribution, ExponentialFamily
from gradloom.tensor import Tensor

__all__ = [
    "Dirichlet", "Independent", "LKJCholesky", "LowRankMultivariateNormal", "MixtureSameFamily", "MultivariateNormal",
    "Wishart",
]  # fmt: skip


class Dirichlet(ExponentialFamily):
    """Points of the simplex, with ``concentration`` (..., k)."""

    arg_constraints = {"concentration": C.independent(C.positive, 1)}
    support = C.simplex
    has_rsample = True

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.ndim < 1:
            raise ValueError("Dirichlet: concentration needs at least one axis")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    mean = property(lambda self: self.concentration / self.concentration.sum(-1, keepdim=True))

    @property
    def mode(self) -> Tensor:
        a = gl.clamp(self.concentration - 1, min=0)
        mode = a / a.sum(-1, keepdim=True)
        flat = (self.concentration < 1).all(-1, keepdim=True)
        corner = gl.nn.functional.one_hot(gl.argmax(self.concentration, -1), a.shape[-1]).to(a.dtype)
        return gl.where(flat, corner, mode)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        x = log_gamma_numbers(gl.broadcast_to(self.concentration, self._extended(sample_shape)))
        return inner(gl.softmax(x, -1))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        a = self.concentration
        return gl.xlogy(a - 1, value).sum(-1) + gl.lgamma(a.sum(-1)) - gl.lgamma(a).sum(-1)

    def entropy(self) -> Tensor:
        a, k = self.concentration, self._event_shape[0]
        total = a.sum(-1)
        spread = (k - total) * gl.digamma(total) + ((a - 1) * gl.digamma(a)).sum(-1)
        return gl.lgamma(a).sum(-1) - gl.lgamma(total) - spread


def _solve_lower(lower: Tensor, x: Tensor) -> Tensor:
    """Squared length of the solution of ``lower @ y = x`` for each vector of x."""
    shape = gl.broadcast_shapes(tuple(lower.shape[:-2]), tuple(x.shape[:-1]))
    n = x.shape[-1]
    full = gl.broadcast_to(lower, (*shape, n, n))
    y = gl.linalg.solve_triangular(full, gl.broadcast_to(x, (*shape, n)).unsqueeze(-1), upper=False)
    return (y * y).sum((-2, -1))


def _log_diagonal(lower: Tensor) -> Tensor:
    return gl.log(gl.diagonal(lower, dim1=-2, dim2=-1)).sum(-1)


class MultivariateNormal(Distribution):
    """Normal vectors, by one of covariance_matrix, precision_matrix and scale_tril (lower Cholesky factor)."""

    arg_constraints = {
        "loc": C.real_vector, "covariance_matrix": C.positive_definite, "precision_matrix": C.positive_definite,
        "scale_tril": C.lower_cholesky,
    }  # fmt: skip
    support = C.real_vector
    has_rsample = True

    def __init__(
        self, loc: Tensor, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        chosen = {name: m for name, m in given.items() if m is not None}
        if len(chosen) != 1:
            raise ValueError("MultivariateNormal: give exactly one of covariance_matrix, precision_matrix, scale_tril")
        if loc.ndim < 1:
            raise ValueError("MultivariateNormal: loc needs at least one axis")
        ((self._form, matrix),) = chosen.items()
        if matrix.ndim < 2:
            raise ValueError(f"MultivariateNormal: {self._form} needs at least two axes")
        n = loc.shape[-1]
        batch = gl.broadcast_shapes(tuple(matrix.shape[:-2]), tuple(loc.shape[:-1]))
        self.loc = gl.broadcast_to(loc, (*batch, n))
        self._matrix = gl.broadcast_to(matrix, (*batch, n, n))
        self.__dict__[self._form] = self._matrix
        super().__init__(batch, (n,), validate_args)
        if self._form == "scale_tril":
            self._lower = self._matrix
        elif self._form == "covariance_matrix":
            self._lower = gl.linalg.cholesky(self._matrix)
        else:
            flipped = gl.linalg.cholesky(gl.flip(self._matrix, (-2, -1)))
            upper = gl.flip(flipped, (-2, -1)).mT
            self._lower = gl.linalg.solve_triangular(upper, gl.eye(n, dtype=loc.dtype), upper=False)

    def __getattr__(self, name: str) -> Any:
        if name == "scale_tril":
            return self.__dict__["_lower"]
        if name == "covariance_matrix":
            return self.__dict__["_lower"] @ self.__dict__["_lower"].mT
        if name == "precision_matrix":
            return gl.cholesky_inverse(self.__dict__["_lower"])
        raise AttributeError(f"MultivariateNormal has no attribute {name!r}")

    mean = mode = property(lambda self: self.loc)
    variance = property(lambda self: (self._lower**2).sum(-1))

    def expand(self, batch_shape: Any) -> Distribution:
        n = self._event_shape[0]
        return MultivariateNormal(
            gl.broadcast_to(self.loc, (*batch_shape, n)), validate_args=False,
            **{self._form: gl.broadcast_to(self._matrix, (*batch_shape, n, n))},
        )  # fmt: skip

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        eps = gl.randn(self._extended(sample_shape), dtype=self.loc.dtype)
        return self.loc + (self._lower @ eps.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        distance = _solve_lower(self._lower, value - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + distance) - _log_diagonal(self._lower)

    def entropy(self) -> Tensor:
        return 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + _log_diagonal(self._lower)


class LowRankMultivariateNormal(Distribution):
    """Normal vectors with the covariance ``cov_factor @ cov_factor.T + diag(cov_diag)``."""

    arg_constraints = {
        "loc": C.real_vector, "cov_factor": C.independent(C.real, 2), "cov_diag": C.independent(C.positive, 1)
    }  # fmt: skip
    support = C.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None) -> None:
        n = loc.shape[-1] if loc.ndim else 0
        if not n or cov_factor.ndim < 2 or cov_factor.shape[-2] != n or cov_diag.shape[-1:] != (n,):
            raise ValueError(
                f"LowRankMultivariateNormal: loc {tuple(loc.shape)} needs a cov_factor (..., {n}, rank) and a cov_diag "
                f"(..., {n}), got {tuple(cov_factor.shape)} and {tuple(cov_diag.shape)}"
            )
        batch = gl.broadcast_shapes(tuple(loc.shape[:-1]), tuple(cov_factor.shape[:-2]), tuple(cov_diag.shape[:-1]))
        self.loc = gl.broadcast_to(loc, (*batch, n))
        self.cov_factor = gl.broadcast_to(cov_factor, (*batch, *cov_factor.shape[-2:]))
        self.cov_diag = gl.broadcast_to(cov_diag, (*batch, n))
        super().__init__(batch, (n,), validate_args)

    @property
    def _capacitance(self) -> Tensor:
        """Lower factor of I + W' D^-1 W (Woodbury)."""
        w = self.cov_factor
        inner = w.mT @ (w / self.cov_diag.unsqueeze(-1))
        return gl.linalg.cholesky(inner + gl.eye(w.shape[-1], dtype=w.dtype))

    mean = mode = property(lambda self: self.loc)
    variance = property(lambda self: (self.cov_factor**2).sum(-1) + self.cov_diag)

    @property
    def covariance_matrix(self) -> Tensor:
        """The whole covariance."""
        return self.cov_factor @ self.cov_factor.mT + gl.diag_embed(self.cov_diag)

    @property
    def precision_matrix(self) -> Tensor:
        """Its inverse."""
        return gl.linalg.inv(self.covariance_matrix)

    @property
    def scale_tril(self) -> Tensor:
        """Its lower Cholesky factor."""
        return gl.linalg.cholesky(self.covariance_matrix)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended(sample_shape)
        low = gl.randn((*shape[:-1], self.cov_factor.shape[-1], 1), dtype=self.loc.dtype)
        return (
            self.loc
            + (self.cov_factor @ low).squeeze(-1)
            + self.cov_diag.sqrt() * gl.randn(shape, dtype=self.loc.dtype)
        )

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        d = value - self.loc
        inner = (self.cov_factor.mT @ (d / self.cov_diag).unsqueeze(-1)).squeeze(-1)
        distance = (d**2 / self.cov_diag).sum(-1) - _solve_lower(self._capacitance, inner)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + self._log_det() + distance)

    def _log_det(self) -> Tensor:
        return 2 * _log_diagonal(self._capacitance) + gl.log(self.cov_diag).sum(-1)

    def entropy(self) -> Tensor:
        return 0.5 * (self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._log_det())


class Wishart(ExponentialFamily):
    """Covariance matrices of ``df`` normal vectors, by covariance_matrix, precision_matrix or scale_tril."""

    arg_constraints = {
        "df": C.positive, "covariance_matrix": C.positive_definite, "precision_matrix": C.positive_definite,
        "scale_tril": C.lower_cholesky,
    }  # fmt: skip
    support = C.positive_definite
    has_rsample = True

    def __init__(
        self, df: Any, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        matrix = next((m for m in (covariance_matrix, precision_matrix, scale_tril) if m is not None), None)
        if matrix is None:
            raise ValueError("Wishart: give one of covariance_matrix, precision_matrix, scale_tril")
        n = matrix.shape[-1]
        base = MultivariateNormal(
            gl.zeros(n, dtype=matrix.dtype), covariance_matrix, precision_matrix, scale_tril, validate_args
        )
        batch = gl.broadcast_shapes(tuple(matrix.shape[:-2]), tuple(gl.as_tensor(df).shape))
        self.df = gl.broadcast_to(gl.as_tensor(df, dtype=matrix.dtype), batch)
        self.scale_tril = gl.broadcast_to(base.scale_tril, (*batch, n, n))
        super().__init__(batch, (n, n), validate_args)
        if self._validate and not bool((self.df > n - 1).all()):
            raise ValueError(f"Wishart: df must be greater than {n - 1}, the size of the matrix less 1, got {self.df}")

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariance of the normal vectors."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self) -> Tensor:
        """Its inverse."""
        return gl.cholesky_inverse(self.scale_tril)

    @property
    def mean(self) -> Tensor:
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        factor = self.df - self._event_shape[0] - 1
        return gl.where(factor <= 0, math.nan, factor)[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        d = gl.diagonal(v, dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v**2 + d.unsqueeze(-1) * d.unsqueeze(-2))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Bartlett's decomposition (1933)."""
        n = self._event_shape[0]
        shape = (*sample_shape, *self._batch_shape)
        k = self.df.unsqueeze(-1) - gl.arange(n, dtype=self.df.dtype)
        chi = gl.sqrt(2 * positive_gamma(gl.broadcast_to(k / 2, (*shape, n))))
        a = gl.diag_embed(chi) + gl.tril(gl.randn((*shape, n, n), dtype=self.df.dtype), -1)
        x = self.scale_tril @ a
        return x @ x.mT

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        n, nu = self._event_shape[0], self.df
        log_det = gl.linalg.slogdet(value).logabsdet
        trace = gl.diagonal(self.precision_matrix @ value, dim1=-2, dim2=-1).sum(-1)
        log_scale = nu * _log_diagonal(self.scale_tril)
        front = nu * n / 2 * math.log(2) + log_scale + gl.special.multigammaln(nu / 2, n)
        return -front + (nu - n - 1) / 2 * log_det - trace / 2

    def entropy(self) -> Tensor:
        n, nu = self._event_shape[0], self.df
        log_v = 2 * _log_diagonal(self.scale_tril)
        steps = gl.arange(n, dtype=nu.dtype)
        expected = gl.digamma((nu.unsqueeze(-1) - steps) / 2).sum(-1)
        spread = (n + 1) / 2 * log_v + n * (n + 1) / 2 * math.log(2) + gl.special.multigammaln(nu / 2, n)
        return spread - (nu - n - 1) / 2 * expected + nu * n / 2


class LKJCholesky(Distribution):
    """Lower Cholesky factors of correlation matrices (Lewandowski, Kurowicka and Joe 2009), by the onion method."""

    arg_constraints = {"concentration": C.positive}
    support = C.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"LKJCholesky: dim must be at least 2, got {dim}")
        self.dim = dim
        self.concentration = gl.as_tensor(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args)

    def _beta(self) -> Beta:
        offset = gl.cat([gl.zeros(1), gl.arange(self.dim - 1, dtype=self.concentration.dtype)])
        marginal = self.concentration + 0.5 * (self.dim - 2)
        return Beta(offset + 0.5, marginal.unsqueeze(-1) - 0.5 * offset, False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            y = self._beta().sample(sample_shape).unsqueeze(-1)
            u = gl.tril(gl.randn(self._extended(sample_shape), dtype=self.concentration.dtype), -1)
            sphere = u / gl.clamp(gl.linalg.vector_norm(u, dim=-1, keepdim=True), min=gl.finfo(u.dtype).tiny)
            first = gl.arange(self.dim).reshape(-1, 1) > 0
            w = gl.where(first, gl.sqrt(y) * sphere, 0.0)
            return w + gl.diag_embed(gl.sqrt(gl.clamp(1 - (w**2).sum(-1), min=gl.finfo(w.dtype).tiny)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        n = self.dim
        diagonal = gl.diagonal(value, dim1=-2, dim2=-1)[..., 1:]
        order = 2 * (self.concentration - 1).unsqueeze(-1) + n - gl.arange(2, n + 1, dtype=value.dtype)
        alpha = self.concentration + 0.5 * (n - 2 + 1)
        norm = gl.special.multigammaln(alpha - 0.5, n - 1) - gl.lgamma(alpha) * (n - 1)
        return (order * gl.log(diagonal)).sum(-1) - (0.5 * (n - 1) * math.log(math.pi) + norm)


class Independent(Distribution):
    """The last ``reinterpreted_batch_ndims`` axes of a batch read as part of the event."""

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: bool | None = None
    ) -> None:
        batch, event = base_distribution._batch_shape, base_distribution._event_shape
        n = reinterpreted_batch_ndims
        if not 0 <= n <= len(batch):
            raise ValueError(f"Independent: cannot reinterpret {n} axes of a batch of shape {batch}")
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, n
        self.has_rsample, self.has_enumerate_support = base_distribution.has_rsample, False
        super().__init__(batch[: len(batch) - n], (*batch[len(batch) - n :], *event), validate_args)

    support = property(lambda self: C.independent(self.base_dist.support, self.reinterpreted_batch_ndims))  # type: ignore[assignment]
    mean = property(lambda self: self.base_dist.mean)
    mode = property(lambda self: self.base_dist.mode)
    variance = property(lambda self: self.base_dist.variance)

    def expand(self, batch_shape: Any) -> Distribution:
        inner = self.base_dist._batch_shape[len(self.base_dist._batch_shape) - self.reinterpreted_batch_ndims :]
        return Independent(self.base_dist.expand((*batch_shape, *inner)), self.reinterpreted_batch_ndims, False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def _sum(self, x: Tensor) -> Tensor:
        n = self.reinterpreted_batch_ndims
        return x.sum(tuple(range(-n, 0))) if n else x

    def log_prob(self, value: Tensor) -> Tensor:
        return self._sum(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._sum(self.base_dist.entropy())

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamily(Distribution):
    """A mixture of the last axis of a batch, weighted by a Categorical."""

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args: bool | None = None
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError("MixtureSameFamily: the mixture distribution must be a Categorical")
        batch = component_distribution._batch_shape
        count = int(mixture_distribution.logits.shape[-1])
        if not batch or batch[-1] != count:
            raise ValueError(f"MixtureSameFamily: {count} weights do not go with components of batch shape {batch}")
        self.mixture_distribution, self.component_distribution = mixture_distribution, component_distribution
        super().__init__(batch[:-1], component_distribution._event_shape, validate_args)

    support = property(lambda self: self.component_distribution.support)  # type: ignore[assignment]

    def _weights(self) -> Tensor:
        p = self.mixture_distribution.probs
        return p.reshape(*p.shape, *([1] * len(self._event_shape)))

    @property
    def _axis(self) -> int:
        return -1 - len(self._event_shape)

    @property
    def mean(self) -> Tensor:
        return (self._weights() * self.component_distribution.mean).sum(self._axis)

    @property
    def variance(self) -> Tensor:
        between = (self.component_distribution.mean - self.mean.unsqueeze(self._axis)) ** 2
        return (self._weights() * (self.component_distribution.variance + between)).sum(self._axis)

    def expand(self, batch_shape: Any) -> Distribution:
        count = self.component_distribution._batch_shape[-1]
        mixture: Any = self.mixture_distribution.expand(batch_shape)
        return MixtureSameFamily(mixture, self.component_distribution.expand((*batch_shape, count)), False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with gl.no_grad():
            mixture = self.mixture_distribution.expand(self._batch_shape)
            index = mixture.sample(sample_shape)
            index = index.reshape(*index.shape, *([1] * (1 + len(self._event_shape))))
            drawn = self.component_distribution.sample(sample_shape)
            axis = drawn.ndim + self._axis
            shape = tuple(1 if k == axis else n for k, n in enumerate(drawn.shape))
            return gl.gather(drawn, axis, gl.broadcast_to(index, shape)).squeeze(axis)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        parts = self.component_distribution.log_prob(value.unsqueeze(self._axis))
        return gl.logsumexp(parts + gl.log_softmax(self.mixture_distribution.logits, -1), -1)

    def cdf(self, value: Tensor) -> Tensor:
        parts = self.component_distribution.cdf(value.unsqueeze(self._axis))
        return (parts * self.mixture_distribution.probs).sum(-1)
