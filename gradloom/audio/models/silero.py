"""Silero VAD: whether somebody speaks, for every 32 ms of sound at 16 or 8 kHz."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gradloom import functions as G
from gradloom.audio.activity import Speech, speech_of
from gradloom.audio.checks import finite, mono, same_rate
from gradloom.errors import ArgumentError, FileError, ShapeError
from gradloom.io.files import load
from gradloom.modes import no_grad
from gradloom.nn import functional as F
from gradloom.nn.convolution import Conv1d
from gradloom.nn.module import Module
from gradloom.nn.recurrent_cells import LSTMCell
from gradloom.nn.recurrent_functions import layer
from gradloom.tensor import Tensor, tensor

__all__ = ["SileroVAD", "VADState", "load_silero_vad"]

_NAMES = (  # of the package's ONNX and TorchScript files, to those of its safetensors
    (r"^(?:.*__)?(?:_?model(?:_8k)?\.)?(?=stft|encoder|decoder)", ""),
    (r"^stft\.forward_basis_buffer$", "stft_conv.weight"),
    (r"^decoder\.rnn\.", "lstm_cell."),
    (r"^decoder\.decoder\.2\.", "final_conv."),
)


class VADState(NamedTuple):
    """What a stream of sound goes on from: the cell's states (batch, 128) and the last samples, 4 ms."""

    h: Tensor
    c: Tensor
    context: Tensor


class SileroVAD(Module):
    """Windows of 32 ms to probabilities of speech, by a spectrum, four convolutions and an LSTM.

    Names of weights are those of ``silero_vad_16k.safetensors`` in the package ``silero-vad``.

    Parameters
    ----------
    sample_rate : 16000, windows of 512 samples, or 8000, windows of 256.
    """

    def __init__(self, sample_rate: int = 16000) -> None:
        super().__init__()
        if sample_rate not in (8000, 16000):
            raise ArgumentError(f"SileroVAD: sound of {sample_rate} Hz", hint="16000 or 8000; resample it")
        self.sample_rate, self.window = sample_rate, sample_rate * 32 // 1000
        self.context, self.bins = self.window // 8, self.window // 4 + 1
        self.stft_conv = Conv1d(1, 2 * self.bins, self.window // 2, stride=self.window // 4, bias=False)
        self.conv1 = Conv1d(self.bins, 128, 3, padding=1)
        self.conv2 = Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = LSTMCell(128, 128)
        self.final_conv = Conv1d(128, 1, 1)

    def begin(self, batch: int = 1) -> VADState:
        """The state before any sound."""
        like = self.conv1.weight
        h, c, context = (G.zeros((batch, n), dtype=like.dtype, device=like.device) for n in (128, 128, self.context))
        return VADState(h, c, context)

    def forward(self, x: Tensor, state: VADState | None = None) -> tuple[Tensor, VADState]:
        """The windows of a stretch of sound, and the state to go on from.

        x: (batch, windows * window). Returns probabilities (batch, windows): the same whether a stream is given whole
        or in pieces. Raises ShapeError for other lengths.
        """
        window, context = self.window, self.context
        if x.ndim != 2 or not x.shape[1] or x.shape[1] % window:
            raise ShapeError(
                f"SileroVAD: sound of shape {tuple(x.shape)}, expected (batch, windows * {window})", code="shape.vad",
                hint="pad the end with zeros; probabilities(waveform) and SpeechStream do it for you",
            )  # fmt: skip
        batch, count = x.shape[0], x.shape[1] // window
        state = self.begin(batch) if state is None else state
        if tuple(state.h.shape) != (batch, 128):
            raise ShapeError(
                f"SileroVAD: a state of {state.h.shape[0]} streams for {batch}", code="shape.vad", hint="begin(batch)"
            )
        frames = Tensor.unfold(G.cat([state.context, x], 1), 1, window + context, window)  # type: ignore[attr-defined]
        rows = G.reshape(frames, (batch * count, 1, window + context))
        y = self.stft_conv(F.pad(rows, (0, context), mode="reflect"))
        y = G.sqrt(y[:, : self.bins] ** 2 + y[:, self.bins :] ** 2)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            y = G.relu(conv(y))
        steps = G.permute(G.reshape(y, (batch, count, 128)), (1, 0, 2))
        cell = self.lstm_cell
        out, h, c = layer(
            "LSTM", 1, True, False, False, steps, state.h, state.c, cell.weight_ih, cell.weight_hh, cell.bias_ih,
            cell.bias_hh,
        )  # fmt: skip
        z = self.final_conv(G.permute(G.relu(out), (1, 2, 0)))
        return G.sigmoid(z)[:, 0], VADState(h, c, x[:, -context:])

    def probabilities(self, waveform: Any, sample_rate: int | None = None) -> Tensor:
        """Probabilities of speech (windows,) of (time,), or (batch, windows) of (batch, time).

        The last window is filled with zeros. Raises DTypeError for integers, ShapeError for nothing, ArgumentError for
        NaN or another sample rate.
        """
        same_rate("SileroVAD", sample_rate, self.sample_rate)
        x = finite("SileroVAD", mono("SileroVAD", waveform, batched=True))
        rows = G.unsqueeze(x, 0) if x.ndim == 1 else x
        rows = F.pad(G.cast(rows, self.conv1.weight.dtype), (0, -rows.shape[-1] % self.window))
        p = self(rows)[0]
        return p[0] if x.ndim == 1 else p

    def speech(self, waveform: Any, sample_rate: int | None = None, **given: Any) -> list[Speech]:
        """Where somebody speaks in (time,), in samples; ``given``: see :func:`gradloom.audio.activity.speech_of`."""
        x = mono("SileroVAD", waveform)
        with no_grad():
            p = self.probabilities(x, sample_rate).numpy()
        return speech_of(p, x.shape[-1], self.window, self.sample_rate, **given)


def load_silero_vad(weights: str | os.PathLike[str] | Mapping[str, Any]) -> SileroVAD:
    """The model with the weights of ``silero_vad_16k.safetensors``, or with a state dict.

    A state dict may have the names of the package's ONNX and TorchScript files, whose weights are newer; its sizes say
    which sample rate it is for.
    """
    given = weights if isinstance(weights, Mapping) else load(weights)
    state = {}
    for name, value in given.items():
        for pattern, new in _NAMES:
            name = re.sub(pattern, new, name)
        name = re.sub(r"^encoder\.(\d)\.(?:reparam_conv\.)?", lambda m: f"conv{int(m[1]) + 1}.", name)
        state[name] = value if isinstance(value, Tensor) else tensor(np.asarray(value))
    if "stft_conv.weight" not in state:
        raise FileError(f"load_silero_vad: no weights of Silero VAD: {', '.join(list(state)[:4])}…", code="io.silero")
    model = SileroVAD(16000 if state["stft_conv.weight"].shape[-1] == 256 else 8000)
    model.load_state_dict(state)
    return model.eval()
