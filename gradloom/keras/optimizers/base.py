"""Optimizer: what all optimisers share.

An optimiser is a pure function inside the step's native program: ``new_value`` takes a gradient, a parameter, its slots
and scalars as tensors and gives their new values. What changes with time (learning rate, bias corrections) comes as
scalars, so a schedule never makes a new program. A user's own optimiser may instead define ``update_step`` and assign.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.keras import config
from gradloom.keras.operations import as_tensor
from gradloom.keras.schedules import LearningRateSchedule
from gradloom.keras.variables import Variable
from gradloom.modes import no_grad
from gradloom.tape import TAPE, composite, update
from gradloom.tensor import Tensor, from_numpy

_tokens = itertools.count()
COMMON = (
    "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum", "ema_overwrite_frequency",
    "loss_scale_factor", "gradient_accumulation_steps", "name",
)  # fmt: skip


class Rate(float):
    """A learning rate as a number that can be assigned to, as Keras' variable can."""

    owner: Any = None
    shape = ()

    def numpy(self) -> np.float32:
        """As a NumPy number."""
        return np.float32(self)

    @property
    def value(self) -> Rate:
        """Itself."""
        return self

    def assign(self, value: Any) -> None:
        """Set the optimiser's learning rate."""
        self.owner.learning_rate = float(value)


class Count(int):
    """A number of steps that can be assigned to."""

    owner: Any = None
    shape = ()

    def numpy(self) -> np.int64:
        """As a NumPy number."""
        return np.int64(self)

    @property
    def value(self) -> Count:
        """Itself."""
        return self

    def assign(self, value: Any) -> None:
        """Set the optimiser's number of steps."""
        self.owner.iterations = int(value)


class Shown(Variable):
    """A number of the optimiser as a variable; assigning to it sets the number."""

    def __init__(self, value: np.ndarray, path: str, owner: Any, attribute: str) -> None:
        super().__init__(value, dtype=value.dtype.name, trainable=False, name=path.rpartition("/")[2])
        self.path = path
        self._owner, self._attribute = owner, attribute

    def assign(self, value: Any) -> Variable:
        """Set the number, here and in the optimiser."""
        super().assign(value)
        setattr(self._owner, self._attribute, self.numpy().item())
        return self


class Optimizer:
    """Base of the optimisers.

    Parameters
    ----------
    learning_rate : a number, a schedule, or a function from the number of steps done to one.
    weight_decay : each step first takes ``weight_decay * learning_rate`` of a parameter off it (decoupled).
    clipnorm, clipvalue, global_clipnorm : gradients are cut to this norm each, to this size of an element, or to this
        norm of all together; at most one of them.
    use_ema : keep a running mean of the parameters, with ``ema_momentum``; they take its values at the end, and after
        each ``ema_overwrite_frequency`` steps.
    loss_scale_factor : the loss is multiplied with it, gradients are divided by it.
    gradient_accumulation_steps : parameters change after so many batches, by the mean of their gradients.
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("decay", None)
        if kwargs:
            raise ValueError(f"Argument(s) not recognized: {kwargs}")
        given = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        if sum(limit is not None for limit in given.values()) > 1:
            raise ValueError(f"Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set, got {given}")
        for option, limit in given.items():
            if limit is not None and limit <= 0:
                raise ValueError(f"{option}={limit}: it must be above 0")
        if not 0 <= ema_momentum <= 1 and use_ema:
            raise ValueError(f"`ema_momentum` must be in the range [0, 1]. Received: ema_momentum={ema_momentum}")
        if ema_overwrite_frequency is not None and (
            not isinstance(ema_overwrite_frequency, int) or ema_overwrite_frequency < 1
        ):
            raise ValueError(
                f"ema_overwrite_frequency={ema_overwrite_frequency}: expected a whole number from 1, or None"
            )
        if gradient_accumulation_steps is not None and gradient_accumulation_steps < 2:
            raise ValueError(f"gradient_accumulation_steps={gradient_accumulation_steps}: it must be 2 at least")
        if isinstance(learning_rate, dict):
            from gradloom.keras import schedules

            learning_rate = schedules.deserialize(learning_rate)
        self._set_rate(learning_rate)
        self.weight_decay = weight_decay
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.use_ema, self.ema_momentum = use_ema, ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor, self.gradient_accumulation_steps = loss_scale_factor, gradient_accumulation_steps
        self.name = name or config.unique_name(config.snake_case(type(self).__name__))
        self._steps = 0  # batches seen; with accumulation, more than the times that parameters changed
        self.slots: list[Tensor] = []
        self._layout: list[tuple[int, int]] = []  # where a parameter's slots begin, and how many there are
        self._parameters: list[Any] = []
        self._undecayed: set[int] = set()
        self._undecayed_names: list[str] = []
        self._token = next(_tokens)
        self.built = False

    # what a kind of optimiser says ------------------------------------------------------------------------------

    slot_names: tuple[str, ...] = ()

    def static(self) -> tuple[Any, ...]:
        """What is baked into the program: changing it makes a new one."""
        frequency = self.ema_overwrite_frequency
        return (
            self._token, self.weight_decay, self.clipnorm, self.clipvalue, self.global_clipnorm, self.use_ema,
            self.ema_momentum, bool(frequency and self._changes() % frequency == 0), self._accumulating(),
            self.loss_scale_factor, frozenset(self._undecayed),
            tuple((k, v) for k, v in sorted(vars(self).items()) if k in self._own_options()),
        )  # fmt: skip

    @classmethod
    def _own_options(cls) -> list[str]:
        found = list(cls.__init__.__code__.co_varnames[1 : cls.__init__.__code__.co_argcount])
        return [name for name in found if name not in COMMON and name != "learning_rate"]

    def rates(self, rate: float, step: int) -> list[float]:
        """What step ``step``, counted from 1, needs of scalars behind the learning rate itself."""
        return []

    def start(self, parameter: Tensor) -> list[np.ndarray]:
        """The slots of a parameter at the beginning: zeros of its shape."""
        return [np.zeros(tuple(parameter.shape), parameter.dtype.numpy) for _ in self.slot_names]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """The new values of a parameter and of its slots; the first scalar is the learning rate."""
        raise NotImplementedError(f"{type(self).__name__} has neither new_value nor update_step")

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
        """For users' own optimisers: assign the variable's new value."""
        raise NotImplementedError(f"{type(self).__name__} has neither new_value nor update_step")

    def _by_hand(self) -> bool:
        return type(self).update_step is not Optimizer.update_step

    # numbers ----------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Rate:
        """The rate of the next step."""
        rate = self._learning_rate
        value = rate
        if callable(rate):
            value = rate(self.iterations) if self._rate_takes_step else rate()
        found = Rate(value if not isinstance(value, Tensor) else value.item())
        found.owner = self
        return found

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(self._learning_rate, LearningRateSchedule) and not isinstance(value, LearningRateSchedule):
            raise TypeError(
                "This optimizer was created with a `LearningRateSchedule` object as its `learning_rate` constructor "
                "argument, hence its learning rate is not settable. Give the optimizer a number to set it."
            )
        self._set_rate(value)

    def _set_rate(self, value: Any) -> None:
        self._learning_rate: Any = value if callable(value) else float(value)
        self._rate_takes_step = callable(value) and (
            isinstance(value, LearningRateSchedule) or len(inspect.signature(value).parameters) > 0
        )

    @property
    def iterations(self) -> Count:
        """How often the parameters were changed."""
        found = Count(self._changes())
        found.owner = self
        return found

    @iterations.setter
    def iterations(self, value: Any) -> None:
        self._steps = int(value) * (self.gradient_accumulation_steps or 1)

    def _changes(self) -> int:
        return self._steps // (self.gradient_accumulation_steps or 1)

    def _accumulating(self) -> int:
        """0: the next step changes the parameters; 1: it only adds to the gradients, 2: and begins anew."""
        n = self.gradient_accumulation_steps
        if not n:
            return 0
        place = self._steps % n
        return 0 if place == n - 1 else 2 if place == 0 else 1

    @property
    def variables(self) -> list[Any]:
        """The number of steps, the rate unless it follows a schedule, and the slots, parameter by parameter.

        The first two tell the values as they are now; writing to them sets the optimiser's.
        """
        step = Shown(np.array(int(self.iterations), np.int64), f"{self.name}/iteration", self, "iterations")
        if callable(self._learning_rate):
            return [step, *self.slots]
        rate = np.array(float(self.learning_rate), np.float32)
        return [step, Shown(rate, f"{self.name}/learning_rate", self, "learning_rate"), *self.slots]

    def set_state(self, values: Sequence[Any]) -> None:
        """Go on from the values of :attr:`variables`. ShapeError where they are of other parameters."""
        arrays = [np.asarray(v) for v in values]
        first = 1 if callable(self._learning_rate) else 2
        if len(arrays) == len(self.slots) + 2 and first == 1:
            arrays.pop(1)  # an older file has the schedule's rate at the time
        if len(arrays) != len(self.slots) + first:
            raise ShapeError(
                f"optimizer {self.name!r} keeps {len(self.slots) + first} values, {len(arrays)} were given",
                code="keras.optimizer-state",
                hint="build it with the same parameters first",
            )
        self.iterations = int(arrays[0])
        # kept as float32: a rate that only differs by that rounding stays as it was given
        if first == 2 and np.float32(self._learning_rate) != np.float32(arrays[1]):
            self._learning_rate = float(arrays[1])
        for slot, array in zip(self.slots, arrays[first:]):
            slot.data = from_numpy(np.array(array, slot.dtype.numpy, order="C").reshape(tuple(slot.shape)))

    def set_weights(self, weights: Sequence[Any]) -> None:
        """As :meth:`set_state`. ValueError before the optimiser is built."""
        if not self.built:
            raise ValueError(
                f"You are calling `set_weights()` on an optimizer that has not yet been built: call "
                f"{self.name}.build(trainable_variables) first"
            )
        self.set_state(weights)

    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Make one step on values: (new values of the parameters, new values of :attr:`variables`).

        The parameters that the optimiser was built with, and its own state, are afterwards as they were.

        Raises
        ------
        ValueError : the optimiser is not built, or the numbers of values differ from those that it was built with.
        """
        if not self.built:
            raise ValueError(
                f"To call `stateless_apply`, {self.name!r} must be built, i.e. its variables must have been created: "
                "call `optimizer.build(trainable_variables)`"
            )
        mine = self.variables
        for what, given, own in (
            ("optimizer_variables", optimizer_variables, mine), ("trainable_variables", trainable_variables,
                                                                 self._parameters),
        ):  # fmt: skip
            if len(given) != len(own):
                raise ValueError(f"`{what}` holds {len(given)} values, and the optimizer was built with {len(own)}")
        kept = [[_values(v).copy() for v in group] for group in (self._parameters, mine)]
        try:
            for p, value in zip(self._parameters, trainable_variables):
                p.assign(value)
            self.load_values(optimizer_variables)
            self.apply(grads, self._parameters)
            parameters = [from_numpy(_values(v).copy()) for v in self._parameters]
            return parameters, [from_numpy(_values(v).copy()) for v in self.variables]
        finally:
            for p, value in zip(self._parameters, kept[0]):
                p.assign(value)
            self.load_values(kept[1])

    def load_values(self, values: Sequence[Any]) -> None:
        """Set :attr:`variables`, one value each."""
        for v, value in zip(self.variables, values):
            v.assign(value)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        """Put the state into ``store``."""
        store.update({str(i): np.asarray(v.numpy()) for i, v in enumerate(self.variables)})

    def load_own_variables(self, store: dict[str, Any]) -> None:
        """Take the state from ``store``."""
        self.set_state([store[str(i)] for i in range(len(store))])

    # slots ------------------------------------------------------------------------------------------------------

    def build(self, variables: Sequence[Any]) -> None:
        """Make the slots of these parameters, unless they are there; those of parameters that stay are kept."""
        if len(variables) == len(self._parameters) and all(a is b for a, b in zip(variables, self._parameters)):
            return
        old = {id(p): self.slots[a : a + n] for p, (a, n) in zip(self._parameters, self._layout)}
        self.slots, self._layout = [], []
        for k, p in enumerate(variables):
            mine = old.get(id(p))
            if mine is None:
                self._index = k
                values = dict(zip(self._slot_kinds(), self.start(p)))
                if self.use_ema:
                    values["average"] = _values(p)
                if self.gradient_accumulation_steps:
                    values["gradient_accumulator"] = np.zeros(tuple(p.shape), p.dtype.numpy)
                mine = [self._slot(p, kind, value) for kind, value in values.items()]
            self._layout.append((len(self.slots), len(mine)))
            self.slots += mine
        self._parameters = list(variables)
        self._undecayed = {
            k
            for k, p in enumerate(variables)
            if id(p) in self._excluded_ids() or any(re.search(n, getattr(p, "path", "")) for n in self._undecayed_names)
        }
        self.built = True
        self._token = next(_tokens)

    def _slot_kinds(self) -> Iterator[str]:
        """What the slots of a parameter are called."""
        return itertools.chain(self.slot_names, (f"slot_{k}" for k in itertools.count(len(self.slot_names))))

    def _slot(self, parameter: Any, kind: str, value: np.ndarray) -> Variable:
        name = f"{getattr(parameter, 'path', 'variable').replace('/', '_')}_{kind}"
        made = Variable(value, dtype=value.dtype.name, trainable=False, name=name)
        made.path = f"{self.name}/{name}"
        return made

    def _excluded_ids(self) -> set[int]:
        return self.__dict__.setdefault("_excluded", set())

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Parameters, themselves or by a pattern of their paths, that do not decay. To be called before training."""
        if self.built:
            raise ValueError("exclude_from_weight_decay can only be called before the optimizer is built")
        self._excluded_ids().update(id(v) for v in var_list or [])
        self._undecayed_names += list(var_names or [])

    def add_variable(self, shape: Any, initializer: Any = "zeros", dtype: Any = None, name: str | None = None) -> Any:
        """A variable for a user's own optimiser."""
        from gradloom.keras import initializers

        value = initializers.call(initializers.get(initializer), tuple(shape), dtype)
        made = Variable(value, trainable=False, name=name)
        self.slots.append(made)
        return made

    def add_variable_from_reference(
        self, reference_variable: Any, name: str | None = None, initializer: Any = "zeros"
    ) -> Any:
        """A variable of a parameter's shape and dtype, for a user's own optimiser."""
        return self.add_variable(reference_variable.shape, initializer, reference_variable.dtype, name)

    # what the training step uses --------------------------------------------------------------------------------

    def scalars(self) -> list[float]:
        """The scalars of the next step, which is counted by this call."""
        rate = float(self.learning_rate)
        step = self._changes() + 1
        self._steps += 1
        found = [rate, *self.rates(rate, step)]
        if self.use_ema:  # the mean begins with the first values that a step gives
            found.append(0.0 if step == 1 else float(self.ema_momentum))
        return found

    def scale_loss(self, loss: Any) -> Any:
        """The loss as it is differentiated."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def new_values(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Tensor],
        slots: Sequence[Tensor],
        scalars: Sequence[Tensor],
        phase: int = 0,
    ) -> list[Tensor]:
        """New values of all parameters and then of all slots, in the order of ``slots``."""
        gradients = list(gradients)
        if self.loss_scale_factor is not None:
            gradients = [g * (1.0 / self.loss_scale_factor) for g in gradients]
        n = self.gradient_accumulation_steps
        if n:
            sums = []
            for g, (a, count) in zip(gradients, self._layout):
                before = slots[a + count - 1]
                sums.append(g if phase == 2 else before + g)
            if phase:
                kept = list(slots)
                for total, (a, count) in zip(sums, self._layout):
                    kept[a + count - 1] = total
                return [*(p + 0.0 for p in parameters), *(s + 0.0 for s in kept)]
            gradients = [total * (1.0 / n) for total in sums]
        fresh: list[Tensor] = []
        new_slots: list[Tensor] = []
        scalars, kept_share = (scalars[:-1], scalars[-1]) if self.use_ema else (scalars, None)
        overwrite = bool(self.ema_overwrite_frequency and self._changes() % self.ema_overwrite_frequency == 0)
        for k, (parameter, gradient) in enumerate(zip(parameters, self._clipped(gradients))):
            a, count = self._layout[k]
            own = list(slots[a : a + count])
            extra = []
            if n:
                own.pop()
                extra.append(gradient * 0.0)
            mean = own.pop() if self.use_ema else None
            value = parameter
            if self.weight_decay and k not in self._undecayed:
                value = value - value * self.weight_decay * scalars[0]
            if getattr(self._parameters[k], "overwrite_with_gradient", False):
                fresh.append(gradients[k].to(parameter.dtype))
                new_slots += [*(s + 0.0 for s in own), *([mean + 0.0] if mean is not None else []), *extra]
                continue
            self._index = k
            value, *changed = self.new_value(value, gradient, own, scalars)
            constraint = getattr(self._parameters[k], "constraint", None) if k < len(self._parameters) else None
            if mean is not None and kept_share is not None:
                mean = mean * kept_share + value * (1.0 - kept_share)
                if overwrite:
                    value = mean
            if constraint is not None:
                value = constraint(value)
            fresh.append(value if value.dtype is parameter.dtype else value.to(parameter.dtype))
            new_slots += [*changed, *([mean] if mean is not None else []), *extra]
        return fresh + new_slots

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Make one step by hand.

        Parameters
        ----------
        grads : one for each parameter; None leaves it as it is.
        trainable_variables : the parameters; those that the optimiser was built with where None.
        """
        grads = list(grads)
        if len(grads) == 0:
            return
        if trainable_variables is None:
            if not self.built:
                raise ValueError(
                    "When passing `grads` without `variables`, the optimizer must already be built on a list of "
                    "variables. Call `optimizer.build(trainable_variables)` first. "
                )
            trainable_variables = self._parameters
        variables = list(trainable_variables)
        if len(grads) != len(variables):
            raise ValueError(f"{len(grads)} gradients were given for {len(variables)} variables")
        if self.built and not self._by_hand():
            unknown = [v for v in variables if not any(v is p for p in self._parameters)]
            if unknown:
                paths = ", ".join(str(getattr(v, "path", tuple(v.shape))) for v in unknown)
                raise ValueError(
                    f"Unknown variable: {paths}. This optimizer can only be called for the variables it was originally "
                    "built with. When working with a new set of variables, you should recreate a new optimizer "
                    "instance."
                )
        if not self.built:
            with no_grad():
                self.build(variables)
            self.built = True
        present = [(g, v) for g, v in zip(grads, variables) if g is not None]
        if not present:
            raise ValueError("No gradients provided for any variable.")
        if len(present) < len(grads):
            missing = [getattr(v, "path", "?") for g, v in zip(grads, variables) if g is None]
            warnings.warn(f"Gradients do not exist for variables {missing} when minimizing the loss.", stacklevel=2)
        with no_grad():
            self._step([as_tensor(g) for g, _ in present], [v for _, v in present])

    def _step(self, grads: list[Tensor], variables: list[Any]) -> None:
        if self._by_hand():
            rate = float(self.learning_rate)
            for g, v in zip(self._clipped(grads), variables):
                if self.weight_decay and id(v) not in self._excluded_ids():
                    v.assign(v.detach() - v.detach() * (self.weight_decay * rate))
                self.update_step(g, v, rate)
                if getattr(v, "constraint", None) is not None:
                    v.assign(v.constraint(v.detach()))
            self._steps += 1
            TAPE.flush()
            return
        if len(variables) != len(self._parameters) or any(a is not b for a, b in zip(variables, self._parameters)):
            place = {id(p): k for k, p in enumerate(self._parameters)}
            full: list[Any] = [None] * len(self._parameters)
            for g, v in zip(grads, variables):
                full[place[id(v)]] = g
            chosen = [k for k, g in enumerate(full) if g is not None]
            self._partial_step([full[k] for k in chosen], chosen)
            return
        phase, count = self._accumulating(), len(variables)
        key = ("keras apply", self.static())
        numbers = self.scalars()

        def new(reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
            return self.new_values(reads, writes[:count], writes[count:], scalars, phase)

        update(key, new, grads, [*variables, *self.slots], numbers)

    def _partial_step(self, grads: list[Tensor], chosen: list[int]) -> None:
        """A step of some of the parameters."""
        parameters, layout, slots = self._parameters, self._layout, self.slots
        key = ("keras apply", self.static(), tuple(chosen))
        phase, numbers = self._accumulating(), self.scalars()
        self._parameters = [parameters[k] for k in chosen]
        self.slots = [s for k in chosen for s in slots[layout[k][0] : layout[k][0] + layout[k][1]]]
        self._layout = []
        at = 0
        for k in chosen:
            self._layout.append((at, layout[k][1]))
            at += layout[k][1]
        count = len(chosen)
        try:

            def new(reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
                return self.new_values(reads, writes[:count], writes[count:], scalars, phase)

            update(key, new, grads, [*self._parameters, *self.slots], numbers)
        finally:
            self._parameters, self._layout, self.slots = parameters, layout, slots

    def apply_gradients(self, grads_and_vars: Any) -> None:
        """Make one step by hand: pairs of gradient and parameter."""
        pairs = list(grads_and_vars)
        self.apply([g for g, _ in pairs], [v for _, v in pairs])

    def finalize_variable_values(self, var_list: Any) -> None:
        """With ``use_ema``: give the parameters the values of their running means. Called at the end of training."""
        if not self.use_ema:
            return
        for p, (a, n) in zip(self._parameters, self._layout):
            if any(p is v for v in var_list):
                mean = self.slots[a + n - 1 - bool(self.gradient_accumulation_steps)]
                p.assign(mean.numpy())

    def swap_ema(self) -> None:
        """Exchange the values of the parameters and of their running means."""
        for p, (a, n) in zip(self._parameters, self._layout):
            mean = self.slots[a + n - 1 - bool(self.gradient_accumulation_steps)]
            now, average = p.numpy().copy(), mean.numpy().copy()
            p.assign(average)
            mean.data = from_numpy(now)

    # what users' own optimisers call
    @staticmethod
    def assign(variable: Any, value: Any) -> None:
        """Set a variable."""
        variable.assign(value)

    @staticmethod
    def assign_add(variable: Any, value: Any) -> None:
        """Add to a variable."""
        variable.assign(variable.detach() + value)

    @staticmethod
    def assign_sub(variable: Any, value: Any) -> None:
        """Take from a variable."""
        variable.assign(variable.detach() - value)

    def _clipped(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        if self.clipvalue is not None:
            return [G.clamp(g, -self.clipvalue, self.clipvalue) for g in gradients]
        if self.clipnorm is not None:
            return [g * _shrink(G.sum(g * g), float(self.clipnorm)) for g in gradients]
        if self.global_clipnorm is not None:
            squares = [G.sum(g * g) for g in gradients]
            total = squares[0]
            for square in squares[1:]:
                total = total + square
            factor = _shrink(total, float(self.global_clipnorm))
            return [g * factor for g in gradients]
        return list(gradients)

    # configuration ----------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        from gradloom.keras import schedules

        rate = self._learning_rate
        if isinstance(rate, LearningRateSchedule):
            rate = schedules.serialize(rate)
        found: dict[str, Any] = {"name": self.name, "learning_rate": rate if not callable(rate) else 0.5}
        found |= {name: getattr(self, name) for name in COMMON if name != "name"}
        return found | {name: getattr(self, name) for name in self._own_options() if hasattr(self, name)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The optimiser that gave this configuration, at its start."""
        return cls(**config)


@composite
def _shrink(squared_norm: Tensor, limit: float) -> Tensor:
    """What to multiply a gradient with so that its norm is at most ``limit``."""
    return limit / G.clamp(G.sqrt(squared_norm), min=limit)


def _values(p: Any) -> np.ndarray:
    return np.asarray(p.detach().numpy())


def bias_correction(beta: float, step: int) -> float:
    """1 - βᵗ."""
    return 1.0 - math.pow(beta, step)
