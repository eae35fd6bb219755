"""``torch.cpu``: the one device there is. Work is done when a value is looked at, so there is nothing to wait for."""

from __future__ import annotations

from typing import Any

from gradloom.tape import flush

__all__ = ["current_device", "device_count", "is_available", "set_device", "synchronize"]


def is_available() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """``"cpu"``."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one CPU."""


def synchronize(device: Any = None) -> None:
    """Run what has been recorded."""
    flush()
