"""Layers called on values of their variables, which are afterwards as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradloom.keras.variables import Variable
from gradloom.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from gradloom.keras.layers.base import Layer


def call(
    layer: Layer, given: tuple[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], return_losses: bool
) -> tuple[Any, ...]:
    """See :meth:`Layer.stateless_call`; ``given`` are values of trained and of other variables."""
    trainable_variables, non_trainable_variables = given
    if not layer.built:
        raise ValueError(
            f"To call stateless_call, {type(layer).__name__} {layer.name!r} must be built (i.e. its variables must "
            "have been already created): call it, or build it"
        )
    for what, values, mine in (
        ("trainable_variables", trainable_variables, layer.trainable_variables),
        ("non_trainable_variables", non_trainable_variables, layer.non_trainable_variables),
    ):
        if len(values) != len(mine):
            raise ValueError(f"`{what}` must have {len(mine)} values, {len(values)} were given")
    trained = {id(v): value for v, value in zip(layer.trainable_variables, trainable_variables)}
    kept = [(v, v.numpy().copy()) for v in layer.variables]
    replaced: list[tuple[dict[str, Any], str, Variable]] = []
    try:
        for v, value in zip(layer.non_trainable_variables, non_trainable_variables):
            v.assign(value)
        for v, value in zip(layer.trainable_variables, trainable_variables):
            v.assign(value.detach() if isinstance(value, Tensor) else value)
        for part in layer._flatten_layers():
            for name, v in list(part.__dict__.items()):
                if isinstance(v, Variable) and isinstance(trained.get(id(v)), Tensor):
                    part.__dict__[name] = trained[id(v)]
                    replaced.append((part.__dict__, name, v))
        outputs = layer(*args, **kwargs)
        losses = layer.losses if return_losses else []
        after = [from_numpy(v.numpy().copy()) for v in layer.non_trainable_variables]
    finally:
        for place, name, v in replaced:
            place[name] = v
        for v, array in kept:
            v.assign(array)
    return (outputs, after, losses) if return_losses else (outputs, after)
