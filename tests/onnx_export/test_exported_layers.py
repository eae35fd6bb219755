"""Every layer of both faces, and models of images, through the export, which compares their numbers itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from exporting import normal, tensors

import gradloom as gl
from gradloom import nn
from gradloom.keras import layers
from gradloom.onnx import export
from gradloom.vision import models

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "keras"))

import layer_table
import sequence_table

from tests.nn.module_table import CASES, Case

pytestmark = pytest.mark.slow

UNBATCHED = [c for c in CASES if c.name.startswith("Conv") and len(c.shapes[0]) == int(c.name[-2]) + 1]
"""Layers whose case has no batch axis that could be open."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer(case: Case) -> None:
    gl.manual_seed(0)
    args = tuple(normal(*s) for s in case.shapes)
    layer = getattr(nn, case.name)(*case.args, **case.options).eval()
    with gl.no_grad():
        layer(*tensors(args))  # lazy ones learn their sizes
    axes = None if case in UNBATCHED else tuple({0: "batch"} for _ in args)
    export(layer, tensors(args), dynamic_shapes=axes)


@pytest.mark.parametrize("row", layer_table.TABLE, ids=lambda r: r[0])
def test_a_layer_of_the_keras_face(row: tuple) -> None:
    name, kind, options, shapes = row[:4]
    layer = getattr(layers, kind)(**options)
    given = tensors(layer_table.inputs_of(name, shapes))
    layer(given if len(given) > 1 else given[0])
    layer.eval()
    export(lambda *x: layer(list(x) if len(x) > 1 else x[0]), tuple(given), dynamic_shapes=({0: "batch"},) * len(given))


@pytest.mark.parametrize("row", sequence_table.TABLE, ids=lambda r: r[0])
def test_a_layer_of_sequences(row: tuple) -> None:
    layer = sequence_table.build(layers, row)
    given = tensors(sequence_table.inputs_of(row[0], row[4]))
    sequence_table.call(layer, row, given)
    layer.eval()
    closed = any(isinstance(v, (np.ndarray, list)) for v in row[5].values())  # a mask of as many rows
    axes = None if closed else ({0: "batch"},) * len(given)
    export(lambda *x: tuple(sequence_table.call(layer, row, list(x))), tuple(given), dynamic_shapes=axes)


@pytest.mark.parametrize(
    "name", ["alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "mobilenet_v3_small", "squeezenet1_1"]
)
def test_a_model_of_images(name: str) -> None:
    gl.manual_seed(0)
    model = models.get_model(name, num_classes=10)
    export(model, tensors((normal(1, 3, 64, 64),)), dynamic_shapes=({0: "batch"},))
