"""Devices as values. Tensors live on the CPU; other devices can be named, and are refused where one would be used."""

from __future__ import annotations

from typing import Any

from gradloom.errors import DeviceError

__all__ = ["device", "get_default_device", "resolve", "set_default_device"]

KNOWN = (
    "cpu", "cuda", "fpga", "hip", "hpu", "ideep", "ipu", "lazy", "maia", "meta", "mkldnn", "mps", "mtia", "opencl",
    "opengl", "privateuseone", "ve", "vulkan", "xla", "xpu",
)  # fmt: skip


class device:
    """A device by name: ``device("cpu")``, ``device("cuda:1")``, ``device("cuda", 1)``.

    As a context manager it is the default device meanwhile.

    Attributes
    ----------
    type: ``"cpu"``, ``"cuda"``, … index: its number, None where none was given.

    Raises
    ------
    DeviceError: where the name is none of a device, or an accelerator is asked for by number alone.
    """

    __slots__ = ("_before", "index", "type")

    type: str
    index: int | None
    _before: list[device]

    def __new__(cls, type: Any, index: int | None = None) -> device:
        """A device, the same one where a device is given."""
        if isinstance(type, device) and index is None:
            return type
        self = super().__new__(cls)
        if isinstance(type, int) and not isinstance(type, bool):
            raise DeviceError(
                f"device({type}) asks for an accelerator, and there is none", code="device.missing", hint="use 'cpu'"
            )
        name, colon, number = str(type).partition(":")
        if colon and index is not None:
            raise DeviceError(f"device: {type!r} has an index already, {index} was given too", code="device.name")
        if name not in KNOWN or (colon and not (number.isdecimal() and number.isascii())):
            raise DeviceError(
                f"{str(type)!r} is no device", code="device.name", hint="a name such as 'cpu', 'cuda' or 'cuda:1'"
            )
        if index is not None and index < 0:
            raise DeviceError(f"device: index {index} is below 0", code="device.name")
        self.type, self.index = name, int(number) if colon else index
        self._before = []
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device(type={self.type!r}{'' if self.index is None else f', index={self.index}'})"

    def __reduce__(self) -> tuple:
        return device, (self.type, self.index)

    def __enter__(self) -> device:
        self._before.append(get_default_device())
        set_default_device(self)
        return self

    def __exit__(self, *exc: object) -> None:
        set_default_device(self._before.pop())


CPU = device("cpu")
_default = [CPU]


def resolve(where: Any = None) -> device:
    """The device that a user named, the default one for None. Raises DeviceError for one that is not there."""
    if where is None:
        return _default[0]
    d = device(where)
    if d.type != "cpu":
        raise DeviceError(f"device {d} is not there; found: cpu", code="device.missing", hint="use 'cpu'")
    return d


def get_default_device() -> device:
    """Where new tensors are made."""
    return _default[0]


def set_default_device(device: Any) -> None:
    """Set where new tensors are made; None for the CPU. Raises DeviceError for a device that is not there."""
    _default[0] = CPU if device is None else resolve(device)


def missing(what: str) -> DeviceError:
    """The error of asking an accelerator that is not there for something."""
    return DeviceError(f"{what}: there is no such device; found: cpu", code="device.missing", hint="use 'cpu'")
