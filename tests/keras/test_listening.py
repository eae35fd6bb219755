"""Callbacks of evaluate, validation and predict: what they hear of batches, and how they stop."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.errors import StateError
from gradloom.keras import layers

X, Y = np.ones((10, 2), np.float32), np.ones((10, 3), np.float32)


def make():
    model = keras.Sequential([layers.Input((2,)), layers.Dense(3)])
    model.compile("sgd", loss="mse", metrics=["mae"])
    return model


class Heard(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.said = []

    def on_test_begin(self, logs=None):
        self.said.append("begin")

    def on_test_batch_begin(self, batch, logs=None):
        self.said.append(("batch", batch))

    def on_test_batch_end(self, batch, logs=None):
        self.said.append((batch, sorted(logs)))

    def on_test_end(self, logs=None):
        self.said.append("end")

    def on_predict_begin(self, logs=None):
        self.said.append(self.model)

    def on_predict_batch_begin(self, batch, logs=None):
        self.said.append(("batch", batch))

    def on_predict_batch_end(self, batch, logs=None):
        self.said.append((batch, logs["outputs"].shape))

    def on_predict_end(self, logs=None):
        self.said.append("end")


BATCHES = [("batch", 0), (0, ["loss", "mae"]), ("batch", 1), (1, ["loss", "mae"])]


def test_evaluate_tells_of_batches():
    heard = Heard()
    make().evaluate(X, Y, batch_size=5, verbose=0, callbacks=[heard])
    assert heard.said == ["begin", *BATCHES, "end"]


def test_validation_tells_of_batches():
    heard = Heard()
    make().fit(X, Y, batch_size=5, verbose=0, validation_data=(X, Y), callbacks=[heard], epochs=2)
    assert heard.said == ["begin", *BATCHES, "end"] * 2


def test_predict_tells_of_batches():
    heard, model = Heard(), make()
    model.predict(X, batch_size=6, verbose=0, callbacks=heard)
    assert heard.said == [model, ("batch", 0), (0, (6, 3)), ("batch", 1), (1, (4, 3)), "end"]


@pytest.mark.parametrize(("method", "hook", "flag"), [
    ("fit", "on_train_batch_end", "stop_training"),
    ("evaluate", "on_test_batch_end", "stop_evaluating"),
    ("predict", "on_predict_batch_end", "stop_predicting"),
])  # fmt: skip
def test_a_callback_stops_an_endless_generator(method, hook, flag):
    model, seen = make(), []

    def stop(batch, logs=None):
        seen.append(batch)
        setattr(model, flag, batch == 4)

    def endless():
        while True:
            yield (X,) if method == "predict" else (X, Y)

    listener = keras.callbacks.Callback()
    setattr(listener, hook, stop)
    getattr(model, method)(endless(), verbose=0, callbacks=[listener])
    assert seen == [0, 1, 2, 3, 4]
    assert len(model.predict(X, verbose=0)) == 10  # the next call starts anew


def test_a_monitored_value_that_comes_in_some_epochs_alone(tmp_path):
    x, y = np.zeros((8, 2), np.float32), np.ones((8, 1), np.float32)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=1e9)
    plateau = keras.callbacks.ReduceLROnPlateau("val_loss")
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_loss", save_best_only=True)
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    assert stopping.best is None and plateau.best is None
    history = model.fit(
        x, y, epochs=8, validation_data=(x, y), validation_freq=2, verbose=0, callbacks=[plateau, best, log, stopping]
    )
    assert len(history.epoch) == 4 and len(history.history["val_loss"]) == 2
    assert plateau.best == pytest.approx(history.history["val_loss"][-1])
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    column = rows[0].index("val_loss")
    assert [row[column] == "NA" for row in rows[1:]] == [True, False, True, False]
    with pytest.raises(StateError, match="val_lost"):
        model.fit(x, y, epochs=2, validation_data=(x, y), validation_freq=2, verbose=0,
                  callbacks=[keras.callbacks.EarlyStopping("val_lost")])  # fmt: skip


def test_functions_beside_the_methods_of_callbacks():
    noted = keras.callbacks.LambdaCallback(on_epoch_end=None, other=len)
    assert noted.other is len
    with pytest.raises(ValueError, match="on_epoch_ends"):
        keras.callbacks.LambdaCallback(on_epoch_ends=print)
