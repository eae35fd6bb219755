"""Where somebody speaks: from probabilities of windows, whole or as they come in, or from loudness alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from gradloom import functions as G
from gradloom.audio.checks import finite, mono, same_rate, waveform
from gradloom.errors import ArgumentError, ShapeError
from gradloom.modes import no_grad
from gradloom.tensor import Tensor, tensor

__all__ = ["Speech", "SpeechStream", "frame_energy", "speech_of"]


class Speech(NamedTuple):
    """A stretch of speech: its first sample, and the one behind its last."""

    start: int
    end: int


class _Gate:
    """Speech begins at ``threshold`` and ends when it has been below ``floor`` for ``silence`` samples."""

    def __init__(self, threshold: float, floor: float | None, silence: float, window: int) -> None:
        if not 0.0 < threshold < 1.0:
            raise ArgumentError(f"threshold is {threshold}, expected a probability within (0, 1)")
        self.threshold = threshold
        self.floor = max(threshold - 0.15, 0.01) if floor is None else floor
        if self.floor > threshold:
            raise ArgumentError(f"floor is {floor}, above the threshold {threshold}")
        self.silence, self.window = silence, window
        self.start: int | None = None
        self.quiet: int | None = None

    def __call__(self, p: float, at: int) -> Speech | None:
        """Take the probability of the window that begins at a sample; a stretch that has ended."""
        if p >= self.threshold:
            self.quiet = None
            if self.start is None:
                self.start = at
        elif p < self.floor and self.start is not None:
            self.quiet = at if self.quiet is None else self.quiet
            if at - self.quiet >= self.silence:
                found = Speech(self.start, self.quiet)
                self.start = self.quiet = None
                return found
        return None


def speech_of(
    probabilities: Iterable[float],
    length: int,
    window: int = 512,
    sample_rate: int = 16000,
    *,
    threshold: float = 0.5,
    floor: float | None = None,
    min_speech: float = 0.25,
    min_silence: float = 0.1,
    pad: float = 0.03,
) -> list[Speech]:
    """Stretches of speech, in samples.

    Parameters
    ----------
    probabilities : of windows that follow each other.
    length : samples of the sound.
    window : samples of a window.
    threshold, floor : speech begins where a probability reaches the first, and ends below the second, by default 0.15
        less.
    min_speech : seconds; shorter stretches are dropped.
    min_silence : seconds; shorter pauses are part of the speech.
    pad : seconds put before and behind each stretch; where two come too close, they meet in the middle.
    """
    gate = _Gate(threshold, floor, min_silence * sample_rate, window)
    least = min_speech * sample_rate
    found = [s for n, p in enumerate(probabilities) if (s := gate(float(p), n * window)) is not None]
    if gate.start is not None:
        found.append(Speech(gate.start, length))
    found = [s for s in found if s.end - s.start > least]
    extra = int(pad * sample_rate)
    starts, ends = [s.start for s in found], [s.end for s in found]
    for k in range(len(found)):
        if k == 0:
            starts[k] = max(0, starts[k] - extra)
        if k + 1 < len(found):
            pause = starts[k + 1] - ends[k]
            more = extra if pause >= 2 * extra else pause // 2
            ends[k], starts[k + 1] = min(length, ends[k] + more), max(0, starts[k + 1] - more)
        else:
            ends[k] = min(length, ends[k] + extra)
    return [Speech(a, b) for a, b in zip(starts, ends, strict=True)]


class SpeechStream:
    """Speech in sound that comes in pieces of any length.

    Parameters
    ----------
    model : Module
        Takes (1, windows * model.window) and a state, gives probabilities and the next state;
        :class:`gradloom.audio.models.SileroVAD`.
    threshold, floor, min_silence
        See :func:`speech_of`.
    """

    def __init__(
        self, model: Any, *, threshold: float = 0.5, floor: float | None = None, min_silence: float = 0.1
    ) -> None:
        self.model = model
        self._options = (threshold, floor, min_silence * model.sample_rate, model.window)
        self.reset()

    def reset(self) -> None:
        """Forget what came before."""
        self._gate = _Gate(*self._options)
        self._state: Any = None
        self._rest = np.zeros(0, np.float32)
        self._at = 0

    @property
    def speaking(self) -> int | None:
        """The sample at which the speech that goes on has begun; None in silence."""
        return self._gate.start

    def feed(self, samples: Any, sample_rate: int | None = None) -> tuple[np.ndarray, list[Speech]]:
        """Take more samples (time,); the probabilities of the windows they complete, and stretches that have ended.

        What does not fill a window waits for the next piece.
        """
        same_rate("SpeechStream", sample_rate, self.model.sample_rate)
        x = samples if isinstance(samples, Tensor) else tensor(np.asarray(samples))
        if x.ndim == 1 and x.shape[0] == 0:
            return np.zeros(0, np.float32), []
        x = finite("SpeechStream", mono("SpeechStream", x))
        every = np.concatenate([self._rest, x.detach().numpy().astype(np.float32)])
        window = self.model.window
        count = len(every) // window
        self._rest = every[count * window :]
        probabilities, ended = [], []
        with no_grad():
            for n in range(count):  # window by window: pieces of any length run one program
                p, self._state = self.model(tensor(every[None, n * window : (n + 1) * window]), self._state)
                probabilities.append(float(p.numpy()[0, 0]))
                stretch = self._gate(probabilities[-1], self._at)
                if stretch is not None:
                    ended.append(stretch)
                self._at += window
        return np.asarray(probabilities, np.float32), ended

    def finish(self) -> Speech | None:
        """The stretch that goes on at the end, if there is one; the stream begins anew."""
        start, length = self._gate.start, self._at + len(self._rest)
        self.reset()
        return None if start is None else Speech(start, length)


def frame_energy(x: Tensor, frame: int = 400, hop: int = 160) -> Tensor:
    """Loudness of frames in decibels below full scale, (..., time) to (..., frames)."""
    x = waveform("frame_energy", x)
    if x.shape[-1] < frame or frame < 1 or hop < 1:
        raise ShapeError(
            f"frame_energy: frames of {frame} every {hop} from {x.shape[-1]} samples", code="shape.audio",
            hint="at least one frame",
        )  # fmt: skip
    rows = Tensor.unfold(x, -1, frame, hop)  # type: ignore[attr-defined]
    return 10.0 * G.log10(G.clamp(G.mean(rows * rows, -1), 1e-10))
