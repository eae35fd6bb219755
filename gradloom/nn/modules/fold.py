"""The names of `torch.nn.modules.fold`."""

from gradloom.nn.arrange import Fold, Unfold

__all__ = ["Fold", "Unfold"]
