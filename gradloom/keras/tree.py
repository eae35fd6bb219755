"""Structures of lists, tuples, named tuples and dicts, their leaves in order (dicts by sorted keys); ``keras.tree``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = [
    "assert_same_structure",
    "flatten",
    "flatten_with_path",
    "is_nested",
    "lists_to_tuples",
    "map_shape_structure",
    "map_structure",
    "map_structure_up_to",
    "pack_sequence_as",
    "traverse",
]


def is_nested(structure: Any) -> bool:
    """Whether this is a list, tuple or dict."""
    return isinstance(structure, (list, tuple, dict))


def _children(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, dict):
        try:
            keys = sorted(node)
        except TypeError:
            keys = list(node)
        return [(k, node[k]) for k in keys]
    return list(enumerate(node))


def _rebuilt(node: Any, values: Iterable[Any]) -> Any:
    """A structure like ``node`` of new children, given in the order of :func:`_children`."""
    if isinstance(node, dict):
        new = dict(zip((k for k, _ in _children(node)), values))
        ordered = {k: new[k] for k in node}
        return ordered if type(node) is dict else type(node)(ordered)
    values = list(values)
    if isinstance(node, tuple):
        return type(node)(*values) if hasattr(node, "_fields") else tuple(values)
    return values


def flatten_with_path(structure: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """(path, leaf) for each leaf; a path is made of keys and indices."""
    found: list[tuple[tuple[Any, ...], Any]] = []
    todo: list[tuple[tuple[Any, ...], Any]] = [((), structure)]
    while todo:
        path, node = todo.pop()
        if is_nested(node):
            todo.extend(((*path, k), child) for k, child in reversed(_children(node)))
        else:
            found.append((path, node))
    return found


def flatten(structure: Any) -> list[Any]:
    """The leaves in order."""
    if not is_nested(structure):
        return [structure]
    return [leaf for _, leaf in flatten_with_path(structure)]


def traverse(func: Callable[[Any], Any], structure: Any, top_down: bool = True) -> Any:
    """Replace each part by what ``func`` gives for it; None leaves it as it is. Parents first unless told otherwise."""
    if top_down:
        new = func(structure)
        if new is not None:
            return new
    if is_nested(structure):
        structure = _rebuilt(structure, [traverse(func, child, top_down) for _, child in _children(structure)])
    if not top_down:
        new = func(structure)
        return structure if new is None else new
    return structure


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """A structure of what ``func`` gives for the leaves at each place. ValueError where the structures differ."""
    first, *rest = structures
    if not is_nested(first):
        return None if first is None and not none_is_leaf else func(*structures)
    for other in rest:
        if not is_nested(other) or len(other) != len(first) or isinstance(other, dict) != isinstance(first, dict):
            raise ValueError(f"the structures differ: {first} and {other}")
    columns = [[child for _, child in _children(s)] for s in structures]
    return _rebuilt(first, [map_structure(func, *row, none_is_leaf=none_is_leaf) for row in zip(*columns)])


def map_structure_up_to(shallow_structure: Any, func: Callable[..., Any], *structures: Any) -> Any:
    """As :func:`map_structure`, with whatever stands where ``shallow_structure`` ends taken as a leaf."""
    if not is_nested(shallow_structure):
        return func(*structures)
    columns = [[child for _, child in _children(s)] for s in structures]
    rows = zip((child for _, child in _children(shallow_structure)), *columns)
    return _rebuilt(shallow_structure, [map_structure_up_to(head, func, *row) for head, *row in rows])


def is_shape(value: Any) -> bool:
    """Whether this is a tuple or list of sizes."""
    return isinstance(value, (list, tuple)) and all(d is None or isinstance(d, int) for d in value)


def map_shape_structure(func: Callable[[Any], Any], structure: Any) -> Any:
    """As :func:`map_structure`, with shapes as leaves."""
    if is_shape(structure):
        return func(tuple(structure))
    if not is_nested(structure):
        raise ValueError(f"cannot map a function to {structure!r}")
    return _rebuilt(structure, [map_shape_structure(func, child) for _, child in _children(structure)])


def pack_sequence_as(structure: Any, flat_sequence: Sequence[Any]) -> Any:
    """The leaves in ``flat_sequence`` in the form of ``structure``. ValueError where their numbers differ."""
    leaves = list(flat_sequence)
    if not is_nested(structure):
        if len(leaves) != 1:
            raise ValueError(f"one leaf was expected, {len(leaves)} were given")
        return leaves[0]
    count = len(flatten(structure))
    if count != len(leaves):
        raise ValueError(f"the structure has {count} leaves, {len(leaves)} were given")
    rest = iter(leaves)
    return map_structure(lambda _: next(rest), structure)


def lists_to_tuples(structure: Any) -> Any:
    """The structure with tuples in place of lists."""
    return traverse(lambda s: tuple(s) if isinstance(s, list) else None, structure, top_down=False)


def assert_same_structure(a: Any, b: Any, check_types: bool | None = None) -> None:
    """ValueError where the structures differ."""
    map_structure(lambda x, y: None, a, b)
    if check_types and type(a) is not type(b):
        raise TypeError(f"{type(a).__name__} and {type(b).__name__} differ")
