"""PyTorch's ``autograd`` names."""

from __future__ import annotations

from gradloom.autodiff.reverse import backward, grad
from gradloom.modes import enable_grad, no_grad, set_grad_enabled
from gradloom.tensor import Tensor

Variable = Tensor

__all__ = ["Variable", "backward", "enable_grad", "grad", "no_grad", "set_grad_enabled"]
