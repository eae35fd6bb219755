"""What holds while a layer calls others: training or not, the names above it, where losses were added."""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any


class _Context(threading.local):
    """Each thread has its own: models may be called from several at once."""

    training: bool | None = None
    depth = 0
    scope: tuple[str, ...] = ()


CONTEXT = _Context()
WITH_LOSSES: weakref.WeakSet[Any] = weakref.WeakSet()  # layers to which a call added losses
_changes = itertools.count()
last_change = 0  # grows whenever any layer gets weights, or is frozen or thawed: what was collected before is stale


def note_change() -> None:
    """Say that the weights of some layer, or whether they are trained, have changed."""
    global last_change
    last_change = next(_changes)


def changes() -> int:
    """A number that differs from an earlier one where weights came, went, were frozen or thawed since."""
    return last_change
