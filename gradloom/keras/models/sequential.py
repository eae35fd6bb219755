"""Sequential: layers one after the other."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from gradloom.keras import tree
from gradloom.keras.layers.base import Layer, Shape
from gradloom.keras.layers.context import CONTEXT, note_change
from gradloom.keras.models.graph import FunctionGraph
from gradloom.keras.models.model import Functional, Model
from gradloom.keras.saving import deserialize_keras_object, serialize_keras_object
from gradloom.keras.symbolic import known_shape
from gradloom.keras.variables import KerasTensor
from gradloom.tensor import Tensor


class Sequential(Model):
    """Layers one after the other.

    Parameters
    ----------
    layers : layers, ``Input(...)`` first where the model is to be built at once.
    """

    def __init__(
        self,
        layers: Iterable[Any] | None = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self._order: list[Layer] = []
        self._input_layer: Any = None
        for layer in layers or ():
            self.add(layer, rebuild=False)
        self._rebuild()

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Append a layer; an ``Input`` only as the first."""
        from gradloom.keras.layers.core import InputLayer

        if isinstance(layer, KerasTensor):
            history = layer._keras_history
            layer = None if history is None else history.operation
        if isinstance(layer, InputLayer):
            if self._input_layer is not None or self._order:
                raise ValueError(
                    f"Sequential model '{self.name}' has already been configured to use input shape "
                    f"{None if self._input_layer is None else self._input_layer.batch_shape}. You cannot add a "
                    f"different Input layer to it."
                )
            self._input_layer = layer
        elif not isinstance(layer, Layer):
            if callable(layer):
                from gradloom.keras.layers.core import Lambda

                layer = Lambda(layer)
            else:
                raise ValueError(
                    f"Only instances of `keras.Layer` can be added to a Sequential model. Received: {layer} (of type "
                    f"{type(layer)})"
                )
        if not isinstance(layer, InputLayer):
            if any(layer.name == other.name for other in self._order):
                raise ValueError(f"All layers added to a Sequential model should have unique names. Name "
                                 f"'{layer.name}' is already the name of a layer in this model. Update the `name` "
                                 "argument to pass a unique name.")  # fmt: skip
            if not self._order and self._input_layer is None:
                shape = layer.__dict__.get("sample_shape")
                if shape is not None:
                    self._input_layer = InputLayer(shape)
                elif isinstance(layer, Functional | Sequential) and layer._graph is not None:
                    inputs = layer._graph.flat_inputs
                    if len(inputs) == 1:
                        self._input_layer = InputLayer(batch_shape=inputs[0].shape, dtype=inputs[0].dtype)
            self._order = [*self._order, layer]
        self._forget()
        if rebuild:
            self._rebuild()

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer off."""
        if not self._order:
            raise IndexError("the model has no layers")
        layer = self._order[-1]
        self._order = self._order[:-1]
        self._forget()
        if rebuild:
            self._rebuild()
        return layer

    def _forget(self) -> None:
        self.__dict__["_graph"] = None
        self.built = False
        self.__dict__["_steps"] = None
        self.__dict__["_output_cache"] = {}
        note_change()

    def _rebuild(self) -> None:
        if self._input_layer is not None and self._order:
            self.build(self._input_layer.batch_shape)

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the one that only says the input's shape."""
        return list(self._order)

    @layers.setter
    def layers(self, value: Any) -> None:
        raise AttributeError("`Sequential.layers` attribute is reserved: Use `add()` and `pop()` to change the layers")

    @property
    def _layers(self) -> list[Layer]:  # type: ignore[override]
        return list(dict.fromkeys(self._order))

    def build(self, input_shape: Any = None) -> None:
        """Build each layer with the shape that comes out of the one before, and draw the graph."""
        from gradloom.keras.layers.core import InputLayer

        if input_shape is None or not self._order:
            return
        if self._input_layer is None:
            if isinstance(input_shape, dict) or (input_shape and isinstance(input_shape[0], list | tuple)):
                self.built = True
                return
            dtype = self._order[0].__dict__.get("wants_dtype")
            self._input_layer = InputLayer(batch_shape=tuple(input_shape), dtype=dtype)
        x = self._input_layer.output
        before = CONTEXT.scope
        if before[-1:] != (self.name,):  # built by itself, not by a call
            CONTEXT.scope = (*before, self.name)
        try:
            for layer in self._order:
                _check_arguments(layer)
                x = layer(x)
        except NotImplementedError:
            return
        finally:
            CONTEXT.scope = before
        self.__dict__["_graph"] = FunctionGraph(self._input_layer.output, x)
        self.built = True
        if getattr(x, "_keras_mask", None) is not None:
            self.supports_masking = True

    def _maybe_build(self, args: Any, kwargs: dict[str, Any]) -> None:
        x = args[0] if args else next(iter(kwargs.values()), None)
        leaves = tree.flatten(x)
        if len(leaves) == 1 and hasattr(leaves[0], "shape") and len(leaves[0].shape):
            self.build((None, *known_shape(leaves[0].shape)[1:]))
        self.built = True

    def _build_once(self, input_shape: Any) -> None:
        if not self.built:
            self.build(input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape that comes out of the last layer. ShapeError naming the layer that does not fit."""
        shape: Any = tuple(input_shape)
        for layer in self._order:
            shape = layer.compute_output_shape(shape)
        return shape

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> Any:
        """Symbolic tensors of the shape and dtype that come out."""
        x = inputs
        for layer in self._order:
            x = layer.compute_output_spec(x)
        return x

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Through all layers."""
        if not self._order:
            raise ValueError(f"Sequential model {self.name!r} cannot be called because it has no layers: add one first")
        x = inputs
        if self._graph is not None and isinstance(x, Tensor):
            x = self._adjusted(x, self._graph.flat_inputs[0], False)
            if mask is not None:
                x._keras_mask = mask
        for layer in self._order:
            x = layer(x)
        return x

    def _last(self) -> Any:
        last = self._order[-1] if self._order else None
        if last is None or not hasattr(last, "before_activation") or not hasattr(last, "activation"):
            return None
        return _Call(last) if last.activity_regularizer is None and type(self).call is Sequential.call else None

    def scores(self, x: Any, training: bool | None = None) -> Tensor:
        """Through all layers but the last activation: (n, ...) to the shape of the output."""
        before = CONTEXT.training
        CONTEXT.training = training
        CONTEXT.depth += 1
        try:
            x = tree.map_structure(self._converted, x)
            if self._graph is not None and isinstance(x, Tensor):
                x = self._adjusted(x, self._graph.flat_inputs[0], False)
            for layer in self._order[:-1]:
                x = layer(x)
            last = self._order[-1]
            return last.before_activation(last._converted(x))  # type: ignore[attr-defined]
        finally:
            CONTEXT.training = before
            CONTEXT.depth -= 1

    def get_config(self) -> dict[str, Any]:
        """The layers as plain data."""
        from gradloom.keras import dtype_policies

        shown = ([self._input_layer] if self._input_layer is not None else []) + self._order
        found: dict[str, Any] = {
            "name": self.name,
            "trainable": self._trainable,
            "dtype": dtype_policies.serialize(self.dtype_policy),
            "layers": [serialize_keras_object(layer) for layer in shown],
        }
        if self._graph is not None:
            found["build_input_shape"] = self._graph.flat_inputs[0].shape
        return found

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The model that gave this configuration, with new weights."""
        if "layers" not in config:
            return cls(**config)
        made = cls(name=config.get("name"), trainable=config.get("trainable", True), dtype=config.get("dtype"))
        for entry in config["layers"]:
            made.add(deserialize_keras_object(entry, custom_objects), rebuild=False)
        made._rebuild()
        shape = config.get("build_input_shape")
        if not made.built and shape is not None:
            made.build(tuple(shape))
        return made


def _check_arguments(layer: Layer) -> None:
    """ValueError for a layer whose ``call`` needs more than one argument."""
    needed = [n for n, d in layer._takes.items() if d is inspect.Parameter.empty and not n.startswith("*")]
    if len(needed) > 1:
        raise ValueError(
            f"Layers of a Sequential model can only have a single positional argument, the input; `call` of "
            f"{layer.name!r} ({type(layer).__name__}) needs {needed}"
        )


class _Call:
    """A layer in the place where functional models have a node."""

    def __init__(self, operation: Layer) -> None:
        self.operation = operation
