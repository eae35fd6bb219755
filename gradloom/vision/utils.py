"""Pictures for people: grids, files, boxes, masks and points drawn on top. Under the names of `torchvision.utils`.

Nothing here passes gradients.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.io.pictures import pillow
from gradloom.tensor import Tensor, from_numpy

__all__ = ["draw_bounding_boxes", "draw_keypoints", "draw_segmentation_masks", "make_grid", "save_image"]

Color = str | tuple[int, int, int]
Colors = Color | Sequence[Color]


def _array(name: str, x: Any) -> np.ndarray:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} takes a tensor, got {type(x).__name__}")
    return x.detach().numpy()


def make_grid(
    tensor: Tensor | Sequence[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Pictures side by side in one.

    Parameters
    ----------
    tensor : (B, C, H, W), (C, H, W) or (H, W), or a list of (C, H, W); one channel becomes three
    nrow : pictures in a row
    padding : pixels between pictures and around them
    normalize : bring values from `value_range`, or from their least to their greatest, into [0, 1]
    scale_each : find the least and the greatest for each picture
    pad_value : of the pixels between

    Returns
    -------
    (C, height, width), a single picture as it is. ShapeError where the pictures have another number of axes.
    """
    if isinstance(tensor, list | tuple):
        a = np.stack([_array("make_grid", t) for t in tensor])
    else:
        a = _array("make_grid", tensor)
    if a.ndim == 2:
        a = a[None]
    if a.ndim == 3:
        a = a[None]
    if a.ndim != 4 or not len(a):
        raise ShapeError(
            f"make_grid: shape {a.shape}", code="shape.image", hint="(B, C, H, W) with B > 0, (C, H, W) or (H, W)"
        )
    if a.shape[1] == 1:
        a = np.repeat(a, 3, 1)
    if normalize:
        if a.dtype.kind != "f":
            raise DTypeError(f"make_grid: normalize takes floating values, got {a.dtype}", code="dtype.image")
        axes = (1, 2, 3) if scale_each else None
        low, high = value_range or (a.min(axes, keepdims=True), a.max(axes, keepdims=True))
        a = ((np.clip(a, low, high) - low) / np.maximum(np.subtract(high, low), 1e-5)).astype(a.dtype)
    if len(a) == 1:
        return from_numpy(np.ascontiguousarray(a[0]).copy())
    across = min(nrow, len(a))
    down = math.ceil(len(a) / across)
    height, width = a.shape[2] + padding, a.shape[3] + padding
    grid = np.full((a.shape[1], height * down + padding, width * across + padding), pad_value, a.dtype)
    for k, picture in enumerate(a):
        y, x = k // across * height + padding, k % across * width + padding
        grid[:, y : y + a.shape[2], x : x + a.shape[3]] = picture
    return from_numpy(grid)


def save_image(
    tensor: Tensor | Sequence[Tensor],
    fp: str | os.PathLike[str] | IO[bytes],
    format: str | None = None,
    **kwargs: Any,
) -> None:
    """Write pictures of values in [0, 1] to a file, several as a grid; options as for `make_grid`.

    format : of the file, where its name does not say so.
    """
    grid = make_grid(tensor, **kwargs).numpy().astype(np.float64)
    pixels = np.clip(grid * 255.0 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    pillow().fromarray(np.ascontiguousarray(pixels)).save(fp, format=format)


# -- drawing ----------------------------------------------------------------------------------------------
def _palette(count: int) -> list[tuple[int, int, int]]:
    """Colours that lie apart, the same every time; none is black."""
    steps = (2**25 - 1, 2**15 - 1, 2**21 - 1)
    return [tuple(k * step % 255 for step in steps) for k in range(1, count + 1)]  # type: ignore[misc]


def _colors(name: str, colors: Colors | None, count: int) -> list[tuple[int, ...]]:
    """One colour for each of `count` things."""
    if colors is None:
        return list(_palette(count))
    one = isinstance(colors, str) or (isinstance(colors, tuple) and all(isinstance(c, int) for c in colors))
    found: list[Any] = [colors] * count if one else list(colors)
    if len(found) < count:
        raise ArgumentError(f"{name}: {len(found)} colours for {count}", code="argument.colors")
    named = pillow("ImageColor").getrgb
    return [tuple(named(c)) if isinstance(c, str) else tuple(c) for c in found]


def _pixels(name: str, image: Any) -> np.ndarray:
    """A picture as uint8 (H, W, 3), which may be drawn on."""
    a = _array(name, image)
    if a.ndim != 3 or a.shape[0] not in (1, 3):
        raise ShapeError(
            f"{name}: an image of shape {a.shape}", code="shape.image", hint="one image of shape (3, H, W) or (1, H, W)"
        )
    if a.dtype.kind == "f":
        a = (np.clip(a, 0.0, 1.0) * 255.0).astype(np.uint8)
    elif a.dtype != np.uint8:
        raise DTypeError(
            f"{name}: an image of dtype {a.dtype}; expected uint8, or floats in [0, 1]", code="dtype.image"
        )
    return np.ascontiguousarray(np.broadcast_to(a, (3, *a.shape[1:])).transpose(1, 2, 0))


def _drawn(pixels: np.ndarray, image: Tensor) -> Tensor:
    """(H, W, 3) as (3, H, W), of the image's dtype."""
    a = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return from_numpy((a / 255.0).astype(image.dtype.numpy) if image.dtype.is_floating else a)


def draw_bounding_boxes(
    image: Tensor,
    boxes: Tensor,
    labels: Sequence[str | None] | None = None,
    colors: Colors | None = None,
    fill: bool = False,
    width: int = 1,
    font: str | None = None,
    font_size: int | None = None,
    label_colors: Colors | None = None,
) -> Tensor:
    """The picture with boxes drawn on it.

    Parameters
    ----------
    image : (3, H, W) or (1, H, W), uint8 or floats in [0, 1]
    boxes : (N, 4): xmin, ymin, xmax, ymax
    labels : a text for each box
    colors, label_colors : one for all, or a list; names or (r, g, b). Labels have their box's unless given
    fill : boxes are filled, nearly transparent
    width : of lines
    font, font_size : a TrueType file, and the size in points (10); Pillow's own font unless given

    Returns
    -------
    (3, H, W) of the image's dtype. ShapeError, DTypeError, ArgumentError for what does not fit.
    """
    pixels, corners = _pixels("draw_bounding_boxes", image), _array("draw_bounding_boxes", boxes)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise ShapeError(f"draw_bounding_boxes: boxes of shape {corners.shape}", code="shape.boxes", hint="(N, 4)")
    if (corners[:, 2:] < corners[:, :2]).any():
        raise ArgumentError(
            "draw_bounding_boxes: a box ends before it begins", code="argument.boxes", hint="xmin, ymin, xmax, ymax"
        )
    if labels is not None and len(labels) != len(corners):
        raise ArgumentError(f"{len(labels)} labels for {len(corners)} boxes", code="argument.labels")
    if font is None and font_size is not None:
        raise ArgumentError("font_size needs font, a TrueType file", code="argument.font")
    lines = _colors("draw_bounding_boxes", colors, len(corners))
    inks = lines if label_colors is None else _colors("draw_bounding_boxes", label_colors, len(corners))
    letters = pillow("ImageFont")
    face = letters.load_default() if font is None else letters.truetype(font, font_size or 10)
    picture = pillow().fromarray(pixels)
    pen = pillow("ImageDraw").Draw(picture, "RGBA" if fill else None)
    for k, box in enumerate(corners.astype(np.int64).tolist()):
        pen.rectangle(box, width=width, outline=lines[k], fill=(*lines[k], 100) if fill else None)
        if labels is not None and labels[k] is not None:
            pen.text((box[0] + width + 1, box[1] + width + 1), labels[k], fill=inks[k], font=face)
    return _drawn(np.asarray(picture), image)


def draw_segmentation_masks(image: Tensor, masks: Tensor, alpha: float = 0.8, colors: Colors | None = None) -> Tensor:
    """The picture with masks laid over it; where several cover a pixel, their colours are mixed evenly.

    Parameters
    ----------
    image : (3, H, W) or (1, H, W), uint8 or floats in [0, 1]
    masks : bool, (N, H, W) or (H, W)
    alpha : 0 leaves the picture as it is, 1 covers it
    colors : one for all, or a list; names or (r, g, b)

    Returns
    -------
    (3, H, W) of the image's dtype. ShapeError, DTypeError, ArgumentError for what does not fit.
    """
    pixels, covers = _pixels("draw_segmentation_masks", image), _array("draw_segmentation_masks", masks)
    covers = covers[None] if covers.ndim == 2 else covers
    if covers.dtype != np.bool_:
        raise DTypeError(f"draw_segmentation_masks: masks of dtype {covers.dtype}; expected bool", code="dtype.mask")
    if covers.ndim != 3 or covers.shape[1:] != pixels.shape[:2]:
        raise ShapeError(
            f"draw_segmentation_masks: masks of shape {covers.shape}, image of {pixels.shape[:2]}",
            code="shape.mask", hint="(N, H, W) or (H, W), with the image's height and width",
        )  # fmt: skip
    inks = np.array(_colors("draw_segmentation_masks", colors, len(covers)), np.float64).reshape(len(covers), 3)
    count = covers.sum(0)
    mixed = np.einsum("nhw,nc->hwc", covers.astype(np.float64), inks) / np.maximum(count, 1)[..., None]
    out = np.where((count > 0)[..., None], pixels * (1.0 - alpha) + mixed * alpha, pixels)
    return _drawn(out.astype(np.uint8), image)


def draw_keypoints(
    image: Tensor,
    keypoints: Tensor,
    connectivity: Sequence[tuple[int, int]] | None = None,
    colors: Color | None = None,
    radius: int = 2,
    width: int = 3,
    visibility: Tensor | None = None,
) -> Tensor:
    """The picture with points drawn on it.

    Parameters
    ----------
    image : (3, H, W) or (1, H, W), uint8 or floats in [0, 1]
    keypoints : (N, K, 2): x, y of each point of each thing
    connectivity : pairs of points that are joined by lines
    colors : of all points; white unless given. Lines are white
    radius, width : of points, of lines
    visibility : bool, (N, K): which points are drawn

    Returns
    -------
    (3, H, W) of the image's dtype. ShapeError, DTypeError for what does not fit.
    """
    pixels, places = _pixels("draw_keypoints", image), _array("draw_keypoints", keypoints)
    if places.ndim != 3 or places.shape[2] != 2:
        raise ShapeError(f"draw_keypoints: keypoints of shape {places.shape}", code="shape.points", hint="(N, K, 2)")
    shown = np.ones(places.shape[:2], np.bool_)
    if visibility is not None:
        shown = _array("draw_keypoints", visibility).astype(np.bool_)
        if shown.shape != places.shape[:2]:
            raise ShapeError(
                f"draw_keypoints: visibility of shape {shown.shape}, {places.shape[:2]} points", code="shape.points",
                hint="(N, K)",
            )  # fmt: skip
    ink = _colors("draw_keypoints", colors or "white", 1)[0]
    picture = pillow().fromarray(pixels)
    pen = pillow("ImageDraw").Draw(picture)
    for points, seen in zip(places.astype(np.int64).tolist(), shown, strict=True):
        for (x, y), visible in zip(points, seen, strict=True):
            if visible:
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=ink)
        for start, end in connectivity or ():
            if seen[start] and seen[end]:
                pen.line([*points[start], *points[end]], fill="white", width=width)
    return _drawn(np.asarray(picture), image)
