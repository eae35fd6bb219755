"""Pruning: weights that are held at zero by a mask, under the names of `torch.nn.utils.prune`.

A pruned parameter `weight` becomes the parameter `weight_orig` and the buffer `weight_mask`; before each call of the
layer `weight` is computed as their product, so that gradients and state_dicts know of both. Pruning again prunes what
is left. `remove` makes the zeros permanent.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from gradloom.functions.creation import ones_like
from gradloom.functions.elementwise import cast
from gradloom.functions.joins import cat
from gradloom.functions.linalg_norms import norm
from gradloom.functions.sampling import rand
from gradloom.functions.sorting import topk
from gradloom.modes import no_grad
from gradloom.nn.module import Module
from gradloom.tensor import Tensor

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
    "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
    "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove",
]  # fmt: skip


class BasePruningMethod(ABC):
    """A way to choose what is pruned: `compute_mask`, and `PRUNING_TYPE`, what it chooses among.

    `PRUNING_TYPE` is "unstructured" (single elements that are left), "structured" (slices along `self.dim` that are
    left) or "global" (the whole parameter).
    """

    PRUNING_TYPE: str = "unstructured"
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        """Set the masked parameter, before the module's forward."""
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask (1 keeps, 0 prunes) of importances `t`, given the mask so far; both have one shape."""

    def apply_mask(self, module: Module) -> Tensor:
        """The masked parameter as it is now."""
        name = self._tensor_name
        mask, original = getattr(module, name + "_mask"), getattr(module, name + "_orig")
        return original * cast(mask, original.dtype)  # type: ignore[no-any-return]

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune `module`'s parameter `name` with `cls(*args, **kwargs)`, which becomes a hook of the module.

        importance_scores: what the method looks at instead of the parameter's values, of the same shape.
        """
        before = _hook(module, name)
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        if before is None:
            original = module._parameters.get(name)
            if original is None:
                raise ValueError(f"{type(module).__name__} has no parameter {name!r} to prune")
            mask, hook = ones_like(original.detach()), method
        else:
            _, earlier = before
            original, mask = getattr(module, name + "_orig"), getattr(module, name + "_mask")
            # a list of its own until the new mask is known: a refusal below leaves the module as it was
            hook = PruningContainer(*(earlier if isinstance(earlier, PruningContainer) else (earlier,)))
            hook.add_pruning_method(method)
        mask = _new_mask(hook, original.detach(), mask, importance_scores)
        if before is None:
            delattr(module, name)
            module.register_parameter(name + "_orig", original)
        else:
            del module._forward_pre_hooks[before[0]]
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, hook.apply_mask(module))
        module.register_forward_pre_hook(hook)
        return hook

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """`t` with zeros where this method prunes it; no module is involved."""
        mask = ones_like(t.detach()) if default_mask is None else default_mask
        return t * cast(_new_mask(self, t.detach(), mask, importance_scores), t.dtype)  # type: ignore[no-any-return]

    def remove(self, module: Module) -> None:
        """Make the masked values the parameter again."""
        name = self._tensor_name
        weight, original = self.apply_mask(module), getattr(module, name + "_orig")
        if name in vars(module):
            delattr(module, name)
        delattr(module, name + "_orig")
        delattr(module, name + "_mask")
        with no_grad():
            original.copy_(weight.detach())
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Several methods on one parameter, each on what those before it have left."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod | None) -> None:
        """Append a method; it must be meant for the same parameter."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._pruning_methods and getattr(method, "_tensor_name", None) != self._tensor_name:
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{self._tensor_name}' to PruningContainer {self}. Found '{getattr(method, '_tensor_name', None)}'"
            )
        self._tensor_name = getattr(method, "_tensor_name", "weight")
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, index: int) -> BasePruningMethod:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask after the last method of the list, on what `default_mask` has left."""
        return _on_what_is_left(self._pruning_methods[-1], t, default_mask)


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the names `_orig` and `_mask`."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """As `BasePruningMethod.compute_mask`."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes elements at random. amount: a share in [0, 1], or how many."""

    def __init__(self, amount: float) -> None:
        self.amount = _amount(amount)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """As `BasePruningMethod.compute_mask`."""
        return _without_smallest(rand(t.shape), self.amount, default_mask)


class L1Unstructured(BasePruningMethod):
    """Prunes the elements of smallest magnitude. amount: a share in [0, 1], or how many."""

    def __init__(self, amount: float) -> None:
        self.amount = _amount(amount)

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """As `BasePruningMethod.compute_mask`."""
        return _without_smallest(t.abs(), self.amount, default_mask)


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"
    amount: float
    dim: int

    def scores(self, t: Tensor, dim: int) -> Tensor:
        """One importance for each slice along `dim`."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """As `BasePruningMethod.compute_mask`."""
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                f"{tuple(t.shape)} with {t.ndim} dims"
            )
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {tuple(t.shape)}")
        dim = self.dim % t.ndim
        size = t.shape[dim]
        scores = self.scores(t, dim)
        kept = _without_smallest(scores, self.amount, ones_like(scores))
        return default_mask * cast(kept, default_mask.dtype).reshape([size if d == dim else 1 for d in range(t.ndim)])


class RandomStructured(_Structured):
    """Prunes slices along `dim` at random. amount: a share in [0, 1], or how many slices."""

    def __init__(self, amount: float, dim: int = -1) -> None:
        self.amount, self.dim = _amount(amount), dim

    def scores(self, t: Tensor, dim: int) -> Tensor:
        """One importance for each slice along `dim`."""
        return rand(t.shape[dim])  # type: ignore[no-any-return]


class LnStructured(_Structured):
    """Prunes the slices along `dim` of smallest norm. n: the norm's order, as `norm` takes it ("fro", 1, inf, …)."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        self.amount, self.n, self.dim = _amount(amount), n, dim

    def scores(self, t: Tensor, dim: int) -> Tensor:
        """One importance for each slice along `dim`."""
        return norm(t.movedim(dim, 0).reshape(t.shape[dim], -1), p=self.n, dim=1)  # type: ignore[no-any-return]


class CustomFromMask(BasePruningMethod):
    """Prunes where `mask` is zero."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """As `BasePruningMethod.compute_mask`."""
        if tuple(self.mask.shape) != tuple(default_mask.shape):
            raise ValueError(
                f"the mask has shape {tuple(self.mask.shape)}, the parameter {tuple(default_mask.shape)}: "
                "give one of the parameter's shape"
            )
        return default_mask * cast(self.mask, default_mask.dtype)  # type: ignore[no-any-return]


def identity(module: Module, name: str) -> Module:
    """Make `name` a pruned parameter of which nothing is pruned. Returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune a share (float in [0, 1]) or a number (int) of elements, drawn at random. Returns the module."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prune a share (float in [0, 1]) or a number (int) of elements, the smallest. Returns the module.

    importance_scores: what is compared instead of the parameter's values, of its shape.
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune a share or a number of the slices along `dim`, drawn at random. Returns the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune a share or a number of the slices along `dim`, those of the smallest `n`-norm. Returns the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune where `mask`, of the parameter's shape, is zero. Returns the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune several parameters as if they were one: the amount is of them all together.

    Parameters
    ----------
    parameters : iterable of (Module, str)
    pruning_method : type
        An unstructured method, such as `L1Unstructured`.
    importance_scores : dict, optional
        Of (module, name) to a tensor that is compared instead of the values.
    **kwargs
        Of the method: `amount`.
    """
    places = list(parameters) if isinstance(parameters, Iterable) else None
    if not places:
        raise TypeError("global_unstructured(): parameters is not an Iterable of (module, name), or is empty")
    if importance_scores is not None and not isinstance(importance_scores, dict):
        raise TypeError("global_unstructured(): importance_scores should be of type dict")
    if pruning_method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. '
            f"Found method {pruning_method} of type {pruning_method.PRUNING_TYPE}"
        )
    given = importance_scores or {}
    now = [(m._parameters.get(name), getattr(m, name)) for m, name in places]
    scores = [given.get(place, value).detach().reshape(-1) for place, (_, value) in zip(places, now, strict=True)]
    masks = [getattr(m, name + "_mask", None) for m, name in places]
    old = [
        (ones_like(value.detach()) if mask is None else mask).reshape(-1)
        for mask, (_, value) in zip(masks, now, strict=True)
    ]
    method = pruning_method(**kwargs)
    whole = _on_what_is_left(method, cat(scores), cat(old))
    start = 0
    for (module, name), (_, value) in zip(places, now, strict=True):
        stop = start + value.numel()
        custom_from_mask(module, name, whole[start:stop].reshape(tuple(value.shape)))
        start = stop


def remove(module: Module, name: str) -> Module:
    """Make the pruning of parameter `name` permanent: its zeros are values like others. Returns the module."""
    found = _hook(module, name)
    if found is None:
        raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")
    number, hook = found
    hook.remove(module)
    del module._forward_pre_hooks[number]
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter of the module, or of one inside it, is pruned."""
    return any(
        isinstance(hook, BasePruningMethod) for part in module.modules() for hook in part._forward_pre_hooks.values()
    )


def _hook(module: Module, name: str) -> tuple[Any, BasePruningMethod] | None:
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return number, hook
    return None


def _new_mask(method: BasePruningMethod, values: Tensor, mask: Tensor, scores: Tensor | None) -> Tensor:
    if scores is None:
        scores = values
    elif tuple(scores.shape) != tuple(values.shape):
        raise ValueError(
            f"importance_scores should have the same shape as the parameter, {tuple(values.shape)}, "
            f"but have {tuple(scores.shape)}"
        )
    with no_grad():
        return method.compute_mask(scores.detach(), mask)


def _on_what_is_left(method: BasePruningMethod, t: Tensor, mask: Tensor) -> Tensor:
    """`method`'s mask where only what `mask` has left may be chosen, and counts for its amount."""
    kind = method.PRUNING_TYPE
    if kind == "global":
        return method.compute_mask(t, mask)
    new = cast(mask.clone(), t.dtype)
    if kind == "unstructured":
        left = (mask != 0).reshape(-1).nonzero().reshape(-1)
        part = method.compute_mask(t.reshape(-1)[left], mask.reshape(-1)[left])
        flat = new.reshape(-1)
        flat[left] = part
        return flat.reshape(tuple(mask.shape))
    if kind != "structured":
        raise ValueError(f"Unrecognized PRUNING_TYPE {kind}: it is unstructured, structured or global")
    dim = method.dim % t.ndim  # type: ignore[attr-defined]
    slices = mask.movedim(dim, 0)
    left = slices.reshape(slices.shape[0], -1).sum(1).nonzero().reshape(-1)
    part = method.compute_mask(t.index_select(dim, left), mask.index_select(dim, left))
    return new.index_copy(dim, left, cast(part, t.dtype))  # type: ignore[no-any-return]


def _without_smallest(scores: Tensor, amount: float, mask: Tensor) -> Tensor:
    """`mask` with zeros at the smallest scores, as many as the amount says."""
    total = scores.numel()
    if isinstance(amount, numbers.Integral):
        count = int(amount)
        if count > total:
            raise ValueError(f"amount={count} should be smaller than the number of parameters to prune={total}")
    else:
        count = round(amount * total)
    if not count:
        return mask.clone()
    where = topk(scores.reshape(-1), count, largest=False).indices
    kept = ones_like(mask.reshape(-1))
    kept[where] = 0
    return mask * kept.reshape(tuple(mask.shape))  # type: ignore[no-any-return]


def _amount(amount: Any) -> float:
    if not isinstance(amount, numbers.Real) or isinstance(amount, bool):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if not 0 <= float(amount) <= (float("inf") if isinstance(amount, numbers.Integral) else 1.0):
        raise ValueError(f"amount={amount} should either be a float in the range [0.0, 1.0] or a non-negative integer")
    return amount  # type: ignore[return-value]
