"""`torch.utils`: the part of it that gradloom has."""

from gradloom.utils import data, dlpack

__all__ = ["data", "dlpack"]
