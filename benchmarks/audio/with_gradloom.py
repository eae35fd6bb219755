"""gradloom: the library's own features, model and cache."""

from __future__ import annotations

import numpy as np

import gradloom as gl
from benchmarks.audio import workloads
from benchmarks.audio.workloads import START, TOKENS, Workload
from benchmarks.task import Task
from benchmarks.workloads import probe
from gradloom.audio import log_mel_spectrogram, pad_or_trim
from gradloom.audio.models import ModelDimensions, Whisper
from gradloom.text import generate

VERSION = getattr(gl, "__version__", "")


def make(w: Workload, mode: str) -> Task:
    sound = gl.tensor(workloads.sound())

    def mel() -> gl.Tensor:
        return log_mel_spectrogram(pad_or_trim(sound))[None]

    if w.name == "whisper_mel":
        return Task(lambda _: mel().numpy(), each=True, check=lambda: probe(mel().numpy()))
    model = Whisper(ModelDimensions.named("tiny.en")).eval()
    values = workloads.weights({k: tuple(v.shape) for k, v in model.state_dict().items()})
    model.load_state_dict({k: gl.tensor(v) for k, v in values.items()}, strict=False)
    if w.name == "whisper_encode":
        call, x = gl.compile(model.encoder), gl.tensor(mel().numpy())

        def encode(_: int) -> np.ndarray:
            with gl.no_grad():
                return call(x).numpy()

        return Task(encode, each=True, check=lambda: probe(encode(0)))

    def tokens(_: int) -> np.ndarray:
        with gl.no_grad():
            heard = model.embed_audio(mel())
        return generate(model, [list(START)], TOKENS, audio_features=heard).numpy()

    return Task(tokens, each=True, check=lambda: tokens(0)[0].astype(float).tolist())
