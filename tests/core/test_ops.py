"""Every public operation: compiled against the reference target against PyTorch, values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gradloom as gl

RNG = np.random.default_rng(11)
REAL = np.array([-7.5, -3.0, -1.5, -1.0, -0.6, -0.25, -1e-4, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 9.25, 30.0])
EDGES = np.array([-np.inf, np.inf, np.nan, 0.0, -0.0])
UNIT = np.array([-0.95, -0.6, -0.3, -0.01, 0.02, 0.25, 0.5, 0.9])
POSITIVE = np.array([0.01, 0.3, 0.5, 0.9, 1.1, 1.7, 2.5, 8.0, 40.0])
ABOVE_ONE = np.array([1.01, 1.5, 2.0, 7.0, 50.0])
SMALL = np.array([-4.0, -2.1, -0.7, -0.01, 0.02, 0.4, 1.3, 5.0])

# name -> (samples, relative tolerance in float32)
UNARY: dict[str, tuple[np.ndarray, float]] = {
    "neg": (REAL, 0), "abs": (REAL, 0), "sign": (REAL, 0), "floor": (REAL, 0), "ceil": (REAL, 0), "trunc": (REAL, 0),
    "round": (REAL, 0), "exp": (SMALL, 2e-6), "exp2": (SMALL, 2e-6), "expm1": (SMALL, 2e-6), "log": (POSITIVE, 2e-6),
    "log2": (POSITIVE, 2e-6), "log10": (POSITIVE, 2e-6), "log1p": (POSITIVE, 2e-6), "sqrt": (POSITIVE, 1e-6),
    "rsqrt": (POSITIVE, 2e-6), "reciprocal": (POSITIVE, 1e-6), "sin": (REAL, 2e-6), "cos": (REAL, 2e-6),
    "tan": (UNIT, 2e-6), "asin": (UNIT, 3e-6), "acos": (UNIT, 3e-6), "atan": (REAL, 3e-6), "sinh": (SMALL, 3e-6),
    "cosh": (SMALL, 3e-6), "tanh": (REAL, 3e-6), "asinh": (SMALL, 3e-6), "acosh": (ABOVE_ONE, 5e-6),
    "atanh": (UNIT, 3e-6), "erf": (SMALL, 3e-6), "erfc": (UNIT, 3e-6), "erfinv": (UNIT, 5e-6),
    "lgamma": (POSITIVE, 2e-5), "digamma": (POSITIVE, 2e-5), "sigmoid": (REAL, 3e-6), "relu": (REAL, 0),
    "square": (REAL, 1e-6),
}  # fmt: skip
PREDICATES = ["isnan", "isinf", "isfinite", "logical_not"]
BINARY: dict[str, float] = {
    "add": 0, "sub": 0, "mul": 0, "div": 1e-6, "floor_divide": 0, "remainder": 1e-5, "fmod": 1e-5, "maximum": 0,
    "minimum": 0, "atan2": 3e-6, "eq": 0, "ne": 0, "lt": 0, "le": 0, "gt": 0, "ge": 0, "logical_and": 0,
    "logical_or": 0, "logical_xor": 0,
}  # fmt: skip
INTEGER = ["add", "sub", "mul", "floor_divide", "remainder", "maximum", "minimum", "bitwise_and", "bitwise_or",
           "bitwise_xor", "eq", "lt", "div"]  # fmt: skip
DIFFERENTIABLE_BINARY = ["add", "sub", "mul", "div", "maximum", "minimum", "atan2", "remainder", "pow"]

Fn = Callable[..., Any]


def as_array(x: Any) -> np.ndarray:
    return x.detach().numpy().copy()


def on(target: str, fn: Fn, *arrays: np.ndarray) -> np.ndarray:
    """The value of ``fn`` on one target."""
    gl.set_target(target)
    try:
        return as_array(fn(*[gl.tensor(a) for a in arrays]))
    finally:
        gl.set_target("cpu")


def agree(ours: Fn, theirs: Fn, *arrays: np.ndarray, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Compiled, reference and PyTorch give one dtype, one shape and the same values, signs of zero aside."""
    want = theirs(*[torch.tensor(a) for a in arrays]).numpy()
    for target in ("cpu", "reference"):
        got = on(target, ours, *arrays)
        assert got.dtype == want.dtype, (target, got.dtype, want.dtype)
        assert got.shape == want.shape, (target, got.shape, want.shape)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=target)


def gradients(ours: Fn, theirs: Fn, *arrays: np.ndarray, rtol: float = 1e-9) -> None:
    """Gradients of a weighted sum, compiled in float64, against PyTorch's."""
    a = [gl.tensor(x.astype(np.float64), requires_grad=True) for x in arrays]
    b = [torch.tensor(x.astype(np.float64), requires_grad=True) for x in arrays]
    y, z = ours(*a), theirs(*b)
    w = np.cos(np.arange(z.numel(), dtype=np.float64)).reshape(z.shape) + 2
    (y * gl.tensor(w)).sum().backward()
    (z * torch.tensor(w)).sum().backward()
    for p, q in zip(a, b, strict=True):
        assert p.grad is not None
        expected = np.zeros(tuple(q.shape)) if q.grad is None else q.grad.numpy()
        np.testing.assert_allclose(p.grad.numpy(), expected, rtol=rtol, atol=1e-10)


@pytest.mark.parametrize("name", UNARY)
def test_unary_values(name: str) -> None:
    samples, rtol = UNARY[name]
    ours, theirs = getattr(gl, name), getattr(torch, name)
    agree(ours, theirs, samples.astype(np.float32), rtol=rtol, atol=1e-6 if rtol else 0)
    # float64 must keep what float32 cannot hold
    agree(ours, theirs, samples, rtol=1e-11 if rtol else 0, atol=1e-13 if rtol else 0)


@pytest.mark.parametrize("name", UNARY)
def test_unary_of_nan_and_infinity(name: str) -> None:
    agree(getattr(gl, name), getattr(torch, name), EDGES.astype(np.float32), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["neg", "exp", "log", "tanh", "erf", "round", "isnan"])
def test_unary_of_no_and_of_one_element(name: str) -> None:
    ours, theirs = getattr(gl, name), getattr(torch, name)
    agree(ours, theirs, np.zeros((0, 3), np.float32))
    agree(ours, theirs, np.array(0.5, np.float32), rtol=2e-6)


@pytest.mark.parametrize("name", PREDICATES)
def test_predicates(name: str) -> None:
    agree(getattr(gl, name), getattr(torch, name), np.concatenate([EDGES, REAL]).astype(np.float32))


@pytest.mark.parametrize("name", [n for n in UNARY if n != "sign"])
def test_unary_gradients(name: str) -> None:
    gradients(getattr(gl, name), getattr(torch, name), UNARY[name][0], rtol=1e-8)


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "erf", "lgamma", "acosh", "rsqrt"])
def test_unary_gradients_by_finite_differences(name: str) -> None:
    x = UNARY[name][0][:5] if name != "acosh" else ABOVE_ONE[1:]
    fn = getattr(gl, name)
    a = gl.tensor(x, requires_grad=True)
    fn(a).sum().backward()
    h = 1e-6
    numeric = (on("reference", fn, x + h) - on("reference", fn, x - h)) / (2 * h)
    np.testing.assert_allclose(a.grad.numpy(), numeric, rtol=2e-6, atol=1e-8)


def test_gradient_of_digamma_below_zero() -> None:
    gradients(gl.digamma, torch.digamma, np.array([-3.7, -1.2, -0.4, 0.2, 6.5, 300.0]), rtol=1e-9)


@pytest.mark.parametrize("name", BINARY)
def test_binary_values(name: str) -> None:
    x = np.concatenate([REAL, EDGES])[:, None].astype(np.float32)
    y = np.array([-2.0, 0.5, 3.0, np.nan, np.inf, -np.inf, 0.0], np.float32)
    if name in ("floor_divide", "remainder", "fmod"):  # division by 0 and of infinity is tested by itself
        x, y = REAL[:, None].astype(np.float32), y[:3]
    agree(getattr(gl, name), getattr(torch, name), x, y, rtol=BINARY[name])


@pytest.mark.parametrize("name", INTEGER)
def test_binary_of_integers(name: str) -> None:
    x = np.array([-7, -3, -1, 0, 1, 5, 9, 100])
    y = np.array([2, -2, 3, -3, 7, 1, -4, 6])
    agree(getattr(gl, name), getattr(torch, name), x, y, rtol=1e-6)
    agree(getattr(gl, name), getattr(torch, name), x.astype(np.int32), y.astype(np.int32), rtol=1e-6)


@pytest.mark.parametrize("name", ["bitwise_left_shift", "bitwise_right_shift"])
def test_shifts(name: str) -> None:
    agree(getattr(gl, name), getattr(torch, name), np.array([1, -8, 77, 1 << 30]), np.array([0, 3, 5, 8]))


def test_bitwise_not() -> None:
    agree(gl.bitwise_not, torch.bitwise_not, np.array([0, -1, 5], np.int32))
    agree(gl.bitwise_not, torch.bitwise_not, np.array([True, False]))


@pytest.mark.parametrize("name", DIFFERENTIABLE_BINARY)
def test_binary_gradients_with_broadcasting(name: str) -> None:
    x = np.array([[0.5, 1.25, 2.0], [3.5, 0.75, 1.0]])
    y = np.array([1.5, 0.5, 2.0])  # one tie for maximum and minimum
    gradients(getattr(gl, name), getattr(torch, name), x, y)


@pytest.mark.parametrize("exponent", [2, 3, -1, 0.5, 1, 0, 2.5, -2])
def test_powers(exponent: float) -> None:
    agree(lambda x: x**exponent, lambda x: x**exponent, POSITIVE.astype(np.float32), rtol=3e-6)
    gradients(lambda x: x**exponent, lambda x: x**exponent, POSITIVE)


def test_power_of_negative_and_zero() -> None:
    x = np.array([-2.0, -1.0, 0.0, 0.0, 2.0, np.inf], np.float32)
    y = np.array([3.0, 0.5, 0.0, -1.0, -2.0, 0.0], np.float32)
    agree(gl.pow, torch.pow, x, y, rtol=3e-6)


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (None, 0.5), (0.0, None)])
def test_clamp(low: float | None, high: float | None) -> None:
    x = np.concatenate([REAL, EDGES]).astype(np.float32)
    agree(lambda t: gl.clamp(t, low, high), lambda t: torch.clamp(t, low, high), x)
    gradients(lambda t: gl.clamp(t, low, high), lambda t: torch.clamp(t, low, high), np.array([-3.0, 0.2, 0.7, 5]))


def test_where() -> None:
    c, x, y = np.array([[True], [False]]), RNG.normal(size=(2, 3)), RNG.normal(size=3)
    agree(gl.where, torch.where, c, x, y)
    gradients(lambda a, b: gl.where(gl.tensor(c), a, b), lambda a, b: torch.where(torch.tensor(c), a, b), x, y)


REDUCTIONS: dict[str, tuple[Fn, Fn]] = {
    "sum": (gl.sum, torch.sum),
    "mean": (gl.mean, torch.mean),
    "prod": (gl.prod, torch.prod),
    "amax": (gl.amax, torch.amax),
    "amin": (gl.amin, torch.amin),
    "var": (gl.var, torch.var),
    "std": (gl.std, torch.std),
    "any": (gl.any, torch.any),
    "all": (gl.all, torch.all),
    "argmax": (gl.argmax, torch.argmax),
    "argmin": (gl.argmin, torch.argmin),
    "logsumexp": (gl.logsumexp, torch.logsumexp),
}
SAMPLE = RNG.normal(size=(4, 5, 3))


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, dim: int, keepdim: bool) -> None:
    ours, theirs = REDUCTIONS[name]
    agree(lambda x: ours(x, dim, keepdim=keepdim), lambda x: theirs(x, dim, keepdim=keepdim), SAMPLE, rtol=1e-12)


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "var", "any", "all", "argmax", "argmin", "prod"])
def test_reductions_of_everything(name: str) -> None:
    ours, theirs = REDUCTIONS[name]
    agree(ours, theirs, SAMPLE.astype(np.float32), rtol=2e-5)


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "var", "std", "logsumexp", "prod"])
def test_gradients_of_reductions(name: str) -> None:
    ours, theirs = REDUCTIONS[name]
    gradients(lambda x: ours(x, 1), lambda x: theirs(x, 1), SAMPLE)


def test_reductions_over_several_axes() -> None:
    for name in ("sum", "mean", "amax", "var"):
        ours, theirs = REDUCTIONS[name]
        agree(lambda x, f=ours: f(x, (0, 2)), lambda x, f=theirs: f(x, (0, 2)), SAMPLE, rtol=1e-12)


def test_ties_share_the_gradient_of_an_extreme() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    gradients(lambda t: gl.amax(t, 1), lambda t: torch.amax(t, 1), x)
    gradients(gl.amin, torch.amin, x)


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "argmax", "argmin", "prod", "any", "all"])
def test_reductions_of_nan_and_infinity(name: str) -> None:
    ours, theirs = REDUCTIONS[name]
    x = np.array([[1.0, np.nan, 3.0], [np.inf, 2.0, 0.0], [-np.inf, np.inf, 1.0]], np.float32)
    agree(lambda t: ours(t, 1), lambda t: theirs(t, 1), x)


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "any", "all"])
def test_reductions_of_nothing(name: str) -> None:
    ours, theirs = REDUCTIONS[name]
    agree(ours, theirs, np.zeros(0, np.float32))
    agree(lambda t: ours(t, 0), lambda t: theirs(t, 0), np.zeros((0, 3), np.float32))


def test_sum_of_integers_and_bools_is_int64() -> None:
    agree(gl.sum, torch.sum, np.array([1, 2, 3], np.int32))
    agree(gl.sum, torch.sum, np.array([250, 250], np.uint8))
    agree(lambda x: gl.sum(x, 0), lambda x: torch.sum(x, 0), np.array([[True, False], [True, True]]))


def test_max_and_min_give_values_and_positions() -> None:
    x = SAMPLE.astype(np.float32)
    for name in ("max", "min"):
        ours, theirs = getattr(gl.tensor(x), name)(1), getattr(torch.tensor(x), name)(1)
        np.testing.assert_array_equal(ours.values.numpy(), theirs.values.numpy())
        np.testing.assert_array_equal(ours.indices.numpy(), theirs.indices.numpy())


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dim", [0, -1])
def test_softmax(name: str, dim: int) -> None:
    ours, theirs = getattr(gl, name), getattr(torch, name)
    agree(lambda x: ours(x, dim), lambda x: theirs(x, dim), SAMPLE * 30, rtol=1e-11, atol=1e-14)
    gradients(lambda x: ours(x, dim), lambda x: theirs(x, dim), SAMPLE)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_nothing(name: str) -> None:
    agree(lambda x: getattr(gl, name)(x, 0), lambda x: getattr(torch, name)(x, 0), np.zeros((0, 3), np.float32))


MOVEMENTS: dict[str, tuple[Fn, Fn]] = {
    "reshape": (lambda x: gl.reshape(x, (5, -1)), lambda x: torch.reshape(x, (5, -1))),
    "permute": (lambda x: gl.permute(x, (2, 0, 1)), lambda x: torch.permute(x, (2, 0, 1))),
    "transpose": (lambda x: gl.transpose(x, 0, -1), lambda x: torch.transpose(x, 0, -1)),
    "expand": (lambda x: x.unsqueeze(1).expand(4, 2, 5, 3), lambda x: x.unsqueeze(1).expand(4, 2, 5, 3)),
    "flatten": (lambda x: gl.flatten(x, 1), lambda x: torch.flatten(x, 1)),
    "flip": (lambda x: gl.flip(x, (0, 2)), lambda x: torch.flip(x, (0, 2))),
    "cat": (lambda x: gl.cat([x, x * 2], 1), lambda x: torch.cat([x, x * 2], 1)),
    "stack": (lambda x: gl.stack([x, x + 1], -1), lambda x: torch.stack([x, x + 1], -1)),
    "narrow": (lambda x: gl.narrow(x, 1, 1, 3), lambda x: torch.narrow(x, 1, 1, 3)),
    "split": (lambda x: gl.split(x, 2, 1)[1], lambda x: torch.split(x, 2, 1)[1]),
    "chunk": (lambda x: gl.chunk(x, 2, 1)[1], lambda x: torch.chunk(x, 2, 1)[1]),
    "squeeze": (lambda x: x[:, :1].squeeze(1), lambda x: x[:, :1].squeeze(1)),
    "tile": (lambda x: x.permute(2, 1, 0).reshape(15, 4)[::2], lambda x: x.permute(2, 1, 0).reshape(15, 4)[::2]),
}


@pytest.mark.parametrize("name", MOVEMENTS)
def test_movements(name: str) -> None:
    ours, theirs = MOVEMENTS[name]
    agree(ours, theirs, SAMPLE)
    gradients(ours, theirs, SAMPLE)


@pytest.mark.parametrize(
    "a, b",
    [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2))],
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = RNG.normal(size=a), RNG.normal(size=b)
    agree(gl.matmul, torch.matmul, x.astype(np.float32), y.astype(np.float32), rtol=1e-5, atol=1e-6)
    gradients(gl.matmul, torch.matmul, x, y)


def test_matmul_of_nothing() -> None:
    agree(gl.matmul, torch.matmul, np.zeros((3, 0), np.float32), np.zeros((0, 2), np.float32))
    agree(gl.matmul, torch.matmul, np.zeros((0, 3), np.float32), np.zeros((3, 2), np.float32))


def test_gathers() -> None:
    x = RNG.normal(size=(5, 3))
    i = np.array([4, 0, 0, 2])
    agree(lambda t: gl.index_select(t, 0, gl.tensor(i)), lambda t: torch.index_select(t, 0, torch.tensor(i)), x)
    gradients(lambda t: gl.index_select(t, 0, gl.tensor(i)), lambda t: torch.index_select(t, 0, torch.tensor(i)), x)
    j = np.array([[0, 4, 1], [3, 3, 2]])
    agree(lambda t: gl.gather(t, 0, gl.tensor(j)), lambda t: torch.gather(t, 0, torch.tensor(j)), x)
    gradients(lambda t: gl.gather(t, 0, gl.tensor(j)), lambda t: torch.gather(t, 0, torch.tensor(j)), x)
    s = RNG.normal(size=(2, 3))
    gradients(
        lambda t, u: gl.scatter_add(t, 0, gl.tensor(j), u),
        lambda t, u: torch.scatter_add(t, 0, torch.tensor(j), u),
        x,
        s,
    )


CASTS = ["float32", "float64", "float16", "int8", "uint8", "int16", "int32", "int64"]


@pytest.mark.parametrize("name", CASTS)
def test_casts(name: str) -> None:
    x = np.array([0.0, 1.0, 2.7, -3.9, 100.25], np.float32)
    if name == "uint8":
        x = np.abs(x)
    agree(lambda t: t.to(getattr(gl, name)), lambda t: t.to(getattr(torch, name)), x)
    back = x.astype(name)
    agree(lambda t: t.to(gl.float32), lambda t: t.to(torch.float32), back)
    agree(lambda t: t.to(gl.bool), lambda t: t.to(torch.bool), back)


PROMOTED = ["bool_", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("a", PROMOTED)
def test_promotion_of_dtypes(a: str) -> None:
    for b in PROMOTED:
        x, y = np.ones(2, a), np.ones(2, b)
        want = (torch.tensor(x) * torch.tensor(y)).dtype
        assert str(want).split(".")[1] == (gl.tensor(x) * gl.tensor(y)).dtype.name, (a, b)
    for number in (2, 2.5, True):
        want = (torch.tensor(np.ones(2, a)) * number).dtype
        assert str(want).split(".")[1] == (gl.tensor(np.ones(2, a)) * number).dtype.name, (a, number)


def test_creation() -> None:
    pairs: list[tuple[Any, Any]] = [
        (gl.zeros(2, 3), torch.zeros(2, 3)), (gl.ones((2,)), torch.ones((2,))), (gl.eye(3), torch.eye(3)),
        (gl.full((2,), 7), torch.full((2,), 7)), (gl.full((2,), 1.5), torch.full((2,), 1.5)),
        (gl.arange(5), torch.arange(5)), (gl.arange(1, 9, 3), torch.arange(1, 9, 3)),
        (gl.arange(0.0, 1.0, 0.3), torch.arange(0.0, 1.0, 0.3)), (gl.linspace(0, 1, 5), torch.linspace(0, 1, 5)),
        (gl.one_hot(gl.tensor([0, 2]), 3), torch.nn.functional.one_hot(torch.tensor([0, 2]), 3)),
    ]  # fmt: skip
    for ours, theirs in pairs:
        assert ours.numpy().dtype == theirs.numpy().dtype
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
