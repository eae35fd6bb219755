"""The names of `torch.nn.modules.pixelshuffle`."""

from gradloom.nn.arrange import PixelShuffle, PixelUnshuffle

__all__ = ["PixelShuffle", "PixelUnshuffle"]
