"""``gradloom.linalg`` against PyTorch: values, dtypes and shapes of batches and of empty matrices, what is refused."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import DTypeError, GradientError, GradloomError, NotSupportedError, ShapeError
from gradloom.linalg import LinAlgError
from gradloom.testing import check_grads

RNG = np.random.default_rng(8)
DTYPES = [np.float64, np.float32, np.complex128, np.complex64]


def made(*shape: int, dtype: Any = np.float64, kind: str = "") -> np.ndarray:
    """Random matrices; kind "square" well conditioned, "spd" positive definite, "sym" Hermitian."""
    a = RNG.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        a = a + 1j * RNG.standard_normal(shape)
    if kind == "square":
        a = a + 3 * np.eye(shape[-1])
    if kind == "spd":
        a = a @ a.conj().swapaxes(-1, -2) + np.eye(shape[-1])
    if kind == "sym":
        a = a + a.conj().swapaxes(-1, -2)
    return np.asarray(a).astype(dtype)


def flat(x: Any) -> list[Any]:
    return [z for y in x for z in flat(y)] if isinstance(x, (tuple, list)) else [x]


def agree(name: str, ours: Callable[..., Any], theirs: Callable[..., Any], arrays: list[np.ndarray]) -> None:
    got, want = flat(ours(*map(gl.tensor, arrays))), flat(theirs(*map(torch.tensor, arrays)))
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        x, y = g.numpy(), w.resolve_conj().numpy()
        assert (x.dtype, x.shape) == (y.dtype, y.shape), (name, x.dtype, x.shape, y.dtype, y.shape)
        tol = 2e-3 if y.dtype in (np.float32, np.complex64) else 1e-9
        np.testing.assert_allclose(x, y, tol, tol, err_msg=name)


Case = tuple[Callable[[Any, Any], Any], list[tuple[tuple[int, ...], str]]]
S, P, H, A = "square", "spd", "sym", ""
# name -> (function of the library and the operands, shapes and kinds)
UNIQUE: dict[str, Case] = {
    "inv": (lambda L, a: L.linalg.inv(a), [((2, 4, 4), S)]),
    "inv_ex": (lambda L, a: L.linalg.inv_ex(a), [((3, 3), S)]),
    "inverse of nothing": (lambda L, a: L.inverse(a), [((2, 0, 0), A)]),
    "inverse of no matrix": (lambda L, a: L.inverse(a), [((0, 3, 3), A)]),
    "solve": (lambda L, a, b: L.linalg.solve(a, b), [((2, 3, 3), S), ((3, 2), A)]),
    "solve vectors": (lambda L, a, b: L.linalg.solve(a, b), [((2, 3, 3), S), ((2, 3), A)]),
    "solve from the right": (lambda L, a, b: L.linalg.solve(a, b, left=False), [((3, 3), S), ((2, 3), A)]),
    "solve_ex": (lambda L, a, b: L.linalg.solve_ex(a, b), [((3, 3), S), ((3, 2), A)]),
    "solve nothing": (lambda L, a, b: L.linalg.solve(a, b), [((0, 0), A), ((0, 2), A)]),
    "solve_triangular": (lambda L, a, b: L.linalg.solve_triangular(a, b, upper=True), [((2, 3, 3), S), ((3, 2), A)]),
    "triangular_solve": (lambda L, b, a: L.triangular_solve(b, a, False, True, True), [((3, 2), A), ((3, 3), S)]),
    "tensorinv": (lambda L, a: L.linalg.tensorinv(a.reshape(2, 2, 4)), [((4, 4), S)]),
    "tensorsolve": (lambda L, a, b: L.linalg.tensorsolve(a.reshape(2, 2, 4), b), [((4, 4), S), ((2, 2), A)]),
    "det": (lambda L, a: L.det(a), [((2, 3, 3), A)]),
    "det of nothing": (lambda L, a: L.det(a), [((2, 0, 0), A)]),
    "slogdet": (lambda L, a: L.slogdet(a), [((2, 3, 3), A)]),
    "logdet": (lambda L, a: L.logdet(a), [((2, 3, 3), P)]),
    "cholesky": (lambda L, a: L.linalg.cholesky(a), [((2, 3, 3), P)]),
    "cholesky upper": (lambda L, a: L.linalg.cholesky(a, upper=True), [((3, 3), P)]),
    "cholesky_ex": (lambda L, a: L.linalg.cholesky_ex(a), [((2, 3, 3), P)]),
    "cholesky of nothing": (lambda L, a: L.linalg.cholesky(a), [((0, 0), A)]),
    "cholesky_solve": (lambda L, b, a: L.cholesky_solve(b, a, True), [((2, 3, 2), A), ((3, 3), S)]),
    "cholesky_inverse": (lambda L, a: L.cholesky_inverse(L.linalg.cholesky(a)), [((2, 3, 3), P)]),
    "matrix_power": (lambda L, a: L.matrix_power(a, 5), [((2, 3, 3), A)]),
    "matrix_power 0": (lambda L, a: L.matrix_power(a, 0), [((2, 3, 3), A)]),
    "matrix_power -3": (lambda L, a: L.matrix_power(a, -3), [((3, 3), S)]),
    "matrix_exp": (lambda L, a: L.matrix_exp(a), [((2, 3, 3), A)]),
    "matrix_exp of large": (lambda L, a: L.matrix_exp(a * 3), [((4, 4), A)]),
    "lu_factor": (lambda L, a: L.linalg.lu_factor(a), [((2, 5, 5), A)]),
    "lu_factor_ex": (lambda L, a: L.linalg.lu_factor_ex(a), [((2, 3, 5), A)]),
    "lu_factor by blocks": (lambda L, a: L.linalg.lu_factor(a), [((2, 70, 50), A)]),
    "lu": (lambda L, a: L.linalg.lu(a), [((2, 5, 3), A)]),
    "lu of nothing": (lambda L, a: L.linalg.lu(a), [((3, 0), A)]),
    "torch.lu": (lambda L, a: L.lu(a), [((3, 3), A)]),
    "lu_unpack": (lambda L, a: L.lu_unpack(*L.linalg.lu_factor(a)), [((2, 3, 5), A)]),
    "lu_solve": (lambda L, a, b: L.linalg.lu_solve(*L.linalg.lu_factor(a), b), [((2, 3, 3), A), ((2, 3, 2), A)]),
    "lu_solve adjoint": (lambda L, a, b: L.linalg.lu_solve(*L.linalg.lu_factor(a), b, left=False, adjoint=True),
                         [((3, 3), A), ((2, 3), A)]),
    "ldl_factor": (lambda L, a: L.linalg.ldl_factor_ex(a), [((2, 7, 7), H)]),
    "ldl_factor hermitian": (lambda L, a: L.linalg.ldl_factor(a, hermitian=True), [((2, 7, 7), H)]),
    "ldl_solve": (lambda L, a, b: L.linalg.ldl_solve(*L.linalg.ldl_factor(a, hermitian=True), b, hermitian=True),
                  [((2, 5, 5), H), ((2, 5, 2), A)]),
    "geqrf": (lambda L, a: L.geqrf(a), [((2, 4, 3), A)]),
    "householder_product": (lambda L, a, t: L.linalg.householder_product(a, t), [((2, 4, 3), A), ((2, 2), A)]),
    "ormqr": (lambda L, a, t, c: L.ormqr(a, t, c, True, True), [((4, 3), A), ((3,), A), ((4, 2), A)]),
    "svdvals": (lambda L, a: L.linalg.svdvals(a), [((2, 3, 5), A)]),
    "svdvals of nothing": (lambda L, a: L.linalg.svdvals(a), [((2, 0, 5), A)]),
    "eigvalsh": (lambda L, a: L.linalg.eigvalsh(a), [((2, 3, 3), H)]),
    "eigvalsh of the upper triangle": (lambda L, a: L.linalg.eigvalsh(a, UPLO="U"), [((3, 3), A)]),
    "pinv": (lambda L, a: L.linalg.pinv(a), [((2, 3, 5), A)]),
    "pinv hermitian": (lambda L, a: L.linalg.pinv(a, hermitian=True), [((3, 3), H)]),
    "pinv of nothing": (lambda L, a: L.linalg.pinv(a), [((2, 3, 0), A)]),
    "pinverse": (lambda L, a: L.pinverse(a, 0.5), [((4, 4), A)]),
    "lstsq": (lambda L, a, b: L.linalg.lstsq(a, b), [((2, 5, 3), A), ((2, 5, 2), A)]),
    "lstsq gels": (lambda L, a, b: L.linalg.lstsq(a, b, driver="gels"), [((5, 3), A), ((5, 2), A)]),
    "lstsq gelsd, wide": (lambda L, a, b: L.linalg.lstsq(a, b, driver="gelsd"), [((3, 5), A), ((3, 2), A)]),
    "matrix_rank": (lambda L, a: L.linalg.matrix_rank(a), [((2, 4, 3), A)]),
    "matrix_rank atol": (lambda L, a: L.linalg.matrix_rank(a, atol=1.5), [((4, 3), A)]),
    "cond": (lambda L, a: L.linalg.cond(a), [((2, 3, 3), S)]),
    "cond 1": (lambda L, a: L.linalg.cond(a, 1), [((3, 3), S)]),
    "cond -2": (lambda L, a: L.linalg.cond(a, -2), [((3, 4), A)]),
    "multi_dot": (lambda L, a, b: L.linalg.multi_dot([a, b]), [((3,), A), ((3, 4), A)]),
    "diagonal": (lambda L, a: L.linalg.diagonal(a, offset=1, dim1=0, dim2=2), [((3, 2, 4), A)]),
    "trace": (lambda L, a: L.trace(a), [((3, 4), A)]),
    "renorm": (lambda L, a: L.renorm(a, 2, 1, 1.5), [((3, 4), A)]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:torch")
@pytest.mark.parametrize("name", UNIQUE)
def test_values(name: str) -> None:
    fn, operands = UNIQUE[name]
    for dtype in (np.float32, np.complex128) if name != "renorm" else (np.float64,):
        arrays = [made(*shape, dtype=dtype, kind=kind) for shape, kind in operands]
        agree(name, lambda *xs: fn(gl, *xs), lambda *xs: fn(torch, *xs), arrays)


@pytest.mark.parametrize("ord", ["fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf])
@pytest.mark.parametrize("keepdim", [False, True])
def test_matrix_norms(ord: Any, keepdim: bool) -> None:
    for dim in ((-2, -1), (2, 0)):
        a = [made(3, 2, 4, dtype=np.complex128)]
        agree(
            str(ord),
            lambda x, d=dim: gl.linalg.matrix_norm(x, ord, d, keepdim),
            lambda x, d=dim: torch.linalg.matrix_norm(x, ord, d, keepdim),
            a,
        )


@pytest.mark.parametrize("ord", [2, 1, 0, 3.5, 0.5, -1, -2.5, math.inf, -math.inf])
def test_vector_norms(ord: float) -> None:
    for dim, keep in ((None, False), (1, True), ((0, 2), False), ((), False)):
        a = [made(3, 2, 4, dtype=np.float64)]
        a[0][1] = 0
        options: Any = {"ord": ord, "dim": dim, "keepdim": keep}
        agree(
            str(ord),
            functools.partial(gl.linalg.vector_norm, **options),
            functools.partial(torch.linalg.vector_norm, **options),
            a,
        )


NORMS: list[Callable[[Any, Any], Any]] = [
    lambda L, x: L.norm(x), lambda L, x: L.norm(x, 1), lambda L, x: L.norm(x, "nuc"), lambda L, x: x.norm(),
    lambda L, x: x.norm(p=3, dim=1), lambda L, x: x.norm(2, (0, 1), True), lambda L, x: L.norm(x, math.inf, 0),
    lambda L, x: L.norm(x, dtype=L.float64), lambda L, x: L.linalg.norm(x), lambda L, x: L.linalg.norm(x, 2),
    lambda L, x: L.linalg.norm(x, 2, 1), lambda L, x: L.linalg.norm(x, "nuc"), lambda L, x: L.linalg.norm(x, 1, (1, 0)),
    lambda L, x: L.linalg.norm(x, dim=1), lambda L, x: L.nuclear_norm(x), lambda L, x: L.frobenius_norm(x, 1, True),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:at::")
@pytest.mark.parametrize("k", range(len(NORMS)))
def test_forms_of_norm(k: int) -> None:
    agree(str(k), lambda x: NORMS[k](gl, x), lambda x: NORMS[k](torch, x), [made(3, 4, dtype=np.float32)])


def test_norm_of_half_precision_does_not_overflow() -> None:
    x = gl.full((4,), 300.0, dtype=gl.float16)
    assert gl.norm(x).item() == 600 and gl.norm(x).dtype is gl.float16


def test_gradient_of_norms_at_zero_is_zero() -> None:
    for p in (2, 1, 0.5, 3, math.inf):
        x = gl.zeros(3, requires_grad=True)
        gl.norm(x, p).backward()
        np.testing.assert_array_equal(x.grad.numpy(), np.zeros(3))


# -- factorisations that are not unique: what they must satisfy ---------------------------------------------
def h(x: np.ndarray) -> np.ndarray:
    return x.conj().swapaxes(-1, -2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 3, 3), (0, 3), (3, 0), (0, 2, 2)])
def test_svd_and_qr(dtype: Any, shape: tuple[int, ...]) -> None:
    a = made(*shape, dtype=dtype)
    k, tol = min(shape[-2:]), 1e-4 if dtype in (np.float32, np.complex64) else 1e-11
    x = gl.tensor(a)
    for full in (False, True):
        got = gl.linalg.svd(x, full_matrices=full)
        want = torch.linalg.svd(torch.tensor(a), full_matrices=full)
        assert got._fields == ("U", "S", "Vh") and [tuple(t.shape) for t in got] == [tuple(t.shape) for t in want]
        u, s, vh = (t.numpy() for t in got)
        np.testing.assert_allclose(u[..., :k] * s[..., None, :] @ vh[..., :k, :], a, tol, tol)
        np.testing.assert_allclose(
            h(u) @ u, np.broadcast_to(np.eye(u.shape[-1]), (*shape[:-2], *u.shape[-1:] * 2)), tol, tol
        )
    for mode in ("reduced", "complete"):
        got2 = gl.linalg.qr(x, mode)
        want2 = torch.linalg.qr(torch.tensor(a), mode)
        assert [tuple(t.shape) for t in got2] == [tuple(t.shape) for t in want2]
        q, r = (t.numpy() for t in got2)
        np.testing.assert_allclose(q @ r, a, tol, tol)
        np.testing.assert_allclose(r, np.triu(r))
    only = gl.linalg.qr(x, "r")
    assert only.Q.numel() == 0
    np.testing.assert_allclose(np.abs(only.R.numpy()), np.abs(gl.linalg.qr(x).R.numpy()), tol, tol)
    old = gl.svd(x)
    np.testing.assert_allclose((old.U * old.S.unsqueeze(-2).to(x.dtype)).numpy() @ h(old.V.numpy()), a, tol, tol)


@pytest.mark.parametrize("dtype", DTYPES)
def test_eigenvectors(dtype: Any) -> None:
    tol = 1e-3 if dtype in (np.float32, np.complex64) else 1e-10
    a = made(2, 4, 4, dtype=dtype)
    w, v = (t.numpy() for t in gl.linalg.eig(gl.tensor(a)))
    np.testing.assert_allclose(a @ v, v * w[:, None, :], tol, tol)
    assert w.dtype == np.result_type(dtype, np.complex64)
    s = made(2, 4, 4, dtype=dtype, kind="sym")
    low = np.tril(s)
    w, v = (t.numpy() for t in gl.linalg.eigh(gl.tensor(low)))
    np.testing.assert_allclose(s @ v, v * w[:, None, :], tol, tol)
    w2 = gl.linalg.eigh(gl.tensor(np.triu(s)), "U").eigenvalues.numpy()
    np.testing.assert_allclose(w, w2, tol, tol)
    values = np.sort_complex(gl.linalg.eigvals(gl.tensor(a)).numpy()[0])
    np.testing.assert_allclose(values, np.sort_complex(np.linalg.eigvals(a[0])), tol, tol)


def test_low_rank() -> None:
    a = (made(30, 3) @ made(3, 20)).astype(np.float64)
    u, s, v = gl.svd_lowrank(gl.tensor(a), q=4)
    np.testing.assert_allclose((u * s @ v.mT).numpy(), a, atol=1e-8)
    u, s, v = gl.pca_lowrank(gl.tensor(a.T), q=3)
    np.testing.assert_allclose((u * s @ v.mT).numpy(), a.T - a.T.mean(0), atol=1e-8)
    mean = gl.tensor(a.mean(1, keepdims=True))
    u, s, v = gl.svd_lowrank(gl.tensor(a), q=4, M=mean)
    np.testing.assert_allclose((u * s @ v.mT).numpy(), a - a.mean(1, keepdims=True), atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 3), st.integers(0, 99))
def test_lu_of_any_shape(m: int, n: int, batch: int, seed: int) -> None:
    a = np.random.default_rng(seed).integers(-2, 3, (batch, m, n)).astype(np.float64)  # many ties, often singular
    p, low, up = (t.numpy() for t in gl.linalg.lu(gl.tensor(a)))
    np.testing.assert_allclose(p @ low @ up, a, atol=1e-9)
    want = torch.linalg.lu_factor_ex(torch.tensor(a))
    np.testing.assert_array_equal(gl.linalg.lu_factor_ex(gl.tensor(a)).pivots.shape, want.pivots.shape)
    assert np.abs(low).max(initial=0) <= 1 + 1e-12


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(1, 5), st.booleans(), st.booleans())
def test_triangular_solutions(n: int, k: int, upper: bool, unit: bool) -> None:
    a = made(n, n, kind="square") / math.sqrt(n)
    b = made(2, n, k)
    x = gl.linalg.solve_triangular(gl.tensor(a), gl.tensor(b), upper=upper, unitriangular=unit).numpy()
    t = np.triu(a) if upper else np.tril(a)
    if unit:
        np.fill_diagonal(t, 1)
    scale = np.abs(x).max() * n
    np.testing.assert_allclose(t @ x, b, atol=1e-10 * max(1, scale))


# -- matrices that do not go ------------------------------------------------------------------------------
def test_singular_matrices_raise_and_name_the_one() -> None:
    a = np.stack([np.eye(3)] * 4).reshape(2, 2, 3, 3)
    a[1, 0, 2] = a[1, 0, 1]
    x = gl.tensor(a)
    for call in (
        lambda: gl.linalg.inv(x),
        lambda: gl.linalg.solve(x, gl.ones(3, 1).double()),
        lambda: gl.linalg.lu_factor(x),
    ):
        with pytest.raises(LinAlgError, match=r"matrix \(1, 0\) of the batch is singular: pivot 3") as e:
            [t.numpy() for t in flat(call())]
        assert isinstance(e.value, np.linalg.LinAlgError) and isinstance(e.value, GradloomError)
        assert isinstance(e.value, RuntimeError) and e.value.code == "linalg.singular"
    out, info = gl.linalg.inv_ex(x)
    np.testing.assert_array_equal(info.numpy(), [[0, 0], [3, 0]])
    assert info.dtype is gl.int32
    np.testing.assert_array_equal(out[0, 0].numpy(), np.eye(3))
    assert gl.linalg.cond(x, 1)[1, 0].item() == math.inf
    np.testing.assert_array_equal(gl.linalg.matrix_rank(x).numpy(), [[3, 3], [2, 3]])


def test_matrices_that_are_not_positive_definite() -> None:
    a = np.stack([np.eye(3), np.diag([1.0, -1.0, 1.0])])
    with pytest.raises(
        LinAlgError, match="matrix 1 of the batch is not positive-definite: its leading minor of order 2"
    ):
        gl.linalg.cholesky(gl.tensor(a)).numpy()
    factor, info = gl.linalg.cholesky_ex(gl.tensor(a))
    np.testing.assert_array_equal(info.numpy(), torch.linalg.cholesky_ex(torch.tensor(a)).info.numpy())
    np.testing.assert_array_equal(factor[0].numpy(), np.eye(3))
    with pytest.raises(LinAlgError, match="the matrix is not positive-definite"):
        gl.linalg.cholesky(gl.tensor(-np.eye(2))).numpy()


def test_after_an_error_the_tape_goes_on() -> None:
    with pytest.raises(LinAlgError):
        gl.linalg.inv(gl.zeros(2, 2)).numpy()
    np.testing.assert_array_equal(gl.linalg.inv(gl.eye(2)).numpy(), np.eye(2))


def test_nan_and_infinity() -> None:
    a = np.array([[np.nan, 1], [1, 2]])
    with pytest.raises(LinAlgError, match="it has NaN or infinities"):
        gl.linalg.svdvals(gl.tensor(a)).numpy()
    assert np.isnan(gl.matrix_exp(gl.tensor(a)).numpy()).all()
    assert np.isnan(gl.det(gl.tensor(a)).item())


def test_gradient_of_the_determinant_of_singular_matrices() -> None:
    for a in (np.zeros((3, 3)), np.diag([1.0, 2.0, 0.0]), np.ones((3, 3)), np.zeros((1, 1))):
        check_grads(gl.det, [a])


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: gl.linalg.inv(gl.ones(2, 3)), ShapeError, r"inv: expects square matrices .* got shape \(2, 3\)"),
    (lambda: gl.linalg.inv(gl.ones(3)), ShapeError, "expects matrices"),
    (lambda: gl.linalg.inv(gl.ones(2, 2).long()), DTypeError, "int64 is not supported"),
    (lambda: gl.linalg.inv(gl.ones(2, 2).half()), DTypeError, "float16 is not supported"),
    (lambda: gl.linalg.solve(gl.eye(3), gl.ones(2, 2)), ShapeError, "axis -2 of B must be 3"),
    (lambda: gl.linalg.solve(gl.eye(3), gl.ones(3), left=False), ShapeError, "left=False"),
    (lambda: gl.linalg.solve(gl.eye(3), gl.ones(3).double()), DTypeError, "differ"),
    (lambda: gl.linalg.qr(gl.eye(3), "raw"), ValueError, "mode must be"),
    (lambda: gl.linalg.eigh(gl.eye(3), "X"), ValueError, "UPLO"),
    (lambda: gl.linalg.svd(gl.eye(3), driver="gesvd"), NotSupportedError, "driver"),
    (lambda: gl.linalg.lstsq(gl.eye(3), gl.eye(3), driver="x"), ValueError, "driver must be"),
    (lambda: gl.linalg.matrix_norm(gl.eye(3), 3), ValueError, "ord must be"),
    (lambda: gl.linalg.matrix_norm(gl.eye(3), 2, (0, 0)), ShapeError, "twice"),
    (lambda: gl.linalg.norm(gl.ones(2, 2, 2), 2), ShapeError, "1 or 2 dimensions"),
    (lambda: gl.linalg.vector_norm(gl.ones(2).long()), DTypeError, "not floating"),
    (lambda: gl.linalg.vector_norm(gl.ones(0), math.inf), ShapeError, "no identity"),
    (lambda: gl.norm(gl.ones(2), "max"), ValueError, "p must be"),
    (lambda: gl.lu_unpack(gl.eye(2), gl.ones(2).long()), DTypeError, "expected int32"),
    (lambda: gl.linalg.householder_product(gl.ones(2, 3), gl.ones(2)), ShapeError, "n <= m"),
    (lambda: gl.linalg.tensorinv(gl.ones(2, 3), 1), ShapeError, "tensorinv"),
    (lambda: gl.linalg.tensorsolve(gl.ones(2, 3), gl.ones(2)), ShapeError, "no square map"),
    (lambda: gl.svd_lowrank(gl.ones(3, 3), q=4), ShapeError, "q 4"),
    (lambda: gl.trace(gl.ones(2, 2, 2)), ShapeError, "expects a matrix"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", REFUSED)
def test_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_the_complete_q_has_no_gradient() -> None:
    x = gl.randn(3, 2, requires_grad=True)
    with pytest.raises(GradientError, match="complete Q"):
        gl.linalg.qr(x, "complete").Q.sum().backward()


def test_out() -> None:
    out = gl.zeros(2, 2)
    assert gl.linalg.inv(gl.eye(2) * 2, out=out) is out
    np.testing.assert_array_equal(out.numpy(), np.eye(2) / 2)
    w, v = gl.zeros(0), gl.zeros(0)
    got = gl.linalg.eigh(gl.eye(2), out=(w, v))
    assert got.eigenvalues is w and v.shape == (2, 2)


def test_array_api_spellings() -> None:
    x = gl.tensor(made(2, 3, 3))
    a = x.numpy()
    np.testing.assert_allclose(gl.linalg.trace(x, offset=1).numpy(), np.trace(a, 1, -2, -1))
    np.testing.assert_allclose(gl.linalg.vector_norm(x, axis=(0, 2), keepdims=True).numpy(), np.linalg.vector_norm(
        a, axis=(0, 2), keepdims=True))  # fmt: skip
    np.testing.assert_allclose(gl.linalg.matrix_norm(x, keepdims=True).numpy(), np.linalg.matrix_norm(a, keepdims=True))
    np.testing.assert_allclose(gl.linalg.matrix_transpose(x).numpy(), a.swapaxes(-1, -2))
    np.testing.assert_allclose(gl.linalg.tensordot(x, x, axes=((1,), (2,))).numpy(), np.tensordot(a, a, ((1,), (2,))))
    np.testing.assert_allclose(gl.linalg.vecdot(x, x, axis=0).numpy(), np.linalg.vecdot(a, a, axis=0))
    np.testing.assert_allclose(gl.linalg.cross(x, x + 1, axis=1).numpy(), np.linalg.cross(a, a + 1, axis=1))


def test_operands_by_name() -> None:
    x, b = gl.eye(3) * 2, gl.ones(3, 1)
    for name in ("A", "x", "input"):
        assert gl.linalg.det(**{name: x}).item() == 8
        assert gl.linalg.norm(**{name: x}, ord=2).item() == 2
    for name in ("B", "b", "other"):
        assert gl.linalg.lstsq(x, **{name: b}).solution.shape == (3, 1)
    assert gl.cholesky_solve(input=b, input2=x).shape == gl.ormqr(input=x, input2=b[:, 0], input3=b).shape
