"""Layers that mix images with each other, or draw which of several layers act: MixUp, CutMix, RandAugment, AugMix."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.functions import sampling
from gradloom.keras.layers.augmenting import RandomLayer, each, limits, value_range
from gradloom.keras.layers.base import Layer
from gradloom.keras.layers.colours import (
    AutoContrast,
    RandomBrightness,
    RandomColorDegeneration,
    RandomContrast,
    RandomHue,
    RandomPosterization,
    RandomSaturation,
    RandomSharpness,
    Solarization,
    inside,
    window,
)
from gradloom.keras.layers.histograms import Equalization
from gradloom.keras.layers.moved import RandomRotation, RandomShear, RandomTranslation
from gradloom.keras.operations import as_tensor
from gradloom.tensor import Tensor, from_numpy


class _Mixed(RandomLayer):
    """Base: every image with another one of its batch."""

    def _host(self, seed: Any) -> np.random.Generator:
        """NumPy's numbers for what gradloom has no kernel of."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(list(self.stream(seed).draw()))))

    def _order(self, seed: Any, n: int) -> Tensor:
        return sampling.randperm(n, generator=self.stream(seed))

    @staticmethod
    def others(x: Any, transformation: Any) -> Tensor:
        """What is mixed with ``x``."""
        return G.index_select(as_tensor(x), 0, as_tensor(transformation["permutation_order"]))

    def transform_labels(self, labels: Any, transformation: Any = None, training: bool = True) -> Any:
        """Labels (n, classes) in the same shares, as floats."""
        if transformation is None or not training:
            return labels
        y = as_tensor(labels, self.compute_dtype)
        share = as_tensor(transformation["mix_weight"]).to(y.dtype).reshape(-1, *[1] * (y.ndim - 1))
        return share * y + (1.0 - share) * self.others(y, transformation)


class MixUp(_Mixed):
    """Images and labels in training as weighted means of two of a batch (Zhang et al. 2018).

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`; labels are
    (n, classes).
    Output: of the same shapes, but for boxes: an image has those of both.

    Parameters
    ----------
    alpha : weights are drawn from a beta distribution of it: the smaller, the nearer to 0 or 1.
    """

    def __init__(self, alpha: float = 0.2, data_format: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.alpha = alpha
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Weights and partners, (n,) each."""
        if not training:
            return None
        n = self.sizes(data)[0]
        share = self._host(seed).beta(self.alpha, self.alpha, n).astype(np.float32)
        return {"mix_weight": from_numpy(share), "permutation_order": self._order(seed, n)}

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        share = each(transformation["mix_weight"], x)
        return share * x + (1.0 - share) * self.others(x, transformation)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """The boxes of both images, (n, 2 · boxes, 4)."""
        if transformation is None or not training:
            return bounding_boxes
        given = {k: as_tensor(bounding_boxes[k]) for k in ("boxes", "labels")}
        return bounding_boxes | {
            k: G.cat([v, self.others(v, transformation)], min(1, v.ndim - 1)) for k, v in given.items()
        }

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """Masks in the same shares, as floats."""
        if transformation is None or not training:
            return segmentation_masks
        masks = as_tensor(segmentation_masks, self.compute_dtype)
        return self.ordered(masks, lambda x: self.augmented(x, transformation))


class CutMix(_Mixed):
    """In training a part of each image is replaced by that of another of its batch (Yun et al. 2019).

    Input: images (n, h, w, c), or a dictionary of them and what belongs to them, see :class:`ImageLayer`; labels are
    (n, classes). A single image stays as it is.
    Output: of the same shapes; labels in proportion to the areas.

    Parameters
    ----------
    factor : areas are drawn from a beta distribution of a number up to it, or within two.
    """

    def __init__(self, factor: Any = 1.0, seed: Any = None, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.factor = limits(factor, "factor", 0, 1)
        self.begin(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Partners, pixels (n, h, w, 1), and the share that stays, (n, 1, 1, 1)."""
        images = data["images"] if isinstance(data, dict) else data
        if not training or len(images.shape) == 3:
            return None
        n, h, w, _ = self.sizes(data)
        host = self._host(seed)
        alpha = host.uniform(*self.factor) + 1e-6
        side = from_numpy(np.sqrt(1.0 - host.beta(alpha, alpha, n)).astype(np.float32))
        rows, columns = window(self, seed, n, h, side), window(self, seed, n, w, side)
        part = (rows[1] - rows[0]) * (columns[1] - columns[0]) / (h * w)
        return {
            "permutation_order": self._order(seed, n), "batch_masks": inside(h, w, rows, columns),
            "mix_weight": each(1.0 - part),
        }  # fmt: skip

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        return G.where(as_tensor(transformation["batch_masks"]), self.others(x, transformation), x)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The same parts of the masks replaced."""
        if transformation is None or not training:
            return segmentation_masks
        return self.ordered(as_tensor(segmentation_masks), lambda x: self.augmented(x, transformation))

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """Not offered: what remains of an object is not known. NotImplementedError."""
        raise NotImplementedError("CutMix does not take bounding boxes: what is left of an object is not known")


class RandomColorJitter(RandomLayer):
    """Brightness, contrast, saturation and hue changed one after the other in training.

    Input: images (n, h, w, 3), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    brightness_factor, contrast_factor, saturation_factor, hue_factor : as for :class:`RandomBrightness`,
        :class:`RandomContrast`, :class:`RandomSaturation` and :class:`RandomHue`; None leaves one out.
    """

    def __init__(self, value_range: Any = (0, 255), brightness_factor: Any = None, contrast_factor: Any = None,
                 saturation_factor: Any = None, hue_factor: Any = None, seed: Any = None, data_format: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.value_range, self.seed = value_range, seed
        self.brightness_factor, self.contrast_factor = brightness_factor, contrast_factor
        self.saturation_factor, self.hue_factor = saturation_factor, hue_factor
        self.begin(seed)
        factors = (brightness_factor, contrast_factor, saturation_factor, hue_factor)
        kinds: Any = (RandomBrightness, RandomContrast, RandomSaturation, RandomHue)
        self._parts = [
            kind(factor, value_range=value_range, seed=seed, data_format="channels_last", dtype=self.dtype_policy)
            for kind, factor in zip(kinds, factors, strict=True)
            if factor is not None
        ]

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What is drawn for each of the parts."""
        n = self.sizes(data)[0]
        like = np.empty((n, 1, 1, 3), np.float32)
        return [p.get_random_transformation(like, seed=self.generator) for p in self._parts] if training else None

    def augmented(self, x: Tensor, transformation: Any) -> Tensor:
        """See the class."""
        drawn = transformation or self.get_random_transformation(x)
        for part, numbers in zip(self._parts, drawn, strict=True):
            x = part.augmented(x, numbers)
        return x


class _Chosen(RandomLayer):
    """Base: layers of which some are drawn by name."""

    def _make(self, names: tuple[str, ...], factor: tuple[float, float], values: Any, interpolation: str) -> None:
        common: dict[str, Any] = {"data_format": self.data_format, "dtype": self.dtype_policy,
                                  "bounding_box_format": self.bounding_box_format}  # fmt: skip
        drawn = common | {"seed": self.seed}
        space, colour = drawn | {"interpolation": interpolation}, drawn | {"value_range": values}
        upper = (max(factor[0], 0.0), factor[1])
        makers = {
            "random_shear": lambda: RandomShear(upper, upper, **space),
            "random_translation": lambda: RandomTranslation(factor, factor, **space),
            "random_rotation": lambda: RandomRotation(factor, **space),
            "random_brightness": lambda: RandomBrightness(factor, **colour),
            "random_color_degeneration": lambda: RandomColorDegeneration(factor, **colour),
            "random_contrast": lambda: RandomContrast(upper, **colour),
            "random_sharpness": lambda: RandomSharpness(upper, **colour),
            "random_posterization": lambda: RandomPosterization(max(1, int(8 * factor[1])), **colour),
            "solarization": lambda: Solarization(upper, upper, **colour),
            "auto_contrast": lambda: AutoContrast(value_range=values, **common),
            "equalization": lambda: Equalization(value_range=values, **common),
        }
        self._names = names
        for name in names:
            setattr(self, name, makers[name]())

    def _part(self, name: str) -> Any:
        return getattr(self, name)


_ALL = (
    "random_shear", "random_translation", "random_rotation", "random_brightness", "random_color_degeneration",
    "random_contrast", "random_sharpness", "random_posterization", "solarization", "auto_contrast", "equalization",
)  # fmt: skip
_SAFE = tuple(
    n for n in _ALL if n not in ("random_brightness", "random_color_degeneration", "random_contrast",
                                 "random_sharpness")
)  # fmt: skip


class RandAugment(_Chosen):
    """A few of eleven layers, drawn for each batch in training, one after the other (Cubuk et al. 2020).

    Input: images (n, h, w, 3), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape.

    Parameters
    ----------
    num_ops : how many. factor : how strong, from 0 to 1: up to one number or within two.
    """

    def __init__(self, value_range: Any = (0, 255), num_ops: int = 2, factor: Any = 0.5,
                 interpolation: str = "bilinear", seed: Any = None, data_format: Any = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.value_range, self.num_ops, self.interpolation = value_range, num_ops, interpolation
        self.factor = limits(factor, "factor", 0, 1)
        self.begin(seed)
        self._make(_ALL, self.factor, value_range, interpolation)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Which layers, and what is drawn for them."""
        if not training:
            return None
        which = self.draw(seed, (self.num_ops,), 0.0, float(len(_ALL))).numpy().astype(int)
        names = [_ALL[k] for k in which.tolist()]
        drawn = [(n, self._part(n).get_random_transformation(data, seed=self.generator)) for n in names]
        return {"layer_idxes": which, "transforms": drawn}

    @staticmethod
    def _drawn(transformation: Any) -> list[tuple[str, Any]]:
        return transformation["transforms"] if transformation else []

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """The images, changed in training as was drawn."""
        for name, drawn in self._drawn(transformation):
            images = self._part(name).transform_images(images, drawn)
        return super().transform_images(images, None, False)

    def transform_bounding_boxes(self, bounding_boxes: Any, transformation: Any = None, training: bool = True) -> Any:
        """The boxes, moved as their images are."""
        for name, drawn in self._drawn(transformation):
            bounding_boxes = self._part(name).transform_bounding_boxes(bounding_boxes, drawn)
        return bounding_boxes

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The masks, moved as their images are."""
        for name, drawn in self._drawn(transformation):
            segmentation_masks = self._part(name).transform_segmentation_masks(segmentation_masks, drawn)
        return segmentation_masks


class AugMix(_Chosen):
    """Chains of layers drawn in training: a weighted mean of what they give and of the image (Hendrycks et al. 2020).

    Input: images (n, h, w, 3), or a dictionary of them and what belongs to them, see :class:`ImageLayer`.
    Output: of the same shape, within ``value_range``; masks are mixed too, as floats.

    Parameters
    ----------
    num_chains, chain_depth : how many chains of how many layers. factor : how strong, from 0 to 1.
    alpha : of the distributions that weights are drawn from. all_ops : whether colours are changed too.
    """

    def __init__(self, value_range: Any = (0, 255), num_chains: int = 3, chain_depth: int = 3, factor: Any = 0.3,
                 alpha: float = 1.0, all_ops: bool = True, interpolation: str = "bilinear", seed: Any = None,
                 data_format: Any = None, **kwargs: Any) -> None:  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        self.value_range, self.num_chains, self.chain_depth = value_range, num_chains, chain_depth
        self.factor = limits(factor, "factor", 0, 1)
        self.alpha, self.all_ops, self.interpolation = alpha, all_ops, interpolation
        self.begin(seed)
        self._make(_ALL if all_ops else _SAFE, self.factor, value_range, interpolation)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Weights of the chains and of the image, and the chains."""
        if not training:
            return None
        host = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(self.stream(seed).draw()))))
        weights = host.dirichlet([self.alpha] * self.num_chains)
        chains = []
        for _ in range(self.num_chains):
            drawn = host.integers(0, len(self._names) + 1, self.chain_depth).tolist()  # one more: nothing
            names = [self._names[k] for k in drawn if k < len(self._names)]
            chains.append([(n, self._part(n).get_random_transformation(data, seed=self.generator)) for n in names])
        return {
            "chain_mixing_weights": weights, "weight_sample": float(host.beta(self.alpha, self.alpha)),
            "chain_transforms": chains,
        }  # fmt: skip

    def _mixed(self, x: Tensor, transformation: Any, method: str) -> Tensor:
        total: Any = 0.0
        for weight, chain in zip(transformation["chain_mixing_weights"], transformation["chain_transforms"]):
            y = x
            for name, drawn in chain:
                y = getattr(self._part(name), method)(y, drawn)
            total = total + y * float(weight)
        own = float(transformation["weight_sample"])
        return x * own + total * (1.0 - own)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Tensor:
        """The images, changed in training as was drawn."""
        x = super().transform_images(images, None, False)
        if transformation is None or not training:
            return x
        return G.clamp(self._mixed(x, transformation, "transform_images"), *value_range(self.value_range))

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        """The masks, mixed as their images are."""
        if transformation is None or not training:
            return segmentation_masks
        masks = as_tensor(segmentation_masks, self.compute_dtype)
        return self._mixed(masks, transformation, "transform_segmentation_masks")


class Pipeline(Layer):
    """Layers one after the other, as one layer of preprocessing.

    Input: what the first layer takes.
    Output: what the last one gives.
    """

    def __init__(self, layers: Any, name: str | None = None) -> None:
        from gradloom.keras.saving import deserialize_keras_object

        super().__init__(name=name)
        self.pipeline = [deserialize_keras_object(x) if isinstance(x, dict) else x for x in layers]

    @property
    def layers(self) -> list[Any]:
        """The layers, in order."""
        return list(self.pipeline)

    def call(self, inputs: Any, training: bool = True, mask: Any = None) -> Any:
        """What the last layer gives."""
        for layer in self.pipeline:
            more: dict[str, Any] = {"training": training} if "training" in layer._takes else {}
            if mask is not None and "mask" in layer._takes:
                more["mask"] = mask
            inputs = layer(inputs, **more)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The layers' configurations."""
        from gradloom.keras.saving import serialize_keras_object

        return {"name": self.name, "layers": [serialize_keras_object(x) for x in self.pipeline]}
