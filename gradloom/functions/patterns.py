"""``rearrange``: axes named in a pattern, put in another order, taken apart and joined (Rogozhnikov 2022)."""

from __future__ import annotations

import math

from gradloom.errors import ShapeError
from gradloom.functions.views import permute, reshape
from gradloom.tensor import Tensor

__all__ = ["rearrange"]


def _parsed(side: str, pattern: str) -> list[list[str]]:
    """The groups of a side, each a list of names; ``...`` is a name of its own, 1 an empty group."""
    groups: list[list[str]] = []
    inside = False
    for token in side.replace("(", " ( ").replace(")", " ) ").replace("...", " ... ").split():
        if token in "()":
            if (token == "(") == inside:
                raise ShapeError(f"rearrange: brackets do not match in {pattern!r}", code="shape.rearrange")
            inside = token == "("
            if inside:
                groups.append([])
        elif token != "..." and token != "1" and not token.isidentifier():
            raise ShapeError(
                f"rearrange: {token!r} in {pattern!r} is no name of an axis", code="shape.rearrange",
                hint="names are letters, digits and underscores; 1 stands for an axis of size 1",
            )  # fmt: skip
        elif inside:
            groups[-1].extend([] if token == "1" else [token])
        else:
            groups.append([] if token == "1" else [token])
    if inside:
        raise ShapeError(f"rearrange: brackets do not match in {pattern!r}", code="shape.rearrange")
    return groups


def rearrange(tensor: Tensor, pattern: str, **axes_lengths: int) -> Tensor:
    """The elements in the order that a pattern says: ``rearrange(x, "b (h w) c -> b c h w", h=4)``.

    Names stand for axes, ``(a b)`` for an axis that is taken apart into, or joined from, several; ``...`` for all axes
    that are not named. ``axes_lengths``: lengths of axes that the shape does not tell.

    Raises
    ------
    ShapeError: where the pattern is no rearrangement, or does not fit the shape.
    """
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ShapeError(f"rearrange: {pattern!r} needs one '->'", code="shape.rearrange", hint="'b h -> h b'")
    left, right = (_parsed(s, pattern) for s in sides)
    names = [n for g in left for n in g]
    if sorted(names) != sorted(n for g in right for n in g) or len(set(names)) != len(names):
        raise ShapeError(
            f"rearrange: both sides of {pattern!r} must have the same names, each once", code="shape.rearrange"
        )
    wide = tensor.ndim - len(left) + 1 if "..." in names else 0
    if wide < 0 or (not wide and "..." not in names and len(left) != tensor.ndim):
        raise ShapeError(
            f"rearrange: {pattern!r} names {len(left)} axes, the tensor has shape {tuple(tensor.shape)}",
            code="shape.rearrange",
        )
    sizes: dict[str, int] = dict(axes_lengths)
    many = [f"...{k}" for k in range(wide)]
    left = [part for g in left for part in ([[n] for n in many] if g == ["..."] else [g])]
    right = [
        [x for n in part for x in (many if n == "..." else [n])]
        for g in right
        for part in ([[n] for n in many] if g == ["..."] else [g])
    ]
    for group, n in zip(left, tensor.shape, strict=True):
        open_ = [g for g in group if g not in sizes]
        known = math.prod(sizes[g] for g in group if g in sizes)
        if len(open_) > 1 or (n != known if not open_ else not known or n % known):
            raise ShapeError(
                f"rearrange: an axis of size {n} is not ({' '.join(group)}) with {sizes}", code="shape.rearrange",
                hint="name the lengths that the shape does not tell: h=4",
            )  # fmt: skip
        if open_:
            sizes[open_[0]] = n // known
    flat = [g for group in left for g in group]
    x = permute(reshape(tensor, tuple(sizes[g] for g in flat)), tuple(flat.index(g) for grp in right for g in grp))
    return reshape(x, tuple(math.prod(sizes[g] for g in group) for group in right))
