"""Modules that hold other modules or parameters: Sequential, and the lists and dictionaries of both."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from gradloom.nn.module import MODULE, Module, Parameter
from gradloom.tensor import Tensor


class _Numbered(Module):
    """Modules named "0", "1", ... in order."""

    def _entries(self) -> list[Any]:
        return list(self._of_kind(MODULE).values())

    def _names(self) -> list[str]:
        return list(self._of_kind(MODULE))

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
            return type(self)(self._entries()[index])  # type: ignore[call-arg]
        return self._entries()[self._position(index)]

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

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._modules.items())[index]))
        return super().__getitem__(index)

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
        if not -len(self) <= index <= len(self):
            raise IndexError(f"insert: index {index} is out of range for a Sequential of {len(self)} modules")
        return super().insert(index, value)

    def extend(self, sequential: Iterable[Module]) -> Self:
        """Add modules at the end."""
        return super().extend(sequential)

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return Sequential(*self, *other)

    def __iadd__(self, values: Iterable[Any]) -> Self:
        if not isinstance(values, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(values)} is given.")
        return self.extend(values)

    def __mul__(self, other: int) -> Sequential:
        if not isinstance(other, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(other)}")
        if other <= 0:
            raise ValueError(f"Non-positive multiplication factor {other} for {type(self)}")
        return Sequential(*(entry for _ in range(other) for entry in self))

    def __rmul__(self, other: int) -> Sequential:
        return self * other

    def __imul__(self, other: int) -> Self:
        entries = list(self)
        for entry in list(self * other)[len(entries) :]:
            self.append(entry)
        return self

    def forward(self, input: Any) -> Any:
        """Apply the modules in order."""
        own = self.__dict__
        for name, kind in self._kinds.items():
            if kind == MODULE:
                input = own[name](input)
        return input


class ModuleList(_Numbered):
    """A list of modules whose parameters are registered."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def append(self, value: Module) -> Self:
        """Add one module at the end."""
        self.add_module(str(len(self)), value)
        return self

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def _child_lines(self) -> list[str]:
        """Equal neighbours stand in one line, with their number."""
        runs: list[tuple[str, list[int]]] = []
        for k, text in enumerate(map(repr, self)):
            if runs and runs[-1][0] == text:
                runs[-1][1].append(k)
            else:
                runs.append((text, [k]))
        return [
            (f"({at[0]}): " if len(at) == 1 else f"({at[0]}-{at[-1]}): {len(at)} x ") + text.replace("\n", "\n  ")
            for text, at in runs
        ]


class _Values(Module):
    """Base of the containers of parameters: tensors become parameters, anything else is kept as it is."""

    def _held(self) -> Iterable[tuple[str, Any]]:
        """Names and values, in order."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """A line for each value."""
        lines = []
        for name, value in self._held():
            text = "Object of type: " + type(value).__name__
            if isinstance(value, Tensor):
                kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
                text = f"{kind} containing: [{value.dtype!r} of size {'x'.join(map(str, value.shape))}]"
            lines.append(f"  ({name}): {text}")
        return "\n".join(lines)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise RuntimeError: it is no layer."""
        raise RuntimeError(f"{type(self).__name__} should not be called.")


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


class ParameterList(_Values):
    """A list whose tensors are registered as parameters; other values are kept as they are."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _held(self) -> Iterable[tuple[str, Any]]:
        return [(str(k), value) for k, value in enumerate(self)]

    def _refill(self, values: list[Any]) -> None:
        for k in range(self._size):
            delattr(self, str(k))
        self._size = 0
        self.extend(values)

    def _position(self, index: Any) -> int:
        position = operator.index(index)
        if not -self._size <= position < self._size:
            raise IndexError(f"index {position} is out of range")
        return position % self._size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([self.__dict__[str(k)] for k in range(self._size)])

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self.__dict__[str(self._position(index))]

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, str(self._position(index)), _as_parameter(value))

    def __delitem__(self, index: int | slice) -> None:
        values = list(self)
        del values[index if isinstance(index, slice) else self._position(index)]
        self._refill(values)

    def append(self, value: Any) -> Self:
        """Add one value at the end."""
        setattr(self, str(self._size), _as_parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add values at the end."""
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            raise TypeError(f"ParameterList.extend should be called with an iterable, but got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self

    def insert(self, index: int, value: Any) -> Self:
        """Add a value before the position `index`."""
        values = list(self)
        values.insert(index, value)
        self._refill(values)
        return self

    def pop(self, index: int = -1) -> Any:
        """Remove a value and return it."""
        value = self[index]
        del self[index]
        return value

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)


class ParameterDict(_Values):
    """A dictionary whose tensors are registered as parameters; other values are kept as they are."""

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def _held(self) -> Iterable[tuple[str, Any]]:
        return self.items()

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return self.__dict__[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"a key of ParameterDict is a string, not {type(key).__name__}")
        setattr(self, key, _as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        if key not in self._keys:
            raise KeyError(key)
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keys))

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def keys(self) -> Iterable[str]:
        """The names, in order."""
        return self._keys.keys()

    def values(self) -> Iterable[Any]:
        """The values, in order."""
        return [self[k] for k in self._keys]

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and values, in order."""
        return [(k, self[k]) for k in self._keys]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a name, or the default."""
        return self[key] if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of a name, which is the default from now on where there was none."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Remove a value and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last name and value and return them."""
        if not self._keys:
            raise KeyError("popitem: the dictionary is empty")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove all values."""
        for key in list(self._keys):
            del self[key]

    def copy(self) -> ParameterDict:
        """Another dictionary with the same parameters."""
        return type(self)(list(self.items()))

    def update(self, parameters: Any) -> None:
        """Add or replace values: another ParameterDict, pairs, or a mapping; the names of a plain one in their order.

        PyTorch sorts those too, and states of optimisers count parameters.
        """
        if not isinstance(parameters, Iterable) or isinstance(parameters, Tensor):
            raise TypeError(
                f"ParametersDict.update should be called with an iterable of key/value pairs, but got "
                f"{type(parameters).__name__}"
            )
        pairs = parameters.items() if hasattr(parameters, "items") else parameters
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            pairs = sorted(pairs, key=lambda pair: pair[0])
        for key, value in pairs:
            self[key] = value

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A dictionary of these names, each with the default."""
        return type(self)((k, default) for k in keys)

    def __or__(self, other: ParameterDict) -> ParameterDict:
        out = self.copy()
        out.update(other)
        return out

    def __ror__(self, other: ParameterDict) -> ParameterDict:
        out = other.copy()
        out.update(self)
        return out

    def __ior__(self, other: ParameterDict) -> Self:
        self.update(other)
        return self


class ModuleDict(Module):
    """A dictionary of modules whose parameters are registered. Keys must be names without a dot."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules."""
        for name, module in modules.items() if isinstance(modules, (Mapping, ModuleDict)) else modules:
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
