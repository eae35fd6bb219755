"""Objects as JSON-able dictionaries and back: the format of Keras 3's configurations.

Classes of the library are written by their public place (``"module": "keras.layers"``), users' own by the name they
were registered under. Reading looks names up in the library's closed list, in the registry, in ``custom_objects``, and
among the program's own classes derived from the library's, where it has imported them; no module is imported because a
file names it, and no code is ever read.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import GradloomError
from gradloom.keras.saving import registry
from gradloom.keras.variables import KerasTensor
from gradloom.tensor import Tensor, from_numpy

# where public names of Keras stand; the first that holds a class is its place
MODULES = {
    "keras.layers": "layers",
    "keras.models": "models",
    "keras.optimizers": "optimizers",
    "keras.optimizers.schedules": "schedules",
    "keras.losses": "losses",
    "keras.metrics": "metrics",
    "keras.initializers": "initializers",
    "keras.regularizers": "regularizers",
    "keras.constraints": "constraints",
    "keras.activations": "activations",
    "keras.dtype_policies": "dtype_policies",
    "keras.random": "random",
    "keras.ops": "ops",
    "keras": "",
}
# configurations of Keras name private modules for a few classes
_ALIASES = {"keras.src": "", "builtins": "builtins"}


class UnknownObjectError(GradloomError, ValueError):
    """A configuration names something that is neither of the library nor registered."""


class NotSerializableError(GradloomError, TypeError):
    """An object that cannot be written down: a lambda, an open file, a class without ``get_config``."""


def _module(public: str) -> Any:
    private = MODULES[public]
    return importlib.import_module(f"gradloom.keras.{private}" if private else "gradloom.keras")


def _public_place(cls: Any) -> str | None:
    """The public module that holds a class or function of the library, None for users' own."""
    if (getattr(cls, "__module__", "") or "").split(".")[:2] != ["gradloom", "keras"]:
        return None
    if cls.__name__ == "Functional" or cls.__name__ == "OpCall":
        return "keras.models" if cls.__name__ == "Functional" else "keras.ops"
    for public in MODULES:
        if getattr(_module(public), cls.__name__, None) is cls:
            return public
    return None


def serialize_keras_object(obj: Any) -> Any:
    """An object as plain data: numbers and texts as they are, everything else as a dictionary with its class's name.

    Raises
    ------
    NotSerializableError : a lambda, or an object without ``get_config``.
    """
    if obj is None or isinstance(obj, str | int | float | bool):
        return obj
    if isinstance(obj, bytes):
        return {"class_name": "__bytes__", "config": {"value": obj.decode("utf-8")}}
    if isinstance(obj, list | tuple):
        items = [serialize_keras_object(x) for x in obj]
        return tuple(items) if isinstance(obj, tuple) else items
    if isinstance(obj, dict):
        return {k: serialize_keras_object(v) for k, v in obj.items()}
    if isinstance(obj, slice):
        parts = {k: serialize_keras_object(getattr(obj, k)) for k in ("start", "stop", "step")}
        return {"class_name": "__slice__", "config": parts}
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, KerasTensor):
        history = obj._keras_history
        place = None if history is None else [history.operation.name, history.node_index, history.tensor_index]
        found = {"shape": obj.shape, "dtype": obj.dtype, "keras_history": place}
        return {"class_name": "__keras_tensor__", "config": found}
    if isinstance(obj, dtypes.DType):
        return obj.name
    if isinstance(obj, Tensor):
        array = obj.detach().numpy()
        return {"class_name": "__tensor__", "config": {"value": array.tolist(), "dtype": obj.dtype.name}}
    if isinstance(obj, np.ndarray) and obj.ndim:
        return {"class_name": "__numpy__", "config": {"value": obj.tolist(), "dtype": obj.dtype.name}}
    if isinstance(obj, np.ndarray | np.generic):
        return obj.item()
    return _object(obj)


def _object(obj: Any) -> Any:
    if isinstance(obj, types.FunctionType | types.BuiltinFunctionType):
        if obj.__name__ == "<lambda>":
            raise NotSerializableError(
                "a lambda cannot be written into a configuration",
                code="keras.lambda",
                hint="give it a name with def, and register it: @keras.saving.register_keras_serializable()",
            )
        inner: Any = obj.__name__
        cls: Any = obj
        kind = "function"
    elif isinstance(obj, type):
        inner, cls, kind = obj.__name__, obj, obj.__name__
    else:
        if not hasattr(obj, "get_config"):
            raise NotSerializableError(
                f"an object of {type(obj).__name__} cannot be written into a configuration",
                code="keras.no-config",
                hint="give the class a get_config method",
            )
        inner, cls, kind = serialize_dict(obj.get_config()), type(obj), type(obj).__name__
    public = _public_place(cls)
    if public is not None and kind != "function":
        found = {"module": public, "class_name": kind, "config": inner, "registered_name": None}
    else:
        module = "builtins" if public is not None else getattr(cls, "__module__", None)
        found = {
            "module": module,
            "class_name": kind,
            "config": inner,
            "registered_name": registry.get_registered_name(cls),
        }
    if not isinstance(obj, type):
        for extra in ("build_config", "compile_config"):
            method = getattr(obj, f"get_{extra}", None)
            value = method() if method is not None else None
            if value is not None:
                found[extra] = serialize_dict(value)
    return found


def serialize_dict(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Each value of a dictionary as plain data. Functions that cannot be written stay, and are refused by files."""
    return {k: _serialized_or_kept(v) for k, v in obj.items()}


def _serialized_or_kept(value: Any) -> Any:
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
        return value  # a clone in this process can use it
    return serialize_keras_object(value)


def deserialize_keras_object(
    config: Any, custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True, **kwargs: Any
) -> Any:
    """The object of a configuration that :func:`serialize_keras_object` or Keras 3 wrote.

    Parameters
    ----------
    custom_objects : users' own classes and functions by name, beside those that are registered.

    Raises
    ------
    UnknownObjectError : a name that is not known, or code in place of a name.
    """
    with registry.given(custom_objects):
        return _revived(config)


def _revived(config: Any) -> Any:
    if config is None or isinstance(config, int | float | bool):
        return config
    if isinstance(config, str):
        found = registry.get_registered_object(config)
        return config if found is None else found
    if isinstance(config, list | tuple):
        items = [_revived(x) for x in config]
        return tuple(items) if isinstance(config, tuple) else items
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {k: _revived(v) for k, v in config.items()}
    return _from_class(config)


def _from_class(config: dict[str, Any]) -> Any:
    name, inner = config["class_name"], config["config"]
    if name in _PLAIN:
        return _PLAIN[name](inner)
    if name == "__lambda__":
        raise UnknownObjectError(
            "the configuration holds the code of a lambda, which is not run",
            code="keras.lambda",
            hint="rebuild the model with a named, registered function, and save it again",
        )
    if name == "function" and isinstance(inner, str):
        return find(inner, config.get("module"), config.get("registered_name"))
    cls = find(name, config.get("module"), config.get("registered_name"))
    if isinstance(cls, types.FunctionType) or not hasattr(cls, "from_config"):
        return cls
    if not isinstance(inner, dict):
        raise UnknownObjectError(
            f"the configuration of {name} is {type(inner).__name__}, not a dictionary", code="keras.config"
        )
    try:
        made = cls.from_config(inner)
    except TypeError as error:
        raise TypeError(
            f"{name} cannot be made from its configuration with {', '.join(inner)}: {error}. Its from_config must take "
            "what its get_config gives."
        ) from error
    build = config.get("build_config")
    if build and hasattr(made, "build_from_config") and not getattr(made, "built", True):
        made.build_from_config(_revived(build))
    compiled = config.get("compile_config")
    if compiled and hasattr(made, "compile_from_config"):
        made.compile_from_config(compiled)
    return made


def _keras_tensor(inner: dict[str, Any]) -> Any:
    found = KerasTensor(tuple(inner["shape"]), inner["dtype"])
    found.read_history = inner.get("keras_history")
    return found


_PLAIN: dict[str, Any] = {
    "__keras_tensor__": _keras_tensor,
    "__tensor__": lambda c: from_numpy(np.array(c["value"], dtypes.as_dtype(c["dtype"]).numpy)),
    "__numpy__": lambda c: np.array(c["value"], c["dtype"]),
    "__bytes__": lambda c: c["value"].encode("utf-8"),
    "__ellipsis__": lambda c: Ellipsis,
    "__slice__": lambda c: slice(*(_revived(c[k]) for k in ("start", "stop", "step"))),
}


def _of_program(name: str, module: str | None) -> Any:
    """A class that the running program derived from one of the library's, in a module that it has imported itself."""
    found = getattr(sys.modules.get(module or ""), name, None)
    if not isinstance(found, type) or not hasattr(found, "from_config"):
        return None
    mine = any((c.__module__ or "").split(".")[:2] == ["gradloom", "keras"] for c in found.__mro__)
    return found if mine and found.__module__ == module else None


def find(name: str, module: str | None, registered: str | None = None) -> Any:
    """The class or function of a name. UnknownObjectError where it is neither the library's nor registered."""
    for known in (registered, name):
        found = registry.get_registered_object(known) if known else None
        if found is not None:
            return found
    if name == "OpCall":
        from gradloom.keras.symbolic import OpCall

        return OpCall
    places = [module] if module in MODULES else []
    if module in ("builtins", None) or str(module).startswith("keras"):
        places += [place for place in MODULES if place != module]
    for place in places:
        public = _module(place)
        if not name.startswith("_") and (found := getattr(public, name, None)) is not None and callable(found):
            if (getattr(found, "__module__", "") or "").startswith("gradloom"):
                return found
    found = _of_program(name, module)
    if found is not None:
        return found
    raise UnknownObjectError(
        f"{module + '.' if module else ''}{name} is not known",
        code="keras.unknown-object",
        hint="register it with @keras.saving.register_keras_serializable(), or give custom_objects={name: class}",
    )
