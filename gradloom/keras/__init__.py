"""The Keras face: models that are compiled and fitted, by the names of Keras 3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from gradloom.errors import NotSupportedError
from gradloom.keras import (
    absent,
    activations,
    applications,
    backend,
    callbacks,
    config,
    constraints,
    datasets,
    dtype_policies,
    initializers,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    preprocessing,
    random,
    regularizers,
    saving,
    tree,
    utils,
)
from gradloom.keras.dtype_policies import DTypePolicy
from gradloom.keras.initializers import Initializer
from gradloom.keras.layers import Input, InputSpec, Layer
from gradloom.keras.layers.context import CONTEXT
from gradloom.keras.losses import Loss
from gradloom.keras.metrics import Metric
from gradloom.keras.models import Functional, Model, Sequential
from gradloom.keras.optimizers import Optimizer
from gradloom.keras.regularizers import Regularizer
from gradloom.keras.symbolic import Operation
from gradloom.keras.variables import KerasTensor, Variable

Function = Functional
FloatDTypePolicy = DTypePolicy
__version__ = "3.15.1"  # the version of Keras whose public names these are
__getattr__ = absent.names_of("")


def version() -> str:
    """The version of Keras whose public names these are."""
    return __version__


def device(device_name: str) -> Any:
    """A context in which tensors are made on a device: the CPU is the only one."""
    if str(device_name).lower().split(":")[0].strip("/") not in ("cpu", "device"):
        raise NotSupportedError(f"device {device_name!r}: there is only the CPU", code="keras.device", hint="'cpu'")
    return contextlib.nullcontext()


@contextlib.contextmanager
def name_scope(name: str, **kwargs: Any) -> Iterator[str]:
    """Weights made within get paths that begin with ``name``."""
    before = CONTEXT.scope
    CONTEXT.scope = (*before, name)
    try:
        yield name
    finally:
        CONTEXT.scope = before


__all__ = [
    "DTypePolicy",
    "FloatDTypePolicy",
    "Function",
    "Functional",
    "Initializer",
    "Input",
    "InputSpec",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Operation",
    "Optimizer",
    "Regularizer",
    "Sequential",
    "Variable",
    "activations",
    "applications",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "device",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "name_scope",
    "ops",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "saving",
    "tree",
    "utils",
    "version",
]
