"""`torch.utils.data.distributed`."""

from gradloom.data.sampler import DistributedSampler

__all__ = ["DistributedSampler"]
