"""Loss: values reduced to the number that is minimised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.keras import config, dtype_policies, tree
from gradloom.keras.losses.functions import squeeze_or_expand
from gradloom.keras.operations import as_tensor
from gradloom.tape import composite
from gradloom.tensor import Tensor

REDUCTIONS = ("sum_over_batch_size", "sum", "none", "mean", "mean_with_sample_weight")


@composite
def _reduced(values: Tensor, weight: Tensor | None = None, reduction: str = "sum_over_batch_size") -> Tensor:
    if weight is not None:
        values = values * weight
    if reduction == "none":
        return values
    total = G.sum(values)
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weight is not None:
        whole = G.sum(G.broadcast_to(weight, values.shape))
        return G.where(whole == 0.0, total * 0.0, total / whole)
    return total / float(max(values.numel(), 1))


def fit_weight(weight: Tensor, values: Tensor) -> Tensor:
    """Weights with the rank of the values: axes of size 1 added behind, or one dropped."""
    if weight.ndim == values.ndim + 1 and weight.shape[-1] == 1:
        return weight.reshape(*weight.shape[:-1])
    if 0 < weight.ndim < values.ndim:
        return weight.reshape(*weight.shape, *([1] * (values.ndim - weight.ndim)))
    return weight


def reduced(values: Tensor, weight: Any, reduction: str, mask: Any = None) -> Tensor:
    """Values, each times its weight, reduced to a number; masked ones count for nothing."""
    weight = None if weight is None else as_tensor(weight).to(values.dtype)
    if mask is not None:
        m = as_tensor(mask).to(values.dtype)
        if reduction in ("sum_over_batch_size", "mean"):
            m = m * (float(m.numel()) / (m.sum() + config.epsilon()))
        m, values = squeeze_or_expand(m, values)
        weight = m if weight is None else fit_weight(weight, m) * m
    if weight is None:
        return _reduced(values, reduction=reduction)
    return _reduced(values, fit_weight(weight, values), reduction=reduction)


class Loss:
    """What is minimised: ``call`` gives one number a sample, which are reduced to one.

    ``replaces`` names the activation whose input may be taken in place of its output: a model whose last layer is that
    activation hands over its scores, which is the same function without the loss of digits.

    Parameters
    ----------
    reduction : "sum_over_batch_size" (the mean), "sum", "mean_with_sample_weight" or "none".
    dtype : in which it is computed; that of the predictions where None.
    """

    replaces: str | None = None
    from_logits: Any = False

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        self.name = name or config.snake_case(type(self).__name__)
        reduction = "none" if reduction is None else reduction
        if reduction not in REDUCTIONS:
            raise ValueError(f"Invalid value for argument `reduction`: {reduction!r}. Expected one of {REDUCTIONS}")
        self.reduction = "sum_over_batch_size" if reduction == "mean" else reduction
        self._dtype = None if dtype is None else dtype_policies.get(dtype).compute_dtype

    @property
    def dtype(self) -> str:
        """The dtype of the result."""
        return self._dtype or config.floatx()

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """One number a sample: y_true (n, ...), y_pred (n, ...) to (n, ...)."""
        raise NotImplementedError(f"{type(self).__name__} has no call method")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch, 0-d unless there is no reduction."""
        mask = getattr(y_pred, "_keras_mask", None)
        y_pred = tree.map_structure(lambda x: as_tensor(x).to(config.as_dtype(self.dtype)), y_pred)
        y_true = tree.map_structure(self._computed, y_true)
        values = as_tensor(self.call(y_true, y_pred))
        own = getattr(values, "_keras_mask", None)
        if own is not None:
            mask = own if mask is None else G.logical_and(mask, own)
        return reduced(values, sample_weight, self.reduction, mask)

    def _computed(self, x: Any) -> Any:
        """Floats in the loss's dtype; whole numbers, which may be classes, as they are."""
        x = as_tensor(x)
        return x.to(config.as_dtype(self.dtype)) if x.dtype.is_floating else x

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Refuse answers whose shape does not go with the model's output, both without the batch's axis."""

    def get_config(self) -> dict[str, Any]:
        """Name and reduction."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss that gave this configuration."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class LossFunctionWrapper(Loss):
    """A loss made of a function of (y_true, y_pred) that gives a number a sample, and its options."""

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", "loss"), reduction, dtype)
        self.fn, self._options = fn, kwargs

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """What the function gives."""
        if isinstance(y_true, Tensor) and isinstance(y_pred, Tensor):
            y_true, y_pred = squeeze_or_expand(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._options)

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """The shapes must be equal, up to a last axis of size 1."""
        if (getattr(self.fn, "__module__", "") or "").startswith("gradloom.keras"):
            check_equal(self.name, output, target)

    def get_config(self) -> dict[str, Any]:
        """Name, reduction, function and options."""
        from gradloom.keras.saving import serialize_keras_object

        found = {**super().get_config(), **{k: serialize_keras_object(v) for k, v in self._options.items()}}
        if type(self) is LossFunctionWrapper or type(self) is FunctionLoss:
            found["fn"] = serialize_keras_object(self.fn)
        return found

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss that gave this configuration."""
        from gradloom.keras.saving import deserialize_keras_object

        return cls(**{k: deserialize_keras_object(v) if k == "fn" else v for k, v in config.items()})


class FunctionLoss(LossFunctionWrapper):
    """A loss made of a user's function, which may give a number a sample, or one for the batch."""

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """What the function gives."""
        return self.fn(y_true, y_pred, **self._options)

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Whatever the function takes is right."""


def check_equal(name: str, output: tuple[int, ...], target: tuple[int, ...]) -> None:
    """ShapeError for answers of another shape than the output, up to a last axis of size 1."""
    if output == target or output == target + (1,) or target == output + (1,):
        return
    hint = "give answers of the shape of the output"
    if len(output) == len(target) + 1 or (target and target[-1] == 1):
        hint = "for class numbers use the loss 'sparse_categorical_crossentropy', or make them one-hot"
    raise ShapeError(
        f"loss {name!r}: answers of shape (n, {dims(target)}) do not go with outputs of shape (n, {dims(output)})",
        code="keras.target-shape",
        hint=hint,
    )


def dims(shape: tuple[int, ...]) -> str:
    """Sizes as text."""
    return ", ".join(map(str, shape))
