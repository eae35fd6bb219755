"""Modules that hold other modules or parameters: Sequential, ModuleList, ModuleDict, ParameterList."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from gradloom.nn.module import MODULE, PARAMETER, Module, Parameter
from gradloom.tensor import Tensor


class _Numbered(Module):
    """Entries named "0", "1", ... in order; `_kind` says whether they are modules or parameters."""

    _kind = MODULE

    def _entries(self) -> list[Any]:
        return list(self._of_kind(self._kind).values())

    def _names(self) -> list[str]:
        return list(self._of_kind(self._kind))

    def _refill(self, entries: Iterable[Any]) -> None:
        for name in self._names():
            delattr(self, name)
        for number, entry in enumerate(entries):
            setattr(self, str(number), entry)

    def _position(self, index: Any) -> int:
        position, length = operator.index(index), len(self)
        if not -length <= position < length:
            raise IndexError(f"index {position} is out of range for {type(self).__name__} of length {length}")
        return position % length

    def __len__(self) -> int:
        return len(self._names())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._like(self._entries()[index])
        return self._entries()[self._position(index)]

    def _like(self, entries: list[Any]) -> Any:
        return type(self)(entries)  # type: ignore[call-arg]

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._names()[self._position(index)], value)

    def __delitem__(self, index: int | slice) -> None:
        entries = self._entries()
        del entries[index if isinstance(index, slice) else self._position(index)]
        self._refill(entries)

    def append(self, value: Any) -> Self:
        """Add one entry at the end."""
        setattr(self, str(len(self)), value)
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add entries at the end."""
        for value in list(values):
            self.append(value)
        return self

    def insert(self, index: int, value: Any) -> Self:
        """Add an entry before the position `index`."""
        entries = self._entries()
        entries.insert(index, value)
        self._refill(entries)
        return self

    def pop(self, index: int = -1) -> Any:
        """Remove an entry and return it."""
        entry = self[index]
        del self[index]
        return entry

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)


class Sequential(_Numbered):
    """Modules applied one after the other.

    Parameters
    ----------
    *modules : Module, or one mapping of name to Module
        In order of application.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            for number, entry in enumerate(modules):
                self.add_module(str(number), entry)  # type: ignore[arg-type]

    def _like(self, entries: list[Any]) -> Sequential:
        names = {id(entry): name for name, entry in self._modules.items()}
        return type(self)({names[id(entry)]: entry for entry in entries})

    def __delitem__(self, index: int | slice) -> None:
        names = self._names()
        for name in names[index] if isinstance(index, slice) else [names[self._position(index)]]:
            delattr(self, name)
        if all(name.isdigit() for name in names):
            self._refill(self._entries())

    def insert(self, index: int, value: Any) -> Self:
        """Add a module before the position `index`; needs numbered, not named, modules."""
        if not all(name.isdigit() for name in self._names()):
            raise ValueError("insert needs a Sequential with numbered modules; this one has names")
        return super().insert(index, value)

    def forward(self, input: Any) -> Any:
        """Apply the modules in order."""
        own = self.__dict__
        for name in self._kinds:
            input = own[name](input)
        return input


class ModuleList(_Numbered):
    """A list of modules whose parameters are registered."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, value: Module) -> Self:
        """Add one module at the end."""
        self.add_module(str(len(self)), value)
        return self

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])


class ParameterList(_Numbered):
    """A list of parameters; plain tensors become parameters."""

    _kind = PARAMETER

    def __init__(self, parameters: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.extend(parameters)

    def append(self, value: Tensor) -> Self:
        """Add one parameter at the end."""
        return super().append(_as_parameter(value))

    def __setitem__(self, index: int, value: Tensor) -> None:
        super().__setitem__(index, _as_parameter(value))

    def insert(self, index: int, value: Tensor) -> Self:
        """Add a parameter before the position `index`."""
        return super().insert(index, _as_parameter(value))

    def extra_repr(self) -> str:
        """One line for each parameter."""
        rows = (
            f"({name}): Parameter of {p.dtype.name} {tuple(p.shape)}" for name, p in self._of_kind(PARAMETER).items()
        )
        return "\n".join(rows)


def _as_parameter(value: Any) -> Parameter:
    if not isinstance(value, Tensor):
        raise TypeError(f"ParameterList holds tensors, not {type(value).__name__}")
    return value if isinstance(value, Parameter) else Parameter(value)


class ModuleDict(Module):
    """A dictionary of modules whose parameters are registered. Keys must be names without a dot."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules."""
        for name, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[name] = module

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def keys(self) -> Iterable[str]:
        """The names, in order."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """The modules, in order."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and modules, in order."""
        return self._modules.items()

    def pop(self, key: str) -> Module:
        """Remove a module and return it."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Remove all modules."""
        for name in list(self._modules):
            delattr(self, name)
