"""What the register tiles of a depthwise convolution share: which pixels meet which taps, and where pixels are.

A tile covers ``rows x cols`` neighbouring results and all channels, a vector of these at a time. Which of the pixels
below it meet which of its results by which tap is known when code is made (:class:`Reach`). Where the pixels are is
looked up in a table of addresses, made once for a tile and used for all its channels: pixels outside of the images are
a row of zeros. So borders, whatever the padding, take the same code as what is inside of them.

Groups of a few channels are whole in a vector: a shuffle brings each lane the channel of images that it wants.
"""

from __future__ import annotations

from dataclasses import dataclass

from .host import Host
from .microkernel import ELEMENT, STORAGE, broadcast, load_converted, prefetch
from .text import Function, V, vec

__all__ = ["Channels", "Link", "Reach", "ask_for", "emit_table", "lanes_below", "load_pixels", "zero"]

Link = tuple[int, int, int]
"""A result, a pixel and the tap between them, by their places along an axis."""


@dataclass(frozen=True)
class Reach:
    """How filters walk over images along one axis.

    transposed: what is computed are pixels, from results: the gradient for the images. Then tiles start at multiples of
    the stride.
    """

    taps: int
    stride: int
    dilation: int
    low: int
    transposed: bool

    def _offset(self, count: int) -> int:
        """What is added to the links of ``count`` results to have them start at 0."""
        return -min((p for _, p in self._raw(count)), default=0)

    def _raw(self, count: int) -> list[tuple[tuple[int, int], int]]:
        out = []
        for r in range(count):
            for k in range(self.taps):
                if not self.transposed:
                    out.append(((r, k), r * self.stride + k * self.dilation))
                elif (r + self.low - self.dilation * k) % self.stride == 0:
                    out.append(((r, k), (r + self.low - self.dilation * k) // self.stride))
        return out

    def links(self, count: int) -> list[Link]:
        """The links of ``count`` results; the least pixel is 0. In the order of pixels."""
        more = self._offset(count)
        return sorted(((r, p + more, k) for (r, k), p in self._raw(count)), key=lambda x: (x[1], x[2]))

    def first(self, f: Function, start: V, count: int) -> V:
        """The pixel that is number 0 where ``count`` results from ``start`` on are computed."""
        if self.transposed:
            return f.sub(f.sdiv(start, self.stride) if self.stride > 1 else start, self._offset(count))
        return f.sub(f.mul(start, self.stride), self.low + self._offset(count))

    def fresh(self, count: int) -> range:
        """The pixels, numbered likewise, that the next ``count`` results see and these do not: about so many."""
        start = max((p for _, p, _ in self.links(count)), default=-1) + 1
        return range(start, start + (max(1, count // self.stride) if self.transposed else count * self.stride))

    @property
    def single(self) -> bool:
        """Whether each tap brings a pixel of its own to a single result."""
        return not self.transposed or self.stride == 1


@dataclass(frozen=True)
class Channels:
    """Groups of ``part`` channels of images and ``each`` of results, a vector of which holds ``lanes``."""

    part: int
    each: int
    lanes: int

    @property
    def span(self) -> int:
        """Channels of images that a vector of results sees."""
        return self.lanes * self.part // self.each

    def picked(self, channel: int) -> list[int] | None:
        """For each lane the channel that is number ``channel`` of its group; None where they lie so already."""
        out = [lane // self.each * self.part + channel for lane in range(self.lanes)]
        return None if out == list(range(self.lanes)) and self.span == self.lanes else out


def emit_table(
    f: Function, image: V, size: tuple[V, V], steps: tuple[V, V], first: tuple[V, V], rows: list[int], cols: list[int],
    zeros: V,
) -> V:  # fmt: skip
    """The addresses of the pixels of ``rows x cols`` of a tile whose first one is ``first``.

    size: of the image. steps: in bytes, along its axes. Both may be left on one side or more.
    """
    n = len(cols)
    if not n:  # a stride longer than the filters: pixels that no result sees
        return zeros
    table, ty = f.alloca("ptr", len(rows) * n, align=64), vec("i64", n)
    numbers = V(ty, "<" + ", ".join(f"i64 {q}" for q in cols) + ">") if n > 1 else f.const(ty, cols[0])
    columns = f.add(numbers, f.splat(first[1], n))
    inside, far = f.icmp("ult", columns, f.splat(size[1], n)), f.mul(columns, f.splat(steps[1], n))
    nothing = f.splat(f.cast("ptrtoint", zeros, "i64"), n)
    for a, p in enumerate(rows):
        i = f.add(first[0], p)
        row = f.add(f.cast("ptrtoint", image, "i64"), f.mul(i, steps[0]))
        fits = f.and_(inside, f.splat(f.icmp("ult", i, size[0]), n))
        at = f.select(fits, f.add(far, f.splat(row, n)), nothing)
        f.store(at, f.gep(table, "ptr", a * n))
    return table


def ask_for(f: Function, corner: V, steps: tuple[V, V], rows: int, cols: int, size: int, write: bool = False) -> None:
    """Ask for ``size`` bytes at each of ``rows x cols`` places, so that the next row of tiles finds them near."""
    for a in range(rows):
        p = f.gep(corner, "i8", f.mul(steps[0], a))
        for b in range(cols):
            prefetch(f, f.gep(p, "i8", f.mul(steps[1], b)), size, 2, write)


def load_pixels(f: Function, host: Host, stored: str, dtype: str, p: V, c: Channels, channel: int, mask: V | None) -> V:
    """What a vector of results sees of a pixel at ``p``, the channel numbered ``channel`` of each group.

    mask: of the channels of images.
    """
    if c.lanes == 1:
        return load_converted(f, host, stored, dtype, f.gep(p, "i8", channel * STORAGE[stored]), 1)
    if c.each == c.lanes:  # one group
        return broadcast(f, host, stored, dtype, f.gep(p, "i8", channel * STORAGE[stored]), c.lanes)
    x = load_converted(f, host, stored, dtype, p, c.span, mask)
    picked = c.picked(channel)
    return x if picked is None else f.shuffle(x, None, picked)


def lanes_below(f: Function, count: V, n: int) -> V:
    """A mask of the first ``count`` (an i64) of ``n`` lanes."""
    near = f.cast("trunc", count, "i32")
    return f.icmp("slt", f.iota(vec("i32", n)), f.splat(near, n))


def zero(f: Function, dtype: str, n: int) -> V:
    """``n`` lanes of 0."""
    return f.const(vec(ELEMENT[dtype], n), 0.0)
