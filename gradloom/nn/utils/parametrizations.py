"""Ready-made parametrisations: weight normalisation, spectral normalisation, orthogonal matrices."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.dtypes import int64
from gradloom.errors import IndexRangeError
from gradloom.functions.conversion import finfo
from gradloom.functions.linalg_factor import geqrf, householder_product
from gradloom.functions.linalg_norms import vector_norm
from gradloom.functions.linalg_products import mv, vdot
from gradloom.functions.linalg_solve import matrix_exp, solve
from gradloom.functions.rearrange import tril, triu
from gradloom.functions.sampling import randn
from gradloom.modes import no_grad
from gradloom.nn import functional as F
from gradloom.nn.convolution import _ConvTransposeNd
from gradloom.nn.module import Module
from gradloom.nn.utils.parametrize import register_parametrization
from gradloom.tape import composite
from gradloom.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


# -- weight normalisation -----------------------------------------------------------------------------


def norm_except(v: Tensor, dim: int) -> Tensor:
    """The norm over all axes but one, which are kept with length 1; over all for -1."""
    if dim == -1:
        return vector_norm(v)
    return vector_norm(v, dim=tuple(k for k in range(v.ndim) if k != dim % v.ndim), keepdim=True)


@composite
def direction_times_length(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """The vector v with the length g instead of its own."""
    return v * (g / norm_except(v, dim))


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return direction_times_length(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train the length `original0` and the direction `original1` of a weight apart (Salimans and Kingma 2016).

    dim: the axis along which each slice has a length of its own; None for one length of all.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def old_names(state: Any, prefix: str, *rest: Any) -> None:
        for old, new in (("g", "original0"), ("v", "original1")):
            if f"{prefix}{name}_{old}" in state:
                state[f"{prefix}parametrizations.{name}.{new}"] = state.pop(f"{prefix}{name}_{old}")

    module._register_load_state_dict_pre_hook(old_names)
    return module


# -- spectral normalisation ---------------------------------------------------------------------------


@composite
def power_step(matrix: Tensor, v: Tensor, times: int, eps: float) -> tuple[Tensor, Tensor]:
    """(u, v) after some steps of the power iteration towards the largest singular value."""
    u = v
    for _ in range(times):
        u = F.normalize(mv(matrix, v), dim=0, eps=eps)
        v = F.normalize(mv(matrix.mH, u), dim=0, eps=eps)
    return u, v


@composite
def largest_singular(matrix: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """u*·W·v: the largest singular value, once u and v are its vectors."""
    return vdot(u, mv(matrix, v))


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """An axis against all the others."""
    if dim:
        weight = G.permute(weight, (dim, *(k for k in range(weight.ndim) if k != dim)))
    return G.reshape(weight, (weight.shape[0], -1))


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexRangeError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})",
                code="index.axis",
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps = dim % ndim, eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = as_matrix(weight.detach(), self.dim)
                start = F.normalize(G.cast(randn(matrix.shape[1]), weight.dtype), dim=0, eps=eps)
                u, v = power_step(matrix, start, 15, eps)
            self.register_buffer("_u", u.clone())
            self.register_buffer("_v", v.clone())

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            with no_grad():
                # new tensors, not new values of the old ones: a gradient taken later still knows what was read
                self._u, self._v = power_step(matrix.detach(), self._v, self.n_power_iterations, self.eps)
        return weight / largest_singular(matrix, self._u, self._v)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_axis(module: Module, dim: int | None) -> int:
    """The axis of the outputs, which transposed convolutions have in second place."""
    return dim if dim is not None else 1 if isinstance(module, _ConvTransposeNd) else 0


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value, which each forward pass in training estimates better.

    Reference: Miyato et al. 2018. dim: the axis of the outputs; by default 1 for transposed convolutions, else 0.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    part = _SpectralNorm(weight, n_power_iterations, spectral_axis(module, dim), eps)
    register_parametrization(module, name, part)
    return module


# -- orthogonal matrices ------------------------------------------------------------------------------


def _orthonormal(a: Tensor) -> Tensor:
    """The Q of A = QR with a positive diagonal of R; A is tall."""
    x, tau = geqrf(a)
    return householder_product(x, tau) * G.unsqueeze(G.sign(x.diagonal(dim1=-2, dim2=-1).real), -2)


class _Orthogonal(Module):
    def __init__(self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        if weight.dtype.is_complex and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = tuple(weight.shape)
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        n, k = X.shape[-2:]
        wide = n < k
        if wide:
            X, n, k = X.mT, k, n
        if self.orthogonal_map == "householder":
            A = tril(X, -1)
            tau = 2.0 / (1.0 + G.sum(A * A, -2))
            Q = householder_product(A, tau)
            # the diagonal holds signs, which are no values to train
            signs = G.cast(X.diagonal(dim1=-2, dim2=-1).detach(), int64)
            Q = Q * G.unsqueeze(G.cast(signs, X.dtype), -2)
        else:
            X = tril(X)
            if n != k:
                X = G.cat([X, G.zeros((*X.shape[:-2], n, n - k), dtype=X.dtype)], -1)
            A = X - X.mH  # skew-Hermitian: its exponential and its Cayley transform are unitary
            if self.orthogonal_map == "matrix_exp":
                Q = matrix_exp(A)
            else:
                one = G.eye(n, dtype=A.dtype)
                Q = solve(one - A * 0.5, one + A * 0.5)
            if n != k:
                Q = G.narrow(Q, -1, 0, k)
        if self.use_trivialization:
            Q = self.base @ Q
        return Q.mT if wide else Q

    def right_inverse(self, Q: Tensor) -> Tensor:
        if tuple(Q.shape) != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}."
            )
        start = Q
        n, k = Q.shape[-2:]
        wide = n < k
        if wide:
            Q, n, k = Q.mT, k, n
        if not self.use_trivialization:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            A, tau = geqrf(Q)
            diagonal = G.sign(A.diagonal(dim1=-2, dim2=-1))
            # a reflection that is not used leaves the sign of R's diagonal as it is
            diagonal = G.where(tau == 0.0, -diagonal, diagonal)
            square = G.unsqueeze(G.eye(n, k, dtype=A.dtype), 0) * G.unsqueeze(diagonal, -2)
            A = tril(A, -1) + triu(A, 1) + G.reshape(square, tuple(A.shape))
            return A.mT if wide else A
        if n == k:
            gram = Q.mH @ Q
            near = G.allclose(gram, G.eye(k, dtype=Q.dtype), atol=10.0 * n * finfo(Q.dtype).eps)
            Q = Q.clone() if near else _orthonormal(Q)
        else:  # completed to a basis of the whole space
            more = G.cast(randn(*Q.shape[:-2], n, n - k), Q.dtype)
            Q = _orthonormal(G.cat([Q, more], -1))
        self.base = Q.detach().clone()
        minus = -G.eye(*start.shape[-2:], dtype=start.dtype)
        return G.broadcast_to(minus, start.shape).clone()


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keep a weight orthogonal (unitary, for complex numbers), or with orthonormal rows or columns.

    Parameters
    ----------
    orthogonal_map : "matrix_exp", "cayley" or "householder"
        How the matrix is made of free numbers; by default "matrix_exp" for square and complex ones, else
        "householder".
    use_trivialization : bool
        Start from the nearest orthogonal matrix, kept in `base`, so that any matrix can be assigned (Lezcano-Casado
        2019).
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1] or weight.dtype.is_complex
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    part = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    register_parametrization(module, name, part, unsafe=True)
    return module
