"""``torch.cuda``'s interface on a machine without such a device.

What a portable program calls without asking first does nothing, as in PyTorch built without CUDA; what needs a device
raises DeviceError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from gradloom.devices import missing

__all__ = [
    "current_device", "device_count", "empty_cache", "get_arch_list", "get_device_capability", "get_device_name",
    "get_device_properties", "get_rng_state_all", "init", "ipc_collect", "is_available", "is_bf16_supported",
    "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_reserved",
    "memory_allocated", "memory_reserved", "memory_stats", "reset_peak_memory_stats", "seed", "seed_all", "set_device",
    "set_rng_state_all", "synchronize",
]  # fmt: skip


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def get_arch_list() -> list[str]:
    """Empty."""
    return []


def manual_seed(seed: int) -> None:
    """Nothing: there is no generator to seed."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there are no generators to seed."""


def seed() -> None:
    """Nothing: there is no generator to seed."""


def seed_all() -> None:
    """Nothing: there are no generators to seed."""


def get_rng_state_all() -> list[Any]:
    """Empty."""
    return []


def set_rng_state_all(new_states: Sequence[Any]) -> None:
    """Nothing for no states. Raises DeviceError for some: they are of devices that are not here."""
    if len(new_states):
        raise missing("cuda.set_rng_state_all")


def empty_cache() -> None:
    """Nothing: no memory is held."""


def ipc_collect() -> None:
    """Nothing: no memory is shared."""


def synchronize(device: Any = None) -> None:
    """Nothing: no work is under way. (PyTorch refuses; programs that time themselves call it without asking.)"""


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing: the peak is 0."""


def memory_allocated(device: Any = None) -> int:
    """0 bytes."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def memory_stats(device: Any = None) -> dict[str, Any]:
    """Empty."""
    return {}


def init() -> NoReturn:
    """Raises DeviceError."""
    raise missing("cuda.init")


def current_device() -> NoReturn:
    """Raises DeviceError."""
    raise missing("cuda.current_device")


def set_device(device: Any) -> NoReturn:
    """Raises DeviceError."""
    raise missing("cuda.set_device")


def get_device_name(device: Any = None) -> NoReturn:
    """Raises DeviceError."""
    raise missing("cuda.get_device_name")


def get_device_capability(device: Any = None) -> NoReturn:
    """Raises DeviceError."""
    raise missing("cuda.get_device_capability")


def get_device_properties(device: Any = None) -> NoReturn:
    """Raises DeviceError."""
    raise missing("cuda.get_device_properties")
