"""Things named by a string: ``optimizer="adam"``. A closed list, and a wrong name is answered with the nearest one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from gradloom.errors import GradloomError

T = TypeVar("T")


class UnknownNameError(GradloomError, ValueError):
    """A string that names no loss, optimiser, metric, activation or initialiser."""


def lookup(kind: str, name: Any, table: Mapping[str, T]) -> T:
    """The entry of ``table`` called ``name``.

    Parameters
    ----------
    kind : what is looked up, for the error: "loss", "optimizer".
    name : the name; upper and lower case are the same.
    table : names in lower case, and what they stand for.

    Raises
    ------
    UnknownNameError : no entry has that name; the hint has the closest.
    """
    if isinstance(name, str):
        found = table.get(name.lower())
        if found is not None:
            return found
        close = difflib.get_close_matches(name.lower(), table, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(map(repr, sorted(table)))}"
    else:
        hint = f"give one of {', '.join(map(repr, sorted(table)))}, or an object of this kind"
    raise UnknownNameError(f"{kind}={name!r} is not known", code="keras.unknown-name", hint=hint)
