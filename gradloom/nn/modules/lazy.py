"""The names of `torch.nn.modules.lazy`."""

from gradloom.nn.lazy import LazyModuleMixin

__all__ = ["LazyModuleMixin"]
