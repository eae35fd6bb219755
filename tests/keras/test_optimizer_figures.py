"""Every optimiser takes Keras' steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from optimizer_table import TABLE, gradient, start

from gradloom import keras
from gradloom.tensor import from_numpy

FIGURES = np.load(Path(__file__).with_name("optimizer_figures.npz"))


@pytest.mark.parametrize(("name", "cls", "options", "steps"), TABLE, ids=[row[0] for row in TABLE])
def test_steps_are_those_of_keras(name, cls, options, steps):
    optimizer = getattr(keras.optimizers, cls)(**options)
    variables = [keras.Variable(w, name=n) for n, w in zip(("kernel", "bias"), start())]
    optimizer.build(variables)
    for t in range(steps):
        optimizer.apply([from_numpy(g) for g in gradient(t)], variables)
    optimizer.finalize_variable_values(variables)
    for k, v in enumerate(variables):
        np.testing.assert_allclose(v.numpy(), FIGURES[f"{name}/{k}"], rtol=2e-5, atol=5e-6)
    again = type(optimizer).from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()


def test_the_table_has_all_of_them():
    mine = {n for n in keras.optimizers.__all__ if isinstance(getattr(keras.optimizers, n), type)}
    assert mine - {"Optimizer", "LossScaleOptimizer"} == {row[1] for row in TABLE}
