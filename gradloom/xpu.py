"""``torch.xpu``'s interface on a machine without such a device: as :mod:`gradloom.cuda`."""

from __future__ import annotations

from gradloom.cuda import (
    device_count,
    empty_cache,
    is_available,
    is_initialized,
    manual_seed,
    manual_seed_all,
    max_memory_allocated,
    memory_allocated,
    seed,
    seed_all,
    synchronize,
)

__all__ = [
    "device_count", "empty_cache", "is_available", "is_initialized", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "memory_allocated", "seed", "seed_all", "synchronize",
]  # fmt: skip
