"""A product and the depthwise convolution that reads it, in one kernel: images between them never leave the cache.

A chunk is a band of rows of the convolution's results, done a stretch of a few rows after the other: the product
computes the rows of images that the stretch sees, into memory of its own thread, and they are convolved there. Rows
that the stretch before has seen too are moved to the front; those that two bands see are computed twice. Neither of the
two kernels knows of the other: the product is told of fewer rows, and the convolution of an address that lies so far
before the stretch that the rows it asks for are there.
"""

from __future__ import annotations

from dataclasses import dataclass

from .contract import _ABI, Multiply, _ceil_div, _int
from .depthwise import Depthwise
from .host import Host
from .text import Module

__all__ = ["Banded"]

ROWS, COLS, BLOCK_ROWS, BLOCK_COLS = 0, 1, 3, 4  # integers of a product
STRETCHES, MANY, TALL, RESULTS, STRIDE, LOW, REACH, HIGH, ACROSS, READ, WRITTEN, ROOM, HEAD = range(13)
"""Integers: stretches of an image, and of a band; rows of a stretch, and of an image's results; how filters walk along
rows (stride, padding in front, rows that a result sees); rows of an image, and pixels of one; bytes of a pixel that the
product reads, and of one that it writes; where in ``scratch`` there is room for a stretch's images. Then the product's
integers, then the convolution's."""
_MOVED = 64  # bytes at a time


@dataclass(frozen=True)
class Banded:
    """The kernel.

    product, convolution: the kernels, and how many buffers and integers they have. Buffers: the product's, then the
    convolution's; those numbered ``read`` and ``written`` are the product's images and results, ``images`` is the
    convolution's number of these results.
    """

    product: Multiply
    convolution: Depthwise
    counts: tuple[int, int, int]  # buffers and integers of the product, buffers of the convolution
    read: int
    written: int
    images: int

    def emit(self, module: Module, name: str, host: Host) -> None:
        """Emit the kernel under ``name``."""
        of_product, of_convolution = f"{name}.product", f"{name}.convolution"
        self.product.emit(module, of_product, host)
        self.convolution.emit(module, of_convolution, host)
        buffers, words, others = self.counts
        f = module.function(name, "void", _ABI)
        given, ints, scratch = f.arg("bufs"), f.arg("ints"), f.arg("scratch")
        stretches, many, tall, results, stride, low, reach, high, across, read, written, room = (
            _int(f, ints, n) for n in range(HEAD)
        )
        own = f.alloca("i64", words, align=64)
        bufs, more = f.alloca("ptr", buffers, align=64), f.alloca("ptr", others, align=64)
        for n in range(words):
            f.store(_int(f, ints, HEAD + n), f.gep(own, "i64", n))
        for n in range(buffers + others):
            to = f.gep(bufs, "ptr", n) if n < buffers else f.gep(more, "ptr", n - buffers)
            f.store(f.load("ptr", f.gep(given, "ptr", n)), to)
        here = f.gep(scratch, "i8", room)
        images = f.load("ptr", f.gep(bufs, "ptr", self.read))
        columns = _ceil_div(f, _int(f, own, COLS), _int(f, own, BLOCK_COLS))
        row = f.mul(across, written)
        bands = _ceil_div(f, stretches, many)
        with f.loop(f.arg("begin"), f.arg("end"), 1, name="band") as it:
            image, first = f.sdiv(it.i, bands), f.mul(f.srem(it.i, bands), many)
            none = f.i64(0)
            last = f.min_i(f.add(first, many), stretches)
            with f.loop(first, last, 1, carry=[none, none], name="stretch") as st:
                start = f.mul(st.i, tall)
                final = f.sub(f.min_i(f.add(start, tall), results), 1)
                top = f.max_i(f.sub(f.mul(start, stride), low), 0)
                end = f.max_i(f.min_i(f.add(f.sub(f.mul(final, stride), low), reach), high), top)
                there = f.max_i(f.sub(f.min_i(st.vals[1], end), top), 0)  # rows that the stretch before has seen too
                old = f.gep(here, "i8", f.mul(f.sub(top, st.vals[0]), row))
                with f.loop(0, f.mul(there, row), _MOVED, name="move") as mv:
                    x = f.load(f"<{_MOVED} x i8>", f.gep(old, "i8", mv.i), 1)
                    f.store(x, f.gep(here, "i8", mv.i), 1)
                at = f.add(top, there)
                pixels = f.mul(f.sub(end, at), across)
                before = f.mul(f.mul(image, high), across)
                f.store(pixels, f.gep(own, "i64", ROWS))
                source = f.gep(images, "i8", f.mul(f.add(before, f.mul(at, across)), read))
                f.store(source, f.gep(bufs, "ptr", self.read))
                f.store(f.gep(here, "i8", f.mul(there, row)), f.gep(bufs, "ptr", self.written))
                chunks = f.mul(_ceil_div(f, pixels, _int(f, own, BLOCK_ROWS)), columns)
                f.call(of_product, "void", [bufs, own, scratch, none, chunks])
                far = f.mul(f.add(before, f.mul(top, across)), f.sub(none, written))
                f.store(f.gep(here, "i8", far), f.gep(more, "ptr", self.images))
                number = f.add(f.mul(image, stretches), st.i)
                theirs = f.gep(ints, "i64", HEAD + words)
                f.call(of_convolution, "void", [more, theirs, scratch, number, f.add(number, 1)])
                st.next([top, end])
        f.ret()
