"""Estimators: scikit-learn's own checks, and what is built on top of estimators."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gradloom as gl
from gradloom import nn
from gradloom.estimators import Classifier, Regressor


@parametrize_with_checks([Classifier(epochs=40, random_state=0), Regressor(epochs=60, random_state=0)])
def test_scikit_learn(estimator, check):
    check(estimator)


def scaled(estimator):
    return make_pipeline(StandardScaler(), estimator)


def test_real_data():
    X, y = load_breast_cancer(return_X_y=True)
    assert cross_val_score(scaled(Classifier(epochs=15, random_state=0)), X, y, cv=3).mean() > 0.95
    X, y = load_diabetes(return_X_y=True)
    network = Regressor(hidden=(16,), epochs=60, random_state=0, weight_decay=1.0, validation_fraction=0.2, patience=10)
    scores = cross_val_score(scaled(network), X, (y - y.mean()) / y.std(), cv=3)
    assert scores.mean() > 0.35


def test_searches_calibration_and_ensembles():
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(scaled(Classifier(epochs=10, random_state=0)), {"classifier__hidden": [(4,), (16, 16)]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.85
    calibrated = CalibratedClassifierCV(Classifier(epochs=10, random_state=0), cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(1), 1.0)
    assert BaggingClassifier(Classifier(epochs=8, random_state=0), 3, random_state=0).fit(X, y).score(X, y) > 0.85


def test_a_module_of_ones_own_and_weights():
    X, y = load_iris(return_X_y=True)
    X = X.astype(np.float32)
    names = np.array(["a", "b", "c"])[y]

    def build(inputs, outputs):
        return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, outputs))

    network = Classifier(build, epochs=15, random_state=1).fit(X, names)
    assert network.score(X, names) > 0.9 and set(network.predict(X)) == {"a", "b", "c"}
    again = clone(network).fit(X, names)
    np.testing.assert_array_equal(again.predict_proba(X), network.predict_proba(X))
    heavy = Classifier(epochs=15, random_state=1, class_weight={"a": 1e-3, "b": 1.0, "c": 1.0}).fit(X, names)
    only = np.where(names == "a", 1e-3, 1.0)
    weighted = Classifier(epochs=15, random_state=1).fit(X, names, sample_weight=only)
    np.testing.assert_allclose(heavy.predict_proba(X), weighted.predict_proba(X), rtol=1e-3, atol=1e-4)
    assert (Classifier(nn.Linear(4, 3), epochs=40, random_state=0).fit(X, names).predict(X) == names).mean() > 0.8


def test_whole_weights_are_repetitions_and_the_order_of_samples_is_no_matter():
    X, y = load_iris(return_X_y=True)
    times = np.random.default_rng(0).integers(0, 4, len(X))
    fit = lambda *data, **weights: Regressor(epochs=5, random_state=0).fit(*data, **weights).predict(X)  # noqa: E731
    weighted = fit(X, y, sample_weight=times)
    np.testing.assert_array_equal(weighted, fit(np.repeat(X, times, 0), np.repeat(y, times)))
    mixed = np.random.default_rng(1).permutation(len(X))
    np.testing.assert_array_equal(weighted, fit(X[mixed], y[mixed], sample_weight=times[mixed]))
    assert np.abs(weighted - fit(X, y)).max() > 1e-3
    assert np.abs(fit(X, y, sample_weight=times + 0.5) - fit(X, y)).max() > 1e-3


def test_nothing_else_is_disturbed_and_copies_predict_the_same():
    X, y = load_iris(return_X_y=True)
    gl.manual_seed(5)
    expected = gl.rand(3).numpy()
    gl.manual_seed(5)
    network = Classifier(epochs=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(gl.rand(3).numpy(), expected)
    copied = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(copied.predict_proba(X), network.predict_proba(X))
    np.testing.assert_allclose(np.exp(network.predict_log_proba(X)), network.predict_proba(X), rtol=1e-10)


def test_refusals():
    X, y = load_iris(return_X_y=True)
    wrong = {"validation_fraction": 1.0, "epochs": 0, "batch_size": 0, "hidden": (8, 0), "patience": -1}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=name):
            Classifier(**{name: value}).fit(X, y)
    with pytest.raises(ValueError, match="one class"):
        Classifier().fit(X, np.zeros(len(X)))
