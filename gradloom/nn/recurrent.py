"""RNN, LSTM and GRU: layers of recurrent steps over sequences, padded, packed or single."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ArgumentError, DTypeError, NotSupportedError, ShapeError
from gradloom.modes import MODES
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.module import Module, Parameter
from gradloom.nn.recurrent_functions import GATES, layer, states_of
from gradloom.nn.utils.rnn import PackedSequence, steps_of
from gradloom.tensor import Tensor

__all__ = ["GRU", "LSTM", "RNN", "RNNBase"]


class RNNBase(Module):
    """What the recurrent layers share.

    Parameters
    ----------
    mode : str
        ``"RNN_TANH"``, ``"RNN_RELU"``, ``"LSTM"`` or ``"GRU"``.
    input_size, hidden_size : int
        Features of a step's input and of the state.
    num_layers : int
        Layers one upon the other.
    bias : bool
        Whether both products have one.
    batch_first : bool
        Whether inputs and outputs are (batch, time, features) instead of (time, batch, features). Not the states.
    dropout : float
        Probability with which entries between layers are zeroed while training.
    bidirectional : bool
        Whether every layer also runs from the end to the beginning; outputs of both are joined.
    proj_size : int
        LSTM only: if not 0, the output's size behind a projection (Sak et al. 2014).

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k}, bias_ih_l{k}, bias_hh_l{k}, weight_hr_l{k}, each with ``_reverse`` for the other
    direction : Parameter
        Drawn uniformly from ±1/sqrt(hidden_size). Gates in PyTorch's order: i, f, g, o (LSTM), r, z, n (GRU).
    """

    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if mode not in GATES:
            raise ArgumentError(f"RNNBase: unknown mode {mode!r}, expected one of {', '.join(GATES)}")
        if not isinstance(dropout, numbers.Real) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ArgumentError(f"{mode}: dropout is {dropout!r}, expected a probability between 0 and 1")
        if not isinstance(hidden_size, int):
            raise DTypeError(f"{mode}: hidden_size is of type {type(hidden_size).__name__}, expected an int")
        for name, flag in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(flag, bool):
                raise DTypeError(f"{mode}: {name} should be of type bool, got: {type(flag).__name__}")
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if value <= 0:
                raise ArgumentError(f"{mode}: {name} is {value}, it must be greater than zero")
        if proj_size and mode != "LSTM":
            raise ArgumentError(f"{mode}: proj_size goes with LSTM only")
        if not 0 <= proj_size < hidden_size:
            raise ArgumentError(
                f"{mode}: proj_size is {proj_size}, expected 0 (none) up to hidden_size - 1 = {hidden_size - 1}"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"dropout acts between layers: with num_layers=1, dropout={dropout} does nothing", stacklevel=3
            )
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._names: list[list[str]] = []
        rows, out = GATES[mode] * hidden_size, proj_size or hidden_size
        for k in range(num_layers):
            wide = input_size if k == 0 else out * self._directions
            for end in ("", "_reverse")[: self._directions]:
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, wide), "weight_hh": (rows, out)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
                shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
                self._names.append([f"{name}_l{k}{end}" for name in shapes])
                for name, shape in zip(self._names[-1], shapes.values(), strict=True):
                    self.register_parameter(name, Parameter(G.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._names]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [w for weights in self.all_weights for w in weights]

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weights in self.all_weights:
            for w in weights:
                init.uniform_(w, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing to do: PyTorch brings a layer's weights together for cuDNN; programs here read each where it is."""

    def extra_repr(self) -> str:
        """Sizes, and the options that differ from their defaults."""
        out = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False,
        }  # fmt: skip
        return out + "".join(f", {k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v)

    # -- computing --------------------------------------------------------------------------------------
    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Outputs of the last layer for every step, and the last state of each layer and direction.

        input: (time, batch, input_size), (batch, time, input_size) if ``batch_first``, (time, input_size) without
        a batch, or a PackedSequence. hx: first states (layers * directions, batch, hidden_size), zeros if not given;
        for LSTM a pair. Raises ShapeError where sizes do not fit.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if input.ndim not in (2, 3):
            raise ShapeError(
                f"{self.mode}: input has shape {tuple(input.shape)}, expected 2 or 3 dimensions",
                code="shape.recurrent",
                hint="(time, batch, features), (batch, time, features) with batch_first, or (time, features)",
            )  # fmt: skip
        single = input.ndim == 2
        x = G.unsqueeze(input, 1) if single else G.transpose(input, 0, 1) if self.batch_first else input
        self._check_input(x)
        if not x.shape[0]:
            raise ShapeError(f"{self.mode}: the sequences have no step, at least one is needed", code="shape.recurrent")
        start = self._start(hx, x.shape[1], single, x.dtype)
        y, last = self._run(x, start, None)
        y = G.squeeze(y, 1) if single else G.transpose(y, 0, 1) if self.batch_first else y
        return y, self._state([G.squeeze(s, 1) if single else s for s in last])

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        data, sizes, order, back = packed
        self._check_input(data)
        rows, places, mask = steps_of(np.asarray(sizes.numpy()))
        start = self._start(hx, rows.shape[1], False, data.dtype)
        if order is not None and hx is not None:
            start = [G.index_select(s, 1, order) for s in start]
        y, last = self._run(data, start, (rows, places, mask))
        if back is not None:
            last = [G.index_select(s, 1, back) for s in last]
        return PackedSequence(y, sizes, order, back), self._state(last)

    def _state(self, parts: list[Tensor]) -> Any:
        return tuple(parts) if self.mode == "LSTM" else parts[0]

    def _check_input(self, x: Tensor) -> None:
        wanted, features = self._flat_weights[0].dtype, x.shape[-1]
        if x.dtype is not wanted and MODES.autocast is None:
            raise ArgumentError(
                f"{self.mode}: RNN input dtype {x.dtype.name} does not match weight dtype {wanted.name}",
                code="argument.recurrent", hint=f"convert the input with .to(gradloom.{wanted.name})",
            )  # fmt: skip
        if features != self.input_size:
            raise ShapeError(
                f"{self.mode}: the input has {features} features, this layer takes input_size={self.input_size}",
                code="shape.recurrent", hint="the features are the last axis",
            )  # fmt: skip

    def _start(self, hx: Any, batch: int, single: bool, dtype: Any) -> list[Tensor]:
        """The first states, with a batch axis."""
        sizes = [self.proj_size or self.hidden_size, self.hidden_size][: states_of(self.mode)]
        shapes = [(self.num_layers * self._directions, batch, n) for n in sizes]
        if hx is None:
            device = self._flat_weights[0].device
            return [G.zeros(s, dtype=dtype, device=device) for s in shapes]
        given = [hx] if isinstance(hx, Tensor) else list(hx)
        if len(given) != len(shapes):
            raise ShapeError(
                f"{self.mode}: {len(given)} tensors for the first state, expected {len(shapes)}",
                code="shape.recurrent", hint="LSTM takes a pair (h, c), the others a tensor",
            )  # fmt: skip
        for name, s, shape in zip("hc", given, shapes, strict=False):
            want = (shape[0], shape[2]) if single else shape
            if tuple(s.shape) != want:
                raise ShapeError(
                    f"{self.mode}: the first state {name} has shape {tuple(s.shape)}, expected {want}",
                    code="shape.recurrent", hint="axes are (layers * directions, batch, size), without batch if the "
                    "input has none",
                )  # fmt: skip
        return [G.unsqueeze(s, 1) if single else s for s in given]

    def _run(self, x: Tensor, start: Sequence[Tensor], packed: Any) -> tuple[Tensor, list[Tensor]]:
        """All layers. packed: where steps are in the packed rows ``x``, and which are there."""
        d, ends = self._directions, []
        for k in range(self.num_layers):
            if k and self.dropout and self.training:
                x = F.dropout(x, self.dropout)
            own = self._names[d * k : d * (k + 1)]
            states = [s[d * k + j] for j in range(d) for s in start]
            weights = [getattr(self, name) for names in own for name in names]
            more = () if packed is None else packed
            x, *last = layer(self.mode, d, self.bias, bool(self.proj_size), packed is not None, x, *states, *weights,
                             *more)  # fmt: skip
            ends += last
        n = len(start)
        return x, [G.stack(ends[j::n], 0) for j in range(n)]


class RNN(RNNBase):
    """Elman layers: h = tanh(W·x + b + U·h + c), or relu; see :class:`RNNBase` (Elman 1990).

    ``RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
    bidirectional=False)``; nonlinearity: ``"tanh"`` or ``"relu"``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        _no_projection("RNN", kwargs)
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(f"RNN: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, device=device, dtype=dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with forget gates); see :class:`RNNBase`.

    i, f, o = sigmoid, g = tanh of their parts of W·x + b + U·h + c; cell = f * cell + i * g; h = o * tanh(cell), then
    R·h if there is a projection.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype,
        )  # fmt: skip


class GRU(RNNBase):
    """Gated recurrent units (Cho et al. 2014); see :class:`RNNBase`.

    r, z = sigmoid of their parts of W·x + b + U·h + c; n = tanh(W·x + b + r * (U·h + c)); h = (1 - z) * n + z * h.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        _no_projection("GRU", kwargs)
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device,
            dtype=dtype,
        )  # fmt: skip


def _no_projection(name: str, kwargs: dict[str, Any]) -> None:
    if "proj_size" in kwargs:
        raise NotSupportedError(f"{name}: proj_size goes with LSTM only", code="unsupported.projection")
    if kwargs:
        raise TypeError(f"{name}: unknown argument {next(iter(kwargs))!r}")
