"""What is recorded of torchvision's models, and how: weights and images by formula, so that nothing large is kept.

``python -m tests.vision.record`` writes ``facts.json`` where torchvision is installed; the tests read it anywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("facts.json")
BATCH = 2
LABELS = (1, 3)
CLASSES = 10
RATE = 0.01
RATES = {"efficientnet_v2_s": 1e-7}  # of models whose outputs after a step of RATE are rounding errors grown large

# with outputs, losses and gradients: side of the images, and whether our run is slow to compile
MODELS: dict[str, tuple[int, bool]] = {
    "alexnet": (64, True), "vgg11": (32, True), "vgg11_bn": (32, True), "resnet18": (48, False),
    "resnet34": (48, True), "resnet50": (48, True), "resnext50_32x4d": (48, True), "densenet121": (48, True),
    "squeezenet1_0": (48, True), "squeezenet1_1": (48, False), "mobilenet_v2": (48, False),
    "mobilenet_v3_large": (48, True), "mobilenet_v3_small": (48, False), "efficientnet_b0": (48, True),
    "efficientnet_v2_s": (48, True), "convnext_tiny": (48, True),
}  # fmt: skip
# with keys, shapes and the options of their convolutions
SHAPES = """
    vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn resnet101 resnet152 resnext101_32x8d resnext101_64x4d wide_resnet50_2
    wide_resnet101_2 densenet161 densenet169 densenet201 efficientnet_b1 efficientnet_b2 efficientnet_b3
    efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_m efficientnet_v2_l convnext_small
    convnext_base convnext_large vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14
""".split()


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float64 values for a parameter or buffer, from its name and shape alone, of a size that keeps signals alive."""
    rng = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) <= 1:
        return 0.1 * rng.standard_normal(shape)
    fan = math.prod(shape[1:]) if not name.endswith("layer_scale") else 1
    return math.sqrt(2 / fan) * rng.standard_normal(shape)


def images(side: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(5)).standard_normal((BATCH, 3, side, side))


def digest(model: Any) -> str:
    """Of the names and shapes of a model's state, in their order, and of the options of its convolutions."""
    lines = [f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()]
    for name, m in model.named_modules():
        if hasattr(m, "kernel_size"):
            options = [m.kernel_size, m.stride, m.padding, m.dilation if hasattr(m, "dilation") else 1]
            lines.append(f"{name} {options} {getattr(m, 'groups', 1)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@cache
def recorded() -> dict[str, Any]:
    return json.loads(FILE.read_text("utf-8"))
