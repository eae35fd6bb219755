"""What a program computes from lasting tensors alone, kept between runs until one of them changes.

Such tensors are the parameters and buffers of modules. What is kept is right as long as they are in the memory they
were in, and nobody wrote there: whoever writes into a buffer that exists, or hands out its memory, says so to
:func:`touched`, and a buffer that dies says so too. A buffer that others hold besides its value (an array over the same
memory) may change at any time: then the same is computed again in every run.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Sequence
from operator import itemgetter

from gradloom.runtime.buffers import Buffer, allocate
from gradloom.runtime.runner import Plan

__all__ = ["LIMIT", "WATCHED", "Kept", "kept_bytes", "touched"]

WATCHED: dict[int, list[weakref.ref[Kept]]] = {}
"""By the address of a buffer, who relies on what is in it. Empty in most processes: look before calling."""

_HELD = 4  # a buffer by its value, the caller's list, a name here and the call that counts
_PATIENCE = 15  # runs at the most without watching, where watching did not pay
_all: weakref.WeakSet[Kept] = weakref.WeakSet()


def _default_limit() -> int:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = 8 << 30
    return max(256 << 20, total // 8)


LIMIT = _default_limit()
"""Bytes that all programs together keep at the most."""


def touched(ptr: int) -> None:
    """Say that the memory at an address was written, or may be from now on."""
    for r in WATCHED.pop(ptr, ()):
        kept = r()
        if kept is not None:
            kept.fresh = False


def kept_bytes() -> int:
    """Bytes that are kept now."""
    return sum(k.nbytes for k in list(_all) if k.memory is not None)


class Kept:
    """One program's part that depends on lasting inputs alone.

    Attributes
    ----------
    plan: computes it. inputs: the numbers of those inputs. nbytes: of what is kept, at ``slot`` of the plan's table.
    fresh: whether it is right for the inputs that it was computed from. memory: None until it is computed, and again
    when an input's memory is gone.
    """

    def __init__(self, plan: Plan, inputs: Sequence[int], slot: int, nbytes: int) -> None:
        self.plan, self.inputs, self.slot, self.nbytes = plan, tuple(inputs), slot, nbytes
        self.memory: Buffer | None = None
        self.fresh = False
        self.computed = 0  # how many times
        self._pick = itemgetter(*self.inputs)
        self._known: object = None
        self._refs: list[weakref.ref[Buffer]] = []
        self._hits = 0
        self._wait = self._patience = 0
        _all.add(self)

    def hold(self, pointers: Sequence[int], buffers: Callable[[], Sequence[Buffer | None]]) -> Buffer:
        """The memory of what is kept, right for inputs at ``pointers``; hold it while the program runs.

        buffers: gives the buffers behind the pointers. One thread at a time.
        """
        memory = self.memory
        if self.fresh and memory is not None and self._pick(pointers) == self._known:
            self._hits += 1
            return memory
        self._known, self.fresh = None, False
        if self._hits:
            self._hits = self._wait = self._patience = 0
        if self._wait:
            self._wait -= 1
        else:
            self._wait = self._patience = min(_PATIENCE, 2 * self._patience + 1)
            self.fresh = self._watch(buffers())
        memory = self._compute(pointers)
        if self.fresh:
            self.memory, self._known = memory, self._pick(pointers)
        else:
            self.memory = None  # nothing would tell when it has to go
        return memory

    def compute(self, pointers: Sequence[int]) -> Buffer:
        """Compute it from inputs at ``pointers`` for one run."""
        self.drop()
        return self._compute(pointers)

    def _compute(self, pointers: Sequence[int]) -> Buffer:
        memory = self.memory
        if memory is None:
            _make_room(self)
            memory = allocate(self.nbytes)
        table = self.plan.table
        table[: len(pointers)] = pointers  # type: ignore[call-overload]
        table[self.slot] = memory.ptr
        self.plan.run()
        self.computed += 1
        return memory

    def drop(self) -> None:
        """Give the memory back."""
        self.fresh, self.memory, self._known = False, None, None

    def _watch(self, buffers: Sequence[Buffer | None]) -> bool:
        """Be told when an input's memory changes; False where that cannot be known."""
        self._refs = []
        for k in self.inputs:
            b = buffers[k]
            if b is None or b.keep is not None or sys.getrefcount(b) > _HELD:
                return False
        me = weakref.ref(self)
        for k in self.inputs:
            b = buffers[k]
            assert b is not None
            others = [r for r in WATCHED.get(b.ptr, ()) if r() not in (None, self)]
            WATCHED[b.ptr] = [*others, me]
            self._refs.append(weakref.ref(b, _Gone(b.ptr, me)))
        return True


class _Gone:
    """Called when a buffer has died."""

    __slots__ = ("me", "ptr")

    def __init__(self, ptr: int, me: weakref.ref[Kept]) -> None:
        self.ptr, self.me = ptr, me

    def __call__(self, _: object) -> None:
        touched(self.ptr)
        kept = self.me()
        if kept is not None:
            kept.drop()


def _make_room(new: Kept) -> None:
    """Have others give back what they keep, where there would be too much, those that keep most first."""
    total = kept_bytes() + new.nbytes
    if total > LIMIT:
        for k in sorted((k for k in _all if k.memory is not None), key=lambda k: -k.nbytes):
            total -= k.nbytes
            k.drop()
            if total <= LIMIT:
                return
