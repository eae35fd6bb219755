"""RNNCell, LSTMCell and GRUCell: single recurrent steps."""

from __future__ import annotations

import math
from typing import Any

from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.nn import init
from gradloom.nn.module import Module, Parameter
from gradloom.nn.recurrent_functions import GATES, cell, states_of
from gradloom.tensor import Tensor

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]


class RNNCellBase(Module):
    """What the cells share: weight_ih, weight_hh, bias_ih, bias_hh, drawn uniformly from ±1/sqrt(hidden_size)."""

    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(G.empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(G.empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(G.empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Sizes, and the options that differ from their defaults."""
        out = f"{self.input_size}, {self.hidden_size}"
        if not self.bias:
            out += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            out += f", nonlinearity={self.nonlinearity}"
        return out

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for w in self.parameters():
            init.uniform_(w, -bound, bound)

    def _step(self, mode: str, input: Tensor, hx: Any) -> list[Tensor]:
        """The new states."""
        name, n = type(self).__name__, states_of(mode)
        if input.ndim not in (1, 2):
            raise ShapeError(
                f"{name}: input has shape {tuple(input.shape)}, expected (batch, features) or (features,)",
                code="shape.recurrent",
            )
        if input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: the input has {input.shape[-1]} features, this cell takes input_size={self.input_size}",
                code="shape.recurrent",
            )
        want = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            states = [G.zeros(want, dtype=input.dtype, device=input.device)] * n
        else:
            states = [hx] if isinstance(hx, Tensor) else list(hx)
            if len(states) != n:
                raise ShapeError(f"{name}: {len(states)} tensors for the state, expected {n}", code="shape.recurrent")
        for s in states:
            if tuple(s.shape) != want:
                raise ShapeError(
                    f"{name}: a state has shape {tuple(s.shape)}, an input of shape {tuple(input.shape)} needs {want}",
                    code="shape.recurrent",
                )
        single = input.ndim == 1
        given = [G.unsqueeze(t, 0) if single else t for t in (input, *states)]
        weights = [self.weight_ih, self.weight_hh]
        if self.bias_ih is not None and self.bias_hh is not None:
            weights += [self.bias_ih, self.bias_hh]
        out = cell(mode, len(weights) == 4, *given, *weights)
        return [G.squeeze(t, 0) if single else t for t in out]


class RNNCell(RNNCellBase):
    """h = tanh(W·x + b + U·h + c), or relu. nonlinearity: ``"tanh"`` or ``"relu"``."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, GATES["RNN_TANH"], device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """(batch, input_size) and (batch, hidden_size), or both without a batch, to the new state."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(f"RNNCell: nonlinearity is {self.nonlinearity!r}, expected 'tanh' or 'relu'")
        return self._step(f"RNN_{self.nonlinearity.upper()}", input, hx)[0]


class LSTMCell(RNNCellBase):
    """A step of :class:`LSTM`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, GATES["LSTM"], device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """(batch, input_size) and a pair of (batch, hidden_size), or all without a batch, to the new pair."""
        h, c = self._step("LSTM", input, hx)
        return h, c


class GRUCell(RNNCellBase):
    """A step of :class:`GRU`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, GATES["GRU"], device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """(batch, input_size) and (batch, hidden_size), or both without a batch, to the new state."""
        return self._step("GRU", input, hx)[0]
