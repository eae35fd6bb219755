"""fit, train_on_batch, evaluate and predict against a network written in NumPy."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from oracle import Dense2, adam, rmsprop, sgd, softmax

from gradloom import keras
from gradloom.errors import DTypeError, IndexRangeError, ShapeError, StateError
from gradloom.keras import layers, optimizers
from gradloom.keras.names import UnknownNameError

RNG = np.random.default_rng(7)
X = RNG.normal(size=(70, 6)).astype(np.float32)
Y = (X[:, :4] @ RNG.normal(size=(4, 4)).astype(np.float32)).argmax(1)


def weights():
    rng = np.random.default_rng(1)
    shapes = [(6, 8), (8,), (8, 4), (4,)]
    return [rng.normal(size=s).astype(np.float32) * 0.5 for s in shapes]


def make(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=("accuracy",), last="softmax"):
    model = keras.Sequential([layers.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(4, activation=last)])
    model.compile(optimizer=optimizer, loss=loss, metrics=list(metrics))
    model.set_weights(weights())
    return model


OPTIMIZERS = {
    "sgd": (lambda: optimizers.SGD(0.1), lambda: sgd(0.1)),
    "momentum": (lambda: optimizers.SGD(0.1, momentum=0.9), lambda: sgd(0.1, 0.9)),
    "nesterov": (lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True), lambda: sgd(0.1, 0.9, True)),
    "adam": (lambda: "adam", adam),
    "adam rate": (lambda: optimizers.Adam(0.05, beta_1=0.8, epsilon=1e-3), lambda: adam(0.05, 0.8, eps=1e-3)),
    "amsgrad": (lambda: optimizers.Adam(0.05, beta_2=0.5, amsgrad=True), lambda: adam(0.05, b2=0.5, amsgrad=True)),
    "adamw": (lambda: optimizers.AdamW(0.05, weight_decay=0.1), lambda: adam(0.05, decay=0.1)),
    "rmsprop": (lambda: "rmsprop", rmsprop),
    "rmsprop all": (
        lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
        lambda: rmsprop(0.01, momentum=0.5, centered=True),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_equal_numpy(name):
    ours, theirs = OPTIMIZERS[name]
    model, oracle, step = make(ours()), Dense2(weights()), theirs()
    for t in range(1, 7):
        x, y = X[(t - 1) * 10 : t * 10], Y[(t - 1) * 10 : t * 10]
        loss, accuracy = model.train_on_batch(x, y)
        assert loss == pytest.approx(oracle.loss(x, y), rel=2e-5)
        assert accuracy == pytest.approx((oracle.scores(x).argmax(1) == y).mean())
        oracle.w = [step(i, w, g, t) for i, (w, g) in enumerate(zip(oracle.w, oracle.gradients(x, y)))]
    for a, b in zip(model.get_weights(), oracle.w):
        np.testing.assert_allclose(a, b, rtol=3e-4, atol=3e-5)


def test_fit_in_order_equals_numpy_ragged_batch_included():
    model, oracle, step, t = make(), Dense2(weights()), adam(), 0
    history = model.fit(X, Y, batch_size=16, epochs=3, shuffle=False, verbose=0).history
    for epoch in range(3):
        total = right = 0.0
        for start in range(0, 70, 16):
            x, y = X[start : start + 16], Y[start : start + 16]
            t += 1
            total += oracle.loss(x, y) * len(y)
            right += (oracle.scores(x).argmax(1) == y).sum()
            oracle.w = [step(i, w, g, t) for i, (w, g) in enumerate(zip(oracle.w, oracle.gradients(x, y)))]
        assert history["loss"][epoch] == pytest.approx(total / 70, rel=1e-4)
        assert history["accuracy"][epoch] == pytest.approx(right / 70)
    loss, accuracy = model.evaluate(X, Y, batch_size=32, verbose=0)
    assert loss == pytest.approx(oracle.loss(X, Y), rel=1e-4)
    assert accuracy == pytest.approx((oracle.scores(X).argmax(1) == Y).mean())
    np.testing.assert_allclose(model.predict(X), softmax(oracle.scores(X)), rtol=1e-3, atol=1e-5)


def test_weights_of_samples_and_classes():
    rng = np.random.default_rng(3)
    each, of_class = rng.uniform(0, 2, 70).astype(np.float32), {0: 2.0, 3: 0.5}
    both = each * np.array([of_class.get(int(c), 1.0) for c in Y])
    model, oracle = make(optimizers.SGD(0.1)), Dense2(weights())
    history = model.fit(
        X, Y, batch_size=70, shuffle=False, sample_weight=each, class_weight=of_class, verbose=0, epochs=1
    )
    assert history.history["loss"][0] == pytest.approx(oracle.loss(X, Y, both), rel=1e-5)
    for a, w, g in zip(model.get_weights(), oracle.w, oracle.gradients(X, Y, both)):
        np.testing.assert_allclose(a, w - 0.1 * g, rtol=1e-4, atol=1e-5)


def test_softmax_far_from_zero_still_learns():
    # probabilities round to 1 and 0 here: a loss from clipped probabilities would be 16.1 with gradient 0
    model = keras.Sequential([layers.Input((1,)), layers.Dense(2, activation="softmax", use_bias=False)])
    model.compile(optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    model.set_weights([np.array([[100.0, 0.0]], np.float32)])
    assert model.train_on_batch(np.ones((4, 1)), np.ones(4, int)) == pytest.approx(100.0)
    np.testing.assert_allclose(model.get_weights()[0], [[99.0, 1.0]], rtol=1e-6)


def test_learns_from_scratch_deferred_build_and_uint8():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    x = rng.integers(0, 30, (600, 4, 4)).astype(np.uint8)
    x[np.arange(600), y, y] += 200
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [layers.Flatten(), layers.Dense(16, activation="relu"), layers.Dropout(0.1), layers.Dense(3, "softmax")]
    )
    model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, epochs=10, verbose=0, validation_split=0.25)
    assert history.history["val_accuracy"][-1] > 0.95
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_same_seed_same_bits():
    def run(seed):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(4, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
        return model.get_weights()

    a, b, c = run(5), run(5), run(6)
    assert all(np.array_equal(p, q) for p, q in zip(a, b))
    assert not any(np.array_equal(p, q) for p, q in zip(a[::2], c[::2]))


def test_binary_and_regression():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    w = rng.normal(size=(3, 1)).astype(np.float32)
    y = (x @ w > 0).astype(int)
    model = keras.Sequential([layers.Input((3,)), layers.Dense(1, activation="sigmoid", use_bias=False)])
    model.compile("sgd", "binary_crossentropy", ["accuracy", "mae"])
    model.set_weights([w])
    p = 1 / (1 + np.exp(-(x @ w).astype(np.float64)))
    want = {
        "loss": -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(),
        "accuracy": ((p > 0.5) == y).mean(),
        "mae": np.abs(p - y).mean(),
    }
    for answers in (y, y[:, 0]):  # (n, 1) and (n,) mean the same, and never broadcast to (n, n)
        found = model.evaluate(x, answers, verbose=0, return_dict=True)
        assert found == pytest.approx(want, rel=1e-5)
    model.compile("sgd", "mse")
    assert model.evaluate(x, y[:, 0], verbose=0) == pytest.approx(((p - y) ** 2).mean(), rel=1e-5)


def test_iterable_of_batches():
    pairs = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 70, 16)]
    a, b = make(), make()
    a.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
    b.fit(iter(pairs), verbose=0)
    for p, q in zip(a.get_weights(), b.get_weights()):
        assert np.array_equal(p, q)
    assert a.evaluate(pairs, verbose=0) == pytest.approx(a.evaluate(X, Y, batch_size=16, verbose=0))


def test_frozen_layer_stays():
    model = make()
    model.layers[0].trainable = False
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[1], after[1])
    assert not np.array_equal(before[2], after[2])
    assert len(model.trainable_variables) == 2 and model.count_params() == 6 * 8 + 8 + 8 * 4 + 4
    model.layers[0].trainable = True
    model.train_on_batch(X, Y)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_schedule_and_clipping():
    rates = [0.1, 0.01, 0.0]
    model, oracle = make(optimizers.SGD(lambda step: rates[step], global_clipnorm=0.05)), Dense2(weights())
    for rate in rates:
        model.train_on_batch(X, Y)
        g = oracle.gradients(X, Y)
        norm = np.sqrt(sum((a * a).sum() for a in g))
        oracle.w = [w - rate * a * min(1.0, 0.05 / norm) for w, a in zip(oracle.w, g)]
    for a, b in zip(model.get_weights(), oracle.w):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_subclassed_model():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(8, activation="relu")
            self.drop = layers.Dropout(0.5)
            self.out = layers.Dense(4, activation="softmax")

        def call(self, x, training=False):
            return self.out(self.drop(self.hidden(x), training=training))

    model = Net()
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    first = model.evaluate(X, Y, verbose=0)[0]
    model.fit(X, Y, epochs=20, verbose=0)
    assert model.evaluate(X, Y, verbose=0)[0] < first
    assert np.array_equal(model.predict(X), model.predict(X))  # no dropout outside of training


def test_ctrl_c_keeps_whole_steps():
    class Press(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                signal.raise_signal(signal.SIGINT)

    a, b = make(), make()
    with pytest.raises(KeyboardInterrupt):
        a.fit(X, Y, batch_size=10, shuffle=False, verbose=0, callbacks=[Press()])
    for i in range(3):
        b.train_on_batch(X[i * 10 : i * 10 + 10], Y[i * 10 : i * 10 + 10])
    for p, q in zip(a.get_weights(), b.get_weights()):
        assert np.array_equal(p, q)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_labels_are_checked_where_they_enter():
    y = Y.copy()
    y[41] = 4
    with pytest.raises(IndexRangeError, match=r"y\[41\] is 4, but the model has 4 outputs.*0 to 3"):
        make().fit(X, y, verbose=0)
    with pytest.raises(IndexRangeError, match=r"y\[0\] is -1"):
        make().evaluate(X, Y * 0 - 1, verbose=0)


def test_shapes_that_do_not_go_together():
    model = make()
    with pytest.raises(ShapeError, match="x has 70 samples and y has 69"):
        model.fit(X, Y[:-1], verbose=0)
    with pytest.raises(ShapeError, match=rf"layer '{model.layers[0].name}' \(Dense\).*5 features.*takes 6"):
        model.fit(X[:, :5], Y, verbose=0)
    with pytest.raises(ShapeError, match="categorical_crossentropy"):
        model.fit(X, np.eye(4)[Y], verbose=0)
    with pytest.raises(ShapeError, match="sparse_categorical_crossentropy"):
        make(loss="categorical_crossentropy").fit(X, Y, verbose=0)
    with pytest.raises(DTypeError, match="not whole"):
        model.fit(X, Y + 0.5, verbose=0)
    with pytest.raises(DTypeError, match="x has dtype"):
        model.predict(np.array(["a", "b"]))
    with pytest.raises(ShapeError, match="no samples"):
        model.predict(X[:0])


def test_names_that_are_not_known():
    model = make()
    with pytest.raises(UnknownNameError, match=r"optimizer='adma'[\s\S]*did you mean 'adam'"):
        model.compile("adma", "mse")
    with pytest.raises(UnknownNameError, match=r"did you mean 'sparse_categorical_crossentropy'"):
        model.compile("adam", "sparse_categorical_crossentrpy")
    with pytest.raises(ValueError, match=r"metric='acuracy'[\s\S]*'accuracy'"):
        model.compile("adam", "mse", ["acuracy"])
    with pytest.raises(UnknownNameError, match="did you mean 'relu'"):
        layers.Dense(3, activation="rellu")
    with pytest.raises(StateError, match="no loss"):
        keras.Sequential([layers.Dense(2)]).fit(X, Y)
