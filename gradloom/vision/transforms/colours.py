"""Colours changed: grey, brightness, contrast, saturation, hue, gamma, and inverted."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.io.pictures import pillow
from gradloom.tensor import Tensor
from gradloom.vision.transforms.images import closed, is_pil, opened

__all__ = [
    "adjust_brightness", "adjust_contrast", "adjust_gamma", "adjust_hue", "adjust_saturation", "invert",
    "rgb_to_grayscale", "to_grayscale",
]  # fmt: skip

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601


def _image(name: str, img: Any, channels: tuple[int, ...] = (1, 3)) -> np.ndarray:
    a = opened(name, img)
    if a.ndim < 3 or a.shape[-3] not in channels:
        raise ShapeError(
            f"{name}: expects (..., C, H, W) with {' or '.join(map(str, channels))} channels, got {tuple(a.shape)}",
            code="shape.image", hint="channels come before height and width",
        )  # fmt: skip
    return a


def _top(a: np.ndarray) -> float:
    """The brightest value of a dtype."""
    return 1.0 if a.dtype.kind == "f" else float(np.iinfo(a.dtype).max)


def _grey(a: np.ndarray) -> np.ndarray:
    if a.shape[-3] == 1:
        return a
    work = a if a.dtype.kind == "f" else a.astype(np.float32)
    red, green, blue = (work[..., k, :, :] for k in range(3))
    factors = [work.dtype.type(f) for f in _LUMA]
    return (factors[0] * red + factors[1] * green + factors[2] * blue)[..., None, :, :].astype(a.dtype)


def _blend(a: np.ndarray, b: np.ndarray | float, factor: float) -> Tensor:
    """``factor`` parts of the image to 1 - factor parts of the other, cut to the range."""
    work = a if a.dtype.kind == "f" else a.astype(np.float32)
    mixed = work.dtype.type(factor) * work + work.dtype.type(1 - factor) * np.asarray(b, work.dtype)
    return closed(np.clip(mixed, 0, _top(a)).astype(a.dtype))


def _factor(name: str, factor: float) -> float:
    if factor < 0:
        raise ValueError(f"{name}: the factor must not be negative, got {factor}")
    return float(factor)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """(..., 3, H, W), or a picture, in grey, with one channel or three equal ones."""
    if num_output_channels not in (1, 3):
        raise ValueError(f"num_output_channels is 1 or 3, got {num_output_channels}")
    if is_pil(img):
        grey = img.convert("L")
        return grey if num_output_channels == 1 else pillow().merge("RGB", [grey] * 3)
    grey = _grey(_image("rgb_to_grayscale", img))
    return closed(np.repeat(grey, num_output_channels, -3) if num_output_channels == 3 else grey)


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """:func:`rgb_to_grayscale` of a picture."""
    if not is_pil(img):
        raise TypeError("to_grayscale takes a picture of Pillow's; for tensors there is rgb_to_grayscale")
    return rgb_to_grayscale(img, num_output_channels)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """0 gives black, 1 the image, 2 twice as bright."""
    factor = _factor("adjust_brightness", brightness_factor)
    if is_pil(img):
        return pillow("ImageEnhance").Brightness(img).enhance(factor)
    return _blend(_image("adjust_brightness", img), 0.0, factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """0 gives even grey, 1 the image, 2 twice the contrast."""
    factor = _factor("adjust_contrast", contrast_factor)
    if is_pil(img):
        return pillow("ImageEnhance").Contrast(img).enhance(factor)
    a = _image("adjust_contrast", img)
    grey = _grey(a)
    work = grey if grey.dtype.kind == "f" else grey.astype(np.float32)
    return _blend(a, work.mean((-3, -2, -1), keepdims=True), factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """0 gives grey, 1 the image, 2 twice the colour."""
    factor = _factor("adjust_saturation", saturation_factor)
    if is_pil(img):
        return pillow("ImageEnhance").Color(img).enhance(factor)
    a = _image("adjust_saturation", img)
    return closed(a.copy()) if a.shape[-3] == 1 else _blend(a, _grey(a), factor)


def _to_hsv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r, g, b = (rgb[..., k, :, :] for k in range(3))
    high, low = rgb.max(-3), rgb.min(-3)
    spread = high - low
    safe = np.where(spread == 0, 1, spread)
    rc, gc, bc = ((high - c) / safe for c in (r, g, b))
    hue = np.where(high == r, bc - gc, np.where(high == g, 2 + rc - bc, 4 + gc - rc))
    hue = np.where(spread == 0, 0, hue / 6 + 1) % 1
    return hue, np.where(spread == 0, 0, spread / np.where(high == 0, 1, high)), high


def _to_rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    sector = np.floor(hue * 6)
    part = hue * 6 - sector
    p, q, t = (
        np.clip(value * (1 - saturation * x), 0, 1).astype(value.dtype) for x in (np.ones_like(part), part, 1 - part)
    )
    which = sector.astype(np.int64) % 6
    channels = ((value, q, p, p, t, value), (t, value, value, q, p, p), (p, p, t, value, value, q))
    return np.stack([np.choose(which, c) for c in channels], -3)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """Colours turned on their circle by a factor from -0.5 to 0.5 turns. Grey stays as it is."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"adjust_hue: the factor is within -0.5 and 0.5, got {hue_factor}")
    if is_pil(img):
        if img.mode in ("L", "1", "I", "F"):
            return img
        hue, saturation, value = img.convert("HSV").split()
        turned = (np.asarray(hue).astype(np.int64) + int(hue_factor * 255)).astype(np.uint8)  # wraps around
        parts = (pillow().fromarray(turned, "L"), saturation, value)
        return pillow().merge("HSV", parts).convert(img.mode)
    a = _image("adjust_hue", img)
    if a.shape[-3] == 1:
        return closed(a.copy())
    work = a if a.dtype.kind == "f" else a.astype(np.float32) / np.float32(_top(a))
    hue, saturation, value = _to_hsv(work)
    out = _to_rgb((hue + work.dtype.type(hue_factor)) % 1, saturation, value)
    if a.dtype.kind != "f":
        out = out * np.float32(_top(a) + 1 - 1e-3)
    return closed(out.astype(a.dtype))


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """``gain * value ** gamma`` on values within [0, 1]: below 1 brightens the dark parts."""
    if gamma < 0:
        raise ValueError(f"adjust_gamma: gamma must not be negative, got {gamma}")
    if is_pil(img):
        mode = img.mode
        table = [int((255 + 1 - 1e-3) * gain * (k / 255.0) ** gamma) for k in range(256)] * 3
        return img.convert("RGB").point(table).convert(mode)
    a = _image("adjust_gamma", img)
    work = a if a.dtype.kind == "f" else a.astype(np.float32) / np.float32(_top(a))
    out = np.clip(work.dtype.type(gain) * work ** work.dtype.type(gamma), 0, 1)
    return closed((out if a.dtype.kind == "f" else out * np.float32(_top(a) + 1 - 1e-3)).astype(a.dtype))


def invert(img: Any) -> Any:
    """Dark for bright."""
    if is_pil(img):
        return pillow("ImageOps").invert(img)
    a = _image("invert", img)
    return closed((a.dtype.type(_top(a)) - a).astype(a.dtype))
