"""`torch.utils`: the part of it that gradloom has."""

from gradloom.utils import checkpoint, data, dlpack, hooks

__all__ = ["checkpoint", "data", "dlpack", "hooks"]
