"""Model: a layer with training on top; functional where it is made of inputs and outputs, or subclassed.

``fit`` checks the data once, then hands batches to the one training loop (:mod:`gradloom.train.loop`), whose steps are
:class:`gradloom.keras.steps.ModelSteps`.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from typing import Any

from gradloom.errors import NotSupportedError, ShapeError, StateError
from gradloom.keras import activations, config, tree
from gradloom.keras.layers import configs
from gradloom.keras.layers.base import Layer
from gradloom.keras.losses import Loss
from gradloom.keras.models import functional
from gradloom.keras.models.graph import FunctionGraph
from gradloom.keras.models.trainer import Trainer
from gradloom.keras.symbolic import Node, known_shape
from gradloom.keras.variables import KerasTensor
from gradloom.tensor import Tensor, from_numpy


class Model(Trainer, Layer):
    """Base of models: ``Model(inputs, outputs)``, or a subclass with layers in ``__init__`` and ``call``.

    Parameters
    ----------
    inputs, outputs : structures of symbolic tensors; without them the subclass has a ``call``.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """``Model(inputs, outputs)`` is a :class:`Functional`."""
        functional_call = len(args) >= 2 or "outputs" in kwargs
        return super().__new__(Functional if cls is Model and functional_call else cls, *args, **kwargs)

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(inputs, str):  # the older Model("name")
            inputs, name = None, inputs
        Layer.__init__(self, name=name, trainable=trainable, dtype=dtype, **kwargs)
        self._init_training()
        self._graph: FunctionGraph | None = None
        if inputs is not None and outputs is not None:
            self._set_graph(functional.graph_of(inputs, outputs))

    def _set_graph(self, graph: FunctionGraph) -> None:
        self.__dict__["_graph"] = graph
        self.__dict__["_graph_layers"] = [op for op in graph.operations if isinstance(op, Layer)]
        self.built = True
        if any(getattr(x, "_keras_mask", None) is not None for x in graph.flat_outputs):
            self.supports_masking = True

    # what a model is made of --------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, from the inputs to the outputs, or in the order in which they became attributes."""
        if self._graph is not None:
            return list(self.__dict__["_graph_layers"])
        return self._layers

    @layers.setter
    def layers(self, value: Any) -> None:
        raise AttributeError("`Model.layers` attribute is reserved: it tells the layers; use another name")

    @property
    def operations(self) -> list[Any]:
        """The layers and the operations of ``keras.ops`` between them."""
        return list(self._graph.operations) if self._graph is not None else list(self.layers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of a name or a place. ValueError where there is none."""
        if name is not None and index is not None:
            raise ValueError(f"Provide only a layer name or a layer index. Received: index={index}, name={name}.")
        if index is not None:
            if len(self.layers) <= index:
                raise ValueError(f"Was asked to retrieve layer at index {index} but model only has {len(self.layers)} "
                                 "layers.")  # fmt: skip
            return self.layers[index]
        if name is None:
            raise ValueError("Provide either a layer name or layer index at `get_layer`.")
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}. Existing layers are: {[layer.name for layer in self.layers]}.")

    def _need_graph(self, what: str) -> FunctionGraph:
        if self._graph is None:
            raise AttributeError(f"model {self.name!r} has no {what}: it was not made of symbolic tensors")
        return self._graph

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs."""
        return list(self._need_graph("inputs").flat_inputs)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs."""
        return list(self._need_graph("outputs").flat_outputs)

    @property
    def input(self) -> Any:
        """The symbolic inputs in their structure."""
        return self._need_graph("input").inputs

    @property
    def output(self) -> Any:
        """The symbolic outputs in their structure."""
        return self._need_graph("output").outputs

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs."""
        return [x._keras_history.operation.name if x._keras_history else x.name for x in self.inputs]

    @property
    def input_shape(self) -> Any:
        """Shapes of the inputs, None for the batch."""
        return tree.map_structure(lambda x: x.shape, self.input)

    @property
    def output_shape(self) -> Any:
        """Shapes of the outputs, None for the batch."""
        return tree.map_structure(lambda x: x.shape, self.output)

    @property
    def output_names(self) -> list[str]:
        """What outputs are called in losses and metrics: keys, or the layers that make them."""
        if self._graph is None:
            return []
        outputs = self._graph.outputs
        if isinstance(outputs, dict) and not any(map(tree.is_nested, outputs.values())):
            return sorted(outputs)
        return [x._keras_history.operation.name if x._keras_history else x.name for x in self._graph.flat_outputs]

    # calling ------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Find out the shapes of a subclassed model's weights by a call on symbolic tensors."""
        if self._graph is not None or input_shape is None:
            self.built = True
            return
        if type(self).call is Model.call:
            raise NotImplementedError(f"model {self.name!r} has no `call` method")
        self.built = True
        spec = tree.map_shape_structure(lambda s: KerasTensor(s, self._dtype_of_inputs()), input_shape)
        self._build_shapes = {"input_shape": input_shape}
        self.compute_output_spec(spec)

    def _dtype_of_inputs(self) -> str:
        return self.compute_dtype

    def _maybe_build(self, args: Any, kwargs: dict[str, Any]) -> None:
        if type(self).build is Model.build:
            self.built = True
            first = args[0] if args else None
            if first is not None and all(hasattr(x, "shape") for x in tree.flatten(first)):
                shapes = tree.map_structure(lambda x: (None, *known_shape(x.shape)[1:]), first)
                self._build_shapes = {"input_shape": shapes}
            return
        super()._maybe_build(args, kwargs)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Through the graph of a functional model; a subclassed model has its own."""
        if self._graph is None:
            raise NotImplementedError(
                f"Model {type(self).__name__} does not have a `call()` method implemented: write one, or give inputs "
                "and outputs"
            )
        values = self._matched(inputs)
        if mask is not None:
            for value, m in zip(values, tree.flatten(mask)):
                if m is not None and isinstance(value, Tensor):
                    value._keras_mask = m  # type: ignore[attr-defined]
        return self._graph.run(values)

    def _matched(self, inputs: Any) -> list[Any]:
        """Values for the graph's inputs, by place or by name, with a missing last axis of size 1 put in."""
        graph = self._need_graph("inputs")
        wanted = graph.inputs
        if isinstance(inputs, dict):
            names = self.input_names if not isinstance(wanted, dict) else list(wanted)
            missing = [n for n in names if n not in inputs]
            if missing:
                raise ValueError(f"model {self.name!r} needs inputs {names}, {sorted(inputs)} were given")
            extra = [k for k in inputs if k not in names]
            if extra:
                self._warn_of_structure(inputs)
            values = tree.flatten({k: inputs[k] for k in names}) if isinstance(wanted, dict) else [
                inputs[n] for n in names
            ]  # fmt: skip
        else:
            values = tree.flatten(inputs)
            if isinstance(wanted, dict) and len(wanted) > 1 and len(values) == len(graph.flat_inputs):
                if list(wanted) != sorted(wanted):
                    raise ValueError(self._structure_differs(inputs))
                self._warn_of_structure(inputs)
        if len(values) != len(graph.flat_inputs):
            raise ValueError(
                f'Layer "{self.name}" expects {len(graph.flat_inputs)} input(s), but it received {len(values)} input '
                f"tensors."
            )
        return [self._adjusted(value, ref) for value, ref in zip(values, graph.flat_inputs)]

    def _structure_differs(self, inputs: Any) -> str:
        wanted = tree.map_structure(lambda x: x.name, self._need_graph("inputs").inputs)
        given = tree.map_structure(lambda x: "*", inputs)
        return (
            f"The structure of `inputs` doesn't match the expected structure of model {self.name!r}: it takes "
            f"{wanted}, {given} was given"
        )

    def _warn_of_structure(self, inputs: Any) -> None:
        warnings.warn(self._structure_differs(inputs), stacklevel=5)

    def _adjusted(self, value: Any, ref: KerasTensor, check: bool = True) -> Any:
        if value is None:
            maker = None if ref._keras_history is None else ref._keras_history.operation
            if not getattr(maker, "optional", False):
                raise ValueError(f"model {self.name!r}: input {ref.name!r} is None, and it is not optional")
            return None
        if not isinstance(value, Tensor):
            return value
        rank, wanted = value.ndim, len(ref.shape)
        if rank != wanted:
            if rank == wanted - 1 and ref.shape[-1] == 1:
                value = value.unsqueeze(-1)
            elif rank == wanted + 1 and value.shape[-1] == 1:
                value = value.reshape(*value.shape[:-1])
        if check and (value.ndim != wanted or any(
            a is not None and a != b for a, b in zip(ref.shape[1:], tuple(value.shape)[1:])
        )):  # fmt: skip
            name = ref._keras_history.operation.name if ref._keras_history else ref.name
            found = f", which have {value.shape[-1]} features" if value.ndim == wanted else ""
            raise ShapeError(
                f"model {self.name!r}: input {name!r} of shape {known_shape(value.shape)}{found}, but it takes "
                f"{ref.shape}",
                code="keras.input-shape",
                hint="give samples of the shape of the Input, the batch first",
            )
        dtype = config.as_dtype(ref.dtype) if ref.dtype != "string" else None
        if dtype is not None and value.dtype is not dtype:
            mask = getattr(value, "_keras_mask", None)
            value = value.to(dtype)
            if mask is not None:
                value._keras_mask = mask
        return value

    def last_activation(self) -> Callable[[Tensor], Tensor] | None:
        """The activation that makes the output out of :meth:`scores`; None where that is not known."""
        node = self._last()
        return None if node is None else node.operation.activation

    def _last(self) -> Node | None:
        if self._graph is None or type(self).call is not Model.call:
            return None
        node = functional.last_call(self._graph)
        if node is None or not hasattr(node.operation, "before_activation") or len(node.inputs) != 1:
            return None
        if node.operation.activity_regularizer is not None or not hasattr(node.operation, "activation"):
            return None
        return node

    def scores(self, x: Any, training: bool | None = None) -> Tensor:
        """The input of :meth:`last_activation`: through the graph but for the last activation."""
        from gradloom.keras.layers.context import CONTEXT

        node = self._last()
        assert node is not None and self._graph is not None
        before = CONTEXT.training
        CONTEXT.training = training
        CONTEXT.depth += 1
        try:
            values = tree.map_structure(self._converted, x)
            (inner,) = self._graph.run(self._matched(values), None, node)
            return node.operation.before_activation(node.operation._converted(inner))
        finally:
            CONTEXT.training = before
            CONTEXT.depth -= 1

    def scores_for(self, loss: Loss) -> bool:
        """Whether the loss takes the last activation's input in place of its output."""
        last = self.last_activation()
        return last is not None and not loss.from_logits and activations.name_of(last) == loss.replaces

    # telling ------------------------------------------------------------------------------------------------------

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Print the layers, the shapes of their outputs and their numbers of weights.

        Parameters
        ----------
        print_fn : takes the text in place of ``print``.
        expand_nested : whether the layers of models in this one are listed too.
        show_trainable : whether a column tells if weights are trained.
        layer_range : (first, last) names, or patterns of names, of the layers to show.
        """
        from gradloom.keras.summary import summary_text

        text = summary_text(self, line_length, positions, expand_nested, show_trainable, layer_range)
        (print_fn or print)(text)

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        if not self.built:
            raise ValueError(f"model {self.name!r} is not built, so its weights are not known: call it, or build it")
        return sum(int(v.numel()) for v in self.weights)

    # saving -------------------------------------------------------------------------------------------------------

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any) -> None:
        """Write architecture, weights, optimiser and its state to a ``.keras`` archive."""
        from gradloom.keras.saving import archive

        archive.save_model(self, filepath, overwrite, **kwargs)

    def __reduce__(self) -> Any:
        """Pickled and copied as a ``.keras`` archive: classes of one's own have to be registered where it is read."""
        from gradloom.keras.saving import archive

        return archive.model_from_bytes, (archive.model_bytes(self),)

    def save_weights(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, max_shard_size: float | None = None
    ) -> None:
        """Write the weights to a ``.safetensors`` or ``.weights.h5`` file. FileExistsError unless ``overwrite``.

        ``max_shard_size`` is refused: weights stand in one file.
        """
        from gradloom.keras.saving import archive

        if max_shard_size is not None:
            raise NotSupportedError(
                f"save_weights: max_shard_size={max_shard_size}: weights are not spread over files",
                code="keras.shards", hint="leave it out: the weights go to one file, which is written at once",
            )  # fmt: skip
        archive.save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: str | os.PathLike[str], skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Set the weights to those of a file of the same architecture."""
        from gradloom.keras.saving import archive

        archive.load_weights(self, filepath, skip_mismatch, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The layers and their calls, as plain data."""
        if self._graph is not None and type(self).call is Model.call:
            if type(self) in (Model, Functional) or not self._has_own_arguments():
                found = {"name": self.name, "trainable": self._trainable}
                return found | functional.graph_config(self._graph)
        if type(self).get_config is Model.get_config:
            return self._base_config() | configs.recorded_config(self)
        return self._base_config()

    def _has_own_arguments(self) -> bool:
        return type(self).__init__ not in (Model.__init__, Functional.__init__)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The model that gave this configuration, with new weights."""
        if "layers" in config and "input_layers" in config:
            from gradloom.keras.saving import CustomObjectScope

            with CustomObjectScope(custom_objects):
                inputs, outputs = functional.graph_from_config(config)
            made = cls(inputs, outputs, name=config.get("name"))
            made.__dict__["_trainable"] = config.get("trainable", True)  # the layers' configurations say theirs
            return made
        return cls(**config)

    def to_json(self, **kwargs: Any) -> str:
        """Class and configuration as JSON, for ``model_from_json``."""
        from gradloom.keras.saving import serialize_keras_object

        return json.dumps(serialize_keras_object(self), **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        """The shapes that it was built with; a functional model needs none."""
        return None if self._graph is not None else super().get_build_config()

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Build with the shapes of :meth:`get_build_config`."""
        if config and config.get("input_shape") is not None:
            self.build(tree.map_shape_structure(tuple, config["input_shape"]))

    def reset_states(self) -> None:
        """Set the states of recurrent layers to zero."""
        for layer in self.layers:
            if hasattr(layer, "reset_states"):
                layer.reset_states()

    # values as plain data --------------------------------------------------------------------------------------------

    def get_state_tree(self, value_format: str = "backend_tensor") -> dict[str, Any]:
        """The values of weights, of the optimiser and of metrics, in nested dictionaries by their paths.

        Parameters
        ----------
        value_format : "backend_tensor" for tensors, "numpy_array" for arrays.

        Raises
        ------
        ValueError : two variables have one path.
        """
        if value_format not in ("backend_tensor", "numpy_array"):
            raise ValueError(f"value_format={value_format!r}: expected 'backend_tensor' or 'numpy_array'")
        found: dict[str, Any] = {}
        for kind, variables in self._states().items():
            branch = found.setdefault(kind, {})
            for v in variables:
                *heads, last = v.path.split("/")
                at = branch
                for head in heads:
                    at = at.setdefault(head, {})
                if last in at:
                    raise ValueError(f"The following variable path is found twice in the model: {v.path!r}")
                at[last] = v.numpy().copy() if value_format == "numpy_array" else from_numpy(v.numpy().copy())
        return found

    def set_state_tree(self, state_tree: dict[str, Any]) -> None:
        """Set the values that :meth:`get_state_tree` gave, or some of its branches.

        Metrics that the model makes with its first batch begin at zero, as they do in each epoch.

        Raises
        ------
        ValueError : a path that the model has not.
        """
        known = self._states()
        for kind, branch in state_tree.items():
            if kind not in known:
                raise ValueError(f"Unknown variable name: {kind!r}: expected one of {list(known)}")
            by_path = {v.path: v for v in known[kind]}
            for path, value in _leaves(branch):
                if path not in by_path:
                    if kind == "metrics_variables":
                        continue
                    raise ValueError(f"{kind} has no variable {path!r}: it has {list(by_path)}")
                by_path[path].assign(value)

    def _states(self) -> dict[str, list[Any]]:
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_weights)
        return {
            "trainable_variables": self.trainable_variables,
            "non_trainable_variables": self.non_trainable_variables,
            "optimizer_variables": list(self.optimizer.variables) if self.optimizer is not None else [],
            "metrics_variables": [v for m in self.metrics for v in m.variables],
        }

    def export(
        self, filepath: Any, format: str = "onnx", verbose: Any = None, input_signature: Any = None, **kwargs: Any
    ) -> None:
        """Write the call in inference mode as ONNX; numbers are compared first. Sizes that are None stay open.

        input_signature: what has the inputs' shapes and dtypes, where the model does not know them. Keywords are those
        of :func:`gradloom.onnx.export`, such as ``opset_version``. Formats but ``"onnx"`` raise NotSupportedError.
        """
        from gradloom.keras.saving.exporting import export_model

        export_model(self, filepath, format, verbose, input_signature, kwargs)

    def _not_built(self, what: str) -> StateError:
        return StateError(
            f"{self.name!r} {what}", code="keras.not-built", hint="build it first, by data or by an Input layer"
        )


class Functional(Model):
    """A model of a graph: ``Functional(inputs, outputs)``."""


def _leaves(branch: Any, path: str = "") -> list[tuple[str, Any]]:
    """(path, value) of nested dictionaries."""
    if not isinstance(branch, dict):
        return [(path, branch)]
    return [leaf for key, value in branch.items() for leaf in _leaves(value, f"{path}/{key}" if path else key)]
