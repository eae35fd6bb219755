"""`keras.backend`: each call gives what it gave with TensorFlow 2.21 (backend_figures.npz); what changes variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_table import calls

import gradloom as tf
from gradloom.errors import NotSupportedError

K: Any = tf.keras.backend
CALLS = calls(tf)
FIGURES = np.load(Path(__file__).with_name("backend_figures.npz"))


@pytest.mark.parametrize("name", CALLS)
def test_as_tensorflow_has_it(name: str) -> None:
    found, wanted = np.asarray(CALLS[name]()), FIGURES[name]
    assert found.shape == wanted.shape and found.dtype.kind == wanted.dtype.kind
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_variables() -> None:
    x = K.variable(np.ones((2, 2)))
    K.set_value(x, np.zeros((2, 2)))
    K.update_add(x, np.full((2, 2), 3.0))
    K.update_sub(x, np.ones((2, 2)))
    assert K.get_value(x).tolist() == [[2, 2], [2, 2]] and K.count_params(x) == 4
    K.batch_set_value([(x, np.ones((2, 2)))])
    assert K.batch_get_value([x])[0].tolist() == [[1, 1], [1, 1]]
    assert K.cast_to_floatx(np.arange(2)).dtype == np.float32


def test_functions_of_models() -> None:
    inputs = tf.keras.Input((3,))
    hidden = tf.keras.layers.Dense(2, activation="relu")(inputs)
    both = K.function([inputs], [hidden, K.sum(hidden, axis=-1)])
    first, second = both([np.ones((4, 3), "f")])
    assert first.shape == (4, 2) and np.allclose(first.sum(-1), second)
    with pytest.raises(NotSupportedError, match="not offered"):
        K.gradients(hidden, [inputs])


def test_random_numbers_and_settings() -> None:
    assert K.random_normal((3, 2), seed=1).shape == K.random_uniform((3, 2)).shape == (3, 2)
    assert set(np.asarray(K.random_bernoulli((50,), 0.5)).tolist()) == {0.0, 1.0}
    assert K.epsilon() == 1e-7 and K.floatx() == "float32" and K.logsumexp is tf.keras.ops.logsumexp
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        K.nothing_of_the_kind()
