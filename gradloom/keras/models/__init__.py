"""Models: functional, sequential and subclassed; cloning, and reading back from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from gradloom.keras.models.functional import clone_graph
from gradloom.keras.models.model import Functional, Model
from gradloom.keras.models.sequential import Sequential
from gradloom.keras.saving import deserialize_keras_object

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
    **kwargs: Any,
) -> Model:
    """A model of the same architecture with new weights.

    Parameters
    ----------
    input_tensors : symbolic tensors to begin with in place of new inputs.
    clone_function : makes each layer's copy; by default from its configuration.
    call_function : calls each copy, as ``call_function(layer, *args, **kwargs)``.
    recursive : whether ``clone_function`` goes for the layers of models in this one too.
    """
    if kwargs:
        raise ValueError(f"clone_model: unknown argument(s) {', '.join(map(repr, kwargs))}")
    made = _cloned(model, input_tensors, clone_function, call_function, recursive)
    told = model.get_compile_config() if made is not model else None
    if told is not None:
        made.compile_from_config(told)
    return made


def _cloned(
    model: Model,
    input_tensors: Any,
    clone_function: Callable[[Any], Any] | None,
    call_function: Callable[..., Any] | None,
    recursive: bool,
) -> Model:
    from gradloom.keras.layers.core import Input

    def copied(layer: Any) -> Any:
        if recursive and isinstance(layer, Model) and layer._graph is not None:
            return _cloned(layer, None, clone_function, call_function, True)
        if clone_function is not None:
            return clone_function(layer)
        return type(layer).from_config(layer.get_config())

    if isinstance(model, Sequential):
        found = Sequential(name=model.name, trainable=model.trainable)
        if input_tensors is not None:
            found.add(input_tensors if not isinstance(input_tensors, list) else input_tensors[0], rebuild=False)
        elif model._input_layer is not None:
            found.add(type(model._input_layer).from_config(model._input_layer.get_config()), rebuild=False)
        for layer in model.layers:
            found.add(copied(layer), rebuild=False)
        found._rebuild()
        return found
    if model._graph is None:
        if clone_function is not None or input_tensors is not None:
            raise ValueError("clone_function and input_tensors go with functional and Sequential models only")
        return type(model).from_config(model.get_config())
    from gradloom.keras import tree

    graph = model._graph
    inputs = input_tensors
    if inputs is None:
        inputs = tree.map_structure(
            lambda x: Input(batch_shape=x.shape, dtype=x.dtype, name=x._keras_history.operation.name), graph.inputs
        )
    else:
        if not tree.is_nested(inputs) and isinstance(graph.inputs, list | tuple):
            inputs = [inputs]
        try:
            tree.assert_same_structure(inputs, graph.inputs)
        except ValueError as error:
            raise ValueError("`input_tensors` must have the same structure as model.input") from error
    inputs, outputs = clone_graph(graph, inputs, copied, call_function)
    return Functional(inputs, outputs, name=model.name)


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Model:
    """The model that ``to_json`` wrote, with new weights."""
    return deserialize_keras_object(json.loads(json_string), custom_objects)


def load_model(
    filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Any:
    """The model of a ``.keras`` archive, ours or of Keras 3."""
    from gradloom.keras.saving import archive

    return archive.load_model(filepath, custom_objects, compile, safe_mode)


def save_model(model: Model, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
    """Write a model to a ``.keras`` archive."""
    from gradloom.keras.saving import archive

    archive.save_model(model, filepath, overwrite, **kwargs)
