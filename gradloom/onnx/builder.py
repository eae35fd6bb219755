"""The ONNX graph under way: nodes, initialisers, values in the dtype that is asked for, and sizes as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.dtypes import DType
from gradloom.onnx.capture import OnnxExporterError, Op, Value
from gradloom.onnx.sizes import Form, Varying, fixed, form_of

__all__ = ["BACK", "FRONT", "SMALL", "Builder", "order_of"]

FRONT, BACK = -(2**63) + 1, 2**63 - 1
"""Slice bounds that mean 'past the front' and 'to the end'."""
SMALL = 64  # elements up to which equal constants are one initialiser


def order_of(axes: Sequence[int]) -> tuple[int, ...]:
    """The order that undoes a permutation."""
    return tuple(int(k) for k in np.argsort(axes))


class Builder:
    """Nodes in the order in which they are made; a body of a loop has a builder of its own, below that of the graph."""

    def __init__(self, onnx: Any, opset: int, recordings: int, above: Builder | None = None) -> None:
        self.onnx, self.opset, self.recordings, self.above = onnx, opset, recordings, above
        self.top: Builder = above.top if above is not None else self
        self.nodes: list[Any] = []
        self.layer = ""
        self.op: Op | None = None
        self.casts: dict[tuple[str, str], str] = {}
        if above is None:
            self.initialisers: dict[str, np.ndarray] = {}
            self.small: dict[tuple, str] = {}
            self.taken: set[str] = set()
            self.sources: dict[tuple[int, ...], tuple[str, int]] = {}  # sizes by recording: a value's name, its axis
            self.sizes: dict[Any, str] = {}

    # -- names, nodes, constants ------------------------------------------------------------------------
    def fresh(self, hint: str) -> str:
        """A name that nothing has yet."""
        taken, name, k = self.top.taken, hint, 0
        while name in taken:
            k += 1
            name = f"{hint}_{k}"
        taken.add(name)
        return name

    def add(self, kind: str, inputs: Sequence[str], outputs: int | Sequence[str] = 1, **attrs: Any) -> Any:
        """A node; the name of its output, or the names where there are several."""
        place = self.layer.replace(".", "/")
        names = list(outputs) if not isinstance(outputs, int) else []
        if isinstance(outputs, int):
            stem = f"{place}/{kind}" if place else kind
            names = [self.fresh(f"{stem}_output" if outputs == 1 else f"{stem}_output{k}") for k in range(outputs)]
        label = self.fresh(f"/{place}/{kind}" if place else f"/{kind}")
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, name=label, **attrs))
        return names[0] if len(names) == 1 else names

    def constant(self, array: Any, dtype: Any = None, hint: str = "constant") -> str:
        """The name of an initialiser with this value."""
        a = np.ascontiguousarray(np.asarray(array, dtype)).reshape(np.shape(array))
        top = self.top
        key = (a.dtype.str, a.dtype.name, a.shape, a.tobytes()) if a.size <= SMALL else None
        if key is not None and hint == "constant" and key in top.small:
            return top.small[key]
        name = self.fresh(hint)
        top.initialisers[name] = a
        if key is not None and hint == "constant":
            top.small[key] = name
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A vector of int64."""
        return self.constant(np.array(list(values), np.int64))

    # -- values -------------------------------------------------------------------------------------------
    def kind(self, dtype: DType) -> int:
        """ONNX' number of a dtype. Raises OnnxExporterError for what it has not."""
        if dtype.is_complex:
            raise self.refused(f"works on {dtype.name}", "exported graphs have no complex numbers")
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(dtype.numpy))

    def name(self, v: Value, dtype: DType | None = None) -> str:
        """The name of a value, converted where it has another dtype."""
        dtype = dtype or v.aval.dtype
        if v.view is not None and v.name is None and v.view[0].name is not None and v.array is not None:
            return self.transposed(v.view[0], v.view[1], dtype)  # a parameter with its axes in another order
        if v.array is not None:
            if v.name is not None and v.aval.dtype is dtype:
                if v.name not in self.top.initialisers:
                    self.top.taken.add(v.name)
                    self.top.initialisers[v.name] = v.array
                return v.name
            if v.array.size <= SMALL:
                return self.constant(v.array.astype(dtype.numpy))
            if v.name is None:
                v.name = self.fresh("constant")
                return self.name(v, dtype)
            return self.cast(self.name(v), v.aval.dtype, dtype)
        if v.name is None and v.number is not None:
            v.name = self.number(v.number, v.aval.dtype)
        if v.name is None and v.view is not None:
            base, order = v.view
            v.name = self.transposed(base, order)
        assert v.name is not None, self.op
        return self.cast(v.name, v.aval.dtype, dtype)

    def cast(self, name: str, old: DType, new: DType) -> str:
        """A value converted; each conversion is done once."""
        if old is new:
            return name
        key = (name, new.name)
        found = self._known(key)
        if found is None:
            found = self.casts[key] = self.add("Cast", [name], to=self.kind(new))
        return found

    def _known(self, key: tuple[str, str]) -> str | None:
        b: Builder | None = self
        while b is not None:
            if key in b.casts:
                return b.casts[key]
            b = b.above
        return None

    def transposed(self, v: Value, order: Sequence[int], dtype: DType | None = None) -> str:
        """A value with its axes in another order; orders that undo each other leave nothing behind."""
        order = tuple(order)
        dtype = dtype or v.aval.dtype
        while v.view is not None:
            v, before = v.view
            order = tuple(before[k] for k in order)
        if order == tuple(range(len(order))):
            return self.name(v, dtype)
        name = self.name(v, dtype)
        key = (name, f"axes {order}")
        found = self._known(key)
        if found is None:
            found = self.casts[key] = self.add("Transpose", [name], perm=list(order))
        return found

    def reorder(self, name: str, order: Sequence[int]) -> str:
        """A node's output with its axes in another order."""
        order = tuple(order)
        return name if order == tuple(range(len(order))) else str(self.add("Transpose", [name], perm=list(order)))

    def give(self, v: Value, name: str, dtype: DType | None = None) -> None:
        """Say what a value is called; its sizes can be asked for from now on."""
        v.name = self.cast(name, dtype or v.aval.dtype, v.aval.dtype)
        self.note_sizes(v, v.name)

    def give_view(self, v: Value, base: Value, order: tuple[int, ...]) -> None:
        """Say that a value is another with its axes in this order."""
        v.view = (base, order)

    def give_transposed(self, v: Value, name: str, order: Sequence[int], dtype: DType | None = None) -> None:
        """Say that a value is a node's output, whose axes stand in this order: axis ``k`` of the output is
        ``order[k]`` of the value.
        """
        shape = tuple(v.aval.shape[k] for k in order)
        base = Value(v.aval._replace(shape=shape))
        base.uses = v.uses
        self.give(base, name, dtype)
        v.view = (base, order_of(order))

    def common_order(self, values: Sequence[Value], rank: int) -> tuple[int, ...] | None:
        """The order in which all of them see their bases' axes, where it is one; constants fit into any.

        What is done per element, or along an axis, can then be done on the bases, and nothing is turned.
        """
        seen = {v.view[1] for v in values if v.array is None and v.view is not None and len(v.aval.shape) == rank}
        if len(seen) != 1:
            return None
        for v in values:
            turned = v.view is not None and v.view[0].array is None and v.name is None and v.view[0].view is None
            if not (v.aval.shape == () or v.array is not None or turned):
                return None
        return seen.pop()

    def in_order(self, v: Value, order: tuple[int, ...], dtype: DType) -> str:
        """An operand for work on bases: a base as it is, a constant with its axes in their order."""
        if v.aval.shape == ():
            return self.name(v, dtype)
        if v.array is not None:
            wide = v.array.reshape((1,) * (len(order) - v.array.ndim) + v.array.shape)
            turned = wide.transpose(order_of(order))
            return self.name(Value(v.aval._replace(shape=turned.shape), turned), dtype)
        assert v.view is not None
        return self.name(v.view[0], dtype)

    def note_sizes(self, v: Value, name: str) -> None:
        """Remember which open sizes a value has."""
        if self.above is not None:
            return
        for k, n in enumerate(v.aval.shape):
            if isinstance(n, Varying):
                self.sources.setdefault(n.values, (name, k))

    # -- numbers that depend on sizes ------------------------------------------------------------------------
    def size(self, n: int | Varying) -> str:
        """A size as a vector of one int64."""
        if not isinstance(n, Varying):
            return self.ints([n])
        top = self.top
        if n.values not in top.sizes:
            form = form_of(n.values, top.sources)
            if form is None:
                raise self.refused(
                    f"needs a number that is {_listed(n.values)} at the sizes tried, which does not follow from them",
                    "leave the axis out of dynamic_shapes or dynamic_axes",
                )
            top.sizes[n.values] = top._formed(form)
        return top.sizes[n.values]

    def _formed(self, form: Form) -> str:
        parts = []
        for s in form.sources:
            if s not in self.sizes:
                source, axis = self.sources[s]
                self.sizes[s] = self.add("Shape", [source], start=axis, end=axis + 1)
            parts.append(self.sizes[s])
        out = parts[0]
        for p in parts[1:]:
            out = self.add("Mul", [out, p])
        if form.scale != 1:
            out = self.add("Mul", [out, self.ints([form.scale])])
        if form.offset:
            out = self.add("Add", [out, self.ints([form.offset])])
        return out if form.by == 1 else str(self.add("Div", [out, self.ints([form.by])]))

    def vector(self, dims: Sequence[int | Varying]) -> str:
        """Several numbers as a vector of int64."""
        if not any(isinstance(n, Varying) for n in dims):
            return self.ints(dims)  # type: ignore[arg-type]
        key = tuple(dims)
        top = self.top
        if key not in top.sizes:
            parts = [self.size(n) for n in dims]
            top.sizes[key] = parts[0] if len(parts) == 1 else top.add("Concat", parts, axis=0)
        return top.sizes[key]

    def number(self, n: Any, dtype: DType) -> str:
        """A 0-d number that may depend on sizes: a whole one, or one over a whole one."""
        if not isinstance(n, Varying):
            return self.constant(np.asarray(n, dtype.numpy))
        if all(float(x).is_integer() for x in n.values):
            whole = self.add("Squeeze", [self.size(Varying(tuple(int(x) for x in n.values)))])
            return str(self.add("Cast", [whole], to=self.kind(dtype)))
        over = [1 / x for x in n.values] if all(n.values) else []
        if over and all(abs(x - round(x)) < 1e-9 * abs(x) for x in over):
            whole = self.number(Varying(tuple(round(x) for x in over)), dtype)
            return str(self.add("Div", [self.constant(np.asarray(1, dtype.numpy)), whole]))
        raise self.refused(
            f"needs a number that is {_listed(n.values)} at the sizes tried, which does not follow from them",
            "leave the axis out of dynamic_shapes or dynamic_axes",
        )

    # -- refusals --------------------------------------------------------------------------------------------
    def refused(self, what: str, hint: str) -> OnnxExporterError:
        """An error that names the operation and where it stands."""
        op = self.op
        name = op.name if op is not None else "the graph"
        where = f" in layer {op.layer!r}" if op is not None and op.layer else ""
        return OnnxExporterError(f"export: {name}{where} {what}", code="onnx.unsupported", hint=hint)

    def plain(self, x: Any, what: str) -> Any:
        """A setting as it is. Raises OnnxExporterError where it depends on an open size."""
        if not fixed(x):
            raise self.refused(f"has {what} that depends on the size of an open axis", "leave the axis closed")
        return x


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
