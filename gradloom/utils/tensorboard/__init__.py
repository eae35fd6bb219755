"""`torch.utils.tensorboard`: logs that TensorBoard shows, written without it."""

from gradloom.utils.tensorboard.writer import SummaryWriter

__all__ = ["SummaryWriter"]
