"""A program run several times by one native call, its inputs moved on in between: steps of a training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from gradloom.compiler.program import Executable, HostCall
from gradloom.runtime.buffers import ALIGN, Buffer, allocate
from gradloom.runtime.runner import Loop, Plan

__all__ = ["Repeated", "can_repeat", "repeated"]


def can_repeat(exe: Executable) -> bool:
    """Whether a program is native from its beginning to its end and keeps nothing between runs."""
    return exe.plan is not None and exe.kept is None


_known: WeakKeyDictionary[Executable, dict[tuple, Repeated]] = WeakKeyDictionary()


def repeated(exe: Executable, count: int, moves: Mapping[int, int]) -> Repeated:
    """A :class:`Repeated`, the same one for the same arguments."""
    found, key = _known.setdefault(exe, {}), (count, *moves.items())
    if key not in found:
        found[key] = Repeated(exe, count, moves)
    return found[key]


class Repeated:
    """An executable, ``count`` times over.

    Parameters
    ----------
    exe : see :func:`can_repeat`.
    moves : of inputs by number, the bytes by which their address grows from one run to the next; others stay, so what a
        run writes into an input's memory is what the next one reads.

    Attributes
    ----------
    strides : of each output, the bytes from one run's to the next one's; None where it is written into an input.
    """

    def __init__(self, exe: Executable, count: int, moves: Mapping[int, int]) -> None:
        parts = exe._parts
        segment = parts.segments[0]
        assert not isinstance(segment, HostCall)
        self.count, self.strides = count, [
            None if slot is None else -(-max(size, 1) // ALIGN) * ALIGN
            for slot, size in zip(parts.outputs, parts.out_bytes, strict=True)
        ]  # fmt: skip
        self._slots = parts.outputs
        moved = [*moves.items(), *zip(self._slots, self.strides, strict=True)]
        steps = [(k, k, by) for k, by in moved if k is not None and by]
        self._plan = Plan([Loop(count, [], steps, segment)], parts.slots)
        self._fixed = exe._fixed  # not the executable, which is kept by whoever has this

    def run(self, inputs: Sequence[int]) -> list[Buffer | None]:
        """Run it on the addresses of the first run's inputs; of each output the memory of all runs' one."""
        table = self._plan.table
        table[: len(inputs)] = list(inputs)  # type: ignore[assignment]
        for place, ptr in self._fixed.items():
            table[place] = ptr
        out: list[Buffer | None] = []
        for slot, stride in zip(self._slots, self.strides, strict=True):
            buffer = None if stride is None else allocate(self.count * stride)
            if buffer is not None and slot is not None:
                table[slot] = buffer.ptr
            out.append(buffer)
        self._plan.run()
        return out
