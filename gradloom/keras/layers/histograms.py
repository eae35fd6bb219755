"""Layers by how often values occur: equalised histograms, over whole images and over tiles of them."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.functions import PUBLIC
from gradloom.keras import config
from gradloom.keras.layers.augmenting import ImageLayer, saturated, scaled, value_range
from gradloom.keras.operations import as_tensor
from gradloom.tensor import Tensor


def _counts(place: Tensor, total: int) -> Tensor:
    """How often each number from 0 to ``total - 1`` occurs, in float32."""
    flat = place.reshape(-1)
    zeros = G.zeros(total, dtype=dtypes.float32)
    return PUBLIC["index_add"](zeros, 0, flat, G.ones_like(flat, dtype=dtypes.float32))


class Equalization(ImageLayer):
    """Values spread so that all occur alike often, by one histogram for each channel of a batch, in training.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    bins : how many levels the histogram has.
    """

    def __init__(self, value_range: Any = (0, 255), bins: int = 256, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.bins = bins
        self._values(value_range)

    def _values(self, given: Any) -> None:
        self.value_range = value_range(given)

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        n, h, w, c = x.shape
        level = scaled(x, self.value_range, (0, 255)).to(dtypes.float32)
        bins = G.clamp(level * ((self.bins - 1) / 255.0), 0, self.bins - 1).to(dtypes.int64)
        place = bins + G.arange(c) * self.bins
        counts = _counts(place, c * self.bins).reshape(c, self.bins)
        below = PUBLIC["cumsum"](counts, 1)
        first = G.amin(G.where(below > 0, below, G.full_like(below, float("inf"))), 1, True)
        rest = below[:, -1:] - first
        table = G.clamp(G.round((below - first) * 255.0 / G.where(rest == 0, G.ones_like(rest), rest)), 0.0, 255.0)
        found = G.index_select(table.reshape(-1), 0, place.reshape(-1)).reshape(n, h, w, c)
        single = G.sum((counts > 0).to(dtypes.float32), 1) <= 1
        return scaled(G.where(single, level, found), (0, 255), self.value_range).to(x.dtype)


class ContrastLimitedAdaptiveHistogramEqualization(ImageLayer):
    """Histograms equalised tile by tile, with a limit on how far (Zuiderveld 1994). Not only in training.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape, and of the dtype of the images.

    Parameters
    ----------
    clip_limit : no level counts more than so many times its mean; what is above goes to all levels; 0: no limit.
    tile_grid_size : how many tiles along height and width; between their middles results are interpolated.
    """

    def __init__(self, value_range: Any = (0, 255), clip_limit: float = 4.0, tile_grid_size: Any = (8, 8),
                 data_format: Any = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.value_range, self.clip_limit, self.tile_grid_size = value_range, clip_limit, tile_grid_size

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """The images, equalised."""
        x = as_tensor(images)
        y = self.ordered(x.to(dtypes.float32), lambda v: self.augmented(v, None))
        return y.to(x.dtype) if x.dtype.is_floating else saturated(G.floor(y), x.dtype)

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        n, h, w, c = x.shape
        rows, columns = self.tile_grid_size
        th, tw = -(-h // rows), -(-w // columns)
        tall, wide = th * rows, tw * columns
        level = G.clamp(scaled(x, self.value_range, (0, 255)), 0.0, 255.0).to(dtypes.int64)
        i, j = (_mirrored(size, whole) for size, whole in ((h, tall), (w, wide)))
        level = G.index_select(G.index_select(level, 1, i), 2, j)
        image = (G.arange(n) * (rows * columns * c)).reshape(n, 1, 1, 1)
        down = (G.arange(tall) // th * (columns * c)).reshape(1, tall, 1, 1)
        right = (G.arange(wide) // tw * c).reshape(1, 1, wide, 1)
        tile = image + down + right + G.arange(c)
        counts = _counts(tile * 256 + level, n * rows * columns * c * 256).reshape(-1, 256)
        if self.clip_limit > 0:
            kept = G.clamp(counts, 0.0, self.clip_limit * (th * tw) / 256.0)
            counts = kept + G.sum(counts - kept, -1, True) / 256.0
        below = PUBLIC["cumsum"](counts, -1)
        first = below[:, :1]
        rest = th * tw - first
        table = G.clamp((below - first) * 255.0 / G.where(rest == 0, G.ones_like(rest), rest), 0.0, 255.0).reshape(-1)

        found: Any = 0.0
        (top, up), (left, side) = _between(tall, th, rows), _between(wide, tw, columns)
        for a in (0, 1):
            for b in (0, 1):
                y = (G.clamp(top + a, 0, rows - 1) * (columns * c)).reshape(1, tall, 1, 1)
                z = (G.clamp(left + b, 0, columns - 1) * c).reshape(1, 1, wide, 1)
                place = (image + y + z + G.arange(c)) * 256 + level
                value = G.index_select(table, 0, place.reshape(-1)).reshape(n, tall, wide, c)
                share = (up if a else 1.0 - up).reshape(1, tall, 1, 1)
                share = share * (side if b else 1.0 - side).reshape(1, 1, wide, 1)
                found = found + value * share
        return scaled(found[:, :h, :w], (0, 255), self.value_range)


def _mirrored(size: int, whole: int) -> Tensor:
    """Indices 0 to ``size - 1``, and back from the edge up to ``whole`` of them."""
    at = G.remainder(G.arange(whole), 2 * size)
    return G.where(at < size, at, 2 * size - 1 - at)


def _between(whole: int, tile: int, count: int) -> tuple[Tensor, Tensor]:
    """For each pixel the tile whose middle lies before it, from -1, and how far it is on its way to the next one."""
    at = (G.arange(whole).to(config.as_dtype("float32")) - tile / 2.0) / tile
    before = G.floor(at)
    return before.to(dtypes.int64), at - before
