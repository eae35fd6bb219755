"""Nested values as JSON beside their tensors, and back: what a checkpoint is made of.

Kept: None, bool, int, float, complex, str, bytes, list, tuple, dict (any of these as keys), OrderedDict, set, shapes,
dtypes, devices, NumPy arrays and scalars, tensors and parameters. A tensor at two places is one tensor again.
"""

from __future__ import annotations

import base64
import math
from collections import OrderedDict
from typing import Any

import numpy as np

from gradloom.devices import device
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, FileError
from gradloom.modes import no_grad
from gradloom.tensor import Size, Tensor, from_numpy

__all__ = ["pack", "unpack"]

MAX_DEPTH = 200


class _Packer:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[int, str] = {}
        self.open: set[int] = set()
        self.keep: list[Any] = []

    def tensor(self, t: Tensor, name: str) -> str:
        """The name that a tensor's values stand under: its path in the value, so that other readers find it too."""
        found = self.names.get(id(t))
        if found is None:
            found, k = name or "value", 2
            while found in self.tensors or found == "__metadata__":
                found, k = f"{name}#{k}", k + 1
            self.tensors[found] = t.detach()
            self.names[id(t)] = found
            self.keep.append(t)
        return found

    def pack(self, x: Any, path: str, depth: int = 0) -> Any:
        kind = type(x)
        if x is None or kind is bool or kind is str:
            return x
        if isinstance(x, bool) or kind is int:
            return int(x)
        if kind is float:
            return x if math.isfinite(x) else {"float": repr(x)}
        if isinstance(x, Tensor):
            from gradloom.nn import Parameter

            mark = "parameter" if isinstance(x, Parameter) else "tensor"
            out: dict[str, Any] = {mark: self.tensor(x, path)}
            return out | {"requires_grad": True} if x.requires_grad else out
        if kind is complex:
            return {"complex": [repr(x.real), repr(x.imag)]}
        if isinstance(x, (bytes, bytearray)):
            return {kind.__name__: base64.b64encode(x).decode()}
        if isinstance(x, DType):
            return {"dtype": x.name}
        if isinstance(x, device):
            return {"device": str(x)}
        if isinstance(x, (np.ndarray, np.generic)):
            if x.dtype.hasobject or x.dtype.kind not in "biufcV":
                raise DTypeError(f"{path or 'the value'}: an array of dtype {x.dtype} cannot be saved", code="io.value")
            t = from_numpy(np.array(x, copy=True))
            self.keep.append(t)
            return {"array" if isinstance(x, np.ndarray) else "scalar": self.tensor(t, path)}
        if isinstance(x, (dict, list, tuple, set, frozenset)):
            return self.container(x, path, depth)
        hint = "save model.state_dict(), and load it with model.load_state_dict(gradloom.load(path))"
        raise DTypeError(
            f"{path or 'the value'}: an object of type {kind.__module__}.{kind.__qualname__} cannot be saved: files "
            "hold data only", code="io.value",
            hint=hint if hasattr(x, "state_dict") else "save tensors, numbers, texts, and lists and dicts of them",
        )  # fmt: skip

    def container(self, x: Any, path: str, depth: int) -> Any:
        if id(x) in self.open or depth >= MAX_DEPTH:
            raise FileError(
                f"{path[:200]}: nested more than {MAX_DEPTH} levels deep, or within itself", code="io.depth"
            )
        self.open.add(id(x))
        lead = path + "." if path else ""
        if isinstance(x, dict):
            pairs = [
                [self.pack(k, f"{lead}key", depth + 1), self.pack(v, f"{lead}{k}", depth + 1)] for k, v in x.items()
            ]
            mark = "ordered" if isinstance(x, OrderedDict) else "dict"
            out: Any = {mark: pairs}
            note = getattr(x, "_metadata", None)  # of a state_dict: versions of its modules
            if isinstance(note, dict):
                out["note"] = self.pack(note, "note", depth + 1)
        else:
            items = sorted(x, key=repr) if isinstance(x, (set, frozenset)) else x
            out = [self.pack(v, f"{lead}{k}", depth + 1) for k, v in enumerate(items)]
            if type(x) is not list:
                mark = "size" if isinstance(x, Size) else "set" if isinstance(x, set) else (
                    "frozenset" if isinstance(x, frozenset) else "list" if isinstance(x, list) else "tuple"
                )  # fmt: skip
                out = {mark: out}
        self.open.discard(id(x))
        return out


def pack(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """A value's structure, for JSON, and its tensors by name.

    Raises
    ------
    DTypeError: for an object that is no data. FileError: nested too deep, or within itself.
    """
    packer = _Packer()
    return packer.pack(value, ""), packer.tensors


def unpack(structure: Any, tensors: dict[str, Tensor]) -> Any:
    """The value of a structure and its tensors. Raises FileError where they do not fit together."""
    made: dict[tuple, Any] = {}

    def tensor_of(name: Any) -> Tensor:
        if not isinstance(name, str) or name not in tensors:
            raise FileError(f"the file lacks its tensor {name!r}", code="io.structure")
        return tensors[name]

    def handle(name: Any, parameter: bool, grad: bool) -> Any:
        key = (name, parameter, grad)
        if key not in made:
            t = tensor_of(name)
            if parameter:
                from gradloom.nn import Parameter

                with no_grad():
                    t = Parameter(t, grad)
            elif grad:
                t = t.requires_grad_() if not t.requires_grad else t
            made[key] = t
        return made[key]

    def build(s: Any, depth: int) -> Any:
        if s is None or isinstance(s, (bool, int, float, str)):
            return s
        if depth > MAX_DEPTH:
            raise FileError(f"nested more than {MAX_DEPTH} levels deep", code="io.depth")
        if isinstance(s, list):
            return [build(x, depth + 1) for x in s]
        grad = bool(s.pop("requires_grad", False))
        note = s.pop("note", None)
        ((mark, x),) = s.items()
        if mark in ("tensor", "parameter"):
            return handle(x, mark == "parameter", grad)
        if mark == "array":
            return tensor_of(x).numpy()
        if mark == "scalar":
            return tensor_of(x).numpy()[()]
        if mark in ("dict", "ordered"):
            out: Any = OrderedDict() if mark == "ordered" else {}
            for k, v in x:
                out[build(k, depth + 1)] = build(v, depth + 1)
            if note is not None and mark == "ordered":
                out._metadata = build(note, depth + 1)
            return out
        if mark in _SIMPLE:
            return _SIMPLE[mark](x)
        items = [build(v, depth + 1) for v in x]
        return _CONTAINERS[mark](items)

    try:
        return build(structure, 0)
    except FileError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as e:
        raise FileError(f"the structure of the file is damaged ({e})", code="io.structure") from None


_SIMPLE: dict[str, Any] = {
    "float": float,
    "complex": lambda x: complex(float(x[0]), float(x[1])),
    "bytes": lambda x: base64.b64decode(x, validate=True),
    "bytearray": lambda x: bytearray(base64.b64decode(x, validate=True)),
    "dtype": as_dtype,
    "device": device,
}
_CONTAINERS: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "size": Size}
