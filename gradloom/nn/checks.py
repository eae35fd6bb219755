"""Checks of shapes and options that layers and losses share, with errors that say what to do."""

from __future__ import annotations

from gradloom.errors import ShapeError
from gradloom.tensor import Tensor

REDUCTIONS = ("none", "mean", "sum")


def reduction_name(reduction: str, extra: tuple[str, ...] = ()) -> str:
    """Return the name, or raise ValueError with the names there are."""
    if reduction not in REDUCTIONS + extra:
        raise ValueError(f"reduction is one of {', '.join(REDUCTIONS + extra)}, not {reduction!r}")
    return reduction


def same_shape(input: Tensor, target: Tensor, name: str) -> None:
    """Raise ShapeError unless both shapes are equal: a loss never broadcasts its target."""
    a, b = tuple(input.shape), tuple(target.shape)
    if a == b:
        return
    if a == (*b, 1):
        hint = "the input has an axis of length 1 at the end: input.squeeze(-1), or target.unsqueeze(-1)"
    elif b == (*a, 1):
        hint = "the target has an axis of length 1 at the end: target.squeeze(-1), or input.unsqueeze(-1)"
    else:
        hint = "bring both to one shape; a loss does not broadcast"
    raise ShapeError(f"{name}: input has shape {a}, target has shape {b}", code="shape.loss", hint=hint)


def even_axis(input: Tensor, dim: int, name: str) -> int:
    """The axis counted from the front; ShapeError unless it is there and of even length."""
    shape = tuple(input.shape)
    if not -len(shape) <= dim < len(shape) or shape[dim] % 2:
        raise ShapeError(
            f"{name}: axis {dim} of shape {shape} cannot be halved",
            code="shape.halves",
            hint="choose an axis of even length",
        )
    return dim % len(shape)


def linear_shapes(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Raise ShapeError unless input (..., in), weight (out, in) and bias (out,) fit."""
    a, w = tuple(input.shape), tuple(weight.shape)
    if len(w) not in (1, 2):
        raise ShapeError(f"linear: weight has shape {w}", code="shape.linear", hint="a weight has shape (out, in)")
    if not a or a[-1] != w[-1]:
        rest = a[1:]
        size = 1
        for length in rest:
            size *= length
        flat = len(rest) > 1 and size == w[-1]
        raise ShapeError(
            f"linear: input of shape {a} has {a[-1] if a else 'no'} features on its last axis, "
            f"weight of shape {w} takes {w[-1]}",
            code="shape.linear",
            hint="flatten first: nn.Flatten() or x.flatten(1)" if flat else "in_features must equal the last axis",
        )
    if bias is not None and tuple(bias.shape) != w[:-1]:
        raise ShapeError(
            f"linear: bias has shape {tuple(bias.shape)}, weight of shape {w} needs {w[:-1]}",
            code="shape.linear",
            hint="a bias has one entry for each output",
        )
