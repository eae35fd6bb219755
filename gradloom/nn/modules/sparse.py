"""The names of `torch.nn.modules.sparse`."""

from gradloom.nn.sparse import Embedding, EmbeddingBag

__all__ = ["Embedding", "EmbeddingBag"]
