"""Trees: tuples, lists, dictionaries, named tuples and registered classes with tensors or other values at their leaves.

None is a node without leaves. Dictionaries keep the order of their keys; two are alike where their keys are.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gradloom.errors import ShapeError

__all__ = ["Tree", "flatten", "leaves_of", "map_leaves", "register", "register_dataclass", "spread", "unflatten"]


class Tree(NamedTuple):
    """The structure of a tree. kind: a type, or None for a leaf; meta: keys or what the type's own rule keeps."""

    kind: Any
    meta: Any
    children: tuple[Tree, ...]

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is None else sum(c.leaves for c in self.children)


LEAF = Tree(None, None, ())
_registered: dict[type, tuple[Callable[[Any], tuple[Sequence[Any], Any]], Callable[[Any, Sequence[Any]], Any]]] = {}


def register(
    cls: type, take: Callable[[Any], tuple[Sequence[Any], Any]], make: Callable[[Any, Sequence[Any]], Any]
) -> None:
    """Let a class be a node: ``take(x)`` gives (children, hashable rest), ``make(rest, children)`` an instance."""
    _registered[cls] = (take, make)


def register_dataclass(cls: type) -> type:
    """Let a dataclass be a node, its fields the children. Usable as a decorator."""
    names = tuple(f.name for f in dataclasses.fields(cls))
    register(cls, lambda x: ([getattr(x, n) for n in names], names), lambda meta, xs: cls(**dict(zip(meta, xs))))
    return cls


def _open(x: Any) -> tuple[Sequence[Any], Any, Any] | None:
    """(children, kind, meta) of a node, None for a leaf."""
    kind = type(x)
    if x is None:
        return (), type(None), None
    if kind is tuple or kind is list:
        return x, kind, None
    if kind is dict or kind is OrderedDict:
        return list(x.values()), kind, tuple(x)
    if kind in _registered:
        children, meta = _registered[kind][0](x)
        return children, kind, meta
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return x, kind, None
    if isinstance(x, (tuple, list)):
        return x, tuple if isinstance(x, tuple) else list, None
    return None


# functions that call themselves stand here and not inside of others: a closure that refers to itself would keep the
# leaves alive until the garbage collector comes by
def _walk(x: Any, leaves: list[Any]) -> Tree:
    opened = _open(x)
    if opened is None:
        leaves.append(x)
        return LEAF
    children, kind, meta = opened
    return Tree(kind, meta, tuple(_walk(c, leaves) for c in children))


def flatten(tree: Any) -> tuple[list[Any], Tree]:
    """The leaves from left to right, and the structure."""
    leaves: list[Any] = []
    return leaves, _walk(tree, leaves)


def _make(t: Tree, it: Iterator[Any]) -> Any:
    if t.kind is None:
        return next(it)
    children = [_make(c, it) for c in t.children]
    if t.kind is type(None):
        return None
    if t.kind in (dict, OrderedDict):
        return t.kind(zip(t.meta, children, strict=True))
    if t.kind in _registered:
        return _registered[t.kind][1](t.meta, children)
    return t.kind(children) if t.kind in (tuple, list) else t.kind(*children)


def unflatten(tree: Tree, leaves: Sequence[Any]) -> Any:
    """The tree of this structure with these leaves."""
    return _make(tree, iter(leaves))


def leaves_of(tree: Any) -> list[Any]:
    """The leaves from left to right."""
    return flatten(tree)[0]


def map_leaves(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """``fn`` of each leaf, and of the leaves at its place in trees of the same structure."""
    leaves, shape = flatten(tree)
    rest = [flatten(o)[0] for o in others]
    return unflatten(shape, [fn(*xs) for xs in zip(leaves, *rest, strict=True)])


def spread(name: str, prefix: Any, tree: Tree) -> list[Any]:
    """Values for all leaves of ``tree`` from a tree that stops earlier: one stands for all leaves below its place.

    None is such a value. Raises ShapeError where it is no prefix.
    """
    out: list[Any] = []
    _spread(name, prefix, tree, out)
    return out


def _spread(name: str, p: Any, t: Tree, out: list[Any]) -> None:
    opened = None if p is None else _open(p)
    if opened is None:
        out.extend([p] * t.leaves)
        return
    children, kind, meta = opened
    alike = t.kind is not None and len(children) == len(t.children)
    sequences = (tuple, list)
    if not alike or (kind is not t.kind and not (kind in sequences and t.kind in sequences)):
        raise ShapeError(
            f"{name} {p!r} does not fit the structure of the values", code="transform.tree",
            hint="give one value for all, or a tree that is the beginning of theirs",
        )  # fmt: skip
    order = list(range(len(children)))
    if meta != t.meta and kind in (dict, OrderedDict):
        if set(meta) != set(t.meta):
            raise ShapeError(f"{name} has the keys {meta}, the values have {t.meta}", code="transform.tree")
        order = [meta.index(k) for k in t.meta]
    for k, c in zip(order, t.children, strict=True):
        _spread(name, children[k], c, out)
