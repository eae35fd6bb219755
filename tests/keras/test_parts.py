"""Activations, initialisers, losses, layers, callbacks and weight files, each on its own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import special

from gradloom import keras
from gradloom.errors import NotSupportedError, ShapeError, StateError
from gradloom.keras import activations, callbacks, initializers, layers, losses, metrics
from gradloom.tensor import tensor

Z = np.array([[-90.0, -2.0, -0.5, 0.0], [0.3, 1.0, 4.0, 90.0]], np.float32)
D = Z.astype(np.float64)
EXPECTED = {
    "linear": D,
    "relu": np.maximum(D, 0),
    "leaky_relu": np.where(D > 0, D, 0.2 * D),
    "elu": np.where(D > 0, D, np.expm1(np.minimum(D, 0))),
    "sigmoid": special.expit(D),
    "tanh": np.tanh(D),
    "softmax": special.softmax(D, -1),
    "log_softmax": special.log_softmax(D, -1),
    "softplus": np.logaddexp(D, 0),
    "silu": D * special.expit(D),
    "gelu": D * special.ndtr(D),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_activations(name):
    np.testing.assert_allclose(activations.get(name)(tensor(Z)).numpy(), EXPECTED[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "deviation", "limit"),
    [
        ("glorot_uniform", np.sqrt(2 / 500), np.sqrt(6 / 500)),
        ("glorot_normal", np.sqrt(2 / 500), np.inf),
        ("he_uniform", np.sqrt(2 / 300), np.sqrt(6 / 300)),
        ("he_normal", np.sqrt(2 / 300), 2 / 0.8796 * np.sqrt(2 / 300)),
        ("lecun_normal", np.sqrt(1 / 300), 2 / 0.8796 * np.sqrt(1 / 300)),
        ("random_normal", 0.05, np.inf),
        ("RandomUniform", 0.1 / np.sqrt(12), 0.05),
        ("truncated_normal", 0.05 * 0.8796, 0.1),
    ],
)
def test_initialisers(name, deviation, limit):
    keras.utils.set_random_seed(0)
    values = initializers.get(name)((300, 200)).numpy()
    assert values.std() == pytest.approx(deviation, rel=0.02)
    assert abs(values.mean()) < 4 * deviation / np.sqrt(values.size)
    assert np.abs(values).max() <= limit * 1.0001
    assert not np.array_equal(values, initializers.get(name)((300, 200)).numpy())


def test_initialisers_with_a_seed_repeat():
    a, b = (initializers.HeNormal(seed=4)((20, 3)).numpy() for _ in range(2))
    assert np.array_equal(a, b)
    assert initializers.get("ones")((2,)).tolist() == [1.0, 1.0]


P = special.softmax(np.random.default_rng(0).normal(size=(5, 3)), -1)
LOGITS = np.log(P).astype(np.float32) + 2
LABELS = np.array([0, 2, 1, 1, 0])
ONE_HOT = np.eye(3)[LABELS]
BITS = np.array([[0, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0], [0, 1, 0]])
Q = special.expit(LOGITS.astype(np.float64))


def test_losses_from_scores_and_from_probabilities():
    want = -np.log(P[np.arange(5), LABELS]).mean()
    sparse, full, binary = (
        losses.SparseCategoricalCrossentropy,
        losses.CategoricalCrossentropy,
        losses.BinaryCrossentropy,
    )
    for loss, answers in ((sparse, LABELS), (full, ONE_HOT)):
        assert loss(from_logits=True)(answers, LOGITS).item() == pytest.approx(want, rel=1e-5)
        assert loss()(answers, P).item() == pytest.approx(want, rel=1e-5)
    each = -(BITS * np.log(Q) + (1 - BITS) * np.log(1 - Q))
    assert binary(from_logits=True)(BITS, LOGITS).item() == pytest.approx(each.mean(), rel=1e-5)
    assert binary()(BITS, Q).item() == pytest.approx(each.mean(), rel=1e-5)
    assert binary()(np.array([1.0]), np.array([0.0])).item() == pytest.approx(-np.log(1e-7), rel=1e-3)
    smooth = ONE_HOT * 0.9 + 0.1 / 3
    assert full(label_smoothing=0.1)(ONE_HOT, P).item() == pytest.approx(-(smooth * np.log(P)).sum(-1).mean(), rel=1e-5)
    assert losses.get("MeanAbsoluteError")(ONE_HOT, P).item() == pytest.approx(np.abs(P - ONE_HOT).mean(), rel=1e-5)
    weight = np.array([1.0, 0.0, 2.0, 1.0, 0.5])
    assert losses.MeanSquaredError()(ONE_HOT, P, weight).item() == pytest.approx(
        (((P - ONE_HOT) ** 2).mean(-1) * weight).mean(), rel=1e-5
    )


def test_metrics_by_hand():
    m = metrics.SparseCategoricalAccuracy()
    m.update_state(LABELS, P)
    m.update_state(LABELS, ONE_HOT)
    assert m.result() == pytest.approx(((P.argmax(1) == LABELS).sum() + 5) / 10)
    m.reset_state()
    assert m.result() == 0.0
    mean = metrics.Mean()
    mean.update_state([1.0, 5.0], sample_weight=[3, 1])
    assert mean.result() == pytest.approx(2.0)


def test_accuracy_follows_loss_and_shape():
    found = metrics.resolve("accuracy", losses.MeanSquaredError(), (None, 1), (9,))
    assert isinstance(found, metrics.BinaryAccuracy) and found.name == "accuracy"
    assert isinstance(metrics.resolve("acc", losses.MeanSquaredError(), (None, 3), (9, 3)), metrics.CategoricalAccuracy)
    sparse = losses.SparseCategoricalCrossentropy()
    assert isinstance(metrics.resolve("accuracy", sparse, (None, 1), (9, 1)), metrics.SparseCategoricalAccuracy)


def test_dense_and_shapes():
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    dense = layers.Dense(5, activation="tanh", kernel_initializer="he_normal", bias_initializer="ones")
    y = dense(x)
    kernel, bias = dense.get_weights()
    assert kernel.shape == (4, 5) and (bias == 1).all()
    np.testing.assert_allclose(y.detach().numpy(), np.tanh(x @ kernel + bias), rtol=1e-5, atol=1e-6)
    model = keras.Sequential(
        [layers.Input((3, 4)), layers.Reshape((2, -1)), layers.Flatten(), dense_named := layers.Dense(2)]
    )
    assert dense_named.kernel.shape == (12, 2)
    with pytest.raises(ShapeError, match=r"Reshape.*12 elements"):
        keras.Sequential([layers.Input((3, 4)), layers.Reshape((5, -1))])
    assert model.compute_output_shape((None, 3, 4)) == (None, 2)
    np.testing.assert_allclose(layers.ReLU(max_value=1.0)(x).numpy(), np.clip(x, 0, 1))
    np.testing.assert_allclose(layers.Softmax(axis=1)(x).numpy(), special.softmax(x, 1), rtol=1e-5)


def test_dropout_scales_and_drops_only_in_training():
    drop, x = layers.Dropout(0.25), np.ones((200, 200), np.float32)
    assert np.array_equal(drop(x).numpy(), x)
    y = drop(x, training=True).numpy()
    np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)


def build(names=(None, None)):
    return keras.Sequential(
        [layers.Input((3,)), layers.Dense(4, "relu", name=names[0]), layers.Dense(2, name=names[1])]
    )


def test_weights_go_through_a_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    a, b = build(), build()
    a.save_weights(tmp_path / "w.safetensors")
    assert not np.array_equal(a.get_weights()[0], b.get_weights()[0])
    b.load_weights(tmp_path / "w.safetensors")
    assert all(np.array_equal(p, q) for p, q in zip(a.get_weights(), b.get_weights()))
    other = keras.Sequential([layers.Input((3,)), layers.Dense(4)])
    with pytest.raises(ShapeError, match="the model lacks"):
        other.load_weights(tmp_path / "w.safetensors")
    with pytest.raises(NotSupportedError, match=r"safetensors"):
        a.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(StateError, match="no weights yet"):
        keras.Sequential([layers.Dense(2)]).save_weights(tmp_path / "v.safetensors")
    with pytest.raises(FileExistsError):
        a.save_weights(tmp_path / "w.safetensors", overwrite=False)


def test_set_weights_refuses_and_changes_nothing():
    model = build()
    before = model.get_weights()
    with pytest.raises(ShapeError, match=r"has 4 weights, 3 were given"):
        model.set_weights(before[:3])
    wrong = [w + 1 for w in before]
    wrong[2] = wrong[2].T
    with pytest.raises(ShapeError, match=r"shape \(4, 2\), \(2, 4\) was given"):
        model.set_weights(wrong)
    assert all(np.array_equal(p, q) for p, q in zip(before, model.get_weights()))


def test_summary(capsys):
    build(("first", "second")).summary()
    text = capsys.readouterr().out
    assert "first (Dense)" in text and "(None, 4)" in text and "Total params: 26 (104.00 B)" in text
    keras.Sequential([layers.Dense(2)]).summary()
    assert "?" in capsys.readouterr().out


def test_early_stopping_restores_the_best():
    stop = callbacks.EarlyStopping(monitor="loss", patience=2, restore_best_weights=True)

    class Fake:
        stop_training = False
        weights = None

        def get_weights(self):
            return self.at

        def set_weights(self, weights):
            self.weights = weights

    model = Fake()
    stop.set_model(model)
    stop.on_train_begin()
    for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.2, 1.0]):
        model.at = epoch
        stop.on_epoch_end(epoch, {"loss": loss})
        if model.stop_training:
            break
    stop.on_train_end()
    assert (stop.stopped_epoch, stop.best_epoch, stop.best, model.weights) == (3, 1, 2.0, 1)
    with pytest.raises(StateError, match="val_loss"):
        callbacks.EarlyStopping().on_epoch_end(0, {"loss": 1.0})


def test_checkpoint_and_lambda(tmp_path):
    model, seen = build(), []
    model.compile("adam", "mse")
    x, y = np.ones((8, 3), np.float32), np.ones((8, 2), np.float32)
    model.fit(
        x,
        y,
        epochs=2,
        verbose=0,
        callbacks=[
            callbacks.ModelCheckpoint(str(tmp_path / "{epoch:02d}.safetensors")),
            callbacks.ModelCheckpoint(str(tmp_path / "best.safetensors"), monitor="loss", save_best_only=True),
            callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, logs["loss"]))),
        ],
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01.safetensors", "02.safetensors", "best.safetensors"]
    assert [e for e, _ in seen] == [0, 1] and seen[1][1] < seen[0][1]


def test_to_categorical():
    assert keras.utils.to_categorical([0, 2]).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(IndexError, match=r"y\[1\] is 2"):
        keras.utils.to_categorical([0, 2], 2)
