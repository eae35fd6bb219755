"""TensorFlow's functions of texts, in Python: on a text, or on arrays and lists of texts, element by element."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["join", "length", "lower", "regex_full_match", "regex_replace", "split", "strip", "upper"]


def _each(function: Callable[[str], Any], input: Any, dtype: Any = object) -> Any:
    """The function of a text, or an array of what it gives for each."""
    if isinstance(input, str | bytes):
        return function(_text(input))
    array = np.asarray(input, dtype=object)
    found = np.empty(array.shape, dtype)
    for place, text in np.ndenumerate(array):
        found[place] = function(_text(text))
    return found if array.ndim else found[()]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise TypeError(f"expected texts, {type(value).__name__} was given")
    return value


def lower(input: Any, encoding: str = "", name: str | None = None) -> Any:
    """Texts in lower case."""
    return _each(str.lower, input)


def upper(input: Any, encoding: str = "", name: str | None = None) -> Any:
    """Texts in upper case."""
    return _each(str.upper, input)


def strip(input: Any, name: str | None = None) -> Any:
    """Texts without white space at both ends."""
    return _each(str.strip, input)


def length(input: Any, unit: str = "BYTE", name: str | None = None) -> Any:
    """How long texts are, int32: in bytes of UTF-8, or in characters with ``unit="UTF8_CHAR"``."""
    if unit not in ("BYTE", "UTF8_CHAR"):
        raise ValueError(f"unit={unit!r}: expected 'BYTE' or 'UTF8_CHAR'")
    return _each(lambda text: len(text.encode() if unit == "BYTE" else text), input, np.int32)


def regex_replace(input: Any, pattern: str, rewrite: str, replace_global: bool = True, name: str | None = None) -> Any:
    """Texts with what fits a pattern of :mod:`re` replaced, or only the first of it in each."""
    fitting = re.compile(pattern)
    return _each(lambda text: fitting.sub(rewrite, text, count=0 if replace_global else 1), input)


def regex_full_match(input: Any, pattern: str, name: str | None = None) -> Any:
    """Whether texts fit a pattern of :mod:`re` as a whole, bool."""
    fitting = re.compile(pattern)
    return _each(lambda text: fitting.fullmatch(text) is not None, input, np.bool_)


def split(input: Any, sep: str | None = None, maxsplit: int = -1, name: str | None = None) -> Any:
    """Texts in parts: a list of texts for each, at white space where ``sep`` is None or empty."""
    return _each(lambda text: text.split(sep or None, maxsplit), input)


def join(inputs: Sequence[Any], separator: str = "", name: str | None = None) -> Any:
    """Texts at the same places put together, with a separator between them; single texts go with every place."""
    if all(isinstance(part, str | bytes) for part in inputs):
        return separator.join(map(_text, inputs))
    parts = np.broadcast_arrays(*(np.asarray(part, dtype=object) for part in inputs))
    found = np.empty(parts[0].shape, object)
    for place in np.ndindex(found.shape):
        found[place] = separator.join(_text(part[place]) for part in parts)
    return found
