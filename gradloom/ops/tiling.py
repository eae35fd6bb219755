"""Tiles of images transformed along both axes: what Winograd's convolution is made of (Lavin and Gray 2016).

F(4x4, 3x3): four by four results of a 3x3 filter need 36 products instead of 144. The points are 0, ±2/3, ±3/2 and
infinity; in float32 they give about half the error of the usual 0, ±1, ±2: results of size 1 are off by 8e-7 (root mean
square over 64 channels), summed directly by 2e-7. F(2x2, 3x3) needs 16 products instead of 36, has the points 0, ±1
and infinity, and errors hardly above those of direct sums; its filters take less than half the room.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod

import numpy as np

from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive

__all__ = ["MATRICES", "POINTS", "RESULTS", "TAPS", "tiles_in", "tiles_out", "winograd"]

Array = np.ndarray
RESULTS, TAPS = 4, 3
POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)),
}
"""By results along a side of a tile: the finite points."""


def _matrices(results: int, points: Sequence[Fraction]) -> dict[str, tuple[tuple[float, ...], ...]]:
    """The Toom-Cook matrices: of the results (m, m + 2), of the filters (m + 2, 3), of the images, and transposes."""
    n, last = len(points) + 1, len(points)

    def product(points: Sequence[Fraction]) -> list[Fraction]:
        """Coefficients of the polynomial with these zeros, lowest power first."""
        c = [Fraction(1)]
        for p in points:
            c = [a - p * b for a, b in zip([Fraction(0), *c], [*c, Fraction(0)], strict=True)]
        return c

    others = [[p for p in points if p is not q] for q in points]
    out = [[p**i for p in points] + [Fraction(i == results - 1)] for i in range(results)]
    scale = [prod((q - p for p in rest), start=Fraction(1)) for q, rest in zip(points, others, strict=True)]
    filters = [[q**k / s for k in range(TAPS)] for q, s in zip(points, scale, strict=True)]
    filters.append([Fraction(k == TAPS - 1) for k in range(TAPS)])
    images = [[*product(rest), Fraction(0)] for rest in others] + [product(points)]
    assert all(len(row) == n for row in images) and last == n - 1
    exact = {"results": out, "filters": filters, "images": images}
    exact |= {f"{k} turned": [list(c) for c in zip(*m, strict=True)] for k, m in exact.items()}
    return {k: tuple(tuple(float(v) for v in row) for row in m) for k, m in exact.items()}


MATRICES = {f"{name} {m}": rows for m, points in POINTS.items() for name, rows in _matrices(m, points).items()}
"""By name and results of a tile: ``images 4`` (6, 6), ``filters 4`` (6, 3), ``results 4`` (4, 6),
``images turned 4`` and so on for the transposes."""


class Tiling(Primitive):
    """A transform of tiles; the compiler makes a nest over (image, row, column, channel) of it."""

    kind = "tiling"


def _in_aval(a: Sequence[Aval], t: tuple) -> Aval:
    name, step, _ = t
    n, h, w, c = a[0].shape
    rows, size = len(MATRICES[name]), len(MATRICES[name][0])
    return Aval((rows * rows, n * ((h - size) // step + 1) * ((w - size) // step + 1), c), a[0].dtype)


def _in_np(a: Sequence[Array], t: tuple, v: Aval) -> Array:
    name, step, _ = t
    m = np.array(MATRICES[name])
    x = np.lib.stride_tricks.sliding_window_view(a[0].astype(np.float64), m.shape[1:] * 2, (1, 2))[:, ::step, ::step]
    return np.einsum("ij,kl,nyxcjl->iknyxc", m, m, x).reshape(v.shape).astype(v.dtype.numpy)


def _out_aval(a: Sequence[Aval], t: tuple) -> Aval:
    name, (n, y, x) = t
    p = len(MATRICES[name])
    return Aval((n, y * p, x * p, a[0].shape[-1]), a[0].dtype)


def _out_np(a: Sequence[Array], t: tuple, v: Aval) -> Array:
    name, grid = t
    m = np.array(MATRICES[name])
    x = a[0].astype(np.float64).reshape(m.shape[1], m.shape[1], *grid, -1)
    return np.einsum("ij,kl,jlnyxc->nyixkc", m, m, x).reshape(v.shape).astype(v.dtype.numpy)


tiles_in = Tiling("tiles_in", _in_np, _in_aval)
"""Images (N, H, W, C) to (places of a tile, tiles, C); attrs (matrix, step between tiles, a mark that tells apart what
is to be computed twice rather than kept; "panels" lets the second axis be the outer one in memory)."""
tiles_out = Tiling("tiles_out", _out_np, _out_aval)
"""(places of a tile, tiles, C) to images made of tiles; attrs (matrix, (images, tiles down, tiles across))."""


def _winograd_aval(a: Sequence[Aval], t: tuple) -> Aval:
    _, out = t
    return Aval(tuple(out), a[0].dtype)


def _winograd_np(a: Sequence[Array], t: tuple, v: Aval) -> Array:
    m, (n, h, w, o) = t
    images, u = (x.astype(np.float64) for x in a)
    back, into = np.array(MATRICES[f"results {m}"]), np.array(MATRICES[f"images {m}"])
    q = len(into)
    u = u.transpose(0, 2, 1, 3).reshape(q, q, u.shape[2], o)
    x = np.lib.stride_tricks.sliding_window_view(images, (q, q), (1, 2))[:, ::m, ::m]
    x = np.einsum("ij,kl,nyxcjl->nyxikc", into, into, x)
    x = np.einsum("pi,qk,nyxikc,ikco->nypxqo", back, back, x, u)
    return x.reshape(n, x.shape[1] * m, x.shape[3] * m, o)[:, :h, :w].astype(v.dtype.numpy)


winograd = Tiling("winograd", _winograd_np, _winograd_aval)
"""All steps at once: images (N, H, W, C), whole tiles of them with the frame that filters see, and transformed filters
(places of a tile, panels, C, columns of a panel) to results; attrs (results along a side of a tile, shape)."""
