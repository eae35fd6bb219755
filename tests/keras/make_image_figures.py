"""Write `image_figures.npz`: what Keras 3.15 makes of the rows of `image_table.py`. Run where Keras is installed."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from image_table import TABLE, results

found = {}
for row in TABLE:
    for part, value in results(keras.layers, *row).items():
        found[f"{row[0]}/{part}"] = np.asarray(keras.ops.convert_to_numpy(value), np.float32)
np.savez_compressed(Path(__file__).with_name("image_figures.npz"), **found)
print(len(found))
