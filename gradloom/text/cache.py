"""Keys and values of the tokens seen so far, for decoding one token after the other."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.tensor import Tensor

__all__ = ["KeyValueCache"]


class KeyValueCache:
    """Room for ``capacity`` tokens in each layer, filled in place.

    Shapes are the same at every step and the number of tokens is a value, so all steps run one program; what is not
    filled yet is masked. Nothing is copied as it grows.

    Parameters
    ----------
    layers, batch, heads, capacity, width : int
        Keys and values of a layer are (batch, heads, capacity, width).
    """

    def __init__(
        self, layers: int, batch: int, heads: int, capacity: int, width: int, dtype: Any = None, device: Any = None
    ) -> None:
        shape = (batch, heads, capacity, width)
        self.keys = [G.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [G.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        for x in (*self.keys, *self.values):  # memory of their own, that steps write into
            x.numpy()
        self.capacity, self.length = capacity, 0

    def places(self, count: int) -> Tensor:
        """Positions of the next ``count`` tokens. Raises ShapeError where they do not fit in."""
        if self.length + count > self.capacity:
            raise ShapeError(
                f"KeyValueCache: {self.length} tokens and {count} more do not fit into {self.capacity}",
                code="shape.cache", hint="make it with a greater capacity",
            )  # fmt: skip
        return G.arange(count) + self.length

    def mask(self, places: Tensor) -> Tensor:
        """(tokens, capacity): whether the tokens at these places see a key: it is there, and not behind them."""
        return G.unsqueeze(places, 1) >= G.arange(self.capacity)

    def update(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer, with new ones (batch, heads, tokens, width) at their places."""
        return (
            self.keys[layer].index_copy_(2, places, keys),  # type: ignore[attr-defined]
            self.values[layer].index_copy_(2, places, values),  # type: ignore[attr-defined]
        )

    def advance(self, count: int) -> None:
        """Count tokens that all layers have been given."""
        self.length += count

    def reorder(self, rows: Tensor) -> None:
        """Take rows of the batch, for beams; this one copies."""
        for x in (*self.keys, *self.values):
            x.copy_(G.index_select(x, 0, rows))
