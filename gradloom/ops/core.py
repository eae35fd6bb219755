"""What a primitive is, and the kinds that own shape rules and loop structure.

A primitive is declared once: its kind, its body or reference, its gradient. The gradient rule is written with the
public operations on tensors, so that it can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType
from gradloom.errors import AxisError, DTypeError, ShapeError
from gradloom.graph.node import Aval

__all__ = ["Elementwise", "Movement", "Primitive", "Reduce", "REGISTRY", "broadcast_shapes"]

REGISTRY: dict[str, Primitive] = {}


class Primitive:
    """A primitive operation.

    Attributes
    ----------
    name: its public name. kind: what the compiler dispatches on.
    reference: ``(arrays, attrs, aval) -> array``, the meaning in NumPy.
    vjp: ``(ct, out, ins, attrs) -> cotangents of ins`` (None where there is none), on tensors; or None where the
    operation has no derivative.
    batch: how it acts on operands with a leading batch axis, see :mod:`gradloom.ops.batching`: a rule; ``"leading"``
    where axes in front are carried along by the reference and the attributes stay; None: NumPy loops over the batch.
    alias: the value is that of the first operand; it stands on the tape for its gradient and never in a program.
    saves: whether the rule needs values, which a backward pass gives up where it is not told to retain them: True,
    False, or ``(entry of the tape) -> bool``. Without them the rule may be used any number of times.
    """

    kind = "host"
    vjp: Callable[..., Sequence[Any]] | None = None
    batch: Callable[..., Any] | str | None = None
    alias = False
    saves: bool | Callable[[Any], bool] = True

    def __init__(
        self,
        name: str,
        reference: Callable[..., np.ndarray],
        infer: Callable[[Sequence[Aval], tuple], Aval] | None = None,
    ) -> None:
        self.name, self.reference = name, reference
        if infer is not None:
            self.infer = infer  # type: ignore[method-assign, assignment]
        REGISTRY[name] = self

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """Shape and dtype of the result. Raises ShapeError or DTypeError where the operands do not fit."""
        raise NotImplementedError

    def evaluate(self, arrays: Sequence[np.ndarray], avals: Sequence[Aval], attrs: tuple, aval: Aval) -> np.ndarray:
        """The reference's value for operands as they are in memory. avals: of the operands; aval: of the result."""
        return np.asarray(self.reference(arrays, attrs, aval))

    def gradient(self, rule: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
        """Decorator: declare the reverse rule."""
        self.vjp = rule
        return rule

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def broadcast_shapes(name: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The common shape of operands under NumPy's rule. Raises ShapeError naming the axis that clashes."""
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    nd = max(map(len, shapes))
    out = [1] * nd
    for s in shapes:
        for k, n in enumerate(s, nd - len(s)):
            if n != 1:
                if out[k] not in (1, n):
                    both = " and ".join(str(tuple(x)) for x in shapes)
                    raise ShapeError(
                        f"{name}: shapes {both} do not broadcast: axis {k - nd} has sizes {out[k]} and {n}",
                        code="shape.broadcast",
                        hint="sizes must be equal or 1 counted from the last axis; reshape or unsqueeze one operand",
                    )
                out[k] = n
    return tuple(out)


class Elementwise(Primitive):
    """Applied per element, operands broadcast and promoted.

    body: ``(e, args, attrs) -> value`` on a body builder; operands come in the compute dtype.
    result: ``"same"`` (promoted dtype), ``"float"`` (integers become the default float), ``"bool"`` (a comparison),
    ``"real"`` and ``"complex"`` (the promoted dtype's counterpart), or a function of the attrs giving a dtype.
    takes: categories allowed for the promoted dtype.
    """

    kind = "elementwise"
    moves_bits = False  # no arithmetic: takes dtypes that are for storage only

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        body: Callable[..., Any] | None = None,
        result: Any = "same",
        takes: tuple[int, ...] = (0, 1, 2),
        operands: str = "promote",
    ) -> None:
        super().__init__(name, reference)
        self.result, self.takes, self.operands = result, takes, operands
        self.body = body or (lambda e, args, attrs: e.op(name, *args))

    def compute_dtype(self, avals: Sequence[Aval], attrs: tuple) -> DType:
        """The dtype that operands are brought to."""
        if self.operands == "keep":
            return avals[0].dtype
        chosen = avals[1:] if self.operands == "tail" else avals
        d = dtypes.result_type([(a.dtype, a.rank) for a in chosen])
        if self.result == "float" and d.category < 2:
            d = dtypes.default_float()
        return d

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """The common shape, and the dtype that ``result`` says."""
        shape = broadcast_shapes(self.name, [a.shape for a in avals])
        d = self.compute_dtype(avals, attrs)
        if d.category not in self.takes or (d.storage_only and not self.moves_bits):
            names = ("bool", "integer", "floating", "complex")
            raise DTypeError(
                f"{self.name}: dtype {d.name} is not supported",
                code=f"dtype.{self.name}",
                hint="takes " + " or ".join(names[c] for c in self.takes) + " tensors; convert with .to(dtype)",
            )
        if self.result == "bool":
            d = dtypes.bool_
        elif self.result == "real":
            d = d.to_real()
        elif self.result == "complex":
            d = d.to_complex()
        elif callable(self.result):
            d = self.result(attrs)
        return Aval(shape, d, not callable(self.result) and all(a.weak for a in avals))  # a dtype asked for is not weak

    def evaluate(self, arrays: Sequence[np.ndarray], avals: Sequence[Aval], attrs: tuple, aval: Aval) -> np.ndarray:
        """The value for operands of any dtype: promoted first, half precision worked in float32."""
        args = list(arrays)
        if self.operands != "keep":
            d = self.compute_dtype(avals, attrs)
            wide = np.dtype(np.float32) if d in (dtypes.float16, dtypes.bfloat16) else d.numpy
            for k, a in enumerate(args):
                if k == 0 and self.operands == "tail":
                    args[k] = a.astype(np.bool_, copy=False)
                else:
                    args[k] = a.astype(d.numpy, copy=False).astype(wide, copy=False)
        return np.asarray(self.reference(args, attrs, aval))


class Reduce(Primitive):
    """A reduction. attrs: (axes, keepdims, dtype of the result). ``op`` is the kernel IR's name of it."""

    kind = "reduce"

    def __init__(self, name: str, op: str, reference: Callable[..., Any]) -> None:
        super().__init__(name, reference)
        self.op = op

    def infer(self, avals: Sequence[Aval], attrs: tuple) -> Aval:
        """The shape without the reduced axes. Raises ShapeError for an extreme of nothing."""
        axes, keep, dtype = attrs
        (a,) = avals
        if a.dtype.storage_only or (a.dtype.is_complex and self.op in ("max", "min")):
            raise DTypeError(
                f"{self.name}: dtype {a.dtype.name} is not supported", code=f"dtype.{self.name}",
                hint="reduce x.abs(): complex numbers have no order" if a.dtype.is_complex else "use .to(dtype) first",
            )  # fmt: skip
        if self.op in ("max", "min"):
            for k in axes:
                if a.shape[k] == 0 and a.size == 0:
                    raise AxisError(
                        f"{self.name}: axis {k} of shape {a.shape} is empty and the operation has no identity",
                        code="shape.empty",
                    )
        shape = tuple(1 if k in axes else n for k, n in enumerate(a.shape) if keep or k not in axes)
        return Aval(shape, dtype)


class Movement(Primitive):
    """Elements moved, none computed."""

    kind = "movement"
