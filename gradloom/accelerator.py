"""``torch.accelerator``'s interface on a machine whose only device is the CPU."""

from __future__ import annotations

from typing import Any, NoReturn

from gradloom.devices import device, missing

__all__ = [
    "current_accelerator", "current_device_idx", "current_device_index", "device_count", "empty_cache", "is_available",
    "set_device_idx", "set_device_index", "synchronize",
]  # fmt: skip


def is_available() -> bool:
    """False: tensors live on the CPU."""
    return False


def device_count() -> int:
    """0."""
    return 0


def current_accelerator(check_available: bool = False) -> device | None:
    """None: there is no accelerator."""
    return None


def current_device_index() -> NoReturn:
    """Raises DeviceError."""
    raise missing("accelerator.current_device_index")


def set_device_index(device: Any) -> NoReturn:
    """Raises DeviceError."""
    raise missing("accelerator.set_device_index")


def synchronize(device: Any = None) -> NoReturn:
    """Raises DeviceError, as PyTorch does: ask ``is_available()`` first."""
    raise missing("accelerator.synchronize")


def empty_cache() -> NoReturn:
    """Raises DeviceError, as PyTorch does: ask ``is_available()`` first."""
    raise missing("accelerator.empty_cache")


current_device_idx, set_device_idx = current_device_index, set_device_index
