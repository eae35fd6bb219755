"""Pictures of noise, to try a program without data."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.io.pictures import pillow
from gradloom.vision.datasets.base import Transform, VisionDataset


class FakeData(VisionDataset):
    """Pictures of random pixels with random classes; sample k is the same every time.

    Parameters
    ----------
    size : how many
    image_size : (channels, height, width), one or three channels
    num_classes : how many classes
    transform, target_transform : functions of the picture and of the class
    random_offset : added to k: another offset gives other pictures
    """

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        random_offset: int = 0,
    ) -> None:
        super().__init__(None, transform=transform, target_transform=target_transform)
        if len(image_size) != 3 or image_size[0] not in (1, 3):
            raise ValueError(f"image_size is (channels, height, width) with one or three channels, not {image_size}")
        self.size, self.image_size, self.num_classes = size, tuple(image_size), num_classes
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not 0 <= index < self.size:
            raise IndexError(f"sample {index} of {self.size}")
        draws = np.random.default_rng(index + self.random_offset)
        channels, height, width = self.image_size
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = draws.integers(0, 256, shape, dtype=np.uint8)
        return self._sample(pillow().fromarray(pixels), int(draws.integers(self.num_classes)))

    def __len__(self) -> int:
        return self.size
