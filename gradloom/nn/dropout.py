"""The dropout layers: entries or channels left out at random while training, and nothing in evaluation."""

from __future__ import annotations

from gradloom.nn import functional as F
from gradloom.nn.module import Module
from gradloom.tensor import Tensor


class _DropoutNd(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The options."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """Zero each entry with probability `p` while training and divide the others by 1 - p.

    Reference: Srivastava et al. 2014. Raises ValueError unless 0 <= p <= 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_DropoutNd):
    """Zero whole channels with probability `p` while training and divide the others by 1 - p (Tompson et al. 2015)."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) or (C, L), kept."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_DropoutNd):
    """Zero whole channels with probability `p` while training and divide the others by 1 - p (Tompson et al. 2015)."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W), or (N, C, L), kept."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_DropoutNd):
    """Zero whole channels with probability `p` while training and divide the others by 1 - p (Tompson et al. 2015)."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, D, H, W) or (C, D, H, W), kept."""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_DropoutNd):
    """Set entries to SELU's lower limit with probability `p` while training, and keep mean and variance.

    Reference: Klambauer et al. 2017.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_DropoutNd):
    """As AlphaDropout, of whole channels."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...), kept."""
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)
