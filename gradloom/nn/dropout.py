"""Dropout: zeros at random while training."""

from __future__ import annotations

from gradloom.nn import functional as F
from gradloom.nn.module import Module
from gradloom.tensor import Tensor


class Dropout(Module):
    """Zero each entry with probability `p` while training and divide the others by 1 - p; nothing in evaluation.

    Reference: Srivastava et al. 2014. Raises ValueError unless 0 <= p <= 1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout probability lies between 0 and 1, got {p}")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Any shape, kept."""
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"p={self.p}, inplace={self.inplace}"
