"""Layer: a module that learns its input's shape from the first data, as Keras' layers do.

``build(input_shape)`` makes the weights, ``call(x)`` or ``call(x, training=...)`` computes,
``compute_output_shape`` says what shape comes out. Shapes given to them start with the batch's axis, None there.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections import Counter
from typing import Any

from gradloom.keras import initializers
from gradloom.metrics.mean import as_tensor
from gradloom.nn.module import Module, Parameter
from gradloom.tensor import Tensor

Shape = tuple[int | None, ...]
_counts: Counter[str] = Counter()
_changes = itertools.count()
last_change = 0  # grows whenever any layer gets weights, or is frozen or thawed: what was collected before is stale


def note_change() -> None:
    """Say that the weights of some layer, or whether they are trained, have changed."""
    global last_change
    last_change = next(_changes)


def snake_case(name: str) -> str:
    """``InputLayer`` as ``input_layer``, ``ReLU`` as ``re_lu``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def unique_name(kind: str) -> str:
    """``dense``, then ``dense_1``, ``dense_2``, ... over the whole program."""
    number = _counts[kind]
    _counts[kind] += 1
    return f"{kind}_{number}" if number else kind


class Layer(Module):
    """Base of the layers.

    Parameters
    ----------
    name : shown in summaries and errors; made from the class where None.
    trainable : whether an optimiser may change the weights.
    """

    def __init__(self, name: str | None = None, trainable: bool = True) -> None:
        super().__init__()
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.built = False
        self._trainable = trainable
        self._takes_training = "training" in inspect.signature(self.call).parameters
        self.eval()  # a Keras layer called by hand infers; fit switches to training

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of this shape. The base has none."""

    def call(self, x: Tensor) -> Tensor:
        """Compute."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape that comes out where ``input_shape`` goes in; the same unless a layer says otherwise."""
        return input_shape

    def add_weight(
        self, shape: tuple[int, ...], initializer: Any = "glorot_uniform", name: str = "weight", trainable: bool = True
    ) -> Tensor:
        """Make a weight, kept as attribute ``name``."""
        value = initializers.get(initializer)(tuple(shape))
        parameter = Parameter(value, requires_grad=trainable)
        setattr(self, name, parameter)
        note_change()
        return parameter

    def forward(self, x: Any, training: bool | None = None) -> Tensor:
        """Build where that is still to be done, then ``call``."""
        if not isinstance(x, Tensor):
            x = as_tensor(x)
        if not self.built:
            self._build_once((None, *x.shape[1:]))
        if self._takes_training:
            return self.call(x, training=self.training if training is None else training)  # type: ignore[call-arg]
        return self.call(x)

    def _build_once(self, input_shape: Shape) -> None:
        if not self.built:
            self.build(input_shape)
            self.built = True

    @property
    def trainable(self) -> bool:
        """Whether an optimiser may change the weights."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for module in self.modules():
            if isinstance(module, Layer):
                module._trainable = bool(value)
        note_change()

    @property
    def weights(self) -> list[Tensor]:
        """All weights, in the order in which they were made."""
        return list(self.parameters())

    variables = weights

    @property
    def trainable_weights(self) -> list[Tensor]:
        """The weights that an optimiser may change."""
        kept: list[Tensor] = []
        waiting: list[Module] = [self]
        while waiting:
            module = waiting.pop()
            if isinstance(module, Layer) and not module._trainable:
                continue
            kept.extend(p for p in module.parameters(recurse=False) if p.requires_grad)
            waiting.extend(reversed(list(module.children())))
        return kept

    trainable_variables = trainable_weights

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        return sum(math.prod(p.shape) for p in self.weights)

    def get_weights(self) -> list[Any]:
        """The weights as NumPy arrays, copies, in the order of :attr:`weights`."""
        return [p.detach().numpy().copy() for p in self.weights]

    def set_weights(self, weights: list[Any]) -> None:
        """Set the weights to arrays in the order and shapes of :meth:`get_weights`."""
        from gradloom.keras.weights import assign

        assign(self, weights)
