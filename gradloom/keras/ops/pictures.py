"""``keras.ops.image``: sizes, cuts, colours, filters and geometric changes of images (h, w, c) or (n, h, w, c)."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions import PUBLIC
from gradloom.functions.convolution import convolve
from gradloom.functions.linalg_solve import solve
from gradloom.keras import config
from gradloom.keras.images import KERNELS as _kernels
from gradloom.keras.images import folded, transformed
from gradloom.keras.layers.convolutional import depthwise, ends, numbers
from gradloom.keras.names import lookup
from gradloom.keras.operations import as_tensor, operation
from gradloom.keras.random import normal
from gradloom.tensor import Tensor, from_numpy

TABLE: dict[str, Callable[..., Any]] = {}
FILLS = {"constant": 1, "nearest": 1, "wrap": 1, "mirror": 1, "reflect": 1}
KINDS = {"nearest": 0, "bilinear": 1}


def _last(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of images (n, h, w, c) take single ones too, and channels where ``data_format`` says."""

    @functools.wraps(fn)
    def call(images: Any, *args: Any, data_format: Any = None, **kwargs: Any) -> Any:
        x = as_tensor(images)
        _check_rank(x)
        one, first = x.ndim == 3, config.checked_format(data_format) == "channels_first"
        x = x.unsqueeze(0) if one else x
        y = fn(G.permute(x, (0, 2, 3, 1)) if first else x, *args, **kwargs)
        y = PUBLIC["moveaxis"](y, 3, 1) if first else y
        return y.squeeze(0) if one else y

    TABLE[fn.__name__] = operation(call)
    return call


def _check_rank(x: Tensor) -> None:
    if x.ndim not in (3, 4):
        raise ValueError("Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). Received "
                         f"input with shape: images.shape={tuple(x.shape)}")  # fmt: skip


def _need_floats(x: Tensor) -> None:
    if not x.dtype.is_floating:
        raise ValueError(f"Invalid images dtype: expected float dtype. Received: images.dtype={x.dtype.name}")


# -- colours ---------------------------------------------------------------------------------------------------------


@_last
def rgb_to_grayscale(images: Any) -> Any:
    """Brightness as the eye has it: 0.2989 red + 0.587 green + 0.114 blue; one channel."""
    _need_channels(images)
    x = images if images.dtype.is_floating else images.to(config.as_dtype("float32"))
    weights = from_numpy(np.array([0.2989, 0.5870, 0.1140], x.dtype.numpy))
    return G.sum(x * weights, -1, True).to(images.dtype)


def _need_channels(x: Tensor) -> None:
    if x.shape[-1] not in (1, 3):
        raise ValueError(f"Invalid channel size: expected 3 (RGB) or 1 (Grayscale). Received input with shape: "
                         f"images.shape={tuple(x.shape)}")  # fmt: skip


def _need_colours(x: Tensor) -> None:
    if x.shape[-1] != 3:
        raise ValueError(f"Input images must have 3 channels, but received images with {x.shape[-1]} channels.")


@_last
def rgb_to_hsv(images: Any) -> Any:
    """Hue, saturation and value of red, green and blue, all from 0 to 1."""
    _need_floats(images)
    _need_colours(images)
    r, g, b = (images[..., k] for k in range(3))
    top, low = G.amax(images, -1), G.amin(images, -1)
    span, zero, one = top - low, G.zeros_like(r), G.ones_like(r)
    norm = 1.0 / (6.0 * G.where(span > 0, span, one))
    hue = G.where(top == g, norm * (b - r) + 2.0 / 6.0, norm * (r - g) + 4.0 / 6.0)
    hue = G.where(top == r, norm * (g - b), hue)
    hue = G.where(span > 0, hue, zero) + (hue < 0.0).to(hue.dtype)
    saturation = G.where(top > 0, span / G.where(top > 0, top, one), zero)
    return G.stack([hue, saturation, top], -1)


@_last
def hsv_to_rgb(images: Any) -> Any:
    """Red, green and blue of hue, saturation and value."""
    _need_floats(images)
    _need_colours(images)
    hue, saturation, value = (images[..., k] for k in range(3))
    at = G.remainder(hue, 1.0) * 6.0
    parts = (G.abs(at - 3.0) - 1.0, 2.0 - G.abs(at - 2.0), 2.0 - G.abs(at - 4.0))
    return G.stack([value * (1.0 - saturation + saturation * G.clamp(p, 0.0, 1.0)) for p in parts], -1)


# -- sizes -----------------------------------------------------------------------------------------------------------


def resize(
    images: Any, size: Any, interpolation: str = "bilinear", antialias: bool = False,
    crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False, fill_mode: str = "constant",
    fill_value: float = 0.0, data_format: Any = None,
) -> Any:  # fmt: skip
    """Images in another size; see :class:`keras.layers.Resizing`."""
    from gradloom.keras.layers.images import Resizing

    if len(size) != 2:
        raise ValueError(f"Expected `size` to be a tuple of 2 integers. Received: size={size}")
    if min(size) < 1:
        raise ValueError(f"`size` must have positive height and width. Received: size={size}")
    x = as_tensor(images)
    _check_rank(x)
    layer = Resizing(
        int(size[0]), int(size[1]), interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio, fill_mode, fill_value,
        antialias, data_format, dtype=x.dtype.name if x.dtype.is_floating else "float32",
    )  # fmt: skip
    y = layer.call(x)
    if x.dtype.is_floating:
        return y
    limits = np.iinfo(x.dtype.numpy)
    return G.clamp(G.round(y), limits.min, limits.max).to(x.dtype) if interpolation != "nearest" else y.to(x.dtype)


def _sides(size: int, low: Any, high: Any, target: Any, what: str) -> tuple[int, int]:
    """How much at each end, two of the three being said."""
    if target is None:
        return int(low or 0), int(high or 0)
    more = target - size if what == "padding" else size - target
    low = more - high if low is None and high is not None else 0 if low is None else low
    return int(low), int(more - low)


@_last
def pad_images(
    images: Any, top_padding: Any = None, left_padding: Any = None, bottom_padding: Any = None,
    right_padding: Any = None, target_height: Any = None, target_width: Any = None,
) -> Any:  # fmt: skip
    """Zeros around images: as much as is said, or what the target size lacks."""
    _, h, w, _ = images.shape
    _two_of(top_padding, bottom_padding, target_height, "top_padding, bottom_padding, target_height")
    _two_of(left_padding, right_padding, target_width, "left_padding, right_padding, target_width")
    _not_negative("target_height", target_height)
    _not_negative("target_width", target_width)
    top, bottom = _sides(h, top_padding, bottom_padding, target_height, "padding")
    left, right = _sides(w, left_padding, right_padding, target_width, "padding")
    for name, n in (("top", top), ("left", left), ("bottom", bottom), ("right", right)):
        _not_negative(f"{name}_padding", n)
    return PUBLIC["constant_pad_nd"](images, [0, 0, left, right, top, bottom], 0)


def _two_of(low: Any, high: Any, target: Any, names: str) -> None:
    if [low, high, target].count(None) != 1:
        raise ValueError(f"Must specify exactly two of {names}. Received: {low}, {high}, {target}")


def _not_negative(name: str, n: Any) -> None:
    if n is not None and n < 0:
        raise ValueError(f"{name} must be >= 0. Received: {name}={n}")


@_last
def crop_images(
    images: Any, top_cropping: Any = None, left_cropping: Any = None, bottom_cropping: Any = None,
    right_cropping: Any = None, target_height: Any = None, target_width: Any = None,
) -> Any:  # fmt: skip
    """Images without some rows and columns at their edges: as many as is said, or what exceeds the target size."""
    _, h, w, _ = images.shape
    _two_of(top_cropping, bottom_cropping, target_height, "top_cropping, bottom_cropping, target_height")
    _two_of(left_cropping, right_cropping, target_width, "left_cropping, right_cropping, target_width")
    _not_negative("target_height", target_height)
    _not_negative("target_width", target_width)
    top, bottom = _sides(h, top_cropping, bottom_cropping, target_height, "cropping")
    left, right = _sides(w, left_cropping, right_cropping, target_width, "cropping")
    for name, n in (("top", top), ("left", left), ("bottom", bottom), ("right", right)):
        _not_negative(f"{name}_cropping", n)
    return images[:, top : h - bottom, left : w - right, :]


def _patches(x: Tensor, rank: int, size: Any, strides: Any, dilation_rate: Any, padding: str, data_format: Any) -> Any:
    first = config.checked_format(data_format) == "channels_first"
    one = x.ndim == rank + 1
    x = x.unsqueeze(0) if one else x
    x = PUBLIC["moveaxis"](x, 1, -1) if first else x
    k = numbers(size, rank, "size")
    s, d = numbers(k if strides is None else strides, rank, "strides"), numbers(dilation_rate, rank, "dilation_rate")
    count = math.prod(k) * x.shape[-1]
    kernel = from_numpy(np.eye(count, dtype=x.dtype.numpy).reshape(*k, x.shape[-1], count))
    pads = tuple(ends(n, a, b, c, padding) for n, a, b, c in zip(x.shape[1:-1], k, s, d, strict=True))
    y = convolve(x, kernel, s, pads, d, 1, "extract_patches")
    y = PUBLIC["moveaxis"](y, -1, 1) if first else y
    return y.squeeze(0) if one else y


def extract_patches(
    images: Any, size: Any, strides: Any = None, dilation_rate: Any = 1, padding: str = "valid",
    data_format: Any = None,
) -> Any:  # fmt: skip
    """Parts of images, each as the channels of its place; of volumes where ``size`` has three numbers."""
    if not isinstance(size, int | tuple | list):
        raise TypeError(f"Invalid `size` argument. Expected an int or a tuple. Received: size={size!r}")
    if not isinstance(size, int) and len(size) not in (2, 3):
        raise ValueError(f"Invalid `size` argument. Expected a tuple of length 2 or 3. Received: size={size}")
    rank = 3 if not isinstance(size, int) and len(size) == 3 else 2
    return _patches(as_tensor(images), rank, size, strides, dilation_rate, padding, data_format)


def extract_patches_3d(
    volumes: Any, size: Any, strides: Any = None, dilation_rate: Any = 1, padding: str = "valid",
    data_format: Any = None,
) -> Any:  # fmt: skip
    """Parts of volumes, each as the channels of its place."""
    if not isinstance(size, int) and (not isinstance(size, tuple | list) or len(size) != 3):
        raise TypeError(f"Invalid `size` argument. Expected an int or a tuple of length 3. Received: size={size!r}")
    return _patches(as_tensor(volumes), 3, size, strides, dilation_rate, padding, data_format)


# -- filters ---------------------------------------------------------------------------------------------------------


def _bell(size: int, sigma: Any, dtype: Any) -> np.ndarray:
    x = np.arange(size) - (size - 1) / 2
    found = np.exp(-0.5 * (x / float(sigma)) ** 2)
    return (found / found.sum()).astype(dtype)


def _blurred(x: Tensor, rows: np.ndarray, columns: np.ndarray, padding: str) -> Tensor:
    """Each channel of (n, h, w, c) with a filter of its own that is a product of two."""
    for k, (w, axis) in enumerate(((rows, 1), (columns, 2))):
        shape = [1, 1, 1, 1]
        shape[k] = len(w)
        kernel = G.broadcast_to(from_numpy(w.reshape(shape)), (*shape[:2], x.shape[-1], 1))
        pad = ends(x.shape[axis], len(w), 1, 1, padding)
        x = depthwise(x, kernel, (1, 1), (pad, (0, 0)) if axis == 1 else ((0, 0), pad), (1, 1))
    return x


@_last
def gaussian_blur(images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0)) -> Any:
    """Images blurred by a Gaussian of so many pixels, zeros around; sizes and deviations of width, then height."""
    _need_floats(images)
    kind = images.dtype.numpy
    columns, rows = (_bell(int(n), s, kind) for n, s in zip(kernel_size, np.asarray(sigma), strict=True))
    return _blurred(images, rows, columns, "same")


def sobel_edges(images: Any, data_format: Any = None) -> Any:
    """Slopes along height and width by Sobel's filters, along a new last axis (dy, dx); zeros around."""
    x = as_tensor(images)
    first = config.checked_format(data_format) == "channels_first"
    if x.ndim != 4:
        raise ValueError(f"Invalid images rank: expected rank 4 (batch of images). Received: images.shape="
                         f"{tuple(x.shape)}")  # fmt: skip
    x = G.permute(x, (0, 2, 3, 1)) if first else x
    x = x if x.dtype.is_floating else x.to(config.as_dtype("float32"))
    smooth, slope = (np.array(v, x.dtype.numpy) for v in ((1, 2, 1), (-1, 0, 1)))
    y = G.stack([_blurred(x, slope, smooth, "same"), _blurred(x, smooth, slope, "same")], -1)
    return G.permute(y, (0, 3, 1, 2, 4)) if first else y


def ssim(
    image1: Any, image2: Any, max_val: float = 1.0, filter_size: int = 11, filter_sigma: float = 1.5, k1: float = 0.01,
    k2: float = 0.03, data_format: Any = None,
) -> Any:  # fmt: skip
    """How alike two images are in structure (Wang et al. 2004), 1 where they are the same: (n,), or 0-d for one."""
    a, b = as_tensor(image1), as_tensor(image2)
    for x in (a, b):
        _check_rank(x)
    one, first = a.ndim == 3, config.checked_format(data_format) == "channels_first"
    a, b = (x if x.dtype.is_floating else x.to(config.as_dtype("float32")) for x in (a, b))
    a, b = (x.unsqueeze(0) if one else x for x in (a, b))
    a, b = (G.permute(x, (0, 2, 3, 1)) if first else x for x in (a, b))
    w = _bell(filter_size, filter_sigma, a.dtype.numpy)
    mean = functools.partial(_blurred, rows=w, columns=w, padding="valid")
    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    found = (2.0 * ma * mb + c1) * (2.0 * both + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    found = G.mean(found, (1, 2, 3))
    return found.squeeze(0) if one else found


# -- geometry --------------------------------------------------------------------------------------------------------


def _looked_at(x: Tensor, rows: Tensor, columns: Tensor, interpolation: str, fill_mode: str, fill: Any) -> Tensor:
    found = transformed(_floats(x), rows, columns, fill_mode, interpolation, float(fill))
    return found.to(x.dtype)


def _floats(x: Tensor) -> Tensor:
    return x if x.dtype.is_floating else x.to(config.as_dtype("float32"))


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    kind = _floats(x).dtype
    return G.arange(x.shape[1]).to(kind).reshape(1, -1, 1), G.arange(x.shape[2]).to(kind).reshape(1, 1, -1)


@_last
def affine_transform(
    images: Any, transform: Any, interpolation: str = "bilinear", fill_mode: str = "constant", fill_value: float = 0,
) -> Any:  # fmt: skip
    """Images looked at through (8,) or (n, 8) numbers: place (x, y) comes from (a0 x + a1 y + a2, b0 x + b1 y + b2)."""
    lookup("interpolation", interpolation, KINDS)
    lookup("fill_mode", fill_mode, FILLS)
    t = as_tensor(transform).to(_floats(images).dtype)
    if t.ndim not in (1, 2):
        raise ValueError("Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of transforms). "
                         f"Received input with shape: transform.shape={tuple(t.shape)}")  # fmt: skip
    t = G.broadcast_to(t.unsqueeze(0) if t.ndim == 1 else t, (images.shape[0], 8))
    a0, a1, a2, b0, b1, b2 = (t[:, k].reshape(-1, 1, 1) for k in range(6))
    i, j = _grid(images)
    return _looked_at(images, b0 * j + b1 * i + b2, a0 * j + a1 * i + a2, interpolation, fill_mode, fill_value)


@_last
def perspective_transform(
    images: Any, start_points: Any, end_points: Any, interpolation: str = "bilinear", fill_value: float = 0,
) -> Any:  # fmt: skip
    """Images moved so that four points (x, y) come to stand at four others; points (4, 2) or (n, 4, 2)."""
    lookup("interpolation", interpolation, KINDS)
    points = [as_tensor(p).to(config.as_dtype("float32")) for p in (start_points, end_points)]
    for name, p in zip(("start_points", "end_points"), points, strict=True):
        if tuple(p.shape[-2:]) != (4, 2) or p.ndim not in (2, 3):
            raise ValueError(f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. "
                             f"Received shape: {tuple(p.shape)}")  # fmt: skip
    if tuple(points[0].shape) != tuple(points[1].shape):
        raise ValueError("start_points and end_points must have the same shape. Received start_points.shape="
                         f"{tuple(points[0].shape)}, end_points.shape={tuple(points[1].shape)}")  # fmt: skip
    start, end = (G.broadcast_to(p.unsqueeze(0) if p.ndim == 2 else p, (images.shape[0], 4, 2)) for p in points)
    numbers_of = _homography(start, end)
    t = [numbers_of[:, k].reshape(-1, 1, 1) for k in range(8)]
    i, j = _grid(images)
    below = t[6] * j + t[7] * i + 1.0
    rows, columns = (t[3] * j + t[4] * i + t[5]) / below, (t[0] * j + t[1] * i + t[2]) / below
    return _looked_at(images, rows, columns, interpolation, "constant", fill_value)


def _homography(start: Tensor, end: Tensor) -> Tensor:
    """Numbers (n, 8) of the projection that takes ``end`` to ``start``, (n, 4, 2) both."""
    sx, sy, ex, ey = start[..., 0], start[..., 1], end[..., 0], end[..., 1]
    zero, one = G.zeros_like(ex), G.ones_like(ex)
    top = G.stack([ex, ey, one, zero, zero, zero, -sx * ex, -sx * ey], -1)
    low = G.stack([zero, zero, zero, ex, ey, one, -sy * ex, -sy * ey], -1)
    return solve(G.cat([top, low], 1), G.cat([sx, sy], 1).unsqueeze(-1)).squeeze(-1)


@_last
def elastic_transform(
    images: Any, alpha: float = 20.0, sigma: float = 5.0, interpolation: str = "bilinear", fill_mode: str = "reflect",
    fill_value: float = 0.0, seed: Any = None,
) -> Any:  # fmt: skip
    """Places moved at random by smooth fields (Simard et al. 2003): ``alpha`` strong, ``sigma`` wide."""
    lookup("interpolation", interpolation, KINDS)
    lookup("fill_mode", fill_mode, FILLS)
    n, h, w, _ = images.shape
    bell = _bell(int(6 * float(sigma)) | 1, sigma, np.float32)
    fields = normal((n, h, w, 2), 0.0, float(sigma), seed=seed)
    fields = _blurred(fields, bell, bell, "same").to(_floats(images).dtype) * float(alpha)
    i, j = _grid(images)
    rows, columns = i + fields[..., 0], j + fields[..., 1]
    return _looked_at(images, rows, columns, interpolation, fill_mode, fill_value)


def map_coordinates(
    inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0.0
) -> Any:
    """Values at places between the elements: ``coordinates`` (ndim, ...); order 0 takes the nearest, 1 interpolates."""
    x = as_tensor(inputs)
    at = as_tensor(coordinates)
    shapes = f"Received inputs with shape: {tuple(x.shape)} and coordinates with shape: {tuple(at.shape)}"
    if at.ndim < 1 or at.shape[0] != x.ndim:
        raise ValueError(f"First dim of `coordinates` must be the same as the rank of `inputs`. {shapes}")
    if at.ndim < 2:
        raise ValueError(f"Invalid coordinates rank: expected at least rank 2. {shapes}")
    lookup("fill_mode", fill_mode, FILLS)
    if order not in (0, 1):
        raise ValueError(f"Invalid value for argument `order`. Expected one of {{0, 1}}. Received: order={order}")
    y, whole = _floats(x), config.as_dtype("int64")
    at = at.to(y.dtype)
    flat, found = y.reshape(-1), None
    base = G.floor(at) if order else G.floor(at + 0.5)
    for corner in itertools.product((0, 1) if order else (0,), repeat=x.ndim):
        place: Any = 0
        weight: Any = None
        inside: Any = None
        for k, step in enumerate(corner):
            size = x.shape[k]
            index = base[k].to(whole) + step
            index, ok = folded(index, size, fill_mode)
            place = place * size + index
            inside = ok if inside is None else inside if ok is None else G.logical_and(inside, ok)
            if order:
                part = at[k] - base[k] if step else 1.0 - (at[k] - base[k])
                weight = part if weight is None else weight * part
        value = G.index_select(flat, 0, place.reshape(-1)).reshape(*place.shape)
        value = value if inside is None else G.where(inside, value, G.full_like(value, float(fill_value)))
        value = value if weight is None else value * weight
        found = value if found is None else found + value
    assert found is not None
    return found.to(x.dtype) if x.dtype.is_floating else G.round(found).to(x.dtype)


def scale_and_translate(
    images: Any, output_shape: Any, scale: Any, translation: Any, spatial_dims: Any, method: str,
    antialias: bool = True,
) -> Any:  # fmt: skip
    """Axes resampled so that place p of the inputs stands at ``p · scale + translation``, zero outside.

    Parameters
    ----------
    method : "linear", "bilinear", "trilinear", "cubic", "bicubic", "tricubic", "lanczos3" or "lanczos5".
    """
    from gradloom.functions.einsum import einsum

    kinds = {"linear": "bilinear", "trilinear": "bilinear", "bilinear": "bilinear", "lanczos3": "lanczos3",
             "lanczos5": "lanczos5", "cubic": "bicubic", "bicubic": "bicubic", "tricubic": "bicubic"}  # fmt: skip
    kernel = _kernels[lookup("method", method, kinds)]
    x = as_tensor(images)
    known = (v.detach().numpy() if isinstance(v, Tensor) else v for v in (scale, translation))
    scales, shifts = (np.asarray(v, np.float64) for v in known)
    letters = "abcdefgh"[: x.ndim]
    for k, axis in enumerate(spatial_dims):
        axis %= x.ndim
        size, wanted, by = x.shape[axis], int(output_shape[axis]), float(scales[k])
        at = (np.arange(wanted) + 0.5 - float(shifts[k])) / by - 0.5
        wide = max(1.0 / by, 1.0) if antialias else 1.0
        w = kernel((at[:, None] - np.arange(size)) / wide)
        total = w.sum(1, keepdims=True)
        w = np.where(np.abs(total) > 1e-4, w / np.where(total == 0, 1, total), 0)
        w = np.where(((at >= -0.5) & (at <= size - 0.5))[:, None], w, 0)
        out = letters.replace(letters[axis], "z")
        x = einsum(f"{letters},z{letters[axis]}->{out}", x, from_numpy(w.astype(x.dtype.numpy)))
    return x


for _fn in (resize, extract_patches, extract_patches_3d, sobel_edges, ssim, map_coordinates, scale_and_translate):
    TABLE[_fn.__name__] = operation(_fn)

__all__ = ["TABLE"]
