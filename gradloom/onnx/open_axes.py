"""Which axes of the inputs are open, told in either of PyTorch's two ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradloom.autodiff.trees import flatten
from gradloom.errors import ArgumentError
from gradloom.tensor import Tensor

__all__ = ["Axis", "Dim", "open_axes"]


class Dim(NamedTuple):
    """The name of an open axis, and the sizes that it may have."""

    name: str
    min: int = 1
    max: int | None = None


class Axis(NamedTuple):
    """An open axis of an input. named: axes of the same name have one size."""

    input: int
    axis: int
    name: str
    named: bool
    least: int = 2
    most: int | None = None


def open_axes(
    model: Any, given: tuple, named: Mapping[str, Any], names: Sequence[str], ranks: Sequence[int],
    dynamic_axes: Any, dynamic_shapes: Any,
) -> list[Axis]:  # fmt: skip
    """The open axes. Raises ArgumentError for arguments and axes that there are not, or both ways at once."""
    if dynamic_axes and dynamic_shapes:
        raise ArgumentError("export: give dynamic_axes or dynamic_shapes, not both", code="onnx.axes")
    found: list[Axis] = []
    if dynamic_axes:
        for name, axes in dict(dynamic_axes).items():
            if name in names:  # those of outputs follow
                listed = dict(axes) if isinstance(axes, Mapping) else dict.fromkeys(axes, True)
                found += _of_input(names.index(name), name, listed, ranks)
        return found
    if dynamic_shapes:
        specs = _by_argument(model, given, named, dynamic_shapes)
        at = 0
        for (label, x), spec in specs:
            tensors = [t for t in flatten(x)[0] if isinstance(t, Tensor)]
            each = [spec] if isinstance(x, Tensor) else _spread(label, spec, len(tensors))
            for s in each:
                found += _of_input(at, names[at], _listed(label, s), ranks)
                at += 1
    return found


def _by_argument(model: Any, given: tuple, named: Mapping[str, Any], shapes: Any) -> list[tuple[tuple[str, Any], Any]]:
    """(name, argument) and what is said of it."""
    from gradloom.onnx.program import parameters_of

    arguments = [*zip(parameters_of(model, len(given)), given), *named.items()]
    if isinstance(shapes, Mapping):
        unknown = sorted(set(shapes) - {n for n, _ in arguments})
        if unknown:
            raise ArgumentError(
                f"export: dynamic_shapes names {unknown}, the arguments are {[n for n, _ in arguments]}",
                code="onnx.axes",
            )  # fmt: skip
        return [(a, shapes.get(a[0])) for a in arguments]
    if len(shapes) != len(arguments):
        raise ArgumentError(
            f"export: dynamic_shapes has {len(shapes)} entries for {len(arguments)} arguments", code="onnx.axes"
        )
    return list(zip(arguments, shapes))


def _spread(label: str, spec: Any, count: int) -> list[Any]:
    if spec is None:
        return [None] * count
    every = list(spec.values()) if isinstance(spec, Mapping) else list(spec)
    if len(every) != count:
        raise ArgumentError(
            f"export: dynamic_shapes of {label!r} has {len(every)} entries for {count} tensors", code="onnx.axes"
        )
    return every


def _listed(label: str, spec: Any) -> dict[int, Any]:
    if spec is None:
        return {}
    if isinstance(spec, Mapping):
        return dict(spec)
    if isinstance(spec, (list, tuple)) and not isinstance(spec, Dim):
        return dict(enumerate(spec))
    raise ArgumentError(
        f"export: dynamic_shapes of {label!r} is a {type(spec).__name__}, expected a dict of axes or a list",
        code="onnx.axes",
    )  # fmt: skip


def _of_input(at: int, label: str, axes: Mapping[int, Any], ranks: Sequence[int]) -> list[Axis]:
    out = []
    for axis, what in axes.items():
        if what is None or what is False:
            continue
        if not isinstance(axis, int) or not -ranks[at] <= axis < ranks[at]:
            raise ArgumentError(
                f"export: input {label!r} has {ranks[at]} axes, there is no axis {axis!r}", code="onnx.axes"
            )
        k = axis % ranks[at]
        name = what if isinstance(what, str) else getattr(what, "name", None) or getattr(what, "__name__", None)
        named = isinstance(name, str) and name not in ("AUTO", "DYNAMIC")
        least, most = getattr(what, "min", None), getattr(what, "max", None)
        out.append(
            Axis(at, k, name if named else f"{label}_dim_{k}", named, max(least or 2, 2), most)  # type: ignore[arg-type]
        )  # fmt: skip
    return out
