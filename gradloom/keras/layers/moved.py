"""Layers that look at images in other places: turns, shifts, zooms, shears, perspectives, bends; boxes, masks too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradloom import functions as G
from gradloom.functions.linalg_solve import inv
from gradloom.keras import bounding_boxes as B
from gradloom.keras.layers.augmenting import FILLS, KINDS, LAST, RandomLayer, each, limits, one_of
from gradloom.keras.operations import as_tensor
from gradloom.tensor import Tensor


def _picture(name: str) -> Callable[..., Tensor]:
    from gradloom.keras.ops import pictures

    return getattr(pictures, name)


class _Moved(RandomLayer):
    """Base: images and masks through the same glass, masks by the nearest pixel."""

    fill_mode = "constant"
    interpolation: str
    fill_value: float

    def _moving(self, fill_mode: str, interpolation: str, fill_value: float, fills: Any = FILLS) -> None:
        self.fill_mode = one_of("fill_mode", fill_mode, fills)
        self.interpolation, self.fill_value = one_of("interpolation", interpolation, KINDS), fill_value

    def moved(self, x: Tensor, transformation: Any, interpolation: str) -> Tensor:
        """The images or masks (n, h, w, c), seen through it."""
        matrix = self.matrix(transformation, x.shape[1], x.shape[2])
        return _picture("affine_transform")(x, matrix, interpolation, self.fill_mode, self.fill_value, data_format=LAST)

    def matrix(self, transformation: Any, height: int, width: int) -> Tensor:
        """Eight numbers for each image: where each pixel comes from, (n, 8)."""
        raise NotImplementedError

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        return self.moved(x, transformation, self.interpolation)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The masks moved as their images are."""
        masks = as_tensor(segmentation_masks)
        if transformation is None or not training:
            return masks
        return self.ordered(masks, lambda x: self.moved(x, transformation, "nearest")).to(masks.dtype)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """The boxes moved as their images are, cut at the edges."""
        if transformation is None or not training:
            return bounding_boxes
        h, w = self._height_width(transformation["input_shape"])
        b = B.convert_format(bounding_boxes, self.bounding_box_format, "xyxy", h, w)
        b = b | {"boxes": self.moved_boxes(b["boxes"], transformation, h, w)}
        b = B.clip_to_image_size(b, h, w)
        return B.convert_format(b, "xyxy", self.bounding_box_format, h, w)

    def moved_boxes(self, boxes: Tensor, transformation: Any, height: int, width: int) -> Tensor:
        """The boxes (n, boxes, 4), "xyxy", where they went."""
        raise NotImplementedError

    def _height_width(self, shape: Any) -> tuple[int, int]:
        h, w = shape[-3:-1] if self.data_format == LAST else shape[-2:]
        return int(h), int(w)

    def _shape(self, data: Any) -> tuple[int, ...]:
        return tuple((data["images"] if isinstance(data, dict) else data).shape)


def _affine(*numbers: Any) -> Tensor:
    """Six numbers or (n,) each, and two zeros: (n, 8)."""
    tensors = [v.reshape(-1) for v in numbers if isinstance(v, Tensor)]
    like = tensors[0]
    rows = [v.reshape(-1) if isinstance(v, Tensor) else G.full_like(like, float(v)) for v in (*numbers, 0, 0)]
    return G.stack(rows, -1)


class RandomRotation(_Moved):
    """Images turned about their centre in training, by a share of a whole turn within ``factor``.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    factor : one number: as far to either side; or two limits. From -1 to 1.
    fill_mode : what lies outside: "reflect", "wrap", "nearest", or "constant" with ``fill_value``.
    interpolation : "bilinear" or "nearest".
    """

    def __init__(
        self, factor: Any, fill_mode: str = "reflect", interpolation: str = "bilinear", seed: Any = None,
        fill_value: float = 0.0, data_format: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.factor = limits(factor, "factor", -1, 1)
        self._moving(fill_mode, interpolation, fill_value)
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Angles in degrees."""
        if not training:
            return None
        angle = self.draw(seed, (self.sizes(data)[0],), *(360.0 * v for v in self.factor))
        return {"angle": angle, "input_shape": self._shape(data)}

    def matrix(self, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`."""
        turn = as_tensor(transformation["angle"]) * (math.pi / 180.0)
        c, s = G.cos(turn), G.sin(turn)
        x, y = (width - 1) / 2, (height - 1) / 2
        return _affine(c, -s, x - x * c + y * s, s, c, y - x * s - y * c)

    def moved_boxes(self, boxes: Tensor, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`."""
        angle = as_tensor(transformation["angle"])
        none = G.zeros_like(angle)
        return B.affine_transform(boxes, angle, none, none, none + 1.0, none, none, height, width)


class RandomTranslation(_Moved):
    """Images shifted in training, by shares of their height and width within two factors.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    height_factor, width_factor : one number: as far either way; or two limits, downward and to the right positive.
    fill_mode, interpolation, fill_value : as for :class:`RandomRotation`.
    """

    def __init__(
        self, height_factor: Any, width_factor: Any, fill_mode: str = "reflect", interpolation: str = "bilinear",
        seed: Any = None, fill_value: float = 0.0, data_format: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._heights = limits(height_factor, "height_factor", -1.0, 1.0)
        self._widths = limits(width_factor, "width_factor", -1.0, 1.0)
        self._moving(fill_mode, interpolation, fill_value)
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Shifts to the right and downward in pixels, (n, 2)."""
        if not training:
            return None
        n, h, w, _ = self.sizes(data)
        down, right = self.draw(seed, (n,), *self._heights) * h, self.draw(seed, (n,), *self._widths) * w
        return {"translations": G.stack([right, down], -1), "input_shape": self._shape(data)}

    def matrix(self, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`."""
        by = as_tensor(transformation["translations"])
        return _affine(1.0, 0.0, -by[:, 0], 0.0, 1.0, -by[:, 1])

    def moved_boxes(self, boxes: Tensor, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`."""
        by = as_tensor(transformation["translations"]).to(boxes.dtype)
        by = G.cat([by, by], -1)
        return boxes + (by.unsqueeze(1) if boxes.ndim == 3 else by)


class RandomZoom(_Moved):
    """Images in training larger (negative factors) or smaller (positive ones) about their centre.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    height_factor, width_factor : one number: as far either way; or two limits, from above -1 to 1. Without
        ``width_factor`` the proportions stay.
    fill_mode, interpolation, fill_value : as for :class:`RandomRotation`.
    """

    def __init__(
        self, height_factor: Any, width_factor: Any = None, fill_mode: str = "reflect",
        interpolation: str = "bilinear", seed: Any = None, fill_value: float = 0.0, data_format: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._heights = limits(height_factor, "height_factor", -1.0, 1.0)
        self._widths = None if width_factor is None else limits(width_factor, "width_factor", -1.0, 1.0)
        for name, pair in (("height_factor", self._heights), ("width_factor", self._widths)):
            if pair is not None and pair[0] <= -1.0:
                raise ValueError(f"The `{name}` argument must stay above -1: nothing would be left. Received: {pair}")
        self._moving(fill_mode, interpolation, fill_value)
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """How much is seen of each image's height and width, (n, 1) each."""
        if not training:
            return None
        n = self.sizes(data)[0]
        tall = self.draw(seed, (n, 1), 1.0 + self._heights[0], 1.0 + self._heights[1])
        wide = tall if self._widths is None else self.draw(seed, (n, 1), 1.0 + self._widths[0], 1.0 + self._widths[1])
        return {"height_zoom": tall, "width_zoom": wide, "input_shape": self._shape(data)}

    def matrix(self, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`."""
        tall, wide = (as_tensor(transformation[k]).reshape(-1) for k in ("height_zoom", "width_zoom"))
        return _affine(wide, 0.0, (width - 1) / 2 * (1.0 - wide), 0.0, tall, (height - 1) / 2 * (1.0 - tall))

    def moved_boxes(self, boxes: Tensor, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`."""
        tall, wide = (
            as_tensor(transformation[k]).reshape(-1, 1).to(boxes.dtype) for k in ("height_zoom", "width_zoom")
        )
        left, top = (width - 1) / 2 * (1.0 - wide), (height - 1) / 2 * (1.0 - tall)
        shift, by = G.stack([left, top] * 2, -1), G.stack([wide, tall] * 2, -1)
        return (boxes - shift) / by


class RandomShear(_Moved):
    """Rows pushed along the width and columns along the height in training, by shares within two factors.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    x_factor, y_factor : one number from 0 to 1: as far either way; or two limits.
    fill_mode, interpolation, fill_value : as for :class:`RandomRotation`.
    """

    def __init__(self, x_factor: Any = 0.0, y_factor: Any = 0.0, interpolation: str = "bilinear",
                 fill_mode: str = "reflect", fill_value: float = 0.0, data_format: Any = None, seed: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.x_factor = limits(x_factor, "x_factor", -1.0, 1.0)
        self.y_factor = limits(y_factor, "y_factor", -1.0, 1.0)
        self._moving(fill_mode, interpolation, fill_value)
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """How far along x and y, (n, 2); both change their sign with probability one half."""
        if not training:
            return None
        n = self.sizes(data)[0]
        by = G.stack([self.draw(seed, (n,), *self.x_factor), self.draw(seed, (n,), *self.y_factor)], -1)
        return {
            "shear_factor": G.where(self.draw(seed, (n, 1)) > 0.5, -by, by),
            "input_shape": self._shape(data),
        }

    def matrix(self, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`."""
        by = as_tensor(transformation["shear_factor"])
        return _affine(1.0, by[:, 0], 0.0, by[:, 1], 1.0, 0.0)

    def moved_boxes(self, boxes: Tensor, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`. Shares of the image's sides are sheared, along x first, as Keras does it."""
        by = as_tensor(transformation["shear_factor"]).to(boxes.dtype)
        x1, y1, x2, y2 = (boxes[..., k] / (height if k % 2 else width) for k in range(4))
        a, b = by[:, 0:1], by[:, 1:2]
        x1, x2 = x1 - a * G.where(a < 0, y1, y2), x2 - a * G.where(a < 0, y2, y1)
        y1 = y1 - b * G.where(b > 0, x2, x1)
        y2 = y2 - b * G.where(b > 0, x1, x2)
        return G.stack([x1 * width, y1 * height, x2 * width, y2 * height], -1)


class RandomPerspective(_Moved):
    """Images seen from aside in training: their corners moved by shares up to half of ``scale``.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    factor : the probability, up to one number or within two. scale : how far, from 0 to 1.
    interpolation : "bilinear" or "nearest". fill_value : what lies outside.
    """

    def __init__(self, factor: Any = 1.0, scale: float = 1.0, interpolation: str = "bilinear",
                 fill_value: float = 0.0, seed: Any = None, data_format: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.factor = limits(factor, "factor", 0, 1)
        if not 0.0 <= scale <= 1.0:
            raise ValueError(f"The `scale` argument should be a number in the range [0,1]. Received: scale={scale}")
        self.scale = scale
        self._moving("constant", interpolation, fill_value, ("constant",))
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Four corners (n, 4, 2) before and after, and which images are changed."""
        if not training:
            return None
        n, h, w, _ = self.sizes(data)
        corners = as_tensor([[[0.0, 0.0], [w - 1.0, 0.0], [0.0, h - 1.0], [w - 1.0, h - 1.0]]])
        start = G.broadcast_to(corners, (n, 4, 2))
        by = self.draw(seed, (n, 4, 2), -0.5 * self.scale, 0.5 * self.scale)
        return {
            "apply_perspective": self.happens(seed, n, self.factor), "start_points": start,
            "end_points": start + start * by, "input_shape": self._shape(data),
        }  # fmt: skip

    def moved(self, x: Tensor, transformation: Any, interpolation: str) -> Tensor:
        """See :class:`_Moved`."""
        start, end = transformation["start_points"], transformation["end_points"]
        seen = _picture("perspective_transform")(x, start, end, interpolation, self.fill_value, data_format=LAST)
        return G.where(each(transformation["apply_perspective"]), seen, x)

    def moved_boxes(self, boxes: Tensor, transformation: Any, height: int, width: int) -> Tensor:
        """See :class:`_Moved`."""
        start, end = (as_tensor(transformation[k]).to(boxes.dtype) for k in ("start_points", "end_points"))
        there = _picture("_homography")(start, end)
        back = inv(G.cat([there, G.ones_like(there[:, :1])], -1).reshape(-1, 3, 3))
        xs, ys = boxes[..., (0, 2, 0, 2)], boxes[..., (1, 1, 3, 3)]
        points = G.stack([xs, ys, G.ones_like(xs)], -1)
        found = G.matmul(points, back.mT.unsqueeze(1))
        new = B.around(found[..., 0] / found[..., 2], found[..., 1] / found[..., 2])
        return G.where(as_tensor(transformation["apply_perspective"]).reshape(-1, 1, 1), new, boxes)


class RandomElasticTransform(_Moved):
    """Places moved by smooth random fields in training (Simard et al. 2003). Boxes stay where they are.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    factor : the probability, up to one number or within two.
    scale : how strong, from 0 to 1: fields as wide as a twentieth of the shorter side, strong as a tenth of the longer.
    fill_mode : "constant", "nearest", "wrap", "mirror" or "reflect". value_range : results are kept within it.
    """

    def __init__(self, factor: Any = 1.0, scale: Any = 1.0, interpolation: str = "bilinear",
                 fill_mode: str = "reflect", fill_value: float = 0.0, value_range: Any = (0, 255), seed: Any = None,
                 data_format: Any = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.factor, self.scale = limits(factor, "factor", 0, 1), limits(scale, "scale", 0, 1)
        self._moving(fill_mode, interpolation, fill_value, (*FILLS, "mirror"))
        self.value_range = value_range
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images are changed, how strongly, and a seed for the field."""
        if not training or self.scale[1] == 0 or self.factor[1] == 0:
            return None
        first, count = self.stream(seed).draw()
        return {
            "apply_transform": self.happens(seed, self.sizes(data)[0], self.factor),
            "distortion_factor": self.draw(seed, (1,), *self.scale), "seed": (first * 1_000_003 + count) % 2**63,
        }  # fmt: skip

    def moved(self, x: Tensor, transformation: Any, interpolation: str) -> Tensor:
        """See :class:`_Moved`."""
        by = max(float(transformation["distortion_factor"]), 1e-3)
        h, w = x.shape[1], x.shape[2]
        bent = _picture("elastic_transform")(
            x, max(h, w) * 0.1 * by, max(min(h, w) * 0.05 * by, 1e-2), interpolation, self.fill_mode, self.fill_value,
            transformation["seed"], data_format=LAST,
        )  # fmt: skip
        return G.where(each(transformation["apply_transform"]), bent, x)

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        return G.clamp(self.moved(x, transformation, self.interpolation), *self.value_range)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """As they are."""
        return bounding_boxes
