"""Dynamic loss scaling for float16: the loss is multiplied so that small gradients do not vanish."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.keras.operations import as_tensor
from gradloom.keras.optimizers.base import COMMON, Optimizer, Shown


class LossScaleOptimizer(Optimizer):
    """Scales the loss for another optimiser; a step with gradients that are not finite is left out, the scale halved.

    Parameters
    ----------
    inner_optimizer : makes the steps.
    initial_scale : at the beginning.
    dynamic_growth_steps : the scale doubles after so many steps without overflow.
    """

    def __init__(
        self,
        inner_optimizer: Any,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not kwargs.pop("dynamic", True):
            raise ValueError("only dynamic loss scaling is offered: for a fixed one, set `loss_scale_factor`")
        unknown = [k for k in kwargs if k not in COMMON]
        if unknown:
            raise ValueError(f"LossScaleOptimizer: unknown arguments: {', '.join(f'`{k}`' for k in unknown)}")
        set_here = [k for k, v in kwargs.items() if v and (k, v) != ("ema_momentum", 0.99)]  # its default does nothing
        if set_here:
            raise ValueError(f"LossScaleOptimizer has no `{set_here[0]}` of its own: set it on the `inner_optimizer`")
        super().__init__(0.0, name=name)
        if isinstance(inner_optimizer, dict):
            from gradloom.keras.saving import deserialize_keras_object

            inner_optimizer = deserialize_keras_object(inner_optimizer)
        self.inner_optimizer = inner_optimizer
        self.initial_scale, self.dynamic_growth_steps = initial_scale, dynamic_growth_steps
        self.dynamic_scale = float(initial_scale)
        self.step_counter = 0

    def scale_loss(self, loss: Any) -> Any:
        """The loss times the present scale."""
        return loss * self.dynamic_scale

    def build(self, variables: Any) -> None:
        """Build the inner optimiser."""
        self.inner_optimizer.build(variables)
        self._parameters, self.built = list(variables), True

    @property
    def learning_rate(self) -> Any:
        """That of the inner optimiser."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def variables(self) -> list[Any]:
        """The scale, the number of steps since it changed, and those of the inner optimiser."""
        count = Shown(np.array(self.step_counter, np.int64), f"{self.name}/step_counter", self, "step_counter")
        scale = np.array(self.dynamic_scale, np.float32)
        return [count, Shown(scale, f"{self.name}/dynamic_scale", self, "dynamic_scale"), *self._inner_variables()]

    def _inner_variables(self) -> list[Any]:
        return self.inner_optimizer.variables

    def set_state(self, values: Any) -> None:
        """Go on from the values of :attr:`variables`, or of the inner optimiser's alone."""
        arrays = [np.asarray(v) for v in values]
        if len(arrays) == len(self._inner_variables()) + 2:
            self.step_counter, self.dynamic_scale = int(arrays[0]), float(arrays[1])
            arrays = arrays[2:]
        self.inner_optimizer.set_state(arrays)

    @property
    def iterations(self) -> Any:
        """The steps that the inner optimiser has made."""
        return self.inner_optimizer.iterations

    @iterations.setter
    def iterations(self, value: Any) -> None:
        self.inner_optimizer.iterations = value

    @property
    def use_ema(self) -> bool:
        """Whether the inner optimiser keeps running means of the parameters."""
        return bool(self.inner_optimizer.use_ema)

    @use_ema.setter
    def use_ema(self, value: bool) -> None:
        if value:
            raise ValueError("running means are the inner optimizer's: give it use_ema=True")

    def swap_ema(self) -> None:
        """Exchange the values of the parameters and of the inner optimiser's running means."""
        self.inner_optimizer.swap_ema()

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """The inner optimiser makes the steps."""
        raise NotImplementedError("LossScaleOptimizer has no steps of its own")

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Make a step of the inner optimiser, unless a gradient is not finite."""
        grads = [None if g is None else as_tensor(g) for g in grads]
        if all(np.isfinite(g.numpy()).all() for g in grads if g is not None):
            scale = 1.0 / self.dynamic_scale
            targets = list(trainable_variables) if trainable_variables is not None else self._parameters
            whole = [getattr(v, "overwrite_with_gradient", False) for v in targets]
            grads = [g if g is None or keep else g * scale for g, keep in zip(grads, whole)]
            inner = self.inner_optimizer
            fixed, inner.loss_scale_factor = inner.loss_scale_factor, None  # the loss was scaled by this one alone
            try:
                inner.apply(grads, trainable_variables)
            finally:
                inner.loss_scale_factor = fixed
            self._parameters, self.built = targets, True
            self.step_counter += 1
            self._steps += 1
            if self.step_counter >= self.dynamic_growth_steps:
                self.dynamic_scale, self.step_counter = self.dynamic_scale * 2.0, 0
        else:
            self.dynamic_scale, self.step_counter = self.dynamic_scale / 2.0, 0

    def finalize_variable_values(self, var_list: Any) -> None:
        """As the inner optimiser does."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        from gradloom.keras.saving import serialize_keras_object

        return {
            "name": self.name,
            "inner_optimizer": serialize_keras_object(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }
