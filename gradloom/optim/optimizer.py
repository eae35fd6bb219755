"""Optimizer: parameter groups, state, and the one call of a step.

An optimiser is a rule for one parameter, written as a pure function of the parameter, its gradient, its state tensors
and a few numbers. A step gathers the lists once, and afterwards only compares which gradients are there: forward,
backward and update then run as one native program. What a schedule changes (learning rate, momentum, weight decay,
the bias corrections) is a number handed to that program, so it never compiles again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError, StateError
from gradloom.modes import enable_grad
from gradloom.tape import update
from gradloom.tensor import Tensor, tensor


class _Bucket:
    """Parameters of one group that have made the same number of steps: they share all numbers."""

    __slots__ = ("group", "params", "states", "step")

    def __init__(self, group: dict[str, Any], params: list[Tensor], states: list[dict[str, Any]], step: int) -> None:
        self.group, self.params, self.states, self.step = group, params, states, step


class Optimizer:
    """Base class. A subclass gives `_state_names`, `_flags`, `_scalars` and `_rule`.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
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

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params must be an iterable of tensors or dicts, not one tensor: put it in a list")
        self.defaults = dict(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._flat: list[Tensor] = []
        self._live: list[bool] | None = None
        entries = list(params)
        if not entries:
            raise ValueError("the optimizer got an empty list of parameters")
        for group in entries if isinstance(entries[0], dict) else [{"params": entries}]:
            self.add_param_group(group)

    # the parts that an algorithm gives

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of the tensors that the rule keeps for each parameter."""
        raise NotImplementedError

    def _flags(self, group: Mapping[str, Any]) -> Hashable:
        """The options that change the formula. A new value compiles a new program."""
        raise NotImplementedError

    def _scalars(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The numbers of this step (counted from 1), computed in Python's doubles."""
        raise NotImplementedError

    @staticmethod
    def _rule(
        flags: Any, param: Tensor, grad: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """The new parameter and the new state."""
        raise NotImplementedError

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
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"an optimizer trains tensors, not {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("an optimizer trains leaf tensors; this one was computed from others")
            if id(p) in known:
                raise ValueError("a parameter appears twice in the optimizer's groups")
            known.add(id(p))
        merged = {**self.defaults, **{k: v for k, v in group.items() if k != "params"}}
        self.param_groups.append({"params": params, **merged})
        self._live = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or set them to zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = p.grad.detach().zero_()

    # the step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. A closure computes the loss first; its value is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if self._live is None:
            self._flat = [p for group in self.param_groups for p in group["params"]]
        grads = [p.grad for p in self._flat]
        live = [g is not None for g in grads]
        if live != self._live:
            self._plan(live)
        if not self._buckets:
            return loss
        key, scalars = [], []
        for bucket in self._buckets:
            key.append((len(bucket.params), self._flags(bucket.group)))
            scalars += self._scalars(bucket.group, bucket.step + 1)
        flags = tuple(key)
        if flags != self._planned:
            self._plan(live)  # an option that changes the formula may need other state tensors
        reads = [grads[i] for i in self._order]
        update((type(self).__qualname__, flags), self._apply, reads, self._writes, scalars)  # type: ignore[arg-type]
        for bucket in self._buckets:
            bucket.step += 1
            for state in bucket.states:
                state["step"] = bucket.step
        return loss

    def _plan(self, live: list[bool]) -> None:
        """Sort the parameters with gradients into buckets, make missing state, and list what a step writes."""
        position = {id(p): i for i, p in enumerate(self._flat)}
        self._buckets: list[_Bucket] = []
        self._order: list[int] = []
        self._writes: list[Tensor] = []
        self._layout: list[tuple[int, int, Any, int]] = []
        for group in self.param_groups:
            names, flags = self._state_names(group), self._flags(group)
            by_step: dict[int, list[Tensor]] = {}
            for p in group["params"]:
                if live[position[id(p)]]:
                    state = self.state[p]
                    present = any(state.get(name) is not None for name in names)
                    by_step.setdefault(int(state.get("step", 1 if present else 0)), []).append(p)
            for step, params in sorted(by_step.items()):
                for p in params:
                    for name in names:
                        if self.state[p].get(name) is None:
                            # made by NumPy: an operation here would make the first step's program differ
                            self.state[p][name] = tensor(np.zeros(tuple(p.shape), p.dtype.numpy))
                states = [self.state[p] for p in params]
                self._buckets.append(_Bucket(group, params, states, step))
                self._order += [position[id(p)] for p in params]
                self._writes += params
                for name in names:
                    self._writes += [state[name] for state in states]
                self._layout.append((len(params), len(names), flags, len(self._scalars(group, step + 1))))
        self._planned = tuple((count, flags) for count, _, flags, _ in self._layout)
        self._live = live

    def _apply(self, reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
        """The update of all parameters, as the tape records it: new values in the order of `writes`."""
        result: list[Tensor] = []
        read = write = scalar = 0
        for count, kept, flags, numbers in self._layout:
            values = scalars[scalar : scalar + numbers]
            columns: list[list[Tensor]] = [[] for _ in range(1 + kept)]
            for i in range(count):
                old = [writes[write + i + count * j] for j in range(1 + kept)]
                new = self._rule(flags, old[0], reads[read + i], old[1:], values)
                for column, before, after in zip(columns, old, new):
                    column.append(after if after.dtype is before.dtype else G.cast(after, before.dtype))
            for column in columns:
                result += column
            read, write, scalar = read + count, write + count * (1 + kept), scalar + numbers
        return result

    # saving

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {...}}, "param_groups": [...]}, the parameters counted in the order of the groups."""
        number = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        groups = []
        for group in self.param_groups:
            options = {k: v for k, v in group.items() if k != "params"}
            groups.append({**options, "params": [number[id(p)] for p in group["params"]]})
        state = {
            number[id(p)]: {k: v.detach() if isinstance(v, Tensor) else v for k, v in entries.items()}
            for p, entries in self.state.items()
            if id(p) in number
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state from `state_dict()` of an optimizer with the same groups.

        Raises
        ------
        StateError
            If the number of groups or of parameters in a group differs.
        ShapeError
            If a state tensor has another shape than its parameter.
        """
        groups = state_dict["param_groups"]
        own, saved = [len(g["params"]) for g in self.param_groups], [len(g["params"]) for g in groups]
        if own != saved:
            raise StateError(
                f"the optimizer has groups of {own} parameters, the state has groups of {saved}",
                code="state.optimizer",
                hint="make the optimizer from the same model and groups before loading",
            )
        params = [p for g in self.param_groups for p in g["params"]]
        order = [number for g in groups for number in g["params"]]
        fresh: dict[Tensor, dict[str, Any]] = {}
        for p, number in zip(params, order):
            entries = state_dict["state"].get(number)
            if entries is not None:
                fresh[p] = {name: _restored(name, value, p) for name, value in entries.items()}
        for group, options in zip(self.param_groups, groups):
            group.update({k: v for k, v in options.items() if k != "params"})
        self.state = defaultdict(dict, fresh)
        self._live = None

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _restored(name: str, value: Any, param: Tensor) -> Any:
    if name == "step":
        return int(value.item() if hasattr(value, "item") else value)
    if not hasattr(value, "shape"):
        return value
    array = np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)
    if array.shape != tuple(param.shape):
        raise ShapeError(
            f"state {name!r} has shape {array.shape}, its parameter has {tuple(param.shape)}",
            code="state.optimizer",
            hint="the state was saved for another model, or with the parameters in another order",
        )
    return tensor(array.astype(param.dtype.numpy))


def checked(name: str, value: float, low: float = 0.0, high: float | None = None) -> float:
    """Return a hyper-parameter; ValueError unless low <= value (and value < high where given)."""
    if not value >= low or (high is not None and not value < high):
        raise ValueError(f"{name} must be at least {low}{'' if high is None else f' and below {high}'}, got {value}")
    return value
