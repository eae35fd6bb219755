"""Random small programs of operations, dtypes, views and writes: compiled against the reference target."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradloom as gl

UNARY = ["neg", "abs", "relu", "tanh", "sigmoid", "sin", "floor"]
BINARY = ["add", "sub", "mul", "maximum", "minimum"]
DTYPES = [np.float32, np.float64, np.int32, np.int64]
SHAPES = [(3, 4), (4,), (1, 4), (3, 1), ()]

instruction = st.one_of(
    st.tuples(st.just("unary"), st.sampled_from(UNARY), st.integers(0, 9)),
    st.tuples(st.just("binary"), st.sampled_from(BINARY), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("reduce"), st.sampled_from(["sum", "amax", "mean"]), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("view"), st.sampled_from(["T", "flip", "slice", "step", "flat"]), st.integers(0, 9)),
    st.tuples(st.just("write"), st.sampled_from(["iadd", "imul", "row", "zero"]), st.integers(0, 9)),
    st.tuples(st.just("compare"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("look"), st.integers(0, 9)),
)
program = st.tuples(
    st.lists(st.tuples(st.sampled_from(DTYPES), st.sampled_from(SHAPES)), min_size=2, max_size=3),
    st.lists(instruction, min_size=1, max_size=8),
    st.integers(0, 1000),
)


def fits(a: Any, b: Any) -> bool:
    try:
        np.broadcast_shapes(tuple(a.shape), tuple(b.shape))
    except ValueError:
        return False
    return True


def step(values: list[Any], op: tuple) -> Any:
    """One instruction. Operands are picked by number; what does not fit is left out."""
    kind = op[0]
    pick = lambda k: values[k % len(values)]  # noqa: E731
    if kind == "unary":
        x = pick(op[2])
        return getattr(gl, op[1])(x if x.dtype.is_floating or op[1] in ("neg", "abs") else x.float())
    if kind == "binary":
        a, b = pick(op[2]), pick(op[3])
        return getattr(gl, op[1])(a, b) if fits(a, b) else None
    if kind == "reduce":
        x = pick(op[2])
        x = x if x.dtype.is_floating else x.float()
        return getattr(gl, op[1])(x, -1 if op[3] and x.ndim else None)
    if kind == "view":
        x = pick(op[2])
        if op[1] == "T" and x.ndim == 2:
            return x.T
        if op[1] == "flip" and x.ndim:
            return gl.flip(x, 0)
        if op[1] == "slice" and x.ndim:
            return x[:2]
        if op[1] == "step" and x.ndim:
            return x[..., ::2]
        return x.reshape(-1)
    if kind == "write":
        x = pick(op[2])
        if op[1] == "iadd":
            x += 1
        elif op[1] == "imul":
            x *= 2
        elif op[1] == "row" and x.ndim:
            x[0] = 3
        else:
            x.zero_()
        return None
    if kind == "compare":
        a, b = pick(op[1]), pick(op[2])
        return gl.where(a > b, a, b) if fits(a, b) else None
    pick(op[1]).numpy()
    return None


def run(target: str, inputs: list[tuple[Any, tuple]], ops: list[tuple], seed: int) -> list[np.ndarray]:
    gl.set_target(target)
    try:
        rng = np.random.default_rng(seed)
        values: list[Any] = [gl.tensor(np.asarray(rng.integers(-6, 7, s) / 2).astype(d)) for d, s in inputs]
        for op in ops:
            y = step(values, op)
            if y is not None:
                values.append(y)
        return [v.numpy().copy() for v in values]
    finally:
        gl.set_target("cpu")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(program)
def test_compiled_programs_equal_the_reference(p: tuple) -> None:
    inputs, ops, seed = p
    compiled, plain = run("cpu", inputs, ops, seed), run("reference", inputs, ops, seed)
    assert len(compiled) == len(plain)
    for a, b in zip(compiled, plain, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5 if a.dtype == np.float32 else 1e-12, atol=1e-6)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    st.lists(instruction.filter(lambda i: i[0] not in ("write", "look")), min_size=2, max_size=6), st.integers(0, 99)
)
def test_gradients_of_random_programs(ops: list[tuple], seed: int) -> None:
    """Looking halfway must not change a gradient, nor must the target."""

    def gradient(target: str, look: bool) -> np.ndarray:
        gl.set_target(target)
        try:
            rng = np.random.default_rng(seed)
            w = gl.tensor(rng.normal(size=(3, 4)), requires_grad=True)
            values: list[Any] = [w * 1.5, gl.tensor(rng.normal(size=4))]
            for k, op in enumerate(ops):
                y = step(values, op)
                if y is not None:
                    values.append(y)
                if look and k == len(ops) // 2:
                    values[-1].detach().numpy()
            loss = sum((v * v).sum() for v in values)
            loss.backward()
            return w.grad.numpy().copy()
        finally:
            gl.set_target("cpu")

    base = gradient("reference", False)
    np.testing.assert_allclose(gradient("cpu", False), base, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gradient("cpu", True), base, rtol=1e-9, atol=1e-9)
