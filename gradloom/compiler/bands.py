"""Which products and the depthwise convolutions behind them become one kernel, and how high its bands are."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

from gradloom.compiler.depthwise import Walk
from gradloom.compiler.groups import Storage
from gradloom.compiler.llvm.bands import Banded
from gradloom.compiler.llvm.contract import PACK_STRIP, Multiply
from gradloom.compiler.llvm.depthwise import Depthwise
from gradloom.compiler.llvm.epilogue import SIZE
from gradloom.compiler.loops import SCRATCH_BYTES, Launch
from gradloom.compiler.schedule import Footprint
from gradloom.runtime.threads import get_num_threads

__all__ = ["band_up"]

STRETCH_BYTES = 256 << 10  # of images in a stretch: they stay in the second level cache beside what is read and written
STRETCH_CYCLES = 1000  # that a stretch takes more than its rows
MOST_BANDS = 16  # of all images: enough to level the load
LEAST_BYTES = 512 << 10  # of all images: fewer are near by anyhow
FAR_BYTES = 16  # of images that are written to or read from a cache far off while a vector is multiplied and added
PAGE = 4096

ROWS, COLS, STEPS, PACKED, B_MODE, B_AT, FAR, OF_PRODUCT = 0, 1, 2, 6, 7, 9, 10, 12  # integers of a product
CHUNK_ROWS = 6  # an integer of a convolution


def band_up(
    first: Footprint, before: Sequence[Launch], second: Footprint, after: Sequence[Launch],
    readers: Mapping[Storage, int], slot: Callable[[Storage], int], lasting: Container[Storage],
) -> Launch | None:  # fmt: skip
    """One launch in place of a product's last and the convolution behind it; None where that cannot be or is dear.

    first, second: what they are of; the former can run when the latter does. readers: how many groups read a storage.
    slot: the table's slot of a storage. lasting: storages that stay the same from run to run; products of these run
    once.
    """
    walk = second.group.walk
    if walk is None or walk.transposed or walk.pieces is not None or not before or len(after) != 1:
        return None
    product, convolution = before[-1].source, after[0].source
    if not isinstance(product, Multiply) or not isinstance(convolution, Depthwise) or not _handed_on(first, second):
        return None
    assert first.group.dot is not None and second.group.dot is not None
    given, images = first.group.dot[0].storage, second.group.dot[0].storage
    if readers[images] != 1 or given in lasting or given is images:
        return None
    found = _places(product, before[-1], slot(given), slot(images))
    pixels, wide = walk.count * walk.images[0] * walk.images[1], second.group.dot[0].shape[-1]
    if found is None or before[-1].ints[ROWS : COLS + 1] != [pixels, wide]:
        return None
    shape = _Shape(walk, wide * images.itemsize)
    lanes, ints = product.tile.lanes, before[-1].ints
    works = (shape.across * wide * ints[STEPS] / lanes, walk.size[1] * wide * walk.kernel[0] * walk.kernel[1] / lanes)
    cut = shape.cut(convolution.tall[0], STRETCH_BYTES, works)
    if cut is None:
        return None
    tall, many = cut
    room = SCRATCH_BYTES - shape.bytes(tall) - 2 * PAGE
    if images.nbytes < LEAST_BYTES or room < max(ints[B_AT], 2 * wide * images.itemsize):
        return None
    again = walk.count * works[0] * (sum(b - a for a, b in shape.seen(tall * many)) - shape.high)
    if again > 2 * images.nbytes / FAR_BYTES:
        return None
    return _launch(before[-1], after[0], found, shape, tall, many)


def _handed_on(first: Footprint, second: Footprint) -> bool:
    """Whether all that a product writes are the images of a convolution, in C order, and written by nobody else."""
    a, b = first.group.dot, second.group.dot
    if a is None or b is None:
        return False
    view = b[0]
    whole = view.contiguous and not view.offset and view.storage.nbytes == view.storage.itemsize * _size(view.shape)
    own = first.writes == {view.storage} and view.storage.source is None and len(view.storage.writers) == 1
    return whole and own and all(a[0] is not view.storage for a in second.loads)


def _size(shape: Sequence[int]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out


def _places(product: Multiply, x: Launch, given: int, images: int) -> tuple[int, int, int] | None:
    """Which buffers of a product are what it reads row by row and what it writes, and bytes from row to row of the
    first. None where others vary with the rows, or a row of results is not followed by the next.
    """
    spec = product.spec
    if spec.batch or x.ints[PACKED] or x.ints[B_MODE] == PACK_STRIP or len(spec.stores) != 1:
        return None
    if any(i.op in ("iota", "load_at") for i in spec.body):
        return None
    strides = []
    at = OF_PRODUCT
    for a in spec.accesses:
        left = iter(x.ints[at + 1 : at + a.ints])
        strides.append((x.ints[at], *(next(left) if s == "s" else int(s) for s in a.steps)))
        at += a.ints
    store = spec.stores[0][1]
    read, written = spec.accesses[0].buf, spec.accesses[store].buf
    others = [k for k, a in enumerate(spec.accesses) if k not in (0, store)]
    if any(k != 1 and strides[k][1] for k in others) or any(spec.accesses[k].buf in (read, written) for k in others):
        return None
    if strides[store] != (0, x.ints[COLS], 1) or [x.buffers[read], x.buffers[written]] != [given, images]:
        return None
    return read, written, strides[0][1] * SIZE[spec.accesses[0].dtype]


@dataclass(frozen=True)
class _Shape:
    """How rows of results see rows of images. pixel: bytes of a pixel of images."""

    walk: Walk
    pixel: int

    @property
    def high(self) -> int:
        """Rows of images."""
        return self.walk.images[0]

    @property
    def across(self) -> int:
        """Pixels of a row."""
        return self.walk.images[1]

    @property
    def rows(self) -> tuple[int, int, int]:
        """The stride, the padding in front, and how many rows a result sees from its first to its last."""
        down = self.walk.reaches()[0]
        return down.stride, down.low, (down.taps - 1) * down.dilation + 1

    def seen(self, tall: int) -> list[tuple[int, int]]:
        """The rows of images that each band of ``tall`` rows of results sees."""
        stride, low, reach = self.rows
        edges = [*range(0, self.walk.size[0], tall), self.walk.size[0]]
        tops = [(max(0, a * stride - low), min(self.high, (b - 1) * stride - low + reach)) for a, b in pairwise(edges)]
        return [(a, max(a, b)) for a, b in tops]

    def bytes(self, tall: int) -> int:
        """Of the images in a stretch, at most."""
        stride, _, reach = self.rows
        return ((tall - 1) * stride + reach) * self.across * self.pixel

    def cut(self, unit: int, room: int, works: tuple[float, float]) -> tuple[int, int] | None:
        """Rows of results in a stretch, a multiple of ``unit`` for which there is room, and stretches in a band, that
        level the load best; None where there is room for none.

        works: of a row of images and of one of results.
        """
        best: tuple[float, int, int] | None = None
        results = self.walk.size[0]
        for tall in range(unit, results + unit, unit):
            if self.bytes(tall) > room:
                break
            for many in range(1, ceil(results / tall) + 1):
                high = many * tall
                rows = [min(high, results - k) for k in range(0, results, high)]
                if len(rows) * self.walk.count > MOST_BANDS:
                    continue
                costs = [
                    (b - a) * works[0] + r * works[1] + ceil(r / tall) * STRETCH_CYCLES
                    for (a, b), r in zip(self.seen(high), rows, strict=True)
                ] * self.walk.count
                cost = _longest(costs, get_num_threads())
                if best is None or cost < best[0]:
                    best = cost, tall, many
        return best and best[1:]


def _longest(costs: Sequence[float], parties: int) -> float:
    """The most that one of so many equal parts of the bands costs."""
    edges = [ceil(len(costs) * k / parties) for k in range(parties + 1)]
    return max(sum(costs[a:b]) for a, b in pairwise(edges))


def _launch(
    product: Launch, convolution: Launch, found: tuple[int, int, int], shape: _Shape, tall: int, many: int
) -> Launch:
    """Both as one. The product is told that what it writes is far off: it is not in the first level cache."""
    assert isinstance(product.source, Multiply) and isinstance(convolution.source, Depthwise)
    read, written, step = found
    images = convolution.source.spec.accesses[0].buf
    ours, theirs = list(product.buffers), list(convolution.buffers)
    ours[written] = theirs[images] = ours[read]  # where the band is, the kernel knows
    results = shape.walk.size[0]
    stretches = ceil(results / tall)
    at = (SCRATCH_BYTES - shape.bytes(tall) - PAGE) // PAGE * PAGE
    head = [stretches, many, tall, results, *shape.rows, shape.high, shape.across, step, shape.pixel, at]
    first, second = list(product.ints), list(convolution.ints)
    first[FAR], second[CHUNK_ROWS] = 1, tall
    counts = len(ours), len(first), len(theirs)
    source = Banded(product.source, replace(convolution.source, far=False), counts, read, written, images)
    return Launch(source, [*ours, *theirs], [*head, *first, *second], shape.walk.count * ceil(stretches / many))
