"""Complex tensors: values on both targets and gradients of both orders against PyTorch; views, movement, errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl
from gradloom.errors import DTypeError, GradientError, ShapeError
from gradloom.tape import TAPE

Fn = Callable[..., Any]
RNG = np.random.default_rng(5)
PLANE = np.array(
    [0.3 + 0.4j, -0.7 + 0.2j, -1.5 - 2.5j, 2.0 - 0.1j, 0.01 + 3j, -0.2 - 0.9j, 1.2 + 0.0j, -3.1 + 0.5j, 0.0 + 0.6j]
)
OTHER = PLANE[::-1] * (0.5 - 0.3j) + 0.1
SPECIAL = np.array([0j, complex(np.inf, 1), complex(1, -np.inf), complex(np.nan, 0), complex(0, np.nan), -2 + 0j])

UNARY = (
    "abs absolute acos acosh angle asin asinh atan atanh conj conj_physical cos cosh exp exp2 expm1 log log10 log1p "
    "log2 neg reciprocal rsqrt sgn sigmoid sin sinh sqrt square tan tanh"
).split()
BINARY = ["add", "div", "eq", "mul", "ne", "pow", "sub"]
EXACT = ("isnan", "isinf", "isfinite", "isreal", "logical_not")


def convert(lib: Any, a: np.ndarray, grad: bool = False) -> Any:
    t = lib.tensor(a)
    return t.requires_grad_() if grad else t


def agree(fn: Fn, *arrays: np.ndarray, rtol: float = 1e-12) -> None:
    """``fn(lib, *tensors)`` gives the same on PyTorch, compiled and on the reference."""
    want = fn(torch, *(convert(torch, a) for a in arrays)).resolve_conj().numpy()
    for target in ("cpu", "reference"):
        gl.set_target(target)
        got = fn(gl, *(convert(gl, a) for a in arrays)).numpy()
        gl.set_target("cpu")
        assert (got.dtype, got.shape) == (want.dtype, want.shape), target
        np.testing.assert_allclose(got, want, rtol, rtol, err_msg=target)


def gradients(lib: Any, fn: Fn, arrays: Any, order: int) -> list[np.ndarray]:
    """Gradients for one fixed cotangent; of order 2, those of the sum of squares of the first ones."""
    xs = [convert(lib, a, True) for a in arrays]
    out = fn(lib, *xs)
    rng = np.random.default_rng(1)
    c = rng.standard_normal(tuple(out.shape))
    if out.dtype.is_complex:
        c = c + 1j * rng.standard_normal(tuple(out.shape))
    ct = lib.tensor(c).to(out.dtype)
    got = list(lib.autograd.grad(out, xs, ct, create_graph=order > 1))
    if order > 1:
        total = sum((g.abs() ** 2).sum() for g in got)
        if not total.requires_grad:  # a linear function
            return []
        got = list(lib.autograd.grad(total, xs, allow_unused=True))
    return [np.zeros(0) if g is None else np.asarray(g.detach().resolve_conj().numpy()) for g in got]


def same_gradients(fn: Fn, *arrays: np.ndarray, order: int = 1) -> None:
    for mine, theirs in zip(gradients(gl, fn, arrays, order), gradients(torch, fn, arrays, order), strict=True):
        if mine.size and theirs.size:
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, 1e-7, 1e-9)
        else:
            assert not np.any(mine) and not np.any(theirs)


# -- elementwise --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    def fn(lib: Any, x: Any) -> Any:
        return getattr(lib, name)(x)

    agree(fn, PLANE, rtol=1e-12)
    agree(fn, PLANE.astype(np.complex64), rtol=3e-6)
    same_gradients(fn, PLANE)
    same_gradients(fn, PLANE, order=2)


PARTS = [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 50.0]
EVERYWHERE = np.array([complex(x, y) for x in PARTS for y in PARTS])


@pytest.mark.parametrize(
    "name", "abs angle exp log log2 reciprocal rsqrt sgn sigmoid sin cos tan sinh cosh tanh sqrt".split()
)
def test_special_values(name: str) -> None:
    """Infinities, NaN and signed zeros, part by part, as C99 and PyTorch have them."""

    def fn(lib: Any, x: Any) -> Any:
        y = getattr(lib, name)(x)
        return lib.view_as_real(y) if y.dtype.is_complex else y

    agree(fn, EVERYWHERE, rtol=1e-11)


@pytest.mark.parametrize("name", EXACT)
def test_predicates(name: str) -> None:
    agree(lambda lib, x: getattr(lib, name)(x), np.concatenate([PLANE, SPECIAL]))


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    def fn(lib: Any, x: Any, y: Any) -> Any:
        return getattr(lib, name)(x, y)

    real = np.abs(PLANE) + 0.1
    for a, b in ((PLANE, OTHER), (PLANE, real), (real, PLANE), (PLANE[:, None], OTHER[:4])):
        agree(fn, a, b)
        if name not in ("eq", "ne"):
            same_gradients(fn, a, b)
            same_gradients(fn, a, b, order=2)


def test_powers_by_numbers() -> None:
    for exponent in (0, 1, 2, 3, -1, 0.5, 2.5, 1 + 1j):
        agree(lambda lib, x, e=exponent: x**e, PLANE)
        same_gradients(lambda lib, x, e=exponent: x**e, PLANE)


def test_at_zero() -> None:
    """Where no derivative exists PyTorch has 0."""
    zero = np.zeros(2, np.complex128)
    for name in ("abs", "sgn", "angle"):
        (g,) = gradients(gl, lambda lib, x, n=name: getattr(lib, n)(x), [zero], 1)
        np.testing.assert_array_equal(g, 0)


def test_angle_of_real_numbers() -> None:
    agree(lambda lib, x: lib.angle(x), np.array([1.0, -1.0, 0.0, -0.0, np.nan, np.inf, -np.inf]))
    agree(lambda lib, x: lib.angle(x), np.array([3, -3, 0]), rtol=1e-6)


def test_sgn_of_real_numbers() -> None:
    for a in (np.array([2.5, -1.0, 0.0]), np.array([3, -3, 0]), np.array([True, False])):
        agree(lambda lib, x: lib.sgn(x), a)


# -- parts --------------------------------------------------------------------------------------------
def test_parts_and_their_gradients() -> None:
    a, b = PLANE.real.copy(), PLANE.imag.copy()
    for fn in (lambda lib, x, y: lib.complex(x, y), lambda lib, x, y: lib.polar(x.abs() + 1, y)):
        agree(fn, a, b)
        same_gradients(fn, a, b)
        same_gradients(lambda lib, x, y, f=fn: f(lib, x, y) ** 2, a, b, order=2)
    for one in (
        lambda lib, x: lib.real(x), lambda lib, x: lib.imag(x), lambda lib, x: lib.view_as_real(x),
        lambda lib, x: x.real * x.imag, lambda lib, x: lib.view_as_complex(lib.view_as_real(x) * 2),
    ):  # fmt: skip
        agree(one, PLANE)
        same_gradients(one, PLANE)


def test_parts_hold_infinities() -> None:
    z = gl.complex(gl.tensor([1.0, np.inf]), gl.tensor([np.inf, 0.0]))
    np.testing.assert_array_equal(z.real.numpy(), [1, np.inf])
    np.testing.assert_array_equal(z.imag.numpy(), [np.inf, 0])


def test_parts_are_views() -> None:
    z = gl.tensor([1 + 2j, 3 - 1j, 0.5j])
    z.real = gl.tensor([7.0, 8.0, 9.0])
    z.imag[1] = 5.0
    gl.view_as_real(z)[2, 1] = -4.0
    assert z.tolist() == [7 + 2j, 8 + 5j, 9 - 4j]
    r = z.real
    z += 1
    assert r.tolist() == [8, 9, 10]
    pairs = gl.zeros(2, 2)
    w = gl.view_as_complex(pairs)
    w[0] = 3 + 4j
    w *= 2
    assert pairs.tolist() == [[6, 8], [0, 0]]
    x = gl.ones(2)
    assert x.real is x


def test_a_real_tensor_is_its_own_conjugate() -> None:
    x = gl.ones(2)
    assert x.conj() is x and x.resolve_conj() is x and x.resolve_neg() is x
    assert not gl.tensor([1j]).conj().is_conj() and not x.is_neg()
    assert gl.isreal(gl.tensor([1, 2])).tolist() == [True, True]


# -- reductions, products, movement -------------------------------------------------------------------
MATRIX = RNG.standard_normal((3, 4)) + 1j * RNG.standard_normal((3, 4))
SQUARE = RNG.standard_normal((2, 4, 5)) + 1j * RNG.standard_normal((2, 4, 5))


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "var", "std"])
def test_reductions(name: str) -> None:
    for kw in ({}, {"dim": 0}, {"dim": -1, "keepdim": True}):
        agree(lambda lib, x, kw=kw: getattr(lib, name)(x, **kw), MATRIX)
        same_gradients(lambda lib, x, kw=kw: getattr(lib, name)(x, **kw), MATRIX)
    agree(lambda lib, x: getattr(lib, name)(x), MATRIX.astype(np.complex64), rtol=1e-5)


def test_any_all() -> None:
    a = np.array([[0j, 1j], [0, 0], [1, 2j]])
    agree(lambda lib, x: lib.any(x, 1), a)
    agree(lambda lib, x: lib.all(x, 1), a)


def test_products() -> None:
    for a, b in ((MATRIX, MATRIX.T), (MATRIX[0], MATRIX.T), (MATRIX, SQUARE), (SQUARE[0, 0], SQUARE[0, 1])):
        a = np.ascontiguousarray(a)
        b = np.ascontiguousarray(b)
        agree(lambda lib, x, y: lib.matmul(x, y), a, b)
        same_gradients(lambda lib, x, y: lib.matmul(x, y), a, b)
    same_gradients(lambda lib, x, y: lib.matmul(x, y), MATRIX, MATRIX.T.copy(), order=2)
    agree(lambda lib, x, y: lib.matmul(x, y), MATRIX.astype(np.complex64), MATRIX.T.astype(np.complex64), rtol=1e-5)


MOVES: dict[str, Fn] = {
    "permute": lambda lib, x: x.permute(2, 0, 1),
    "slice": lambda lib, x: x[:, 1:3, ::2],
    "flip": lambda lib, x: lib.flip(x, (0, 2)),
    "expand": lambda lib, x: x[:, :1].expand(2, 3, 5),
    "reshape of a permutation": lambda lib, x: x.permute(2, 0, 1).reshape(10, 4),
    "cat": lambda lib, x: lib.cat([x, x.conj()[:, :2]], 1),
    "stack": lambda lib, x: lib.stack([x, 2 * x], 1),
    "where": lambda lib, x: lib.where(x.real > 0, x, 1j * x.imag),
    "rows": lambda lib, x: x[:, lib.tensor([2, 0, 2])],
    "two indices": lambda lib, x: x[lib.tensor([1, 0]), :, lib.tensor([2, 3])],
    "detour through real parts": lambda lib, x: (x.abs() * x.sum(1, keepdim=True)).permute(1, 0, 2) * x.imag.sum(),
}


@pytest.mark.parametrize("name", MOVES)
def test_movement(name: str) -> None:
    agree(MOVES[name], SQUARE)
    agree(MOVES[name], SQUARE.astype(np.complex64), rtol=1e-5)
    same_gradients(MOVES[name], SQUARE)


def test_several_results_of_one_program() -> None:
    """Views of one complex value and of an input, all alive at the end."""
    x = gl.tensor(SQUARE)
    y = x * 2
    parts = [y.permute(1, 0, 2), y[0], y, x[1], x.permute(2, 1, 0), y.reshape(-1), y.real + 1]
    a = SQUARE * 2
    wants = [a.transpose(1, 0, 2), a[0], a, SQUARE[1], SQUARE.transpose(2, 1, 0), a.reshape(-1), a.real + 1]
    for got, want in zip(parts, wants, strict=True):
        np.testing.assert_allclose(got.numpy(), want)


def test_in_place() -> None:
    z = gl.tensor(MATRIX)
    z += 1
    z[0] = 2j
    z *= gl.tensor(MATRIX[0])
    want = MATRIX + 1
    want[0] = 2j
    want *= MATRIX[0]
    np.testing.assert_allclose(z.numpy(), want)
    with pytest.raises(DTypeError, match="complex64 result cannot be written into a float32"):
        gl.ones(2).add_(gl.tensor([1j, 2]))


def test_empty_and_scalars() -> None:
    for shape in ((0,), (0, 3), ()):
        a = np.full(shape, 1 - 2j)
        for fn in (lambda lib, x: x * x.conj(), lambda lib, x: x.sum(), lambda lib, x: x.exp().real):
            agree(fn, a)
            same_gradients(fn, a)


def test_a_training_loop_of_complex_weights() -> None:
    """The same program each round: gradients, an update, the loss falls as PyTorch's does."""

    def losses(lib: Any) -> list[float]:
        w = convert(lib, MATRIX[0].copy(), True)
        x, y = convert(lib, MATRIX), convert(lib, MATRIX.sum(1))
        out = []
        for _ in range(5):
            loss = ((x @ w - y).abs() ** 2).mean()
            w.grad = None
            loss.backward()
            with lib.no_grad():
                w -= 0.1 * w.grad
            out.append(float(loss))
        return out

    np.testing.assert_allclose(losses(gl), losses(torch), rtol=1e-10)


# -- numbers, printing, errors ------------------------------------------------------------------------
def test_numbers() -> None:
    z = gl.tensor([1 + 2j])
    assert z.item() == 1 + 2j and isinstance(z.item(), complex)
    assert gl.tensor(1j).dtype is gl.complex64 and z.tolist() == [1 + 2j] and bool(gl.tensor(0j)) is False
    for k in range(3):  # a number is an input: other numbers, same program
        before = TAPE.compiled
        assert (z * complex(k, 1)).item() == (1 + 2j) * complex(k, 1)
        assert not k or TAPE.compiled == before
    assert gl.full((2,), 1j).tolist() == [1j, 1j]
    text = repr(gl.tensor([1.5 + 2j, -1 - 0.25j], dtype=gl.complex128))
    assert "1.5" in text and "-0.25" in text and "j" in text and "complex128" in text


def refused() -> dict[str, tuple[Fn, type[Exception], str]]:
    z, x = gl.tensor([1 + 2j, 3j]), gl.ones(2)
    return {
        "order": (lambda: z < z, DTypeError, "lt: dtype complex64 is not supported"),
        "maximum": (lambda: gl.maximum(z, z), DTypeError, "complex64 is not supported"),
        "amax": (lambda: z.amax(), DTypeError, "complex numbers have no order"),
        "floor": (lambda: z.floor(), DTypeError, "complex64 is not supported"),
        "erf": (lambda: z.erf(), DTypeError, "complex64 is not supported"),
        "imag of real": (lambda: x.imag, DTypeError, "float32 is not complex"),
        "view_as_real of real": (lambda: gl.view_as_real(x), DTypeError, "float32 is not complex"),
        "view_as_complex of complex": (lambda: gl.view_as_complex(z), DTypeError, "expected float32 or float64"),
        "view_as_complex of three": (lambda: gl.view_as_complex(gl.ones(3)), ShapeError, "must hold 2 numbers"),
        "complex of two dtypes": (
            lambda: gl.complex(x, x.double()),
            DTypeError,
            "float32 and float64 of real and imag",
        ),
        "complex of integers": (lambda: gl.complex(x.long(), x.long()), DTypeError, "real has dtype int64"),
        "complex of a number": (lambda: gl.complex(x, 1.0), DTypeError, "imag is a float, expected a tensor"),
        "polar of halves": (lambda: gl.polar(x.half(), x.half()), DTypeError, "abs has dtype float16"),
        "index": (lambda: [1, 2][gl.tensor(1j)], DTypeError, "only integer tensors"),  # type: ignore[list-item]
        "backward": (lambda: gl.tensor(1j, requires_grad=True).exp().backward(), GradientError, "only real scalars"),
    }


@pytest.mark.parametrize("name", refused())
def test_refused(name: str) -> None:
    fn, kind, text = refused()[name]
    with warnings.catch_warnings(), pytest.raises(kind) as e:
        warnings.simplefilter("ignore")
        fn()
    assert text in str(e.value)
