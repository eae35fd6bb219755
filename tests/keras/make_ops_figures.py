"""Makes `ops_figures.npz` with real Keras 3 on JAX, as `make_figures.py` makes its own. No test runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from keras import ops
from ops_table import TABLE

found = {}
for name, fn in TABLE.items():
    found.update({f"{name}/{k}": ops.convert_to_numpy(y) for k, y in enumerate(fn(ops))})
np.savez_compressed(Path(__file__).with_name("ops_figures.npz"), **found)
