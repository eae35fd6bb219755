"""The names of `torch.nn.modules.channelshuffle`."""

from gradloom.nn.arrange import ChannelShuffle

__all__ = ["ChannelShuffle"]
