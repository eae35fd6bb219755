"""`weight_norm` and `spectral_norm` in the manner before parametrisations: a hook computes the weight at each call."""

from __future__ import annotations

from typing import Any

from gradloom.functions.elementwise import cast
from gradloom.functions.sampling import randn
from gradloom.modes import no_grad
from gradloom.nn import functional as F
from gradloom.nn.module import Module, Parameter
from gradloom.nn.utils.parametrizations import (
    as_matrix,
    direction_times_length,
    largest_singular,
    norm_except,
    power_step,
    spectral_axis,
)
from gradloom.tensor import Tensor

__all__ = ["remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"]


class WeightNorm:
    """The hook of :func:`weight_norm`."""

    def __init__(self, name: str, dim: int) -> None:
        self.name, self.dim = name, dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight as it is now."""
        return direction_times_length(getattr(module, self.name + "_v"), getattr(module, self.name + "_g"), self.dim)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


class SpectralNorm:
    """The hook of :func:`spectral_norm`."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight as it is now, its largest singular value estimated better or not."""
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                v, u = power_step(matrix.detach().mH, u, self.n_power_iterations, self.eps)
            # new tensors, not new values of the old ones: a gradient taken later still knows what was read
            setattr(module, self.name + "_u", u)
            setattr(module, self.name + "_v", v)
        return weight / largest_singular(matrix, u, v)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def _weight(module: Module, name: str, kind: Any) -> Parameter:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, kind) and hook.name == name:
            raise RuntimeError(f"Cannot register two {kind.__name__} hooks on the same parameter {name}")
    weight = module._parameters.get(name)
    if weight is None:
        raise ValueError(f"{type(module).__name__} has no parameter {name!r}")
    return weight  # type: ignore[no-any-return]


def _take_away(module: Module, name: str, kind: Any) -> Any:
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, kind) and hook.name == name:
            del module._forward_pre_hooks[number]
            return hook
    raise ValueError(f"{kind.__name__} of '{name}' not found in {module}")


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train the length `weight_g` and the direction `weight_v` of a weight apart (Salimans and Kingma 2016)."""
    weight = _weight(module, name, WeightNorm)
    hook = WeightNorm(name, -1 if dim is None else dim)
    delattr(module, name)
    with no_grad():
        length = norm_except(weight.detach(), hook.dim)
    module.register_parameter(name + "_g", Parameter(length))
    module.register_parameter(name + "_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undo :func:`weight_norm`: the weight is a parameter with the value that it has."""
    hook = _take_away(module, name, WeightNorm)
    weight = hook.compute_weight(module).detach()
    for own in (name, name + "_g", name + "_v"):
        delattr(module, own)
    module.register_parameter(name, Parameter(weight))
    return module


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value, estimated by power iteration (Miyato et al. 2018).

    The trained weight is `weight_orig`. dim: the axis of the outputs; 1 for transposed convolutions, else 0.
    """
    weight = _weight(module, name, SpectralNorm)
    hook = SpectralNorm(name, n_power_iterations, spectral_axis(module, dim), eps)
    with no_grad():
        rows, columns = as_matrix(weight.detach(), hook.dim).shape
        vectors = [F.normalize(cast(randn(n), weight.dtype), dim=0, eps=eps) for n in (rows, columns)]
    delattr(module, name)
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.detach().clone())
    for part, vector in zip("uv", vectors, strict=True):
        module.register_buffer(f"{name}_{part}", vector)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Undo :func:`spectral_norm`: the weight is a parameter with the value that it has."""
    hook = _take_away(module, name, SpectralNorm)
    with no_grad():
        weight = hook.compute_weight(module, False).detach()
    for own in (name, name + "_u", name + "_v", name + "_orig"):
        delattr(module, own)
    module.register_parameter(name, Parameter(weight))
    return module
