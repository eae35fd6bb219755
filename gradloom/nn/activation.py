"""Activation layers: each holds the options of one function of `nn.functional`."""

from __future__ import annotations

from typing import Any

from gradloom.errors import ShapeError
from gradloom.functions import full
from gradloom.nn import functional as F
from gradloom.nn.init import constant_
from gradloom.nn.module import Module, Parameter
from gradloom.tensor import Tensor


class _Activation(Module):
    """An activation with the one option `inplace`: the input itself is overwritten with the result."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The option, where it is set."""
        return "inplace=True" if self.inplace else ""


class SELU(_Activation):
    """`functional.selu` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.selu(input, self.inplace)


class SiLU(_Activation):
    """`functional.silu` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.silu(input, self.inplace)


class ReLU(_Activation):
    """`functional.relu` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.relu(input, self.inplace)


class ReLU6(_Activation):
    """`functional.relu6` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.relu6(input, self.inplace)


class Hardsigmoid(_Activation):
    """`functional.hardsigmoid` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.hardsigmoid(input, self.inplace)


class Hardswish(_Activation):
    """`functional.hardswish` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.hardswish(input, self.inplace)


class Mish(_Activation):
    """`functional.mish` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.mish(input, self.inplace)


class Sigmoid(Module):
    """`functional.sigmoid` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.sigmoid(input)


class Tanh(Module):
    """`functional.tanh` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.tanh(input)


class Softsign(Module):
    """`functional.softsign` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.softsign(input)


class LogSigmoid(Module):
    """`functional.logsigmoid` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.logsigmoid(input)


class Tanhshrink(Module):
    """`functional.tanhshrink` as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.tanhshrink(input)


class LeakyReLU(_Activation):
    """`functional.leaky_relu` as a layer."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class ELU(_Activation):
    """`functional.elu` as a layer."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class CELU(_Activation):
    """`functional.celu` as a layer."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.celu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class RReLU(_Activation):
    """`functional.rrelu` as a layer: the slope below 0 is drawn anew for each entry while training."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.lower = lower
        self.upper = upper

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class Hardtanh(_Activation):
    """`functional.hardtanh` as a layer. Raises ValueError unless min_val < max_val."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not max_val > min_val:
            raise ValueError(f"max_val must be larger than min_val, got {max_val} and {min_val}")
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class Threshold(_Activation):
    """`functional.threshold` as a layer."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold = threshold
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")


class Hardshrink(Module):
    """`functional.hardshrink` as a layer."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """The option."""
        return str(self.lambd)


class Softshrink(Module):
    """`functional.softshrink` as a layer."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """The option."""
        return str(self.lambd)


class GELU(Module):
    """`functional.gelu` as a layer."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """The options."""
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """`functional.softplus` as a layer."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The options."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """`functional.softmax` as a layer."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """The options."""
        return f"dim={self.dim}"


class Softmin(Module):
    """`functional.softmin` as a layer."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.softmin(input, self.dim)

    def extra_repr(self) -> str:
        """The options."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """`functional.log_softmax` as a layer."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """The options."""
        return f"dim={self.dim}"


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W) at each place."""

    def forward(self, input: Tensor) -> Tensor:
        """Shape kept."""
        if input.ndim not in (3, 4):
            raise ShapeError(
                f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead", code="shape.softmax2d",
                hint="images are (N, C, H, W) or (C, H, W)",
            )  # fmt: skip
        return F.softmax(input, -3)


class GLU(Module):
    """`functional.glu` as a layer."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Any shape; axis `dim` is halved."""
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        """The options."""
        return f"dim={self.dim}"


class PReLU(Module):
    """x where x > 0, else weight·x with a trained weight: one, or one for each channel (He et al. 2015)."""

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(full((num_parameters,), init, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Every weight as at the beginning."""
        constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept; the channels are axis 1."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """The number of weights."""
        return f"num_parameters={self.num_parameters}"
