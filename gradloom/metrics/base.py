"""Metric: numbers kept over batches, in tensors.

`update` only records: what it adds joins the program of the step that it belongs to (call it before the optimiser's
step), and the value is looked at when `compute` is called. Counts are int64 and sums float64, so batches add up
exactly. Each state says how two of its kind become one, which is how `merge_state` joins the metrics of several
processes, and how `forward` gives the value of one batch.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import StateError
from gradloom.metrics.directions import direction
from gradloom.modes import no_grad
from gradloom.tape import TAPE
from gradloom.tensor import Tensor, as_tensor, tensor

Reducer = str | Callable[[Tensor, Tensor], Tensor]
REDUCERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"sum": G.add, "min": G.minimum, "max": G.maximum}


def _recorded(update: Callable[..., None]) -> Callable[..., None]:
    """A class's `update` without gradients, one round a batch."""

    @functools.wraps(update)
    def run(self: Metric, *args: Any, **kwargs: Any) -> None:
        if self._updating:
            update(self, *args, **kwargs)
            return
        self._updating = True
        try:
            if not TAPE.traces and any(t._v.entry is not None for t in self._tensors()):
                TAPE.flush()  # nobody looked at the batch before: without this, an evaluation is one long program
            with no_grad():
                update(self, *args, **kwargs)
        finally:
            self._updating = False
        self.update_count += 1

    return run


class Metric:
    """Base class. A subclass adds its states, and gives `update` and `compute`.

    Parameters
    ----------
    name : str, optional
        Under which it is reported; the class's name if not given.
    """

    _updating = False
    higher_is_better: bool | None = None  # what early stopping and the best model go by

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "higher_is_better" not in cls.__dict__ and (said := direction(cls.__name__)) is not None:
            cls.higher_is_better = said
        if "update" in cls.__dict__:
            cls.update = _recorded(cls.__dict__["update"])  # type: ignore[method-assign]

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__
        self.update_count = 0
        self._defaults: dict[str, Any] = {}
        self._reducers: dict[str, Reducer] = {}

    # states

    def add_state(self, name: str, default: Any, dist_reduce_fx: Reducer = "sum") -> None:
        """Keep a state under an attribute.

        Parameters
        ----------
        name : str
        default : number, array or tensor; or [] for a list of the batches' tensors or values ("cat")
        dist_reduce_fx : {"sum", "min", "max", "cat"}, or a function of two states
            How two metrics' states become one.
        """
        if isinstance(default, list):
            dist_reduce_fx = "cat"
        elif isinstance(default, Tensor):
            default = default.numpy()
        if dist_reduce_fx not in (*REDUCERS, "cat") and not callable(dist_reduce_fx):
            raise ValueError(f"dist_reduce_fx is sum, min, max, cat or a function, not {dist_reduce_fx!r}")
        self._defaults[name] = [] if isinstance(default, list) else np.asarray(default)
        self._reducers[name] = dist_reduce_fx
        setattr(self, name, self._fresh(name))

    def _fresh(self, name: str) -> Any:
        default = self._defaults[name]
        return [] if isinstance(default, list) else tensor(default.copy())

    def _tensors(self) -> list[Tensor]:
        """The states that are tensors; of lists the last entry."""
        found = []
        for name in self._defaults:
            value = getattr(self, name)
            value = value[-1] if isinstance(value, list) and value else value
            if isinstance(value, Tensor):
                found.append(value)
        return found

    @property
    def metric_state(self) -> dict[str, Any]:
        """The states by name."""
        return {name: getattr(self, name) for name in self._defaults}

    # the life of a metric

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        raise NotImplementedError

    def compute(self) -> Any:
        """The value for all batches so far."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget everything that was added."""
        for name in self._defaults:
            setattr(self, name, self._fresh(name))
        self.update_count = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch, and give the value of that batch alone."""
        before, count = self.metric_state, self.update_count
        self.reset()
        try:
            self.update(*args, **kwargs)
            value = self.compute()
        except BaseException:
            self._restore(before, count)
            raise
        batch = self.metric_state
        self._restore(before, count + 1)
        if count:
            self._join(batch)
        else:
            self._restore(batch, 1)
        return value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `forward`."""
        return self.forward(*args, **kwargs)

    def _restore(self, states: Mapping[str, Any], count: int) -> None:
        for name, value in states.items():
            setattr(self, name, value)
        self.update_count = count

    def _join(self, states: Mapping[str, Any]) -> None:
        with no_grad():
            for name, theirs in states.items():
                own, reducer = getattr(self, name), self._reducers[name]
                if reducer == "cat":
                    setattr(self, name, [*own, *theirs])
                else:
                    join = reducer if callable(reducer) else REDUCERS[reducer]
                    setattr(self, name, join(own, theirs))

    # joining and saving

    def merge_state(self, other: Metric | Mapping[str, Any]) -> None:
        """Take in what another metric of the same kind has counted, or its `state_dict()`.

        Raises
        ------
        StateError
            Where the other keeps other states.
        """
        states = other.metric_state if isinstance(other, Metric) else {k: v for k, v in other.items() if k != "count"}
        if set(states) != set(self._defaults):
            raise StateError(
                f"{self.name} keeps {sorted(self._defaults)}, the other keeps {sorted(states)}",
                code="state.metric",
                hint="merge metrics of one class with the same options",
            )
        count = other.update_count if isinstance(other, Metric) else int(other["count"])
        if not count:
            return
        if self.update_count:
            self._join(states)
        else:
            self._restore({k: list(v) if isinstance(v, list) else v for k, v in states.items()}, 0)
        self.update_count += count

    def state_dict(self) -> dict[str, Any]:
        """The states by name, and "count", the number of updates."""
        states = {k: list(v) if isinstance(v, list) else v.clone() for k, v in self.metric_state.items()}
        return {**states, "count": self.update_count}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict()` gave. StateError where it belongs to another kind."""
        self.reset()
        self.merge_state(state_dict)

    def clone(self) -> Metric:
        """A metric with the same options and states of its own."""
        new, states = copy.copy(self), self.state_dict()
        new._restore({k: states[k] for k in self._defaults}, self.update_count)
        return new

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


def result(value: Any) -> Tensor:
    """A value of `compute`: a float64 tensor."""
    return tensor(np.asarray(value, np.float64))


def given(value: Any) -> Tensor:
    """An operand of `update`: a tensor as it is, anything else copied, since it is looked at later."""
    if isinstance(value, Tensor):
        return value.detach() if value.requires_grad else value
    return as_tensor(np.array(value))


def gathered(parts: list[Any]) -> np.ndarray:
    """A list state as one array."""
    return np.concatenate([np.asarray(p.numpy() if isinstance(p, Tensor) else p) for p in parts])
