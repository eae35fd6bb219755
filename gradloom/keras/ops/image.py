"""``keras.ops.image``: the functions of images."""

from __future__ import annotations

from gradloom.keras.ops.pictures import TABLE as _TABLE

globals().update(_TABLE)

__all__ = sorted(_TABLE)
