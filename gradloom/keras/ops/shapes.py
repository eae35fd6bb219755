"""Shapes of symbolic calls whose functions look at values: sizes that hang on values are unknown."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from gradloom.keras import config, tree
from gradloom.keras.symbolic import any_symbolic, by_rule, infer, inferring
from gradloom.keras.variables import KerasTensor

__all__ = ["RULES", "ruled"]

Shape = tuple[int | None, ...]


def _floats(*xs: Any) -> str:
    return config.result_type(*(x.dtype for x in xs if hasattr(x, "dtype")), float)


def _reduced(shape: Shape, axis: Any, keepdims: bool) -> Shape:
    axes = range(len(shape)) if axis is None else [axis] if isinstance(axis, int) else axis
    gone = {a % len(shape) for a in axes}
    return tuple(1 if k in gone else d for k, d in enumerate(shape) if keepdims or k not in gone)


def _quantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    return KerasTensor((*getattr(q, "shape", ()), *_reduced(x.shape, axis, keepdims)), _floats(x))


def _nonzero(x: Any) -> Any:
    return tuple(KerasTensor((None,), "int32") for _ in x.shape)


def _where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    return _nonzero(condition) if x1 is None else None


def _unique(
    x: Any, sorted: bool = True, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: int | None = None, size: int | None = None, fill_value: Any = None,
) -> Any:  # fmt: skip
    values: list[int | None] = [size] if axis is None else list(x.shape)
    length: int | None = None if None in x.shape else math.prod(x.shape)
    if axis is not None:
        values[axis], length = size, x.shape[axis]
    back = tuple(x.shape) if axis is None else (length,)
    found = [KerasTensor(values, x.dtype)]
    wanted = ((return_index, (size,)), (return_inverse, back), (return_counts, (size,)))
    found += [KerasTensor(shape, "int32") for flag, shape in wanted if flag]
    return tuple(found) if len(found) > 1 else found[0]


def _bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    kind = "int32" if weights is None else config.result_type(x.dtype, weights.dtype)
    return KerasTensor((*x.shape[:-1], None), kind)


def _segments(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    length, count = data.shape[0] if data.shape else None, segment_ids.shape[0] if segment_ids.shape else None
    if None not in (length, count) and length != count:
        raise ValueError("Argument `segment_ids` and `data` should have same leading dimension. Received: "
                         f"{segment_ids.shape} and {data.shape}")  # fmt: skip
    return KerasTensor((num_segments, *data.shape[1:]), data.dtype)


def _cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    one, other = infer(true_fn), infer(false_fn)
    kinds = [[(getattr(x, "shape", None), getattr(x, "dtype", None)) for x in tree.flatten(y)] for y in (one, other)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"cond: `true_fn` and `false_fn` must give the same shapes. Received: {one} and {other}")
    return one


def _while(cond: Any, body: Any, loop_vars: Any, maximum_iterations: Any = None) -> Any:
    return _alike(loop_vars)


def _for(lower: Any, upper: Any, body_fun: Any, init_val: Any) -> Any:
    return _alike(init_val)


def _alike(values: Any) -> Any:
    return tree.map_structure(lambda x: KerasTensor(x.shape, x.dtype) if hasattr(x, "shape") else x, values)


def _switch(index: Any, branches: Any, *operands: Any) -> Any:
    return infer(branches[0], *operands)


def _mapped(f: Callable[[Any], Any], xs: Any) -> Any:
    count = {x.shape[0] for x in tree.flatten(xs)}
    found = infer(f, tree.map_structure(lambda x: KerasTensor(x.shape[1:], x.dtype), xs))
    length = count.pop() if len(count) == 1 else None
    return tree.map_structure(lambda y: KerasTensor((length, *y.shape), y.dtype), found)


def _scaled(
    images: Any, output_shape: Any, scale: Any, translation: Any, spatial_dims: Any, method: str,
    antialias: bool = True,
) -> Any:  # fmt: skip
    return KerasTensor(tuple(output_shape), images.dtype)


def _solved(a: Any, b: Any, lower: bool = False) -> Any:
    if len(a.shape) < 2 or None in a.shape[-2:] or None in b.shape[-1 if len(b.shape) < len(a.shape) else -2 :]:
        raise ValueError(f"the last sizes of matrices to solve must be known. Received: {a.shape} and {b.shape}")
    return None


def _decoded(
    inputs: Any, sequence_lengths: Any, strategy: str = "greedy", beam_width: int = 100, top_paths: int = 1,
    merge_repeated: bool = True, mask_index: int = 0,
) -> Any:  # fmt: skip
    count = 1 if strategy == "greedy" else top_paths
    scores = config.result_type(inputs.dtype, "float32")
    return KerasTensor((count, *inputs.shape[:2]), "int32"), KerasTensor((inputs.shape[0], count), scores)


def _blurred(images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0), data_format: Any = None) -> Any:
    return KerasTensor(images.shape, images.dtype) if hasattr(sigma, "shape") else None


# by the name of a function of `keras.ops`: what comes out, or None where recording the function tells
RULES: dict[str, Callable[..., Any]] = {
    "quantile": _quantile, "percentile": _quantile, "nanquantile": _quantile, "nanpercentile": _quantile,
    "nonzero": _nonzero, "where": _where, "unique": _unique, "bincount": _bincount,
    "solve": _solved, "solve_triangular": _solved, "ctc_decode": _decoded, "gaussian_blur": _blurred,
    "cond": _cond, "while_loop": _while, "fori_loop": _for, "switch": _switch, "map": _mapped,
    "vectorized_map": _mapped, "scale_and_translate": _scaled,
    "segment_sum": _segments, "segment_max": _segments, "segment_min": _segments, "segment_prod": _segments,
}  # fmt: skip


def ruled(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a rule: while shapes are found its placeholders have no values, and the rule says what comes."""
    rule, plain = RULES[name], fn.__wrapped__  # type: ignore[attr-defined]

    def guarded(inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def call(*args: Any, **kwargs: Any) -> Any:
            if inferring() and not any_symbolic(args, kwargs):
                found = by_rule(rule, args, kwargs)
                if found is not None:
                    return found
            return inner(*args, **kwargs)

        return call

    outer = guarded(fn)
    outer.__wrapped__ = guarded(plain)  # type: ignore[attr-defined]
    return outer
