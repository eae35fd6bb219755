"""Sets of pictures under the names of `torchvision.datasets`.

Samples are (picture of Pillow's, class as int), as transforms and loaders expect. What `download=True` fetches is
checked against a SHA-256 that stands in the code, and nothing in a file is ever run.
"""

from __future__ import annotations

from typing import Any

from gradloom.errors import NotSupportedError
from gradloom.vision.datasets.base import StandardTransform, VisionDataset
from gradloom.vision.datasets.cifar import CIFAR10, CIFAR100
from gradloom.vision.datasets.fake import FakeData
from gradloom.vision.datasets.folder import (
    IMG_EXTENSIONS,
    DatasetFolder,
    ImageFolder,
    default_loader,
    find_classes,
    has_file_allowed_extension,
    is_image_file,
    make_dataset,
)
from gradloom.vision.datasets.mnist import EMNIST, KMNIST, MNIST, QMNIST, FashionMNIST
from gradloom.vision.datasets.stl10 import STL10

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "EMNIST",
    "IMG_EXTENSIONS",
    "KMNIST",
    "MNIST",
    "QMNIST",
    "STL10",
    "DatasetFolder",
    "FakeData",
    "FashionMNIST",
    "ImageFolder",
    "StandardTransform",
    "VisionDataset",
    "default_loader",
    "find_classes",
    "has_file_allowed_extension",
    "is_image_file",
    "make_dataset",
]

_MATLAB = "its files are MATLAB's, which need SciPy to be read"
_FOLDERS = "its archive is pictures in folders; unpack it and read it with ImageFolder"
ABSENT = {
    "SVHN": _MATLAB,
    "Flowers102": _MATLAB,
    "StanfordCars": _MATLAB,
    "ImageNet": _FOLDERS,
    "Caltech101": _FOLDERS,
    "Caltech256": _FOLDERS,
    "EuroSAT": _FOLDERS,
    "Imagenette": _FOLDERS,
}
"""Sets of torchvision's that are deliberately absent, and why."""


def __getattr__(name: str) -> Any:
    if name in ABSENT:
        raise NotSupportedError(
            f"gradloom.vision.datasets has no {name}: {ABSENT[name]}",
            code="unsupported.dataset",
            hint="a class with __getitem__ and __len__ derived from VisionDataset is all that a loader needs",
        )
    raise AttributeError(f"gradloom.vision.datasets has no {name!r}; there are {', '.join(__all__)}")
