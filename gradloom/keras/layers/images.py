"""Layers for the size of images and for what lies where: resizing, crops, flips; boxes brought to one number."""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras import bounding_boxes as B
from gradloom.keras import images
from gradloom.keras.layers.augmenting import LAST, ImageLayer, RandomLayer, each, saturated
from gradloom.keras.names import lookup
from gradloom.keras.operations import as_tensor
from gradloom.keras.variables import KerasTensor
from gradloom.nn.functional import pad
from gradloom.tensor import Tensor


class Resizing(ImageLayer):
    """Images brought to a size.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: images (n, height, width, c) in the dtype that they came in.

    Parameters
    ----------
    interpolation : "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5"; masks take the nearest.
    crop_to_aspect_ratio : cut the sides off rather than distort. pad_to_aspect_ratio : fill the sides instead.
    antialias : whether filters are widened when shrinking.
    """

    def __init__(
        self, height: int, width: int, interpolation: str = "bilinear", crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False, fill_mode: str = "constant", fill_value: float = 0.0,
        antialias: bool = False, data_format: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        lookup("interpolation", interpolation, images.KERNELS)
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Only one of `crop_to_aspect_ratio` & `pad_to_aspect_ratio` can be `True`.")
        if fill_mode != "constant":
            raise ValueError(f"fill_mode={fill_mode!r}: only 'constant' is offered")
        self.height, self.width, self.interpolation, self.antialias = height, width, interpolation, bool(antialias)
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio
        self.fill_mode, self.fill_value = fill_mode, fill_value

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The size asked for."""
        return self.resized(input_shape, self.height, self.width)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Height and width as they are."""
        return self.sizes(data)[1:3]

    def _changed(self, x: Tensor, interpolation: str) -> Tensor:
        h, w = x.shape[1:3]
        if self.crop_to_aspect_ratio:
            ch, cw = images.fitted((h, w), (self.height, self.width), True)
            x = images.cropped(x, (h - ch) // 2, (w - cw) // 2, ch, cw, False)
        elif self.pad_to_aspect_ratio:
            ph, pw = images.fitted((h, w), (self.height, self.width), False)
            top, left = (ph - h) // 2, (pw - w) // 2
            x = pad(x, [0, 0, left, pw - w - left, top, ph - h - top], value=self.fill_value)
        return images.resize(x, (self.height, self.width), interpolation, self.antialias, LAST)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """The images in the size asked for."""
        x = as_tensor(images)
        return saturated(self.ordered(x, lambda y: self._changed(y, self.interpolation)), x.dtype)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The masks in the size asked for, by the nearest."""
        x = as_tensor(segmentation_masks)
        return saturated(self.ordered(x, lambda y: self._changed(y, "nearest")), x.dtype)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """The boxes where their objects went; empty ones become zeros."""
        h, w = transformation
        kind, given = self.bounding_box_format, bounding_boxes["boxes"]
        none = G.logical_or((given == -1).all(-1), (given == 0).all(-1)).unsqueeze(-1)
        b = B.convert_format(bounding_boxes, kind, "xyxy", h, w)
        tall, wide, top, left = self.height / h, self.width / w, 0.0, 0.0
        if self.pad_to_aspect_ratio:
            tall = wide = min(tall, wide)
            top, left = (self.height - h * tall) // 2, (self.width - w * wide) // 2
        elif self.crop_to_aspect_ratio:
            tall = wide = max(tall, wide)
            top, left = -((h * tall - self.height) // 2), -((w * wide - self.width) // 2)
        x1, y1, x2, y2 = (b["boxes"][..., k] for k in range(4))
        moved = [x1 * wide + left, y1 * tall + top, x2 * wide + left, y2 * tall + top]
        b = B.clip_to_image_size(b | {"boxes": G.stack(moved, -1)}, self.height, self.width)
        b["boxes"] = G.where(none, G.zeros_like(b["boxes"]), b["boxes"])
        return B.convert_format(b, "xyxy", kind, self.height, self.width)


class _Window(RandomLayer):
    """Base: a part of images, brought to a size."""

    height: int
    width: int

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The size asked for."""
        return self.resized(input_shape, self.height, self.width)

    def largest(self, h: int, w: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the largest part, in the middle, of the proportions asked for."""
        ch, cw = images.fitted((h, w), (self.height, self.width), True)
        return (h - ch) // 2, (w - cw) // 2, ch, cw

    def _seen(self, x: Tensor, transformation: Any, interpolation: str) -> Tensor:
        top, left, ch, cw = transformation["part"]
        for axis, start, size in ((1, top, ch), (2, left, cw)):
            if isinstance(start, int):
                x = x.narrow(axis, start, size)
            else:
                x = G.index_select(x, axis, G.arange(size) + start.to(dtypes.int64))
        return images.resize(x, (self.height, self.width), interpolation, False, LAST)

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        return self._seen(x, transformation, "bilinear")

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """The part, in training and else."""
        return super().transform_images(images, transformation or self.get_random_transformation(images, False), True)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The same part of the masks."""
        masks = as_tensor(segmentation_masks)
        return self.ordered(masks, lambda x: self._seen(x, transformation, "nearest")).to(masks.dtype)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """The boxes within the part."""
        h, w = transformation["input_shape"]
        top, left, ch, cw = transformation["part"]
        b = B.convert_format(bounding_boxes, self.bounding_box_format, "xyxy", h, w)
        b["boxes"] = B.crop(b["boxes"], top, left, ch, cw)
        b["boxes"] = b["boxes"] * as_tensor([self.width / cw, self.height / ch] * 2, b["boxes"].dtype.name)
        b = B.clip_to_image_size(b, self.height, self.width)
        return B.convert_format(b, "xyxy", self.bounding_box_format, self.height, self.width)


class CenterCrop(_Window):
    """The middle of images; smaller ones are enlarged.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: images (n, height, width, c).
    """

    def __init__(self, height: int, width: int, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.height, self.width = height, width

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The part that is kept, and the size of all."""
        _, h, w, _ = self.sizes(data)
        if h < self.height or w < self.width:
            part = self.largest(h, w)
        else:
            part = ((h - self.height) // 2, (w - self.width) // 2, self.height, self.width)
        return {"part": part, "input_shape": (h, w)}


class RandomCrop(_Window):
    """In training a part of images, at a place drawn for the batch. Else, and of images that are too small, the largest
    part of the proportions asked for, resized.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: images (n, height, width, c).
    """

    def __init__(
        self, height: int, width: int, seed: Any = None, data_format: Any = None, name: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, name=name, **kwargs)
        self.height, self.width = height, width
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """The part that is kept, and the size of all."""
        _, h, w, _ = self.sizes(data)
        if not training or h < self.height or w < self.width:
            part: Any = self.largest(h, w)
        else:
            starts = (G.floor(self.draw(seed, (1,), 0.0, n + 1.0)) for n in (h - self.height, w - self.width))
            part = (*starts, self.height, self.width)
        return {"part": part, "input_shape": (h, w)}


class RandomFlip(RandomLayer):
    """Images mirrored in training, each with probability one half: left to right, upside down, or both at once.

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    mode : "horizontal", "vertical" or "horizontal_and_vertical".
    """

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: Any = None, data_format: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        lookup("mode", mode, {"horizontal": 1, "vertical": 1, "horizontal_and_vertical": 1})
        self.mode = mode
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which images are mirrored, and their size."""
        if not training:
            return None
        n, h, w, c = self.sizes(data)
        flips = (self.draw(seed, (n,)) <= 0.5).reshape(n, 1, 1, 1)
        return {"flips": flips, "input_shape": (n, h, w, c) if self.data_format == LAST else (n, c, h, w)}

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        chosen = each(transformation["flips"])
        for name, axis in (("horizontal", 2), ("vertical", 1)):
            if name in self.mode:
                x = G.where(chosen, G.flip(x, axis=axis), x)
        return x

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The masks mirrored as their images are."""
        masks = as_tensor(segmentation_masks)
        return self.ordered(masks, lambda x: self.augmented(x, transformation)) if transformation else masks

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """The boxes mirrored as their images are."""
        if not transformation or not training:
            return bounding_boxes
        shape, kind = transformation["input_shape"], self.bounding_box_format
        h, w = shape[-3:-1] if self.data_format == LAST else shape[-2:]
        b = B.convert_format(bounding_boxes, kind, "xyxy", h, w)
        x1, y1, x2, y2 = (b["boxes"][..., k] for k in range(4))
        chosen = as_tensor(transformation["flips"])
        chosen = chosen.reshape(-1, 1) if b["boxes"].ndim == 3 else chosen.reshape(-1)
        if "horizontal" in self.mode:
            x1, x2 = G.where(chosen, w - x2, x1), G.where(chosen, w - x1, x2)
        if "vertical" in self.mode:
            y1, y2 = G.where(chosen, h - y2, y1), G.where(chosen, h - y1, y2)
        b = B.clip_to_image_size(b | {"boxes": G.stack([x1, y1, x2, y2], -1)}, h, w)
        return B.convert_format(b, "xyxy", kind, h, w)


class MaxNumBoundingBoxes(ImageLayer):
    """The same number of boxes for every image: what is too many is left out, what is missing filled in.

    Input: a dictionary of "images" and "bounding_boxes", see :class:`ImageLayer`.
    Output: boxes (n, max_number, 4) with labels (n, max_number); all else as it was.
    """

    def __init__(self, max_number: int, fill_value: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_number, self.fill_value = int(max_number), int(fill_value)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """As they are."""
        return images

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """Boxes and labels cut or filled."""
        boxes, labels = (bounding_boxes[k][:, : self.max_number] for k in ("boxes", "labels"))
        more = self.max_number - boxes.shape[1]
        if more > 0:
            boxes = pad(boxes, [0, 0, 0, more], value=self.fill_value)
            labels = pad(labels, [0, more], value=self.fill_value)
        return bounding_boxes | {"boxes": boxes, "labels": labels}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same, with the number of boxes. KeyError for other keys than "boxes" and "labels"."""
        if not isinstance(input_shape, dict) or "bounding_boxes" not in input_shape:
            return input_shape
        given = input_shape["bounding_boxes"]
        if given.keys() - {"boxes", "labels"}:
            raise KeyError("There are unsupported keys in `bounding_boxes`: only `boxes` and `labels` are supported. "
                           f"Received: {sorted(given)}")  # fmt: skip
        boxes = {k: (v[0], self.max_number, *v[2:]) for k, v in given.items()}
        return input_shape | {"bounding_boxes": boxes}

    def compute_output_spec(self, data: Any, training: bool = True) -> Any:
        """The same, with the number of boxes."""
        if not isinstance(data, dict) or "bounding_boxes" not in data:
            return data
        boxes = {
            k: KerasTensor((v.shape[0], self.max_number, *v.shape[2:]), v.dtype)
            for k, v in data["bounding_boxes"].items()
        }
        return data | {"bounding_boxes": boxes}
