"""Pooling layers: each holds the options of one function of `nn.functional`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from gradloom.nn import adaptive_functions as A
from gradloom.nn import pooling_functions as F
from gradloom.nn.module import Module
from gradloom.tensor import Tensor

__all__ = (
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
    "AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d LPPool3d MaxPool1d "
    "MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d"
).split()


# -- the largest -------------------------------------------------------------------------------------------
class _MaxPool(Module):
    _function: ClassVar[Callable[..., Any]]

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        """(N, C, ...) or (C, ...), the last axes pooled; with ``return_indices`` a pair."""
        return type(self)._function(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """`functional.max_pool1d` as a layer: (N, C, L) to (N, C, L')."""

    _function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """`functional.max_pool2d` as a layer: (N, C, H, W) to (N, C, H', W')."""

    _function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """`functional.max_pool3d` as a layer: (N, C, D, H, W) to (N, C, D', H', W')."""

    _function = staticmethod(F.max_pool3d)


class _MaxUnpool(Module):
    _function: ClassVar[Callable[..., Any]]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        n = int(type(self).__name__[-2])
        self.kernel_size = F.numbers(type(self).__name__, "kernel_size", kernel_size, n)
        self.stride = (
            self.kernel_size if stride is None else F.numbers(type(self).__name__, "stride", stride, n)
        )  # fmt: skip
        self.padding = F.numbers(type(self).__name__, "padding", padding, n, 0)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Values put where ``indices`` say, zeros elsewhere."""
        return type(self)._function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """The options."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """`functional.max_unpool1d` as a layer."""

    _function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """`functional.max_unpool2d` as a layer."""

    _function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """`functional.max_unpool3d` as a layer."""

    _function = staticmethod(F.max_unpool3d)


# -- means and norms ---------------------------------------------------------------------------------------
class AvgPool1d(Module):
    """`functional.avg_pool1d` as a layer: (N, C, L) to (N, C, L')."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = F.numbers("AvgPool1d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else F.numbers("AvgPool1d", "stride", stride, 1)
        self.padding = F.numbers("AvgPool1d", "padding", padding, 1, 0)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) or (C, L)."""
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The options."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) or (C, ...), the last axes pooled."""
        return type(self)._function(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The options."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """`functional.avg_pool2d` as a layer: (N, C, H, W) to (N, C, H', W')."""

    _function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """`functional.avg_pool3d` as a layer: (N, C, D, H, W) to (N, C, D', H', W')."""

    _function = staticmethod(F.avg_pool3d)


class _LPPool(Module):
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) or (C, ...), the last axes pooled."""
        return type(self)._function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """`functional.lp_pool1d` as a layer."""

    _function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """`functional.lp_pool2d` as a layer."""

    _function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """`functional.lp_pool3d` as a layer."""

    _function = staticmethod(F.lp_pool3d)


# -- to a given size ---------------------------------------------------------------------------------------
class _AdaptiveAvgPool(Module):
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) or (C, ...), the last axes brought to ``output_size``."""
        return type(self)._function(input, self.output_size)

    def extra_repr(self) -> str:
        """The size."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """`functional.adaptive_avg_pool1d` as a layer."""

    _function = staticmethod(A.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """`functional.adaptive_avg_pool2d` as a layer."""

    _function = staticmethod(A.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """`functional.adaptive_avg_pool3d` as a layer."""

    _function = staticmethod(A.adaptive_avg_pool3d)


class _AdaptiveMaxPool(Module):
    _function: ClassVar[Callable[..., Any]]

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        """(N, C, ...) or (C, ...), the last axes brought to ``output_size``; with ``return_indices`` a pair."""
        return type(self)._function(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """The size."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """`functional.adaptive_max_pool1d` as a layer."""

    _function = staticmethod(A.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """`functional.adaptive_max_pool2d` as a layer."""

    _function = staticmethod(A.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """`functional.adaptive_max_pool3d` as a layer."""

    _function = staticmethod(A.adaptive_max_pool3d)


class _FractionalMaxPool(Module):
    _function: ClassVar[Callable[..., Any]]

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, int(type(self).__name__[-2])
        self.kernel_size = F.numbers(name, "kernel_size", kernel_size, n)
        A.check_fraction(name, output_size, output_ratio, n)
        self.output_size = None if output_size is None else F.numbers(name, "output_size", output_size, n)
        self.output_ratio = output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, input: Tensor) -> Any:
        """(N, C, ...) or (C, ...), the last axes pooled; with ``return_indices`` a pair."""
        return type(self)._function(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """`functional.fractional_max_pool2d` as a layer."""

    _function = staticmethod(A.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """`functional.fractional_max_pool3d` as a layer."""

    _function = staticmethod(A.fractional_max_pool3d)
