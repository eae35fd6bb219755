"""Finding where numbers go bad: the first operation that gave NaN or infinity, its line and its layer.

While the mode is on, what every program computes is looked at (one pass over its results). Where something is not
finite, the round is computed again, operation by operation, on its inputs as they were, and the operation that made
the first NaN is named with the line of the user's program that called it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self

import numpy as np

from gradloom.entries import Entry, Program
from gradloom.errors import GradloomError, StateError
from gradloom.graph.node import Aval, Node
from gradloom.runtime.buffers import allocate, as_numpy
from gradloom.tape import TAPE

__all__ = [
    "NonFiniteError", "check_finite", "detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled",
    "set_anomaly_enabled", "set_detect_anomaly",
]  # fmt: skip

MODES = ("off", "flag", "replay")
_PACKAGE = str(Path(__file__).parent)


class NonFiniteError(GradloomError, FloatingPointError, RuntimeError):
    """A result that is NaN or infinite. ``line``: the file and line that computed it; ``op``: the operation."""

    default_code = "debug.nonfinite"
    op: str | None = None
    line: tuple[str, int] | None = None


class _Where(NamedTuple):
    """Where an operation was recorded."""

    file: str
    line: int
    function: str
    layer: str
    forward: Entry | None  # for an operation of a backward pass: what it is part of the gradient of


class _Watch:
    """What is known while the mode is on."""

    def __init__(self, mode: str, nan_only: bool) -> None:
        self.mode, self.nan_only = mode, nan_only
        self.where: dict[int, tuple[Entry, _Where]] = {}
        self.failure: NonFiniteError | None = None

    # -- recording ----------------------------------------------------------------------------------------
    def note(self, e: Entry) -> None:
        """Remember the user's line that records a step."""
        frame: FrameType | None = sys._getframe(2)
        layers: list[str] = []
        forward: Entry | None = None
        found: FrameType | None = None
        while frame is not None:
            code = frame.f_code
            if not code.co_filename.startswith(_PACKAGE):
                found = found or frame
            elif code.co_name == "_pull" and forward is None:
                forward = frame.f_locals.get("e")
            elif code.co_name == "__call__" and hasattr(frame.f_locals.get("self"), "forward"):
                module = frame.f_locals["self"]
                layers.append(getattr(module, "_layer", "") or type(module).__name__)
            frame = frame.f_back
        if found is not None:
            code = found.f_code
            layer = ".".join(reversed(layers))
            self.where[id(e)] = (e, _Where(code.co_filename, found.f_lineno, code.co_name, layer, forward))

    # -- running ------------------------------------------------------------------------------------------
    def run(self, program: Program, pointers: list[int]) -> list[Any]:
        """Run a program and look at its results."""
        if program.exe is None:
            from gradloom.compiler.pipeline import compile_graph

            program.exe = compile_graph(program.graph)
        graph = program.graph
        before = list(pointers)
        kept = []
        if self.mode == "replay":
            for k in set(graph.donate.values()):  # they are about to be overwritten
                aval = graph.inputs[k].aval
                copy = allocate(max(1, aval.size * aval.dtype.itemsize))
                as_numpy(copy, aval.dtype.numpy, aval.shape)[...] = _at(pointers[k], aval)
                before[k] = copy.ptr
                kept.append(copy)
        results: list[Any] = program.exe.run(pointers)
        for k, node in enumerate(graph.outputs[: program.outputs]):
            where = results[k].ptr if results[k] is not None else pointers[graph.donate[k]]
            bad = _flags(_at(where, node.aval))
            if bad[0] or (bad[1] and not self.nan_only):
                self.failure = self.explain(program, before, k)
                break
        return results

    def after(self) -> None:
        """Raise what was found, when the round is closed and every value is where it belongs."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    # -- explaining ---------------------------------------------------------------------------------------
    def explain(self, program: Program, pointers: Sequence[int], output: int) -> NonFiniteError:
        """The error for an output that is not finite."""
        graph = program.graph
        node = graph.outputs[output]
        shape = list(node.aval.shape)
        if self.mode == "flag":
            return NonFiniteError(
                f"a result of shape {shape} is not finite", hint='debug.check_finite("replay") names the operation'
            )
        bad, notes = _replay(graph.inputs, graph.nodes, pointers)
        if not any(bad.get(id(node), (False, False))):
            return NonFiniteError(
                f"a result of shape {shape} is not finite in the compiled program, but finite where NumPy computes it",
                hint="the values are close to what the dtype can hold; compute in a wider dtype",
            )
        entries = self._entries()
        first = _origin(node, bad, 0 if bad[id(node)][0] else 1)
        error = NonFiniteError("")
        text = self._describe(first, notes, entries, error)
        if bad[id(first)][0] and first.prim is not None:  # a NaN made of infinities: where do they come from?
            infinite = next((i for i in first.ins if bad.get(id(i), (False, False))[1]), None)
            if infinite is not None:
                text += "\nits infinity: " + self._describe(_origin(infinite, bad, 1), notes, entries)
        return _with(error, text)

    def _entries(self) -> dict[int, Entry]:
        found: dict[int, Entry] = {}
        e: Entry | None = TAPE.pos
        while e is not None:
            found[id(e.aval)] = e
            e = e.parent
        return found

    def _describe(
        self, node: Node, notes: dict[int, str], entries: dict[int, Entry], error: NonFiniteError | None = None
    ) -> str:
        if node.prim is None:
            return f"an input of the program, of shape {list(node.aval.shape)}: {notes.get(id(node), 'not finite')}"
        text = f"{node.prim.name}: {notes.get(id(node), 'not finite')}"
        e = entries.get(id(node.aval))
        held = self.where.get(id(e)) if e is not None else None
        if error is not None:
            error.op = node.prim.name
        if held is None:
            return text
        w = held[1]
        text += f"\n  at {w.file}:{w.line}, in {w.function}" + (f", layer {w.layer}" if w.layer else "")
        if error is not None:
            error.line = (w.file, w.line)
        if w.forward is not None:
            back = self.where.get(id(w.forward))
            name = getattr(w.forward.prim, "name", "an operation")
            text += f"\n  as a part of the gradient of {name}"
            if back is not None:
                b = back[1]
                text += f" at {b.file}:{b.line}, in {b.function}" + (f", layer {b.layer}" if b.layer else "")
        return text


def _at(pointer: int, aval: Aval) -> np.ndarray:
    from gradloom.runtime.buffers import Buffer

    return as_numpy(Buffer(pointer, aval.size * aval.dtype.itemsize), aval.dtype.numpy, aval.shape)


def _flags(a: np.ndarray) -> tuple[bool, bool]:
    """Whether there is a NaN, and an infinity."""
    if a.dtype.kind not in "fcV" or not a.size:
        return False, False
    with np.errstate(all="ignore"):
        wide = a if a.dtype.itemsize >= 4 and a.dtype.kind != "V" else a.astype(np.float32)
        if np.isfinite(wide.sum()):  # one pass, nearly always enough
            return False, False
        return bool(np.isnan(wide).any()), bool(np.isinf(wide).any())


def _replay(
    inputs: Sequence[Node], nodes: Sequence[Node], pointers: Sequence[int]
) -> tuple[dict[int, tuple[bool, bool]], dict[int, str]]:
    """Compute a program by its definition: for each value its flags, and words on those that are not finite."""
    from gradloom.reference.interpreter import evaluate

    last: dict[int, int] = {id(i): k for k, n in enumerate(nodes) for i in n.ins}
    values: dict[int, np.ndarray] = {}
    bad: dict[int, tuple[bool, bool]] = {}
    notes: dict[int, str] = {}
    for node, p in zip(inputs, pointers, strict=True):
        a = values[id(node)] = _at(p, node.aval)
        bad[id(node)] = _flags(a)
        if any(bad[id(node)]):
            notes[id(node)] = _words(a, [])
    for k, node in enumerate(nodes):
        args = [values[id(i)] for i in node.ins]
        a = values[id(node)] = evaluate(node, args)
        bad[id(node)] = flags = _flags(a)
        for kind in (0, 1):
            if flags[kind] and not any(bad[id(i)][kind] for i in node.ins):
                notes.setdefault(id(node), _words(a, args))
        for i in node.ins:
            if last[id(i)] == k:
                values.pop(id(i), None)
    return bad, notes


def _words(a: np.ndarray, args: Sequence[np.ndarray]) -> str:
    """How many elements are bad, where the first is, and what it was made of."""
    wide = a.astype(np.float64) if a.dtype.kind != "c" else a
    wrong = ~np.isfinite(wide)
    at = tuple(int(n) for n in np.argwhere(wrong)[0])
    text = f"{wide[at]} in {int(wrong.sum())} of {a.size} elements of shape {list(a.shape)}"
    text += f", first at {list(at)}" if at else ""
    made = []
    for x in args:
        if x.shape == a.shape:
            made.append(f"{x[at]:.6g}" if x.dtype.kind in "fiu" else str(x[at]))
        elif x.size == 1:
            made.append(str(x.reshape(-1)[0]))
        elif x.ndim == a.ndim and all(n in (1, m) for n, m in zip(x.shape, a.shape, strict=True)):
            made.append(str(x[tuple(0 if n == 1 else k for n, k in zip(x.shape, at, strict=True))]))
    return text + (f", from {' and '.join(made)}" if made and len(made) == len(args) else "")


def _origin(node: Node, bad: dict[int, tuple[bool, bool]], kind: int) -> Node:
    """Back from a bad value to the one that was the first to be so."""
    while node.prim is not None:
        before = next((i for i in node.ins if bad[id(i)][kind]), None)
        if before is None:
            break
        node = before
    return node


def _with(error: NonFiniteError, text: str) -> NonFiniteError:
    made = NonFiniteError(text)
    made.op, made.line = error.op, error.line
    return made


class check_finite:
    """Have every program's results checked for NaN and infinity.

    Parameters
    ----------
    mode: ``"replay"`` names the operation, its line and its layer; ``"flag"`` only says that something went wrong, and
    keeps no copies; ``"off"``. nan_only: let infinities pass.

    The call sets the mode; as a context manager it comes back at the end. Raises NonFiniteError at the line that looks
    at a value, or steps the optimiser, after the values are stored, so that they can be looked at.
    """

    def __init__(self, mode: str = "replay", *, nan_only: bool = False) -> None:
        if mode not in MODES:
            raise ValueError(f"check_finite: mode {mode!r}; expected one of {', '.join(map(repr, MODES))}")
        self._before = _current
        _set(None if mode == "off" else _Watch(mode, nan_only))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *exc: object) -> None:
        before = self._before
        try:
            if kind is None:
                TAPE.flush()
        finally:
            _set(before)


_current: _Watch | None = None


def _set(watch: _Watch | None) -> None:
    global _current
    if TAPE.target not in ("cpu", "watched") or (TAPE.runner is not None and _current is None):
        raise StateError(
            f"results cannot be checked now: programs run on target {TAPE.target!r}, or under the profiler",
            code="debug.target", hint='set_target("cpu"), and close the profiler first',
        )  # fmt: skip
    TAPE.after = None
    TAPE.flush()
    if watch is not None and watch is not _current:
        TAPE.forget()  # steps known already have no lines
    _current = watch
    TAPE.target = "watched" if watch is not None else "cpu"
    TAPE.runner = watch.run if watch is not None else None
    TAPE.after = watch.after if watch is not None else None
    TAPE.noted = watch.note if watch is not None and watch.mode == "replay" else None


class detect_anomaly(check_finite):
    """PyTorch's name for ``check_finite("replay", nan_only=True)``: NaN anywhere, forward or backward, is an error."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__("replay" if check_nan else "off", nan_only=True)


class set_detect_anomaly(check_finite):
    """As :class:`detect_anomaly`, on or off."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__("replay" if mode and check_nan else "off", nan_only=True)


def set_anomaly_enabled(mode: bool, check_nan: bool = True) -> None:
    """As :class:`set_detect_anomaly`, for good."""
    set_detect_anomaly(mode, check_nan)


def is_anomaly_enabled() -> bool:
    """Whether results are checked now."""
    return _current is not None


is_anomaly_check_nan_enabled = is_anomaly_enabled
