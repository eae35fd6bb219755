"""What stays one operation: composites of the tape that ONNX has an operator, or a better decomposition, for.

A rule looks at a composite's arguments and at the steps inside of it, and says what it is, or None: then its steps are
exported one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gradloom.entries import Entry
from gradloom.tape import _HOLE

__all__ = ["RULES", "Call", "Fused"]


class Fused(NamedTuple):
    """A composite as an operation. at: its place among the steps."""

    name: str
    ins: list[Entry]
    attrs: tuple
    outs: list[Entry]
    at: int = 0


class Call:
    """A composite on the tape: its arguments as they were given, what came out, and the steps inside."""

    def __init__(self, e: Entry, inside: Sequence[Entry]) -> None:
        tensors = iter(e.ins)
        self.args: list[Any] = [next(tensors) if a is _HOLE else _plain(a) for a in e.attrs]
        self.outs: list[Any] = e.outs
        self.inside = [x for x in inside if x.aval is not None]

    def fused(self, name: str, ins: Sequence[Entry], *attrs: Any, outs: int | None = None) -> Fused | None:
        """The composite as an operation of its first ``outs`` results; None where a result is an operand itself."""
        wanted = self.outs if outs is None else self.outs[:outs]
        if any(type(o) is not Entry for o in wanted):
            return None
        return Fused(name, list(ins), attrs, list(wanted))


def _plain(a: Any) -> Any:
    """A static argument as it was given: the tape marks the types of numbers."""
    return a[1] if isinstance(a, tuple) and len(a) == 2 and a[0] in (bool, float) else a


def _is(*kinds: Any) -> Callable[[Sequence[Any]], bool]:
    """A test of arguments: a class for each, or None for anything."""

    def test(args: Sequence[Any]) -> bool:
        return len(args) == len(kinds) and all(k is None or isinstance(a, k) for a, k in zip(args, kinds))

    return test


MAYBE = (Entry, type(None))
_softmax_args, _norm_args = _is(Entry, int), _is(Entry, tuple, MAYBE, MAYBE, float)
_linear_args, _arg_args = (_is(Entry, Entry), _is(Entry, Entry, Entry)), _is(Entry, int, bool, bool)


def _softmax(name: str) -> Callable[[Call], Fused | None]:
    def rule(c: Call) -> Fused | None:
        ok = _softmax_args(c.args) and c.args[0].aval.shape
        return c.fused(name, c.args[:1], c.args[1] % len(c.args[0].aval.shape)) if ok else None

    return rule


def _linear(c: Call) -> Fused | None:
    args = [a for a in c.args if a is not None]
    return c.fused("linear", args) if any(t(args) for t in _linear_args) else None


def _layer_norm(c: Call) -> Fused | None:
    if not _norm_args(c.args) or c.args[2] is None:
        return None
    x, axes, weight, bias, eps = c.args
    return c.fused("layer_norm", [a for a in (x, weight, bias) if a is not None], len(axes), eps)


def _batch_norm(c: Call) -> Fused | None:
    x, mean, var, weight, bias, eps = c.args
    whole = [a for a in (x, weight, bias, mean, var) if isinstance(a, Entry)]
    plain = len(whole) == 5 and len({a.aval.dtype for a in whole if a.aval is not None}) == 1
    return c.fused("batch_norm", whole, eps) if plain else None


def _clip(c: Call) -> Fused | None:
    x, low, high = c.args
    return c.fused("clip", [x], low, high) if x.aval.dtype.is_floating else None


def _max_pool(c: Call) -> Fused | None:
    """``(x, spans, positions)`` of nn, channels last, or ``(x, axes, spans)`` of the Keras face."""
    x, *rest = c.args
    if len(rest) != 2 or not isinstance(x, Entry) or x.aval is None:
        return None
    axes, spans = rest if isinstance(rest[1], tuple) else (tuple(range(1, 1 + len(rest[0]))), rest[0])
    if rest[1] is True or not spans or not all(hasattr(s, "dilation") for s in spans):
        return None
    return c.fused("max_pool", [x], tuple(axes), tuple(spans), outs=1)


def _floating(name: str) -> Callable[[Call], Fused | None]:
    """A function of one tensor that ONNX has for floating numbers."""

    def rule(c: Call) -> Fused | None:
        (x, *rest) = c.args
        return c.fused(name, [x]) if not rest and x.aval.dtype.is_floating else None

    return rule


def _global_mean(c: Call) -> Fused | None:
    x, size = c.args
    return c.fused("global_mean", [x]) if set(size) == {1} and x.aval.dtype.is_floating else None


def _attention(c: Call) -> Fused | None:
    if len(c.args) != 6:
        return None
    q, k, v, mask, _, how = c.args
    if how.dropout:
        return None
    return c.fused("attention", [a for a in (q, k, v, mask) if a is not None], how.causal, how.scale, outs=1)


def _arg(c: Call) -> Fused | None:
    if not _arg_args(c.args) or not c.args[0].aval.shape:
        return None
    x, dim, keep, largest = c.args
    return c.fused("arg", [x], dim % len(x.aval.shape), keep, largest)


def _recurrent(c: Call) -> Fused | None:
    """A layer over (time, batch, input), all of it one operator."""
    mode, directions, bias, projected, packed, *tensors = c.args
    if projected or packed or any(not isinstance(t, Entry) for t in tensors):
        return None
    return c.fused("recurrent", tensors, mode, directions, bias)


RULES: dict[str, Callable[[Call], Fused | None]] = {
    "_softmax": _softmax("softmax"),
    "_log_softmax": _softmax("log_softmax"),
    "linear": _linear,
    "_layer_norm": _layer_norm,
    "_batch_norm_eval": _batch_norm,
    "_hardtanh": _clip,
    "_hardswish": _floating("hardswish"),
    "_hardsigmoid": _floating("hardsigmoid"),
    "_adaptive_avg": _global_mean,
    "_max": _max_pool,
    "_attended": _attention,
    "_arg": _arg,
    "layer": _recurrent,
}
"""By the composite's name."""
