"""Optimizer: parameter groups, state, and the one call of a step.

An optimiser is a rule for one parameter, written as a pure function of the parameter, its gradient, its state tensors
and a few numbers. A step gathers the lists once, and afterwards only compares which gradients are there: forward,
backward and update then run as one native program. What a schedule changes (learning rate, momentum, weight decay,
the bias corrections) is a number handed to that program, so it never compiles again.

PyTorch's switches keep their meaning: `foreach` and `fused` ask for what every step here is, one program over all
parameters; `capturable` asks that steps can be replayed with new numbers, which they can; `differentiable` asks for a
step that gradients flow through, and is refused.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions.complex_numbers import view_as_complex, view_as_real
from gradloom.functions.hooks import RemovableHandle, hold, to_zero
from gradloom.modes import enable_grad
from gradloom.optim.hooks import (
    AFTER_ANY,
    BEFORE_ANY,
    hooked,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from gradloom.optim.options import switches
from gradloom.optim.state import Count, State
from gradloom.tape import update
from gradloom.tensor import Tensor, tensor

__all__ = [
    "Optimizer",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
]


class _Bucket:
    """Parameters of one group that have made the same number of steps: they share all numbers."""

    __slots__ = ("group", "names", "numbers", "params", "states", "step")

    def __init__(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        states: list[dict[str, Any]],
        step: int,
        numbers: dict[str, float],
        names: tuple[str, ...],
    ) -> None:
        self.group, self.params, self.states, self.step = group, params, states, step
        self.numbers, self.names = numbers, names


class Optimizer:
    """Base class. A subclass gives `_state_names`, `_flags`, `_scalars` and `_rule`; or a `step` of its own.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor), or of dict
        The tensors to train; or groups, each a dict with "params" and options of its own.
    defaults : dict
        Options of groups that do not set them.

    Attributes
    ----------
    param_groups : list of dict
        Options may be changed between steps.
    state : dict of Tensor to dict
        "step", and the state tensors by PyTorch's names.
    """

    _counts = True  # "step" belongs to the state that is saved
    _numbers: tuple[str, ...] = ()  # Python numbers in the state, saved as 0-d tensors
    _complex = True  # complex parameters are worked on as pairs of real ones
    _stepping = False
    _stepped = False  # schedules warn where they are stepped before the optimiser

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, not one tensor: "
                "put it in a list"
            )
        self.defaults = dict(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(State)
        self._flat: list[Tensor] = []
        self._live: list[bool] | None = None
        self._before_step: OrderedDict[int, Any] = OrderedDict()
        self._after_step: OrderedDict[int, Any] = OrderedDict()
        self._before_save: OrderedDict[int, Any] = OrderedDict()
        self._after_save: OrderedDict[int, Any] = OrderedDict()
        self._before_load: OrderedDict[int, Any] = OrderedDict()
        self._after_load: OrderedDict[int, Any] = OrderedDict()
        entries = list(params)
        if not entries:
            raise ValueError("the optimizer got an empty list of parameters")
        for group in entries if isinstance(entries[0], dict) else [{"params": entries}]:
            self.add_param_group(group)

    # the parts that an algorithm gives

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        """The names of the tensors that the rule keeps for a parameter."""
        raise NotImplementedError

    def _state_array(self, name: str, group: Mapping[str, Any], param: Tensor) -> np.ndarray:
        """What a state tensor starts as. Made by NumPy: an operation would make the first step's program differ."""
        return np.zeros(tuple(param.shape), param.dtype.numpy)

    def _first_numbers(self, group: Mapping[str, Any]) -> dict[str, float]:
        """What the Python numbers of the state start as."""
        return {}

    def _flags(self, group: Mapping[str, Any]) -> Hashable:
        """The options that change the formula. A new value compiles a new program."""
        raise NotImplementedError

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        """The numbers of this step (counted from 1), computed in Python's doubles."""
        raise NotImplementedError

    def _advance(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> dict[str, float]:
        """The Python numbers of the state after this step."""
        return {}

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """The new parameter and the new state."""
        raise NotImplementedError

    def _update_all(
        self,
        flags: Any,
        params: list[Tensor],
        grads: list[Tensor],
        states: list[list[Tensor]],
        scalars: list[Tensor],
    ) -> list[tuple[Tensor, ...]]:
        """The rule for each parameter of a bucket; an algorithm that looks at all of them together replaces this."""
        return [self._rule(flags, p, g, s, scalars) for p, g, s in zip(params, grads, states, strict=True)]

    # groups

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group: a dict with "params" and options.

        Raises
        ------
        TypeError, ValueError
            Where an entry is no tensor, is not a leaf, or stands in a group already.
        """
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError("a parameter group is a dict with an entry 'params'")
        given = group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError("parameters need an order that stays the same: give a list, not a set")
        entries = [given] if isinstance(given, Tensor) else list(given)
        names = [e[0] for e in entries if isinstance(e, tuple)]
        params = [e[1] if isinstance(e, tuple) else e for e in entries]
        if names and len(names) != len(params):
            raise ValueError("either all parameters of a group have names, or none")
        if self.param_groups and bool(names) != ("param_names" in self.param_groups[0]):
            raise ValueError("either all groups have named parameters, or none")
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"an optimizer trains tensors, not {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("an optimizer trains leaf tensors; this one was computed from others")
            if p.dtype.is_complex and not self._complex:
                raise ArgumentError(f"{type(self).__name__} does not support complex parameters")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group of the optimizer")
        if len({id(p) for p in params}) < len(params):
            warnings.warn(
                "an optimizer contains a parameter group with duplicate parameters; they are trained once, and this "
                "will be an error",
                UserWarning, stacklevel=3,
            )  # fmt: skip
        merged: dict[str, Any] = {"params": params}
        if names:
            merged["param_names"] = names
        merged.update(self.defaults)
        merged.update({k: v for k, v in group.items() if k != "params"})
        switches(**{k: merged.get(k) for k in ("foreach", "fused", "differentiable")})
        self.param_groups.append(merged)
        self._live = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or set them to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    to_zero(p.grad)

    # the step

    @hooked
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. A closure computes the loss first; its value is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if self._live is None:
            self._flat = [p for group in self.param_groups for p in group["params"]]
        self._update([p.grad for p in self._flat])
        return loss

    def step_and_forget(self) -> None:
        """`step()` and `zero_grad()` in one. Nobody can look at the gradients, so they need not be stored at all."""
        if (
            type(self).step is not Optimizer.step
            or self._before_step or self._after_step or BEFORE_ANY or AFTER_ANY
        ):  # fmt: skip
            self.step()
            self.zero_grad()
            return
        self._stepped = True
        if self._live is None:
            self._flat = [p for group in self.param_groups for p in group["params"]]
        grads = [p.grad for p in self._flat]
        self.zero_grad()
        self._update(grads)

    def next_scalars(self) -> list[float] | None:
        """The numbers of the next step, where it takes the gradients of the same parameters by the same formula."""
        if (
            not self._live or not self._buckets or type(self).step is not Optimizer.step
            or self._before_step or self._after_step or BEFORE_ANY or AFTER_ANY
        ):  # fmt: skip
            return None
        flags, scalars = self._numbers_of_step()
        return scalars if flags == self._planned else None

    def _numbers_of_step(self) -> tuple[tuple[Any, ...], list[float]]:
        key, scalars = [], []
        for bucket in self._buckets:
            key.append((len(bucket.params), self._flags(bucket.group)))
            scalars += self._scalars(bucket.group, bucket.step + 1, bucket.numbers)
        return tuple(key), scalars

    def _update(self, grads: list[Tensor | None]) -> None:
        """The step for these gradients, one for each parameter; the list is emptied."""
        live = [g is not None for g in grads]
        if live != self._live:
            self._plan(live)
        if not self._buckets:
            return
        flags, scalars = self._numbers_of_step()
        if flags != self._planned:
            self._plan(live)  # an option that changes the formula may need other state tensors
        update((type(self), flags), self._apply, _taken(grads, self._order), self._writes, scalars)
        self.count_step()

    def count_step(self) -> None:
        """Note that a step was made, in the states and their numbers."""
        for bucket in self._buckets:
            bucket.step += 1
            if self._numbers:
                new = self._advance(bucket.group, bucket.step, bucket.numbers)
                # single precision, as they are saved: a run that was resumed goes on with the same bits
                bucket.numbers = {k: Count(np.float32(v)) for k, v in new.items()}
                for state in bucket.states:
                    state.update(bucket.numbers)
            if self._counts:
                for state in bucket.states:
                    state["step"] = Count(bucket.step)

    def _plan(self, live: list[bool]) -> None:
        """Sort the parameters with gradients into buckets, make missing state, and list what a step writes."""
        position = {id(p): i for i, p in enumerate(self._flat)}
        self._buckets: list[_Bucket] = []
        self._order: list[int] = []
        self._writes: list[Tensor] = []
        self._layout: list[tuple[int, int, Any, int]] = []
        for group in self.param_groups:
            flags = self._flags(group)
            together: dict[Any, list[Tensor]] = {}
            for p in group["params"]:
                if live[position[id(p)]]:
                    state, names = self.state[p], self._state_names(group, p)
                    present = any(state.get(name) is not None for name in names)
                    step = int(state.get("step", 1 if present else 0))
                    numbers = self._first_numbers(group)
                    numbers.update({k: float(state[k]) for k in self._numbers if k in state})
                    together.setdefault((step, tuple(sorted(numbers.items())), names), []).append(p)
            for (step, items, names), params in sorted(together.items(), key=lambda entry: entry[0]):
                for p in params:
                    for name in names:
                        if self.state[p].get(name) is None:
                            self.state[p][name] = tensor(self._state_array(name, group, p))
                states = [self.state[p] for p in params]
                numbers = dict(items)
                self._buckets.append(_Bucket(group, params, states, step, numbers, names))
                self._order += [position[id(p)] for p in params]
                self._writes += params
                for name in names:
                    self._writes += [state[name] for state in states]
                count = len(self._scalars(group, step + 1, numbers))
                self._layout.append((len(params), len(names), flags, count))
        self._planned = tuple((count, flags) for count, _, flags, _ in self._layout)
        self._live = live

    def _apply(self, reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
        """The update of all parameters, as the tape records it: new values in the order of `writes`."""
        result: list[Tensor] = []
        read = write = scalar = 0
        for count, kept, flags, numbers in self._layout:
            values = scalars[scalar : scalar + numbers]
            columns = [writes[write + count * j : write + count * (j + 1)] for j in range(1 + kept)]
            grads = [_real(g) for g in reads[read : read + count]]
            states = [[_real(column[i]) for column in columns[1:]] for i in range(count)]
            rows = self._update_all(flags, [_real(p) for p in columns[0]], grads, states, values)
            for j, column in enumerate(columns):
                for old, row in zip(column, rows, strict=True):
                    new = view_as_complex(row[j]) if old.dtype.is_complex else row[j]
                    result.append(new if new.dtype is old.dtype else G.cast(new, old.dtype))
            read, write, scalar = read + count, write + count * (1 + kept), scalar + numbers
        return result

    # saving

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {...}}, "param_groups": [...]}, the parameters counted in the order of the groups."""
        for hook in self._before_save.values():
            hook(self)
        number: dict[int, int] = {}  # one that stands in several places goes by the first
        for i, p in enumerate(p for g in self.param_groups for p in g["params"]):
            number.setdefault(id(p), i)
        groups = []
        for group in self.param_groups:
            options = {k: v for k, v in group.items() if k != "params"}
            groups.append({**options, "params": [number[id(p)] for p in group["params"]]})
        state = {number[id(p)]: self._saved(entries) for p, entries in self.state.items() if id(p) in number}
        result = {"state": state, "param_groups": groups}
        for hook in self._after_save.values():
            new = hook(self, result)
            result = result if new is None else new
        return result

    def _saved(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """A parameter's state as it is saved: numbers as 0-d tensors."""
        out: dict[str, Any] = {}
        for name, value in entries.items():
            if name == "step" and not self._counts:
                continue
            out[name] = value.detach() if isinstance(value, Tensor) else value
        return out

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state from `state_dict()` of an optimizer with the same groups, PyTorch's too.

        Raises
        ------
        ValueError
            If the number of groups or of parameters in a group differs.
        ShapeError
            If a state tensor has another shape than its parameter asks for.
        """
        given: Mapping[str, Any] = dict(state_dict)
        for hook in self._before_load.values():
            new = hook(self, given)
            given = given if new is None else new
        groups = given["param_groups"]
        own, saved = [len(g["params"]) for g in self.param_groups], [len(g["params"]) for g in groups]
        if own != saved:
            raise ArgumentError(
                f"the optimizer has groups of {own} parameters, the state has groups of {saved}",
                code="state.optimizer",
                hint="make the optimizer from the same model and groups before loading",
            )
        fresh: dict[Tensor, dict[str, Any]] = {}
        for group, options in zip(self.param_groups, groups, strict=True):
            new_options = {**group, **{k: v for k, v in options.items() if k != "params"}}
            switches(**{k: new_options.get(k) for k in ("foreach", "fused", "differentiable")})
            for p, index in zip(group["params"], options["params"], strict=True):
                entries = given["state"].get(index)
                if entries is not None:
                    restored = {k: self._restored(k, value, new_options, p) for k, value in entries.items()}
                    fresh[p] = State(restored)
        for group, options in zip(self.param_groups, groups, strict=True):
            kept = group.get("param_names")
            group.update({k: _plain(v) for k, v in options.items() if k != "params"})
            if kept is not None:
                group["param_names"] = kept
        self.state = defaultdict(State, fresh)
        self._live = None
        for hook in self._after_load.values():
            hook(self)

    def _restored(self, name: str, value: Any, group: Mapping[str, Any], param: Tensor) -> Any:
        """An entry of a loaded state."""
        own = type(self).step is Optimizer.step
        if name in self._numbers or (name == "step" and own):
            return Count(value.item() if hasattr(value, "item") else value)
        if not hasattr(value, "shape"):
            return value
        array = np.array(value.detach().numpy() if hasattr(value, "detach") else value)
        wanted = tuple(param.shape) if own else array.shape  # of an optimiser written elsewhere nothing is known
        if own and name in self._state_names(group, param):
            wanted = self._state_array(name, group, param).shape
        if array.shape != wanted:
            raise ShapeError(
                f"state {name!r} has shape {array.shape}, its parameter needs {wanted}",
                code="state.optimizer",
                hint="the state was saved for another model, or with the parameters in another order",
            )
        return tensor(array.astype(param.dtype.numpy) if array.dtype.kind in "fc" or own else array)

    # hooks

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may give new (args, kwargs)."""
        return hold(self._before_step, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return hold(self._after_step, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before the state is gathered."""
        return hold(self._before_save, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` on the gathered state; it may give another."""
        return hold(self._after_save, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before a state is loaded; it may give another."""
        return hold(self._before_load, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after a state was loaded."""
        return hold(self._after_load, hook, prepend)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for index, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {index}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _taken(grads: list[Tensor | None], order: list[int]) -> list[Tensor]:
    """Those in an order, which then hold them alone: a list that somebody keeps would have them stored."""
    found = [grads[i] for i in order]
    grads.clear()
    return found  # type: ignore[return-value]


def _real(x: Tensor) -> Tensor:
    return view_as_real(x) if x.dtype.is_complex else x


def _plain(value: Any) -> Any:
    """An option of a loaded group; another library's 0-d tensor as a number."""
    return value.item() if hasattr(value, "item") and not isinstance(value, Tensor) else value
