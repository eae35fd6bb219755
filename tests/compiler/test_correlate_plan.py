"""How convolutions are cut into chunks: parts of the chunks are level, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom.compiler.correlate_plan import MOST_CHUNKS, _level, _longest
from gradloom.compiler.llvm.host import detect_host
from gradloom.compiler.llvm.microkernel import tile_of


def costs(rows, outer, places, strips, gc, nc, cut):
    """Rows times places times strips of every chunk, in the kernel's order."""
    _, high, some = cut
    blocks = [min(high, rows - i) for i in range(0, rows, high)]
    shares = [min(some, places - g) for g in range(0, places, some)]
    columns = [min(nc, strips - j) for j in range(0, strips, nc)]
    return [g * c * r for g in shares for c in columns for r in blocks] * outer


@pytest.mark.parametrize("rows", [64, 192, 256, 384, 576, 768, 1152, 1536])
@pytest.mark.parametrize(("outer", "places"), [(1, 3), (1, 9), (3, 3), (9, 1)])
@pytest.mark.parametrize(("strips", "nc"), [(1, 1), (2, 2), (8, 8), (9, 3)])
def test_two_threads_are_level(rows, outer, places, strips, nc):
    tile = tile_of(detect_host(), "f32", "wide")
    cut = _level(rows, outer, places, strips, places, nc, 16 * rows * places, 8, tile)
    assert cut is not None
    height, high, _ = cut
    assert tile.heights[0] * 4 // 5 <= height <= tile.heights[0]
    assert high == rows or high % height == 0
    each = costs(rows, outer, places, strips, places, nc, cut)
    assert 8 <= len(each) <= MOST_CHUNKS
    assert sum(each) == rows * outer * places * strips
    assert _longest(each, 2) * 2 <= 1.1 * sum(each)


def test_the_room_is_kept():
    tile = tile_of(detect_host(), "f32", "wide")
    for room in (20, 100, 400, 5000):
        cut = _level(768, 1, 9, 4, 9, 4, room, 8, tile)
        assert cut is None or cut[1] * cut[2] <= room
    assert _level(768, 1, 1, 1, 1, 1, 3, 8, tile) is None


def test_longest():
    assert _longest([1, 1, 1], 2) == 2
    assert _longest([3, 1, 1, 1], 2) == 4
    assert _longest(list(np.ones(5)), 4) == 2
