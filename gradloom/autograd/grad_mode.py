"""``torch.autograd.grad_mode``'s names."""

from gradloom.autograd.modes import inference_mode
from gradloom.modes import enable_grad, no_grad, set_grad_enabled

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled"]
