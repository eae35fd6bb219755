"""What layers for images share: images alone or with their labels, boxes and masks; numbers drawn; ranges of values.

Such a layer does three things. ``get_random_transformation`` draws what is to happen, ``transform_images`` does it to
images, and ``transform_labels``, ``transform_bounding_boxes`` and ``transform_segmentation_masks`` do the same to what
belongs to them. A layer that changes colours leaves these as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.functions import sampling
from gradloom.keras import bounding_boxes as boxes_of
from gradloom.keras import config
from gradloom.keras.layers.base import Layer
from gradloom.keras.operations import as_tensor
from gradloom.keras.variables import KerasTensor, SeedGenerator, generator_of
from gradloom.random import Generator
from gradloom.tensor import Tensor

LAST = "channels_last"
FILLS = ("reflect", "wrap", "constant", "nearest")
KINDS = ("nearest", "bilinear")


def limits(factor: Any, what: str, low: float, high: float) -> tuple[float, float]:
    """Two limits of one number (from its negative, or from the lowest allowed) or of two.

    Raises
    ------
    ValueError : no number and no two of them, or one outside of ``low`` to ``high``.
    """
    given = factor
    if isinstance(factor, int | float) and low <= factor:
        factor = (max(-abs(factor), low), abs(factor))
    if not isinstance(factor, tuple | list) or len(factor) != 2 or not all(low <= v <= high for v in factor):
        raise ValueError(f"The `{what}` argument should be a number (or a list of two numbers) in the range [{low}, "
                         f"{high}]. Received: {what}={given}")  # fmt: skip
    a, b = sorted(factor)
    return a, b


def value_range(given: Any) -> list[Any]:
    """What black and white are: two numbers, the smaller first."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(f"The `value_range` argument should be a list of two numbers. Received: value_range={given}")
    return sorted(given)


def one_of(name: str, value: Any, allowed: Any) -> Any:
    """A value that must be one of those allowed. NotImplementedError otherwise, as Keras has it."""
    if value not in allowed:
        raise NotImplementedError(f"Unknown `{name}` {value}. Expected of one {tuple(allowed)}.")
    return value


def saturated(x: Tensor, dtype: Any) -> Tensor:
    """Floats in another dtype; for whole numbers rounded, and kept within what it holds."""
    if dtype.is_floating or x.dtype is dtype:
        return x.to(dtype)
    info = np.iinfo(dtype.numpy)
    return G.clamp(G.round(x), info.min, info.max).to(dtype)


class ImageLayer(Layer):
    """Base of layers for images.

    Input: images (n, h, w, c), or (h, w, c) for a single one; with ``data_format="channels_first"`` (n, c, h, w). Or a
    dictionary: "images", and as it likes "labels" (n, ...), "segmentation_masks" (n, h, w, 1) and "bounding_boxes", a
    dictionary of "boxes" (n, boxes, 4) and "labels" (n, boxes).
    Output: the same structure; images in the layer's dtype, masks in their own.

    Parameters
    ----------
    bounding_box_format : the boxes', of those of :func:`keras.utils.bounding_boxes.convert_format`.
    data_format : "channels_last" or "channels_first".
    """

    def __init__(self, *, bounding_box_format: Any = None, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bounding_box_format = bounding_box_format
        self.data_format = config.checked_format(data_format)

    # what a kind of layer says ------------------------------------------------------------------------------------

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What is to happen to these images; None: nothing is drawn."""
        return None

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """The images (n, h, w, c), in floats, changed."""
        raise NotImplementedError

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """The images, changed in training as was drawn."""
        x = as_tensor(images)
        x = x if x.dtype.is_floating else x.to(self._floats)
        if training:
            x = self.ordered(x, lambda y: self.augmented(y, transformation))
        return saturated(x, config.as_dtype(self.compute_dtype))

    def transform_labels(self, labels: Any, transformation: Any = None, training: bool = True) -> Any:
        """The images' labels (n, ...)."""
        return labels

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """The images' boxes (n, boxes, 4) with labels (n, boxes)."""
        return bounding_boxes

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The images' masks (n, h, w, 1)."""
        return segmentation_masks

    # calling ------------------------------------------------------------------------------------------------------

    def call(self, data: Any, training: bool = True) -> Any:
        """See the class."""
        drawn = self.get_random_transformation(data, training=training)
        if not isinstance(data, dict):
            self.sizes(data)
            return self.transform_images(data, drawn, training=training)
        images = as_tensor(data["images"])
        self.sizes(images)
        batched = images.ndim == 4
        found = dict(data)
        found["images"] = self.transform_images(images, drawn, training=training)
        if "bounding_boxes" in data:
            found["bounding_boxes"] = self._boxes(data["bounding_boxes"], drawn, training, batched)
        if "labels" in data:
            labels = as_tensor(data["labels"])
            labels = self.transform_labels(labels if batched else labels.unsqueeze(0), drawn, training=training)
            found["labels"] = labels if batched else labels.squeeze(0)
        if "segmentation_masks" in data:
            masks = as_tensor(data["segmentation_masks"])
            flat, axis = masks.ndim == images.ndim - 1, -1 if self.data_format == LAST else -3
            masks = masks.unsqueeze(axis) if flat else masks
            masks = self.transform_segmentation_masks(masks, drawn, training=training)
            found["segmentation_masks"] = masks.squeeze(axis) if flat else masks
        return found

    def _boxes(self, given: Any, drawn: Any, training: bool, batched: bool) -> Any:
        if not self.bounding_box_format:
            raise ValueError(
                "You passed an input with a 'bounding_boxes' key, but you didn't specify a bounding box format. Pass a "
                f"`bounding_box_format` argument to your {type(self).__name__} layer, e.g. `bounding_box_format='xyxy'`"
            )
        found = boxes_of.dense(given, batched)
        if batched:
            return self.transform_bounding_boxes(found, drawn, training=training)
        several = found | {k: found[k].unsqueeze(0) for k in ("boxes", "labels")}
        found = self.transform_bounding_boxes(several, drawn, training=training)
        return found | {k: found[k].squeeze(0) for k in ("boxes", "labels")}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The same."""
        return input_shape if isinstance(input_shape, dict) else tuple(input_shape)

    def compute_output_spec(self, data: Any, training: bool = True) -> Any:
        """Images in the layer's dtype; what belongs to them as it comes in."""
        if not isinstance(data, dict):
            return KerasTensor(self.compute_output_shape(tuple(data.shape)), self.compute_dtype)
        found = dict(data)
        found["images"] = KerasTensor(self.compute_output_shape(tuple(data["images"].shape)), self.compute_dtype)
        if "segmentation_masks" in data:
            masks = data["segmentation_masks"]
            found["segmentation_masks"] = KerasTensor(self.compute_output_shape(tuple(masks.shape)), masks.dtype)
        return found

    # for the kinds ------------------------------------------------------------------------------------------------

    @property
    def _floats(self) -> Any:
        """What is computed in."""
        found = config.as_dtype(self.compute_dtype)
        return found if found.is_floating else dtypes.float32

    def sizes(self, data: Any) -> tuple[int, int, int, int]:
        """How many images, their height, width and channels. ValueError for another rank than 3 and 4."""
        shape = tuple((data["images"] if isinstance(data, dict) else data).shape)
        if len(shape) not in (3, 4):
            raise ValueError("Expected the input image to be rank 3 or 4: one image, or a batch of them. Received: "
                             f"data.shape={shape}")  # fmt: skip
        n = shape[0] if len(shape) == 4 else 1
        h, w, c = shape[-3:] if self.data_format == LAST else (*shape[-2:], shape[-3])
        return n, h, w, c

    def ordered(self, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """What ``change`` makes of images (n, h, w, c), for one or several in either order."""
        one, first = x.ndim == 3, self.data_format != LAST
        x = x.unsqueeze(0) if one else x
        x = change(G.permute(x, (0, 2, 3, 1)) if first else x)
        x = G.permute(x, (0, 3, 1, 2)) if first else x
        return x.squeeze(0) if one else x

    def resized(self, shape: Any, height: int, width: int) -> tuple[Any, ...]:
        """A shape with another height and width."""
        if isinstance(shape, dict) or len(shape) not in (3, 4):
            raise ValueError("`input_shape` must be a non-nested tuple or list of rank-1 with size 3 (unbatched) or 4 "
                             f"(batched). Received: {shape}")  # fmt: skip
        found = list(shape)
        a = len(found) - (3 if self.data_format == LAST else 2)
        found[a], found[a + 1] = height, width
        return tuple(found)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        found = super().get_config() | {"data_format": self.data_format}
        if self.bounding_box_format is not None:
            found["bounding_box_format"] = self.bounding_box_format
        return found


class RandomLayer(ImageLayer):
    """Base of layers that draw anew for every image, from a stream of their own.

    Input and output: see :class:`ImageLayer`. Outside of training images come out as they went in.
    """

    def begin(self, seed: Any) -> None:
        """The stream."""
        self.seed = seed
        self.generator = SeedGenerator(seed)

    def stream(self, seed: Any) -> Generator:
        """The layer's stream, unless another is given."""
        return generator_of(seed) or self.generator.generator

    def draw(self, seed: Any, shape: Any, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers, from the layer's stream unless another is given."""
        return sampling.rand(*shape, generator=self.stream(seed)) * (high - low) + low

    def happens(self, seed: Any, n: int, factor: tuple[float, float]) -> Tensor:
        """Whether something happens, with a probability drawn between two limits, (n,) bool."""
        return self.draw(seed, (n,)) < self.draw(seed, (n,), *factor)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """The images, changed in training as was drawn."""
        return super().transform_images(images, transformation, training and transformation is not None)


def each(x: Any, like: Tensor | None = None) -> Tensor:
    """One number for each image, (n, 1, 1, 1)."""
    found = as_tensor(x).reshape(-1, 1, 1, 1)
    return found if like is None else found.to(like.dtype)


def scaled(x: Tensor, before: Any, after: Any) -> Tensor:
    """Values from one range brought to another."""
    if tuple(before) == tuple(after):
        return x
    return (x - before[0]) * ((after[1] - after[0]) / (before[1] - before[0])) + after[0]
