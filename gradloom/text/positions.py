"""Where a token stands: sinusoids, rotations of queries and keys, and masks that grow with the distance.

Learned positions are an ``nn.Embedding`` of the position's number.
"""

from __future__ import annotations

import math

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.nn.module import Module
from gradloom.tape import composite
from gradloom.tensor import Tensor, tensor

__all__ = ["RotaryEmbedding", "SinusoidalPositions", "alibi_mask", "alibi_slopes", "rotate", "sinusoids"]


def sinusoids(length: int, width: int, base: float = 10000.0) -> Tensor:
    """(length, width): sines at even, cosines at odd features, of wavelengths 2π to 2π·base (Vaswani et al. 2017)."""
    if width % 2:
        raise ShapeError(f"sinusoids: width {width} is odd", code="shape.positions", hint="sines and cosines pair up")
    angles = np.arange(length)[:, None] * base ** (-np.arange(0, width, 2) / width)
    out = np.empty((length, width), np.float32)
    out[:, 0::2], out[:, 1::2] = np.sin(angles), np.cos(angles)
    return tensor(out)


class SinusoidalPositions(Module):
    """Adds :func:`sinusoids` to a batch of sequences (batch, length, width)."""

    table: Tensor

    def __init__(self, width: int, max_length: int = 5000) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(max_length, width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape as x. Raises ShapeError for sequences longer than max_length."""
        if x.shape[-2] > self.table.shape[0]:
            raise ShapeError(
                f"SinusoidalPositions: a sequence of {x.shape[-2]}, the table has {self.table.shape[0]} positions",
                code="shape.positions", hint="give a greater max_length",
            )  # fmt: skip
        return x + self.table[: x.shape[-2]]


@composite
def rotate(x: Tensor, places: Tensor, base: float = 10000.0, interleaved: bool = False) -> Tensor:
    """Pairs of features turned by angles that grow with the position (Su et al. 2021).

    Parameters
    ----------
    x : Tensor of shape (..., length, width), width even
    places : Tensor of shape (length,) or one that broadcasts to (..., length)
    base : float
        Feature pair i turns by ``place * base ** (-2i / width)``.
    interleaved : bool
        Whether pairs are neighbours (2i, 2i + 1); otherwise (i, i + width/2), as in the LLaMA family.

    The scalar product of two rotated vectors depends on the difference of their positions alone.
    """
    width = x.shape[-1]
    if width % 2:
        raise ShapeError(f"rotate: {width} features do not pair up", code="shape.positions", hint="an even width")
    half = width // 2
    speeds = G.exp(G.mul(G.cast(G.arange(half), x.dtype), G.const(-math.log(base) / half)))
    angles = G.mul(G.unsqueeze(G.cast(places, x.dtype), -1), speeds)
    c, s = G.cos(angles), G.sin(angles)
    if interleaved:
        pairs = G.reshape(x, (*x.shape[:-1], half, 2))
        a, b = (G.reshape(G.narrow(pairs, pairs.ndim - 1, k, 1), (*x.shape[:-1], half)) for k in range(2))
        turned = G.stack([a * c - b * s, a * s + b * c], -1)
        return G.reshape(turned, tuple(x.shape))
    a, b = (G.narrow(x, x.ndim - 1, k * half, half) for k in range(2))
    return G.cat([a * c - b * s, a * s + b * c], -1)


class RotaryEmbedding(Module):
    """:func:`rotate` with its options as a layer."""

    def __init__(self, base: float = 10000.0, interleaved: bool = False) -> None:
        super().__init__()
        self.base, self.interleaved = base, interleaved

    def forward(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Tensor x (..., length, width) rotated by its places, 0, 1, 2 … unless given."""
        return rotate(x, G.arange(x.shape[-2]) if places is None else places, self.base, self.interleaved)

    def extra_repr(self) -> str:
        """Both options."""
        return f"base={self.base}, interleaved={self.interleaved}"


def alibi_slopes(heads: int) -> np.ndarray:
    """(heads,): 2^(-8/n), its square and so on for n = heads if that is a power of 2 (Press et al. 2022).

    Otherwise those of the next lower power of 2, then every second one of the next higher.
    """
    low = 1 << (heads.bit_length() - 1)
    out = 2.0 ** (-8.0 / low * np.arange(1, low + 1))
    if low != heads:
        out = np.concatenate([out, 2.0 ** (-4.0 / low * np.arange(1, 2 * low + 1, 2))[: heads - low]])
    return out


def alibi_mask(heads: int, queries: int, keys: int, causal: bool = True) -> Tensor:
    """(heads, queries, keys): what is added to scores, minus slope times distance. The last query is at the last key.

    causal: minus infinity at keys behind the query.
    """
    ahead = np.arange(keys)[None, :] - (np.arange(queries)[:, None] + keys - queries)
    bias = -np.abs(ahead) * alibi_slopes(heads)[:, None, None]
    if causal:
        bias = np.where(ahead > 0, -np.inf, bias)
    return tensor(bias.astype(np.float32))
