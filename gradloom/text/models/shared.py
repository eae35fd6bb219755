"""What the families of models share: activations by name, first values, files of weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from gradloom.errors import ArgumentError
from gradloom.modes import no_grad
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.linear import Linear
from gradloom.nn.module import Module
from gradloom.nn.sparse import Embedding
from gradloom.tensor import Tensor

__all__ = ["activation", "drawn", "loaded"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": functools.partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": functools.partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function of a configuration's name. Raises ArgumentError for one that is not known."""
    if name not in _ACTIVATIONS:
        raise ArgumentError(f"unknown activation {name!r}", hint=f"one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def drawn(model: Module, std: float) -> None:
    """Weights of products and embeddings from N(0, std²), biases 0, the padding row 0."""
    for m in model.modules():
        if isinstance(m, (Linear, Embedding)) or type(m).__name__ == "Conv1D":
            init.normal_(m.weight, 0.0, std)
            if getattr(m, "bias", None) is not None:
                init.zeros_(m.bias)
            if isinstance(m, Embedding) and m.padding_idx is not None:
                with no_grad():
                    m.weight[m.padding_idx] = 0.0


def loaded(model: Module, state: Mapping[str, Any], prefix: str, left_out: tuple[str, ...]) -> None:
    """Load a Hugging Face state dict into a model.

    prefix: of the base model inside of this one, put before names that lack it, or taken away where this is the base.
    left_out: ends of names that are no parameters in this version.
    """
    own = set(model.state_dict())
    out: dict[str, Any] = {}
    for name, value in state.items():
        short = name.removeprefix(f"{prefix}.")
        names = [n for n in (name, f"{prefix}.{name}", short) if n in own]
        if names:
            out[names[0]] = value
        elif not name.endswith(left_out):
            out[name] = value
    model.load_state_dict(out, strict=True)
