"""The names of `torch.nn.modules.flatten`."""

from gradloom.nn.linear import Flatten, Unflatten

__all__ = ["Flatten", "Unflatten"]
