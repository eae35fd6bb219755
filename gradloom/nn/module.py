"""Module and Parameter: what every layer and every model is made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np

from gradloom import dtypes
from gradloom.errors import DTypeError, GradloomError, StateError
from gradloom.modes import no_grad
from gradloom.tensor import Tensor, tensor

PARAMETER, BUFFER, TRANSIENT, MODULE = "parameter", "buffer", "transient buffer", "module"
_NOTE = "in layer "


class Parameter(Tensor):
    """A tensor that a module registers as trainable when it is assigned as an attribute.

    Parameters
    ----------
    data : Tensor or array
        The value, of any shape. Later writes to it do not reach the parameter.
    requires_grad : bool
        Whether `backward()` accumulates a gradient for it.

    Raises
    ------
    DTypeError
        If a gradient is asked for values that are not floating.
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        source = data if isinstance(data, Tensor) else tensor(data if data is not None else [])
        if requires_grad and not source.dtype.is_floating:
            raise DTypeError(
                f"a Parameter of dtype {source.dtype.name} cannot have a gradient",
                code="dtype.parameter",
                hint="convert the values with .float(), or pass requires_grad=False",
            )
        # a cell of its own, not a view: an update then rewrites the memory in place
        with no_grad():
            super().__init__(source if source.is_leaf else source.detach())
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class HookHandle:
    """Returned by the `register_*hook` methods; `remove()` takes the hook away again."""

    _next = 0

    def __init__(self, hooks: dict[int, Callable]) -> None:
        self._hooks = hooks
        self.id = HookHandle._next
        HookHandle._next += 1

    def remove(self) -> None:
        """Take the hook away. A second call does nothing."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _name_layer(error: GradloomError, module: Module) -> None:
    """Write the path of the layer that failed into the error, one name more at each level it passes through."""
    inner: tuple[str, ...] = getattr(error, "layer_path", ())
    own = module._layer or type(module).__name__
    path = (own, *inner)
    error.layer_path = path  # type: ignore[attr-defined]
    notes: list[str] = getattr(error, "__notes__", [])
    old = next((n for n in notes if n.startswith(_NOTE)), None)
    detail = old.split(": ", 1)[1] if old else repr(module).splitlines()[0].rstrip("(")
    note = f"{_NOTE}{'.'.join(path)}: {detail}"
    if old is None:
        error.add_note(note)
    else:
        notes[notes.index(old)] = note


class Module:
    """Base class of layers and models.

    A subclass sets its parameters, buffers and sub-modules as attributes after `super().__init__()` and computes in
    `forward`. Values stand in the instance's own dictionary, so reading one costs what any attribute costs; a second
    dictionary remembers which names are registered and as what.
    """

    training: bool
    _kinds: dict[str, str]
    _layer: str
    _hooks: dict[int, Any]
    _pre_hooks: dict[int, Any]

    def __init__(self) -> None:
        own = self.__dict__
        own["training"] = True
        own["_kinds"] = {}
        own["_layer"] = ""  # the name under which a parent holds it
        own["_hooks"] = OrderedDict()
        own["_pre_hooks"] = OrderedDict()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the layer; every subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` with the hooks around it; an error that leaves it names the layer."""
        try:
            if not self._hooks and not self._pre_hooks:
                return self.forward(*args, **kwargs)
            return self._call_with_hooks(args, kwargs)
        except GradloomError as error:
            _name_layer(error, self)
            raise
        except AttributeError as error:
            if "_hooks" not in self.__dict__:
                raise _before_init(self) from error
            raise

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        for hook, with_kwargs in list(self._pre_hooks.values()):
            if with_kwargs:
                result = hook(self, args, kwargs)
                if result is not None:
                    args, kwargs = result
            else:
                result = hook(self, args)
                if result is not None:
                    args = result if isinstance(result, tuple) else (result,)
        output = self.forward(*args, **kwargs)
        for hook, with_kwargs in list(self._hooks.values()):
            result = hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
            if result is not None:
                output = result
        return output

    def register_forward_pre_hook(self, hook: Callable, *, with_kwargs: bool = False) -> HookHandle:
        """Call `hook(module, args)` before `forward`; what it returns, if not None, replaces the arguments."""
        handle = HookHandle(self._pre_hooks)
        self._pre_hooks[handle.id] = (hook, with_kwargs)
        return handle

    def register_forward_hook(self, hook: Callable, *, with_kwargs: bool = False) -> HookHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns, if not None, replaces the output."""
        handle = HookHandle(self._hooks)
        self._hooks[handle.id] = (hook, with_kwargs)
        return handle

    # attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self.add_module(name, value)
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

    def _register(self, name: str, value: Any, kind: str) -> None:
        own = self.__dict__
        if "_kinds" not in own:
            raise _before_init(self)
        if not isinstance(name, str):
            raise TypeError(f"the name of a {kind} must be a string, not {type(name).__name__}")
        if name == "" or "." in name:
            raise KeyError(f"the name of a {kind} must not be empty nor contain a dot, got {name!r}")
        if name not in own["_kinds"] and hasattr(type(self), name):
            raise KeyError(
                f"{type(self).__name__} already has an attribute {name!r}; choose another name for the {kind}"
            )
        own["_kinds"][name] = kind
        own[name] = value

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None reserves the name, as for a layer without bias."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"cannot assign {type(param).__name__} as parameter '{name}' (Parameter or None expected)")
        self._register(name, param, PARAMETER)

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the state but is not trained; not persistent: not in `state_dict`."""
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"cannot assign {type(value).__name__} as buffer '{name}' (Tensor or None expected)")
        self._register(name, value, BUFFER if persistent else TRANSIENT)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a sub-module under a name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module")
        self._register(name, module, MODULE)
        if module is not None:
            module.__dict__["_layer"] = name

    register_module = add_module

    def _of_kind(self, *kinds: str) -> dict[str, Any]:
        own = self.__dict__
        return {name: own.get(name) for name, kind in self._kinds.items() if kind in kinds}

    @property
    def _parameters(self) -> Mapping[str, Parameter | None]:
        return MappingProxyType(self._of_kind(PARAMETER))

    @property
    def _buffers(self) -> Mapping[str, Tensor | None]:
        return MappingProxyType(self._of_kind(BUFFER, TRANSIENT))

    @property
    def _modules(self) -> Mapping[str, Module | None]:
        return MappingProxyType(self._of_kind(MODULE))

    # walking

    def named_modules(self, memo: set[int] | None = None, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Each module once, itself first, with its dotted name; parents before children."""
        seen = set() if memo is None else memo
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            children = [(f"{path}.{n}" if path else n, m) for n, m in module._modules.items() if m is not None]
            stack.extend(reversed(children))

    def modules(self) -> Iterator[Module]:
        """Each module once, itself first."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct sub-modules, each once, with their names."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct sub-modules, each once."""
        return (module for _, module in self.named_children())

    def _named(self, kinds: tuple[str, ...], prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
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

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name; "" is the module itself. Raises AttributeError if there is none."""
        module: Module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                raise AttributeError(f"{type(module).__name__} has no sub-module {name!r} (looking for {target!r})")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name. Raises AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"there is no parameter {target!r}")
        return found

    # modes and conversion

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, batch statistics are used."""
        if not isinstance(mode, bool):
            raise ValueError(f"training mode is expected to be a bool, not {type(mode).__name__}")
        for module in self.modules():
            module.__dict__["training"] = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below."""
        return self.train(False)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on each sub-module, children before parents, and on the module itself."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch gradients of all parameters on or off."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zeros."""
        for p in self.parameters():
            grad = p.grad
            if grad is None:
                continue
            p.grad = None if set_to_none else grad.detach().zero_()

    def to(self, dtype: Any) -> Self:
        """Convert the floating parameters and buffers to another floating dtype, in place. "cpu" changes nothing."""
        if isinstance(dtype, str) and dtype == "cpu":
            return self
        if not getattr(dtype, "is_floating", False):
            raise DTypeError(
                f"a module can be converted to a floating dtype only, not to {dtype}",
                code="dtype.module",
                hint="for example model.to(gradloom.float64)",
            )
        for module in self.modules():
            for name, value in module._of_kind(PARAMETER, BUFFER, TRANSIENT).items():
                if value is None or not value.dtype.is_floating or value.dtype is dtype:
                    continue
                if isinstance(value, Parameter):
                    # the handle stays, so that an optimiser which holds it goes on with it
                    value.data = value.detach().to(dtype)
                    value.grad = None
                else:
                    module.__dict__[name] = value.to(dtype)
        return self

    def float(self) -> Self:
        """Convert the floating parameters and buffers to float32."""
        return self.to(dtypes.float32)

    def double(self) -> Self:
        """Convert the floating parameters and buffers to float64."""
        return self.to(dtypes.float64)

    # state

    def state_dict(self, prefix: str = "") -> OrderedDict[str, Tensor]:
        """The parameters and persistent buffers by dotted name, PyTorch's names. The tensors share memory."""
        state: OrderedDict[str, Tensor] = OrderedDict()
        for name, value in self._state(prefix):
            state[name] = value.detach()
        return state

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        # a module held under two names is saved under both, as PyTorch does
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            for kind in (PARAMETER, BUFFER):
                for name, value in module._of_kind(kind).items():
                    if value is not None:
                        yield path + name, value
            below = [(f"{path}{n}.", m) for n, m in module._modules.items() if m is not None]
            stack.extend(reversed(below))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values into the parameters and buffers of the same names.

        Parameters
        ----------
        state_dict : mapping of str to Tensor or array
            As `state_dict()` returns it.
        strict : bool
            Whether missing and unexpected names are errors. Different shapes always are.

        Raises
        ------
        StateError
            Lists every missing name, unexpected name and different shape. Nothing is copied then.
        """
        own = dict(self._state())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        problems = []
        if strict and missing:
            problems.append("missing: " + ", ".join(missing))
        if strict and unexpected:
            problems.append("unexpected: " + ", ".join(unexpected))
        values = {name: state_dict[name] for name in own if name in state_dict}
        for name, value in values.items():
            shape = tuple(value.shape if hasattr(value, "shape") else np.shape(value))
            if shape != tuple(own[name].shape):
                problems.append(f"shape of {name}: {shape} in the state, {tuple(own[name].shape)} in the model")
        if problems:
            raise StateError(
                f"the state does not fit {type(self).__name__}:\n  " + "\n  ".join(problems),
                code="state.load",
                hint="build the model with the sizes it was saved with; strict=False skips names that do not match",
            )
        with no_grad():
            for name, value in values.items():
                own[name].copy_(value if isinstance(value, Tensor) else tensor(np.asarray(value)))
        return IncompatibleKeys(missing, unexpected)

    # text

    def extra_repr(self) -> str:
        """What stands between the brackets of the layer's line."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): " + repr(m).replace("\n", "\n  ") for name, m in self._modules.items()]
        if not children:
            return f"{self._get_name()}({extra})" if len(lines) < 2 else _block(self._get_name(), lines)
        return _block(self._get_name(), lines + children)

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()))


def _block(name: str, lines: list[str]) -> str:
    return name + "(\n  " + "\n  ".join(lines) + "\n)"


def _before_init(module: Module) -> AttributeError:
    return AttributeError(f"{type(module).__name__}: call super().__init__() before anything is assigned or called")
