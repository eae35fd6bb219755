"""The names of `torch.nn.modules.linear`."""

from gradloom.nn.lazy import LazyLinear
from gradloom.nn.linear import Bilinear, Identity, Linear, NonDynamicallyQuantizableLinear

__all__ = ["Bilinear", "Identity", "LazyLinear", "Linear", "NonDynamicallyQuantizableLinear"]
