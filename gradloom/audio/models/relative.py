"""Attention that looks at how far two frames lie apart (Dai et al. 2019), as the Conformer of Gulati et al. has it."""

from __future__ import annotations

import math

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.parameter import Parameter
from gradloom.tensor import Tensor, tensor

__all__ = ["RelativeAttention"]


class RelativeAttention(Module):
    """Self-attention whose score of query i and key j is ``((q_i + u)·k_j + (q_i + v)·W s(i - j)) / sqrt(d)``.

    s are sinusoids of the signed distance; u, v (heads, d) and W are learned. Weights are named as in ESPnet and NeMo.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise ShapeError(
                f"RelativeAttention: {width} features for {heads} heads", code="shape.attention",
                hint="an even number of features that the heads divide",
            )  # fmt: skip
        self.width, self.heads, self.dropout = width, heads, dropout
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (Linear(width, width) for _ in range(4))
        self.linear_pos = Linear(width, width, bias=False)
        self.pos_bias_u = Parameter(G.zeros(heads, width // heads))
        self.pos_bias_v = Parameter(G.zeros(heads, width // heads))
        init.xavier_uniform_(self.pos_bias_u)
        init.xavier_uniform_(self.pos_bias_v)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """(batch, time, width), same shape; there (batch, time): frames that may be looked at."""
        steps = x.shape[1]
        q, k, v = (self._split(f(x)) for f in (self.linear_q, self.linear_k, self.linear_v))
        places = self._split(self.linear_pos(G.unsqueeze(G.cast(_distances(steps, self.width), x.dtype), 0)))
        u, w = (G.unsqueeze(b, 1) for b in (self.pos_bias_u, self.pos_bias_v))
        far = (q + w) @ G.permute(places, (0, 1, 3, 2))  # of each query and distance
        bias = _by_place(far) * (1.0 / math.sqrt(self.width // self.heads))
        if there is not None:
            bias = G.where(G.reshape(there, (x.shape[0], 1, 1, steps)), bias, -math.inf)
        drop = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q + u, k, v, bias, drop)
        return self.linear_out(G.reshape(G.permute(y, (0, 2, 1, 3)), tuple(x.shape)))

    def _split(self, x: Tensor) -> Tensor:
        """(batch, time, width) as (batch, heads, time, d)."""
        return G.permute(G.reshape(x, (x.shape[0], x.shape[1], self.heads, -1)), (0, 2, 1, 3))


def _distances(steps: int, width: int) -> Tensor:
    """Sinusoids of the distances steps - 1, …, 1 - steps, (2 * steps - 1, width)."""
    angles = np.arange(steps - 1, -steps, -1)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    return tensor(np.stack([np.sin(angles), np.cos(angles)], -1).reshape(2 * steps - 1, width).astype(np.float32))


def _by_place(x: Tensor) -> Tensor:
    """Of (..., t, 2 * t - 1) by distance what belongs to each key, (..., t, t): row i from column t - 1 - i on.

    With one more column in front, rows that are read in lines of another length are each a place further on.
    """
    *lead, t, n = x.shape
    y = G.reshape(F.pad(x, (1, 0)), (*lead, n + 1, t))
    y = G.reshape(G.narrow(y, len(lead), 1, n), (*lead, t, n))
    return G.narrow(y, len(lead) + 1, 0, t)
