"""Things named by a string: ``optimizer="adam"``. A closed list, and a wrong name is answered with the nearest one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar

from gradloom.errors import GradloomError

T = TypeVar("T")


class UnknownNameError(GradloomError, ValueError):
    """A string that names no loss, optimiser, metric, activation or initialiser."""


def slips(a: str, b: str) -> int:
    """How many keys were missed, doubled, wrong or swapped between two words (Damerau 1964)."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], rows[i - 2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


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
        close = difflib.get_close_matches(name.lower(), table, n=3, cutoff=0.5)
        close.sort(key=lambda c: slips(name.lower(), c))
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(map(repr, sorted(table)))}"
    else:
        hint = f"give one of {', '.join(map(repr, sorted(table)))}, or an object of this kind"
    raise UnknownNameError(f"{kind}={name!r} is not known", code="keras.unknown-name", hint=hint)


def identifier_of(obj: Any) -> Any:
    """An object of the library as a dictionary with class and configuration; functions by their names."""
    from gradloom.keras.saving import serialize_keras_object

    return serialize_keras_object(obj)


def from_identifier(kind: str, identifier: Any, table: Mapping[str, Any], custom_objects: Any = None) -> Any:
    """What a name or a configuration means: an entry of ``table``, or something that a user registered.

    Raises
    ------
    UnknownNameError : a name that is neither.
    """
    from gradloom.keras.saving import deserialize_keras_object, get_registered_object

    if isinstance(identifier, dict):
        if "class_name" in identifier and "module" not in identifier and identifier["class_name"].lower() in table:
            cls = table[identifier["class_name"].lower()]
            return cls.from_config(identifier.get("config") or {})
        return deserialize_keras_object(identifier, custom_objects)
    if isinstance(identifier, str):
        found = (custom_objects or {}).get(identifier) or get_registered_object(identifier)
        if found is not None:
            return found
    return lookup(kind, identifier, table)
