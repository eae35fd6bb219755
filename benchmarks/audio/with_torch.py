"""PyTorch: eager, and the encoder compiled too."""

from __future__ import annotations

import os

import torch
from torch.nn import functional as F

from benchmarks.audio import workloads
from benchmarks.audio.network import Whisper
from benchmarks.audio.workloads import RATE, START, TOKENS, Workload
from benchmarks.task import Task
from benchmarks.workloads import probe

VERSION = torch.__version__
torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


def features(sound: torch.Tensor, bank: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    x = F.pad(sound, (0, 30 * RATE - sound.shape[0]))
    power = torch.stft(x, 400, 160, window=window, return_complex=True)[..., :-1].abs() ** 2
    y = (bank @ power).clamp(min=1e-10).log10()
    return ((torch.maximum(y, y.max() - 8.0) + 4.0) / 4.0)[None]


def make(w: Workload, mode: str) -> Task:
    sound, bank = torch.tensor(workloads.sound()), torch.tensor(workloads.mel_bank())
    window = torch.hann_window(400)

    if w.name == "whisper_mel":

        def mel(_: int) -> torch.Tensor:
            with torch.inference_mode():
                return features(sound, bank, window)

        return Task(mel, each=True, check=lambda: probe(mel(0).numpy()))
    model = Whisper().eval()
    if w.name == "whisper_encode":
        encoder, x = model.encoder, features(sound, bank, window)
        if mode == "compile":
            from torch._inductor import config  # brings the compiler along

            config.freezing = True
            encoder = torch.compile(encoder)

        def encode(_: int) -> torch.Tensor:
            with torch.no_grad() if mode == "compile" else torch.inference_mode():
                return encoder(x)

        return Task(encode, each=True, check=lambda: probe(encode(0).contiguous().numpy()))

    def tokens(_: int) -> list[int]:
        with torch.inference_mode():
            return model.greedy(features(sound, bank, window), START, TOKENS)

    return Task(tokens, each=True, check=lambda: [float(t) for t in tokens(0)])
