"""Features of sound against SciPy, PyTorch and, where it can be loaded, torchaudio; their gradients and mistakes."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

import gradloom as gl
from gradloom import audio
from gradloom.audio import filters
from gradloom.audio import functional as A
from gradloom.audio import transforms as T
from gradloom.compiler import kernels
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.testing import check_grads

RNG = np.random.default_rng(0)
SOUND = (RNG.standard_normal((2, 3, 2000)) * 0.3).astype("f")


def near(a: gl.Tensor, b: Any, rtol: float = 2e-5) -> None:
    want = np.asarray(b)
    assert tuple(a.shape) == want.shape
    np.testing.assert_allclose(a.numpy(), want, atol=rtol * float(np.abs(want).max()), rtol=0)


def spectrum(x: np.ndarray, n_fft: int, hop: int, width: int) -> np.ndarray:
    flat = torch.tensor(x).reshape(-1, x.shape[-1])
    out = torch.stft(flat, n_fft, hop, width, torch.hann_window(width), return_complex=True).numpy()
    return out.reshape(*x.shape[:-1], *out.shape[-2:])


def test_spectrogram() -> None:
    want = spectrum(SOUND, 400, 200, 400)
    near(T.Spectrogram()(gl.tensor(SOUND)), np.abs(want) ** 2)
    near(T.Spectrogram(power=1.0)(gl.tensor(SOUND)), np.abs(want))
    near(T.Spectrogram(power=3.0)(gl.tensor(SOUND)), np.abs(want) ** 3)
    near(T.Spectrogram(power=None)(gl.tensor(SOUND)), want)
    scaled = want / np.linalg.norm(np.hanning(401)[:-1])
    near(T.Spectrogram(power=None, normalized=True)(gl.tensor(SOUND)), scaled)
    near(T.Spectrogram(power=None, normalized="frame_length")(gl.tensor(SOUND)), want / 20.0)


def test_no_kernel_hangs_on_the_length() -> None:
    mel = T.MelSpectrogram(16000, n_fft=400, hop_length=160, n_mels=40)

    def features(n: int) -> None:
        mel(gl.randn(n)).numpy()

    for n in (4000, 9000, 20000):  # sizes are rounded where code depends on them: each class once
        features(n)
    before = kernels.stats().compiled + kernels.stats().disk_hits
    for n in (4100, 8765, 10001, 15999, 17003):
        features(n)
    assert kernels.stats().compiled + kernels.stats().disk_hits == before


def test_inverse_spectrogram_gives_the_sound_back() -> None:
    for given in ({}, {"normalized": True}, {"pad": 50}):
        spectra = T.Spectrogram(power=None, **given)(gl.tensor(SOUND))
        near(T.InverseSpectrogram(**given)(spectra, 2000), SOUND)


def test_griffin_lim_finds_a_sound_with_the_same_spectrum() -> None:
    tone = gl.tensor(np.sin(np.arange(4000) * 0.3).astype("f"))
    wanted = T.Spectrogram(256)(tone)
    gl.manual_seed(0)
    found = T.Spectrogram(256)(T.GriffinLim(256, n_iter=30)(wanted))
    assert float((found.sqrt() - wanted.sqrt()).norm() / wanted.sqrt().norm()) < 0.1


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mel_scales(scale: str) -> None:
    hz = np.linspace(0, 8000, 50)
    np.testing.assert_allclose(filters.mel_to_hz(filters.hz_to_mel(hz, scale), scale), hz, atol=1e-9)
    known = {"htk": (999.985, 2840.023), "slaney": (15.0, 45.2455)}[scale]  # librosa's documentation: 1 and 8 kHz
    np.testing.assert_allclose(filters.hz_to_mel([1000.0, 8000.0], scale), known, rtol=1e-5)


def test_mel_bank() -> None:
    bank = A.melscale_fbanks(201, 0.0, 8000.0, 40, 16000).numpy()
    assert bank.shape == (201, 40) and bank.dtype == np.float32
    inside = (bank.sum(1) > 0) & (np.arange(201) > bank[:, 0].argmax()) & (np.arange(201) < bank[:, -1].argmax())
    np.testing.assert_allclose(bank.sum(1)[inside], 1.0, atol=1e-6)  # neighbours add up to one
    equal = A.melscale_fbanks(4001, 0.0, 8000.0, 40, 16000, "slaney", "slaney").numpy().sum(0) * 2.0
    np.testing.assert_allclose(equal, 1.0, rtol=2e-3)  # each of the same area, in Hz


def test_mfcc_is_the_cosine_transform_of_decibels() -> None:
    mel = T.MelSpectrogram(n_mels=64)(gl.tensor(SOUND))
    x = mel.numpy()
    db = 10 * np.log10(np.maximum(x, 1e-10))
    db = np.maximum(db, db.max((-3, -2, -1), keepdims=True) - 80)
    want = scipy.fft.dct(db, axis=-2, norm="ortho")[..., :40, :]
    near(T.MFCC(melkwargs={"n_mels": 64})(gl.tensor(SOUND)), want)
    logs = scipy.fft.dct(np.log(x + 1e-6), axis=-2)[..., :13, :]
    near(T.MFCC(n_mfcc=13, norm=None, log_mels=True, melkwargs={"n_mels": 64})(gl.tensor(SOUND)), logs)


@pytest.mark.parametrize(("old", "new"), [(8000, 16000), (16000, 8000), (44100, 16000), (3, 2), (5, 5)])
@pytest.mark.parametrize("method", ["sinc_interp_hann", "sinc_interp_kaiser"])
def test_resampled_tones_are_tones(old: int, new: int, method: str) -> None:
    """A tone well below both limits is the same tone at the new rate, but for the ends."""
    frequency = min(old, new) / 10
    x = np.sin(2 * np.pi * frequency / old * np.arange(1000)).astype("f")
    y = A.resample(gl.tensor(x), old, new, lowpass_filter_width=24, resampling_method=method).numpy()
    assert len(y) == -(-1000 * new // old)
    want = np.sin(2 * np.pi * frequency / new * np.arange(len(y)))
    edge = 100 * max(new // old, 1) * 24 // 24
    np.testing.assert_allclose(y[edge:-edge], want[edge:-edge], atol=2e-3)
    near(T.Resample(old, new, method, 24)(gl.tensor(x)), y)


def test_resampling_takes_out_what_the_new_rate_cannot_hold() -> None:
    x = np.sin(2 * np.pi * 0.45 * np.arange(2000)).astype("f")  # 0.9 of the old limit, 1.8 of the new one
    assert np.abs(A.resample(gl.tensor(x), 2, 1, 32).numpy()[100:-100]).max() < 1e-3


def test_emphasis() -> None:
    near(A.preemphasis(gl.tensor(SOUND)), scipy.signal.lfilter([1, -0.97], [1], SOUND))
    near(A.deemphasis(gl.tensor(SOUND)), scipy.signal.lfilter([1], [1, -0.97], SOUND.astype("f8")), 1e-4)
    near(A.deemphasis(A.preemphasis(gl.tensor(SOUND), 0.5), 0.5), SOUND)


def test_mu_law() -> None:
    sound = np.clip(SOUND, -1, 1)
    codes = A.mu_law_encoding(gl.tensor(sound), 256)
    assert codes.dtype == gl.int64 and int(codes.min()) >= 0 and int(codes.max()) <= 255
    np.testing.assert_allclose(A.mu_law_decoding(codes, 256).numpy(), sound, atol=0.025)
    assert A.mu_law_encoding(gl.tensor([-1.0, 0.0, 1.0]), 256).numpy().tolist() == [0, 128, 255]


def test_deltas_are_slopes() -> None:
    line = np.arange(20.0, dtype="f") * 3 + 1
    inner = T.ComputeDeltas()(gl.tensor(np.stack([line, -line])))
    np.testing.assert_allclose(inner.numpy()[:, 2:-2], [[3.0] * 16, [-3.0] * 16], rtol=1e-5)
    x = RNG.standard_normal((2, 3, 9)).astype("f")
    want = scipy.signal.savgol_filter(np.pad(x, ((0, 0), (0, 0), (3, 3)), "edge"), 7, 1, deriv=1)[..., 3:-3]
    near(A.compute_deltas(gl.tensor(x), 7), want)


def test_normalising_over_time() -> None:
    x = RNG.standard_normal((2, 4, 50)).astype("f") * 3 + 5
    y = A.cmvn(gl.tensor(x)).numpy()
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, rtol=1e-4)
    z = A.sliding_window_cmn(gl.tensor(x.transpose(0, 2, 1)), 10, 4, center=True, norm_vars=True).numpy()
    for t in range(50):
        first = min(max(t - 5, 0), 40)
        part = x[:, :, first : first + 10]
        np.testing.assert_allclose(z[:, t], (x[:, :, t] - part.mean(-1)) / part.std(-1), atol=2e-4)
    z = A.sliding_window_cmn(gl.tensor(x.transpose(0, 2, 1)), 10, 4).numpy()
    np.testing.assert_allclose(z[:, 30], x[:, :, 30] - x[:, :, 20:31].mean(-1), atol=1e-5)
    np.testing.assert_allclose(z[:, 1], x[:, :, 1] - x[:, :, 0:4].mean(-1), atol=1e-5)


def test_masks() -> None:
    gl.manual_seed(3)
    x = gl.ones(40, 30, 50)
    for masking, axis, most in ((T.FrequencyMasking(8, True), 2, 8), (T.TimeMasking(20, True), 1, 20)):
        y = masking(x, 0.0).numpy()
        rows = y.max(axis)  # which frequencies, or frames, are there
        widths = (rows == 0).sum(-1)
        assert widths.max() <= most and widths.max() > most // 2 and len(set(widths.tolist())) > 3
        assert ((np.diff(np.pad(rows, ((0, 0), (1, 1)), constant_values=1)) < 0).sum(-1) <= 1).all()  # one band each
    y = T.TimeMasking(20)(x, 7.0).numpy()
    assert (y == y[:1]).all() and set(np.unique(y)) == {1.0, 7.0}
    assert ((T.TimeMasking(50, True, p=0.1)(x).numpy() == 0).all(1).sum(-1) <= 5).all()
    both = T.SpecAugment(2, 10, 2, 5)(x * 2)
    assert set(np.unique(both.numpy())) == {2.0}  # the mean is what is there already
    assert (T.SpecAugment(2, 10, 2, 5, zero_masking=True)(x).numpy() == 0).any()
    again = [gl.manual_seed(5) and T.TimeMasking(20)(x).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_noise_of_a_given_strength() -> None:
    noise = RNG.standard_normal(SOUND.shape).astype("f")
    for snr in (10.0, gl.full((2, 3), -5.0)):
        added = A.add_noise(gl.tensor(SOUND), gl.tensor(noise), snr).numpy() - SOUND
        got = 10 * np.log10((SOUND**2).sum(-1) / (added**2).sum(-1))
        np.testing.assert_allclose(got, 10.0 if isinstance(snr, float) else -5.0, atol=1e-3)


def test_decibels() -> None:
    x = np.abs(SOUND)
    near(T.AmplitudeToDB("magnitude")(gl.tensor(x)), 20 * np.log10(np.maximum(x, 1e-10)))
    floor = T.AmplitudeToDB("power", 10.0)(gl.tensor(x)).numpy()
    np.testing.assert_allclose(floor.max() - floor.min(), 10.0, rtol=1e-5)  # (channel, frequency, time) is one item
    rows = T.AmplitudeToDB("power", 10.0)(gl.tensor(x[:, None])).numpy()
    np.testing.assert_allclose(rows.max((1, 2, 3)) - rows.min((1, 2, 3)), 10.0, rtol=1e-5)
    near(A.DB_to_amplitude(T.AmplitudeToDB()(gl.tensor(x)), 1.0, 1.0), x)


def test_centroid_of_a_tone_is_its_frequency() -> None:
    x = np.sin(2 * np.pi * 1000 / 16000 * np.arange(4000)).astype("f")
    found = T.SpectralCentroid(16000)(gl.tensor(x)).numpy()
    np.testing.assert_allclose(found[2:-2], 1000, rtol=0.01)


def test_the_bands_of_a_spectrum_from_its_bands() -> None:
    bands = T.MelScale(20)(gl.tensor(np.abs(RNG.standard_normal((3, 201, 5))).astype("f")))
    near(T.MelScale(20)(T.InverseMelScale(201, 20)(bands)), bands.numpy(), 0.2)  # but for what was below 0


def test_whisper_features() -> None:
    x = SOUND.reshape(6, 2000)
    power = np.abs(spectrum(x, 400, 160, 400)[..., :-1]) ** 2
    y = np.log10(np.maximum(filters.mel_bank(201, 0.0, 8000.0, 80, 16000, "slaney", "slaney").T @ power, 1e-10))
    want = (np.maximum(y, y.max((1, 2), keepdims=True) - 8) + 4) / 4
    near(audio.log_mel_spectrogram(gl.tensor(x)), want)
    near(audio.log_mel_spectrogram(x[0], padding=160), audio.log_mel_spectrogram(np.pad(x[0], (0, 160))).numpy())
    assert audio.log_mel_spectrogram(x[0], 128).shape == (128, 12)
    filled = audio.pad_or_trim(gl.tensor(x), 2500)
    assert filled.shape == (6, 2500) and not filled.numpy()[:, 2000:].any()
    np.testing.assert_array_equal(audio.pad_or_trim(filled, 6, axis=1).numpy(), x[:, :6])
    np.testing.assert_array_equal(audio.pad_or_trim(x, 7, axis=0).numpy(), np.pad(x, ((0, 1), (0, 0))))


GRADIENTS = {
    "spectrogram": (lambda x: T.Spectrogram(16).double()(x), (40,)),
    "magnitudes": (lambda x: T.Spectrogram(16, power=1.0).double()(x), (2, 40)),
    "mel": (lambda x: T.MelSpectrogram(n_fft=16, n_mels=4).double()(x), (40,)),
    "mfcc": (lambda x: T.MFCC(n_mfcc=3, log_mels=True, melkwargs={"n_fft": 16, "n_mels": 4}).double()(x), (40,)),
    "whisper": (lambda x: audio.log_mel_spectrogram(x)[:, :2], (500,)),
    "resample": (lambda x: A.resample(x, 3, 2), (2, 12)),
    "deemphasis": (A.deemphasis, (12,)),
    "deltas": (A.compute_deltas, (2, 9)),
    "cmvn": (A.cmvn, (2, 9)),
    "sliding": (lambda x: A.sliding_window_cmn(x, 4, 2, norm_vars=False), (9, 2)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    function, shape = GRADIENTS[name]
    check_grads(function, (RNG.standard_normal(shape) * 0.5,))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: T.Spectrogram()(gl.zeros(500, dtype=gl.int16)), DTypeError, "divide int16 by 32768"),
        (lambda: T.Spectrogram()(gl.zeros(2, 0)), ShapeError, "empty"),
        (lambda: T.Spectrogram()(gl.zeros(100)), ShapeError, "cannot be reflected"),
        (lambda: T.Spectrogram(win_length=500), ArgumentError, "win_length 500"),
        (lambda: T.Spectrogram(normalized="no")(gl.zeros(500)), ArgumentError, "'no'"),
        (lambda: A.resample(gl.zeros(5), 8000, 0), ArgumentError, "to 0 Hz"),
        (lambda: A.resample(gl.zeros(5), 8000.5, 8000), ArgumentError, "integers"),
        (lambda: A.resample(gl.zeros(5), 2, 1, resampling_method="linear"), ArgumentError, "sinc_interp_hann"),
        (lambda: A.resample(gl.tensor(1.0), 2, 1), ShapeError, r"\(..., time\)"),
        (lambda: A.melscale_fbanks(201, 500.0, 100.0, 10, 16000), ArgumentError, "f_min < f_max"),
        (lambda: A.melscale_fbanks(201, 0.0, 100.0, 10, 16000, mel_scale="bark"), ArgumentError, "'bark'"),
        (lambda: A.create_dct(50, 40, None), ArgumentError, "at most as many"),
        (lambda: T.MFCC(dct_type=3), ArgumentError, "dct_type is 3"),
        (lambda: T.MelScale()(gl.zeros(200, 4)), ShapeError, "n_fft // 2"),
        (lambda: T.InverseMelScale(201, 20)(gl.zeros(200, 4)), ShapeError, "20, time"),
        (lambda: T.AmplitudeToDB("level"), ArgumentError, "'level'"),
        (lambda: T.TimeMasking(5, p=2.0), ArgumentError, "p is 2.0"),
        (lambda: A.mask_along_axis(gl.zeros(3, 4), 2, 0.0, 3), ArgumentError, "axis 3"),
        (lambda: A.mask_along_axis_iid(gl.zeros(3, 4), 2, 0.0, 1), ShapeError, "batch"),
        (lambda: A.compute_deltas(gl.zeros(3, 4), 1), ArgumentError, "win_length is 1"),
        (lambda: A.add_noise(gl.zeros(4), gl.zeros(5), 1.0), ShapeError, "repeat or cut"),
        (lambda: T.GriffinLim(4, momentum=1.5)(gl.zeros(3, 4)), ArgumentError, "momentum is 1.5"),
        (lambda: audio.log_mel_spectrogram(gl.zeros(3, 2, 500)), ShapeError, "mix channels"),
        (lambda: audio.log_mel_spectrogram(gl.zeros(100)), ShapeError, "at least 201"),
        (lambda: audio.log_mel_spectrogram(np.zeros(500, "i2")), DTypeError, "int16"),
        (lambda: audio.log_mel_spectrogram(gl.zeros(500), 64), ArgumentError, "80 or 128"),
    ],
)  # fmt: skip
def test_mistakes(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()


# -- torchaudio itself, where it fits the PyTorch that is there ---------------------------------------------------
SAME = [
    ("Spectrogram", (256,), {"power": None, "center": False, "pad": 3}),
    ("Spectrogram", (), {"power": 1.0, "normalized": True, "win_length": 300}),
    ("MelSpectrogram", (8000,), {"norm": "slaney", "mel_scale": "slaney", "n_mels": 40}),
    ("MFCC", (), {"melkwargs": {"n_mels": 64}}),
    ("Resample", (44100, 16000), {}),
    ("Resample", (16000, 11025, "sinc_interp_kaiser"), {}),
    ("Preemphasis", (), {}),
    ("SpectralCentroid", (16000,), {}),
    ("MuLawEncoding", (), {}),
    ("ComputeDeltas", (7,), {}),
    ("SlidingWindowCmn", (200, 50), {}),
    ("AmplitudeToDB", ("power", 30.0), {}),
]


@pytest.mark.parametrize(("name", "args", "given"), SAME, ids=[f"{n}-{k}" for k, (n, _, _) in enumerate(SAME)])
def test_as_torchaudio(name: str, args: tuple, given: dict[str, Any]) -> None:
    try:
        theirs = getattr(importlib.import_module("torchaudio.transforms"), name)(*args, **given)
    except (ImportError, OSError) as error:
        pytest.skip(f"torchaudio cannot be loaded: {error}")
    ours = getattr(T, name)(*args, **given)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    x = np.abs(SOUND) if name in ("SlidingWindowCmn", "AmplitudeToDB") else SOUND
    near(ours(gl.tensor(x)), theirs(torch.tensor(x)).numpy(), 5e-5)
