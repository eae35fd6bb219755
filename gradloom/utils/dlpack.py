"""`torch.utils.dlpack` under the same names."""

from __future__ import annotations

from gradloom.functions.interchange import from_dlpack
from gradloom.tensor import Tensor

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Tensor) -> object:
    """A DLPack capsule, in the form without a version, over the tensor's memory."""
    capsule: object = tensor.__dlpack__()
    return capsule
