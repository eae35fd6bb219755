"""Layers for images beside Keras 3.15 (`image_figures.npz`): images, masks, boxes, labels; dictionaries of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_table import TABLE, inputs, results

from gradloom import keras
from gradloom.keras import layers

FIGURES = np.load(Path(__file__).with_name("image_figures.npz"))
ONE_LEVEL = {"equalization": 1.0, "equalization_bins": 1 / 255}  # Keras looks levels up by a product that is rounded


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_as_keras_has_it(row):
    for part, value in results(layers, *row).items():
        found = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        wanted = FIGURES[f"{row[0]}/{part}"]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3 + ONE_LEVEL.get(row[0], 0), err_msg=part)


@pytest.mark.parametrize("row", [r for r in TABLE if r[1] not in ("MixUp", "CutMix")], ids=lambda row: row[0])
def test_the_order_of_axes_changes_nothing(row):
    _, cls, arguments, drawn, what = row
    images = inputs()["images"] / (255.0 if what == "1" else 1.0)
    last, first = (getattr(layers, cls)(**arguments, data_format=f) for f in ("channels_last", "channels_first"))
    turned = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if drawn is None:
        a, b = last.get_random_transformation(images), first.get_random_transformation(turned)
    else:
        a = b = drawn
    y = last.transform_images(images, a).numpy()
    np.testing.assert_allclose(first.transform_images(turned, b).numpy().transpose(0, 2, 3, 1), y, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_configurations_symbols_and_whole_numbers(row):
    _, cls, arguments, _, what = row
    layer = getattr(layers, cls)(**arguments)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    images = (inputs()["images"] / (255.0 if what == "1" else 1.0)).astype("uint8")
    symbol = layer(keras.Input((10, 8, 3)))
    found = layer(images, training=True)
    assert symbol.shape == (None, *found.shape[1:])
    whole = getattr(layers, cls)(**arguments, dtype="uint8")(images, training=True)
    assert whole.dtype.name == "uint8" and whole.shape == found.shape


@pytest.mark.parametrize("name", ["RandomFlip", "RandomRotation", "RandomCrop", "RandAugment", "AugMix", "MixUp",
                                  "RandomErasing", "RandomColorJitter"])  # fmt: skip
def test_a_dictionary_goes_through_whole(name):
    options = {"RandomRotation": {"factor": 0.2}, "RandomCrop": {"height": 6, "width": 5},
               "RandomColorJitter": {"brightness_factor": 0.3, "hue_factor": 0.2}}.get(name, {})  # fmt: skip
    layer = getattr(layers, name)(**options, seed=4, bounding_box_format="xyxy")
    given = inputs()
    kept = {k: np.copy(v) for k, v in given.items() if k != "bounding_boxes"}
    found = layer(given, training=True)
    assert found.keys() == given.keys()
    assert found["images"].shape[:3] == found["segmentation_masks"].shape[:3]
    assert found["bounding_boxes"]["boxes"].shape[-1] == 4
    for key, value in kept.items():  # the caller's arrays are as they were
        np.testing.assert_array_equal(given[key], value)
    again = getattr(layers, name)(**options, seed=4, bounding_box_format="xyxy")(inputs(), training=True)
    np.testing.assert_array_equal(again["images"].numpy(), found["images"].numpy())
    one = {"images": given["images"][0], "labels": given["labels"][0],
           "segmentation_masks": given["segmentation_masks"][0],
           "bounding_boxes": {k: v[0] for k, v in given["bounding_boxes"].items()}}  # fmt: skip
    single = layer(one, training=False)
    assert single["labels"].shape == (4,) and single["bounding_boxes"]["boxes"].shape == (2, 4)


def test_boxes_want_a_format_and_labels():
    with pytest.raises(ValueError, match="didn't specify a bounding box format"):
        layers.RandomFlip()(inputs(), training=True)
    with pytest.raises(ValueError, match="keys 'boxes' and 'labels'"):
        layers.RandomFlip(bounding_box_format="xyxy")({"images": inputs()["images"], "bounding_boxes": {}})
    with pytest.raises(ValueError, match="rank 3 or 4"):
        layers.RandomFlip()(np.zeros((4, 4), np.float32))
    with pytest.raises(NotImplementedError, match="CutMix"):
        layers.CutMix(bounding_box_format="xyxy")(inputs(), training=True)
    with pytest.raises(ValueError, match="above -1"):
        layers.RandomZoom((-1.0, 0.5))
    with pytest.raises(NotImplementedError, match="fill_mode"):
        layers.RandomRotation(0.1, fill_mode="mirror")


def test_lists_of_boxes_are_filled_up():
    layer = layers.MaxNumBoundingBoxes(3, bounding_box_format="xyxy")
    boxes = {"boxes": [[[0, 0, 1, 1]], [[1, 1, 2, 2], [3, 3, 4, 4]]], "labels": [[5], [6, 7]]}
    found = layer({"images": np.zeros((2, 4, 4, 3), np.float32), "bounding_boxes": boxes})["bounding_boxes"]
    assert found["boxes"].shape == (2, 3, 4)
    assert found["labels"].numpy().tolist() == [[5, -1, -1], [6, 7, -1]]
    fewer = layers.MaxNumBoundingBoxes(1, bounding_box_format="xyxy")
    assert fewer({"images": np.zeros((2, 4, 4, 3)), "bounding_boxes": boxes})["bounding_boxes"]["boxes"].shape == (
        2,
        1,
        4,
    )


FORMATS = ("xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw", "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh")


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_formats_of_boxes_there_and_back(source, target):
    boxes = keras.utils.bounding_boxes
    x = boxes.convert_format(np.array([[[1.0, 2, 4, 7], [3, 3, 8, 9]]]), "xyxy", source, 10, 8)
    there = boxes.convert_format(x, source, target, 10, 8)
    np.testing.assert_allclose(boxes.convert_format(there, target, source, 10, 8).numpy(), x.numpy(), atol=1e-5)


def test_arithmetic_of_boxes():
    boxes = keras.utils.bounding_boxes
    a, b = np.array([[0.0, 0, 4, 4], [2, 2, 6, 6]]), np.array([[2.0, 2, 4, 4], [10, 10, 12, 12]])
    np.testing.assert_allclose(boxes.compute_iou(a, b, "xyxy").numpy(), [[0.25, 0], [0.25, 0]], rtol=1e-5)
    assert boxes.compute_ciou(a, a, "xyxy").numpy() == pytest.approx([1, 1], abs=1e-4)
    code = boxes.encode_box_to_deltas(a, b, "xyxy", "xyxy", variance=[0.1, 0.1, 0.2, 0.2])
    back = boxes.decode_deltas_to_boxes(a, code, "xyxy", "xyxy", variance=[0.1, 0.1, 0.2, 0.2])
    np.testing.assert_allclose(back.numpy(), b, atol=1e-4)
    assert boxes.crop(a, 1, 1, 3, 3).numpy().tolist() == [[0, 0, 3, 3], [1, 1, 3, 3]]
    assert boxes.pad(a, 1, 2).numpy().tolist() == [[2, 1, 6, 5], [4, 3, 8, 7]]
    cut = boxes.clip_to_image_size(
        {"boxes": np.array([[8.0, 8, 9, 9], [1, 1, 9, 9]]), "labels": np.array([1, 2])}, 6, 6
    )
    assert cut["labels"].numpy().tolist() == [-1, 2]
    with pytest.raises(ValueError, match="height"):
        boxes.convert_format(a, "xyxy", "rel_xyxy")
    with pytest.raises(ValueError, match="Supported formats"):
        boxes.convert_format(a, "xyxy", "xyxx")


def test_what_is_drawn_stays_within_its_limits():
    x = inputs()["images"]
    for layer in (layers.RandomCrop(4, 3, seed=1), layers.CutMix(seed=2), layers.MixUp(seed=3)):
        y = layer(x, training=True).numpy()
        assert y.min() >= 0 and y.max() <= 255.001 and np.isfinite(y).all()
    place = {tuple(int(v) for v in layers.RandomCrop(4, 3, seed=s).get_random_transformation(x)["part"][:2])
             for s in range(40)}  # fmt: skip
    assert {p[0] for p in place} <= set(range(7)) and {p[1] for p in place} <= set(range(6)) and len(place) > 10
