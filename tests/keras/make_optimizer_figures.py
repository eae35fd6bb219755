"""Makes `optimizer_figures.npz` with real Keras 3 on JAX, as `make_figures.py` makes its own. No test runs it.

On TensorFlow Keras' ScheduleFreeAdamW differs: it reads its momentum after it has written it.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from optimizer_table import TABLE, gradient, start

found = {}
for name, cls, options, steps in TABLE:
    optimizer = getattr(keras.optimizers, cls)(**options)
    variables = [keras.Variable(w, name=n) for n, w in zip(("kernel", "bias"), start())]
    optimizer.build(variables)
    for t in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradient(t)], variables)
    optimizer.finalize_variable_values(variables)
    found.update({f"{name}/{k}": keras.ops.convert_to_numpy(v) for k, v in enumerate(variables)})
np.savez_compressed(Path(__file__).with_name("optimizer_figures.npz"), **found)
