"""`DataParallel`: one process has one device here, whose cores every program uses anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.devices import resolve
from gradloom.nn.module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """A module under the name `module`, called as it is: there are no devices to spread a batch over.

    It keeps the names of states that were saved from one. Raises DeviceError where devices are asked for.
    """

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        for device in [*(device_ids or ()), *([] if output_device is None else [output_device])]:
            resolve(device)
        self.module = module
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self.module(*inputs, **kwargs)
