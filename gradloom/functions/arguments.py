"""What a public function says of arguments that it cannot take: which one, what it got, what it expected.

Nothing is looked at before a call. Where one fails with an error of Python's or NumPy's, the arguments are held
against the annotations of the function, and the first that does not go is named.
"""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, DTypeError, GradloomError
from gradloom.functions.spellings import NAMES
from gradloom.tensor import Tensor

__all__ = ["RAW", "described", "explained", "guarded", "placed"]

RAW = (TypeError, AttributeError, ValueError, IndexError, OverflowError, ZeroDivisionError)


def _tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


def _whole(x: Any) -> bool:
    return isinstance(x, (bool, numbers.Integral)) or (isinstance(x, Tensor) and not x.ndim and x.dtype.category < 2)


def _real(x: Any) -> bool:
    return isinstance(x, (bool, numbers.Real)) or (isinstance(x, Tensor) and not x.ndim)


def _many(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda x: isinstance(x, (Sequence, np.ndarray)) and not isinstance(x, (str, bytes)) and all(map(of, x))


# annotation: (what is expected, whether a value goes)
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "Tensor": ("a tensor", _tensor),
    "int": ("an integer", _whole),
    "builtins.int": ("an integer", _whole),
    "float": ("a number", _real),
    "bool": ("True or False", _whole),
    "builtins.bool": ("True or False", _whole),
    "str": ("a string", lambda x: isinstance(x, str)),
    "Sequence[Tensor]": ("a sequence of tensors", lambda x: _tensor(x) or _many(_tensor)(x)),
    "Sequence[int]": ("a sequence of integers", _many(_whole)),
    "Sequence[float]": ("a sequence of numbers", _many(_real)),
}
_CONVERT = {"a tensor": "gradloom.tensor(...) makes one", "a sequence of tensors": "stack takes [a, b], not a and b"}


def described(x: Any) -> str:
    """A value in a few words: dtype and shape of a tensor, the text of anything else, cut short."""
    if isinstance(x, Tensor):
        return f"{x.dtype.name}{list(x.shape)}"
    if isinstance(x, (list, tuple)):
        open, close = "[]" if isinstance(x, list) else "()"
        return open + ", ".join(map(described, x[:4])) + (", ..." if len(x) > 4 else "") + close
    text = repr(x)
    if isinstance(x, np.ndarray) or len(text) > 40 or text.startswith("<"):
        return f"a {type(x).__name__}"
    return text


def guarded(fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn``, with errors of Python's and NumPy's innards turned into ones that name the argument."""
    if not inspect.isfunction(fn) or hasattr(fn, "guards"):
        return fn

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except RAW as e:
            better = explained(fn, args, kwargs, e)
            if better is None:
                raise
            raise better from e

    call.guards = fn  # type: ignore[attr-defined]
    return call


def placed(module: str, name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn``; a wrapper or one made in a function says from now on where it stands: pickle looks it up by that."""
    if inspect.isfunction(fn) and (hasattr(fn, "__wrapped__") or "<locals>" in fn.__qualname__):
        fn.__module__, fn.__qualname__ = module, name
    return fn


def explained(fn: Callable[..., Any], args: tuple, kwargs: dict[str, Any], error: Exception) -> Exception | None:
    """The error to raise in place of ``error``; None where that is one of ours, or says what the call lacks."""
    if isinstance(error, GradloomError):
        return None
    signature = inspect.signature(fn)
    known = signature.parameters
    try:
        given = signature.bind(*args, **{k if k in known else NAMES.get(k, k): v for k, v in kwargs.items()}).arguments
    except TypeError:  # missing or unknown arguments: Python says so well
        return None
    name = fn.__name__
    for parameter, value in given.items():
        p = known[parameter]
        several = p.kind is inspect.Parameter.VAR_POSITIONAL
        for part in value if several else (value,):
            expected = _misfit(str(p.annotation), part)
            if expected:
                return DTypeError(
                    f"{name}: {parameter} must be {expected}, got {described(part)}"
                    + (f" ({type(part).__name__})" if isinstance(part, str) else ""),
                    code="dtype.argument", hint=_CONVERT.get(expected, "") or f"the call is {name}{_short(signature)}",
                )  # fmt: skip
    call = ", ".join(f"{k}={described(v)}" for k, v in given.items())
    kind = DTypeError if isinstance(error, (TypeError, AttributeError)) else ArgumentError
    return kind(
        f"{name}: these arguments do not go: {call} ({error})", code="argument",
        hint=f"the call is {name}{_short(signature)}",
    )  # fmt: skip


def _misfit(annotation: str, value: Any) -> str:
    """What was expected, where the value does not go with the annotation."""
    options = [a.strip() for a in annotation.split("|")]
    kinds = [_KINDS.get(o) for o in options if o != "None"]
    if (value is None and "None" in options) or not kinds or None in kinds:
        return ""
    if any(k[1](value) for k in kinds if k is not None):
        return ""
    return " or ".join(k[0] for k in kinds if k is not None)


def _short(signature: inspect.Signature) -> str:
    """The parameters and their defaults, without annotations."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
