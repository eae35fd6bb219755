"""BackupAndRestore: a run that was broken off anywhere ends as one that was not."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)).astype("f"), RNG.integers(0, 3, 40)


def run(folder=None, stop=None, epochs=3, save_freq=2, data=None):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "relu"), layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])

    class Stop(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps == stop:
                raise RuntimeError("broken off")

    callbacks = [] if folder is None else [keras.callbacks.BackupAndRestore(folder, save_freq)]
    inputs = (X, Y) if data is None else (data(), None)
    try:
        history = model.fit(*inputs, batch_size=8, epochs=epochs, verbose=0, callbacks=[*callbacks, Stop()])
    except RuntimeError:
        return None
    return [w.tobytes() for w in model.get_weights()], [history.history[k][-1] for k in ("loss", "accuracy")]


@pytest.mark.parametrize("save_freq", [2, "epoch"])
@pytest.mark.parametrize("stop", [1, 3, 5, 8, 12])
def test_a_run_broken_off_ends_as_one_that_was_not(tmp_path, stop, save_freq):
    whole = run()
    assert run(tmp_path / "b", stop, save_freq=save_freq) is None
    assert run(tmp_path / "b", save_freq=save_freq) == whole
    assert not (tmp_path / "b").exists()  # training ended: nothing is left


def test_batches_of_a_pipeline(tmp_path):
    from gradloom.data import Dataset

    def data():
        return Dataset.from_tensor_slices((X, Y)).batch(8)

    whole = run(data=data)
    assert run(tmp_path / "b", 8, data=data) is None
    assert run(tmp_path / "b", data=data) == whole


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="backup_dir"):
        keras.callbacks.BackupAndRestore("")
    with pytest.raises(ValueError, match="save_freq"):
        keras.callbacks.BackupAndRestore(tmp_path, save_freq="often")
