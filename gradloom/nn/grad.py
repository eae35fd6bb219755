"""Gradients of convolutions by themselves, as `torch.nn.grad` has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom.autodiff import grad
from gradloom.functions.convolution import conv1d, conv2d, conv3d
from gradloom.functions.creation import zeros
from gradloom.modes import enable_grad
from gradloom.tensor import Tensor

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


def _pulled(fn: Callable[..., Tensor], size: Sequence[int], ct: Tensor) -> Tensor:
    """The cotangent of the operand of a linear function, which does not depend on the operand's value."""
    with enable_grad():
        at = zeros(tuple(size), dtype=ct.dtype).requires_grad_()
        (out,) = grad(fn(at), [at], [ct])
    return out  # type: ignore[no-any-return]


def _both(name: str, conv: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    def of_input(
        input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        return _pulled(
            lambda x: conv(x, weight.detach(), None, stride, padding, dilation, groups), input_size, grad_output
        )

    def of_weight(
        input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        return _pulled(
            lambda w: conv(input.detach(), w, None, stride, padding, dilation, groups), weight_size, grad_output
        )

    of_input.__name__ = of_input.__qualname__ = f"{name}_input"
    of_input.__doc__ = f"The gradient of {name} for an input of a size, given that of its result."
    of_weight.__name__ = of_weight.__qualname__ = f"{name}_weight"
    of_weight.__doc__ = f"The gradient of {name} for filters of a size, given that of its result."
    return of_input, of_weight


conv1d_input, conv1d_weight = _both("conv1d", conv1d)
conv2d_input, conv2d_weight = _both("conv2d", conv2d)
conv3d_input, conv3d_weight = _both("conv3d", conv3d)
