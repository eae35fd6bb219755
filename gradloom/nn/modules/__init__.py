"""`torch.nn.modules`: the layers by the files in which PyTorch keeps them, for programs that name those."""

from typing import Any

from gradloom.nn.modules import (
    activation,
    batchnorm,
    container,
    conv,
    dropout,
    instancenorm,
    lazy,
    linear,
    module,
    normalization,
    utils,
)

__all__ = [
    "activation", "batchnorm", "container", "conv", "dropout", "instancenorm", "lazy", "linear", "module",
    "normalization", "utils",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    from gradloom import nn

    if name not in nn.__all__:
        raise AttributeError(f"module 'gradloom.nn.modules' has no attribute {name!r}")
    return getattr(nn, name)
