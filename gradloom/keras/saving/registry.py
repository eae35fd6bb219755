"""Names of users' classes and functions in saved models: looked up here; nothing is imported for a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

CUSTOM_OBJECTS: dict[str, Any] = {}
_NAMES: dict[Any, str] = {}
_scopes: list[dict[str, Any]] = []


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """A decorator that makes a class or function known to loading as ``package>name``.

    Raises
    ------
    ValueError : a class without ``get_config``.
    """

    def register(item: T) -> T:
        if isinstance(item, type) and not hasattr(item, "get_config"):
            raise ValueError(f"{item.__name__} cannot be registered: it has no get_config method")
        full = f"{package}>{name if name is not None else item.__name__}"  # type: ignore[attr-defined]
        CUSTOM_OBJECTS[full] = item
        _NAMES[item] = full
        return item

    return register


def get_custom_objects() -> dict[str, Any]:
    """The registered objects by name; entries may be added."""
    return CUSTOM_OBJECTS


def get_registered_name(obj: Any) -> str:
    """The name that a class or function was registered under, or its own."""
    return _NAMES.get(obj, getattr(obj, "__name__", str(obj)))


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """What is registered under a name, in scopes, in ``custom_objects`` or ``module_objects``; or None."""
    for table in (*reversed(_scopes), CUSTOM_OBJECTS, custom_objects or {}, module_objects or {}):
        if name in table:
            return table[name]
    return None


class CustomObjectScope:
    """While entered, the names of ``custom_objects`` are known."""

    def __init__(self, custom_objects: Mapping[str, Any] | None) -> None:
        self.custom_objects = dict(custom_objects or {})

    def __enter__(self) -> CustomObjectScope:
        _scopes.append(self.custom_objects)
        return self

    def __exit__(self, *error: object) -> None:
        _scopes.remove(self.custom_objects)


@contextmanager
def given(custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """The names of ``custom_objects``, where there are any."""
    with CustomObjectScope(custom_objects):
        yield


custom_object_scope = CustomObjectScope
