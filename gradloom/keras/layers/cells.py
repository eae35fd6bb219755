"""Cells of recurrent layers: one step each, with Keras' names of weights and order of gates.

LSTM: input, forget, candidate, output (Hochreiter and Schmidhuber 1997). GRU: update, reset, candidate (Cho et al.
2014). A layer runs a cell through one ``scan`` over time; what hangs on the inputs alone, their product with
``kernel``, is taken out of the loop there, so a cell may be written as if for one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.functions.pieces import chunk
from gradloom.keras import config, initializers, tree
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.core import _Weighted, floats
from gradloom.keras.layers.regularization import kept
from gradloom.keras.symbolic import inferring
from gradloom.keras.variables import SeedGenerator
from gradloom.tensor import Tensor

States = Sequence[Any]


class DropoutRNNCell(_Weighted):
    """Base: decisions of dropout on inputs and on states, drawn once for all steps of a sequence (Gal 2016)."""

    masks = 1  # one for each gate where gates see inputs of their own

    def _random(self, dropout: float, recurrent_dropout: float, seed: Any) -> None:
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        self.seed = seed
        self.seed_generator = SeedGenerator(seed)
        self.reset_dropout_mask()
        self.reset_recurrent_dropout_mask()

    def _drawn(self, name: str, like: Tensor, rate: float) -> Any:
        if not 0.0 < rate < 1.0:
            return None
        found = self.__dict__[name]
        if found is None:
            if inferring():  # only shapes are wanted: nothing is drawn
                return [G.ones_like(like)] * self.masks
            generator, scale = self.seed_generator.generator, 1.0 / (1.0 - rate)
            found = [kept(like, rate, None, generator) * scale for _ in range(self.masks)]
            self.__dict__[name] = found
        return found

    def get_dropout_mask(self, step_input: Tensor) -> Any:
        """Factors for the inputs, a list of tensors like ``step_input``; None without dropout. Kept until reset."""
        return self._drawn("_dropout_mask", step_input, self.dropout)

    def get_recurrent_dropout_mask(self, step_input: Tensor) -> Any:
        """Factors for the state, a list of tensors like it; None without dropout. Kept until reset."""
        return self._drawn("_recurrent_dropout_mask", step_input, self.recurrent_dropout)

    def reset_dropout_mask(self) -> None:
        """Draw anew at the next step."""
        self.__dict__["_dropout_mask"] = None

    def reset_recurrent_dropout_mask(self) -> None:
        """Draw anew at the next step."""
        self.__dict__["_recurrent_dropout_mask"] = None


def gated(x: Tensor, kernel: Tensor, factors: Sequence[Tensor] | None, product: Callable[..., Tensor]) -> Tensor:
    """``product(x, kernel)`` for all gates; ``x`` times a factor of its own for each gate where there are several."""
    if factors is None:
        return product(x, kernel)
    if len(factors) == 1:
        return product(x * factors[0], kernel)
    parts = chunk(kernel, len(factors), -1)
    return G.cat([product(x * f, k) for f, k in zip(factors, parts, strict=True)], -1)


def checked_units(units: Any) -> int:
    """A number of units. ValueError where it is none."""
    if not isinstance(units, int) or units <= 0:
        raise ValueError(f"Received an invalid value for argument `units`, expected a positive integer, got {units}.")
    return units


class _Cell(DropoutRNNCell):
    """Base of the dense cells: kernel (inputs, gates · units), recurrent_kernel (units, gates · units), bias."""

    gates = 1

    def _cell(self, units: int, dropout: float, recurrent_dropout: float, seed: Any, implementation: int,
              options: dict[str, Any]) -> None:  # fmt: skip
        if implementation not in (0, 1, 2):
            raise ValueError(f"implementation={implementation!r}: expected 1 or 2")
        self.units = checked_units(units)
        self._options(options)
        self.implementation = 1 if recurrent_dropout else implementation
        self.masks = self.gates if self.implementation == 1 else 1
        self._random(dropout, recurrent_dropout, seed)
        self.output_size = self.units

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _bias_values(self) -> Any:
        return self.bias_initializer

    def build(self, input_shape: Any) -> None:
        """Make kernel, recurrent_kernel and bias."""
        wide = self.gates * self.units
        self.kernel = self.weight("kernel", (input_shape[-1], wide))
        self.recurrent_kernel = self.add_weight(
            (self.units, wide), self.recurrent_initializer, regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint, name="recurrent_kernel",
        )  # fmt: skip
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                self._bias_shape(), self._bias_values(), regularizer=self.bias_regularizer,
                constraint=self.bias_constraint, name="bias",
            )  # fmt: skip
        self.built = True

    def compute_output_spec(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """Symbolic output and states."""
        from gradloom.keras.symbolic import infer

        return infer(self._call_plain, inputs, states)

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Zeros, (batch_size, units) for each state."""
        sizes = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [G.zeros((batch_size, n), dtype=config.as_dtype(self.compute_dtype)) for n in sizes]

    def _given(self, x: Tensor, training: bool) -> Tensor:
        """The gates' part that hangs on the inputs, without a bias."""
        return gated(floats(x, self), self.kernel, self.get_dropout_mask(x) if training else None, G.matmul)

    def _carried(self, h: Tensor, kernel: Tensor, training: bool) -> Tensor:
        """The gates' part that hangs on the state."""
        return gated(h, kernel, self.get_recurrent_dropout_mask(h) if training else None, G.matmul)


class SimpleRNNCell(_Cell):
    """activation(x @ kernel + h @ recurrent_kernel + bias).

    Input: (n, features), and the state (n, units).
    Output: (n, units), and a list of the new state.

    Parameters
    ----------
    units : size of the state and of the output.
    dropout, recurrent_dropout : shares of inputs and of the state that training drops, the same ones at all steps.
    """

    def __init__(
        self, units: int, activation: Any = "tanh", use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, seed: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self._cell(units, dropout, recurrent_dropout, seed, 2, {
            "activation": activation, "use_bias": use_bias, "kernel_initializer": kernel_initializer,
            "recurrent_initializer": recurrent_initializer, "bias_initializer": bias_initializer,
            "kernel_regularizer": kernel_regularizer, "recurrent_regularizer": recurrent_regularizer,
            "bias_regularizer": bias_regularizer, "kernel_constraint": kernel_constraint,
            "recurrent_constraint": recurrent_constraint, "bias_constraint": bias_constraint,
        })  # fmt: skip
        self.masks = 1
        self.state_size = units

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> Any:
        """(batch, inputs) and the state (batch, units) to output and new state."""
        h = states[0] if tree.is_nested(states) else states
        z = self._given(inputs, training)
        z = z if self.bias is None else z + self.bias
        h = self.activation(z + self._carried(h, self.recurrent_kernel, training))
        return h, [h] if tree.is_nested(states) else h


class GRUCell(_Cell):
    """Gated recurrent unit (Cho et al. 2014).

    Input: (n, features), and the state (n, units).
    Output: (n, units), and a list of the new state.

    Parameters
    ----------
    units : size of the state and of the output.
    reset_after : whether the reset gate acts behind the product with the recurrent kernel; then there are two biases.
    dropout, recurrent_dropout : shares of inputs and of the state that training drops, the same ones at all steps.
    """

    gates = 3

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
        bias_regularizer: Any = None, kernel_constraint: Any = None, recurrent_constraint: Any = None,
        bias_constraint: Any = None, dropout: float = 0.0, recurrent_dropout: float = 0.0, reset_after: bool = True,
        seed: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        implementation = kwargs.pop("implementation", 2)
        super().__init__(**kwargs)
        self.reset_after = bool(reset_after)
        self._cell(units, dropout, recurrent_dropout, seed, implementation, {
            "activation": activation, "recurrent_activation": recurrent_activation, "use_bias": use_bias,
            "kernel_initializer": kernel_initializer, "recurrent_initializer": recurrent_initializer,
            "bias_initializer": bias_initializer, "kernel_regularizer": kernel_regularizer,
            "recurrent_regularizer": recurrent_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "recurrent_constraint": recurrent_constraint,
            "bias_constraint": bias_constraint,
        })  # fmt: skip
        self.state_size = units

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def call(self, inputs: Tensor, states: Any, training: bool = False) -> Any:
        """(batch, inputs) and the state (batch, units) to output and new state."""
        h = states[0] if tree.is_nested(states) else states
        given = self._given(inputs, training)
        first, behind = (self.bias, None) if self.bias is None or not self.reset_after else self.bias.unbind(0)
        given = given if first is None else given + first
        xz, xr, xh = chunk(given, 3, -1)
        if self.reset_after:
            carried = self._carried(h, self.recurrent_kernel, training)
            hz, hr, hh = chunk(carried if behind is None else carried + behind, 3, -1)
            z, r = self.recurrent_activation(xz + hz), self.recurrent_activation(xr + hr)
            new = self.activation(xh + r * hh)
        else:
            z, r, new = self._reset_before(h, (xz, xr, xh), training)
        h = z * h + (1.0 - z) * new
        return h, [h] if tree.is_nested(states) else h

    def _reset_before(self, h: Tensor, given: Sequence[Tensor], training: bool) -> tuple[Tensor, Tensor, Tensor]:
        n = self.units
        factors = self.get_recurrent_dropout_mask(h) if training else None
        gates, last = self.recurrent_kernel[:, : 2 * n], self.recurrent_kernel[:, 2 * n :]
        of_gates = factors[:2] if factors is not None and len(factors) == 3 else factors
        hz, hr = chunk(gated(h, gates, of_gates, G.matmul), 2, -1)
        z, r = self.recurrent_activation(given[0] + hz), self.recurrent_activation(given[1] + hr)
        dropped = h if factors is None else h * factors[-1]
        return z, r, self.activation(given[2] + G.matmul(r * dropped, last))


class LSTMCell(_Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), with forget gates (Gers et al. 2000).

    Input: (n, features), and two states (n, units).
    Output: (n, units), and a list of the new states.

    Parameters
    ----------
    units : size of both states and of the output.
    unit_forget_bias : whether the forget gate's bias begins at 1 (Jozefowicz et al. 2015).
    dropout, recurrent_dropout : shares of inputs and of the state that training drops, the same ones at all steps.
    """

    gates = 4

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, seed: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        implementation = kwargs.pop("implementation", 2)
        super().__init__(**kwargs)
        self.unit_forget_bias = bool(unit_forget_bias)
        self._cell(units, dropout, recurrent_dropout, seed, implementation, {
            "activation": activation, "recurrent_activation": recurrent_activation, "use_bias": use_bias,
            "kernel_initializer": kernel_initializer, "recurrent_initializer": recurrent_initializer,
            "bias_initializer": bias_initializer, "kernel_regularizer": kernel_regularizer,
            "recurrent_regularizer": recurrent_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "recurrent_constraint": recurrent_constraint,
            "bias_constraint": bias_constraint,
        })  # fmt: skip
        self.state_size = [units, units]

    def _bias_values(self) -> Any:
        return forgetful(self.bias_initializer) if self.unit_forget_bias else self.bias_initializer

    def call(self, inputs: Tensor, states: States, training: bool = False) -> Any:
        """(batch, inputs) and the states h and c (batch, units) to output and new states."""
        h, c = states
        z = self._given(inputs, training)
        z = z if self.bias is None else z + self.bias
        i, f, g, o = chunk(z + self._carried(h, self.recurrent_kernel, training), 4, -1)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        h = self.recurrent_activation(o) * self.activation(c)
        return h, [h, c]


def forgetful(initializer: Any) -> Callable[..., Any]:
    """Values of an LSTM's bias: those of ``initializer``, 1 for the forget gate."""

    def values(shape: Any, dtype: Any = None) -> Any:
        n = shape[0] // 4
        parts = [initializers.call(initializer, (k,), dtype) for k in (n, 2 * n)]
        one = initializers.call(initializers.get("ones"), (n,), dtype)
        return G.cat([parts[0], one, parts[1]], 0)

    return values


class StackedRNNCells(Layer):
    """Cells one upon another as a single cell; its state is the list of theirs.

    Input: (n, features), and the states of all cells.
    Output: the last cell's (n, units), and the new states.
    """

    def __init__(self, cells: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for cell in cells:
            if not hasattr(cell, "call") and not callable(cell):
                raise ValueError(f"All cells must have a `call` method. Received cell without a `call` method: {cell}")
            if "state_size" not in dir(cell):
                raise ValueError(
                    f"All cells must have a `state_size` attribute. Received cell without a `state_size`: {cell}"
                )
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """Those of the cells."""
        return [c.state_size for c in self.cells]

    @property
    def output_size(self) -> int:
        """That of the last cell."""
        return output_size(self.cells[-1])

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        """Those of the cells."""
        found: list[Any] = []
        for cell in self.cells:
            state = initial_state(cell, batch_size, self.compute_dtype)
            found.append(state if tree.is_nested(cell.state_size) or len(state) > 1 else state[0])
        return found

    def build(self, input_shape: Any) -> None:
        """Build each cell for what the one before gives."""
        for cell in self.cells:
            if isinstance(cell, Layer):
                cell._build_once(input_shape)
            input_shape = (tree.flatten(input_shape)[0], output_size(cell))
        self.built = True

    def call(self, inputs: Tensor, states: States, training: bool = False, **kwargs: Any) -> Any:
        """The last cell's output and all new states."""
        found: list[Any] = []
        for cell, given in zip(self.cells, states, strict=True):
            several = tree.is_nested(given)
            more = {**kwargs, "training": training} if takes_training(cell) else kwargs
            step = cell if callable(cell) else cell.call
            inputs, new = step(inputs, list(given) if several else [given], **more)
            new = list(new) if tree.is_nested(new) else [new]
            found.append(new if several or len(new) > 1 else new[0])
        return inputs, found if len(found) > 1 else found[0]

    def get_config(self) -> dict[str, Any]:
        """The cells' configurations."""
        from gradloom.keras.saving import serialize_keras_object

        return {**self._base_config(), "cells": [serialize_keras_object(c) for c in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The stack that gave this configuration."""
        from gradloom.keras.saving import deserialize_keras_object

        cells = [deserialize_keras_object(c, custom_objects) for c in config["cells"]]
        return cls(cells, **{k: v for k, v in config.items() if k != "cells"})


def takes_training(cell: Any) -> bool:
    """Whether a cell's call asks for ``training``."""
    return isinstance(cell, Layer) and "training" in cell._takes


def output_size(cell: Any) -> int:
    """Features of a cell's output: ``output_size`` where it says so, else its first state's."""
    found = getattr(cell, "output_size", None)
    if found is None:
        found = cell.state_size[0] if tree.is_nested(cell.state_size) else cell.state_size
    return found


def initial_state(cell: Any, batch_size: Any, dtype: str) -> list[Any]:
    """What a cell begins with, a list: ``get_initial_state`` where it has one, else zeros."""
    make = getattr(cell, "get_initial_state", None)
    if make is not None:
        found = make(batch_size=batch_size)
        return list(found) if tree.is_nested(found) else [found]
    sizes = cell.state_size if tree.is_nested(cell.state_size) else [cell.state_size]
    kind = config.as_dtype(getattr(cell, "compute_dtype", dtype))
    return [G.zeros((batch_size, *(n if isinstance(n, list | tuple) else (n,))), dtype=kind) for n in sizes]
