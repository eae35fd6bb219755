"""Lazy layers: their input's size is learnt from the first batch, after which they are ordinary ones."""

from __future__ import annotations

from typing import Any

from gradloom.errors import ShapeError
from gradloom.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Sizes,
    _ConvNd,
)
from gradloom.nn.linear import Linear
from gradloom.nn.module import BUFFER, PARAMETER, TRANSIENT, Module
from gradloom.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    _NormBase,
)
from gradloom.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from gradloom.tensor import Tensor


class LazyModuleMixin(Module):
    """A module whose parameters get their shapes from its first input.

    A subclass stands before the layer's own class, makes its parameters `UninitializedParameter`, and gives them their
    shapes in `initialize_parameters(*args)`. `cls_to_become`, where it is set, is the class from then on.
    """

    cls_to_become: type[Module] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._first = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters their shapes, from what `forward` is called with; every subclass has its own."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether some parameter or buffer has no shape yet."""
        return any(is_lazy(value) for value in self._of_kind(PARAMETER, BUFFER, TRANSIENT).values())

    def _infer_parameters(self, module: Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self.initialize_parameters(*args, **kwargs)
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        self.__dict__.pop("_first").remove()
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become  # type: ignore[assignment]

    def _materialize(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            value = getattr(self, name)
            if isinstance(value, UninitializedParameter | UninitializedBuffer):
                value.materialize(shape)


class LazyLinear(LazyModuleMixin, Linear):
    """Linear whose `in_features` is the length of the first input's last axis."""

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(None, out_features, bias, device, dtype)

    def initialize_parameters(self, input: Tensor) -> None:  # type: ignore[override]
        """Take the length of the last axis."""
        if not self.has_uninitialized_params():
            self.in_features = self.weight.shape[1]
            return
        self.in_features = input.shape[-1]
        self._materialize({"weight": (self.out_features, self.in_features), "bias": (self.out_features,)})
        self.reset_parameters()


class _LazyConv(LazyModuleMixin, _ConvNd):
    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take the number of channels of the first input."""
        if not self.has_uninitialized_params():
            self.in_channels = self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.groups
            return
        n = self._spatial
        if input.ndim not in (n + 1, n + 2):
            raise ShapeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {type(self).__name__}, but got input of "
                f"size: {input.shape}",
                code="shape.convolution",
                hint="axes are batch, channels, then the spatial ones",
            )
        channels = input.shape[-n - 1]
        if channels % self.groups:
            raise ValueError(f"in_channels must be divisible by groups, got {channels} and {self.groups}")
        self.in_channels = channels
        self._materialize({"weight": self._weight_shape(), "bias": (self.out_channels,)})
        self.reset_parameters()


class _LazyForward(_LazyConv):
    def __init__(self, out_channels: int, kernel_size: Sizes, *args: Any, **kwargs: Any) -> None:
        super().__init__(None, out_channels, kernel_size, *args, **kwargs)


class LazyConv1d(_LazyForward, Conv1d):
    """Conv1d whose `in_channels` is learnt from the first input; the other arguments are its own."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyForward, Conv2d):
    """Conv2d whose `in_channels` is learnt from the first input; the other arguments are its own."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyForward, Conv3d):
    """Conv3d whose `in_channels` is learnt from the first input; the other arguments are its own."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyForward, ConvTranspose1d):
    """ConvTranspose1d whose `in_channels` is learnt from the first input; the other arguments are its own."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyForward, ConvTranspose2d):
    """ConvTranspose2d whose `in_channels` is learnt from the first input; the other arguments are its own."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyForward, ConvTranspose3d):
    """ConvTranspose3d whose `in_channels` is learnt from the first input; the other arguments are its own."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin, _NormBase):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(None, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def initialize_parameters(self, input: Tensor) -> None:  # type: ignore[override]
        """Take the number of channels of the first input (axis 1)."""
        if not self.has_uninitialized_params():
            known = [v for v in self._of_kind(PARAMETER, BUFFER).values() if v is not None and v.ndim == 1]
            self.num_features = known[0].shape[0] if known else input.shape[1]
            return
        self._check_input_dim(input)
        self.num_features = n = input.shape[1]
        self._materialize({name: (n,) for name in ("weight", "bias", "running_mean", "running_var")})
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """BatchNorm1d whose `num_features` is learnt from the first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """BatchNorm2d whose `num_features` is learnt from the first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """BatchNorm3d whose `num_features` is learnt from the first input."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """InstanceNorm1d whose `num_features` is learnt from the first input (N, C, L)."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """InstanceNorm2d whose `num_features` is learnt from the first input (N, C, H, W)."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """InstanceNorm3d whose `num_features` is learnt from the first input (N, C, D, H, W)."""

    cls_to_become = InstanceNorm3d
