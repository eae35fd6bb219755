"""Dtype policies: in what a layer computes, and in what it keeps its weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from gradloom.keras import absent, config

__all__ = ["DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy", "deserialize", "get", "serialize"]

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


class DTypePolicy:
    """A dtype for all, or "mixed_float16" and "mixed_bfloat16": weights in float32, computation in 16 bits.

    Parameters
    ----------
    name : a dtype's name, or one of the mixed ones.
    """

    def __init__(self, name: str | None = None) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(
                f"'name' must be a string, such as 'mixed_float16'. Received: name={name} (of type {type(name)})"
            )
        name = config.dtype_policy().name if name is None else name
        if name not in _MIXED:
            try:
                name = config.standardize_dtype(name)
            except ValueError as error:
                raise ValueError(f"Cannot convert '{name}' to a dtype policy: {error}") from error
        self._name = name
        self._compute = _MIXED.get(name, name)
        self._variable = "float32" if name in _MIXED else name

    @property
    def name(self) -> str:
        """The name that it was made with."""
        return self._name

    @property
    def compute_dtype(self) -> str:
        """In what is computed."""
        return self._compute

    @property
    def variable_dtype(self) -> str:
        """In what weights are kept."""
        return self._variable

    @property
    def quantization_mode(self) -> None:
        """None: no policy here quantises; compression transforms a model from outside."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The name."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicy:
        """The policy that gave this configuration."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self.name}">'


FloatDTypePolicy = DTypePolicy


class DTypePolicyMap(MutableMapping[str, DTypePolicy]):
    """Policies by the paths of layers, as ``"block_1/dense"``, or by patterns that fit whole paths; one for all others.

    Parameters
    ----------
    default_policy : of paths without one of their own; None: the present default, whenever it is asked for.
    policy_map : paths or patterns, and policies or their names.
    """

    def __init__(self, default_policy: Any = None, policy_map: Mapping[str, Any] | None = None) -> None:
        if policy_map is not None and not isinstance(policy_map, Mapping):
            raise TypeError(f"If specified, `policy_map` must be a dict. Received: policy_map={policy_map!r}")
        self._default = None if default_policy is None else get(default_policy)
        self._policies: dict[str, DTypePolicy] = {}
        for path, policy in (policy_map or {}).items():
            self[path] = policy

    @property
    def default_policy(self) -> DTypePolicy:
        """That of paths without one of their own."""
        return get(self._default)

    def __getitem__(self, path: str) -> DTypePolicy:
        """The policy of a path. ValueError where several patterns fit."""
        if path in self._policies:
            return self._policies[path]
        fitting = [pattern for pattern in self._policies if re.fullmatch(pattern, path)]
        if len(fitting) > 1:
            raise ValueError(f"Path {path!r} matches multiple dtype policy keys, {fitting}: only one may fit")
        return self._policies[fitting[0]] if fitting else self.default_policy

    def __setitem__(self, path: str, policy: Any) -> None:
        if path in self._policies:
            raise ValueError(
                f"{path} already exist in the DTypePolicyMap, with {self._policies[path]}: delete it first"
            )
        try:
            self._policies[path] = get(policy)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Cannot interpret the assigned value by `keras.dtype_policies.get`: {policy!r}"
            ) from error

    def __delitem__(self, path: str) -> None:
        del self._policies[path]

    def __contains__(self, path: object) -> bool:
        return path in self._policies

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies)

    def __len__(self) -> int:
        return len(self._policies)

    def __repr__(self) -> str:
        mapping = [(path, policy.name) for path, policy in self._policies.items()]
        return f"<DTypePolicyMap at {hex(id(self))} default_policy={self.default_policy.name}, mapping={mapping}>"

    @property
    def name(self) -> str:
        """That of the default."""
        return "map_" + self.default_policy.name

    @property
    def compute_dtype(self) -> str:
        """That of the default."""
        return self.default_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:
        """That of the default."""
        return self.default_policy.variable_dtype

    @property
    def quantization_mode(self) -> None:
        """None: see :class:`DTypePolicy`."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The default and the map."""
        return {
            "default_policy": None if self._default is None else self._default.name,
            "policy_map": {path: policy.name for path, policy in self._policies.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicyMap:
        """The map that gave this configuration."""
        return cls(**config)


def get(identifier: Any) -> Any:
    """The policy of a name, a dtype or a configuration; a policy is itself; None is the present default."""
    if identifier is None:
        return config.dtype_policy()
    if isinstance(identifier, (DTypePolicy, DTypePolicyMap)):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return DTypePolicy(identifier)
    try:
        return DTypePolicy(config.standardize_dtype(identifier))
    except ValueError as error:
        raise ValueError(
            f"Cannot interpret `dtype` argument: {identifier!r} is no policy, and no name of one"
        ) from error


def serialize(dtype_policy: Any) -> dict[str, Any]:
    """A policy as a configuration."""
    from gradloom.keras.saving import serialize_keras_object

    return serialize_keras_object(dtype_policy)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The policy of a configuration."""
    from gradloom.keras.saving import deserialize_keras_object

    return deserialize_keras_object(config, custom_objects)


__getattr__ = absent.names_of("dtype_policies")
