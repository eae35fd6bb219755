"""Loops and branches whose bodies are programs of their own: scan, cond and while.

A body is compiled once, whatever the number of steps. The compiler makes one native loop of a scan; cond, while, and a
scan whose body needs NumPy, are run from NumPy's side of the program. Several results are one value, a vector of bytes
from which ``unpack`` takes each (a native loop never makes it); batch axes stand in front of the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradloom import dtypes
from gradloom.graph.node import Aval
from gradloom.ops.core import Primitive

__all__ = ["cond", "pack", "places", "scan", "unpack", "while_"]

Arrays = Sequence[np.ndarray]


def _bytes(a: Aval) -> int:
    return math.prod(a.shape) * a.dtype.itemsize


def places(avals: Sequence[Aval]) -> tuple[list[int], int]:
    """Where each result starts among the bytes, and how many there are; starts are multiples of 16."""
    at, out = 0, []
    for a in avals:
        out.append(at)
        at += -(-_bytes(a) // 16) * 16
    return out, at


def _packed(avals: Sequence[Aval], lead: tuple[int, ...]) -> Aval:
    return Aval((*lead, places(avals)[1]), dtypes.uint8)


def _put(out: np.ndarray, start: int, a: Aval, lead: tuple[int, ...], value: np.ndarray) -> None:
    """A result of shape (*lead, *shape) among the bytes."""
    if value.size:
        flat = np.ascontiguousarray(value.astype(a.dtype.numpy, copy=False)).reshape(*lead, -1)
        out[..., start : start + _bytes(a)] = flat.view(np.uint8)


def _pack_np(arrays: Arrays, attrs: tuple, aval: Aval) -> np.ndarray:
    avals, lead = attrs
    out = np.zeros(aval.shape, np.uint8)
    for x, start, a in zip(arrays, places(avals)[0], avals, strict=True):
        _put(out, start, a, lead, x)
    return out


pack = Primitive("pack", _pack_np, lambda avals, attrs: _packed(*attrs))
"""Results as bytes. attrs: (avals of one element's results, batch sizes)."""


def _unpack_np(arrays: Arrays, attrs: tuple, aval: Aval) -> np.ndarray:
    start, one = attrs
    raw = np.ascontiguousarray(arrays[0][..., start : start + _bytes(one)])
    return raw.view(one.dtype.numpy).reshape(aval.shape) if raw.size else np.zeros(aval.shape, one.dtype.numpy)


class _Unpack(Primitive):
    kind = "unpack"


unpack = _Unpack(
    "unpack", _unpack_np, lambda avals, attrs: Aval((*avals[0].shape[:-1], *attrs[1].shape), attrs[1].dtype)
)
"""One result out of the bytes. attrs: (start, aval of one element's result)."""
unpack.batch = "leading"


# -- scan: operands (carries…, sequences…, captured…) -----------------------------------------------
def _scan_np(arrays: Arrays, attrs: tuple, aval: Aval) -> np.ndarray:
    body, carries, sequences, length, reverse, avals, lead, keep = attrs
    carry = [np.ascontiguousarray(a) for a in arrays[:carries]]
    xs = [np.ascontiguousarray(a) for a in arrays[carries : carries + sequences]]
    rest = [np.ascontiguousarray(a) for a in arrays[carries + sequences :]]
    n = len(lead)
    outs = [
        None if k < carries and not keep[k] else np.empty((a.shape[0], *lead, *a.shape[1:]), a.dtype.numpy)
        for k, a in enumerate(avals)
    ]
    for k, y in enumerate(outs[:carries]):
        if y is not None:
            y[length if reverse else 0] = carry[k]
    for t in range(length - 1, -1, -1) if reverse else range(length):
        got = body.run([*carry, *(x[t, ...] for x in xs), *rest])
        carry = got[:carries]
        for k, (y, v) in enumerate(zip(outs, got, strict=True)):
            if y is not None:
                y[t + 1 if k < carries and not reverse else t] = v
    out = np.zeros(aval.shape, np.uint8)
    for k, (start, a, y) in enumerate(zip(places(avals)[0], avals, outs, strict=True)):
        _put(out, start, a, lead, carry[k] if y is None else np.moveaxis(y, 0, n))
    return out


class _Scan(Primitive):
    kind = "loop"


scan = _Scan("scan", _scan_np, lambda avals, attrs: _packed(attrs[5], attrs[6]))
"""``carry, y = body(carry, x)`` along the first axis of the sequences; the results are the last carries and the stacked
``y``. attrs: (body, number of carries, of sequences, length (at least 1), reverse, avals of the results, batch sizes,
for each carry whether its result is all of them: the first and those after each step, in the order of the sequences
(behind ``x[t]``'s step at t + 1, reversed at t))."""


# -- cond: operands (which, operands…, captured by the first…, by the second…) ------------------------
def _cond_np(arrays: Arrays, attrs: tuple, aval: Aval) -> np.ndarray:
    bodies, operands, captured, avals, lead = attrs
    which = 0 if bool(arrays[0].reshape(())) else 1
    rest = arrays[1 + operands :]
    own = rest[: captured[0]] if which == 0 else rest[captured[0] :]
    got = bodies[which].run([np.ascontiguousarray(a) for a in (*arrays[1 : 1 + operands], *own)])
    return _pack_np(got, (avals, lead), aval)


cond = Primitive("cond", _cond_np, lambda avals, attrs: _packed(attrs[3], attrs[4]))
"""The first body where the condition holds, else the second. attrs: (bodies, number of operands, (number captured by
each), avals of the results, batch sizes)."""


# -- while: operands (carries…, captured by the condition…, by the body…) -----------------------------
def _while_np(arrays: Arrays, attrs: tuple, aval: Aval) -> np.ndarray:
    test, body, carries, captured, avals, lead = attrs
    given = [np.ascontiguousarray(a) for a in arrays]
    carry, own, rest = given[:carries], given[carries : carries + captured], given[carries + captured :]
    while bool(test.run([*carry, *own])[0].reshape(())):
        carry = body.run([*carry, *rest])
    return _pack_np(carry, (avals, lead), aval)


while_ = Primitive("while", _while_np, lambda avals, attrs: _packed(attrs[4], attrs[5]))
"""``carry = body(carry)`` as long as the condition holds. attrs: (condition, body, number of carries, number captured
by the condition, avals of the results, batch sizes)."""
