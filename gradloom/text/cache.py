"""Keys and values of the tokens seen so far, for decoding one token after the other."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.tensor import Tensor

__all__ = ["KeyValueCache", "room"]

PAGE = 128  # keys that a step looks at: this many at first, then twice as many, and so on


def room(count: int, most: int | None = None) -> int:
    """The next of 128, 256, 512 … that holds ``count``, at most ``most``: few sizes, so few programs."""
    size = PAGE
    while size < count:
        size *= 2
    return size if most is None else min(size, most)


class KeyValueCache:
    """Room for ``capacity`` tokens in each layer, filled in place: nothing is copied as it grows.

    The number of tokens is a value, and a step looks at the first 128, 256, 512 … places, as many as it needs; so
    there is one program for each of these, not for each length. What is not filled yet is masked.

    Parameters
    ----------
    layers, batch, heads, capacity, width : int
        Keys and values of a layer are (batch, heads, capacity, width).
    padding : Tensor of shape (batch,)
        How many of a row's first tokens are padding, that is not looked at and does not count in positions.
    """

    def __init__(
        self, layers: int, batch: int, heads: int, capacity: int, width: int, dtype: Any = None, device: Any = None,
        padding: Tensor | None = None,
    ) -> None:  # fmt: skip
        shape = (batch, heads, capacity, width)
        self.keys = [G.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [G.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        for x in (*self.keys, *self.values):  # memory of their own, that steps write into
            x.numpy()
        if padding is not None and tuple(padding.shape) != (batch,):
            raise ShapeError(f"KeyValueCache: padding of shape {tuple(padding.shape)}, the batch has {batch} rows")
        self.capacity, self.length, self.padding = capacity, 0, padding
        self._ahead = 0 if padding is None else int(padding.numpy().min())
        self._seen = 0  # places that the present step looks at

    def places(self, count: int) -> Tensor:
        """Places of the next ``count`` tokens. Raises ShapeError where they do not fit in."""
        if self.length + count > self.capacity:
            raise ShapeError(
                f"KeyValueCache: {self.length} tokens and {count} more do not fit into {self.capacity}",
                code="shape.cache", hint="make it with a greater capacity",
            )  # fmt: skip
        self._seen = room(self.length + count, self.capacity)
        return G.arange(count) + self.length

    @property
    def position(self) -> int:
        """The greatest number of tokens that a row has, padding left out."""
        return self.length - self._ahead

    def positions(self, places: Tensor) -> Tensor:
        """The numbers of these places in their sequences: (tokens,), or with padding (batch, tokens)."""
        if self.padding is None:
            return places
        return G.clamp(places - G.unsqueeze(self.padding, 1), 0)

    def mask(self, places: Tensor) -> Tensor:
        """Whether the tokens at these places see a key: it is there, not behind them, and no padding.

        (tokens, keys), or with padding (batch, 1, tokens, keys). A token of the padding sees itself.
        """
        keys = G.arange(self._seen)
        at = G.unsqueeze(places, 1)
        before = at >= keys
        if self.padding is None:
            return before
        real = keys >= G.reshape(self.padding, (-1, 1, 1, 1))
        return G.logical_and(before, G.logical_or(real, at == keys))

    def update(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values that a step looks at, with new ones (batch, heads, tokens, width) at their places."""
        k = self.keys[layer].index_copy_(2, places, keys)  # type: ignore[attr-defined]
        v = self.values[layer].index_copy_(2, places, values)  # type: ignore[attr-defined]
        if self._seen == self.capacity:
            return k, v
        return G.narrow(k, 2, 0, self._seen), G.narrow(v, 2, 0, self._seen)

    def advance(self, count: int) -> None:
        """Count tokens that all layers have been given."""
        self.length += count

    def reorder(self, rows: Tensor) -> None:
        """Take rows of the batch, for beams; this one copies."""
        for x in (*self.keys, *self.values):
            x.copy_(G.index_select(x, 0, rows))
        if self.padding is not None:
            self.padding = G.index_select(self.padding, 0, rows)
