"""Layers around recurrent and other layers: both directions of time, and each time by itself."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.keras import config, tree
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.core import Wrapper
from gradloom.keras.symbolic import known_shape
from gradloom.keras.variables import KerasTensor
from gradloom.tensor import Tensor

MERGES = ("sum", "mul", "ave", "concat", None)


class Bidirectional(Layer):
    """A recurrent layer forward in time, and a second one backward; their outputs put together.

    Input: (n, steps, features).
    Output: (n, 2 · units) for ``merge_mode="concat"``, else (n, units), with steps where the layer returns them.

    Parameters
    ----------
    layer : an :class:`RNN`, or a layer like it: ``go_backwards``, ``return_sequences``, ``return_state``, ``stateful``.
    merge_mode : "concat", "sum", "mul", "ave"; None gives both outputs.
    weights : values to begin with, those of the forward layer first.
    backward_layer : the layer for the other direction; made from the first one's configuration where None.
    """

    def __init__(
        self, layer: Any, merge_mode: str | None = "concat", weights: Any = None, backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        from gradloom.keras.saving import deserialize_keras_object, serialize_keras_object

        if not isinstance(layer, Layer):
            raise ValueError("Please initialize `Bidirectional` layer with a `keras.layers.Layer` instance. Received: "
                             f"{layer}")  # fmt: skip
        if backward_layer is not None and not isinstance(backward_layer, Layer):
            raise ValueError("`backward_layer` need to be a `keras.layers.Layer` instance. Received: "
                             f"{backward_layer}")  # fmt: skip
        if merge_mode not in MERGES:
            raise ValueError(f"Invalid merge mode. Received: {merge_mode}. Merge mode should be one of "
                             '{"sum", "mul", "ave", "concat", None}')  # fmt: skip
        super().__init__(**kwargs)

        def copied(direction: str, **changes: Any) -> Any:
            found = serialize_keras_object(layer)
            name = f"{direction}_{layer.name.removeprefix(direction + '_')}"
            found["config"] = {**found["config"], **changes, "name": name}
            return deserialize_keras_object(found, {type(layer).__name__: type(layer)})

        self.forward_layer = copied("forward")
        self.backward_layer = copied("backward", go_backwards=True) if backward_layer is None else backward_layer
        self._check()
        for one in (self.forward_layer, self.backward_layer):
            if getattr(one, "zero_output_for_mask", None) is not None:
                one.zero_output_for_mask = one.return_sequences  # what is padding in one direction is in the other
        self.merge_mode = merge_mode
        self.__dict__["_first_values"] = weights
        self.stateful, self.return_sequences = layer.stateful, layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True
        self.input_spec = layer.input_spec

    def _check(self) -> None:
        a, b = self.forward_layer, self.backward_layer
        if a.go_backwards == b.go_backwards:
            raise ValueError("Forward layer and backward layer should have different `go_backwards` value. Received: "
                             f"forward_layer.go_backwards {a.go_backwards}, backward_layer.go_backwards="
                             f"{b.go_backwards}")  # fmt: skip
        for name in ("stateful", "return_sequences", "return_state"):
            if getattr(a, name) != getattr(b, name):
                raise ValueError("Forward layer and backward layer are expected to have the same value for attribute "
                                 f'"{name}", got "{getattr(a, name)}" for forward layer and "{getattr(b, name)}" for '
                                 "backward layer")  # fmt: skip

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Build both layers."""
        self.forward_layer._build_once(sequences_shape)
        self.backward_layer._build_once(sequences_shape)
        self.built = True
        first = self.__dict__.pop("_first_values", None)
        if first:
            half = len(first) // 2
            self.forward_layer.set_weights(first[:half])
            self.backward_layer.set_weights(first[half:])

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Of the output, or of both with ``merge_mode=None``; then of the states where they come out too."""
        shape = self.forward_layer.compute_output_shape(sequences_shape)
        states: tuple[Any, ...] = ()
        if self.return_state:
            shape, states = shape[0], tuple(shape[1:])
        if self.merge_mode == "concat":
            shape = (*shape[:-1], shape[-1] * 2)
        if self.merge_mode is None:
            return (shape, shape, *states, *states)
        return (tuple(shape), *states, *states) if states else tuple(shape)

    def compute_output_spec(self, sequences: Any, *args: Any, **kwargs: Any) -> Any:
        """Symbolic outputs."""
        shapes = self.compute_output_shape(tuple(sequences.shape))
        return tree.map_shape_structure(lambda s: KerasTensor(s, self.compute_dtype), shapes)

    def compute_mask(self, _: Any, mask: Any = None) -> Any:
        """That of the inputs where all times come out; the states have none."""
        mask = tree.flatten(mask)[0] if mask is not None else None
        kept = mask if self.return_sequences else None
        found = [kept, kept] if self.merge_mode is None else kept
        if not self.return_state:
            return found
        states = [None] * (2 * len(self.forward_layer.state_size))
        return [*found, *states] if isinstance(found, list) else [found, *states]

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        """Outputs of both directions put together, then the states, forward ones first, where they come out too.

        Parameters
        ----------
        initial_state : those of the forward layer, then those of the backward one.
        """
        half = len(initial_state) // 2 if initial_state is not None else 0
        found = []
        for k, one in enumerate((self.forward_layer, self.backward_layer)):
            more: dict[str, Any] = {}
            if "training" in one._takes:
                more["training"] = training
            if "mask" in one._takes:
                more["mask"] = mask
            if initial_state is not None:
                more["initial_state"] = list(initial_state[half:] if k else initial_state[:half])
            found.append(one(sequences, **more))
        states: tuple[Any, ...] = ()
        dtype = config.as_dtype(self.compute_dtype)
        if self.return_state:
            states = tree.map_structure(lambda s: s.to(dtype), (*found[0][1:], *found[1][1:]))
            found = [f[0] for f in found]
        a, b = (f.to(dtype) for f in found)
        if self.return_sequences:
            b = G.flip(b, (1,))
        output = merged(a, b, self.merge_mode)
        if not states:
            return output
        return (*output, *states) if self.merge_mode is None else (output, *states)

    @property
    def states(self) -> Any:
        """The kept states of both layers; None where they are not stateful."""
        a, b = self.forward_layer.states, self.backward_layer.states
        return None if a is None or b is None else (*a, *b)

    def reset_state(self) -> None:
        """Begin anew. AttributeError where the layers are not stateful."""
        if not self.stateful:
            raise AttributeError("Layer must be stateful.")
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def reset_states(self) -> None:
        """The same as :meth:`reset_state`."""
        self.reset_state()

    def get_config(self) -> dict[str, Any]:
        """Both layers as configurations, and how they are put together."""
        from gradloom.keras.saving import serialize_keras_object

        return {**self._base_config(), "merge_mode": self.merge_mode, "layer": serialize_keras_object(
            self.forward_layer), "backward_layer": serialize_keras_object(self.backward_layer)}  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The layer that gave this configuration."""
        from gradloom.keras.saving import deserialize_keras_object

        given = dict(config)
        given["layer"] = deserialize_keras_object(given["layer"], custom_objects)
        if given.get("backward_layer") is not None:
            given["backward_layer"] = deserialize_keras_object(given["backward_layer"], custom_objects)
        return cls(**given)


def merged(a: Tensor, b: Tensor, mode: str | None) -> Any:
    """Two outputs as one."""
    if mode is None:
        return a, b
    if mode == "concat":
        return G.cat([a, b], -1)
    if mode == "mul":
        return a * b
    return (a + b) * 0.5 if mode == "ave" else a + b


class TimeDistributed(Wrapper):
    """A layer applied to each time of (batch, time, ...) by itself.

    Input: (n, steps, ...), of which the layer takes (n, ...).
    Output: (n, steps, ...), with what it gives.

    Times are taken into the batch, so the layer within runs once; what it does with a batch as a whole, such as
    normalising by it, sees all times together.
    """

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        if not isinstance(layer, Layer | dict):
            raise ValueError("Please initialize `TimeDistributed` layer with a `keras.layers.Layer` instance. "
                             f"Received: {layer}")  # fmt: skip
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    @staticmethod
    def _one(shape: Any) -> Any:
        if not isinstance(shape, list | tuple) or len(shape) < 3:
            raise ValueError("`TimeDistributed` Layer should be passed an `input_shape` with at least 3 dimensions, "
                             f"received: {shape}")  # fmt: skip
        return (shape[0], *shape[2:])

    def build(self, input_shape: Any = None) -> None:
        """Build the layer within for one time."""
        super().build(self._one(input_shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the layer within, time put back."""
        shape = self.layer.compute_output_shape(self._one(input_shape))
        return (shape[0], input_shape[1], *shape[1:])

    def call(self, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
        """(batch, time, ...) to (batch, time, ...)."""
        if mask is not None:
            shape = tuple(inputs.shape)
            if mask.ndim < 2 or tuple(mask.shape[:2]) != shape[:2]:
                raise ShapeError(
                    f"The `mask` passed to the `TimeDistributed` layer has a shape {known_shape(mask.shape)} that is "
                    f"incompatible with the input shape {known_shape(shape)}", code="keras.mask",
                    hint="it must be at least 2D: (batch_size, timesteps, ...)",
                )  # fmt: skip
        batch, times = inputs.shape[:2]
        flat = G.reshape(inputs, (batch * times, *inputs.shape[2:]))
        more: dict[str, Any] = {}
        if "training" in self.layer._takes:
            more["training"] = training
        if "mask" in self.layer._takes and mask is not None:
            more["mask"] = G.reshape(mask, (batch * times, *mask.shape[2:]))
        y = self.layer(flat, **more)
        y = y.to(config.as_dtype(self.compute_dtype)) if y.dtype.is_floating else y
        return G.reshape(y, (batch, times, *y.shape[1:]))
