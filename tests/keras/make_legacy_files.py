"""Makes `real_legacy.h5` and `real_legacy.npz` with real Keras 3, as `make_figures.py`. No test runs it.

The model is trained for two steps before it is written; the figures are its predictions and what `evaluate` gives.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers

HERE = Path(__file__).parent
keras.utils.set_random_seed(1)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(6, 5, 3)).astype("float32"), rng.normal(size=(6, 2)).astype("float32")
inputs = keras.Input((5, 3))
h = layers.BatchNormalization()(layers.Conv1D(4, 3, padding="same", activation="relu")(inputs))
h = layers.Add()([h, layers.Dense(4, use_bias=False)(inputs)])
h = layers.Bidirectional(layers.GRU(3))(h)
model = keras.Model(inputs, layers.Dense(2, kernel_regularizer="l2", name="out")(layers.Dropout(0.5)(h)))
model.compile(keras.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
model.fit(x, y, batch_size=3, verbose=0, shuffle=False)
model.save(HERE / "real_legacy.h5")
np.savez_compressed(HERE / "real_legacy.npz", x=x, y=y, predicted=model.predict(x, verbose=0),
                    evaluated=model.evaluate(x, y, verbose=0))  # fmt: skip
