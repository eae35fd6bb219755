"""What Keras has and gradloom deliberately has not: asked for, it says so, and what to do instead.

The error is an AttributeError, so ``hasattr`` behaves as for any other missing name.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

from gradloom.errors import GradloomError

__all__ = ["AbsentError", "REASONS", "names_of", "reason"]

_ENGINES = "there is one engine: write the layer with keras.ops, or as a gradloom.nn module"
_QUANT = "weights are not quantised in the layers: compression transforms a model from outside"
_SCOPES = "state lives in the variables themselves: call layers and ops directly"
_DOWNLOAD = "its data come from the network, and are not fetched: load files of your own with keras.utils or NumPy"

REASONS: dict[str, str] = {
    # public names, "*" for any text, and what to do instead
    "layers.FlaxLayer": _ENGINES,
    "layers.JaxLayer": _ENGINES,
    "layers.TFSMLayer": _ENGINES,
    "layers.TorchModuleWrapper": _ENGINES,
    "visualization*": "pictures with boxes and masks are drawn by Matplotlib: plot the arrays directly",
    "quantizers*": _QUANT,
    "Quantizer": _QUANT,
    "dtype_policies.*Quantized*": _QUANT,
    "dtype_policies.AWQDTypePolicy": _QUANT,
    "dtype_policies.GPTQDTypePolicy": _QUANT,
    "dtype_policies.Int4DTypePolicy": _QUANT,
    "distribution*": "gradloom runs in one process on one device: use larger batches, or steps_per_execution",
    "distillation*": "write the loss in train_step, or as a loss of two outputs: a Model subclass of a few lines",
    "StatelessScope": _SCOPES,
    "SymbolicScope": _SCOPES,
    "RematScope": "gradloom.utils.checkpoint computes parts of a model again instead of keeping them",
    "remat": "gradloom.utils.checkpoint computes parts of a model again instead of keeping them",
    "callbacks.OrbaxCheckpoint": "Orbax is JAX's: callbacks.ModelCheckpoint and BackupAndRestore keep everything",
    **{
        f"datasets.{name}*": _DOWNLOAD
        for name in (
            "boston_housing",
            "california_housing",
            "cifar10",
            "imdb",
            "mnist",
            "reuters",
        )
    },
    "export*": "model.export(path) writes ONNX, and model.save(path) keeps a model whole",
    "utils.Config": "a dictionary does",
    "saving.KerasFileEditor": "gradloom.io.safetensors reads and writes the weights of an archive",
    "optimizers.OptimizerMap": "give each part of a model an optimiser of its own in train_step",
    "optimizers.MultiOptimizer": "give each part of a model an optimiser of its own in train_step",
}


class AbsentError(GradloomError, AttributeError):
    """A name of Keras that is deliberately not there."""

    default_code = "keras.absent"


def reason(name: str) -> str | None:
    """Why a public name, without ``keras.``, is absent; None where that was not decided."""
    for pattern, why in REASONS.items():
        if name == pattern or fnmatch.fnmatchcase(name, pattern):
            return why
    return None


def names_of(module: str) -> Callable[[str], Any]:
    """``__getattr__`` of a public module, "" for ``keras`` itself: refuses what is absent, with the reason."""
    place = f"{module}." if module else ""

    def missing(name: str) -> Any:
        why = None if name.startswith("__") else reason(place + name)
        if why is not None:
            raise AbsentError(f"keras.{place}{name} is deliberately absent", hint=why)
        raise AttributeError(f"module 'keras{'.' + module if module else ''}' has no attribute {name!r}")

    return missing
