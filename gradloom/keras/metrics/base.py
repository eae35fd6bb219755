"""Metric: numbers kept over batches in variables that a training step's own program rewrites.

``update_state`` only records; nothing is looked at until ``result``, which computes with NumPy from the variables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras import config, dtype_policies, initializers, tree
from gradloom.keras.losses.base import fit_weight
from gradloom.keras.losses.functions import squeeze_or_expand
from gradloom.keras.operations import as_tensor
from gradloom.keras.variables import Variable
from gradloom.modes import no_grad
from gradloom.tape import composite
from gradloom.tensor import Tensor, from_numpy


class Metric:
    """Base: ``update_state`` with each batch, ``result`` when asked, ``reset_state`` in between.

    Parameters
    ----------
    name : under which it is reported.
    """

    # only the order of one sample's scores matters, so those before a softmax do as well as probabilities
    by_rank = False

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.name = name or config.unique_name(config.snake_case(type(self).__name__))
        # results do not follow the layers' policy: counts in 16 bits would stop at 2048
        self.dtype_policy = dtype_policies.get(dtype or config.floatx())
        self._dtype = config.standardize_dtype(self.dtype_policy.compute_dtype)
        self._variables: list[Variable] = []
        self.built = True

    @property
    def dtype(self) -> str:
        """In which it counts."""
        return self._dtype

    def add_weight(
        self, shape: Any = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """A variable that is kept over batches, zeros unless an initialiser says otherwise."""
        return self.add_variable(shape, initializer or "zeros", dtype, name=name)

    def add_variable(
        self, shape: Any, initializer: Any = "zeros", dtype: Any = None, aggregation: str = "sum", name: Any = None
    ) -> Variable:
        """A variable that is kept over batches."""
        kind = config.standardize_dtype(dtype or self._dtype)
        value = initializers.call(initializers.get(initializer), tuple(shape), kind)
        made = Variable(value, dtype=kind, trainable=False, name=name or "variable")
        made.path = f"{self.name}/{made.name}"
        made.__dict__["_start"] = made.numpy().copy()
        self._variables.append(made)
        return made

    @property
    def variables(self) -> list[Variable]:
        """What is kept, that of metrics in attributes included."""
        found = list(self._variables)
        for name, value in self.__dict__.items():
            leaves = tree.flatten(value) if type(value) in (list, tuple, dict) and name != "_variables" else [value]
            for leaf in leaves:
                more = leaf.variables if isinstance(leaf, Metric) else [leaf] if isinstance(leaf, Variable) else []
                found += [v for v in more if not any(v is x for x in found)]
        return found

    non_trainable_variables = variables

    def reset_state(self) -> None:
        """Forget everything that was added."""
        for v in self.variables:
            start = v.__dict__.get("_start")
            put(v, np.zeros(v.shape, v.dtype.numpy) if start is None else start)

    reset_states = reset_state

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        raise NotImplementedError(f"{type(self).__name__} has no update_state method")

    def result(self) -> Any:
        """The number over all that was added."""
        raise NotImplementedError(f"{type(self).__name__} has no result method")

    def stateless_update_state(self, metric_variables: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """The variables' values after a batch, from those before; the metric's own are as they were afterwards."""
        kept = [v.numpy().copy() for v in self.variables]
        for v, value in zip(self.variables, metric_variables):
            v.assign(value)
        self.update_state(*args, **kwargs)
        found = [from_numpy(v.numpy().copy()) for v in self.variables]
        for v, value in zip(self.variables, kept):
            put(v, value)
        return found

    def stateless_reset_state(self) -> list[Any]:
        """The variables' values at the start; the metric's own are as they were afterwards."""
        kept = [v.numpy().copy() for v in self.variables]
        self.reset_state()
        found = [from_numpy(v.numpy().copy()) for v in self.variables]
        for v, value in zip(self.variables, kept):
            put(v, value)
        return found

    def stateless_result(self, metric_variables: list[Any]) -> Any:
        """The result for these values of the variables."""
        kept = [v.numpy().copy() for v in self.variables]
        for v, value in zip(self.variables, metric_variables):
            v.assign(value)
        found = self.result()
        for v, value in zip(self.variables, kept):
            put(v, value)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and give the result so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """Name and dtype."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """The metric that gave this configuration."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def put(variable: Variable, values: Any) -> None:
    """Set a variable at once, not as a step of the tape, which would then differ from the steps before."""
    variable.data = from_numpy(np.array(values, variable.dtype.numpy, order="C"))


class Number(float):
    """A result: a float that also answers to what a 0-d tensor is asked."""

    shape: tuple[int, ...] = ()
    ndim = 0

    def numpy(self) -> np.float32:
        """As a NumPy number."""
        return np.float32(self)

    def item(self) -> float:
        """As a plain float."""
        return float(self)

    @property
    def dtype(self) -> Any:
        """float32."""
        return dtypes.float32


def number(value: Any) -> Any:
    """A result that was computed with NumPy: a :class:`Number`, or a tensor of several."""
    array = np.array(value, np.float32)
    return Number(array) if array.ndim == 0 else from_numpy(array)


@composite
def _more(total: Tensor, count: Tensor, values: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    values = G.cast(values.detach(), total.dtype)
    if weight is None:
        return total + G.sum(values), count + float(values.numel())
    weight = G.cast(weight, total.dtype)
    full = G.broadcast_to(weight, values.shape)
    return total + G.sum(values * full), count + G.sum(full)


class Mean(Metric):
    """The mean of the numbers given to ``update_state``."""

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), name="total")
        self.count = self.add_variable((), name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add numbers of any shape, each with its weight where weights are given."""
        with no_grad():
            values = as_tensor(values)
            if sample_weight is None:
                total, count = _more(self.total, self.count, values)
            else:
                weight = as_tensor(sample_weight)
                values, weight = _weighted(values, weight)
                total, count = _more(self.total, self.count, values, weight)
            self.total._write(total)
            self.count._write(count)

    def result(self) -> Any:
        """The mean, 0.0 where nothing was added."""
        total, count = self.total.numpy(), self.count.numpy()
        return number(total / count if count else 0.0)


def _weighted(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights beside values of another rank: values of more axes are averaged over those that have no weights."""
    weight = fit_weight(weight, values) if weight.ndim > values.ndim else weight
    if 0 < weight.ndim < values.ndim:
        if tuple(weight.shape) == tuple(values.shape[: weight.ndim]):
            values = values.reshape(*weight.shape, -1).mean(-1)
        else:
            weight = fit_weight(weight, values)
    return values, weight


@composite
def _plus(total: Tensor, values: Tensor, weight: Tensor | None = None) -> Tensor:
    values = G.cast(values.detach(), total.dtype)
    if weight is not None:
        values = values * G.cast(weight, total.dtype)
    return total + G.sum(values)


class Sum(Metric):
    """The sum of the numbers given to ``update_state``."""

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add numbers of any shape."""
        with no_grad():
            values = as_tensor(values)
            if sample_weight is None:
                self.total._write(_plus(self.total, values))
            else:
                values, weight = _weighted(values, as_tensor(sample_weight))
                self.total._write(_plus(self.total, values, weight))

    def result(self) -> Any:
        """The sum."""
        return number(self.total.numpy())


class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred) that gives a number a sample."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name or getattr(fn, "__name__", "metric"), dtype)
        self._fn, self._options = fn, kwargs
        self._ours = (getattr(fn, "__module__", None) or "").startswith("gradloom.")

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """One number a sample."""
        return self._fn(y_true, y_pred, **self._options)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Add a batch. Positions that the predictions' mask leaves out do not count."""
        mask = getattr(y_pred, "_keras_mask", None)
        with no_grad():
            y_true, y_pred = as_tensor(y_true), as_tensor(y_pred)
            if not self._ours and not y_pred.dtype.is_floating:
                y_pred = y_pred.to(config.as_dtype(self.dtype))
            values = as_tensor(self.values(y_true, y_pred))
            if mask is not None:
                m = as_tensor(mask).to(dtypes.float32)
                m, values = squeeze_or_expand(m, values)
                sample_weight = m if sample_weight is None else fit_weight(as_tensor(sample_weight), m) * m
            super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype, function and options."""
        from gradloom.keras.saving import serialize_keras_object

        found = {**super().get_config(), **self._options}
        if type(self) is MeanMetricWrapper:
            found["fn"] = serialize_keras_object(self._fn)
        return found

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """The metric that gave this configuration."""
        from gradloom.keras.saving import deserialize_keras_object

        return cls(**{k: deserialize_keras_object(v) if k == "fn" else v for k, v in config.items()})
