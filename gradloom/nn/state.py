"""A module's state as a dictionary of names and tensors, and back: PyTorch's names, hooks and messages."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gradloom.errors import GradientError, StateError
from gradloom.functions.hooks import RemovableHandle, hold
from gradloom.modes import no_grad
from gradloom.nn.parameter import Parameter, is_lazy
from gradloom.nn.registry import BUFFER, MODULE, PARAMETER, Registry
from gradloom.tensor import Tensor, tensor

EXTRA = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Stateful(Registry):
    """The part of Module that saves and loads."""

    _version: int = 1
    _state_hooks: dict[str, OrderedDict[int, Any]]

    # saving

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """The parameters and persistent buffers by dotted name, PyTorch's names.

        Parameters
        ----------
        destination : dict, optional
            Is written to and returned.
        prefix : str
            Stands before every name.
        keep_vars : bool
            Give the parameters themselves; else tensors that share their memory and have no history.
        """
        for name, value in zip(("destination", "prefix", "keep_vars"), args, strict=False):  # as PyTorch had them
            destination = value if name == "destination" else destination
            prefix = value if name == "prefix" else prefix
            keep_vars = value if name == "keep_vars" else keep_vars
        state: Any = OrderedDict() if destination is None else destination
        if destination is None:
            state._metadata = OrderedDict()
        about: dict[str, Any] = {"version": self._version}
        if hasattr(state, "_metadata"):
            state._metadata[prefix[:-1]] = about
        for hook in list(self._state_hooks["save before"].values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(state, prefix, keep_vars)
        for name, module in self._of_kind(MODULE).items():
            if module is not None:
                module.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in list(self._state_hooks["save after"].values()):
            result = hook(self, state, prefix, about)
            state = state if result is None else result
        return state  # type: ignore[no-any-return]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Write what is this module's own; a subclass may write more."""
        for kind in (PARAMETER, BUFFER):
            for name, value in self._of_kind(kind).items():
                if value is not None:
                    destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()
        if type(self).get_extra_state is not Stateful.get_extra_state:
            destination[prefix + EXTRA] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """What else belongs to the state. A subclass that has such gives it here and takes it in `set_extra_state`."""
        raise RuntimeError(f"{type(self).__name__} has no extra state: get_extra_state is not overridden")

    def set_extra_state(self, state: Any) -> None:
        """Take what `get_extra_state` gave."""
        raise RuntimeError(f"{type(self).__name__} takes no extra state: set_extra_state is not overridden")

    # loading

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values into the parameters and buffers of the same names.

        Parameters
        ----------
        state_dict : mapping of str to Tensor or array
            As `state_dict()` returns it.
        strict : bool
            Whether missing and unexpected names are errors. Different shapes always are.
        assign : bool
            Take the given tensors themselves, with their dtype, instead of copying.

        Raises
        ------
        StateError
            Lists every missing name, unexpected name and different shape. Nothing is copied then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        load = _Loading(self, state_dict, assign)
        load.walk(self, load.state, "")
        load.finish(strict)
        return IncompatibleKeys(load.missing, load.unexpected)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take what is this module's own; a subclass may take more, or other names.

        The copies are only noted in `local_metadata["copies"]`, where that is there, and made once all fits.
        """
        for hook in list(self._state_hooks["load before"].values()):
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        copies: list[Callable[[], None]] = local_metadata.get("copies", [])
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = self._of_kind(PARAMETER, BUFFER)
        for name, value in own.items():
            key = prefix + name
            if value is None:
                continue
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            given = state_dict[key]
            try:
                new = given if isinstance(given, Tensor) else tensor(np.asarray(given))
            except (TypeError, ValueError) as e:
                error_msgs.append(
                    f'While copying the parameter named "{key}", expected a tensor or an array, '
                    f"got {type(given).__name__} ({e})."
                )
                continue
            if is_lazy(value):
                if not is_lazy(new):
                    copies.append(functools.partial(_materialize, value, new))
                continue
            if is_lazy(new):
                error_msgs.append(f"{key} has no shape yet in the state: run the lazy module before saving it.")
                continue
            if value.ndim == 0 and tuple(new.shape) == (1,):  # as files of PyTorch 0.3 have it
                new = new[0]
            if tuple(new.shape) != tuple(value.shape):
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {new.shape} from checkpoint, "
                    f"the shape in current model is {value.shape}."
                )
                continue
            copies.append(functools.partial(_put, self, name, value, new, assign))
        extra = prefix + EXTRA
        if type(self).set_extra_state is not Stateful.set_extra_state:
            if extra in state_dict:
                copies.append(functools.partial(self.set_extra_state, state_dict[extra]))
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            below = self._of_kind(MODULE)
            for key in state_dict:
                if not key.startswith(prefix) or key == extra:
                    continue
                first, dot, _ = key[len(prefix) :].partition(".")
                if (first not in below) if dot else (own.get(first) is None):
                    unexpected_keys.append(key)
        if "copies" not in local_metadata:
            _make(copies)

    # hooks

    def _hook(self, kind: str, hook: Any) -> RemovableHandle:
        return hold(self._state_hooks[kind], hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before the state is collected."""
        return self._hook("save before", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after the state was collected, to change it."""

        def in_place(module: Any, state: Any, prefix: str, about: Any) -> None:
            if hook(module, state, prefix, about) is not None:
                raise RuntimeError("state_dict post-hook must return None: it changes the state in place")

        return self._hook("save after", in_place)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        return self._hook("save after", hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        return self._hook("load before", functools.partial(hook, self) if with_module else hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call a hook before the values are taken; it may change the state and the lists in place.

        It takes (module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs).
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after the values were taken; it may clear the lists of names."""
        return self._hook("load after", hook)


class _Loading:
    """One call of `load_state_dict`: what was found, and the copies still to be made."""

    def __init__(self, root: Stateful, state: Mapping[str, Any], assign: bool) -> None:
        self.root, self.assign = root, assign
        self.state = OrderedDict(state)
        self.metadata = getattr(state, "_metadata", None) or {}
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []
        self.copies: list[Callable[[], None]] = []
        self.after: list[tuple[Any, Any]] = []

    def walk(self, module: Any, state: dict[str, Any], prefix: str) -> None:
        about = {**self.metadata.get(prefix[:-1], {}), "copies": self.copies}
        if self.assign:
            about["assign_to_params_buffers"] = True
        module._load_from_state_dict(state, prefix, about, True, self.missing, self.unexpected, self.errors)
        for name, child in module._of_kind(MODULE).items():
            if child is not None:
                path = f"{prefix}{name}."
                self.walk(child, OrderedDict((k, v) for k, v in state.items() if k.startswith(path)), path)
        self.after += [(hook, module) for hook in module._state_hooks["load after"].values()]

    def finish(self, strict: bool) -> None:
        if self.after and not self.errors:  # these hooks see the loaded module, and decide what is missing
            _make(self.copies)
            self.copies = []
            for hook, module in self.after:
                if hook(module, IncompatibleKeys(self.missing, self.unexpected)) is not None:
                    raise RuntimeError("a load_state_dict post hook must return None: it changes the lists in place")
        problems = list(self.errors)
        if strict and self.unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(self.unexpected)}. ")
        if strict and self.missing:
            problems.insert(0, f"Missing key(s) in state_dict: {_quoted(self.missing)}. ")
        if problems:
            raise StateError(
                f"Error(s) in loading state_dict for {type(self.root).__name__}:\n\t" + "\n\t".join(problems),
                code="state.load",
                hint="build the model with the sizes it was saved with; strict=False skips names that do not match",
            )
        _make(self.copies)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _make(copies: list[Callable[[], None]]) -> None:
    with no_grad():
        for copy in copies:
            copy()


def _put(module: Stateful, name: str, value: Tensor, new: Tensor, assign: bool) -> None:
    if not assign:
        value.copy_(new)
    elif isinstance(value, Parameter):
        same = isinstance(new, Parameter) and new.requires_grad == value.requires_grad
        if value.requires_grad and new.dtype.category < 2:
            raise GradientError(
                f"{name}: a tensor of dtype {new.dtype.name} cannot be trained", code="dtype.parameter",
                hint="load without assign=True",
            )  # fmt: skip
        setattr(module, name, new if same else Parameter(new, value.requires_grad))
    else:
        setattr(module, name, new)


def _materialize(value: Any, new: Tensor) -> None:
    value.materialize(tuple(new.shape))
    value.copy_(new)
