"""The Keras face: models that are compiled and fitted, by the names of Keras 3."""

from gradloom.keras import (
    activations,
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
from gradloom.keras import config as backend
from gradloom.keras.dtype_policies import DTypePolicy
from gradloom.keras.initializers import Initializer
from gradloom.keras.layers import Input, InputSpec, Layer
from gradloom.keras.losses import Loss
from gradloom.keras.metrics import Metric
from gradloom.keras.models import Functional, Model, Sequential
from gradloom.keras.optimizers import Optimizer
from gradloom.keras.regularizers import Regularizer
from gradloom.keras.variables import KerasTensor, Variable

Function = Functional

__all__ = [
    "DTypePolicy",
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
    "Optimizer",
    "Regularizer",
    "Sequential",
    "Variable",
    "activations",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "saving",
    "tree",
    "utils",
]
