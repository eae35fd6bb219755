"""Write `application_facts.json`: facts and outputs of Keras 3.15's models. Run where Keras is installed."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from application_table import NAMES, RUN, facts, images, made, weights

# the first numbers are not looked at, so that none need be drawn
keras.initializers.VarianceScaling.__call__ = lambda self, shape, dtype=None: np.zeros(shape, np.float32)

found = {}
for name in NAMES:
    keras.backend.clear_session()
    row = {"facts": facts(getattr(keras.applications, name)(weights=None))}
    if name in RUN:
        model = made(keras.applications, name)
        model.set_weights(weights(model))
        row["output"] = [float(v) for v in model.predict(images(name), verbose=0)[0]]
    found[name] = row
    print(name, row, flush=True)
Path(__file__).with_name("application_facts.json").write_text(json.dumps(found, indent=1) + "\n")
