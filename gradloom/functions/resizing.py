"""A tensor's own shape changed in place: ``unsqueeze_``, ``transpose_``, ``resize_`` and their kin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradloom.errors import DTypeError, GradientError, ShapeError
from gradloom.functions import overlaps, views
from gradloom.functions.base import apply, sizes_of
from gradloom.functions.creation import empty
from gradloom.functions.movement import cat, reshape, slice_axis
from gradloom.ops import structure as S
from gradloom.options import check_options
from gradloom.tape import MODES
from gradloom.tensor import Tensor

__all__: list[str] = []
METHODS = ("as_strided_ resize_ resize_as_ set_ squeeze_ swapaxes_ swapdims_ t_ transpose_ unsqueeze_").split()


def _in_place(view: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self._become(lambda was: view(was, *args, **kwargs))

    method.__name__ = method.__qualname__ = f"{view.__name__}_"
    method.__doc__ = f"As ``{view.__name__}``, of this tensor itself; views of it keep the shape that they had."
    return method


as_strided_ = _in_place(overlaps.as_strided)
squeeze_ = _in_place(views.squeeze)
swapaxes_ = _in_place(views.swapaxes)
swapdims_ = _in_place(views.swapdims)
t_ = _in_place(views.t)
transpose_ = _in_place(views.transpose)
unsqueeze_ = _in_place(views.unsqueeze)


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Brought to a shape: the elements in order, cut off where there are fewer, undefined ones behind where more.

    Raises GradientError for a tensor that requires grad.
    """
    check_options(memory_format=memory_format)
    if self.requires_grad:
        raise GradientError(
            "resize_: a tensor that requires grad cannot be resized", code="gradient.inplace",
            hint="use reshape, narrow or cat",
        )  # fmt: skip
    shape = sizes_of(sizes)
    if min(shape, default=0) < 0:
        raise ShapeError(f"resize_: shape {shape} has a negative size", code="shape.resize")
    old, new = self.numel(), math.prod(shape)
    flat = reshape(self, (old,))
    if new > old:
        flat = cat([flat, empty(new - old, dtype=self.dtype)])
    elif new < old:
        flat = slice_axis(flat, 0, 0, new)
    self._leave()
    self._v = apply(S.reshape, (flat,), (shape,))._v
    return self


def resize_as_(self: Tensor, other: Tensor, memory_format: Any = None) -> Tensor:
    """As :meth:`resize_`, to another tensor's shape."""
    return resize_(self, tuple(other.shape), memory_format=memory_format)


def set_(self: Tensor, source: Tensor) -> Tensor:
    """Made to share all of ``source``, which must have this dtype: writes to either reach both.

    A leaf that requires grad may be changed so under ``no_grad()``. Raises GradientError for one that is not, and for
    such a source.
    """
    if source.dtype is not self.dtype:
        raise DTypeError(
            f"set_: the source has dtype {source.dtype.name}, this tensor {self.dtype.name}", code="dtype.set",
            hint="convert it with .to(dtype)",
        )  # fmt: skip
    if source is self:
        return self
    if source.requires_grad or (self.requires_grad and (MODES.grad or not self.is_leaf or self._base is not None)):
        raise GradientError(
            "set_: neither tensor may require grad", code="gradient.inplace",
            hint="use .detach(), assign to .data, or set a leaf within no_grad()",
        )  # fmt: skip
    if self.requires_grad:  # it stays the cell that gradients go by
        self.data = source
        if source._base is None:
            views.follow(source, self)
        return self
    self._leave()
    return self._take_over(views.view(source, tuple(source.shape)))
