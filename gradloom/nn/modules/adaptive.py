"""The names of `torch.nn.modules.adaptive`."""

from gradloom.nn.losses.layers import AdaptiveLogSoftmaxWithLoss

__all__ = ["AdaptiveLogSoftmaxWithLoss"]
