"""`torch.utils`: the part of it that gradloom has."""

from gradloom.utils import data

__all__ = ["data"]
