"""Parametrisations: a tensor of a module that is computed, by modules, from the tensors that are trained.

The module's class becomes one of its own with a property for each such tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from gradloom.modes import no_grad
from gradloom.nn.containers import ModuleDict, ModuleList
from gradloom.nn.module import Module, Parameter
from gradloom.tensor import Tensor

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip

_cache: dict[tuple[int, str], Tensor] = {}
_caching = 0


@contextmanager
def cached() -> Iterator[None]:
    """Within, each parametrised tensor is computed once, when it is first asked for."""
    global _caching
    _caching += 1
    try:
        yield
    finally:
        _caching -= 1
        if not _caching:
            _cache.clear()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _set(cell: Tensor, value: Tensor) -> None:
    """Give a tensor another value, of another shape perhaps; who holds it goes on with it."""
    if value is not cell:
        cell.data = value.detach().clone()


class ParametrizationList(ModuleList):
    """The modules that one tensor is computed by, and what it is computed from.

    Attributes
    ----------
    original : the tensor under training; `original0`, `original1`, ... where `right_inverse` gives several.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        new = module.right_inverse(new)
                    except NotImplementedError:
                        pass
        if not isinstance(new, (Tensor, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if isinstance(new, Tensor):
            if new.dtype is not dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            _set(original, new)
            _register(self, "original", original)
        else:
            for k, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                        f"Got element {k} of the sequence with type {type(part).__name__}."
                    )
                if isinstance(original, Parameter):
                    part = Parameter(part.detach().clone(), original.requires_grad)
                _register(self, f"original{k}", part)
        if not unsafe:
            with no_grad():
                _check_result(self(), shape, dtype, "Registering a parametrization")

    def _originals(self) -> list[Tensor]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{k}") for k in range(self.ntensors)]

    def right_inverse(self, value: Any) -> None:
        """Store what gives `value`. Raises RuntimeError where a module has no `right_inverse`."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
        parts = [value] if self.is_tensor else value
        if not isinstance(parts, Sequence) or len(parts) != self.ntensors:
            raise ValueError(f"'right_inverse' must return {self.ntensors} tensors, got {parts!r}")
        for k, (cell, part) in enumerate(zip(self._originals(), parts, strict=True)):
            if not isinstance(part, Tensor):
                raise ValueError(f"`right_inverse` should return a tensor. Got {type(part).__name__}")
            if part.dtype is not cell.dtype:
                raise ValueError(
                    f"tensor {k} returned by `right_inverse` has dtype {part.dtype}, the original has {cell.dtype}"
                )
            _set(cell, part)

    def forward(self) -> Tensor:  # type: ignore[override]
        """The tensor."""
        first, *rest = list(self)
        x = first(*self._originals())
        for module in rest:
            x = module(x)
        return x  # type: ignore[no-any-return]


def _check_result(new: Any, shape: Any, dtype: Any, what: str) -> None:
    if not isinstance(new, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(new).__name__}.")
    for name, old, now in (("dtype", dtype, new.dtype), ("shape", shape, new.shape)):
        if old != now:
            raise ValueError(
                f"{what} may not change the {name} of the tensor, unless `unsafe` flag is enabled.\n"
                f"unparametrized {name}: {old}\nparametrized {name}: {now}"
            )


def _property(name: str) -> property:
    def get(self: Module) -> Tensor:
        parametrization = self.parametrizations[name]
        if not _caching:
            return parametrization()  # type: ignore[no-any-return]
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = parametrization()
        return _cache[key]

    def put(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def _not_pickled(self: Module, protocol: Any) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(): their class is made as they are"
    )


def _deepcopy(self: Module, memo: dict[int, Any]) -> Module:
    new: Module = self.__new__(type(self))
    memo[id(self)] = new
    new.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return new


def _dress(module: Module) -> None:
    """Give a module the class that fits its parametrisations."""
    base = type_before_parametrizations(module)
    names = list(module.parametrizations) if "parametrizations" in module._modules else []
    if not names:
        module.__class__ = base  # type: ignore[assignment]
        return
    body: dict[str, Any] = {name: _property(name) for name in names}
    body["_before_parametrizations"] = base
    body["__reduce_ex__"], body["__deepcopy__"] = _not_pickled, _deepcopy
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), body)  # type: ignore[assignment]


def type_before_parametrizations(module: Module) -> type:
    """The class that a module had before the first parametrisation, or has."""
    return getattr(type(module), "_before_parametrizations", type(module))


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of a module, or any, is parametrised."""
    parametrizations = module._modules.get("parametrizations")
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let a tensor of a module be what another module computes from it.

    Parameters
    ----------
    module : Module
        It gets `parametrizations[tensor_name]`, with the trained tensor under `original`.
    tensor_name : str
        A parameter or buffer of it. Several parametrisations of one tensor are applied one after the other.
    parametrization : Module
        `forward` gives the tensor. Where it has `right_inverse(tensor)`, that says what the tensor is computed from, at
        first and when it is assigned to; several tensors are given to `forward` as several arguments.
    unsafe : bool
        Leave out the check that shape and dtype stay.

    Raises
    ------
    ValueError: there is no such tensor, or its shape or dtype would change.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            with no_grad():
                old = getattr(module, tensor_name)
                new = parametrization(old)
                _check_result(new, old.shape, old.dtype, "Registering a parametrization")
                if hasattr(parametrization, "right_inverse"):
                    with suppress(NotImplementedError):
                        back = parametrization.right_inverse(new)
                        if not isinstance(back, Tensor):
                            raise ValueError(
                                f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}"
                            )
                        _check_result(back, old.shape, old.dtype, "The tensor returned by right_inverse")
        held = module.parametrizations[tensor_name]  # what the tensor is computed from stays as it is
        held.append(parametrization)
        held.unsafe = held.unsafe or unsafe
        return module
    kinds = {**module._parameters, **module._buffers}
    original = kinds.get(tensor_name)
    if original is None:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    held = ParametrizationList([parametrization], original, unsafe)
    delattr(module, tensor_name)
    if "parametrizations" not in module._modules:
        module.add_module("parametrizations", ModuleDict())
    module.parametrizations[tensor_name] = held
    _dress(module)
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Take all parametrisations of a tensor away.

    leave_parametrized: the tensor keeps the value that was computed; else it gets back what it was computed from.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    held = module.parametrizations[tensor_name]
    parts = held._originals()
    original = parts[0]
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name).detach().clone()
        if held.is_tensor:
            _set(original, value)
        else:
            trained = any(p.requires_grad for p in parts)
            original = Parameter(value) if trained or isinstance(parts[0], Parameter) else value
    elif not held.is_tensor:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    del module.parametrizations[tensor_name]
    _dress(module)
    if not len(module.parametrizations):
        del module.parametrizations
    _register(module, tensor_name, original)
    return module


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give a module the parametrisations of another, and the tensors that they compute from."""
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        if not is_parametrized(from_module, name):
            raise ValueError(f"{name} of {from_module} is not parametrized")
        held = from_module.parametrizations[name]
        if name not in {**to_module._parameters, **to_module._buffers}:
            _register(to_module, name, getattr(from_module, name).detach().clone())
        for part in held:
            register_parametrization(to_module, name, part, unsafe=held.unsafe)
        for key, cell in zip([k for k in held._of_kind("parameter", "buffer")], held._originals(), strict=False):
            setattr(to_module.parametrizations[name], key, cell)
    return to_module
