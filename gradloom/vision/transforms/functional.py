"""Transforms as functions of a tensor (..., C, H, W) or a picture of Pillow's, and of all that they depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.dtypes import DType, as_dtype
from gradloom.errors import DTypeError, ShapeError
from gradloom.io.pictures import pillow
from gradloom.tensor import Tensor, from_numpy
from gradloom.vision.transforms.colours import (
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    adjust_hue,
    adjust_saturation,
    invert,
    rgb_to_grayscale,
    to_grayscale,
)
from gradloom.vision.transforms.images import InterpolationMode, closed, is_pil, opened, sizes
from gradloom.vision.transforms.resample import affine_sample, resize_array

__all__ = [
    "InterpolationMode", "adjust_brightness", "adjust_contrast", "adjust_gamma", "adjust_hue", "adjust_saturation",
    "center_crop", "convert_image_dtype", "crop", "erase", "five_crop", "get_dimensions", "get_image_num_channels",
    "get_image_size", "hflip", "invert", "normalize", "pad", "pil_to_tensor", "resize", "resized_crop",
    "rgb_to_grayscale", "rotate", "ten_crop", "to_grayscale", "to_pil_image", "to_tensor", "vflip",
]  # fmt: skip

_RESAMPLE = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
_PAD = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


# -- sizes and conversion ------------------------------------------------------------------------------------
def get_dimensions(img: Any) -> list[int]:
    """Channels, height and width."""
    return list(sizes(img))


def get_image_size(img: Any) -> list[int]:
    """Width and height."""
    _, h, w = sizes(img)
    return [w, h]


def get_image_num_channels(img: Any) -> int:
    """The number of channels."""
    return sizes(img)[0]


def pil_to_tensor(pic: Any) -> Tensor:
    """A picture's values as they are, (C, H, W): uint8, and int32, float32 or uint16 for the modes I, F, I;16."""
    if not is_pil(pic):
        raise TypeError(f"pil_to_tensor takes a picture of Pillow's, got {type(pic).__name__}")
    a = np.array(pic.convert("L") if pic.mode == "1" else pic, copy=True)
    if pic.mode == "1":
        a = (a > 0).astype(np.uint8) * 255
    return closed(a.reshape(pic.height, pic.width, -1).transpose(2, 0, 1))


def to_tensor(pic: Any) -> Tensor:
    """A picture, or an array (H, W) or (H, W, C), as (C, H, W); bytes become the default dtype within [0, 1]."""
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ShapeError(f"to_tensor: an array of shape {pic.shape} is no image", code="shape.to_tensor")
        t = closed((pic[:, :, None] if pic.ndim == 2 else pic).transpose(2, 0, 1).copy())
    else:
        t = pil_to_tensor(pic)
    if t.dtype is not dtypes.uint8:
        return t
    kind = dtypes.default_float().numpy
    return closed(t.numpy().astype(kind) / kind.type(255))


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (C, H, W) or (H, W), or an array (H, W) or (H, W, C), as a picture. Floats stand for [0, 1]."""
    a = pic
    if isinstance(pic, Tensor):
        a = opened("to_pil_image", pic)
        a = a[None] if a.ndim == 2 else a
        if a.ndim != 3:
            raise ShapeError(
                f"to_pil_image: expects (C, H, W), got {tuple(pic.shape)}", code="shape.to_pil_image",
                hint="give one image, not a batch",
            )  # fmt: skip
        if a.dtype.kind == "f" and mode != "F":
            a = (a * 255).astype(np.uint8)
        a = a.transpose(1, 2, 0)
    elif not isinstance(a, np.ndarray):
        raise TypeError(f"to_pil_image takes a tensor or an array, got {type(pic).__name__}")
    a = a[:, :, None] if a.ndim == 2 else a
    channels = a.shape[2]
    if channels > 4:
        raise ShapeError(f"to_pil_image: {channels} channels are no picture", code="shape.to_pil_image")
    if channels == 1:
        grey = {"uint8": "L", "int16": "I;16", "int32": "I", "float32": "F"}
        if a.dtype.name not in grey:
            raise DTypeError(f"to_pil_image: no picture has dtype {a.dtype.name}", code="dtype.to_pil_image")
        return pillow().fromarray(np.ascontiguousarray(a[:, :, 0])).convert(mode or grey[a.dtype.name])
    if a.dtype != np.uint8:
        raise DTypeError(f"to_pil_image: pictures in colour are uint8, not {a.dtype.name}", code="dtype.to_pil_image")
    allowed = {2: ["LA"], 3: ["RGB", "YCbCr", "HSV"], 4: ["RGBA", "CMYK", "RGBX"]}[channels]
    if mode is not None and mode not in allowed:
        raise ValueError(f"to_pil_image: {channels} channels can be {', '.join(allowed)}, not {mode!r}")
    return pillow().frombytes(mode or allowed[0], (a.shape[1], a.shape[0]), np.ascontiguousarray(a).tobytes())


def convert_image_dtype(image: Tensor, dtype: DType = dtypes.float32) -> Tensor:
    """Another dtype with the values scaled: integers fill their range, floats [0, 1]."""
    a, to = opened("convert_image_dtype", image), as_dtype(dtype).numpy
    if a.dtype == to:
        return image
    if to.kind == "f":
        return closed(a.astype(to) if a.dtype.kind == "f" else a.astype(to) / to.type(np.iinfo(a.dtype).max))
    top = int(np.iinfo(to).max)
    if a.dtype.kind == "f":
        if (a.dtype == np.float32 and to.itemsize > 3) or (a.dtype == np.float64 and to.itemsize > 7):
            raise DTypeError(
                f"convert_image_dtype: {a.dtype.name} cannot hold all of {to.name}", code="dtype.convert_image_dtype",
                hint="go through a wider float",
            )  # fmt: skip
        return closed((a * (top + 1 - 1e-3)).astype(to))
    own = int(np.iinfo(a.dtype).max)
    if own > top:
        return closed((a // ((own + 1) // (top + 1))).astype(to))
    return closed(a.astype(to) * to.type((top + 1) // (own + 1)))


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """(value - mean) / std for each channel of a floating image (..., C, H, W)."""
    a = opened("normalize", tensor)
    if a.dtype.kind != "f":
        raise DTypeError(
            f"normalize: dtype {tensor.dtype.name} is not floating", code="dtype.normalize",
            hint="convert_image_dtype(image) first",
        )  # fmt: skip
    if a.ndim < 3:
        raise ShapeError(
            f"normalize: expects (..., C, H, W), got {tuple(a.shape)}", code="shape.normalize", hint="add the channels"
        )
    m, s = (np.asarray(v, a.dtype).reshape(-1, 1, 1) for v in (mean, std))
    if (s == 0).any():
        raise ValueError(f"normalize: a deviation is zero in {std}")
    if m.shape[0] not in (1, a.shape[-3]) or s.shape[0] not in (1, a.shape[-3]):
        raise ShapeError(
            f"normalize: {a.shape[-3]} channels, {m.shape[0]} means and {s.shape[0]} deviations",
            code="shape.normalize", hint="one for each channel, or one for all",
        )  # fmt: skip
    result = closed((a - m) / s)
    return tensor.copy_(result) if inplace else result


# -- geometry ------------------------------------------------------------------------------------------------
def _target(img: Any, size: int | Sequence[int] | None, max_size: int | None) -> tuple[int, int]:
    _, h, w = sizes(img)
    wanted = [size] if isinstance(size, int) else list(size) if size is not None else None
    if wanted is not None and len(wanted) == 2:
        if max_size is not None:
            raise ValueError("resize: max_size goes with one size, for the shorter side")
        return int(wanted[0]), int(wanted[1])
    if wanted is not None and len(wanted) != 1:
        raise ValueError(f"resize: size has one or two entries, got {size}")
    short, long = min(h, w), max(h, w)
    if wanted is None:
        if max_size is None:
            raise ValueError("resize: give size or max_size")
        new_short, new_long = int(max_size * short / long), max_size
    else:
        new_short, new_long = int(wanted[0]), int(wanted[0] * long / short)
        if max_size is not None:
            if max_size <= wanted[0]:
                raise ValueError(f"resize: max_size={max_size} must be greater than size={wanted[0]}")
            if new_long > max_size:
                new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_long, new_short) if w <= h else (new_short, new_long)


def resize(
    img: Any, size: int | Sequence[int] | None, interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
    max_size: int | None = None, antialias: bool | None = True,
) -> Any:  # fmt: skip
    """The image at another size: (h, w), or one number for the shorter side with the longer in proportion.

    Parameters
    ----------
    max_size : limit for the longer side.
    antialias : average over the pixels that shrink into one (bilinear and bicubic; pictures always do).
    """
    mode = InterpolationMode(interpolation)
    h, w = _target(img, size, max_size)
    if is_pil(img):
        return img if (img.height, img.width) == (h, w) else img.resize((w, h), _RESAMPLE[mode.value])
    a = opened("resize", img)
    return img if a.shape[-2:] == (h, w) else closed(resize_array(a, (h, w), mode, bool(antialias)))


def _four(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    p = [padding] if isinstance(padding, int) else list(padding)
    if len(p) not in (1, 2, 4):
        raise ValueError(f"pad: padding is one number, or two, or four (left, top, right, bottom); got {padding}")
    left, top, right, bottom = p * 4 if len(p) == 1 else p * 2 if len(p) == 2 else p
    return int(left), int(top), int(right), int(bottom)


def pad(
    img: Any, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant"
) -> Any:  # fmt: skip
    """Borders added: ``padding`` is one number, (left and right, top and bottom), or (left, top, right, bottom).

    ``padding_mode`` is constant (with ``fill``), edge, reflect or symmetric. Negative padding crops.
    """
    left, top, right, bottom = _four(padding)
    if padding_mode not in _PAD:
        raise ValueError(f"pad: padding_mode is one of {', '.join(_PAD)}, got {padding_mode!r}")
    if is_pil(img):
        if padding_mode == "constant":
            colour = tuple(fill) if isinstance(fill, list | tuple) else fill
            if isinstance(colour, tuple) and len(colour) == 1:
                colour = colour * len(img.getbands())
            if isinstance(colour, int | float) and len(img.getbands()) > 1 and colour:
                colour = (int(colour),) * len(img.getbands())
            return pillow("ImageOps").expand(img, border=(left, top, right, bottom), fill=colour)
        a = np.asarray(img)
        if img.mode == "P":
            raise ValueError("pad: a picture with a palette has constant padding only; convert it to RGB")
        b = np.pad(a, ((top, bottom), (left, right), *((0, 0),) * (a.ndim - 2)), mode=padding_mode)  # type: ignore[call-overload]
        return pillow().fromarray(b)
    a = opened("pad", img)
    h, w = a.shape[-2:]
    a = a[..., max(-top, 0) : h - max(-bottom, 0), max(-left, 0) : w - max(-right, 0)]
    widths = ((0, 0),) * (a.ndim - 2) + ((max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)))
    if padding_mode != "constant":
        return closed(np.pad(a, widths, mode=padding_mode))  # type: ignore[call-overload]
    value = fill[0] if isinstance(fill, list | tuple) and len(fill) == 1 else fill
    if isinstance(value, list | tuple):
        raise ValueError("pad: a tensor is filled with one number; pad its channels apart")
    return closed(np.pad(a, widths, constant_values=value or 0))


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of the image; what lies outside of it is zero."""
    if is_pil(img):
        return img.crop((left, top, left + width, top + height))
    a = opened("crop", img)
    h, w = a.shape[-2:]
    inner = a[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    if top < 0 or left < 0 or top + height > h or left + width > w:
        border = (
            (min(max(-top, 0), height), max(min(top + height - h, height), 0)),
            (min(max(-left, 0), width), max(min(left + width - w, width), 0)),
        )
        return closed(np.pad(inner, ((0, 0),) * (a.ndim - 2) + border))
    return closed(inner.copy())


def center_crop(img: Any, output_size: int | Sequence[int]) -> Any:
    """The middle of the image; a smaller one gets borders of zeros."""
    th, tw = (output_size, output_size) if isinstance(output_size, int) else (list(output_size) * 2)[:2]
    _, h, w = sizes(img)
    if tw > w or th > h:
        left, top = max(tw - w, 0) // 2, max(th - h, 0) // 2
        img = pad(img, (left, top, max(tw - w + 1, 0) // 2, max(th - h + 1, 0) // 2))
        _, h, w = sizes(img)
        if (th, tw) == (h, w):
            return img
    return crop(img, round((h - th) / 2.0), round((w - tw) / 2.0), th, tw)


def resized_crop(
    img: Any, top: int, left: int, height: int, width: int, size: int | Sequence[int],
    interpolation: InterpolationMode | str = InterpolationMode.BILINEAR, antialias: bool | None = True,
) -> Any:  # fmt: skip
    """A part of the image brought to a size."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    return img.transpose(0) if is_pil(img) else closed(opened("hflip", img)[..., ::-1])


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    return img.transpose(1) if is_pil(img) else closed(opened("vflip", img)[..., ::-1, :])


def five_crop(img: Any, size: int | Sequence[int]) -> tuple[Any, Any, Any, Any, Any]:
    """The four corners (top left, top right, bottom left, bottom right) and the middle."""
    th, tw = (size, size) if isinstance(size, int) else (list(size) * 2)[:2]
    _, h, w = sizes(img)
    if tw > w or th > h:
        raise ValueError(f"five_crop: size ({th}, {tw}) is larger than the image ({h}, {w})")
    corners = [crop(img, y, x, th, tw) for y in (0, h - th) for x in (0, w - tw)]
    return (*corners, center_crop(img, (th, tw)))  # type: ignore[return-value]


def ten_crop(img: Any, size: int | Sequence[int], vertical_flip: bool = False) -> tuple[Any, ...]:
    """:func:`five_crop` of the image and of the flipped image."""
    return (*five_crop(img, size), *five_crop(vflip(img) if vertical_flip else hflip(img), size))


def _colour(a: np.ndarray, fill: Any) -> np.ndarray | None:
    if fill is None:
        return None
    values = np.asarray(fill, np.float64).reshape(-1, 1, 1)
    if values.shape[0] not in (1, a.shape[-3]):
        raise ShapeError(
            f"fill has {values.shape[0]} values for {a.shape[-3]} channels", code="shape.fill", hint="one, or one each"
        )
    return values


def rotate(
    img: Any, angle: float, interpolation: InterpolationMode | str = InterpolationMode.NEAREST, expand: bool = False,
    center: Sequence[int] | None = None, fill: Any = None,
) -> Any:  # fmt: skip
    """Turned by an angle in degrees, counter-clockwise.

    Parameters
    ----------
    expand : enlarge the image so that all of it stays (for a turn around the middle).
    center : of the turn, (x, y) from the upper left corner; the middle unless given.
    fill : for what comes from outside, one number or one for each channel.
    """
    mode = InterpolationMode(interpolation)
    if is_pil(img):
        colour = tuple(fill) if isinstance(fill, list | tuple) else fill
        if isinstance(colour, int | float) and len(img.getbands()) > 1:
            colour = (int(colour),) * len(img.getbands())
        return img.rotate(angle, _RESAMPLE[mode.value], expand, center, fillcolor=colour)
    a = opened("rotate", img)
    h, w = a.shape[-2:]
    turn = math.radians(angle)
    c, s = math.cos(turn), math.sin(turn)
    shift = (0.0, 0.0) if center is None else (center[0] - w * 0.5, center[1] - h * 0.5)
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0]])
    matrix[:, 2] = np.array(shift) - matrix[:, :2] @ np.array(shift)
    size = (h, w)
    if expand:
        corners = matrix[:, :2].T @ np.array([[-w, -w, w, w], [-h, h, h, -h]]) / 2
        middle = np.array([w, h]) / 2
        # what reaches into a pixel by less than a hair leaves it out
        low, high = np.floor(corners.min(1) + middle + 1e-4), np.ceil(corners.max(1) + middle - 1e-4)
        size = (int(high[1] - low[1]), int(high[0] - low[0]))
    flat = a if a.ndim > 2 else a[None]
    out = affine_sample(flat, matrix, size, mode, _colour(flat, fill))
    return closed(out if a.ndim > 2 else out[0])


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Tensor:
    """The pixels from row i and column j, h x w of them, replaced by ``v``, a number or a tensor that broadcasts."""
    a = opened("erase", img).copy()
    a[..., i : i + h, j : j + w] = v.numpy() if isinstance(v, Tensor) else v
    return img.copy_(from_numpy(a)) if inplace else closed(a)
