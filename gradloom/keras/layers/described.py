"""What a layer says of itself as plain data: configuration, shapes it was built with, weights of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gradloom.errors import NotSupportedError
from gradloom.keras import dtype_policies, tree
from gradloom.keras.variables import Variable

# options in configurations that Keras wrote, which must be unset
_OF_KERAS = frozenset(("quantization_config", "lora_rank", "lora_alpha", "gptq_unpacked_column_size"))


class Described:
    """Base of layers: made from what they say of themselves."""

    if TYPE_CHECKING:
        name: str
        built: bool
        activity_regularizer: Any
        dtype_policy: Any
        _trainable: bool
        _own: list[Variable]
        _build_shapes: dict[str, Any] | None

        def build(self, input_shape: Any) -> None: ...  # noqa: D102
        def _build_once(self, input_shape: Any) -> None: ...
        def _finish_build(self) -> None: ...

    def get_config(self) -> dict[str, Any]:
        """Name, trainable, dtype and the constructor's arguments as plain data: ``from_config`` makes it anew."""
        from gradloom.keras.layers import configs
        from gradloom.keras.layers.base import Layer

        found = self._base_config()
        for cls in type(self).__mro__:
            if configs.of_library(cls):
                if cls is type(self):
                    found |= configs.own_config(self, cls)
                elif type(self).get_config is Described.get_config:
                    found |= configs.recorded_config(self)
                elif cls is not Layer:
                    found |= configs.own_config(self, cls)
                break
        return found

    def _base_config(self) -> dict[str, Any]:
        """What every layer has."""
        found = {"name": self.name, "trainable": self._trainable, "dtype": dtype_policies.serialize(self.dtype_policy)}
        if self.activity_regularizer is not None:
            from gradloom.keras import regularizers

            found["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        return found

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer that gave this configuration, without its weights."""
        for name in _OF_KERAS & config.keys():
            if config[name]:
                raise NotSupportedError(
                    f"{cls.__name__}: {name}={config[name]!r} is not offered", code="keras.quantize",
                    hint="save the model without quantisation and LoRA",
                )  # fmt: skip
        return cls(**{k: v for k, v in config.items() if k not in _OF_KERAS})

    def get_build_config(self) -> dict[str, Any] | None:
        """The shapes that it was built with."""
        shapes = self._build_shapes
        if shapes is None or any(s is None for s in shapes.values()):
            return None
        return {"input_shape": next(iter(shapes.values()))} if len(shapes) == 1 else {"shapes_dict": shapes}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build with the shapes of :meth:`get_build_config`."""
        if "input_shape" in config:
            shape = config["input_shape"]
            self._build_once(tree.map_shape_structure(tuple, shape) if shape is not None else None)
        elif "shapes_dict" in config:
            self._build_shapes = config["shapes_dict"]
            self.build(**config["shapes_dict"])
            self._finish_build()

    def save_own_variables(self, store: dict[str, Any]) -> None:
        """Put the layer's own weights into ``store`` as "0", "1", …"""
        mine = sorted(self._own, key=lambda v: not v.__dict__.get("_born_trainable", True))
        store.update({str(i): v.numpy() for i, v in enumerate(mine)})

    def load_own_variables(self, store: dict[str, Any]) -> None:
        """Take the layer's own weights from what :meth:`save_own_variables` gave. ValueError where numbers differ."""
        mine = sorted(self._own, key=lambda v: not v.__dict__.get("_born_trainable", True))
        if len(mine) != len(store):
            state = "" if self.built else " (it is not built)"
            raise ValueError(f"layer {self.name!r} has {len(mine)} weights{state}, the file has {len(store)}")
        for i, v in enumerate(mine):
            v.assign(np.asarray(store[str(i)]))
