"""`tf.image`: pictures (H, W, C) or batches of them (N, H, W, C)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom.errors import ShapeError
from gradloom.functions.elementwise import cast
from gradloom.functions.movement import flip
from gradloom.functions.rearrange import rot90 as turned
from gradloom.io.pictures import pillow
from gradloom.keras import ops as keras_ops
from gradloom.keras import random as keras_random
from gradloom.tensor import Tensor, as_tensor, from_numpy

__all__ = [
    "adjust_brightness", "adjust_contrast", "adjust_hue", "adjust_saturation", "central_crop", "convert_image_dtype",
    "crop_to_bounding_box", "decode_image", "decode_jpeg", "decode_png", "flip_left_right", "flip_up_down",
    "grayscale_to_rgb", "hsv_to_rgb", "pad_to_bounding_box", "per_image_standardization", "psnr",
    "random_brightness", "random_contrast", "random_crop", "random_flip_left_right", "random_flip_up_down",
    "random_hue", "random_saturation", "resize", "resize_with_crop_or_pad", "rgb_to_grayscale", "rgb_to_hsv", "rot90",
    "ssim", "total_variation", "transpose",
]  # fmt: skip

ops: Any = keras_ops  # its functions stand in tables


def _pictures(image: Any) -> Tensor:
    x = as_tensor(image)
    if x.ndim not in (3, 4):
        raise ShapeError(
            f"a picture has shape (H, W, C), a batch (N, H, W, C); got {tuple(x.shape)}",
            code="shape.image",
            hint="tf.expand_dims adds an axis",
        )
    return x


def resize(
    images: Any, size: Any, method: str = "bilinear", preserve_aspect_ratio: bool = False, antialias: bool = False,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Pictures of another size (height, width), float32 but for "nearest"; half a pixel is a pixel's centre."""
    x = _pictures(images)
    height, width = (int(n) for n in size)
    if preserve_aspect_ratio:
        scale = min(height / x.shape[-3], width / x.shape[-2])
        height, width = round(x.shape[-3] * scale), round(x.shape[-2] * scale)
    kind = str(method).rsplit(".", 1)[-1].lower()
    if kind != "nearest" and not x.dtype.is_floating:
        x = cast(x, dtypes.float32)
    return ops.image.resize(x, (height, width), interpolation=kind, antialias=antialias)  # type: ignore[no-any-return]


def flip_left_right(image: Any) -> Tensor:
    """Mirrored: columns in the opposite order."""
    return flip(_pictures(image), (-2,))


def flip_up_down(image: Any) -> Tensor:
    """Rows in the opposite order."""
    return flip(_pictures(image), (-3,))


def transpose(image: Any, name: str | None = None) -> Tensor:
    """Rows as columns."""
    return _pictures(image).swapaxes(-3, -2)  # type: ignore[no-any-return]


def rot90(image: Any, k: int = 1, name: str | None = None) -> Tensor:
    """Turned by k times 90 degrees, against the clock."""
    return turned(_pictures(image), k, (-3, -2))


def _drawn_flip(image: Any, axis: int, seed: Any) -> Tensor:
    x = _pictures(image)
    rows = (x.shape[0], 1, 1, 1) if x.ndim == 4 else (1, 1, 1)
    chosen = keras_random.uniform(rows, seed=seed) < 0.5
    return ops.where(chosen, flip(x, (axis,)), x)


def random_flip_left_right(image: Any, seed: Any = None) -> Tensor:
    """Mirrored with probability 1/2, each picture for itself."""
    return _drawn_flip(image, -2, seed)


def random_flip_up_down(image: Any, seed: Any = None) -> Tensor:
    """Upside down with probability 1/2, each picture for itself."""
    return _drawn_flip(image, -3, seed)


def rgb_to_grayscale(images: Any, name: str | None = None) -> Tensor:
    """One channel: 0.2989 R + 0.587 G + 0.114 B."""
    x = _pictures(images)
    weights = as_tensor(np.array([0.2989, 0.587, 0.114], np.float32))
    if x.dtype.is_floating:
        return (x * cast(weights, x.dtype)).sum(-1, keepdim=True)  # type: ignore[no-any-return]
    return convert_image_dtype((convert_image_dtype(x, "float32") * weights).sum(-1, keepdim=True), x.dtype)


def grayscale_to_rgb(images: Any, name: str | None = None) -> Tensor:
    """The one channel three times."""
    return ops.repeat(_pictures(images), 3, axis=-1)  # type: ignore[no-any-return]


def rgb_to_hsv(images: Any, name: str | None = None) -> Tensor:
    """Hue, saturation and value, each of 0 to 1."""
    return ops.image.rgb_to_hsv(_pictures(images))  # type: ignore[no-any-return]


def hsv_to_rgb(images: Any, name: str | None = None) -> Tensor:
    """The inverse of `rgb_to_hsv`."""
    return ops.image.hsv_to_rgb(_pictures(images))  # type: ignore[no-any-return]


def convert_image_dtype(image: Any, dtype: Any, saturate: bool = False, name: str | None = None) -> Tensor:
    """Another dtype, with the range scaled: integers to their largest value are 0 to 1 of floats."""
    x, kind = as_tensor(image), dtypes.as_dtype(dtype)
    if kind is x.dtype:
        return x
    if x.dtype.is_floating and kind.is_floating:
        return cast(x, kind)
    if kind.is_floating:
        return cast(x, kind) * (1.0 / np.iinfo(x.dtype.numpy).max)  # type: ignore[no-any-return]
    top = int(np.iinfo(kind.numpy).max)
    if x.dtype.is_floating:
        scaled = x * (top + 0.5)
        return cast(scaled.clamp(0, top) if saturate else scaled, kind)
    return cast(cast(x, dtypes.float64) * (top / int(np.iinfo(x.dtype.numpy).max)), kind)


def _as_floats(image: Any) -> tuple[Tensor, Any]:
    """A picture of floats, and the dtype that it came in."""
    x = _pictures(image)
    return (x, None) if x.dtype.is_floating else (convert_image_dtype(x, "float32"), x.dtype)


def _back(x: Tensor, kind: Any) -> Tensor:
    return x if kind is None else convert_image_dtype(x, kind, saturate=True)


def adjust_brightness(image: Any, delta: Any) -> Tensor:
    """`delta` added, of the range 0 to 1."""
    x, kind = _as_floats(image)
    return _back(x + delta, kind)


def adjust_contrast(images: Any, contrast_factor: Any) -> Tensor:
    """(x - mean) factor + mean, the mean of each channel of each picture."""
    x, kind = _as_floats(images)
    mean = x.mean((-3, -2), keepdim=True)
    return _back((x - mean) * contrast_factor + mean, kind)


def adjust_saturation(image: Any, saturation_factor: Any, name: str | None = None) -> Tensor:
    """Saturation times a factor, at most 1."""
    x, kind = _as_floats(image)
    hsv = rgb_to_hsv(x)
    grown = ops.clip(hsv[..., 1:2] * saturation_factor, 0.0, 1.0)
    return _back(hsv_to_rgb(ops.concatenate([hsv[..., :1], grown, hsv[..., 2:]], -1)), kind)


def adjust_hue(image: Any, delta: Any, name: str | None = None) -> Tensor:
    """The hue turned by `delta` of a full turn."""
    x, kind = _as_floats(image)
    hsv = rgb_to_hsv(x)
    turned = ops.mod(hsv[..., :1] + delta, 1.0)
    return _back(hsv_to_rgb(ops.concatenate([turned, hsv[..., 1:]], -1)), kind)


def _between(low: float, high: float, seed: Any) -> Tensor:
    if not low < high:
        raise ValueError(f"the lower limit must be less than the upper one, got {low} and {high}")
    return keras_random.uniform((), low, high, seed=seed)


def random_brightness(image: Any, max_delta: float, seed: Any = None) -> Tensor:
    """`adjust_brightness` by -max_delta to max_delta."""
    return adjust_brightness(image, _between(-max_delta, max_delta, seed))


def random_contrast(image: Any, lower: float, upper: float, seed: Any = None) -> Tensor:
    """`adjust_contrast` by lower to upper."""
    return adjust_contrast(image, _between(lower, upper, seed))


def random_saturation(image: Any, lower: float, upper: float, seed: Any = None) -> Tensor:
    """`adjust_saturation` by lower to upper."""
    return adjust_saturation(image, _between(lower, upper, seed))


def random_hue(image: Any, max_delta: float, seed: Any = None) -> Tensor:
    """`adjust_hue` by -max_delta to max_delta."""
    return adjust_hue(image, _between(-max_delta, max_delta, seed))


def per_image_standardization(image: Any) -> Tensor:
    """(x - mean) / max(deviation, 1 / sqrt(number of values)), of each picture."""
    x = cast(_pictures(image), dtypes.float32)
    axes = (-3, -2, -1)
    count = int(np.prod(x.shape[-3:]))
    deviation = x.var(axes, correction=0, keepdim=True).sqrt()
    return (x - x.mean(axes, keepdim=True)) / deviation.clamp(min=count**-0.5)  # type: ignore[no-any-return]


def crop_to_bounding_box(
    image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int
) -> Tensor:
    """The part of a given size at a given place. Raises ShapeError where it is not inside."""
    x = _pictures(image)
    if min(offset_height, offset_width) < 0 or (
        offset_height + target_height > x.shape[-3] or offset_width + target_width > x.shape[-2]
    ):
        raise ShapeError(
            f"a part of {target_height}x{target_width} at ({offset_height}, {offset_width}) is not inside a picture of "
            f"{x.shape[-3]}x{x.shape[-2]}",
            code="shape.crop",
        )
    return x[..., offset_height : offset_height + target_height, offset_width : offset_width + target_width, :]


def pad_to_bounding_box(
    image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int
) -> Tensor:
    """The picture at a given place among zeros."""
    x = _pictures(image)
    below, right = target_height - offset_height - x.shape[-3], target_width - offset_width - x.shape[-2]
    if min(offset_height, offset_width, below, right) < 0:
        raise ShapeError(
            f"a picture of {x.shape[-3]}x{x.shape[-2]} at ({offset_height}, {offset_width}) does not fit into "
            f"{target_height}x{target_width}",
            code="shape.pad",
        )
    widths = ((0, 0),) * (x.ndim - 3) + ((offset_height, below), (offset_width, right), (0, 0))
    return ops.pad(x, widths)  # type: ignore[no-any-return]


def central_crop(image: Any, central_fraction: float) -> Tensor:
    """The middle: this share of height and width."""
    if not 0.0 < central_fraction <= 1.0:
        raise ValueError(f"central_fraction must be within (0, 1], got {central_fraction}")
    x = _pictures(image)
    top, left = (int((n - n * central_fraction) / 2) for n in (x.shape[-3], x.shape[-2]))
    return x[..., top : x.shape[-3] - top, left : x.shape[-2] - left, :]


def resize_with_crop_or_pad(image: Any, target_height: int, target_width: int) -> Tensor:
    """Cut or surrounded with zeros, about the middle, to a size."""
    x = _pictures(image)
    height, width = x.shape[-3], x.shape[-2]
    x = crop_to_bounding_box(
        x, max(0, (height - target_height) // 2), max(0, (width - target_width) // 2), min(height, target_height),
        min(width, target_width),
    )  # fmt: skip
    return pad_to_bounding_box(
        x, max(0, (target_height - height) // 2), max(0, (target_width - width) // 2), target_height, target_width
    )


def random_crop(value: Any, size: Any, seed: Any = None, name: str | None = None) -> Tensor:
    """A part of shape `size` from a random place; `tf.image.random_crop`."""
    x = as_tensor(value)
    wanted = [int(n) for n in size]
    if len(wanted) != x.ndim or any(w > n for w, n in zip(wanted, x.shape)):
        raise ShapeError(f"a part of shape {tuple(wanted)} is not inside {tuple(x.shape)}", code="shape.crop")
    drawn = keras_random.uniform((x.ndim,), seed=seed).numpy()
    starts = [int(d * (n - w + 1)) for d, n, w in zip(drawn, x.shape, wanted)]
    return x[tuple(np.s_[a : a + w] for a, w in zip(starts, wanted))]


def psnr(a: Any, b: Any, max_val: float, name: str | None = None) -> Tensor:
    """The ratio of peak signal to noise of each pair of pictures, in decibels."""
    x, y = (convert_image_dtype(_pictures(v), "float32") for v in (a, b))
    top = max_val if as_tensor(a).dtype.is_floating else max_val / int(np.iinfo(as_tensor(a).dtype.numpy).max)
    error = ops.square(x - y).mean((-3, -2, -1))
    return 20 * np.log10(top) - 10 * error.log10()  # type: ignore[no-any-return]


def ssim(
    img1: Any,
    img2: Any,
    max_val: float,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
) -> Tensor:
    """Structural similarity of each pair of pictures (Wang et al. 2004)."""
    return ops.image.ssim(  # type: ignore[no-any-return]
        _pictures(img1), _pictures(img2), max_val, filter_size=filter_size, filter_sigma=filter_sigma, k1=k1, k2=k2
    )


def total_variation(images: Any, name: str | None = None) -> Tensor:
    """The sum of the magnitudes of differences between neighbours, of each picture."""
    x = _pictures(images)
    down = (x[..., 1:, :, :] - x[..., :-1, :, :]).abs().sum((-3, -2, -1))
    across = (x[..., :, 1:, :] - x[..., :, :-1, :]).abs().sum((-3, -2, -1))
    return down + across


def decode_image(
    contents: bytes, channels: int = 0, dtype: Any = "uint8", name: str | None = None, expand_animations: bool = True
) -> Tensor:
    """The picture in the bytes of a file, (H, W, C); 0 channels: as many as it has. Pillow reads it."""
    picture: Any = pillow().open(io.BytesIO(bytes(contents)))
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels:
        if channels not in modes:
            raise ValueError(f"channels is 0, 1, 3 or 4; got {channels}")
        picture = picture.convert(modes[channels])
    elif picture.mode not in modes.values():
        picture = picture.convert("RGB")
    array = np.array(picture)
    return convert_image_dtype(from_numpy(array if array.ndim == 3 else array[..., None]), dtype)


def decode_jpeg(contents: bytes, channels: int = 0, name: str | None = None) -> Tensor:
    """As `decode_image`."""
    return decode_image(contents, channels)


def decode_png(contents: bytes, channels: int = 0, dtype: Any = "uint8", name: str | None = None) -> Tensor:
    """As `decode_image`."""
    return decode_image(contents, channels, dtype)
