"""Functions that take symbolic tensors too: then they compute nothing and become a node of a functional model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.keras import config, tree
from gradloom.keras.symbolic import OpCall, any_symbolic
from gradloom.keras.variables import KerasTensor
from gradloom.tensor import Tensor, from_numpy

REGISTERED: dict[str, Callable[..., Any]] = {}


def as_tensor(x: Any, dtype: Any = None) -> Any:
    """Arrays and numbers as tensors, float64 of Python and NumPy as :func:`floatx`."""
    if isinstance(x, Tensor):
        return x if dtype is None else x.to(config.as_dtype(dtype))
    if x is None or isinstance(x, KerasTensor):
        return x
    if isinstance(x, list | tuple) and any(isinstance(e, Tensor) for e in tree.flatten(x)):
        from gradloom import functions as G

        return G.stack([as_tensor(e, dtype) for e in x])
    array = np.asarray(x)
    if dtype is None:
        if array.dtype.kind == "f" and not isinstance(x, np.ndarray | np.generic):
            dtype = config.floatx()
        elif array.dtype == np.int64 and not isinstance(x, np.ndarray | np.generic):
            dtype = "int32" if array.size == 0 or np.abs(array).max() < 2**31 else "int64"
    if dtype is not None:
        array = np.asarray(array, config.as_dtype(dtype).numpy)
    return from_numpy(np.array(array, order="C"))


def operation(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function take arrays for its first argument, and symbolic tensors anywhere."""

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else None
        if type(first) is Tensor:
            if len(args) == 1 or not any_symbolic(args[1:], kwargs):
                return fn(*args, **kwargs)
        elif not any_symbolic(args, kwargs):
            if first is not None and not isinstance(first, Tensor):
                args = (as_tensor(first), *args[1:])
            elif not args:
                key = next(iter(kwargs), None)
                if key is not None and not isinstance(kwargs[key], Tensor | str | bool):
                    kwargs[key] = as_tensor(kwargs[key])
            return fn(*args, **kwargs)
        return OpCall(fn.__name__)(*args, **kwargs)

    REGISTERED[fn.__name__] = fn
    return call
