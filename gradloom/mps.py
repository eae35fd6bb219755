"""``torch.mps``'s interface on a machine without such a device: as :mod:`gradloom.cuda`."""

from __future__ import annotations

from gradloom.cuda import device_count, empty_cache, is_available, manual_seed, seed, synchronize
from gradloom.cuda import memory_allocated as current_allocated_memory

__all__ = [
    "current_allocated_memory", "device_count", "empty_cache", "is_available", "manual_seed", "seed", "synchronize",
]  # fmt: skip
