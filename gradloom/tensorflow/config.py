"""`tf.config`: which devices there are, threads; truthful on a machine with a processor alone."""

from __future__ import annotations

from typing import Any, NamedTuple

from gradloom.errors import DeviceError
from gradloom.runtime.threads import get_num_threads, set_num_threads

__all__ = ["PhysicalDevice", "experimental", "get_visible_devices", "list_logical_devices", "list_physical_devices",
           "run_functions_eagerly", "set_visible_devices", "threading"]  # fmt: skip


class PhysicalDevice(NamedTuple):
    """A device of this machine."""

    name: str
    device_type: str


def list_physical_devices(device_type: str | None = None) -> list[PhysicalDevice]:
    """The devices, of one type if it is given: the processor."""
    found = [PhysicalDevice("/physical_device:CPU:0", "CPU")]
    return [d for d in found if device_type in (None, d.device_type)]


def list_logical_devices(device_type: str | None = None) -> list[PhysicalDevice]:
    """As `list_physical_devices`."""
    found = list_physical_devices(device_type)
    return [PhysicalDevice(d.name.replace("physical_device", "device"), d.device_type) for d in found]


get_visible_devices = list_physical_devices


def set_visible_devices(devices: Any, device_type: str | None = None) -> None:
    """Accepted for lists of devices that exist, the processor among them. Raises DeviceError for others."""
    wanted = list(devices) if isinstance(devices, (list, tuple)) else [devices]
    unknown = [d for d in wanted if d not in list_physical_devices()]
    if unknown:
        raise DeviceError(
            f"there is no device {unknown[0]}", code="device.unknown", hint="list_physical_devices tells all"
        )


def run_functions_eagerly(run_eagerly: bool) -> None:
    """Nothing changes: values may be looked at anywhere already."""


class _Experimental:
    list_physical_devices = staticmethod(list_physical_devices)

    @staticmethod
    def set_memory_growth(device: Any, enable: bool) -> None:
        """Memory is taken as it is needed in any case."""
        set_visible_devices([device])


class _Threading:
    @staticmethod
    def get_intra_op_parallelism_threads() -> int:
        """Threads of one program."""
        return get_num_threads()

    @staticmethod
    def set_intra_op_parallelism_threads(num_threads: int) -> None:
        """Set the threads of one program."""
        set_num_threads(num_threads)


experimental, threading = _Experimental(), _Threading()
