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
    TAPE.flush()  # what other tests left in the open round would be part of the first program, and of no other
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


def test_batches_cut_at_any_place_compile_nothing(monkeypatch):
    data = T.from_numpy(np.random.default_rng(0).normal(size=(100, 6)))
    weight = T.ones(6, 2, dtype=T.float64, requires_grad=True)
    compiled = []
    TAPE.flush()
    inner = pipeline._compile
    monkeypatch.setattr(pipeline, "_compile", lambda *a, **k: compiled.append(a) or inner(*a, **k))
    for start in (3, 17, 4, 50, 77):
        weight.grad = None
        (data[start : start + 8] @ weight).sum().backward()
        np.testing.assert_allclose(weight.grad.numpy()[:, 0], data.numpy()[start : start + 8].sum(0))
        if start == 3:
            compiled.clear()
    assert not compiled


def test_a_batch_cut_out_is_a_view_still():
    data = T.arange(12.0).reshape(6, 2)
    data.numpy()
    part = data[2:4]
    data[3, 1] = 50.0
    assert part.tolist() == [[4.0, 5.0], [6.0, 50.0]]
    part += 1
    assert data[3].tolist() == [7.0, 51.0]
    assert data[5:2].shape == (0, 2)
