"""What a module registers when it is assigned as an attribute: parameters, buffers, and those without a shape yet."""

from __future__ import annotations

from typing import Any, NoReturn

from gradloom.dtypes import DType, as_dtype, default_float
from gradloom.errors import DTypeError, StateError
from gradloom.functions.base import sizes_of
from gradloom.functions.creation import empty
from gradloom.functions.views import follow
from gradloom.modes import no_grad
from gradloom.tensor import Tensor, tensor

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


def _own(self: Tensor, data: Any) -> None:
    """Start a tensor as a cell of its own, not a view: an update then rewrites the memory in place.

    What it was made of becomes its view instead, so that writes to either reach both.
    """
    source = data if isinstance(data, Tensor) else tensor(data if data is not None else [])
    with no_grad():
        Tensor.__init__(self, source if source.is_leaf else source.detach())
    if type(source) is Tensor and source.is_leaf and not source.requires_grad and source._base is None:
        follow(source, self)


class Parameter(Tensor):
    """A tensor that a module registers as trainable when it is assigned as an attribute.

    Parameters
    ----------
    data : Tensor or array
        The value, of any shape. A tensor without gradient and base shares its memory: later writes reach both.
    requires_grad : bool
        Whether `backward()` accumulates a gradient for it.

    Raises
    ------
    DTypeError
        If a gradient is asked for values that are neither floating nor complex.
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        source = data if isinstance(data, Tensor) else tensor(data if data is not None else [])
        if requires_grad and source.dtype.category < 2:
            raise DTypeError(
                f"a Parameter of dtype {source.dtype.name} cannot have a gradient",
                code="dtype.parameter",
                hint="convert the values with .float(), or pass requires_grad=False",
            )
        _own(self, source)
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that a module registers as a buffer when it is assigned as an attribute.

    Parameters
    ----------
    data : Tensor or array
        The value, of any shape.
    persistent : bool
        Whether it stands in the module's `state_dict`.
    """

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        _own(self, data)
        self.persistent = persistent


class _Uninitialized:
    """What has a dtype and no shape yet; `materialize` gives it one."""

    _becomes: type

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Take a shape, and memory with undefined content; the class becomes that of an ordinary one."""
        value = empty(sizes_of((shape,)), dtype=self._wanted if dtype is None else as_dtype(dtype), device=device)
        self._set_value(value._v)  # type: ignore[attr-defined]
        self.__class__ = self._becomes  # type: ignore[assignment]

    def convert(self, fn: Any) -> None:
        """Take the dtype that a conversion of tensors gives."""
        new = fn(empty(0, dtype=self._wanted))
        new._buffer()
        self._set_value(new._v)  # type: ignore[attr-defined]

    def _no_value(self, what: str) -> NoReturn:
        raise StateError(
            f"{what} of a parameter or buffer that is not initialized: its shape is not known yet",
            code="state.uninitialized",
            hint="run one batch through the lazy module first",
        )

    @property
    def shape(self) -> NoReturn:
        """Not known yet: raises StateError."""
        self._no_value("the shape")

    @property
    def _wanted(self) -> DType:
        return self._v.aval.dtype  # type: ignore[attr-defined,no-any-return]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter of a lazy module, before the first batch has told its shape."""

    _becomes = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        Parameter.__init__(self, empty(0, device=device, dtype=dtype or default_float()), requires_grad)

    def __deepcopy__(self, memo: dict) -> UninitializedParameter:
        out = memo[id(self)] = UninitializedParameter(self.requires_grad, None, self._wanted)
        return out

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (self.requires_grad, None, self._wanted)


class UninitializedBuffer(_Uninitialized, Tensor):
    """A buffer of a lazy module, before the first batch has told its shape."""

    _becomes = Tensor

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> None:
        _own(self, empty(0, device=device, dtype=dtype or default_float()))
        self.requires_grad = requires_grad

    def __deepcopy__(self, memo: dict) -> UninitializedBuffer:
        out = memo[id(self)] = UninitializedBuffer(self.requires_grad, None, self._wanted)
        return out

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (self.requires_grad, None, self._wanted)


def new_parameter(shape: tuple[int, ...] | int, lazy: bool, device: Any, dtype: Any) -> Parameter:
    """A parameter with undefined content, or one that learns its shape later."""
    if lazy:
        return UninitializedParameter(device=device, dtype=dtype)
    return Parameter(empty(shape, device=device, dtype=dtype))


def is_lazy(value: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(value, _Uninitialized)
