"""Recurrent layers whose products are convolutions (Shi et al. 2015), over sequences, images and volumes."""

from __future__ import annotations

from typing import Any, ClassVar

from gradloom import functions as G
from gradloom.functions.convolution import convolve
from gradloom.functions.pieces import chunk
from gradloom.keras import config
from gradloom.keras.layers.cells import DropoutRNNCell, States, forgetful, gated
from gradloom.keras.layers.convolutional import checked_padding, ends, length, numbers
from gradloom.keras.layers.recurrent import _OfCell
from gradloom.keras.layers.specs import InputSpec
from gradloom.tensor import Tensor


class _ConvLSTMCell(DropoutRNNCell):
    """One step: kernel (*size, channels, 4 · filters), recurrent_kernel (*size, filters, 4 · filters), and bias."""

    rank: ClassVar[int] = 2
    masks = 4

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None,
        dilation_rate: Any = 1, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, seed: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        n = self.rank
        self.filters = filters
        self.kernel_size, self.strides = numbers(kernel_size, n, "kernel_size"), numbers(strides, n, "strides")
        self.dilation_rate = numbers(dilation_rate, n, "dilation_rate")
        self.padding, self.data_format = checked_padding(padding), config.checked_format(data_format)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError("Specifying `strides > 1` is not compatible with `dilation_rate > 1`. Received: strides="
                             f"{self.strides} and dilation_rate={self.dilation_rate}")  # fmt: skip
        self.unit_forget_bias = bool(unit_forget_bias)
        self._options({
            "activation": activation, "recurrent_activation": recurrent_activation, "use_bias": use_bias,
            "kernel_initializer": kernel_initializer, "recurrent_initializer": recurrent_initializer,
            "bias_initializer": bias_initializer, "kernel_regularizer": kernel_regularizer,
            "recurrent_regularizer": recurrent_regularizer, "bias_regularizer": bias_regularizer,
            "kernel_constraint": kernel_constraint, "recurrent_constraint": recurrent_constraint,
            "bias_constraint": bias_constraint,
        })  # fmt: skip
        self._random(dropout, recurrent_dropout, seed)
        self.state_size = [filters, filters]
        self.input_spec = InputSpec(ndim=n + 2)

    def build(self, inputs_shape: Any, states_shape: Any = None) -> None:
        """Make kernel, recurrent_kernel and bias. ValueError where a size is open."""
        first = self.data_format == "channels_first"
        self.spatial_dims = tuple(inputs_shape[2:] if first else inputs_shape[1:-1])
        if None in self.spatial_dims:
            raise ValueError("ConvLSTM layers only support static input shapes for the spatial dimension. Received "
                             f"invalid input shape: input_shape={inputs_shape}")  # fmt: skip
        self.input_dim = inputs_shape[1 if first else -1]
        if self.input_dim is None:
            raise ValueError("The channel dimension of the inputs (last axis) should be defined. Found None. Full "
                             f"input shape received: input_shape={inputs_shape}")  # fmt: skip
        wide = 4 * self.filters
        self.kernel = self.weight("kernel", (*self.kernel_size, self.input_dim, wide))
        self.recurrent_kernel = self.add_weight(
            (*self.kernel_size, self.filters, wide), self.recurrent_initializer,
            regularizer=self.recurrent_regularizer, constraint=self.recurrent_constraint, name="recurrent_kernel",
        )  # fmt: skip
        self.bias = None
        if self.use_bias:
            values = forgetful(self.bias_initializer) if self.unit_forget_bias else self.bias_initializer
            self.bias = self.add_weight((wide,), values, regularizer=self.bias_regularizer,
                                        constraint=self.bias_constraint, name="bias")  # fmt: skip
        self.built = True

    def compute_output_shape(self, inputs_shape: Any, states_shape: Any = None) -> Any:
        """Of the output, and of both states."""
        first = self.data_format == "channels_first"
        sizes = inputs_shape[2:] if first else inputs_shape[1:-1]
        rows = zip(sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        found = tuple(length(n, k, s, d, self.padding) for n, k, s, d in rows)
        shape = (inputs_shape[0], self.filters, *found) if first else (inputs_shape[0], *found, self.filters)
        return shape, [shape, shape]

    def get_initial_state(self, batch_size: int | None = None) -> list[Tensor]:
        """Zeros, of the output's shape."""
        first = self.data_format == "channels_first"
        inputs = (batch_size, self.input_dim, *self.spatial_dims) if first else (
            batch_size, *self.spatial_dims, self.input_dim
        )  # fmt: skip
        shape = self.compute_output_shape(inputs)[0]
        return [G.zeros(shape, dtype=config.as_dtype(self.compute_dtype)) for _ in range(2)]

    def _last(self, x: Tensor) -> Tensor:
        return G.permute(x, (0, *range(2, x.ndim), 1)) if self.data_format == "channels_first" else x

    def _given(self, x: Tensor, kernel: Tensor) -> Tensor:
        rows = zip(x.shape[1:-1], self.kernel_size, self.strides, self.dilation_rate, strict=True)
        pads = tuple(ends(n, k, s, d, self.padding) for n, k, s, d in rows)
        return convolve(x, kernel, self.strides, pads, self.dilation_rate, 1, "ConvLSTM")

    def _carried(self, h: Tensor, kernel: Tensor) -> Tensor:
        ones = (1,) * self.rank
        pads = tuple(ends(n, k, 1, 1, "same") for n, k in zip(h.shape[1:-1], self.kernel_size, strict=True))
        return convolve(h, kernel, ones, pads, ones, 1, "ConvLSTM")

    def call(self, inputs: Tensor, states: States, training: bool = False) -> Any:
        """(batch, *sizes, channels) and both states to output and new states."""
        h, c = (self._last(s) for s in states)
        dropped = self.get_dropout_mask(inputs) if training else None
        carried = self.get_recurrent_dropout_mask(states[0]) if training else None
        dropped, carried = (None if f is None else [self._last(m) for m in f] for f in (dropped, carried))
        z = gated(self._last(inputs), self.kernel, dropped, self._given)
        z = z if self.bias is None else z + self.bias
        i, f, g, o = chunk(z + gated(h, self.recurrent_kernel, carried, self._carried), 4, -1)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        h = self.recurrent_activation(o) * self.activation(c)
        if self.data_format == "channels_first":
            h, c = (G.permute(s, (0, s.ndim - 1, *range(1, s.ndim - 1))) for s in (h, c))
        return h, [h, c]


class _ConvLSTM(_OfCell):
    """Base: the loop over (batch, time, *sizes, channels)."""

    cell_name = "conv_lstm_cell"

    def __init__(self, filters: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(filters, *args, **kwargs)
        self.input_spec = InputSpec(ndim=self.cell.rank + 3)

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Make the cell's weights."""
        spec = InputSpec(ndim=len(sequences_shape), shape=(None, None, *sequences_shape[2:]))
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = spec

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """Of the output; a tuple with those of the states where they come out too."""
        batch, times = sequences_shape[:2]
        state = self.cell.compute_output_shape((batch, *sequences_shape[2:]))[0]
        shape = (batch, times, *state[1:]) if self.return_sequences else state
        return (shape, state, state) if self.return_state else shape


class _ConvLSTMCell1D(_ConvLSTMCell):
    rank = 1


class _ConvLSTMCell3D(_ConvLSTMCell):
    rank = 3


class ConvLSTM1D(_ConvLSTM):
    """A convolutional LSTM over (batch, time, steps, channels).

    Input: (n, steps, rows, channels).
    Output: (n, new rows, filters), or (n, steps, ...) with ``return_sequences``; then the states with
    ``return_state``.

    Parameters
    ----------
    filters, kernel_size, strides, padding, data_format, dilation_rate : of the convolution of the inputs; that of the
        state has strides and dilations of 1, and keeps the size.
    """

    cell_class = _ConvLSTMCell1D


class ConvLSTM2D(_ConvLSTM):
    """A convolutional LSTM over images (batch, time, height, width, channels): see :class:`ConvLSTM1D`.

    Input: (n, steps, rows, columns, channels).
    Output: (n, new rows, new columns, filters), or (n, steps, ...) with ``return_sequences``; then the states with
    ``return_state``.
    """

    cell_class = _ConvLSTMCell


class ConvLSTM3D(_ConvLSTM):
    """A convolutional LSTM over volumes (batch, time, depth, height, width, channels): see :class:`ConvLSTM1D`.

    Input: (n, steps, depth, rows, columns, channels).
    Output: (n, new depth, new rows, new columns, filters), or (n, steps, ...) with ``return_sequences``; then the
    states with ``return_state``.
    """

    cell_class = _ConvLSTMCell3D
