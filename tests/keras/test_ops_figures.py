"""Functions of ``keras.ops`` give what Keras' give, and take symbolic tensors; gradients where one writes one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ops_table import LOGITS, TABLE, M, V

from gradloom import keras
from gradloom.autodiff import grad
from gradloom.keras import ops
from gradloom.tensor import tensor

FIGURES = np.load(Path(__file__).with_name("ops_figures.npz"))


@pytest.mark.parametrize("name", TABLE)
def test_values_are_those_of_keras(name):
    found = TABLE[name](ops)
    assert len(found) == sum(k.startswith(f"{name}/") for k in FIGURES)
    for k, y in enumerate(found):
        want = FIGURES[f"{name}/{k}"]
        got = np.asarray(ops.convert_to_numpy(y))
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5, err_msg=str(k))


def test_symbolic_calls_become_nodes():
    x = keras.Input((6, 5, 3))
    y = ops.image.rgb_to_grayscale(x)
    z = ops.nanmax(ops.image.resize(y, (4, 4)), axis=-1)
    model = keras.Model(x, [y, z])
    assert y.shape == (None, 6, 5, 1) and z.shape == (None, 4, 4)
    picture = np.random.default_rng(0).random((2, 6, 5, 3)).astype("float32")
    got = model.predict(picture, verbose=0)
    np.testing.assert_allclose(got[0], ops.image.rgb_to_grayscale(picture).numpy(), rtol=1e-6)
    again = keras.models.model_from_json(model.to_json())
    np.testing.assert_allclose(again.predict(picture, verbose=0)[1], got[1], rtol=1e-6)


def test_a_gradient_of_ones_own():
    @ops.custom_gradient
    def log1pexp(x):
        e = ops.exp(x)
        return ops.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))

    x = tensor(V, requires_grad=True)
    (g,) = grad(log1pexp(x).sum(), [x])
    np.testing.assert_allclose(g.numpy(), 1 / (1 + np.exp(-V)), rtol=1e-5)
    _, dy = ops.jvp(lambda a: a * a, (V,), (np.ones_like(V),))
    np.testing.assert_allclose(dy.numpy(), 2 * V, rtol=1e-6)


def test_an_answer_that_no_path_spells():
    loss = ops.ctc_loss(np.array([[1, 1, 1, 2]]), LOGITS[:1], np.array([4]), np.array([5]))
    assert loss.numpy().tolist() == [1e5]


def test_beams_sum_over_paths():
    paths, scores = ops.ctc_decode(LOGITS, np.array([6, 4]), "beam_search", beam_width=200, top_paths=2)
    assert paths.shape == (2, 2, 6) and (scores.numpy()[:, 0] >= scores.numpy()[:, 1]).all()
    best = [[k for k in row if k >= 0] for row in paths.numpy()[0].tolist()]
    for n, labels in enumerate(best):  # a labelling's score is its likelihood
        y = np.zeros((1, 6), int)
        y[0, : len(labels)] = labels
        want = -ops.ctc_loss(y, LOGITS[n : n + 1], np.array([len(labels)]), np.array([[6, 4][n]])).numpy()[0]
        np.testing.assert_allclose(scores.numpy()[n, 0], want, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ops.det(M), "square"),
        (lambda: ops.fft(M), "tuple of two"),
        (lambda: ops.stft(M, 8, 2, 4), "equal or larger"),
        (lambda: ops.segment_sum(M, M), "1-D"),
        (lambda: ops.rearrange(M, "a b -> a c"), "same axes"),
        (lambda: ops.image.rgb_to_hsv(np.ones((4, 4, 3), int)), "float dtype"),
        (lambda: ops.image.pad_images(np.ones((1, 4, 4, 3)), 1), "exactly two"),
        (lambda: ops.scan(lambda c, x: (c, x), 0.0), "not provided"),
        (lambda: ops.ctc_decode(LOGITS, np.array([6, 6]), "best"), "strategy"),
        (lambda: ops.dot_product_attention(M, M, M), "4D"),
        (lambda: ops.correlate(V, V, "middle"), "mode"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
