"""Schedules that go up and down: triangles and one cycle (Smith 2017, 2019), a cosine with restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradloom.optim.lr_scheduler.base import LRScheduler, by_group, restore_functions, saved_functions, set_rate
from gradloom.optim.optimizer import Optimizer


def _set_momentum(group: dict[str, Any], value: float) -> None:
    """The momentum, or the first beta."""
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def _cycled_momentum(optimizer: Optimizer, low: Any, high: Any, begin: bool) -> tuple[list[float], list[float]]:
    """Both bounds for each group; at the beginning momenta are set to the upper one."""
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ValueError("cycle_momentum=True needs an optimizer with momentum or betas")
    lows, highs = by_group("base_momentum", optimizer, low), by_group("max_momentum", optimizer, high)
    if begin:
        for group, base, most in zip(optimizer.param_groups, lows, highs, strict=True):
            _set_momentum(group, most)
            group["max_momentum"], group["base_momentum"] = most, base
    return lows, highs


class CyclicLR(LRScheduler):
    """Up and down between base_lr and max_lr; call `step` after each batch (Smith 2017).

    Parameters
    ----------
    optimizer : Optimizer
    base_lr, max_lr : float, or one for each group
    step_size_up, step_size_down : int
        Steps of each half; down as up if not given.
    mode : {"triangular", "triangular2", "exp_range"}
        Cycles of one height, of half the height each time, or lowered by gamma^step.
    gamma : float
    scale_fn, scale_mode : function of the cycle's number ("cycle") or the step's ("iterations"), instead of mode
    cycle_momentum : bool
        Move the momentum the other way, between max_momentum and base_momentum.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(f"mode is 'triangular', 'triangular2' or 'exp_range', not {mode!r}")
        lows = by_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, lows, strict=True):
                set_rate(group, low)
        self.max_lrs = by_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        self.mode, self.gamma = mode, gamma
        self._scale = scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            bounds = _cycled_momentum(optimizer, base_momentum, max_momentum, last_epoch == -1)
            self.base_momentums, self.max_momentums = bounds
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def scale_fn(self, x: float) -> float:
        """The height of cycle x, or of step x."""
        if self._scale is not None:
            return self._scale(x)
        if self.mode == "exp_range":
            return self.gamma**x
        return 1.0 if self.mode == "triangular" else 0.5 ** (x - 1)

    def get_lr(self) -> list[float]:
        """The rates of the present place in the cycle; sets the momenta too."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            groups = self.optimizer.param_groups
            for group, low, high in zip(groups, self.base_momentums, self.max_momentums, strict=True):
                _set_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; of a function only the attributes of a callable object."""
        return {**super().state_dict(), "_scale": saved_functions([self._scale])[0]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` returned."""
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "_scale"})
        restore_functions([self._scale], [state_dict.get("_scale")])


class OneCycleLR(LRScheduler):
    """Up to max_lr and down to far below the start in one cycle; call `step` after each batch (Smith 2019).

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float, or one for each group
    total_steps : int, or epochs and steps_per_epoch
    pct_start : float
        Share of the steps that go up.
    anneal_strategy : {"cos", "linear"}
    cycle_momentum, base_momentum, max_momentum : bool, float, float
        Move the momentum the other way.
    div_factor, final_div_factor : float
        The first rate is max_lr/div_factor, the last is the first over final_div_factor.
    three_phase : bool
        Down to the first rate symmetrically, then to the last.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("give total_steps, or epochs and steps_per_epoch")
            if epochs <= 0 or steps_per_epoch <= 0:
                raise ValueError(f"epochs and steps_per_epoch must be positive, got {epochs} and {steps_per_epoch}")
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0 or int(total_steps) != total_steps:
            raise ValueError(f"total_steps must be a positive integer, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start lies between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy is 'cos' or 'linear', not {anneal_strategy!r}")
        self.total_steps, self._anneal = int(total_steps), anneal_strategy
        up = pct_start * self.total_steps - 1
        last = self.total_steps - 1
        # (last step of the phase, rates at its ends, momenta at its ends)
        rise = (up, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))
        self._phases: list[tuple[float, tuple[str, str], tuple[str, str]]]
        if three_phase:
            fall = (2 * up, ("max_lr", "initial_lr"), ("base_momentum", "max_momentum"))
            self._phases = [rise, fall, (last, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum"))]
        else:
            self._phases = [rise, (last, ("max_lr", "min_lr"), ("base_momentum", "max_momentum"))]
        highest = by_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, high in zip(optimizer.param_groups, highest, strict=True):
                group["initial_lr"], group["max_lr"] = high / div_factor, high
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            _cycled_momentum(optimizer, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, share: float) -> float:
        if self._anneal == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2.0 * (1 + math.cos(math.pi * share))

    def get_lr(self) -> list[float]:
        """The rates of the present phase; sets the momenta too. ValueError behind the last step."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"the schedule has {self.total_steps} steps, this is step {step}")
        start = 0.0
        at = 0
        while step > self._phases[at][0] and at < len(self._phases) - 1:
            start = self._phases[at][0]
            at += 1
        end, rates, momenta = self._phases[at]
        share = (step - start) / (end - start)
        out = []
        for group in self.optimizer.param_groups:
            out.append(self._between(group[rates[0]], group[rates[1]], share))
            if self.cycle_momentum:
                _set_momentum(group, self._between(group[momenta[0]], group[momenta[1]], share))
        return out


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines from the initial rate down to eta_min, each T_mult times as long as the last (SGDR, 2017).

    Parameters
    ----------
    optimizer : Optimizer
    T_0 : int
        Length of the first.
    T_mult : int
    eta_min : float
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"T_0 must be a positive integer, got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"T_mult must be an integer of at least 1, got {T_mult}")
        self.T_0, self.T_i, self.T_mult, self.eta_min, self.T_cur = T_0, T_0, T_mult, eta_min, float(last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at T_cur of T_i epochs."""
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on by one epoch, or to a given one, which may be a fraction: after each batch, if you like."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            if epoch < 0:
                raise ValueError(f"epoch must not be negative, got {epoch}")
            self.T_i, self.T_cur = self.T_0, float(epoch)
            if self.T_mult == 1:
                self.T_cur = epoch % self.T_0
            else:
                while self.T_cur >= self.T_i:
                    self.T_cur -= self.T_i
                    self.T_i *= self.T_mult
        self._step_count += 1
        self.last_epoch = math.floor(epoch)
        for group, value in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            set_rate(group, value)
        self._last_lr = self._rates()
