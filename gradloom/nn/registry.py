"""What a module is made of: names registered as parameters, buffers and sub-modules, and the walks over them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from gradloom.nn.hooks import EVERYWHERE
from gradloom.nn.parameter import Buffer, Parameter
from gradloom.tape import TAPE
from gradloom.tensor import Tensor

if TYPE_CHECKING:
    from gradloom.nn.module import Module

PARAMETER, BUFFER, TRANSIENT, MODULE = "parameter", "buffer", "transient buffer", "module"


class Names(MutableMapping[str, Any]):
    """The registered names of one kind as a dictionary; writing to it registers."""

    def __init__(self, module: Registry, *kinds: str) -> None:
        self._module, self._kinds = module, kinds

    def __getitem__(self, name: str) -> Any:
        if self._module._kinds.get(name) not in self._kinds:
            raise KeyError(name)
        return self._module.__dict__.get(name)

    def __setitem__(self, name: str, value: Any) -> None:
        kinds, own = self._module._kinds, self._module.__dict__
        if kinds.get(name) not in self._kinds:
            kinds[name] = self._kinds[0]
        own[name] = value
        if self._kinds == (MODULE,) and value is not None:
            value.__dict__["_layer"] = name

    def __delitem__(self, name: str) -> None:
        self[name]  # a KeyError where it is none of these
        del self._module._kinds[name]
        self._module.__dict__.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, kind in self._module._kinds.items() if kind in self._kinds])

    def __len__(self) -> int:
        return sum(kind in self._kinds for kind in self._module._kinds.values())

    def __repr__(self) -> str:
        return repr(dict(self))


def before_init(module: Any) -> AttributeError:
    """The error of a module that is used before `super().__init__()`."""
    return AttributeError(f"{type(module).__name__}: call super().__init__() before anything is assigned or called")


class Registry:
    """Base of Module: attributes that are registered.

    Values stand in the instance's own dictionary, so reading one costs what any attribute costs; a second dictionary
    remembers which names are registered and as what.
    """

    _kinds: dict[str, str]
    _layer: str

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._check_name(name, PARAMETER)
            self._register(name, value, PARAMETER)
        elif isinstance(value, Registry):
            self._check_name(name, MODULE)
            self._register(name, value, MODULE)
        elif isinstance(value, Buffer):
            self._check_name(name, BUFFER)
            self._register(name, value, BUFFER if value.persistent else TRANSIENT)
        else:
            kind = self.__dict__.get("_kinds", {}).get(name)
            if kind in (BUFFER, TRANSIENT):
                if value is not None and not isinstance(value, Tensor):
                    raise TypeError(
                        f"cannot assign {type(value).__name__} as buffer '{name}' (Tensor or None expected)"
                    )
            elif kind is not None and value is not None:
                expected = "Parameter" if kind == PARAMETER else "Module"
                raise TypeError(
                    f"cannot assign {type(value).__name__} as {kind} '{name}' ({expected} or None expected)"
                )
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._kinds.pop(name, None)

    def _check_name(self, name: Any, kind: str) -> None:
        own = self.__dict__
        if "_kinds" not in own:
            raise before_init(self)
        if not isinstance(name, str):
            raise TypeError(f"the name of a {kind} must be a string, not {type(name).__name__}")
        if name == "" or "." in name:
            raise KeyError(f"the name of a {kind} must not be empty nor contain a dot, got {name!r}")
        if name not in own["_kinds"] and hasattr(type(self), name):
            raise KeyError(
                f"attribute {name!r} already exists in {type(self).__name__}; choose another name for the {kind}"
            )

    def _register_anew(self, name: Any, value: Any, kind: str) -> None:
        """Register by name, where there must be no attribute of another kind yet."""
        self._check_name(name, kind)
        old = self._kinds.get(name)
        same = old == kind or {old, kind} == {BUFFER, TRANSIENT}
        if not same and name in self.__dict__:
            raise KeyError(
                f"attribute {name!r} already exists in {type(self).__name__}; choose another name for the {kind}"
            )
        self._register(name, value, kind)

    def _register(self, name: str, value: Any, kind: str) -> None:
        hooks = EVERYWHERE.registered[BUFFER if kind == TRANSIENT else kind]
        for hook in list(hooks.values()):
            result = hook(self, name, value)
            value = value if result is None else result
        if kind == MODULE and value is not None:
            value.__dict__["_layer"] = name
        elif value is not None:
            value._lasting = TAPE.fresh = True
        if self._kinds.get(name, kind) != kind:
            del self._kinds[name]  # it takes its place at the end of the other kind
        self._kinds[name] = kind
        self.__dict__[name] = value

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None reserves the name, as for a layer without bias."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"cannot assign {type(param).__name__} as parameter '{name}' (Parameter or None expected)")
        self._register_anew(name, param, PARAMETER)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the state but is not trained; not persistent: not in `state_dict`."""
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign {type(tensor).__name__} as buffer '{name}' (Tensor or None expected)")
        self._register_anew(name, tensor, BUFFER if persistent else TRANSIENT)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a sub-module under a name."""
        if module is not None and not isinstance(module, Registry):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._register_anew(name, module, MODULE)

    register_module = add_module

    def _of_kind(self, *kinds: str) -> dict[str, Any]:
        own = self.__dict__
        return {name: own.get(name) for name, kind in self._kinds.items() if kind in kinds}

    @property
    def _parameters(self) -> Names:
        return Names(self, PARAMETER)

    @property
    def _buffers(self) -> Names:
        return Names(self, BUFFER, TRANSIENT)

    @property
    def _modules(self) -> Names:
        return Names(self, MODULE)

    @property
    def _non_persistent_buffers_set(self) -> set[str]:
        return set(self._of_kind(TRANSIENT))

    # walking

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Each module, itself first, with its dotted name; parents before children, a shared one once.

        memo: modules to leave out. remove_duplicate: False gives a shared module under each of its names.
        """
        seen: set[int] = {id(m) for m in memo or ()}
        stack: list[tuple[str, Any]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            if remove_duplicate:
                seen.add(id(module))
                if memo is not None:
                    memo.add(module)
            yield path, module
            children = [(f"{path}.{n}" if path else n, m) for n, m in module._of_kind(MODULE).items() if m is not None]
            stack.extend(reversed(children))

    def modules(self) -> Iterator[Module]:
        """Each module once, itself first."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct sub-modules, each once, with their names."""
        seen: set[int] = set()
        for name, module in self._of_kind(MODULE).items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct sub-modules, each once."""
        return (module for _, module in self.named_children())

    def _named(self, kinds: tuple[str, ...], prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        walk = self.named_modules(prefix=prefix, remove_duplicate=once) if recurse else [(prefix, self)]
        for path, module in walk:
            for name, value in module._of_kind(*kinds).items():
                if value is None or (once and id(value) in seen):
                    continue
                seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names; a shared one appears once unless `remove_duplicate` is False."""
        return self._named((PARAMETER,), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Each parameter once."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names."""
        return self._named((BUFFER, TRANSIENT), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Each buffer once."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Any:
        """The module of a dotted name; "" is the module itself. Raises AttributeError if there is none."""
        module: Any = self
        for name in target.split(".") if target else ():
            found = getattr(module, name, None)
            if not isinstance(found, Registry):
                raise AttributeError(f"{type(module).__name__} has no sub-module {name!r} (looking for {target!r})")
            module = found
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module in the place of a dotted name; strict: there must be one already."""
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("cannot set the submodule without a target name")
        parent = self.get_submodule(path)
        if not isinstance(module, Registry):
            raise ValueError(f"{type(module).__name__} is not a Module")
        if strict and not isinstance(getattr(parent, name, None), Registry):
            raise AttributeError(f"{type(parent).__name__} has no sub-module {name!r} (looking for {target!r})")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name. Raises AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), name, None)
        if not isinstance(found, Parameter):
            raise AttributeError(f"there is no parameter {target!r}")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name. Raises AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._buffers.get(name)
        if found is None:
            raise AttributeError(f"there is no buffer {target!r}")
        return found  # type: ignore[no-any-return]
