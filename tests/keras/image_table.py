"""Layers for images where nothing is left to chance. The tests and `make_image_figures.py` are generated from this.

Each row: name, class, arguments, what was drawn (None where its limits leave no choice), and what goes through it: "i"
images, "1" images from 0 to 1, "m" masks, "b" boxes, "l" labels.
"""

from __future__ import annotations

import numpy as np

N, H, W = 3, 10, 8
SHAPE = (N, H, W, 3)


def _each(*values):
    return np.array(values, np.float32)


CORNERS = np.array([[0, 0], [W - 1, 0], [0, H - 1], [W - 1, H - 1]], np.float32)
SEEN = np.stack([CORNERS * s for s in (0.9, 1.1, 0.8)]) + _each(0.0, 0.5, -0.3).reshape(3, 1, 1)
PART = np.zeros((N, H, W, 1), bool)
PART[:, 2:6, 3:7] = True

TABLE = [
    ("resizing", "Resizing", {"height": 7, "width": 12}, None, "imb"),
    ("resizing_crop", "Resizing", {"height": 5, "width": 5, "crop_to_aspect_ratio": True}, None, "imb"),
    ("resizing_pad", "Resizing", {"height": 12, "width": 12, "pad_to_aspect_ratio": True}, None, "imb"),
    ("resizing_cubic", "Resizing", {"height": 4, "width": 5, "interpolation": "bicubic", "antialias": True}, None, "i"),
    ("center_crop", "CenterCrop", {"height": 6, "width": 5}, None, "imb"),
    ("center_crop_larger", "CenterCrop", {"height": 12, "width": 6}, None, "i"),
    ("rotation", "RandomRotation", {"factor": (0.1, 0.1)}, None, "im"),
    ("rotation_fill", "RandomRotation", {"factor": (-0.2, -0.2), "fill_mode": "constant", "fill_value": 9.0}, None,
     "imb"),
    ("rotation_wrap", "RandomRotation", {"factor": (0.3, 0.3), "fill_mode": "wrap"}, None, "i"),
    ("translation", "RandomTranslation", {"height_factor": (0.2, 0.2), "width_factor": (-0.25, -0.25)}, None, "imb"),
    ("translation_near", "RandomTranslation", {"height_factor": (0.17, 0.17), "width_factor": (0.3, 0.3),
                                               "fill_mode": "nearest"}, None, "i"),
    ("zoom", "RandomZoom", {"height_factor": (0.3, 0.3), "width_factor": (-0.2, -0.2)}, None, "imb"),
    ("zoom_square", "RandomZoom", {"height_factor": (-0.4, -0.4), "fill_mode": "constant"}, None, "i"),
    ("shear", "RandomShear", {"x_factor": 0.5, "y_factor": 0.5},
     {"shear_factor": np.array([[0.31, 0.13], [-0.23, 0.0], [0.11, -0.29]], np.float32), "input_shape": SHAPE}, "imb"),
    ("perspective", "RandomPerspective", {},
     {"apply_perspective": np.array([True, True, False]), "start_points": np.stack([CORNERS] * 3),
      "end_points": SEEN.astype(np.float32), "input_shape": SHAPE}, "imb"),
    ("flip", "RandomFlip", {}, {"flips": np.array([True, False, True]).reshape(3, 1, 1, 1), "input_shape": SHAPE},
     "imb"),
    ("flip_horizontal", "RandomFlip", {"mode": "horizontal"},
     {"flips": np.array([True, False, True]).reshape(3, 1, 1, 1), "input_shape": SHAPE}, "imb"),
    ("brightness", "RandomBrightness", {"factor": (0.3, 0.3)}, None, "i"),
    ("brightness_range", "RandomBrightness", {"factor": (-0.4, -0.4), "value_range": (0, 400)}, None, "i"),
    ("contrast", "RandomContrast", {"factor": 0.5}, {"contrast_factor": _each(0.5, 1.0, 1.7).reshape(3, 1, 1, 1)}, "i"),
    ("hue", "RandomHue", {"factor": 0.5}, {"factor": _each(-0.2, 0.1, 0.45)}, "i"),
    ("saturation", "RandomSaturation", {"factor": (0.3, 0.3)}, None, "i"),
    ("saturation_more", "RandomSaturation", {"factor": (0.8, 0.8), "value_range": (0, 1)}, None, "1"),
    ("degeneration", "RandomColorDegeneration", {"factor": (0.7, 0.7)}, None, "i"),
    ("sharpness", "RandomSharpness", {"factor": (0.9, 0.9)}, None, "i"),
    ("posterization", "RandomPosterization", {"factor": (3, 3)}, None, "i"),
    ("solarization", "Solarization", {},
     {"additions": _each(0, 40, 80).reshape(3, 1, 1, 1), "thresholds": _each(90, 130, 10).reshape(3, 1, 1, 1)}, "i"),
    ("invert", "RandomInvert", {"factor": (1.0, 1.0)}, None, "i"),
    ("grayscale", "RandomGrayscale", {"factor": 1.0}, None, "i"),
    ("blur", "RandomGaussianBlur", {"kernel_size": (5, 3)},
     {"should_apply_blur": np.array([True, False, True]), "blur_factor": _each(0.8, 0.5)}, "i"),
    ("auto_contrast", "AutoContrast", {}, None, "i"),
    ("equalization", "Equalization", {}, None, "i"),
    ("equalization_bins", "Equalization", {"bins": 16, "value_range": (0, 1)}, None, "1"),
    ("clahe", "ContrastLimitedAdaptiveHistogramEqualization", {"tile_grid_size": (3, 2), "clip_limit": 2.0}, None, "i"),
    ("mix_up", "MixUp", {},
     {"mix_weight": _each(0.2, 0.7, 1.0), "permutation_order": np.array([2, 0, 1])}, "il"),
    ("cut_mix", "CutMix", {},
     {"batch_masks": PART, "mix_weight": _each(0.8, 0.8, 0.8).reshape(3, 1, 1, 1),
      "permutation_order": np.array([1, 2, 0])}, "iml"),
]  # fmt: skip


def inputs():
    """Images, masks, boxes with labels, and labels of images."""
    rng = np.random.default_rng(5)
    boxes = np.array([[[1, 2, 4, 7], [3, 3, 8, 9]], [[0, 0, 2, 2], [5, 1, 7, 6]], [[2, 4, 6, 8], [0, 0, 0, 0]]],
                     np.float32)  # fmt: skip
    return {
        "images": rng.integers(0, 256, SHAPE).astype(np.float32),
        "segmentation_masks": rng.integers(0, 5, (N, H, W, 1)).astype(np.float32),
        "bounding_boxes": {"boxes": boxes, "labels": np.array([[1, 2], [0, 3], [4, 5]], np.float32)},
        "labels": np.eye(N, 4, dtype=np.float32),
    }


def results(layers, name, cls, arguments, drawn, what):
    """What a library's layer makes of the inputs, as arrays by name."""
    layer = getattr(layers, cls)(**arguments, **({"bounding_box_format": "xyxy"} if "b" in what else {}))
    given = inputs()
    if what == "1":
        return {"images": layer.transform_images(*_first(layer, given["images"] / 255.0, drawn), training=True)}
    images, drawn = _first(layer, given["images"], drawn)
    found = {"images": layer.transform_images(images, drawn, training=True)}
    if "m" in what:
        masks = given["segmentation_masks"]
        found["masks"] = layer.transform_segmentation_masks(masks, drawn, training=True)
    if "b" in what:
        boxes = layer.transform_bounding_boxes(given["bounding_boxes"], drawn, training=True)
        found["boxes"], found["box_labels"] = boxes["boxes"], boxes["labels"]
    if "l" in what:
        found["labels"] = layer.transform_labels(given["labels"], drawn, training=True)
    return found


def _first(layer, images, drawn):
    return images, layer.get_random_transformation(images, training=True) if drawn is None else drawn
