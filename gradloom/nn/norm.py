"""Layers that normalise: over the batch, over each instance, groups of channels, the last axes, near channels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from gradloom import functions as G
from gradloom.dtypes import float64, int64
from gradloom.errors import ShapeError
from gradloom.functions.creation import empty, ones, zeros
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.module import Module, Parameter
from gradloom.nn.norm_functions import across_channels
from gradloom.nn.parameter import UninitializedBuffer, new_parameter
from gradloom.tensor import Tensor


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a non-negative integer, got {value!r}")
    return value


class _NormBase(Module):
    """What batch and instance normalisation share: a scale and a shift for each channel, and running statistics."""

    _version = 2
    _ranks: tuple[int, ...] = ()  # how many axes an input may have; () for two or more
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        lazy = num_features is None
        self.num_features = n = 0 if num_features is None else _count("num_features", num_features)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        made = {"device": device, "dtype": dtype}

        self.register_parameter("weight", new_parameter(n, lazy, **made) if affine else None)
        self.register_parameter("bias", new_parameter(n, lazy, **made) if affine and bias else None)
        for name in ("running_mean", "running_var"):
            cell = UninitializedBuffer(**made) if lazy else empty(n, **made)
            self.register_buffer(name, cell if track_running_stats else None)
        count = zeros((), dtype=int64, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        if not lazy:
            self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was seen: mean 0, variance 1."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, and the statistics forgotten."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim in self._ranks or (not self._ranks and input.ndim >= 2):
            return
        wanted = " or ".join(f"{n}D" for n in self._ranks) or "at least 2D"
        raise ShapeError(
            f"expected {wanted} input (got {input.ndim}D input)", code="shape.norm",
            hint=f"the input has shape {tuple(input.shape)}; {type(self).__name__} takes (N, C, ...)",
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Channels and options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    """Base of the batch normalisations."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...), kept."""
        self._check_input_dim(input)
        factor: Any = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / G.cast(self.num_batches_tracked, float64)
        kept = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if kept else (None, None)
        own = self.training or (self.running_mean is None and self.running_var is None)
        return F.batch_norm(input, mean, var, self.weight, self.bias, own, factor, self.eps)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *lists: Any) -> None:
        version = local_metadata.get("version")
        key = prefix + "num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            state_dict[key] = self.num_batches_tracked  # files written before version 2 lack it
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *lists)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); the options are those of BatchNorm2d."""

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W).

    Parameters
    ----------
    num_features : int
        Channels, the length of axis 1.
    eps : float
        Added to the variance.
    momentum : float or None
        How far running statistics move towards those of a batch; None takes the mean of all batches seen.
    affine : bool
        Whether there are a `weight` and, unless `bias` is False, a `bias`, each with one entry for each channel.
    track_running_stats : bool
        Whether `running_mean` and `running_var` are kept and used in evaluation; else the batch's own always are.

    Reference: Ioffe and Szegedy 2015.
    """

    _ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W); the options are those of BatchNorm2d."""

    _ranks = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation over the batches of all processes of a group. In one process: as BatchNorm of any rank."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with every BatchNorm in it replaced by one of these, which holds the same tensors."""
        out = module
        if isinstance(module, _BatchNorm):
            out = cls(
                module.num_features, module.eps, module.momentum, False, False, process_group, bias=False
            )  # fmt: skip
            out.affine, out.track_running_stats = module.affine, module.track_running_stats
            out.training = module.training
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(out, name, getattr(module, name))
        for name, child in module.named_children():
            setattr(out, name, cls.convert_sync_batchnorm(child, process_group))
        return out


class _InstanceNorm(_NormBase):
    """Base of the instance normalisations."""

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) or (C, ...), kept."""
        self._check_input_dim(input)
        axis = input.ndim - self._ranks[0]
        if input.shape[axis] != self.num_features:
            if self.affine:
                raise ShapeError(
                    f"expected input's size at dim={axis} to match num_features ({self.num_features}), but got: "
                    f"{input.shape[axis]}.",
                    code="shape.norm",
                    hint=f"the input has shape {tuple(input.shape)}",
                )
            warnings.warn(
                f"input's size at dim={axis} does not match num_features, which is not used because affine=False",
                stacklevel=2,
            )
        x = input if axis else input.unsqueeze(0)
        out = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return out if axis else out.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L); the options are those of InstanceNorm2d."""

    _ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W).

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
        Added to the variance.
    momentum : float
        How far running statistics move towards the mean of a batch's.
    affine : bool
        Whether there are a `weight` and, unless `bias` is False, a `bias`, each with one entry for each channel.
    track_running_stats : bool
        Whether running statistics are kept, and used in evaluation; else each image's own always are.

    Reference: Ulyanov et al. 2016.
    """

    _ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W); the options are those of InstanceNorm2d."""

    _ranks = (4, 5)


class _LastAxes(Module):
    """Layers that normalise over the last axes, of the lengths `normalized_shape`."""

    weight: Parameter | None

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None, affine: bool, **made: Any) -> None:
        super().__init__()
        self.normalized_shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(int(n) for n in normalized_shape)
        )
        self.eps = eps
        self.elementwise_affine = affine
        self.register_parameter("weight", Parameter(ones(self.normalized_shape, **made)) if affine else None)


class LayerNorm(_LastAxes):
    """Subtract the mean and divide by the standard deviation over the last axes (Ba et al. 2016).

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of the last axes.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether there are a `weight` and, unless `bias` is False, a `bias`, both of that shape.
    """

    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, device=device, dtype=dtype)
        made = Parameter(zeros(self.normalized_shape, device=device, dtype=dtype))
        self.register_parameter("bias", made if elementwise_affine and bias else None)

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., *normalized_shape), kept."""
        assert self.eps is not None
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Shape and options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(_LastAxes):
    """Divide by the root of the mean square over the last axes (Zhang and Sennrich 2019).

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of the last axes.
    eps : float or None
        Added to the mean square; None takes the dtype's.
    elementwise_affine : bool
        Whether there is a `weight` of that shape.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Scale 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """(..., *normalized_shape), kept."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Shape and options."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalise each image over groups of channels and all places (Wu and He 2018).

    Parameters
    ----------
    num_groups : int
        Into how many groups the channels fall.
    num_channels : int
        Channels, a multiple of it. Raises ValueError where not.
    eps : float
        Added to the variance.
    affine : bool
        Whether there are a `weight` and, unless `bias` is False, a `bias`, each with one entry for each channel.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups}), which is at least 1"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        made = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(ones(num_channels, **made)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_channels, **made)) if affine and bias else None)

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...), kept."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Groups, channels and options."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, " + (
            f"bias={self.bias is not None}"
        )


class _Response(Module):
    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class LocalResponseNorm(_Response):
    """Divide by (k + alpha·m)^beta, m the mean square of `size` channels around each (Krizhevsky et al. 2012)."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...), kept."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)


class CrossMapLRN2d(_Response):
    """As LocalResponseNorm of (N, C, H, W); `size` channels, or for an even number one fewer.

    Every channel is divided by what is around it. (PyTorch's layer of this name counts channel 0 everywhere.)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W), kept."""
        if input.ndim != 4:
            raise ShapeError(
                f"CrossMapLRN2d: expected 4D input (got {input.ndim}D input)", code="shape.norm",
                hint="images are (N, C, H, W)",
            )  # fmt: skip
        reach = (self.size - 1) // 2
        return across_channels(input, reach, reach, self.alpha / self.size, float(self.beta), float(self.k))
