"""``torch.autograd.variable``'s name: tensors have been variables since long."""

from gradloom.tensor import Tensor as Variable

__all__ = ["Variable"]
