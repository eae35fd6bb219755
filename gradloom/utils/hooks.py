"""``torch.utils.hooks``: the handle that registering a hook gives."""

from __future__ import annotations

from gradloom.functions.hooks import RemovableHandle

__all__ = ["RemovableHandle"]
