"""Whether a step of a trainer does the same every time, so that it may be run again without its Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gradloom.metrics import Metric
from gradloom.nn.hooks import EVERYWHERE
from gradloom.nn.module import Module
from gradloom.tensor import Tensor

if TYPE_CHECKING:
    from gradloom.train.trainer import Trainer


def same_every_time(trainer: Trainer) -> bool:
    """Whether nothing but gradloom's own Python runs in a step, or the user has said that it does the same.

    A module given as ``gradloom.compile(module)`` is such a word. Callbacks that see single steps may change whatever
    a step reads, so with one of the user's each step runs its Python.
    """
    from gradloom.train.trainer import Trainer as Base

    model, losses = trainer.model, trainer.losses
    own = any(getattr(type(trainer), n) is not getattr(Base, n) for n in ("compute", "train_step", "test_step"))
    if own or trainer._watched or trainer.averaged is not None or _hooked(model):
        return False
    if not all(isinstance(metric, Metric) for metric in trainer.metrics.values()):  # wrappers count in Python
        return False
    held: list[Any] = [trainer.optimizer, *trainer.metrics.values()]
    held += losses.values() if isinstance(losses, dict) else losses if isinstance(losses, list | tuple) else [losses]
    if not hasattr(type(model), "_orig_mod"):  # else compiled: the user's word
        held += model.modules()
    held += [v for part in held if hasattr(part, "__dict__") for v in vars(part).values() if callable(v)]
    return all((getattr(x, "__module__", None) or type(x).__module__).split(".")[0] == "gradloom" for x in held)


def _hooked(model: Module) -> bool:
    """Whether somebody's function is called on the way through a module, or on the way back."""
    return (
        bool(EVERYWHERE.calls)
        or any(m._hooks or m._pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in model.modules())
        or any(id(p) in Tensor._watched for p in model.parameters())
    )


def keep_cells(metric: Metric, before: Mapping[str, Any]) -> None:
    """Write a metric's new states into the tensors that held them before, so that a step's program does so too."""
    for name, old in before.items():
        new = getattr(metric, name)
        if new is not old and isinstance(new, Tensor) and isinstance(old, Tensor) and new._v.aval == old._v.aval:
            old._set_value(new._v)
            setattr(metric, name, old)
