"""Layers made without filling their parameters, for those that are filled from a file."""

from __future__ import annotations

import inspect
from typing import Any

from gradloom.nn.init import skipped
from gradloom.nn.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format", "skip_init"]


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """A module of a class whose parameters have undefined content: the initialisers of `nn.init` do nothing.

    Raises RuntimeError where the class is no Module, or takes no `device`, as PyTorch does.
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    with skipped():
        return module_cls(*args, **kwargs)


def convert_conv2d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """The module: the order of the filters' axes in memory is the compiler's choice."""
    return _checked(module)


def convert_conv3d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """The module: the order of the filters' axes in memory is the compiler's choice."""
    return _checked(module)


def _checked(module: Module) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"expected a Module, got {type(module).__name__}")
    return module
