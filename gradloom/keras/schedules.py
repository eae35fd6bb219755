"""Learning-rate schedules: functions from the number of steps done to a rate, by the names of Keras."""

from __future__ import annotations

import math
from typing import Any

from gradloom.keras.names import from_identifier, identifier_of


class LearningRateSchedule:
    """Called with the number of steps done, gives a rate."""

    def __call__(self, step: Any) -> float:
        """The rate."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__ method")

    def get_config(self) -> dict[str, Any]:
        """What it was made with: the constructor's arguments are attributes of the same names."""
        names = self.__init__.__code__.co_varnames[1 : self.__init__.__code__.co_argcount]  # type: ignore[misc]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """The schedule that gave this configuration."""
        return cls(**config)


class ExponentialDecay(LearningRateSchedule):
    """initial · rate^(step / decay_steps); in stairs with ``staircase``."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name
        if decay_steps <= 0:
            raise ValueError(f"decay_steps={decay_steps}: it must be above 0")

    def __call__(self, step: Any) -> float:
        """The rate."""
        p = float(step) / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (math.floor(p) if self.staircase else p)


class InverseTimeDecay(LearningRateSchedule):
    """initial / (1 + rate · step / decay_steps); in stairs with ``staircase``."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.decay_rate = initial_learning_rate, decay_steps, decay_rate
        self.staircase, self.name = staircase, name
        if decay_steps <= 0:
            raise ValueError(f"decay_steps={decay_steps}: it must be above 0")

    def __call__(self, step: Any) -> float:
        """The rate."""
        p = float(step) / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * (math.floor(p) if self.staircase else p))


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[i]`` up to and with step ``boundaries[i]``, the last value behind."""

    def __init__(self, boundaries: Any, values: Any, name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(f"{len(boundaries)} boundaries go with {len(boundaries) + 1} values, {len(values)} given")
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: Any) -> float:
        """The rate."""
        place = sum(float(step) > b for b in self.boundaries)
        return float(self.values[place])


class PolynomialDecay(LearningRateSchedule):
    """From initial to end by (1 - step / decay_steps)^power; with ``cycle`` over longer and longer spans."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.power = initial_learning_rate, decay_steps, power
        self.end_learning_rate, self.cycle, self.name = end_learning_rate, cycle, name
        if decay_steps <= 0:
            raise ValueError(f"decay_steps={decay_steps}: it must be above 0")

    def __call__(self, step: Any) -> float:
        """The rate."""
        s, span = float(step), float(self.decay_steps)
        if self.cycle:
            span *= max(1.0, math.ceil(s / span))
        else:
            s = min(s, span)
        start, end = self.initial_learning_rate, self.end_learning_rate
        return (start - end) * (1 - s / span) ** self.power + end


class CosineDecay(LearningRateSchedule):
    """Half a cosine down to ``alpha`` times the start (Loshchilov and Hutter 2017), after a linear warm-up if asked."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate, self.decay_steps, self.alpha, self.name = (
            initial_learning_rate, decay_steps, alpha, name,
        )  # fmt: skip
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps
        if decay_steps <= 0:
            raise ValueError(f"decay_steps={decay_steps}: it must be above 0")

    def _decayed(self, step: float, start: float) -> float:
        share = min(step, self.decay_steps) / self.decay_steps
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        return start * ((1 - self.alpha) * cosine + self.alpha)

    def __call__(self, step: Any) -> float:
        """The rate."""
        s, start = float(step), self.initial_learning_rate
        if self.warmup_target is None:
            return self._decayed(s, start)
        if s < self.warmup_steps:
            return start + (self.warmup_target - start) * s / self.warmup_steps
        return self._decayed(min(s, self.decay_steps + self.warmup_steps) - self.warmup_steps, self.warmup_target)


class CosineDecayRestarts(LearningRateSchedule):
    """Cosine decay that starts again after spans ``t_mul`` times longer each, from ``m_mul`` times the height."""

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, first_decay_steps
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name
        if first_decay_steps <= 0:
            raise ValueError(f"first_decay_steps={first_decay_steps}: it must be above 0")

    def __call__(self, step: Any) -> float:
        """The rate."""
        done = float(step) / self.first_decay_steps
        if self.t_mul == 1.0:
            restarts = math.floor(done)
            done -= restarts
        else:
            restarts = math.floor(math.log(1 - done * (1 - self.t_mul)) / math.log(self.t_mul))
            passed = (1 - self.t_mul**restarts) / (1 - self.t_mul)
            done = (done - passed) / self.t_mul**restarts
        cosine = 0.5 * self.m_mul**restarts * (1 + math.cos(math.pi * done))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


_CLASSES = [
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay,
]  # fmt: skip
_TABLE = {cls.__name__.lower(): cls for cls in _CLASSES}


def serialize(learning_rate_schedule: Any) -> Any:
    """A schedule as a configuration."""
    return identifier_of(learning_rate_schedule)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The schedule of a configuration."""
    return from_identifier("schedule", config, _TABLE, custom_objects)
