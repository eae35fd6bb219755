"""Samples drawn from a memory: which of them coincide compiles nothing anew."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as T
from gradloom.compiler import pipeline
from gradloom.tape import TAPE


@pytest.mark.parametrize("join", [T.cat, T.stack])
def test_coinciding_samples_compile_nothing(join, monkeypatch):
    rng = np.random.default_rng(0)
    memory = [T.from_numpy(rng.normal(size=(1, 4))) for _ in range(12)]
    weight = T.from_numpy(rng.normal(size=(4, 2)))
    compiled = []
    inner = pipeline._compile
    monkeypatch.setattr(pipeline, "_compile", lambda *a, **k: compiled.append(a) or inner(*a, **k))
    for round_ in range(6):
        drawn = rng.integers(0, 12, 9)
        got = (join([memory[k] for k in drawn]) @ weight).numpy()
        joined = (np.concatenate if join is T.cat else np.stack)([memory[k].numpy() for k in drawn])
        np.testing.assert_allclose(got, joined @ weight.numpy())
        if not round_:
            compiled.clear()
    assert not compiled


@pytest.mark.parametrize("join", [T.cat, T.stack])
def test_compiled_function_reads_its_arguments(join):
    fn = T.compile(lambda *ts: join(ts) * 2)
    for start in range(3):
        ts = [T.full((2,), float(start + k)) for k in range(9)]
        TAPE.flush()
        np.testing.assert_array_equal(fn(*ts).numpy().reshape(9, 2)[:, 0], 2.0 * (start + np.arange(9)))


@pytest.mark.parametrize("join", [T.cat, T.stack])
def test_many_small_values_are_joined_as_few_are(join):
    ts = [T.tensor([[k, k + 1]]) for k in range(9)]
    TAPE.flush()
    for dim in (0, 1, -1):
        few = join([join(ts[:5], dim), join(ts[5:], dim)], dim) if join is T.cat else None
        got = join(ts, dim)
        expected = (np.concatenate if join is T.cat else np.stack)([t.numpy() for t in ts], dim)
        np.testing.assert_array_equal(got.numpy(), expected)
        assert few is None or bool((few == got).all())
    with pytest.raises(T.errors.ShapeError, match=join.__name__):
        join([*ts, T.zeros(2, 2, 2)])
