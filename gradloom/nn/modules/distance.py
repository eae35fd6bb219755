"""The names of `torch.nn.modules.distance`."""

from gradloom.nn.arrange import CosineSimilarity, PairwiseDistance

__all__ = ["CosineSimilarity", "PairwiseDistance"]
