"""`torch.utils`: the part of it that gradloom has."""

from gradloom.utils import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]
