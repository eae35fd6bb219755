"""The handle a user holds: a cell that names a value, with PyTorch's methods.

A view remembers its base: a write through a view makes a new value of the base, and a write to a base refreshes its
living views. Underneath nothing is ever overwritten that somebody still needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gradloom import dtypes
from gradloom.deferred import LATE, recalled
from gradloom.devices import CPU, device, resolve
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, GradientError, InternalError, ScalarError, ShapeError
from gradloom.graph.node import Aval
from gradloom.ops import elementwise as E
from gradloom.ops import structure as S
from gradloom.options import check_options, strided
from gradloom.runtime.buffers import Buffer, allocate, as_numpy
from gradloom.runtime.buffers import from_numpy as _wrap
from gradloom.runtime.kept import WATCHED, touched
from gradloom.tape import LEAF, MODES, TAPE, Value

__all__ = ["Size", "Tensor", "as_tensor", "buffer_of", "from_numpy", "tensor"]


class Size(tuple):
    """A shape, with PyTorch's ``numel``."""

    def numel(self) -> int:
        """Number of elements."""
        n = 1
        for s in self:
            n *= s
        return n

    def __getitem__(self, index: Any) -> Any:
        found = tuple.__getitem__(self, index)
        return Size(found) if type(index) is slice else found

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Size:
        return Size(tuple(other) + tuple(self))

    def __mul__(self, n: Any) -> Size:
        return Size(tuple.__mul__(self, n))

    __rmul__ = __mul__

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
    _lasting = False  # a parameter or buffer of a module: programs may keep what depends on such tensors alone
    _base: Tensor | None = None
    _undo: Callable[[Tensor, Tensor], Tensor] | None = None  # (base, new view) -> new base
    _redo: Callable[[Tensor], Tensor] | None = None  # base -> view
    _strides: Callable[[tuple, tuple, int], tuple[tuple, int]] | None = None  # of the base -> of the view
    _views: list[weakref.ref[Tensor]] | None = None
    _writes = 0  # how often a cell that is no view was written to; see gradloom.functions.views
    _seen: tuple[weakref.ref[Value], int] | None = None
    _watched: ClassVar[dict[int, Any]] = {}  # tensors with hooks, and results that keep their gradient, by id
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
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...

    def __init__(self, *data: Any, device: Any = None, requires_grad: bool = False) -> None:
        """From sizes, ``Tensor(2, 3)``, with undefined content; or from data, in the default dtype.

        Another tensor is shared, in its own dtype.
        """
        resolve(device)
        if len(data) == 1 and not isinstance(data[0], int | np.integer | Size):
            source = data[0] if isinstance(data[0], Tensor) else tensor(data[0], dtype=dtypes.default_float())
        else:
            source = _functions().empty(*data) if data else tensor([])
        v = source._v
        self._v = Value(v.aval, None, v.buf) if v.entry is None and v.buf is not None else v
        if requires_grad:
            self.requires_grad_()

    # -- what it is -----------------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        """The sizes of the axes."""
        return Size(self._v.aval.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one axis."""
        if dim is None:
            return self.shape
        return self._v.aval.shape[_functions().axes_of("size", dim, self.ndim)[0] if self.ndim else dim]

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

    def ndimension(self) -> int:
        """Number of axes."""
        return self.ndim

    @property
    def device(self) -> device:
        """Where the elements are: always the CPU."""
        return CPU

    @property
    def layout(self) -> Any:
        """How elements lie in memory: always ``gradloom.strided``."""
        return strided

    is_cuda = is_sparse = is_sparse_csr = is_quantized = is_meta = is_mps = is_xpu = is_mkldnn = is_nested = False
    is_cpu = True

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel() * self.dtype.itemsize

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
            TAPE.flush(self._v)
        elif self._v.buf is None:
            self._buffer()
        if requires_grad and self._base is None and not TAPE.traces:  # gradients go by values: this one is its alone
            self._v = Value(self._v.aval, None, self._v.buf)
        self._rg = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether this is no result of something differentiable."""
        if self._rg:
            return True
        v = self._v
        e = v.entry
        return v.hist is None if e is None or e.prim is LEAF else not e.rg

    @property
    def grad_fn(self) -> Any:
        """The step that computed this, a :class:`gradloom.autodiff.nodes.Node`; None for leaves."""
        if self.is_leaf:
            return None
        from gradloom.autodiff.nodes import step_of

        return step_of(self)

    # -- looking --------------------------------------------------------------------------------------
    def _buffer(self) -> Buffer:
        v = self._v
        if v.buf is None:
            if v.entry is None and v in LATE:
                with TAPE.lock:
                    recalled(TAPE, v)
            if v.entry is not None:
                TAPE.peek(v) if TAPE.traces else TAPE.flush(v)
            if v.buf is None:
                raise InternalError(
                    "a tensor's value was lost by an earlier failure, or it escaped from a function that was recorded",
                    code="internal.lost",
                )
        if WATCHED:  # whoever has the memory may write there
            touched(v.buf.ptr)
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
        if self.dtype.category >= 2 or self.numel() != 1:
            raise DTypeError("only integer tensors of a single element can be an index", code="dtype.index")
        return int(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise ScalarError("a 0-d tensor has no length", code="shape.len")
        return self._v.aval.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise ScalarError("a 0-d tensor cannot be iterated", code="shape.iter")
        return iter(_functions().PUBLIC["unbind"](self, 0))

    def __reversed__(self) -> Tensor:
        return _functions().flip(self, 0) if self.ndim else self

    def __contains__(self, element: Any) -> bool:
        if not isinstance(element, Tensor | bool | int | float | complex | np.generic):
            raise DTypeError(
                f"a {type(element).__name__} cannot be an element of a tensor", code="dtype.contains",
                hint="ask for a number or a tensor",
            )  # fmt: skip
        return bool((self == element).any().item())

    def __repr__(self) -> str:
        from gradloom.printing import text

        return text(self)

    def __format__(self, spec: str) -> str:
        if not self.ndim:
            return format(self.item(), spec)
        return format(repr(self), spec) if spec else repr(self)

    def __hash__(self) -> int:
        return id(self)

    def __pos__(self) -> Tensor:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """For pickle and multiprocessing: values, whether gradients are asked for, and what was set on it."""
        more = {k: v for k, v in self.__dict__.items() if k not in Tensor.__dict__ and k != "_v"}
        return _unpickled, (type(self), self.detach().numpy(), self.requires_grad, more)

    def __deepcopy__(self, memo: dict) -> Tensor:
        if not self.is_leaf:
            raise GradientError(
                "deepcopy: a result of differentiable operations is not copied with its history",
                code="gradient.deepcopy", hint="use .clone(), or .detach().clone() to leave the history behind",
            )  # fmt: skip
        out = type(self).__new__(type(self))
        memo[id(self)] = out
        a = self.numpy()
        out._v = Value(Aval(tuple(a.shape), self.dtype), None, buffer_of(a))
        out._rg = self._rg
        if self.grad is not None:
            out.grad = self.grad.__deepcopy__(memo)
        return out

    def __copy__(self) -> Tensor:
        out = self.detach()
        out._rg = self._rg
        return out

    # -- differentiation --------------------------------------------------------------------------------
    def backward(
        self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False,
        inputs: Any = None,
    ) -> None:  # fmt: skip
        """Gradients of this value into the ``grad`` of the leaves; see :func:`gradloom.autodiff.reverse.backward`.

        inputs: into these alone, which may be results.
        """
        if inputs is not None:
            from gradloom.functions.hooks import backward_into

            backward_into(inputs, [self], [gradient], retain_graph, create_graph)
            return
        if Tensor._watched:
            from gradloom.functions.hooks import watched_backward as backward
        else:
            from gradloom.autodiff.reverse import backward

        backward(self, gradient, retain_graph, create_graph)

    def detach(self) -> Tensor:
        """The same values without their history; writes to either reach both."""
        G = _functions()
        return _view(self, G.detach, lambda base, new: G.detach(new), lambda shape, strides, offset: (strides, offset))

    def detach_(self) -> Tensor:
        """Cut this tensor off from its history."""
        self._v = _functions().detach(self)._v
        self._rg = False
        return self

    @property
    def data(self) -> Tensor:
        """The same values without history; assigning replaces the values, of which views keep the old ones."""
        return self.detach()

    @data.setter
    def data(self, new: Tensor) -> None:
        if TAPE.tensors and self._v.entry is not None:
            TAPE.flush()
        new._buffer()
        self._leave()
        self._v = Value(new._v.aval, None, new._v.buf)

    # -- cells and views ----------------------------------------------------------------------------------
    def _set_value(self, v: Value) -> None:
        """Point the cell to another value; views follow."""
        self._v = v
        self._writes += 1
        if self._views:
            self._refresh()

    def _refresh(self, skip: Tensor | None = None) -> None:
        gone = False
        for ref in self._views or ():
            view = ref()
            if view is None:
                gone = True
            elif view is not skip:
                assert view._redo is not None
                with _Quiet():
                    view._v = view._redo(self)._v
                view._refresh()
        if gone and self._views:
            self._views[:] = [r for r in self._views if r() is not None]

    def _become(self, view: Callable[[Tensor], Tensor]) -> Tensor:
        """Turn this tensor into a view of what it was, and its views into views of that."""
        if self._rg and MODES.grad:
            raise GradientError(
                "a leaf tensor that requires grad cannot change its shape in place", code="gradient.inplace",
                hint="wrap the change in no_grad(), or use the form without the underscore",
            )  # fmt: skip
        return self._take_over(view(self._leave()))

    def _leave(self) -> Tensor:
        """Be no view, and let views of this tensor be views of another handle: what it was, which is returned."""
        was = _make(self._v)
        was._base, was._redo, was._undo, was._strides = self._base, self._redo, self._undo, self._strides
        was._views = self._views
        for ref in was._views or ():
            other = ref()
            if other is not None:
                other._base = was
        if was._base is not None:
            siblings = was._base._views or []
            was._base._views = [r for r in siblings if r() is not self] + [weakref.ref(was)]
        self._base = self._redo = self._undo = self._strides = self._views = None
        return was

    def _take_over(self, view: Tensor) -> Tensor:
        """Be the view that another handle is."""
        self._v, self._base, self._redo, self._undo = view._v, view._base, view._redo, view._undo
        self._strides = view._strides
        assert view._base is not None and view._base._views is not None
        view._base._views[:] = [r for r in view._base._views if r() is not view] + [weakref.ref(self)]
        return self

    def _write(self, new: Tensor, inner: bool = False) -> Tensor:
        """In-place assignment of the whole cell."""
        G = _functions()
        if not inner and self._rg and MODES.grad:
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
            if MODES.grad and self._base._rg and self.requires_grad:
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


def _unpickled(kind: type[Tensor], values: np.ndarray, requires_grad: bool, more: dict[str, Any]) -> Tensor:
    """A tensor from what :meth:`Tensor.__reduce_ex__` wrote."""
    out = kind.__new__(kind)
    out._v = Value(Aval(tuple(values.shape), as_dtype(values.dtype)), None, buffer_of(values))
    out.__dict__.update(more)
    out._rg = requires_grad
    return out


class _Quiet:
    """Grad mode off."""

    def __enter__(self) -> None:
        self._before = MODES.grad

    def __exit__(self, *exc: object) -> None:
        MODES.grad = self._before


_G: Any = None


def _functions() -> Any:
    global _G
    if _G is None:
        from gradloom import functions

        _G = functions
    return _G


def _view(
    base: Tensor,
    redo: Callable[[Tensor], Tensor],
    undo: Callable[[Tensor, Tensor], Tensor],
    strides: Callable[[tuple, tuple, int], tuple[tuple, int]] | None = None,
) -> Tensor:
    """A view of ``base``: ``redo`` makes it from a base, ``undo`` gives the base after a write to the view.

    ``strides`` gives the view's strides and offset from the base's shape, strides and offset; without it the view
    counts as memory of its own.
    """
    out = redo(base)
    if out is base:
        if base._rg:  # the identity must still carry the gradient of a leaf
            return base
        out = _make(base._v)
    out._base, out._redo, out._undo, out._strides = base, redo, undo, strides
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
    if not isinstance(a, np.ndarray | np.generic):
        raise DTypeError(
            f"from_numpy: expected a NumPy array, got {type(a).__name__}",
            code="dtype.argument",
            hint="lists and numbers become tensors by gradloom.tensor",
        )
    d = as_dtype(a.dtype)
    if not a.flags.c_contiguous or a.dtype != d.numpy or not a.flags.aligned:
        a = np.ascontiguousarray(a, d.numpy)
    return _make(Value(Aval(tuple(a.shape), d), None, _wrap(a) if a.size else buffer_of(a)))


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of numbers, nested lists, arrays or tensors; arrays and tensors are shared where possible."""
    resolve(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(as_dtype(dtype))
    if isinstance(data, np.ndarray):
        t = from_numpy(data)
        return t if dtype is None else t.to(as_dtype(dtype))
    return tensor(data, dtype=dtype)


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A new tensor with a copy of the data: numbers, arrays, tensors, and lists of them at any depth.

    Python floats become the default dtype, integers int64; arrays and tensors keep theirs.

    Raises
    ------
    ShapeError: where nested lists are ragged. DTypeError: where the data are no numbers.
    """
    check_options(device=device, pin_memory=pin_memory)
    if isinstance(data, Tensor):
        a = data.numpy()
    else:
        try:
            a = np.asarray(data)
        except ValueError as e:
            raise ShapeError(f"tensor: nested lists of unequal lengths ({e})", code="shape.ragged") from None
    if a.dtype == object and dtype is not None and (d := as_dtype(dtype)).category != dtypes.INTEGER:
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # integers of more than 64 bits
            a = np.asarray(data, (bool, None, np.float64, np.complex128)[d.category])
    if a.dtype == object or a.dtype.kind in "US":
        raise DTypeError(
            f"tensor: data of type {type(data).__name__} are no numbers", code="dtype.data",
            hint="give numbers, arrays, tensors, or lists of them",
        )  # fmt: skip
    if dtype is not None:
        d = as_dtype(dtype)
        if d.name == "uint64" and a.dtype.kind == "f" and isinstance(data, list | tuple):
            a = np.asarray(data, object)  # NumPy takes integers of 2**63 and more beside others for floats
    elif isinstance(data, np.ndarray | np.generic | Tensor) or hasattr(data, "__array__"):  # columns and frames too
        d = as_dtype(a.dtype)
    else:
        d = _inferred(data, a)
    with np.errstate(all="ignore"):
        a = a.astype(d.numpy, copy=False)
    t = _make(Value(Aval(tuple(a.shape), d), None, buffer_of(np.ascontiguousarray(a) if a.ndim else a)))
    return t.requires_grad_() if requires_grad else t


def _inferred(data: Any, a: np.ndarray) -> DType:
    """The dtype of nested lists that NumPy made ``a`` of: that of arrays and tensors in them, else the default."""
    while isinstance(data, list | tuple) and data:
        data = data[0]
    if isinstance(data, np.generic) or (isinstance(data, Tensor | np.ndarray) and data.ndim):
        return as_dtype(a.dtype)
    if isinstance(data, Tensor) and a.dtype.kind == np.dtype(data.dtype.numpy).kind:
        return data.dtype
    default = {"f": dtypes.default_float, "c": dtypes.default_complex}.get(a.dtype.kind)
    return default() if default is not None else as_dtype(a.dtype)
