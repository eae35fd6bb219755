"""Fourier transforms against PyTorch: values, dtypes, sizes, norms, gradients, what is refused; stft and istft."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import DTypeError, ShapeError, StateError
from gradloom.testing import check_grads

RNG = np.random.default_rng(4)
ONE = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
REAL = {"rfft", "ihfft", "rfft2", "rfftn", "ihfft2", "ihfftn"}


def made(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    a = RNG.standard_normal(shape) * 3
    return np.asarray(a + 1j * RNG.standard_normal(shape) if np.dtype(dtype).kind == "c" else a).astype(dtype)


def agree(name: str, a: np.ndarray, *args: Any, **kwargs: Any) -> None:
    got = getattr(gl.fft, name)(gl.tensor(a), *args, **kwargs).numpy()
    want = getattr(torch.fft, name)(torch.tensor(a), *args, **kwargs).resolve_conj().numpy()
    assert (got.dtype, got.shape) == (want.dtype, want.shape), (name, args, kwargs)
    tol = 1e-4 if want.dtype in (np.float32, np.complex64) else 1e-10
    np.testing.assert_allclose(got, want, tol, tol, err_msg=f"{name} {args} {kwargs}")


@pytest.mark.parametrize("name", ONE)
def test_one_axis(name: str) -> None:
    for dtype in (np.float64, np.float32, np.int64, np.bool_, np.complex128, np.complex64):
        if name in REAL and np.dtype(dtype).kind == "c":
            continue
        a = made(3, 5, dtype=dtype)
        agree(name, a)
        agree(name, a, 4, 0, "ortho")
        agree(name, a, n=8, norm="forward")
        agree(name, a, 3, norm="backward")


@pytest.mark.parametrize("name", [n + k for n in ONE for k in ("2", "n")])
def test_several_axes(name: str) -> None:
    for dtype in (np.float64, np.complex64):
        if name in REAL and dtype is np.complex64:
            dtype = np.float32
        a = made(3, 4, 5, dtype=dtype)
        agree(name, a)
        agree(name, a, norm="ortho")
        agree(name, a, (4, 6))
        agree(name, a, (2, -1), (0, 1), "forward")
        agree(name, a, dim=(2, 0))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_round_trips(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    norm = data.draw(st.sampled_from(["forward", "backward", "ortho", None]))
    a = made(*shape)
    x = gl.tensor(a)
    np.testing.assert_allclose(gl.fft.ifftn(gl.fft.fftn(x, norm=norm), norm=norm).real.numpy(), a, atol=1e-12)
    back = gl.fft.irfftn(gl.fft.rfftn(x, norm=norm), s=shape, norm=norm)
    np.testing.assert_allclose(back.numpy(), a, atol=1e-12)
    np.testing.assert_allclose(gl.fft.ifftshift(gl.fft.fftshift(x)).numpy(), a)


def test_shifts_and_frequencies() -> None:
    a = made(4, 5)
    for dim in (None, 0, 1, (0, 1), -1):
        for name in ("fftshift", "ifftshift"):
            agree(name, a, dim)
    for n in (1, 4, 5):
        for ours, theirs in ((gl.fft.fftfreq, torch.fft.fftfreq), (gl.fft.rfftfreq, torch.fft.rfftfreq)):
            np.testing.assert_allclose(ours(n, 0.5).numpy(), theirs(n, 0.5).numpy())
    x = gl.fft.fftfreq(4, dtype=gl.float64, requires_grad=True)
    assert x.dtype is gl.float64 and x.requires_grad


def test_nothing_to_transform() -> None:
    assert gl.fft.fft(gl.zeros(0, 3)).shape == (0, 3)
    assert gl.fft.rfft(gl.zeros(0, 3)).shape == (0, 2)
    assert gl.fft.irfft(gl.zeros(0, 3)).shape == (0, 4)
    assert gl.fft.fftn(gl.tensor(2.0), dim=()).dtype is gl.complex64
    assert gl.fft.fft(gl.tensor(made(4)), axis=0).shape == (4,)
    assert gl.fft.fft2(gl.zeros(2, 3, 4), axes=(0, 1)).shape == (2, 3, 4)


c, pairs = gl.view_as_complex, gl.view_as_real
GRADIENTS: dict[str, tuple[Callable[..., gl.Tensor], list[np.ndarray]]] = {
    "fft": (lambda x: pairs(gl.fft.fft(x, 5)) ** 2, [made(2, 3)]),
    "ifftn": (lambda x: pairs(gl.fft.ifftn(c(x))) ** 2, [made(2, 2, 2)]),
    "rfft of an odd number": (lambda x: pairs(gl.fft.rfft(x)) ** 2, [made(5)]),
    "rfftn": (lambda x: pairs(gl.fft.rfftn(x, norm="ortho")) ** 2, [made(2, 4)]),
    "irfftn": (lambda x: gl.fft.irfftn(c(x)) ** 2, [made(2, 3, 2)]),
    "irfft of an odd number": (lambda x: gl.fft.irfft(c(x), 5) ** 2, [made(3, 2)]),
    "hfft": (lambda x: gl.fft.hfft(c(x), norm="forward") ** 2, [made(3, 2)]),
    "ihfft": (lambda x: pairs(gl.fft.ihfft(x)) ** 2, [made(4)]),
    "stft": (lambda x, w: pairs(gl.stft(x, 4, 2, window=w, return_complex=True)) ** 2, [made(6), made(4)]),
    "istft": (
        lambda x: gl.istft(c(x), 4, 2, window=gl.hamming_window(4, dtype=gl.float64)) ** 2, [made(3, 3, 2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    fn, inputs = GRADIENTS[name]
    check_grads(fn, inputs, order=2)


# -- short-time transform -----------------------------------------------------------------------------------
def window(n: int, L: Any) -> Any:
    return L.hann_window(n, dtype=L.float64)


STFT: list[dict[str, Any]] = [
    {}, {"hop_length": 3}, {"win_length": 6}, {"center": False}, {"pad_mode": "constant"}, {"pad_mode": "replicate"},
    {"pad_mode": "circular"}, {"normalized": True}, {"onesided": False}, {"return_complex": False},
    {"center": False, "align_to_window": True, "win_length": 6},
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:")
@pytest.mark.parametrize("options", STFT)
def test_stft(options: dict[str, Any]) -> None:
    for a in (made(21), made(2, 20)):
        for w in (True, False):
            kwargs = {"return_complex": True, **options}
            size = options.get("win_length", 8)
            got = gl.stft(gl.tensor(a), 8, window=window(size, gl) if w else None, **kwargs).numpy()
            want = torch.stft(torch.tensor(a), 8, window=window(size, torch) if w else None, **kwargs).numpy()
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(got, want, atol=1e-12)


def test_stft_of_complex_signals() -> None:
    a = made(2, 20, dtype=np.complex128)
    want = torch.stft(torch.tensor(a), 8, window=window(8, torch), onesided=False).numpy()
    np.testing.assert_allclose(gl.stft(gl.tensor(a), 8, window=window(8, gl)).numpy(), want, atol=1e-12)
    back = gl.istft(gl.tensor(want), 8, window=window(8, gl), return_complex=True, length=20)
    np.testing.assert_allclose(back.numpy(), a, atol=1e-12)


@pytest.mark.filterwarnings("ignore:")
@pytest.mark.parametrize(
    "options", [{}, {"length": 20}, {"length": 30}, {"normalized": True}, {"hop_length": 4}, {"onesided": False}]
)
def test_istft(options: dict[str, Any]) -> None:
    spectra = made(2, 8 if options.get("onesided") is False else 5, 10, dtype=np.complex128)
    got = gl.istft(gl.tensor(spectra), 8, window=window(8, gl), **options).numpy()
    want = torch.istft(torch.tensor(spectra), 8, window=window(8, torch), **options).numpy()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-10)


def test_istft_undoes_stft() -> None:
    a = made(3, 40)
    for w, n in ((None, 10), (window(8, gl), 8)):
        spectra = gl.stft(gl.tensor(a), 10, 2, n, window=w, return_complex=True)
        np.testing.assert_allclose(gl.istft(spectra, 10, 2, n, window=w, length=40).numpy(), a, atol=1e-10)


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: gl.fft.fft(gl.ones(4), norm="x"), ValueError, "norm must be"),
    (lambda: gl.fft.fft(gl.ones(4), 0), ShapeError, "0 points along axis 0"),
    (lambda: gl.fft.fft(gl.tensor(1.0)), ShapeError, "0-d tensor"),
    (lambda: gl.fft.fft(gl.ones(4).half()), DTypeError, "float16 is not supported"),
    (lambda: gl.fft.rfft(gl.ones(4).to(gl.complex64)), DTypeError, "expects a real tensor"),
    (lambda: gl.fft.irfft(gl.ones(1)), ShapeError, "name the number of points"),
    (lambda: gl.fft.fftn(gl.ones(4, 4), dim=(0, 0)), ShapeError, "each axis once"),
    (lambda: gl.fft.fftn(gl.ones(4, 4), s=(2,), dim=(0, 1)), ShapeError, "of one length"),
    (lambda: gl.fft.rfftn(gl.ones(4), dim=()), ShapeError, "at least one axis"),
    (lambda: gl.stft(gl.ones(9), 4), StateError, "return_complex must be given"),
    (lambda: gl.stft(gl.ones(9), 4, window=gl.ones(3), return_complex=True), ShapeError, r"expected \(4,\)"),
    (lambda: gl.stft(gl.ones(3), 8, center=False, return_complex=True), ShapeError, "shorter than n_fft"),
    (lambda: gl.stft(gl.ones(3), 8, return_complex=True), ShapeError, "needs a longer signal"),
    (lambda: gl.stft(gl.ones(9), 4, pad_mode="x", return_complex=True), ValueError, "pad_mode"),
    (lambda: gl.istft(gl.ones(3, 4), 4), ShapeError, "expects a complex"),
    (lambda: gl.istft(gl.ones(4, 4).to(gl.complex64), 4, onesided=True), ShapeError, "3 frequencies"),
    (lambda: gl.istft(gl.ones(3, 4).to(gl.complex64), 4, window=gl.zeros(4)), StateError, "windows are 0 somewhere"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, text", REFUSED)
def test_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
