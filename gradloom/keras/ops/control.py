"""``keras.ops`` of loops and branches, of writing by index, of sums over segments, of one's own gradients."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.autodiff import control
from gradloom.autodiff.custom import custom_vjp
from gradloom.autodiff.vmap import vmap
from gradloom.functions import PUBLIC
from gradloom.keras import config, tree
from gradloom.keras.operations import as_tensor, operation
from gradloom.keras.ops.arrays import _of_list
from gradloom.tensor import Tensor

TABLE: dict[str, Callable[..., Any]] = {}


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None,
    reverse: bool = False, unroll: Any = 1,
) -> Any:  # fmt: skip
    """``carry, y = f(carry, x)`` for each entry of the first axis: the last carry and all ``y``.

    Parameters
    ----------
    unroll : True writes the loop out; a number of steps at once is chosen by the compiler, whatever is said.
    """
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
        raise ValueError(f"`unroll` must be a positive integer or boolean. Received: unroll={unroll}")
    if xs is None and length is None:
        raise ValueError("Got no `xs` to scan over and `length` not provided.")
    state = tree.map_structure(as_tensor, init, none_is_leaf=False)
    given = None if xs is None else tree.map_structure(as_tensor, xs, none_is_leaf=False)
    if unroll is not True:
        return control.scan(f, state, given, length, bool(reverse))
    count = int(length or 0) if given is None else tree.flatten(given)[0].shape[0]
    found: list[Any] = []
    for t in range(count - 1, -1, -1) if reverse else range(count):
        row = None if given is None else tree.map_structure(lambda x, t=t: x[t], given)
        state, y = f(state, row)
        found.append(y)
    found = found[::-1] if reverse else found
    if not found or found[0] is None:
        return state, None
    return state, tree.map_structure(lambda *ys: G.stack([as_tensor(y) for y in ys]), *found)


def associative_scan(f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All results of ``f`` from the first entry up to each, for an ``f`` that may be bracketed at will."""
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    given = tree.map_structure(as_tensor, elems)
    sizes = {x.shape[axis] for x in tree.flatten(given)}
    if len(sizes) != 1:
        raise ValueError(f"Array inputs to associative_scan must have the same first dimension. (saw: {sizes})")
    return control.associative_scan(f, given, reverse, axis)


def switch(index: Any, branches: Any, *operands: Any) -> Any:
    """``branches[index](*operands)``; the index is held within the branches."""
    at = int(as_tensor(index).detach().numpy())
    return branches[min(max(at, 0), len(branches) - 1)](*operands)


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives its result and the function from its cotangents to those of the arguments."""
    seen: dict[str, Any] = {}

    def forward(*args: Any) -> Any:
        y, back = f(*args)
        seen["back"] = back
        return y, args

    def plain(*args: Any) -> Any:
        return f(*args)[0]

    rule = custom_vjp(plain)

    def backward(saved: Any, ct: Any) -> Any:
        back = f(*saved)[1]
        found = back(ct)
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    rule.defvjp(forward, backward)

    def call(*args: Any) -> Any:
        return rule(*(as_tensor(a) if isinstance(a, np.ndarray | float) else a for a in args))

    call.__doc__ = f.__doc__
    return call


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """A function's result, and how it changes along ``tangents``."""
    from gradloom.autodiff.transforms import jvp as forward

    given = tuple(as_tensor(p) for p in primals)
    along = tuple(as_tensor(t).to(p.dtype) for t, p in zip(tangents, given, strict=True))
    return forward(fun, given, along, has_aux=has_aux)


# -- writing ---------------------------------------------------------------------------------------------------------


def _flat_index(indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rows of indices (..., k) as numbers into the first k axes, flattened."""
    index = indices.to(config.as_dtype("int64"))
    found: Any = G.zeros(tuple(index.shape[:-1]), dtype=config.as_dtype("int64"))
    for k in range(index.shape[-1]):
        at = index[..., k]
        found = found * shape[k] + G.where(at < 0, at + shape[k], at)
    return found.reshape(-1)


def _written(base: Tensor, indices: Tensor, values: Tensor, reduction: str | None) -> Tensor:
    shape, k = tuple(base.shape), indices.shape[-1]
    lead, rest = int(np.prod(shape[:k])), shape[k:]
    flat = base.reshape(lead, *rest)
    at = _flat_index(indices, shape)
    rows = values.to(base.dtype).reshape(at.shape[0], *rest)
    if reduction == "add":
        return PUBLIC["index_add"](flat, 0, at, rows).reshape(*shape)
    if reduction is None:
        return PUBLIC["index_put"](flat, (at,), rows).reshape(*shape)
    kinds = {"max": "amax", "min": "amin", "mul": "prod"}
    if reduction not in kinds:
        raise ValueError(f"reduction={reduction!r}: expected None, 'add', 'max', 'min' or 'mul'")
    wide = at.reshape(-1, *(1,) * len(rest))
    wide = G.broadcast_to(wide, tuple(rows.shape))
    return PUBLIC["scatter_reduce"](flat, 0, wide, rows, kinds[reduction], include_self=True).reshape(*shape)


def scatter(indices: Any, values: Any, shape: Any) -> Any:
    """Zeros of a shape, with values added at rows of indices (..., k)."""
    updates = as_tensor(values)
    return _written(G.zeros(tuple(shape), dtype=updates.dtype), as_tensor(indices), updates, "add")


def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Any:
    """Entries at rows of indices (..., k) replaced, or "add", "max", "min", "mul" with what was there."""
    return _written(inputs, as_tensor(indices), as_tensor(updates), reduction)


def _segments(name: str, how: str) -> Callable[..., Any]:
    def call(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
        at = as_tensor(segment_ids)
        if at.ndim != 1:
            raise ValueError("Argument `segment_ids` should be an 1-D vector, got shape: "
                             f"{tuple(at.shape)}. Consider either flatten input with segment_ids.reshape((-1)) "
                             "before calling this function.")  # fmt: skip
        count = num_segments if num_segments is not None else int(at.detach().numpy().max()) + 1
        at = at.to(config.as_dtype("int64"))
        kept = G.logical_and(at >= 0, at < count)  # numbers outside of the segments belong nowhere
        rest = tuple(data.shape[1:])
        base, instead = _start(data, how, (count + 1, *rest))
        place = G.where(kept, at, G.full_like(at, count))
        wide = G.broadcast_to(place.reshape(-1, *(1,) * len(rest)), tuple(data.shape))
        if how == "sum":
            return PUBLIC["index_add"](base, 0, place, data)[:count]
        del instead
        return PUBLIC["scatter_reduce"](base, 0, wide, data, how, include_self=True)[:count]

    call.__name__ = name
    call.__doc__ = f"The {name.partition('_')[2]} of the rows of each segment, by their numbers."
    return call


def _start(data: Tensor, how: str, shape: tuple[int, ...]) -> tuple[Tensor, float]:
    """What segments without rows hold."""
    kind = data.dtype.numpy
    low, high = (-np.inf, np.inf) if data.dtype.is_floating else (np.iinfo(kind).min, np.iinfo(kind).max)
    value = {"sum": 0, "prod": 1, "amax": low, "amin": high}[how]
    return G.full(shape, value, dtype=data.dtype), value


# -- functions of single elements --------------------------------------------------------------------------------------

_CORE = r"\((?:\w+(?:,\w+)*)?\)"


def vectorized(pyfunc: Callable[..., Any], excluded: frozenset[Any], signature: str | None) -> Callable[..., Any]:
    """See :func:`keras.ops.vectorize`."""
    cores: list[int] | None = None
    if signature is not None:
        plain = signature.replace(" ", "")
        if not re.fullmatch(rf"{_CORE}(?:,{_CORE})*->{_CORE}(?:,{_CORE})*", plain):
            raise ValueError(f"Not a valid gufunc signature: {signature}")
        ins = re.findall(_CORE, plain.partition("->")[0])
        cores = [len([n for n in c[1:-1].split(",") if n]) for c in ins]

    def call(*args: Any, **kwargs: Any) -> Any:
        fixed = {k for k in excluded if isinstance(k, int)}
        mapped = [k for k in range(len(args)) if k not in fixed]
        tensors = {k: as_tensor(args[k]) for k in mapped}
        inner = {k: cores[i] if cores is not None else 0 for i, k in enumerate(mapped)}
        leads = {k: tuple(t.shape[: t.ndim - inner[k]]) for k, t in tensors.items()}
        lead = np.broadcast_shapes(*leads.values())
        wide = {k: G.broadcast_to(t, (*lead, *t.shape[t.ndim - inner[k] :])) for k, t in tensors.items()}
        if not lead:
            return pyfunc(*(wide.get(k, a) for k, a in enumerate(args)), **kwargs)
        flat = [wide[k].reshape(-1, *wide[k].shape[len(lead) :]) for k in mapped]

        def one(*parts: Any) -> Any:
            given = dict(zip(mapped, parts, strict=True))
            return pyfunc(*(given.get(k, a) for k, a in enumerate(args)), **kwargs)

        found = vmap(one)(*flat)
        return tree.map_structure(lambda y: y.reshape(*lead, *y.shape[1:]), found)

    return call


TABLE["scan"], TABLE["associative_scan"], TABLE["switch"] = _of_list(scan), _of_list(associative_scan), _of_list(switch)
TABLE["custom_gradient"], TABLE["jvp"] = custom_gradient, jvp
TABLE["scatter"], TABLE["scatter_update"] = _of_list(scatter), operation(scatter_update)
for _name, _how in (("sum", "sum"), ("max", "amax"), ("min", "amin"), ("prod", "prod")):
    TABLE[f"segment_{_name}"] = operation(_segments(f"segment_{_name}", _how))

__all__ = ["TABLE"]
