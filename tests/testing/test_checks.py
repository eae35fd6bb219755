"""The public checks pass what is right and refuse what is wrong."""

import numpy as np
import pytest

import gradloom as gl
from gradloom import functions as G
from gradloom.autodiff import grad
from gradloom.ops import elementwise as E
from gradloom.testing import assert_close, check_grads, check_reference

X = np.array([[0.3, -0.7, 1.2], [2.0, 0.4, -1.1]])

SMOOTH = {
    "exp": G.exp,
    "tanh": G.tanh,
    "sigmoid": G.sigmoid,
    "sin": G.sin,
    "erf": G.erf,
    "square": lambda x: x * x,
    "softmax": lambda x: G.softmax(x, -1),
    "log_softmax": lambda x: G.log_softmax(x, 0),
    "logsumexp": lambda x: G.logsumexp(x, 1),
    "log1p": lambda x: G.log1p(x * x),
    "matmul": lambda x: G.matmul(x, x.T),
    "prod": lambda x: G.prod(x, 1),
    "var": lambda x: G.var(x, 0),
    "slice": lambda x: x[:, ::2] * x[:, ::-2],
    "cat": lambda x: G.cat([x, x * x], 1),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_first_and_second_order(name):
    check_grads(SMOOTH[name], [X], order=2)


def test_two_inputs():
    check_grads(lambda a, b: a / b + a**b, [np.abs(X), np.abs(X[::-1]) + 0.5])


def test_a_wrong_gradient_is_caught(monkeypatch):
    monkeypatch.setattr(E.tanh, "vjp", lambda ct, out, ins, attrs: (ct,))
    with pytest.raises(AssertionError, match="gradient of input 0"):
        check_grads(lambda x: G.tanh(x) * 1.5, [X])


def test_reference_agrees_and_a_difference_is_caught(monkeypatch):
    check_reference(lambda x: G.softmax(x * 3.0, -1), [X.astype(np.float32)])
    monkeypatch.setattr(E.cosh, "reference", lambda arrays, attrs, aval: arrays[0])
    with pytest.raises(AssertionError):
        check_reference(G.cosh, [X])


def test_assert_close():
    assert_close(gl.ones(3), np.ones(3, np.float32))
    with pytest.raises(AssertionError, match="do not match"):
        assert_close(gl.ones(3), np.ones(4))
    with pytest.raises(AssertionError):
        assert_close(gl.ones(3), np.full(3, 1.1))


def test_third_derivative():
    x = gl.tensor(0.7, dtype=gl.float64, requires_grad=True)
    y = G.sin(x) * x
    for _ in range(3):
        (y,) = grad(y, [x], create_graph=True)
    assert abs(y.item() - (-3 * np.sin(0.7) - 0.7 * np.cos(0.7))) < 1e-12
