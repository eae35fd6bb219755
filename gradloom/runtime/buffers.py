"""Memory under tensors and programs: blocks from a pool, and views of them as NumPy arrays.

Blocks come from three places. Up to ``SMALL`` bytes they are carved from slabs and kept in free lists by size class;
a freed one is only appended to its list, so a small buffer costs about half a microsecond. Larger ones are mapped one
by one, and freed ones wait in a pool of bounded size (fresh pages cost far more than anything else here: the kernel
clears them). From ``HUGE`` bytes on a mapping is aligned to 2 MiB and asks for huge pages.

Every block is aligned to 64 bytes. Sizes are rounded up by less than an eighth (a 64-byte step at the least).

A :class:`Buffer` gives its block back when it dies. That may happen inside any bytecode, also while this module
allocates, so a death never waits for a lock: small blocks go by one atomic ``append``, large ones through a queue
that whoever holds the lock empties.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import mmap
import os
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["Buffer", "allocate", "as_numpy", "empty_cache", "from_numpy", "memory_stats", "set_pool_limit"]

ALIGN = 64
SMALL = 64 << 10
HUGE = 2 << 20
_PAGE = mmap.ALLOCATIONGRANULARITY


def _round_up(nbytes: int) -> int:
    """Size of the block for so many bytes: steps of an eighth of the power of two below, at least 64 bytes."""
    step = max(ALIGN, 1 << max(0, (nbytes - 1).bit_length() - 4))
    if nbytes > SMALL:
        step = max(step, _PAGE)
    return (nbytes + step - 1) // step * step


class Buffer:
    """A block of memory: its address, its size, and what keeps it alive.

    Attributes
    ----------
    ptr : address of the first byte.
    nbytes : bytes that may be used.
    keep : the object that owns foreign memory (a NumPy array, a DLPack capsule); None for a block of the pool.
    """

    __slots__ = ("__weakref__", "_home", "keep", "nbytes", "ptr")

    def __init__(self, ptr: int, nbytes: int, home: _Large | list[int] | None = None, keep: object = None) -> None:
        self.ptr = ptr
        self.nbytes = nbytes
        self.keep = keep
        self._home = home  # where the block goes back to: a free list, or a large block's record

    def __del__(self) -> None:
        home = self._home
        if home is not None:
            home.append(self.ptr)

    def __repr__(self) -> str:
        return f"Buffer({self.nbytes} bytes at {self.ptr:#x}{', borrowed' if self.keep is not None else ''})"


# -- mapping ------------------------------------------------------------------------------------------

_maps: dict[int, mmap.mmap] = {}
# Mappings must outlive the interpreter: a daemon thread inside a kernel may still use them while Python is torn down.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_maps))


def _map(size: int) -> int:
    """Address of ``size`` fresh zeroed bytes, page-aligned, and aligned to 2 MiB where that pays."""
    slack = HUGE if size >= HUGE else 0
    if hasattr(mmap, "MAP_PRIVATE"):  # shared memory, Python's default, would be one memory for both sides of a fork
        m = mmap.mmap(-1, size + slack, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:
        m = mmap.mmap(-1, size + slack)
    base = ctypes.addressof(ctypes.c_char.from_buffer(m))
    ptr = (base + slack - 1) // slack * slack if slack else base
    if slack and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            m.madvise(mmap.MADV_HUGEPAGE, ptr - base, size)
    _maps[ptr] = m
    return ptr


def _unmap(ptr: int) -> None:
    _maps.pop(ptr).close()


# -- small blocks -------------------------------------------------------------------------------------


def _slab_bytes(size: int) -> int:
    return max(SMALL, 16 * size) // size * size


_sizes = sorted({_round_up(n) for n in range(ALIGN, SMALL + 1, ALIGN)})
_free: dict[int, list[int]] = {s: [] for s in _sizes}
_slabs: dict[int, list[int]] = {s: [] for s in _sizes}  # addresses of the slabs of a class
_home_of = [_free[_sizes[0]]] + [_free[_round_up(n * ALIGN)] for n in range(1, SMALL // ALIGN + 1)]
_size_of = {id(blocks): size for size, blocks in _free.items()}


def _carve(home: list[int]) -> None:
    """Put a new slab's blocks into a free list."""
    size = _size_of[id(home)]
    span = _slab_bytes(size)
    with _lock:
        base = _map(span)
        _slabs[size].append(base)
        home.extend(range(base + span - size, base - 1, -size))
        _note_small()
    _collect()


# -- large blocks -------------------------------------------------------------------------------------


class _Large:
    """A mapped block: stands in a Buffer's ``_home``, and ``append`` is how the dying Buffer hands it back."""

    __slots__ = ("fresh", "ptr", "size")

    def __init__(self, ptr: int, size: int) -> None:
        self.ptr = ptr
        self.size = size
        self.fresh = True  # still zero, as the kernel gave it

    def append(self, _ptr: int) -> None:
        _returned.append(self)
        _collect()


_lock = threading.Lock()
_returned: deque[_Large] = deque()
_pool: dict[int, list[_Large]] = {}  # by size; the class used last stands last
_pooled = 0
_large_live = 0
_small_live = 0  # as last counted
_peak = 0


def _default_limit() -> int:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = 8 << 30
    return max(256 << 20, total // 4)


_limit = _default_limit()


def _collect() -> None:
    """Move returned blocks into the pool, unless someone is at it: then that one does it before leaving."""
    while _returned and _lock.acquire(blocking=False):
        try:
            _drain()
        finally:
            _lock.release()


def _drain() -> None:
    """With the lock held: move returned blocks into the pool and unmap what is beyond the limit."""
    global _pooled, _large_live
    while _returned:
        block = _returned.popleft()
        _large_live -= block.size
        _pooled += block.size
        _pool.setdefault(block.size, []).append(block)
    if _pooled > _limit:
        _trim(_limit)


def _trim(limit: int) -> None:
    """With the lock held: unmap pooled blocks, least recently used sizes first, until at most ``limit`` is left."""
    global _pooled
    for size in list(_pool):
        blocks = _pool[size]
        while blocks and _pooled > limit:
            _pooled -= size
            _unmap(blocks.pop().ptr)
        if not blocks:
            del _pool[size]
        if _pooled <= limit:
            return


def _allocate_large(nbytes: int, zero: bool) -> Buffer:
    global _pooled, _large_live, _peak
    size = _round_up(nbytes)
    block = None
    with _lock:
        _drain()
        blocks = _pool.pop(size, None)
        if blocks:
            block = blocks.pop()
            _pooled -= size
            if blocks:
                _pool[size] = blocks
        if block is None:
            try:
                block = _Large(_map(size), size)
            except OSError:
                _trim(0)
                try:
                    block = _Large(_map(size), size)
                except OSError as e:
                    raise MemoryError(f"cannot map {size} bytes ({_large_live} in use): {e}") from None
        _large_live += size
        _peak = max(_peak, _large_live + _small_live)
    _collect()  # what died meanwhile found the lock taken
    if zero and not block.fresh:
        ctypes.memset(block.ptr, 0, nbytes)
    block.fresh = False
    return Buffer(block.ptr, nbytes, block)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _at_exit() -> None:
    """From here on memory goes with the process; a Buffer that dies while modules are torn down needs no pool."""
    Buffer.__del__ = lambda self: None  # type: ignore[method-assign]


# -- public -------------------------------------------------------------------------------------------


def allocate(nbytes: int, zero: bool = False) -> Buffer:
    """A buffer of ``nbytes`` bytes, 64-byte aligned, holding anything, or zeros with ``zero``.

    Raises ValueError for a negative size and MemoryError where the system gives no more.
    """
    if nbytes > SMALL:
        return _allocate_large(nbytes, zero)
    if nbytes < 0:
        raise ValueError(f"cannot allocate {nbytes} bytes")
    home = _home_of[(nbytes + 63) >> 6]
    try:
        ptr = home.pop()
    except IndexError:
        ptr = _pop_carved(home)
    if zero:
        ctypes.memset(ptr, 0, nbytes)
    return Buffer(ptr, nbytes, home)


def _pop_carved(home: list[int]) -> int:
    while True:
        try:
            _carve(home)
        except OSError as e:
            raise MemoryError(f"cannot map memory ({_large_live} bytes in use): {e}") from None
        try:
            return home.pop()
        except IndexError:  # other threads were quicker
            continue


def from_numpy(array: np.ndarray) -> Buffer:
    """A buffer over the memory of a C-contiguous array, which it keeps alive. Nothing is copied.

    Raises ValueError for an array that is not C-contiguous.
    """
    if not array.flags.c_contiguous:
        raise ValueError(
            f"from_numpy needs a C-contiguous array, got shape {array.shape} with strides {array.strides}; "
            "np.ascontiguousarray makes one"
        )
    return Buffer(array.__array_interface__["data"][0], array.nbytes, None, array)


class _Bytes:
    """Shows a buffer to NumPy as bytes; the array keeps this object, and this object the buffer."""

    __slots__ = ("__array_interface__", "buffer")

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        keep = buffer.keep
        readonly = isinstance(keep, np.ndarray) and not keep.flags.writeable
        self.__array_interface__ = {
            "data": (buffer.ptr, readonly),
            "shape": (buffer.nbytes,),
            "typestr": "|u1",
            "version": 3,
        }


def as_numpy(
    buffer: Buffer,
    dtype: DTypeLike,
    shape: Sequence[int],
    strides: Sequence[int] | None = None,
    offset: int = 0,
) -> np.ndarray:
    """A NumPy view of a buffer that keeps the buffer alive.

    dtype: any NumPy dtype, also those of ml_dtypes. shape: in elements. strides, offset: in bytes; without strides
    the view is C-contiguous. A view of memory that came from a read-only array is read-only.
    Raises ValueError or TypeError where the view would leave the buffer.
    """
    whole = np.asarray(_Bytes(buffer))
    view = np.ndarray(tuple(shape), dtype, whole, offset, None if strides is None else tuple(strides))
    return view


def _small_free() -> int:
    return sum(size * len(blocks) for size, blocks in _free.items())


def _note_small() -> None:
    """Count the small blocks in use. That takes a while, so it is done for each new slab, not for each block."""
    global _small_live, _peak
    mapped = sum(len(slabs) * _slab_bytes(size) for size, slabs in _slabs.items())
    _small_live = mapped - _small_free()
    _peak = max(_peak, _large_live + _small_live)


def memory_stats() -> dict[str, int]:
    """Bytes of the pool: ``live``, ``pooled``, ``peak`` and ``limit``.

    live: in buffers that exist. pooled: freed, kept for reuse. peak: the most that was live at once, sampled at every
    large allocation and every new slab. limit: of what is pooled in large blocks. Sizes are those of the blocks,
    rounded up; memory borrowed from NumPy does not count.
    """
    _collect()
    _note_small()
    return {"live": _large_live + _small_live, "pooled": _pooled + _small_free(), "peak": _peak, "limit": _limit}


def set_pool_limit(nbytes: int) -> None:
    """Keep at most so many bytes of freed large blocks (default: a quarter of the machine's memory)."""
    global _limit
    if nbytes < 0:
        raise ValueError(f"the pool's limit cannot be {nbytes}")
    _limit = nbytes
    with _lock:
        _drain()
    _collect()


def empty_cache() -> None:
    """Give all memory that no buffer uses back to the system: pooled blocks and slabs without a live block."""
    with _lock:
        _drain()
        _trim(0)
        for size, bases in _slabs.items():
            _release_slabs(size, bases)
    _collect()


def _release_slabs(size: int, bases: list[int]) -> None:
    """With the lock held: unmap those slabs of a class whose blocks are all free."""
    home = _free[size]
    taken: list[int] = []
    while home:  # taken out one by one: another thread may pop too, but then its slab just is not full
        try:
            taken.append(home.pop())
        except IndexError:
            break
    bases.sort()
    count = _slab_bytes(size) // size
    held: list[list[int]] = [[] for _ in bases]
    for ptr in taken:
        held[bisect_right(bases, ptr) - 1].append(ptr)
    keep = []
    for base, blocks in zip(bases, held, strict=True):
        if len(blocks) == count:
            _unmap(base)
        else:
            keep.append(base)
            home.extend(blocks)
    bases[:] = keep
