"""Recurrent layers: a cell run along the second axis by one ``scan``, with masks and states that stay.

Every layer here, a user's own cell within :class:`RNN` included, goes the same way: the loop is recorded once and
compiled whatever the length, the product of all inputs with the kernel is taken out in front of it, and its
derivative is a scan back (:mod:`gradloom.autodiff.control`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from gradloom import functions as G
from gradloom.autodiff.control import scan
from gradloom.errors import NotSupportedError
from gradloom.keras import config, tree
from gradloom.keras.layers import configs
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.cells import (
    DropoutRNNCell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
    initial_state,
    output_size,
    takes_training,
)
from gradloom.keras.layers.specs import InputSpec
from gradloom.keras.operations import as_tensor
from gradloom.keras.symbolic import inferring
from gradloom.keras.variables import KerasTensor, Variable
from gradloom.modes import no_grad
from gradloom.tensor import Tensor

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


def along(x: Tensor) -> Tensor:
    """Batch and time exchanged."""
    return G.swapaxes(x, 0, 1)


def _like(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (batch, 1) with as many axes as ``x``."""
    return G.reshape(mask, (mask.shape[0], *(1,) * (x.ndim - 1)))


class _Loop:
    """A cell over all times.

    Parameters
    ----------
    step : (input, states) to (output, states), states in the structure of the first ones.
    zero : whether the outputs of masked times are 0; else they are the last output before them.
    sequences : whether all outputs are wanted.
    """

    def __init__(self, step: Step, states: Any, zero: bool, sequences: bool) -> None:
        self.step, self.states, self.zero, self.sequences = step, states, zero, sequences
        self.at: int | None = None  # which of the states is the output

    def body(self, carry: tuple[Tensor, ...], row: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """One time: ``carry`` is the states, then the output before where that is needed."""
        count = len(tree.flatten(self.states))
        old = carry[:count]
        out, found = self.step(row[0], tree.pack_sequence_as(self.states, old))
        new = tree.flatten(found)
        self.at = next((k for k, s in enumerate(new) if s is out), None)
        before = carry[count:]
        if len(row) > 1:
            mask = row[1]
            new = [G.where(_like(mask, s), s, o) for s, o in zip(new, old, strict=True)]
            if self.zero:
                out, self.at = G.where(_like(mask, out), out, G.zeros_like(out)), None
            elif before:
                out, self.at = G.where(_like(mask, out), out, before[0]), None
            else:
                out = new[self.at or 0]
        return (*new, *([out] if before else [])), out if self.sequences or (self.at is None and not before) else None

    def run(self, x: Tensor, mask: Tensor | None, first: list[Tensor], backwards: bool, unroll: bool) -> Any:
        """Last output, all outputs (time, batch, ...) or None, and the states, from inputs (time, batch, ...)."""
        rows = (x,) if mask is None else (x, mask)
        if unroll:
            carry, found = tuple(first), []
            order = range(x.shape[0] - 1, -1, -1) if backwards else range(x.shape[0])
            for t in order:
                carry, y = self.body(carry, tuple(r[t] for r in rows))
                found.append(y)
            ys = G.stack([y for y in found if y is not None]) if found and found[0] is not None else None
        else:
            last, ys = scan(self.body, tuple(first), rows, reverse=backwards)
            carry = tuple(last)
            if ys is not None and backwards and self.sequences:
                ys = G.flip(ys, (0,))
        count = len(tree.flatten(self.states))
        if self.at is not None:
            out = carry[self.at]
        elif len(carry) > count:
            out = carry[count]
        else:
            assert ys is not None
            out = ys[0] if backwards and not self.sequences and not unroll else ys[-1]
        return out, ys, tree.pack_sequence_as(self.states, list(carry[:count]))


class RNN(Layer):
    """A cell run along the second axis of (batch, time, ...).

    Input: (n, steps, ...), of which the cell takes (n, ...).
    Output: what the cell gives for the last step, or for all, (n, steps, ...), with ``return_sequences``; then the
    states with ``return_state``.

    Parameters
    ----------
    cell : a layer, or any object with ``call(input, states) -> (output, states)`` and ``state_size``; a list of cells
        is a stack.
    return_sequences : whether the outputs of all times come out, (batch, time, ...), else that of the last.
    return_state : whether the last states come out too.
    go_backwards : from the last time to the first; outputs come in that order.
    stateful : whether a batch goes on where the one before ended; the batch's size must be fixed.
    unroll : whether the loop is written out: longer to compile, and worth it for a few short steps only.
    zero_output_for_mask : whether outputs at masked times are 0; else the output before stays.
    """

    def __init__(
        self, cell: Any, return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
        stateful: bool = False, unroll: bool = False, zero_output_for_mask: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell)
        if "call" not in dir(cell):
            raise ValueError(f"Argument `cell` should have a `call` method. Received: cell={cell}")
        if "state_size" not in dir(cell):
            raise ValueError("The RNN cell should have a `state_size` attribute (single integer or list of integers, "
                             f"one integer per RNN state). Received: cell={cell}")  # fmt: skip
        super().__init__(**kwargs)
        size = getattr(cell, "state_size", None)
        if not isinstance(size, int | list | tuple):
            raise ValueError("state_size must be an integer, or a list/tuple of integers (one for each state tensor), "
                             f"specified as property on the RNN cell. Received: {size!r}")  # fmt: skip
        self.cell = cell
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful, self.unroll = bool(go_backwards), bool(stateful), bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.__dict__["states"] = None  # no weights: what a file keeps is the model
        self.state_size = [size] if isinstance(size, int) else list(size)
        self.single_state = isinstance(size, int)
        self.supports_masking = True

    # shapes ----------------------------------------------------------------------------------------------------------

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Of the output; a tuple with those of the states where they come out too."""
        batch, length = sequences_shape[:2]
        size = output_size(self.cell)
        if not isinstance(size, int):
            raise ValueError("output_size must be an integer.")
        shape = (batch, length, size) if self.return_sequences else (batch, size)
        if not self.return_state:
            return shape
        states = [(batch, s) if isinstance(s, int) else [(batch, n) for n in s] for s in self.state_size]
        return (shape, *states)

    def compute_output_spec(self, sequences: Any, *args: Any, **kwargs: Any) -> Any:
        """Symbolic output, and states where they come out too."""
        if self.unroll and sequences.shape[1] is None:
            raise ValueError("Cannot unroll a RNN if the time dimension is undefined: give it in the Input's shape")
        shapes = self.compute_output_shape(tuple(sequences.shape))
        return tree.map_shape_structure(lambda s: KerasTensor(s, self.compute_dtype), shapes)

    def compute_mask(self, _: Any, mask: Any = None) -> Any:
        """That of the inputs where all times come out; the states have none."""
        found = tree.flatten(mask)[0] if self.return_sequences and mask is not None else None
        return [found] + [None for _ in self.state_size] if self.return_state else found

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Build the cell for the inputs of one time."""
        step_shape = (sequences_shape[0], *sequences_shape[2:])
        if isinstance(self.cell, Layer):
            self.cell._build_once(step_shape)
        self.built = True
        if self.stateful:
            if self.states is not None:
                self.reset_state()
            elif sequences_shape[0] is None:
                raise ValueError("When using `stateful=True` in a RNN, the batch size must be static. Found dynamic "
                                 f"batch size: sequence.shape={tuple(sequences_shape)}")  # fmt: skip
            else:
                self._make_states(sequences_shape[0])

    # states ----------------------------------------------------------------------------------------------------------

    def _make_states(self, batch: int) -> None:
        kind = config.as_dtype(self.variable_dtype)
        self.__dict__["states"] = tree.map_structure(
            lambda s: Variable(G.zeros(tuple(s.shape), dtype=kind), trainable=False, dtype=self.variable_dtype,
                               name="rnn_state"),
            self.get_initial_state(batch),
        )  # fmt: skip

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """What a sequence begins with: zeros, unless the cell says otherwise."""
        return initial_state(self.cell, batch_size, self.compute_dtype)

    def reset_state(self) -> None:
        """Begin anew: the kept states become 0."""
        for v in tree.flatten(self.states) if self.states is not None else []:
            v.assign(G.zeros(tuple(v.shape), dtype=v.dtype))

    def reset_states(self) -> None:
        """The same as :meth:`reset_state`."""
        self.reset_state()

    def _first_states(self, sequences: Tensor, given: Any) -> Any:
        batch = sequences.shape[0]
        if self.stateful:
            size = tree.flatten(self.states)[0].shape[0] if self.states is not None else batch
            if size != batch and not inferring():
                raise ValueError("If an RNN is stateful, the batch size of the input sequences must be the same as the "
                                 f"batch size of the initial state. \n- Expected batch size: {size}\n- Received batch "
                                 f"size: {batch}")  # fmt: skip
        if given is None:
            kept = self.stateful and self.states is not None and not inferring()
            given = self.states if kept else self.get_initial_state(batch)
        given = list(given) if tree.is_nested(given) else [given]
        dtype = getattr(self.cell, "compute_dtype", self.compute_dtype)
        found = tree.map_structure(lambda s: as_tensor(s, dtype), given)
        count = len(self.state_size)
        if len(found) != count:
            raise ValueError(f"layer {self.name!r}: initial_state has {len(found)} entries, the cell has {count} "
                             "states")  # fmt: skip
        return found

    # the loop --------------------------------------------------------------------------------------------------------

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        """Outputs, or (output, *states) with ``return_state``.

        Parameters
        ----------
        initial_state : list of tensors (batch, units), one for each state.
        mask : (batch, time) bool; times where it is False leave the states as they are.
        """
        states = self._first_states(sequences, initial_state)
        self._draw(self.cell, sequences[:, 0], states)
        last, found, states = self.inner_loop(sequences, states, mask, bool(training))
        self._redraw(self.cell)
        if self.stateful and not inferring():
            with no_grad():
                for kept, new in zip(tree.flatten(self.states), tree.flatten(states), strict=True):
                    kept._write(new.detach().to(kept.dtype))
        dtype = config.as_dtype(self.compute_dtype)
        output = (found if self.return_sequences else last).to(dtype)
        if not self.return_state:
            return output
        return (output, *tree.map_structure(lambda s: s.to(dtype), states))

    def inner_loop(self, sequences: Tensor, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """Last output, all outputs (batch, time, ...) or None, and the states, from states in the cell's structure."""
        more = {"training": training} if takes_training(self.cell) else {}
        call = self.cell if callable(self.cell) else self.cell.call

        def step(x: Tensor, states: Any) -> tuple[Tensor, Any]:
            out, new = call(x, states, **more)
            return out, new if tree.is_nested(new) else [new]

        first = tree.flatten(initial_state)
        if mask is not None:
            mask = as_tensor(tree.flatten(mask)[0]).to(config.as_dtype("bool"))
            mask = along(mask if mask.ndim == 2 else G.any(mask, tuple(range(2, mask.ndim))))
            if not self.zero_output_for_mask and not self._output_is_state(self.cell):
                shape = self.compute_output_shape(tuple(sequences.shape))
                shape = shape[0] if self.return_state else shape
                sizes = (shape[0], *shape[2 if self.return_sequences else 1 :])
                first = [*first, G.zeros(sizes, dtype=first[0].dtype)]
        loop = _Loop(step, initial_state, self.zero_output_for_mask, self.return_sequences)
        last, found, states = loop.run(along(sequences), mask, first, self.go_backwards, self.unroll)
        return last, None if found is None else along(found), states

    def _output_is_state(self, cell: Any) -> bool:
        """Whether the cell's output is one of its states, so that a masked time repeats it by itself."""
        if isinstance(cell, StackedRNNCells):
            return self._output_is_state(cell.cells[-1])
        return isinstance(cell, DropoutRNNCell)

    def _draw(self, cell: Any, x: Tensor, states: Any) -> None:
        """Let the cells draw what they drop, in front of the loop: the same for all times."""
        if isinstance(cell, DropoutRNNCell):
            cell.get_dropout_mask(x)
            cell.get_recurrent_dropout_mask(tree.flatten(states)[0])
        if isinstance(cell, StackedRNNCells):
            for one, state in zip(cell.cells, states, strict=True):
                self._draw(one, x, state)
                x = G.zeros((x.shape[0], output_size(one)), dtype=x.dtype)

    def _redraw(self, cell: Any) -> None:
        if isinstance(cell, DropoutRNNCell):
            cell.reset_dropout_mask()
            cell.reset_recurrent_dropout_mask()
        for one in cell.cells if isinstance(cell, StackedRNNCells) else []:
            self._redraw(one)

    # configuration ---------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the cell as a configuration."""
        from gradloom.keras.saving import serialize_keras_object

        names = [n for n in configs.parameters(RNN) if n != "cell"]
        return {**self._base_config(), **{n: getattr(self, n) for n in names},
                "cell": serialize_keras_object(self.cell)}  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The layer that gave this configuration."""
        from gradloom.keras.saving import deserialize_keras_object

        cell = deserialize_keras_object(config["cell"], custom_objects)
        return cls(cell, **{k: v for k, v in config.items() if k != "cell"})


class _OfCell(RNN):
    """Base of the layers that make their cell themselves."""

    cell_class: ClassVar[type[Any]]
    cell_name: ClassVar[str]
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Say the arguments as they are: the cell's, then the loop's."""
        super().__init_subclass__(**kwargs)
        if "cell_class" in cls.__dict__:
            own, loop = (list(inspect.signature(c).parameters.values()) for c in (cls.cell_class, RNN))
            cls.__signature__ = inspect.Signature([*own[:-1], *loop[1:]])

    def __init__(self, units: Any, *args: Any, **kwargs: Any) -> None:
        names = configs.parameters(self.cell_class)
        given = dict(zip(names, (units, *args)))
        for name in list(kwargs):
            if name in names:
                if name in given:
                    raise TypeError(f"{type(self).__name__}: {name} was given twice")
                given[name] = kwargs.pop(name)
        if "implementation" in kwargs:
            given["implementation"] = kwargs.pop("implementation")
        if kwargs.pop("use_cudnn", "auto") is True:
            raise NotSupportedError(
                f"{type(self).__name__}: use_cudnn=True: there is no cuDNN here", code="keras.cudnn",
                hint="leave it out: the loop is compiled for the processor",
            )  # fmt: skip
        inside = {k: kwargs[k] for k in ("dtype", "trainable") if k in kwargs}
        super().__init__(self.cell_class(**given, **inside, name=self.cell_name), **kwargs)
        self.input_spec = InputSpec(ndim=3)

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Make the cell's weights; see the cell."""
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = InputSpec(ndim=3, axes={2: sequences_shape[-1]})

    def __getattr__(self, name: str) -> Any:
        cell = self.__dict__.get("cell")
        if cell is not None and name in configs.parameters(self.cell_class):
            return getattr(cell, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        found = super().get_config()
        del found["cell"]
        return found | configs.own_config(self.cell, self.cell_class)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The layer that gave this configuration."""
        return cls(**config)


class SimpleRNN(_OfCell):
    """A fully connected recurrent layer: see :class:`SimpleRNNCell` and :class:`RNN` for its arguments.

    Input: (n, steps, features).
    Output: (n, units), or (n, steps, units) with ``return_sequences``; then the states with ``return_state``.
    """

    cell_class = SimpleRNNCell
    cell_name = "simple_rnn_cell"


class GRU(_OfCell):
    """Gated recurrent units (Cho et al. 2014): see :class:`GRUCell` and :class:`RNN` for its arguments.

    Input: (n, steps, features).
    Output: (n, units), or (n, steps, units) with ``return_sequences``; then the states with ``return_state``.
    """

    cell_class = GRUCell
    cell_name = "gru_cell"


class LSTM(_OfCell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997): see :class:`LSTMCell` and :class:`RNN`.

    Input: (n, steps, features).
    Output: (n, units), or (n, steps, units) with ``return_sequences``; then the states with ``return_state``.
    """

    cell_class = LSTMCell
    cell_name = "lstm_cell"
