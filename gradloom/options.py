"""How tensors may be laid out, and the check of the options that creation functions take."""

from __future__ import annotations

from typing import Any

from gradloom.devices import resolve
from gradloom.errors import DeviceError, NotSupportedError

__all__ = [
    "channels_last", "channels_last_3d", "check_format", "check_options", "contiguous_format", "layout",
    "memory_format", "preserve_format", "strided",
]  # fmt: skip


class layout:
    """How elements lie in memory; ``strided`` is the one there is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"gradloom.{self.name}"


class memory_format(layout):
    """An order of axes in memory. The compiler chooses the order that its kernels want, so all are taken alike."""


strided = layout("strided")
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")


def check_options(device: Any = None, layout: Any = None, pin_memory: Any = False, memory_format: Any = None) -> None:
    """Check what creation functions take. Raises DeviceError for another device or pinned memory,
    NotSupportedError for another layout, TypeError for something that is no memory format.
    """
    resolve(device)
    if layout is not None and layout is not strided:
        raise NotSupportedError(
            f"layout {layout!r} is not offered: tensors are dense", code="unsupported.layout", hint="leave layout out"
        )
    if pin_memory:
        raise DeviceError(
            "pin_memory: memory is pinned for the copies of another device, and there is none", code="device.pin",
            hint="leave pin_memory out",
        )  # fmt: skip
    if memory_format is not None:
        check_format(memory_format)


def check_format(given: Any) -> None:
    """Raises TypeError for something that is no memory format."""
    if not isinstance(given, memory_format):
        raise TypeError(f"memory_format: {given!r} is none; use gradloom.contiguous_format or another of its kind")
