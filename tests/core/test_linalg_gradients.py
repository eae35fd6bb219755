"""Gradients of linear algebra by finite differences, first and second order, real and complex."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import linalg as L
from gradloom.testing import check_grads

RNG = np.random.default_rng(3)
T = gl.Tensor


def made(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def good(*shape: int) -> np.ndarray:
    """Well conditioned."""
    return made(*shape) + 3 * np.eye(*shape[-2:])


def spd(x: T) -> T:
    return x @ mH(x) + gl.eye(x.shape[-1], dtype=x.dtype)


def mH(x: T) -> T:
    return x.mT.conj() if x.is_complex() else x.mT


def sym(x: T) -> T:
    return x + mH(x)


def all_of(*ts: T) -> T:
    return gl.cat([t.reshape(-1) for t in ts])


def c(x: T) -> T:
    """Pairs as complex numbers."""
    return gl.view_as_complex(x)


def pairs(x: T) -> T:
    return gl.view_as_real(x)


def magnitudes(x: T) -> T:
    return x.abs() ** 2


def rebuilt(x: T) -> T:
    """A function of all three factors that knows no phase."""
    u, s, vh = L.svd(x, full_matrices=False)
    return (u * (s**2).unsqueeze(-2).to(x.dtype)) @ vh


def vectors_of_eig(x: T) -> T:
    w, v = L.eig(x)
    return (magnitudes(v) * magnitudes(w).unsqueeze(-2)).sum(-1)


CASES: dict[str, tuple[Callable[..., T], list[np.ndarray], int]] = {
    "inv": (L.inv, [good(2, 2, 2)], 2),
    "solve": (lambda a, b: L.solve(a, b) ** 2, [good(2, 2, 2), made(2, 1)], 2),
    "solve vectors": (L.solve, [good(2, 2, 2), made(2, 2)], 1),
    "solve from the right": (lambda a, b: L.solve(a, b, left=False), [good(2, 2), made(3, 2)], 1),
    "triangular": (lambda a, b: L.solve_triangular(a, b, upper=False) ** 2, [good(3, 3), made(3, 1)], 2),
    "triangular unit": (lambda a, b: L.solve_triangular(a, b, upper=True, left=False, unitriangular=True),
                        [good(3, 3), made(1, 3)], 1),
    "det": (gl.det, [good(3, 3)], 2),
    "slogdet": (lambda a: gl.slogdet(a).logabsdet, [good(3, 3)], 2),
    "logdet": (lambda a: gl.logdet(spd(a)), [made(2, 2)], 1),
    "cholesky": (lambda a: L.cholesky(spd(a)), [made(3, 3)], 2),
    "cholesky upper": (lambda a: L.cholesky(spd(a), upper=True), [made(2, 2)], 1),
    "cholesky_solve": (lambda b, a: gl.cholesky_solve(b, a.tril()) ** 2, [made(2, 1), good(2, 2)], 2),
    "cholesky_inverse": (lambda a: gl.cholesky_inverse(a.triu(), True), [good(2, 2)], 1),
    "matrix_exp": (gl.matrix_exp, [made(2, 2, 2)], 2),
    "matrix_power": (lambda a: gl.matrix_power(a, -2), [good(2, 2)], 1),
    "eigh values": (lambda a: L.eigh(sym(a)).eigenvalues, [made(3, 3)], 2),
    "eigh vectors": (lambda a: L.eigh(sym(a)).eigenvectors ** 2, [made(3, 3)], 2),
    "eigvalsh": (lambda a: L.eigvalsh(sym(a)), [made(2, 2, 2)], 2),
    "eig values": (lambda a: pairs((L.eig(a).eigenvalues ** 3).sum()), [made(3, 3)], 2),
    "eig vectors": (vectors_of_eig, [made(3, 3)], 1),
    "eigvals": (lambda a: pairs((L.eigvals(a) ** 2).sum()), [made(3, 3)], 1),
    "svdvals": (L.svdvals, [made(2, 3)], 2),
    "svd S": (lambda a: L.svd(a).S, [made(3, 2)], 1),
    "svd U tall": (lambda a: L.svd(a, False).U ** 2, [made(3, 2)], 2),
    "svd U wide": (lambda a: L.svd(a, False).U ** 2, [made(2, 3)], 1),
    "svd V wide": (lambda a: L.svd(a, False).Vh ** 2, [made(2, 3)], 2),
    "svd V tall": (lambda a: gl.svd(a).V ** 2, [made(3, 2)], 1),
    "svd full": (lambda a: L.svd(a, True).U[:, :2] ** 2, [made(3, 2)], 1),
    "svd all": (rebuilt, [made(2, 3)], 1),
    "qr Q": (lambda a: L.qr(a).Q, [made(3, 2)], 2),
    "qr R": (lambda a: L.qr(a).R, [made(3, 2)], 2),
    "qr wide": (lambda a: all_of(*L.qr(a)), [made(2, 3)], 1),
    "qr complete": (lambda a: all_of(*L.qr(a, "complete")), [made(2, 2)], 1),
    "pinv tall": (L.pinv, [made(3, 2)], 2),
    "pinv wide": (L.pinv, [made(2, 3)], 1),
    "pinv hermitian": (lambda a: L.pinv(sym(a), hermitian=True), [made(2, 2)], 1),
    "pinv of low rank": (lambda a, b: L.pinv(a @ b), [made(3, 1), made(1, 2)], 1),
    "lstsq": (lambda a, b: L.lstsq(a, b).solution ** 2, [made(3, 2), made(3, 1)], 1),
    "lstsq residuals": (lambda a, b: L.lstsq(a, b, driver="gels").residuals, [made(3, 2), made(3, 1)], 1),
    "householder": (L.householder_product, [made(3, 2), made(2)], 1),
    "ormqr": (lambda a, t, x: gl.ormqr(a, t, x, left=False, transpose=True), [made(3, 2), made(2), made(1, 3)], 1),
    "lu": (lambda a: all_of(*L.lu(a)[1:]), [made(3, 3)], 2),
    "lu tall": (lambda a: all_of(*L.lu(a)[1:]), [made(3, 2)], 1),
    "lu wide": (lambda a: all_of(*L.lu(a)[1:]), [made(2, 3)], 1),
    "lu without pivots": (lambda a: all_of(*L.lu(a, pivot=False)[1:]), [good(2, 2)], 1),
    "lu_solve": (lambda a, b: L.lu_solve(*L.lu_factor(a), b), [good(2, 2), made(2, 1)], 1),
    "lu_solve adjoint": (lambda a, b: L.lu_solve(*L.lu_factor(a), b, left=False, adjoint=True),
                         [made(2, 2), made(1, 2)], 1),
    "fro": (L.matrix_norm, [made(2, 3)], 2),
    "nuc": (lambda a: L.matrix_norm(a, "nuc"), [made(2, 3)], 2),
    "2": (lambda a: L.matrix_norm(a, 2), [made(2, 3)], 1),
    "-1": (lambda a: L.matrix_norm(a, -1), [made(2, 3)], 1),
    "vector 3": (lambda a: gl.norm(a, 3, 1), [made(2, 3)], 2),
    "vector -2.5": (lambda a: L.vector_norm(a, -2.5), [made(4)], 1),
    "vector inf": (lambda a: L.vector_norm(a, float("inf"), 1), [made(2, 3)], 1),
    "cond": (L.cond, [good(2, 2)], 2),
    "cond 1": (lambda a: L.cond(a, 1), [good(2, 2)], 1),
    "renorm": (lambda a: gl.renorm(a, 2, 0, 1.5), [made(2, 3)], 1),
    "tensorsolve": (L.tensorsolve, [good(4, 4).reshape(2, 2, 4), made(2, 2)], 1),
    "complex inv": (lambda x: pairs(L.inv(c(x))), [made(2, 2, 2)], 2),
    "complex det": (lambda x: pairs(L.det(c(x))), [made(2, 2, 2)], 2),
    "complex sign": (lambda x: pairs(L.slogdet(c(x)).sign), [made(2, 2, 2)], 1),
    "complex solve": (lambda x, y: pairs(L.solve(c(x), c(y))), [made(2, 2, 2), made(2, 1, 2)], 1),
    "complex cholesky": (lambda x: pairs(L.cholesky(spd(c(x)))), [made(2, 2, 2)], 1),
    "complex eigh": (lambda x: magnitudes(L.eigh(sym(c(x))).eigenvectors), [made(2, 2, 2)], 1),
    "complex eig": (lambda x: vectors_of_eig(c(x)), [made(2, 2, 2)], 1),
    "complex svd": (lambda x: pairs(rebuilt(c(x))), [made(2, 2, 2)], 1),
    "complex svd U": (lambda x: magnitudes(L.svd(c(x), False).U), [made(3, 2, 2)], 1),
    "complex qr": (lambda x: pairs(all_of(*L.qr(c(x)))), [made(3, 2, 2)], 1),
    "complex lu": (lambda x: pairs(all_of(*L.lu(c(x))[1:])), [made(2, 2, 2)], 1),
    "complex pinv": (lambda x: pairs(L.pinv(c(x))), [made(3, 2, 2)], 1),
    "complex exp": (lambda x: pairs(L.matrix_exp(c(x))), [made(2, 2, 2)], 1),
    "complex norm": (lambda x: L.vector_norm(c(x), 3), [made(3, 2)], 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    fn, inputs, order = CASES[name]
    check_grads(fn, inputs, order=order)


def test_gradients_of_empty_matrices() -> None:
    for fn in (gl.det, L.inv, lambda x: L.svd(x).S, lambda x: L.eigh(x).eigenvalues, L.pinv, lambda x: L.qr(x).Q):
        for shape in ((2, 0, 0), (0, 2, 2)):
            x = gl.zeros(*shape, dtype=gl.float64, requires_grad=True)
            (g,) = gl.autograd.grad(fn(x).sum(), [x])
            assert g.shape == shape


def test_a_part_that_is_not_used_takes_no_part() -> None:
    # equal singular values have no derivative of U and V, but the values themselves do
    x: Any = gl.eye(3, dtype=gl.float64).requires_grad_()
    (g,) = gl.autograd.grad(L.svd(x).S.sum(), [x])
    np.testing.assert_allclose(g.numpy(), np.eye(3), atol=1e-12)
    (g,) = gl.autograd.grad(L.eigh(x).eigenvalues.sum(), [x])
    np.testing.assert_allclose(g.numpy(), np.eye(3), atol=1e-12)


def test_vmap() -> None:
    """One element at a time gives what the batch gives, gradients included."""
    from gradloom.func import grad, vmap

    a, b = gl.tensor(good(4, 3, 3)), gl.tensor(made(4, 3, 2))
    for fn in (L.inv, L.det, L.matrix_exp, L.svdvals, L.pinv, lambda x: L.lu_solve(*L.lu_factor(x), b[0]),
               lambda x: L.qr(x).R, lambda x: L.cholesky(spd(x)), lambda x: pairs(gl.fft.rfft(x))):  # fmt: skip
        want = gl.stack([fn(a[k]) for k in range(4)])
        np.testing.assert_allclose(vmap(fn)(a).numpy(), want.numpy(), atol=1e-10)
        slope = grad(lambda x, fn=fn: (fn(x) ** 2).sum())
        want = gl.stack([slope(a[k]) for k in range(4)])
        np.testing.assert_allclose(vmap(slope)(a).numpy(), want.numpy(), atol=1e-8)
    got = vmap(lambda y: L.solve(a[0], y))(b)
    np.testing.assert_allclose(got.numpy(), np.linalg.solve(np.broadcast_to(a[0].numpy(), (4, 3, 3)), b.numpy()))
