"""``GradScaler``: losses scaled up so that small gradients survive float16, and steps with infinities left out."""

from __future__ import annotations

from typing import Any

from gradloom import functions as G
from gradloom.errors import StateError
from gradloom.modes import no_grad
from gradloom.tensor import Tensor

__all__ = ["GradScaler"]

_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Scale a loss before ``backward``, unscale the gradients before the step, and find a scale that fits.

    Parameters
    ----------
    init_scale: the first scale. growth_factor, growth_interval: it grows by the one after so many steps without an
    infinity. backoff_factor: it shrinks by this after one with. enabled: False makes every method do nothing more than
    its plain counterpart.

    Use: ``scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()``; between the first two
    ``scaler.unscale_(optimizer)`` where gradients are to be clipped. Reference: Micikevicius et al. 2018.
    """

    def __init__(
        self,
        device: str = "cpu",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if enabled and not (growth_factor > 1.0 and 0.0 < backoff_factor < 1.0):
            raise ValueError(
                f"GradScaler: growth_factor={growth_factor} must be above 1, backoff_factor={backoff_factor} in (0, 1)"
            )
        self._enabled = enabled
        self._scale = float(init_scale)
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._steps = 0
        self._found: dict[int, bool] = {}
        self._stage: dict[int, str] = {}

    def scale(self, outputs: Any) -> Any:
        """A loss, or nested lists and tuples of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            scaled = [self.scale(x) for x in outputs]
            return type(outputs)(*scaled) if hasattr(outputs, "_fields") else type(outputs)(scaled)
        raise ValueError(f"GradScaler.scale takes tensors and lists of them, got {type(outputs).__name__}")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the optimizer's gradients by the scale, so that they can be clipped. Once between two updates.

        Raises StateError where that was done already, or the step too.
        """
        if not self._enabled:
            return
        stage = self._stage.get(id(optimizer), _READY)
        if stage == _UNSCALED:
            raise StateError(
                "unscale_() has already been called on this optimizer since the last update()", code="amp.unscale",
                hint="call it once for each optimizer and step",
            )  # fmt: skip
        if stage == _STEPPED:
            raise StateError("unscale_() is being called after step()", code="amp.unscale", hint="call update() first")
        flags = []
        with no_grad():
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.grad.mul_(1.0 / self._scale)
                        flags.append(G.all(G.isfinite(p.grad)))
        if not flags:
            raise StateError(
                "the optimizer's parameters have no gradients", code="amp.grads",
                hint="call scaler.scale(loss).backward() first",
            )  # fmt: skip
        self._found[id(optimizer)] = not bool(G.all(G.stack(flags)))
        self._stage[id(optimizer)] = _UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's step on unscaled gradients; left out where one of them is not finite.

        Raises StateError where it was called already since the last :meth:`update`, ValueError for a closure.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise ValueError("GradScaler.step: closures cannot be used: a step may have to be left out")
        if self._stage.get(id(optimizer)) == _STEPPED:
            raise StateError("step() has already been called since the last update()", code="amp.step")
        if self._stage.get(id(optimizer), _READY) == _READY:
            self.unscale_(optimizer)
        result = None if self._found[id(optimizer)] else optimizer.step(**kwargs)
        self._stage[id(optimizer)] = _STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale to what the steps found, or set it. Raises StateError before any step."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            if not self._found:
                raise StateError("update() before any unscale_() or step()", code="amp.update")
            if any(self._found.values()):
                self._scale *= self._backoff
                self._steps = 0
            else:
                self._steps += 1
                if self._steps >= self._interval:
                    self._scale *= self._growth
                    self._steps = 0
        self._found.clear()
        self._stage.clear()

    def get_scale(self) -> float:
        """The scale; 1 where this is not enabled."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether losses are scaled."""
        return self._enabled

    def get_growth_factor(self) -> float:
        """What the scale grows by."""
        return self._growth

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale grows by."""
        self._growth = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale shrinks by."""
        return self._backoff

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale shrinks by."""
        self._backoff = new_factor

    def get_growth_interval(self) -> int:
        """Steps without an infinity before the scale grows."""
        return self._interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set the steps without an infinity before the scale grows."""
        self._interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and steps, under PyTorch's names; empty where this is not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff,
            "growth_interval": self._interval, "_growth_tracker": self._steps,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state. Raises ValueError for an empty one."""
        if not self._enabled:
            return
        if not state_dict:
            raise ValueError("GradScaler.load_state_dict: the state is empty; it was saved while not enabled")
        self._scale = float(state_dict["scale"])
        self._growth, self._backoff = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._interval, self._steps = state_dict["growth_interval"], state_dict["_growth_tracker"]
