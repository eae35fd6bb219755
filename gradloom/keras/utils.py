"""Helpers, by the names that Keras gives them."""

from __future__ import annotations

import random as python_random
from typing import Any

import numpy as np

from gradloom.keras.inputs import check_labels


def set_random_seed(seed: int) -> None:
    """Seed Python's, NumPy's and gradloom's random numbers: weights, shuffling and dropout repeat themselves."""
    from gradloom import random

    python_random.seed(seed)
    np.random.seed(seed % (1 << 32))
    random.manual_seed(seed)


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """Class numbers (...,) or (..., 1) as one-hot float32 arrays (..., num_classes).

    Raises
    ------
    IndexRangeError : a number outside of 0 to ``num_classes - 1``.
    """
    labels = np.asarray(x, np.int64)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    check_labels(np.atleast_1d(labels), classes)
    return (labels[..., None] == np.arange(classes)).astype(np.float32)
