"""Optimisers, by the names, defaults and formulas of Keras 3.

An optimiser is a pure function inside the step's native program: ``new_values`` takes gradients, parameters, slots
and scalars as tensors and gives their new values. What changes with time (learning rate, bias corrections) comes as
scalars, so a schedule never makes a new program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradloom import functions as G
from gradloom.functions import zeros
from gradloom.keras.names import lookup
from gradloom.modes import no_grad
from gradloom.tensor import Tensor

LearningRate = float | Callable[[int], float]


class Optimizer:
    """Base of the optimisers.

    Parameters
    ----------
    learning_rate : a number, or a function from the number of steps done to one.
    weight_decay : each step first takes ``weight_decay * learning_rate`` of a parameter off it (decoupled).
    clipnorm, clipvalue, global_clipnorm : gradients are cut to this norm each, to this size of an element, or to this
        norm of all together; at most one of them.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        if sum(limit is not None for limit in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError("only one of clipnorm, clipvalue and global_clipnorm can be set")
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay or 0.0
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self.name = name or type(self).__name__.lower()
        self.iterations = 0
        self.slots: list[Tensor] = []
        self._built_for: tuple[int, ...] = ()
        self._kept: list[Tensor] = []

    # what a kind of optimiser says ------------------------------------------------------------------------------

    slots_each = 0  # tensors kept for each parameter

    def static(self) -> tuple[Any, ...]:
        """What is baked into the program: changing it makes a new one."""
        return (self.weight_decay, self.clipnorm, self.clipvalue, self.global_clipnorm)

    def rates(self, rate: float, step: int) -> list[float]:
        """What step ``step``, counted from 1, needs of scalars behind the learning rate itself."""
        return []

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """The new values of a parameter and of its slots; the first scalar is the learning rate."""
        raise NotImplementedError

    # what the training step uses --------------------------------------------------------------------------------

    def build(self, parameters: Sequence[Tensor]) -> None:
        """Make the slots of these parameters, all zero, unless they are there."""
        key = tuple(id(p) for p in parameters)
        if key == self._built_for:
            return
        old = dict(zip(self._built_for, range(len(self._built_for))))
        count = len(self._built_for)
        before = self.slots
        # slots lie as all first slots, then all second slots; those of parameters that stay are kept
        self.slots = [
            before[kind * count + old[id(p)]] if id(p) in old else zeros(p.shape, dtype=p.dtype)
            for kind in range(self.slots_each)
            for p in parameters
        ]
        self._built_for = key
        self._kept = list(parameters)  # so that no id is used again while it stands in the key

    def scalars(self) -> list[float]:
        """The scalars of the next step, which is counted by this call."""
        rate = self.learning_rate(self.iterations) if callable(self.learning_rate) else self.learning_rate
        self.iterations += 1
        return [float(rate), *self.rates(float(rate), self.iterations)]

    def new_values(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Tensor],
        slots: Sequence[Tensor],
        scalars: Sequence[Tensor],
    ) -> list[Tensor]:
        """New values of all parameters and then of all slots, in the order of ``slots``."""
        count = len(parameters)
        columns: list[list[Tensor]] = []
        for i, (parameter, gradient) in enumerate(zip(parameters, self._clipped(gradients))):
            own = [slots[kind * count + i] for kind in range(self.slots_each)]
            if self.weight_decay:
                parameter = parameter - parameter * self.weight_decay * scalars[0]
            columns.append(self.new_value(parameter, gradient, own, scalars))
        return [column[kind] for kind in range(self.slots_each + 1) for column in columns]

    def apply_gradients(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Make one step by hand: pairs of gradient and parameter."""
        from gradloom.tape import update

        gradients, parameters = [g for g, _ in pairs], [p for _, p in pairs]
        with no_grad():
            self.build(parameters)
            count = len(parameters)

            def new(reads: list[Tensor], writes: list[Tensor], scalars: list[Tensor]) -> list[Tensor]:
                return self.new_values(reads, writes[:count], writes[count:], scalars)

            key = ("apply_gradients", id(self), self.static(), self._built_for)
            update(key, new, gradients, [*parameters, *self.slots], self.scalars())

    def _clipped(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        if self.clipvalue is not None:
            return [G.clamp(g, -self.clipvalue, self.clipvalue) for g in gradients]
        if self.clipnorm is not None:
            return [g * _shrink(G.sum(g * g), self.clipnorm) for g in gradients]
        if self.global_clipnorm is not None:
            squares = [G.sum(g * g) for g in gradients]
            total = squares[0]
            for square in squares[1:]:
                total = total + square
            factor = _shrink(total, self.global_clipnorm)
            return [g * factor for g in gradients]
        return list(gradients)


def _shrink(squared_norm: Tensor, limit: float) -> Tensor:
    """What to multiply a gradient with so that its norm is at most ``limit``."""
    return limit / G.clamp(G.sqrt(squared_norm), min=limit)


class SGD(Optimizer):
    """v = momentum v - rate g; p += v, or p += momentum v - rate g with ``nesterov`` (Sutskever et al. 2013)."""

    def __init__(
        self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False, **common: Any
    ) -> None:
        super().__init__(learning_rate, **common)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum={momentum}: it lies between 0 and 1")
        self.momentum, self.nesterov = float(momentum), nesterov
        self.slots_each = 1 if momentum else 0

    def static(self) -> tuple[Any, ...]:
        """Momentum and its kind, beside the common ones."""
        return (*super().static(), self.momentum, self.nesterov)

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        change = gradient * scalars[0]
        if not slots:
            return [parameter - change]
        velocity = slots[0] * self.momentum - change
        step = velocity * self.momentum - change if self.nesterov else velocity
        return [parameter + step, velocity]


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), in the form at the end of its section 2, which Keras computes.

    m += (g - m)(1 - β₁); v += (g² - v)(1 - β₂); p -= α m / (√v + ε) with α = rate √(1 - β₂ᵗ) / (1 - β₁ᵗ).
    With ``amsgrad`` the largest v so far stands in place of v.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad
        self.slots_each = 3 if amsgrad else 2

    def static(self) -> tuple[Any, ...]:
        """The betas and epsilon, beside the common ones."""
        return (*super().static(), self.beta_1, self.beta_2, self.epsilon, self.amsgrad)

    def rates(self, rate: float, step: int) -> list[float]:
        """α of this step."""
        return [rate * math.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        m, v, *largest = slots
        m = m + (gradient - m) * (1.0 - self.beta_1)
        v = v + (gradient * gradient - v) * (1.0 - self.beta_2)
        if largest:
            largest = [G.maximum(largest[0], v)]
        return [parameter - m * scalars[1] / (G.sqrt(largest[0] if largest else v) + self.epsilon), m, v, *largest]


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), 0.004 unless said otherwise."""

    def __init__(self, learning_rate: LearningRate = 0.001, weight_decay: float = 0.004, **options: Any) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **options)


class RMSprop(Optimizer):
    """v = ρ v + (1 - ρ) g²; p -= rate g / √(v + ε) (Hinton 2012); with momentum, and ``centered`` about the mean."""

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho, self.momentum, self.epsilon, self.centered = rho, float(momentum), epsilon, centered
        self.slots_each = 1 + bool(momentum) + centered

    def static(self) -> tuple[Any, ...]:
        """Rho, momentum, epsilon and centered, beside the common ones."""
        return (*super().static(), self.rho, self.momentum, self.epsilon, self.centered)

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        rest = list(slots)
        v = rest.pop(0) * self.rho + gradient * gradient * (1.0 - self.rho)
        new = [v]
        denominator = v + self.epsilon
        if self.centered:
            average = rest.pop(0) * self.rho + gradient * (1.0 - self.rho)
            new.append(average)
            denominator = denominator - average * average
        change = gradient * scalars[0] * G.rsqrt(denominator)
        if self.momentum:
            change = rest.pop(0) * self.momentum + change
            new.append(change)
        return [parameter - change, *new]


_TABLE: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def get(optimizer: Any) -> Optimizer:
    """The optimiser of a name with its defaults; an object is itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        return optimizer()  # type: ignore[call-arg]  # each public optimiser has a default rate
    return lookup("optimizer", optimizer, _TABLE)()  # type: ignore[call-arg]
