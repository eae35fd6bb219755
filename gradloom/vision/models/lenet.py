"""LeNet-5 (LeCun et al. 1998) in today's dress: ReLU, max pooling, a linear last layer."""

from __future__ import annotations

from gradloom import nn
from gradloom.nn import functional as F
from gradloom.tensor import Tensor
from gradloom.vision.models.registry import builder

__all__ = ["LeNet", "lenet"]


class LeNet(nn.Module):
    """Two 5x5 convolutions with pooling and three linear layers, for 28 x 28 images (padded to 32 x 32)."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, 28, 28) to (N, num_classes)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


lenet = builder("lenet", "LeNet-5: 0.06 M parameters.", LeNet)
