"""Models by name: how a row of a table becomes a builder, and how builders are listed and called."""

from __future__ import annotations

import fnmatch
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from gradloom.nn.module import Module
from gradloom.vision.models.weights import Weights, WeightsEnum, load_into, named, resolve

__all__ = ["builder", "get_model", "get_model_builder", "get_model_weights", "get_weight", "list_models"]

M = TypeVar("M", bound=Module)
M_co = TypeVar("M_co", bound=Module, covariant=True)
Source = str | os.PathLike[str] | Mapping[str, Any] | WeightsEnum


class Builder(Protocol[M_co]):
    """What makes a model: ``builder(weights=..., num_classes=...)``."""

    __name__: str

    def __call__(self, *, weights: Source | None = None, progress: bool = True, **options: Any) -> M_co:
        """The model; see :func:`builder`."""


_BUILDERS: dict[str, Builder[Any]] = {}


def builder(name: str, about: str, make: Callable[..., M], **defaults: Any) -> Builder[M]:
    """Register a model under a name and return its builder.

    The builder takes ``weights``: None for a fresh model; a path, a state dict, or a name (``"DEFAULT"``,
    ``"IMAGENET1K_V1"``, or an entry of the model's enumeration of weights) for a trained one. A name is fetched into
    the cache folder, and checked. ``progress`` shows how far that is; ``pretrained`` is old programs' way to ask for
    ``"IMAGENET1K_V1"``. The other keywords go to the model's class, over
    those of the table. A model with ``sized=True`` there has an ``image_size``, which is that of its weights.
    """
    sized = defaults.pop("sized", False)

    def build(
        *, weights: Source | None = None, progress: bool = True, pretrained: bool | None = None, **options: Any
    ) -> M:
        if pretrained is not None:
            warnings.warn(f"{name}(pretrained=...) is the old name of weights=", DeprecationWarning, stacklevel=2)
            weights = "IMAGENET1K_V1" if pretrained and weights is None else weights
        chosen = {**defaults, **options}
        found = resolve(name, weights)
        if isinstance(found, WeightsEnum):
            classes = len(found.meta["categories"])
            if chosen.setdefault("num_classes", classes) != classes:
                raise ValueError(
                    f"{name}: the weights {found} are for {classes} classes, not num_classes={chosen['num_classes']}; "
                    "build the model with them and replace its last layer"
                )
            side = found.value.crop_size
            if sized and chosen.setdefault("image_size", side) != side:
                raise ValueError(
                    f"{name}: the weights {found} are for images of {side}x{side}, not image_size="
                    f"{chosen['image_size']}; resize their positions with interpolate_embeddings"
                )
        model = make(**chosen)
        if found is not None:
            load_into(model, found.get_state_dict(progress=progress) if isinstance(found, WeightsEnum) else found)
        return model

    build.__name__ = build.__qualname__ = name
    build.__module__ = make.__module__
    build.__doc__ = (
        f"{about}\n\n    ``weights``: {builder.__doc__.split('``weights``: ')[1]}" if builder.__doc__ else about
    )
    _BUILDERS[name] = build
    return build


def list_models(include: str | Iterable[str] | None = None, exclude: str | Iterable[str] | None = None) -> list[str]:
    """The names of all models, sorted; ``include`` and ``exclude`` are patterns such as ``"resnet*"``."""
    wanted = [include] if isinstance(include, str) else list(include or ["*"])
    unwanted = [exclude] if isinstance(exclude, str) else list(exclude or [])
    return sorted(
        name for name in _BUILDERS
        if any(fnmatch.fnmatch(name, p) for p in wanted) and not any(fnmatch.fnmatch(name, p) for p in unwanted)
    )  # fmt: skip


def get_model_builder(name: str) -> Builder[Any]:
    """The builder of a name, upper or lower case. Raises ValueError for a name that is not listed."""
    try:
        return _BUILDERS[name.lower()]
    except KeyError:
        close = list_models(include=f"*{name.lower()[:4]}*") or list_models()
        raise ValueError(f"there is no model {name!r}; among others there are {', '.join(close[:12])}") from None


def get_model(name: str, **config: Any) -> Module:
    """Build a model by name: ``get_model("resnet18", weights="DEFAULT")``."""
    return get_model_builder(name)(**config)


def get_model_weights(name: str | Callable[..., Module]) -> type[WeightsEnum]:
    """The enumeration of a model's weights. Raises ValueError where there are none."""
    key = name.lower() if isinstance(name, str) else name.__name__
    get_model_builder(key)
    return named(key)


def get_weight(name: str) -> WeightsEnum:
    """The weights of a full name, such as ``"ResNet50_Weights.IMAGENET1K_V2"``."""
    group, _, entry = name.partition(".")
    for key in _BUILDERS:
        if Weights.has(key) and named(key).__name__ == group:
            return named(key)[entry]
    raise ValueError(f"there are no weights {name!r}; a full name is like 'ResNet50_Weights.IMAGENET1K_V2'")
