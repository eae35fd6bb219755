"""Dtype policies: in what a layer computes, and in what it keeps its weights."""

from __future__ import annotations

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
        name = config.standardize_dtype(name) if name not in _MIXED else name
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


class DTypePolicyMap(dict):
    """Policies by the path of a layer, with one for all others."""

    def __init__(self, default_policy: Any = None, policy_map: dict[str, Any] | None = None) -> None:
        super().__init__({k: get(v) for k, v in (policy_map or {}).items()})
        self.default_policy = get(default_policy)

    def __getitem__(self, path: str) -> DTypePolicy:
        return super().get(path, self.default_policy)

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

    def get_config(self) -> dict[str, Any]:
        """The default and the map."""
        return {"default_policy": self.default_policy.name, "policy_map": {k: v.name for k, v in self.items()}}

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
    return DTypePolicy(identifier if isinstance(identifier, str) else config.standardize_dtype(identifier))


def serialize(dtype_policy: Any) -> dict[str, Any]:
    """A policy as a configuration."""
    from gradloom.keras.saving import serialize_keras_object

    return serialize_keras_object(dtype_policy)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The policy of a configuration."""
    from gradloom.keras.saving import deserialize_keras_object

    return deserialize_keras_object(config, custom_objects)


__getattr__ = absent.names_of("dtype_policies")
