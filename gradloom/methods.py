"""The tensor's operators and methods that are public functions: installed from what each module lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom import functions as G
from gradloom.errors import DTypeError
from gradloom.functions import creation, elementwise, floats, reductions, views
from gradloom.functions.arguments import guarded
from gradloom.functions.base import apply, operand
from gradloom.ops import elementwise as E
from gradloom.ops.core import Primitive
from gradloom.tensor import Tensor, as_tensor, tensor

_OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder",
    "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
_COMPARISONS = "eq ne lt le gt ge".split()
# operators that are one primitive: they need not go through the public function
_PRIMITIVES = {
    "add": E.add, "sub": E.sub, "mul": E.mul, "truediv": E.div, "and": E.bitwise_and, "or": E.bitwise_or,
    "xor": E.bitwise_xor, "lshift": E.shift_left, "rshift": E.shift_right, "eq": E.eq, "ne": E.ne, "lt": E.lt,
    "le": E.le, "gt": E.gt, "ge": E.ge, "floordiv": E.floordiv, "mod": E.mod,
}  # fmt: skip


# families that look at most of what they are given themselves: no frame more on the short way
_CHECKED = (elementwise, floats, reductions, views)


def _direct(prim: Primitive, turned: bool) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Any:
        if not isinstance(other, Tensor):
            try:
                other = operand(other)
            except DTypeError as e:
                if e.code != "dtype.data":
                    raise
                return NotImplemented  # no number: Python asks the other, or compares identities
        return apply(prim, (other, self) if turned else (self, other))

    return method


def _called(fn: Callable[..., Any], turned: bool) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Any:
        try:
            return fn(other, self) if turned else fn(self, other)
        except DTypeError as e:
            if e.code != "dtype.data":
                raise
            return NotImplemented

    return method


def _operator(op: str, turned: bool = False) -> Callable[..., Any]:
    """The method of a binary operator; ``turned`` where this is its second operand."""
    fn = getattr(G, _OPERATORS.get(op, op))
    method = _direct(_PRIMITIVES[op], turned) if op in _PRIMITIVES else _called(fn, turned)
    method.__name__ = f"__{'r' * turned}{op}__"
    method.__doc__ = f"As :func:`gradloom.{fn.__name__}`."
    return method


def _inplace(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self._write(fn(self, *args, **kwargs))

    method.__name__ = name
    method.__doc__ = f"As :func:`gradloom.{fn.__name__}`, written into this tensor."
    return method


def _install() -> None:
    own = Tensor.__dict__
    for module in G.MODULES:
        only = getattr(module, "FUNCTION_ONLY", ())
        for name in [*(n for n in module.__all__ if n not in only), *getattr(module, "METHODS", ())]:
            if name not in own:
                fn = getattr(module, name)
                setattr(Tensor, name, fn if module in _CHECKED else guarded(fn))
        for name in getattr(module, "INPLACE", ()):
            if name + "_" not in own:
                setattr(Tensor, name + "_", _inplace(name + "_", getattr(module, name)))
    for op, name in _OPERATORS.items():
        setattr(Tensor, f"__{op}__", _operator(op))
        setattr(Tensor, f"__r{op}__", _operator(op, turned=True))
        if op != "matmul":
            setattr(Tensor, f"__i{op}__", _inplace(f"__i{op}__", getattr(G, name)))
    setattr(Tensor, "__rdiv__", _operator("truediv", turned=True))  # PyTorch has kept Python 2's name  # noqa: B010
    for op in _COMPARISONS:
        setattr(Tensor, f"__{op}__", _operator(op))
    for op, name in {"neg": "neg", "abs": "abs", "invert": "bitwise_not"}.items():
        setattr(Tensor, f"__{op}__", getattr(G, name))
    own_methods: tuple[Callable[..., Any], ...] = (apply_, copy_, fill_, map_, where, zero_)
    for fn in own_methods:
        setattr(Tensor, fn.__name__, fn)
    for name, view in {"T": _reversed, "mT": views.matrix_transpose, "H": _adjoint, "mH": views.adjoint}.items():
        setattr(Tensor, name, property(view))


def _reversed(self: Tensor) -> Tensor:
    """All axes in reverse order, a view."""
    return views.transpose(self)


def _adjoint(self: Tensor) -> Tensor:
    """The transpose of a matrix, complex numbers conjugated. Raises ShapeError for more than two axes."""
    x = views.t(self)
    return x.conj() if self.dtype.is_complex else x


def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Each element replaced by a Python function of it, one call each. Slow: meant for odd jobs."""
    return self._write(tensor([callable(v) for v in self.reshape(-1).tolist()], dtype=self.dtype).reshape(self.shape))


def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Each element replaced by a Python function of it and of the other tensor's; one call each. Slow."""
    others = tensor.expand(self.shape).reshape(-1).tolist()
    pairs = zip(self.reshape(-1).tolist(), others, strict=True)
    new = as_tensor([callable(a, b) for a, b in pairs], dtype=self.dtype)
    return self._write(new.reshape(self.shape))


def fill_(self: Tensor, value: Any) -> Tensor:
    """Filled with one value."""
    return self._write(creation.fill(self, value))


def zero_(self: Tensor) -> Tensor:
    """Filled with zeros."""
    return self._write(creation.fill(self, 0))


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Overwritten by another tensor's values, broadcast and converted."""
    new = G.cast(as_tensor(src), self.dtype)
    return self._write(new.clone() if new is src else new)  # a value of its own: gradients go by values


def where(self: Tensor, condition: Any, other: Any) -> Tensor:
    """This tensor where the condition holds, ``other`` elsewhere."""
    return G.where(condition, self, other)


_install()
