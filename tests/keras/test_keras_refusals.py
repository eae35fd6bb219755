"""What Keras 3.15 refuses, warns of and decides at the edges of `ops`, metrics, constraints, seeds and operations."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import KerasTensor, metrics, ops

IMAGE = np.ones((10, 10, 3), np.float32)
A = np.ones((2, 3), np.float32)

REFUSED = [
    ("axis of a norm", lambda: ops.norm(np.ones(5, np.float32), axis=1), ValueError, "axis 1"),
    ("axis of log_softmax", lambda: ops.log_softmax(KerasTensor((None, 2, 3)), axis=3), ValueError, "axis 3"),
    ("axis of softmax", lambda: ops.softmax(KerasTensor((3, 4)), axis=10), ValueError, "axis 10 is out of bounds"),
    ("axis of normalize", lambda: ops.normalize(KerasTensor((3, 4)), axis=10), ValueError, "axis 10 is out of bounds"),
    ("order", lambda: ops.normalize(A, order="a"), ValueError, "`order` must be an int >= 1"),
    ("order below 1", lambda: ops.normalize(A, order=-1), ValueError, "`order` must be an int >= 1"),
    ("blocks", lambda: ops.depth_to_space(np.ones((1, 2, 2, 12)), 1), ValueError, "`block_size` must be at least 2"),
    ("fold", lambda: ops.fold(np.ones((1, 2, 3, 4)), (4, 4), 2), ValueError, "3D"),
    ("resize", lambda: ops.image.resize(IMAGE, (0, 10)), ValueError, "must have positive height and width"),
    ("padding", lambda: ops.image.pad_images(IMAGE, -1, 0, target_height=12, target_width=12), ValueError,
     "top_padding must be >= 0"),
    ("target", lambda: ops.image.pad_images(IMAGE, 0, 0, target_height=-1, target_width=12), ValueError,
     "target_height must be >= 0"),
    ("crop", lambda: ops.image.crop_images(IMAGE, 0, 0, target_height=5, target_width=-1), ValueError,
     "target_width must be >= 0"),
    ("patches", lambda: ops.image.extract_patches(IMAGE, "5"), TypeError, "Expected an int or a tuple"),
    ("four sizes", lambda: ops.image.extract_patches(IMAGE, (3, 3, 3, 3)), ValueError, "length 2 or 3"),
    ("volumes", lambda: ops.image.extract_patches_3d(np.ones((1, 8, 8, 8, 1)), (4, 4)), TypeError, "length 3"),
    ("colours", lambda: ops.image.rgb_to_hsv(KerasTensor((None, 4, 20, 20)), data_format="channels_first"), ValueError,
     "must have 3 channels, but received images with 4 channels"),
    ("coordinates", lambda: ops.image.map_coordinates(IMAGE, np.ones((3,)), 0), ValueError, "at least rank 2"),
    ("solve", lambda: ops.solve(KerasTensor((None, None, 20)), KerasTensor((None, 20, 5))), ValueError, "known"),
    ("regressors", lambda: metrics.R2Score(num_regressors=-1), ValueError, "argument `num_regressors`"),
    ("rank", lambda: metrics.R2Score().update_state([0.0, 1.0], [0.0, 1.0]), ValueError, "expects 2D inputs"),
    ("seed", lambda: keras.random.SeedGenerator("no"), ValueError, "`seed` must be an integer"),
    ("seeds", lambda: keras.random.SeedGenerator(other=1), ValueError, "Unrecognized keyword arguments"),
    ("name", lambda: Scaled(1.0, name="a/b"), ValueError, "must be a string and cannot contain character `/`"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_with_keras_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


class Scaled(keras.Operation):
    def __init__(self, alpha, beta=1.0, *, name=None):
        super().__init__(name=name)
        self.alpha, self.beta = alpha, beta

    def call(self, x):
        return self.alpha * x + self.beta


class Open(Scaled):
    def __init__(self, alpha, *args, name=None):
        super().__init__(alpha, name=name)


def test_an_operation_knows_what_it_was_made_with():
    op = Scaled(0.2, name="mine")
    assert op.get_config() == {"alpha": 0.2, "beta": 1.0, "name": "mine"}
    again = Scaled.from_config(op.get_config())
    assert (again.alpha, again.beta, again.name) == (0.2, 1.0, "mine")
    unnamed = Scaled(0.2, beta=0.0)
    assert unnamed.get_config() == {"alpha": 0.2, "beta": 0.0, "name": unnamed.name}
    for one in (Scaled(object()), Open(0.2, "a")):
        with pytest.raises(NotImplementedError):
            one.get_config()


def test_what_is_warned_of():
    with pytest.warns(UserWarning, match=r"softmax over axis 1 of a tensor of shape \(1, 1\)"):
        ops.softmax(np.array([[1.0]]), 1)
    with pytest.warns(UserWarning, match="You passed `rms_scaling=True`, which is deprecated"):
        ops.layer_normalization(np.arange(5, dtype="float32"), rms_scaling=True)


def test_symbolic_shapes_of_what_looks_at_values():
    found = ops.ctc_decode(KerasTensor((None, 2, 3)), KerasTensor((None,)), strategy="beam_search", top_paths=2)
    assert [x.shape for x in found] == [(2, None, 2), (None, 2)]
    assert ops.image.gaussian_blur(KerasTensor((None, 8, 8, 3)), (3, 3), KerasTensor((2,))).shape == (None, 8, 8, 3)


def test_scores_of_half_precision_paths_are_float32():
    x = ops.array([[[0.4, 0.8, 0.4], [0.2, 0.8, 0.3]]], dtype="float16")
    for strategy in ("greedy", "beam_search"):
        labels, scores = ops.ctc_decode(x, ops.array([2]), strategy=strategy)
        assert (keras.backend.standardize_dtype(labels.dtype), keras.backend.standardize_dtype(scores.dtype)) == (
            "int32", "float32",
        )  # fmt: skip


def test_scale_of_rms_normalization_broadcasts():
    x = np.random.default_rng(0).normal(size=(2, 8, 16)).astype(np.float32)
    scale = np.random.default_rng(1).normal(size=(8, 16)).astype(np.float32)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-7) * scale
    np.testing.assert_allclose(ops.rms_normalization(x, scale).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_weights_of_ignored_answers_do_not_count():
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=0)
    p = np.array([[0.8, 0.1, 0.1], [0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    found = metric(np.array([0, 1, 2]), p, sample_weight=np.array([0.5, 1.5, 2.0]))
    np.testing.assert_allclose(found, 1.33774646, atol=1e-5)


def test_the_base_constraint_allows_everything():
    np.testing.assert_array_equal(keras.constraints.Constraint()(np.array([1.0, 2.0])).numpy(), [1.0, 2.0])
