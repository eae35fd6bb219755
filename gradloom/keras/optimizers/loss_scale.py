"""Dynamic loss scaling for float16: the loss is multiplied so that small gradients do not vanish."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.keras.operations import as_tensor
from gradloom.keras.optimizers.base import Optimizer


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
            raise ValueError("only dynamic loss scaling is offered: for a fixed one, give loss_scale_factor")
        super().__init__(0.0, name=name, **kwargs)
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
        """Those of the inner optimiser."""
        return self.inner_optimizer.variables

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """The inner optimiser makes the steps."""
        raise NotImplementedError("LossScaleOptimizer has no steps of its own")

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Make a step of the inner optimiser, unless a gradient is not finite."""
        grads = [None if g is None else as_tensor(g) for g in grads]
        if all(np.isfinite(g.numpy()).all() for g in grads if g is not None):
            scale = 1.0 / self.dynamic_scale
            self.inner_optimizer.apply([None if g is None else g * scale for g in grads], trainable_variables)
            self.built = True
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
