"""NaN and infinities: noticed in the step that brings them, told with the sample, and kept out of checkpoints."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gradloom.errors import StateError
from gradloom.tensor import Tensor

__all__ = ["is_finite", "refuse_batch", "refuse_weights"]


def is_finite(total: Tensor) -> bool:
    """Whether a float64 number is finite, as far as it is known: one that waits on the tape is taken to be."""
    value = total._v
    if value.entry is not None or value.buf is None:
        return True
    return math.isfinite(ctypes.c_double.from_address(value.buf.ptr).value)


def _first(array: np.ndarray) -> tuple[str, tuple[int, ...]] | None:
    """What the first number that is not finite is, and where."""
    if array.dtype.kind not in "fc":
        return None
    wrong = ~np.isfinite(array)
    if not wrong.any():
        return None
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return str(array[at]), at


def refuse_batch(batch: Iterable[Any], epoch: int, number: int) -> StateError:
    """The error for a loss that is not finite in batch `number`, from 0 on; names the sample where data are why."""
    told, hint = "", (
        "its inputs are finite: try a smaller learning rate or clip_norm; `with gradloom.debug.check_finite():` names "
        "the operation; Trainer(finite=False) trains on"
    )  # fmt: skip
    for place, part in enumerate(batch):
        for array in _arrays(part):
            found = _first(array)
            if found is not None:
                what, at = found
                where = f"sample {at[0]}" + (f", element {at[1:]}" if at[1:] else "")
                told = f": part {place} of the batch has {what} in {where}"
                hint = (
                    "gradloom.data.examine(dataset) lists such samples; drop or fill them, or train with "
                    "Trainer(finite=False) where the model is made for them"
                )
                break
        if told:
            break
    return StateError(
        f"the loss is not finite in batch {number + 1} of epoch {epoch + 1}{told}. Checkpoints are as they were before",
        code="train.finite", hint=hint,
    )  # fmt: skip


def refuse_weights(state: dict[str, Any], where: Any) -> None:
    """StateError where a state dict holds numbers that are not finite: it is not written over one that is whole."""
    for name, value in state.items():
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind == "f" and not math.isfinite(float(np.sum(array, dtype=np.float64))):
            found = _first(array)
            if found is not None:
                raise StateError(
                    f"{name} has {found[0]} at {found[1]}; it was not written over {where}", code="train.finite",
                    hint="resume from that file with a smaller learning rate, or clip gradients",
                )  # fmt: skip


def _arrays(part: Any) -> Iterable[np.ndarray]:
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, list | tuple):
        for one in part:
            yield from _arrays(one)
    elif part is not None:
        yield part.detach().numpy() if isinstance(part, Tensor) else np.asarray(part)
