"""Forms of views that copy (``squeeze_copy``), and that give the base with the view replaced (``select_scatter``)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gradloom.errors import ShapeError
from gradloom.functions import overlaps, pieces, views
from gradloom.functions.base import operand
from gradloom.functions.complex_numbers import view_as_complex, view_as_real
from gradloom.functions.elementwise import cast
from gradloom.functions.layouts import clone
from gradloom.tensor import Tensor, _make

__all__ = (
    "alias_copy as_strided_copy as_strided_scatter detach_copy diagonal_copy diagonal_scatter expand_copy narrow_copy "
    "permute_copy select_copy select_scatter slice_copy slice_scatter split_copy split_with_sizes_copy squeeze_copy "
    "t_copy transpose_copy unbind_copy unfold_copy unsqueeze_copy view_as_complex_copy view_as_real_copy view_copy"
).split()
FUNCTION_ONLY = [n for n in __all__ if n.endswith("_copy") and n != "narrow_copy"]


def _apart(view: Tensor, base: Tensor) -> Tensor:
    """A view's value in a tensor of its own."""
    return clone(base) if view is base else _make(view._v)


def _copying(fn: Callable[..., Any]) -> Callable[..., Any]:
    name = f"{fn.__name__}_copy"

    def copy(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        out = fn(input, *args, **kwargs)
        return tuple(_apart(v, input) for v in out) if isinstance(out, tuple) else _apart(out, input)

    copy.__name__ = copy.__qualname__ = name
    copy.__doc__ = f"As ``{fn.__name__}``, a copy instead of a view."
    return copy


def _alias(input: Tensor) -> Tensor:
    return input


_alias.__name__ = "alias"

alias_copy = _copying(_alias)
as_strided_copy = _copying(overlaps.as_strided)
diagonal_copy = _copying(pieces.diagonal)
expand_copy = _copying(overlaps.expand)
narrow_copy = _copying(pieces.narrow)
permute_copy = _copying(views.permute)
select_copy = _copying(pieces.select)
slice_copy = _copying(pieces.slice)
split_copy = _copying(pieces.split)
split_with_sizes_copy = _copying(pieces.split_with_sizes)
squeeze_copy = _copying(views.squeeze)
t_copy = _copying(views.t)
transpose_copy = _copying(views.transpose)
unbind_copy = _copying(pieces.unbind)
unfold_copy = _copying(overlaps.unfold)
unsqueeze_copy = _copying(views.unsqueeze)
view_as_complex_copy = _copying(view_as_complex)
view_as_real_copy = _copying(view_as_real)
view_copy = _copying(views.view)


def detach_copy(input: Tensor) -> Tensor:
    """A copy without history."""
    return clone(input.detach())


def _scattered(name: str, input: Tensor, src: Any, view: Callable[[Tensor], Tensor]) -> Tensor:
    """``input`` with a view of it replaced by ``src``."""
    x, new = operand(input), operand(src)
    part = view(clone(x))
    if part.shape != new.shape:
        raise ShapeError(
            f"{name}: src has shape {tuple(new.shape)}, the part it replaces {tuple(part.shape)}", code=f"shape.{name}"
        )
    assert part._undo is not None
    return part._undo(x, cast(new, x.dtype))


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """``input`` with a diagonal replaced. Raises ShapeError where ``src`` has not the diagonal's shape."""
    return _scattered("diagonal_scatter", input, src, functools.partial(
        pieces.diagonal, offset=offset, dim1=dim1, dim2=dim2))  # fmt: skip


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """``input`` with entry ``index`` of an axis replaced."""
    return _scattered("select_scatter", input, src, lambda x: pieces.select(x, dim, index))


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """``input`` with ``[start:end:step]`` of an axis replaced."""
    return _scattered("slice_scatter", input, src, lambda x: pieces.slice(x, dim, start, end, step))


def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """``input`` with the elements at sizes, strides and an offset replaced; the last of several at one place counts."""
    return _scattered("as_strided_scatter", input, src, lambda x: overlaps.as_strided(x, size, stride, storage_offset))
