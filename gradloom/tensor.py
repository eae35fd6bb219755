"""The handle a user holds: a cell that names a value, with PyTorch's methods.

A view remembers its base: a write through a view makes a new value of the base, and a write to a base refreshes its
living views. Underneath nothing is ever overwritten that somebody still needs.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom import dtypes
from gradloom.devices import CPU, device, resolve
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, GradientError, InternalError, ShapeError
from gradloom.graph.node import Aval
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.runtime.buffers import Buffer, allocate, as_numpy
from gradloom.runtime.buffers import from_numpy as _wrap
from gradloom.tape import LEAF, TAPE, Value

__all__ = ["Size", "Tensor", "as_tensor", "buffer_of", "from_numpy", "tensor"]


class Size(tuple):
    """A shape, with PyTorch's ``numel``."""

    def numel(self) -> int:
        """Number of elements."""
        n = 1
        for s in self:
            n *= s
        return n

    def __repr__(self) -> str:
        return f"gradloom.Size({list(self)})"


class Tensor:
    """A multi-dimensional array that knows how it was computed.

    Attributes
    ----------
    shape, dtype, ndim: of its elements. requires_grad: whether gradients reach it. grad: the gradient gathered by
    ``backward``, or None.
    """

    __array_priority__ = 1000
    _v: Value
    _rg = False
    _base: Tensor | None = None
    _undo: Callable[[Tensor, Tensor], Tensor] | None = None  # (base, new view) -> new base
    _redo: Callable[[Tensor], Tensor] | None = None  # base -> view
    _views: list[weakref.ref[Tensor]] | None = None
    grad: Tensor | None = None

    if TYPE_CHECKING:  # installed from the public functions below

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __iadd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __isub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __imul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __itruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __ifloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __imod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __ipow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __rand__(self, other: Any) -> Tensor: ...
        def __iand__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __ror__(self, other: Any) -> Tensor: ...
        def __ior__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __rxor__(self, other: Any) -> Tensor: ...
        def __ixor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rlshift__(self, other: Any) -> Tensor: ...
        def __ilshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __rrshift__(self, other: Any) -> Tensor: ...
        def __irshift__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...

    def __init__(self, data: Any = None, *, requires_grad: bool = False) -> None:
        v = as_tensor(data if data is not None else np.zeros(0, np.float32))._v
        self._v = Value(v.aval, v.entry, v.buf) if v.entry is None else v
        if requires_grad:
            self.requires_grad_()

    # -- what it is -----------------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        """The sizes of the axes."""
        return Size(self._v.aval.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one axis."""
        return self.shape if dim is None else self._v.aval.shape[dim]

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        a = self._v.aval
        if a.weak and a.dtype.category >= 2:
            return dtypes.default_complex() if a.dtype.is_complex else dtypes.default_float()
        return a.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._v.aval.shape)

    def dim(self) -> int:
        """Number of axes."""
        return self.ndim

    def numel(self) -> int:
        """Number of elements."""
        return self._v.aval.size

    nelement = numel

    @property
    def device(self) -> device:
        """Where the elements are: always the CPU."""
        return CPU

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    def element_size(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    def is_floating_point(self) -> bool:
        """Whether the dtype is floating."""
        return self.dtype.is_floating

    @property
    def requires_grad(self) -> bool:
        """Whether gradients reach this tensor."""
        if self._rg:
            return True
        v = self._v
        return v.entry.rg if v.entry is not None else v.hist is not None

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for gradients of this tensor, or no longer. Raises GradientError for integers and for results."""
        if requires_grad == self.requires_grad:
            return self
        if requires_grad and self.dtype.category < 2:
            raise GradientError(
                f"only floating and complex tensors can require grad, this is {self.dtype.name}", code="gradient.dtype"
            )
        if not self.is_leaf:
            raise GradientError(
                "only leaf tensors can change requires_grad", code="gradient.leaf", hint="use .detach()"
            )
        if self._v.entry is not None:
            TAPE.flush()
        self._rg = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether this is no result of something differentiable."""
        v = self._v
        if self._rg:
            return True
        return not (v.entry.rg and v.entry.prim is not LEAF if v.entry is not None else v.hist is not None)

    @property
    def grad_fn(self) -> Any:
        """A mark for results of something differentiable, None for leaves."""
        return None if self.is_leaf else "<recorded>"

    def retain_grad(self) -> None:
        """Not offered: use ``gradloom.autograd.grad(loss, tensor)`` for the gradient of an intermediate value."""
        raise GradientError(
            "retain_grad is not offered", code="gradient.retain", hint="use autograd.grad(loss, tensor)"
        )

    # -- looking --------------------------------------------------------------------------------------
    def _buffer(self) -> Buffer:
        v = self._v
        if v.buf is None:
            if v.entry is not None:
                TAPE.peek(v) if TAPE.traces else TAPE.flush()
            if v.buf is None:
                raise InternalError("a tensor's value was lost by an earlier failure, or it escaped from a function that was recorded", code="internal.lost")
        return v.buf

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The elements as a NumPy array over the same memory; a later update of this tensor does not reach it."""
        b = self._buffer()
        return as_numpy(b, self._v.aval.dtype.numpy, self._v.aval.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        a = self.numpy()
        return a.astype(dtype) if dtype is not None and a.dtype != dtype else a.copy() if copy else a

    def item(self) -> Any:
        """The only element as a Python number. Raises ShapeError where there are more."""
        if self.numel() != 1:
            raise ShapeError(
                f"item: a tensor of shape {tuple(self.shape)} has {self.numel()} elements", code="shape.item"
            )
        b = self._buffer()
        if self._v.aval.dtype is dtypes.float32:
            return float(ctypes.c_float.from_address(b.ptr).value)
        a = self.numpy().reshape(())
        return float(a) if self.dtype.is_floating else a.item()

    def tolist(self) -> Any:
        """Nested Python lists."""
        a = self.numpy()
        return (a.astype(np.float32) if a.dtype.kind == "V" else a).tolist()  # ml_dtypes has scalars of its own

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise ShapeError(
                f"the truth of a tensor of shape {tuple(self.shape)} is ambiguous", code="shape.bool",
                hint="use .any() or .all()",
            )  # fmt: skip
        return bool(self.item())

    def __index__(self) -> int:
        if self.dtype.category >= 2:
            raise DTypeError("only integer tensors can be an index", code="dtype.index")
        return int(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError("a 0-d tensor has no length", code="shape.len")
        return self._v.aval.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise ShapeError("a 0-d tensor cannot be iterated", code="shape.iter")
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        a = self.numpy()
        if a.dtype.kind == "V":  # those of ml_dtypes
            a = a.astype(np.float32)
        body = np.array2string(
            a, separator=", ", prefix="tensor(", threshold=1000, precision=4, floatmode="maxprec_equal"
        )
        usual = (dtypes.default_float(), dtypes.default_complex(), dtypes.int64, dtypes.bool_)
        tail = "" if self.dtype in usual else f", dtype={self.dtype!r}"
        return f"tensor({body}{tail}{', requires_grad=True' if self.requires_grad else ''})"

    def __format__(self, spec: str) -> str:
        return (
            format(self.item(), spec)
            if spec and self.numel() == 1
            else format(repr(self), spec)
            if spec
            else repr(self)
        )

    def __hash__(self) -> int:
        return id(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise DTypeError("tensors are not pickled", code="io.pickle", hint="save with gradloom.io (safetensors)")

    def __deepcopy__(self, memo: dict) -> Tensor:
        out = type(self).__new__(type(self))
        out._v = as_tensor(self.numpy().copy())._v
        out._rg = self._rg
        memo[id(self)] = out
        return out

    # -- differentiation --------------------------------------------------------------------------------
    def backward(
        self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False
    ) -> None:
        """Gradients of this value into the ``grad`` of the leaves; see :func:`gradloom.autodiff.reverse.backward`."""
        from gradloom.autodiff.reverse import backward

        backward(self, gradient, retain_graph, create_graph)

    def detach(self) -> Tensor:
        """The same values without their history; writes to either reach both."""
        G = _functions()
        return _view(self, G.detach, lambda base, new: G.detach(new))

    def detach_(self) -> Tensor:
        """Cut this tensor off from its history."""
        self._v = _functions().detach(self)._v
        self._rg = False
        return self

    @property
    def data(self) -> Tensor:
        """The same values without history; assigning replaces the values."""
        return self.detach()

    @data.setter
    def data(self, new: Tensor) -> None:
        if TAPE.tensors and self._v.entry is not None:
            TAPE.flush()
        new._buffer()
        self._set_value(Value(new._v.aval, None, new._v.buf))

    # -- cells and views ----------------------------------------------------------------------------------
    def _set_value(self, v: Value) -> None:
        """Point the cell to another value; views follow."""
        self._v = v
        if self._views:
            self._refresh()

    def _refresh(self, skip: Tensor | None = None) -> None:
        for ref in self._views or ():
            view = ref()
            if view is not None and view is not skip:
                assert view._redo is not None
                with _Quiet():
                    view._v = view._redo(self)._v
                view._refresh()

    def _write(self, new: Tensor, inner: bool = False) -> Tensor:
        """In-place assignment of the whole cell."""
        G = _functions()
        if not inner and self._rg and TAPE.grad:
            raise GradientError(
                "a leaf tensor that requires grad cannot be changed in place", code="gradient.inplace",
                hint="wrap the change in no_grad(), or work on .data or .detach()",
            )  # fmt: skip
        if new.shape != self.shape:
            new = G.broadcast_to(new, self.shape)
        if new.dtype is not self.dtype or new._v.aval.weak:
            if new.dtype.category > self.dtype.category:
                raise DTypeError(
                    f"a {new.dtype.name} result cannot be written into a {self.dtype.name} tensor",
                    code="dtype.inplace",
                    hint="convert the tensor first",
                )
            new = G.cast(new, self.dtype)
        if self._base is not None:
            if TAPE.grad and self._base._rg and self.requires_grad:
                raise GradientError(
                    "a view of a leaf tensor that requires grad cannot be changed in place", code="gradient.inplace",
                    hint="wrap the change in no_grad(), or work on .data or .detach()",
                )  # fmt: skip
            assert self._undo is not None and self._redo is not None
            base = self._base
            base._write(self._undo(base, new), inner=base._rg)
            return self
        if new._v.entry is None or new is self:
            new = TAPE.apply(
                E.detach if not new.requires_grad else S.reshape,
                (new,),
                () if not new.requires_grad else (tuple(new.shape),),
            )
        self._set_value(new._v)
        return self

    # -- indexing -----------------------------------------------------------------------------------------
    def __getitem__(self, index: Any) -> Tensor:
        from gradloom.indexing import getitem

        return getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        from gradloom.indexing import setitem

        setitem(self, index, value)

    # -- shape and type -------------------------------------------------------------------------------------
    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape."""
        G = _functions()
        s = G.sizes_of(shape)
        return _view(self, lambda b: G.reshape(b, s), lambda b, n: G.reshape(n, b.shape))

    def view(self, *shape: Any) -> Tensor:
        """As :meth:`reshape`; a dtype is converted bit for bit only by NumPy: use ``numpy().view``."""
        return self.reshape(*shape)

    def view_as(self, other: Tensor) -> Tensor:
        """Reshaped as another tensor."""
        return self.reshape(other.shape)

    reshape_as = view_as

    def permute(self, *dims: Any) -> Tensor:
        """Axes in another order."""
        G = _functions()
        d = G.sizes_of(dims)
        n = max(1, self.ndim)
        back = tuple(int(k) for k in np.argsort([x % n for x in d]))
        return _view(self, lambda b: G.permute(b, d), lambda b, new: G.permute(new, back))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes swapped."""
        G = _functions()
        return _view(self, lambda b: G.transpose(b, dim0, dim1), lambda b, n: G.transpose(n, dim0, dim1))

    swapaxes = transpose

    def t(self) -> Tensor:
        """The transpose of a matrix (a vector stays)."""
        if self.ndim > 2:
            raise ShapeError(f"t: expects at most 2 dimensions, got {tuple(self.shape)}", code="shape.t")
        return self.transpose(0, 1) if self.ndim == 2 else self

    @property
    def T(self) -> Tensor:
        """All axes in reverse order."""
        return self.permute(*range(self.ndim)[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return self.transpose(-1, -2)

    def unsqueeze(self, dim: int) -> Tensor:
        """A new axis of size 1."""
        G = _functions()
        return _view(self, lambda b: G.unsqueeze(b, dim), lambda b, n: G.reshape(n, b.shape))

    def squeeze(self, dim: Any = None) -> Tensor:
        """Axes of size 1 dropped."""
        G = _functions()
        return _view(self, lambda b: G.squeeze(b, dim), lambda b, n: G.reshape(n, b.shape))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Axes merged into one."""
        G = _functions()
        return _view(self, lambda b: G.flatten(b, start_dim, end_dim), lambda b, n: G.reshape(n, b.shape))

    def ravel(self) -> Tensor:
        """All axes as one."""
        return self.reshape(-1)

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """Converted to a dtype; ``"cpu"`` is the only device. Raises DeviceError for another."""
        out = self
        for a in [*args, *(kwargs[k] for k in ("dtype", "device") if kwargs.get(k) is not None)]:
            if isinstance(a, Tensor):
                out = out.to(a.dtype)
            elif isinstance(a, DType) or (isinstance(a, type) or isinstance(a, np.dtype)):
                out = _functions().convert(out, a)
            elif not isinstance(a, bool):
                resolve(a)
        return out

    def type(self, dtype: Any = None) -> Any:
        """The dtype's name, or the tensor converted."""
        return repr(self.dtype) if dtype is None else self.to(as_dtype(dtype))

    def astype(self, dtype: Any) -> Tensor:
        """Converted to a dtype."""
        return self.to(as_dtype(dtype))

    def float(self) -> Tensor:
        """As float32."""
        return self.to(dtypes.float32)

    def double(self) -> Tensor:
        """As float64."""
        return self.to(dtypes.float64)

    def half(self) -> Tensor:
        """As float16."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Tensor:
        """As bfloat16."""
        return self.to(dtypes.bfloat16)

    def long(self) -> Tensor:
        """As int64."""
        return self.to(dtypes.int64)

    def int(self) -> Tensor:
        """As int32."""
        return self.to(dtypes.int32)

    def bool(self) -> Tensor:
        """As bool."""
        return self.to(dtypes.bool_)

    def cpu(self) -> Tensor:
        """Itself: every tensor is on the CPU."""
        return self

    def contiguous(self) -> Tensor:
        """Itself: values are contiguous to the user."""
        return self

    def is_contiguous(self) -> Any:
        """True."""
        return True

    def clone(self) -> Tensor:
        """A copy with memory of its own; gradients pass."""
        return TAPE.apply(S.reshape, (self,), (tuple(self.shape),))


class _Quiet:
    """Grad mode off."""

    def __enter__(self) -> None:
        self._before = TAPE.grad

    def __exit__(self, *exc: object) -> None:
        TAPE.grad = self._before


_G: Any = None


def _functions() -> Any:
    global _G
    if _G is None:
        from gradloom import functions

        _G = functions
    return _G


def _view(base: Tensor, redo: Callable[[Tensor], Tensor], undo: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A view of ``base``: ``redo`` makes it from a base, ``undo`` gives the base after a write to the view."""
    out = redo(base)
    if out is base:
        out = _make(base._v)
        out._rg = False
        if base._rg:  # the identity must still carry the gradient of a leaf
            out = base
            return out
    out._base, out._redo, out._undo = base, redo, undo
    refs = base._views
    if refs is None:
        refs = base._views = []
    elif len(refs) >= 16:
        refs[:] = [r for r in refs if r() is not None]
    refs.append(weakref.ref(out))
    return out


_new = Tensor.__new__


def _make(v: Value) -> Tensor:
    t = _new(Tensor)
    t._v = v
    return t


TAPE.make_tensor = _make


def buffer_of(a: np.ndarray) -> Buffer:
    """A buffer of our own with the array's elements."""
    b = allocate(max(1, a.nbytes))
    if a.size:
        as_numpy(b, a.dtype, a.shape)[...] = a
    return b


def from_numpy(a: np.ndarray) -> Tensor:
    """A tensor over the array's memory, without a copy where it is contiguous and of a native dtype."""
    d = as_dtype(a.dtype)
    if not a.flags.c_contiguous or a.dtype != d.numpy or not a.flags.aligned:
        a = np.ascontiguousarray(a, d.numpy)
    return _make(Value(Aval(tuple(a.shape), d), None, _wrap(a) if a.size else buffer_of(a)))


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of numbers, nested lists, arrays or tensors; arrays and tensors are shared where possible."""
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(as_dtype(dtype))
    if isinstance(data, np.ndarray):
        t = from_numpy(data)
        return t if dtype is None else t.to(as_dtype(dtype))
    return tensor(data, dtype=dtype)


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of the data. Python floats become the default dtype, integers int64.

    Raises
    ------
    ShapeError: where nested lists are ragged. DTypeError: where the data are no numbers.
    """
    resolve(device)
    if isinstance(data, Tensor):
        a = data.numpy()
    elif isinstance(data, (list, tuple)) and data and any(isinstance(x, Tensor) for x in data):
        a = np.asarray([x.numpy() if isinstance(x, Tensor) else x for x in data])
    else:
        try:
            a = np.asarray(data)
        except ValueError as e:
            raise ShapeError(f"tensor: nested lists of unequal lengths ({e})", code="shape.ragged") from None
    if a.dtype == object or a.dtype.kind in "US":
        raise DTypeError(f"tensor: data of type {type(data).__name__} are no numbers", code="dtype.data")
    if dtype is not None:
        d = as_dtype(dtype)
        if d is dtypes.uint64 and a.dtype.kind == "f" and isinstance(data, (list, tuple)):
            a = np.asarray(data, object)  # NumPy takes integers of 2**63 and more beside others for floats
    elif isinstance(data, (np.ndarray, np.generic, Tensor)):
        d = as_dtype(a.dtype)
    else:
        default = {"f": dtypes.default_float, "c": dtypes.default_complex}.get(a.dtype.kind)
        d = default() if default is not None else as_dtype(a.dtype)
    with np.errstate(all="ignore"):
        a = a.astype(d.numpy, copy=False)
    t = _make(Value(Aval(tuple(a.shape), d), None, buffer_of(np.ascontiguousarray(a) if a.ndim else a)))
    return t.requires_grad_() if requires_grad else t
