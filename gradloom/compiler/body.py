"""Bodies of kernels while they grow: instructions in order, equal ones once, and the builder that primitives write to.

Values of half precision are kept as float32 that has been rounded, so that a fused program gives the bits of one
operation at a time. ``affine`` is an instruction of this stage only: ``offset + sum(strides[k] * position k)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.compiler.loops import Inst
from gradloom.dtypes import DType

__all__ = ["Body", "Elem", "register"]

_HALVES = ("f16", "bf16")
_VIA = {"u8": "i32", "u16": "i32", "u32": "i64"}


def register(code: str) -> str:
    """The dtype in which values of a dtype are computed."""
    return "f32" if code in _HALVES else code


class Body:
    """Instructions over ``axes`` axes and the accesses they use.

    accesses: (storage, offset, stride of each axis, index stride or None). varies: a bit for each axis along which an
    instruction's value varies.
    """

    def __init__(self, axes: int) -> None:
        self.axes = axes
        self.insts: list[Inst] = []
        self.accesses: list[tuple[Any, int, tuple[int, ...], int | None]] = []
        self.varies: list[int] = []
        self._known: dict[tuple, int] = {}
        self._access: dict[tuple, int] = {}

    def add(self, op: str, dtype: str, args: tuple[int, ...] = (), attrs: tuple = (), reduced: int = 0) -> int:
        """The number of an instruction, an equal one if there is one. reduced: axes that a ``reduce`` takes away."""
        key = (op, dtype, args, repr(attrs) if op == "const" else attrs)
        n = self._known.get(key)
        if n is not None:
            return n
        v = 0
        for a in args:
            v |= self.varies[a]
        if op in ("load", "load_at"):
            v |= _mask(self.accesses[attrs[0]][2])
        elif op == "affine":
            v |= _mask(attrs[1])
        elif op == "acc":
            v = (1 << self.axes) - 1
        elif op == "reduce":
            v &= ~reduced
        self.insts.append(Inst(op, dtype, args, attrs))
        self.varies.append(v)
        self._known[key] = n = len(self.insts) - 1
        return n

    def access(self, storage: Any, offset: int, strides: tuple[int, ...], index: int | None = None) -> int:
        """The number of an access."""
        key = (storage, offset, strides, index)
        n = self._access.get(key)
        if n is None:
            self.accesses.append(key)
            self._access[key] = n = len(self.accesses) - 1
        return n

    def load(self, storage: Any, offset: int, strides: tuple[int, ...]) -> int:
        """An element, in its register dtype."""
        n = self.add("load", storage.dtype, (), (self.access(storage, offset, strides),))
        return self.cast(n, register(storage.dtype))

    def const(self, value: Any, code: str) -> int:
        """A constant of a register dtype, wrapped or rounded to ``code``."""
        if code == "bool":
            return self.add("const", "bool", (), (bool(value),))
        if code[0] in "iu":
            return self.add("const", code, (), (int(value),))
        if code in _HALVES:
            import numpy as np

            from gradloom.dtypes import bfloat16, float16

            value = np.asarray(value, (float16 if code == "f16" else bfloat16).numpy).astype(np.float32)
        return self.add("const", register(code), (), (float(value),))

    def cast(self, n: int, code: str) -> int:
        """A value in another dtype of the kernel IR."""
        if self.insts[n].dtype == code:
            return n
        inst = self.insts[n]
        if code == "bool":
            return self.add("ne", "bool", (n, self.const(0, inst.dtype)))
        if code in _VIA and inst.dtype in ("f32", "f64"):
            n = self.cast(n, _VIA[code])  # negative numbers wrap, as in PyTorch
            return self.add("cast", code, (n,))
        if inst.op == "cast" and code in _HALVES and self.insts[inst.args[0]].dtype == code:
            return inst.args[0]  # float32 that was rounded to this very dtype
        return self.add("cast", code, (n,))

    def settle(self, n: int, code: str) -> int:
        """A value as one of dtype ``code``: in its register dtype, rounded to half precision if that is what it is."""
        return self.cast(self.cast(n, code), register(code))

    def affine(self, offset: int, strides: Sequence[int]) -> int:
        """``offset + sum(strides[k] * position along k)``, i64."""
        strides = tuple(strides)
        if not any(strides):
            return self.const(offset, "i64")
        return self.add("affine", "i64", (), (offset, strides))

    def spread(self, n: int, mask: int) -> int:
        """The same value as one that varies along all axes of ``mask``: where kernels ask for it."""
        missing = mask & ~self.varies[n]
        if not missing:
            return n
        at = self.affine(0, [missing >> k & 1 for k in range(self.axes)])
        always = self.add("ge", "bool", (at, self.const(0, "i64")))
        return self.add("where", self.insts[n].dtype, (always, n, n))


def _mask(strides: Sequence[int]) -> int:
    return sum(1 << k for k, s in enumerate(strides) if s)


class Elem:
    """What the body of an elementwise primitive writes to.

    compute: dtype in which it works. floating: whether that is a floating one.
    """

    def __init__(self, body: Body, compute: DType) -> None:
        self.body = body
        self.compute = register(compute.code)
        self.floating = compute.category == 2

    def op(self, name: str, *args: int) -> int:
        """An instruction whose result has the compute dtype."""
        return self.body.add(name, self.compute, args)

    def cmp(self, name: str, *args: int) -> int:
        """A comparison."""
        return self.body.add(name, "bool", args)

    def const(self, value: Any) -> int:
        """A constant of the compute dtype."""
        return self.body.const(value, self.compute)

    def bool_const(self, value: bool) -> int:
        """A truth value."""
        return self.body.const(value, "bool")

    def where(self, c: int, a: int, b: int) -> int:
        """``a`` where ``c``, else ``b``."""
        return self.body.add("where", self.compute, (self.body.cast(c, "bool"), a, b))

    def cast(self, x: int, dtype: DType) -> int:
        """A value in another dtype."""
        return self.body.settle(x, dtype.code)
