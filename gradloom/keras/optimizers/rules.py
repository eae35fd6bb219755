"""The optimisers: names, defaults and formulas of Keras 3. Each says its slots, its scalars and one step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.keras.optimizers.base import Optimizer, bias_correction
from gradloom.tensor import Tensor


class SGD(Optimizer):
    """v = momentum v - rate g; p += v, or p += momentum v - rate g with ``nesterov`` (Sutskever et al. 2013)."""

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, **common: Any) -> None:
        super().__init__(learning_rate, **common)
        if not isinstance(momentum, int | float) or not 0 <= momentum <= 1:
            raise ValueError(f"`momentum` must be a float between [0, 1], got {momentum}")
        self.momentum, self.nesterov = float(momentum), nesterov
        self.slot_names = ("momentum",) if momentum else ()

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
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad
        self.slot_names = ("momentum", "velocity", *(("velocity_hat",) if amsgrad else ()))

    def rates(self, rate: float, step: int) -> list[float]:
        """α of this step."""
        return [rate * math.sqrt(bias_correction(self.beta_2, step)) / bias_correction(self.beta_1, step)]

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

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ) -> None:
        if weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float. Received: weight_decay=None")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **common)


class RMSprop(Optimizer):
    """v = ρ v + (1 - ρ) g²; p -= rate g / √(v + ε) (Hinton 2012); with momentum, and ``centered`` about the mean."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho, self.momentum, self.epsilon, self.centered = rho, float(momentum), epsilon, centered
        self.slot_names = (
            "velocity", *(("average_gradient",) if centered else ()), *(("momentum",) if momentum else ()),
        )  # fmt: skip

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


class Adadelta(Optimizer):
    """Steps in proportion to the running size of the steps before (Zeiler 2012)."""

    slot_names = ("accumulated_grad", "accumulated_delta_var")

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **common: Any) -> None:
        super().__init__(learning_rate, **common)
        self.rho, self.epsilon = rho, epsilon

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        squares = slots[0] * self.rho + gradient * gradient * (1.0 - self.rho)
        change = gradient * G.sqrt(slots[1] + self.epsilon) * G.rsqrt(squares + self.epsilon)
        changes = slots[1] * self.rho + change * change * (1.0 - self.rho)
        return [parameter - change * scalars[0], squares, changes]


class Adagrad(Optimizer):
    """s += g²; p -= rate g / √(s + ε) (Duchi et al. 2011)."""

    slot_names = ("accumulator",)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def start(self, parameter: Tensor) -> list[np.ndarray]:
        """The initial value everywhere."""
        return [np.full(tuple(parameter.shape), self.initial_accumulator_value, parameter.dtype.numpy)]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        s = slots[0] + gradient * gradient
        return [parameter - gradient * scalars[0] / G.sqrt(s + self.epsilon), s]


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the root mean square (Kingma and Ba 2015, section 7)."""

    slot_names = ("momentum", "norm")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def rates(self, rate: float, step: int) -> list[float]:
        """The rate over its bias correction."""
        return [rate / bias_correction(self.beta_1, step)]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        m = slots[0] + (gradient - slots[0]) * (1.0 - self.beta_1)
        u = G.maximum(slots[1] * self.beta_2, G.abs(gradient))
        return [parameter - m * scalars[1] / (u + self.epsilon), m, u]


class Nadam(Optimizer):
    """Adam with Nesterov momentum (Dozat 2016)."""

    slot_names = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self._products: list[float] = [1.0]  # of the momenta up to each step

    def rates(self, rate: float, step: int) -> list[float]:
        """Factors of the momentum, of the gradient and of the mean square."""

        def momentum(t: int) -> float:
            return self.beta_1 * (1.0 - 0.5 * math.pow(0.96, t))

        while len(self._products) <= step:
            self._products.append(self._products[-1] * momentum(len(self._products)))
        now, after = momentum(step), momentum(step + 1)
        product = self._products[step]
        of_m = after / (1.0 - product * after) * rate
        of_g = (1.0 - now) / (1.0 - product) * rate
        return [of_m, of_g, 1.0 / bias_correction(self.beta_2, step)]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        m = slots[0] + (gradient - slots[0]) * (1.0 - self.beta_1)
        v = slots[1] + (gradient * gradient - slots[1]) * (1.0 - self.beta_2)
        step = m * scalars[1] + gradient * scalars[2]
        return [parameter - step / (G.sqrt(v * scalars[3]) + self.epsilon), m, v]


class Ftrl(Optimizer):
    """Follow the regularised leader (McMahan et al. 2013)."""

    slot_names = ("accumulator", "linear")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        if initial_accumulator_value < 0:
            raise ValueError("`initial_accumulator_value` needs to be positive or zero. Received: "
                             f"initial_accumulator_value={initial_accumulator_value}.")  # fmt: skip
        if learning_rate_power > 0:
            raise ValueError("`learning_rate_power` needs to be negative or zero. Received: learning_rate_power="
                             f"{learning_rate_power}.")  # fmt: skip
        for name, value in (
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if value < 0:
                raise ValueError(f"`{name}` needs to be positive or zero. Received: {name}={value}.")
        self.learning_rate_power, self.initial_accumulator_value = learning_rate_power, initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta

    def start(self, parameter: Tensor) -> list[np.ndarray]:
        """The initial value, and zeros."""
        full = np.full(tuple(parameter.shape), self.initial_accumulator_value, parameter.dtype.numpy)
        return [full, np.zeros_like(full)]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        rate, power = scalars[0], -self.learning_rate_power
        shrunk = gradient
        if self.l2_shrinkage_regularization_strength:
            shrunk = gradient + parameter * (2.0 * self.l2_shrinkage_regularization_strength)
        squares = slots[0] + gradient * gradient
        linear = slots[1] + shrunk - (G.pow(squares, power) - G.pow(slots[0], power)) / rate * parameter
        l2 = 2.0 * self.l2_regularization_strength
        quadratic = G.pow(squares, power) / rate + l2 + self.beta / rate
        l1 = self.l1_regularization_strength
        return [(G.clamp(linear, -l1, l1) - linear) / quadratic, squares, linear]


class Lion(Optimizer):
    """Steps of one size along the sign of an interpolated momentum (Chen et al. 2023)."""

    slot_names = ("momentum",)

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **common: Any) -> None:
        super().__init__(learning_rate, **common)
        if not 0 < beta_1 <= 1:
            raise ValueError("Argument `beta_1` must be in the [0, 1] range. Otherwise, the optimizer degenerates to "
                             f"SignSGD. Received: beta_1={beta_1}.")  # fmt: skip
        self.beta_1, self.beta_2 = beta_1, beta_2

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        m = slots[0]
        along = G.sign(m * self.beta_1 + gradient * (1.0 - self.beta_1))
        return [parameter - along * scalars[0], m * self.beta_2 + gradient * (1.0 - self.beta_2)]


class Lamb(Optimizer):
    """Adam with steps in proportion to each parameter's norm (You et al. 2020)."""

    slot_names = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def rates(self, rate: float, step: int) -> list[float]:
        """Both bias corrections."""
        return [1.0 / bias_correction(self.beta_1, step), 1.0 / bias_correction(self.beta_2, step)]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        m = slots[0] + (gradient - slots[0]) * (1.0 - self.beta_1)
        v = slots[1] + (gradient * gradient - slots[1]) * (1.0 - self.beta_2)
        step = m * scalars[1] / (G.sqrt(v * scalars[2]) + self.epsilon)
        size, length = G.sqrt(G.sum(parameter * parameter)), G.sqrt(G.sum(step * step))
        usable = G.logical_and(size > 0.0, length > 0.0)
        ratio = G.where(usable, size / G.where(usable, length, length * 0.0 + 1.0), size * 0.0 + 1.0)
        return [parameter - step * (ratio * scalars[0]), m, v]


class Adafactor(Optimizer):
    """Mean squares kept as rows and columns of matrices, relative steps (Shazeer and Stern 2018)."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_2_decay, self.epsilon_1, self.epsilon_2 = beta_2_decay, epsilon_1, epsilon_2
        self.clip_threshold, self.relative_step = clip_threshold, relative_step

    def start(self, parameter: Tensor) -> list[np.ndarray]:
        """Row and column means for two axes or more, the full mean square for fewer."""
        shape = tuple(parameter.shape)
        if len(shape) < 2:
            return [np.zeros(shape, parameter.dtype.numpy)]
        return [np.zeros(shape[:-1], parameter.dtype.numpy), np.zeros(shape[:-2] + shape[-1:], parameter.dtype.numpy)]

    def rates(self, rate: float, step: int) -> list[float]:
        """The step's size before it is made relative, and β₂."""
        return [min(rate, 1.0 / math.sqrt(step)), 1.0 - math.pow(step, self.beta_2_decay)]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        size = G.sqrt(G.mean(parameter * parameter))
        rate = scalars[1] * G.clamp(size, min=self.epsilon_2)
        beta = scalars[2]
        squares = gradient * gradient + self.epsilon_1
        if len(slots) == 2:
            rows = slots[0] * beta + G.mean(squares, -1) * (1.0 - beta)
            columns = slots[1] * beta + G.mean(squares, -2) * (1.0 - beta)
            share = rows / G.mean(rows, -1, True)
            v, kept = share.unsqueeze(-1) * columns.unsqueeze(-2), [rows, columns]
        else:
            v = slots[0] * beta + squares * (1.0 - beta)
            kept = [v]
        u = gradient * G.rsqrt(v)
        u = u / G.clamp(G.sqrt(G.mean(u * u)) / self.clip_threshold, min=1.0)
        return [parameter - u * rate, *kept]


class Muon(Optimizer):
    """Momentum made orthogonal by Newton-Schulz steps for hidden matrices (Jordan 2024), AdamW for all else.

    Parameters
    ----------
    exclude_layers : patterns of paths of parameters that Adam trains.
    exclude_embeddings : whether embeddings are trained by Adam.
    muon_a, muon_b, muon_c : coefficients of the polynomial. ns_steps : how often it is applied.
    rms_rate : where given, steps are scaled by it and the root of the larger side, to Adam's size (Liu et al. 2025).
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        exclude_layers: Any = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.775,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1.0,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=None, **common)
        self.weight_decay = None  # each of both rules has its own
        self.muon_weight_decay = weight_decay
        self.adam_beta_1, self.adam_beta_2, self.adam_weight_decay = adam_beta_1, adam_beta_2, adam_weight_decay
        self.epsilon, self.exclude_layers, self.exclude_embeddings = epsilon, exclude_layers or [], exclude_embeddings
        self.muon_a, self.muon_b, self.muon_c = muon_a, muon_b, muon_c
        self.adam_lr_ratio, self.momentum, self.ns_steps, self.nesterov = adam_lr_ratio, momentum, ns_steps, nesterov
        self.rms_rate = rms_rate

    def static(self) -> tuple[Any, ...]:
        """The options, with lists as tuples."""
        return (*super().static()[:-1], repr(self.get_config()))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        return {**super().get_config(), "weight_decay": self.muon_weight_decay}

    def _by_adam(self, p: Any) -> bool:
        import re

        path = getattr(p, "path", "")
        if len(p.shape) not in (2, 3, 4) or (self.exclude_embeddings and "embedding" in path.lower()):
            return True
        return any(re.search(pattern, path) for pattern in self.exclude_layers)

    def start(self, parameter: Tensor) -> list[np.ndarray]:
        """One momentum, or Adam's two slots."""
        count = 2 if self._by_adam(parameter) else 1
        return [np.zeros(tuple(parameter.shape), parameter.dtype.numpy) for _ in range(count)]

    def rates(self, rate: float, step: int) -> list[float]:
        """Adam's α."""
        root = math.sqrt(bias_correction(self.adam_beta_2, step))
        return [rate * self.adam_lr_ratio * root / bias_correction(self.adam_beta_1, step)]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        rate = scalars[0]
        if len(slots) == 2:
            if self.adam_weight_decay:
                parameter = parameter - parameter * self.adam_weight_decay * (rate * self.adam_lr_ratio)
            m = slots[0] + (gradient - slots[0]) * (1.0 - self.adam_beta_1)
            v = slots[1] + (gradient * gradient - slots[1]) * (1.0 - self.adam_beta_2)
            return [parameter - m * scalars[1] / (G.sqrt(v) + self.epsilon), m, v]
        if self.muon_weight_decay:
            parameter = parameter - parameter * self.muon_weight_decay * rate
        m = slots[0] * self.momentum + gradient
        along = gradient + m * self.momentum if self.nesterov else m
        shape = tuple(parameter.shape)
        flat = along.reshape(-1, shape[-1])
        step = self._orthogonal(flat)
        if self.rms_rate:
            step = step * (math.sqrt(max(flat.shape)) * self.rms_rate)
        else:
            step = step * math.sqrt(max(1.0, flat.shape[0] / flat.shape[1]))
        return [parameter - step.reshape(*shape) * rate, m]

    def _orthogonal(self, x: Tensor) -> Tensor:
        tall = x.shape[0] > x.shape[1]
        x = G.transpose(x, 0, 1) if tall else x
        x = x / (G.sqrt(G.sum(x * x)) + self.epsilon)
        for _ in range(self.ns_steps):
            a = G.matmul(x, G.transpose(x, 0, 1))
            b = a * self.muon_b + G.matmul(a, a) * self.muon_c
            x = x * self.muon_a + G.matmul(b, x)
        return G.transpose(x, 0, 1) if tall else x


class ScheduleFreeAdamW(Optimizer):
    """AdamW that needs no schedule: gradients at a point between the iterates and their mean (Defazio et al. 2024).

    The parameters are that point while training; ``eval_values`` gives the mean, which is what to judge by.
    """

    slot_names = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: Any = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        if not 0 < beta_1 < 1:
            raise ValueError(f"beta_1={beta_1}: it must lie between 0 and 1")
        self.beta_1, self.beta_2, self.epsilon, self.warmup_steps = beta_1, beta_2, epsilon, warmup_steps

    def start(self, parameter: Tensor) -> list[np.ndarray]:
        """The iterate z, which begins at the parameter, and the mean square."""
        values = np.array(parameter.detach().numpy())
        return [values, np.zeros_like(values)]

    def rates(self, rate: float, step: int) -> list[float]:
        """The warmed-up rate, the bias correction and the share of the new iterate in the mean."""
        warm = rate * min(1.0, step / self.warmup_steps) if self.warmup_steps else rate
        return [warm, 1.0 / bias_correction(self.beta_2, step), 1.0 / step]

    def new_value(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> list[Tensor]:
        """See the class."""
        z, v = slots
        v = v * self.beta_2 + gradient * gradient * (1.0 - self.beta_2)
        x = (parameter - z * (1.0 - self.beta_1)) / self.beta_1
        z = z - gradient * scalars[1] / (G.sqrt(v * scalars[2]) + self.epsilon)
        x = x * (1.0 - scalars[3]) + z * scalars[3]
        return [x * self.beta_1 + z * (1.0 - self.beta_1), z, v]

    def eval_values(self) -> list[np.ndarray]:
        """The mean of the iterates, one array for each parameter."""
        found = []
        for p, (a, _) in zip(self._parameters, self._layout):
            z = self.slots[a].numpy()
            found.append((p.numpy() - (1.0 - self.beta_1) * z) / self.beta_1)
        return found
