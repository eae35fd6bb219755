"""Losses, by the names that Keras gives them.

``values(y_true, y_pred, from_logits)`` gives one number a sample (or a position), and the loss of a batch is their
mean. Cross-entropies take scores before the softmax or sigmoid (``from_logits=True``) or probabilities behind it. From
probabilities they clip by 1e-7, as Keras does; a model whose last layer is that softmax or sigmoid hands over its
scores instead, which is the same function without the loss of digits.
"""

from __future__ import annotations

from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.keras.names import lookup
from gradloom.metrics.mean import as_tensor, match_rank
from gradloom.tape import composite
from gradloom.tensor import Tensor

EPSILON = 1e-7  # Keras' backend epsilon


@composite
def _minus_log_picked(y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
    """-log p at each answer. Compare and sum fuse into the row that makes log p; a gather would not."""
    index = y_true if y_true.ndim == y_pred.ndim else G.unsqueeze(y_true, -1)
    index = G.cast(index, dtypes.int64)
    classes = y_pred.shape[-1]
    G.check_labels(index, classes, None)
    chosen = G.eq(G.arange(classes), index)
    if from_logits:
        z = G.sub(y_pred, G.amax(G.detach(y_pred), -1, True))
        return G.sub(G.log(G.sum(G.exp(z), -1)), G.sum(G.where(chosen, z, 0.0), -1))
    log_p = G.log(G.clamp(y_pred, EPSILON, 1.0 - EPSILON))
    return G.neg(G.sum(G.where(chosen, log_p, 0.0), -1))


class Loss:
    """The mean, over samples, of ``values``.

    ``replaces`` names the activation whose input may be taken in place of its output, see the module's text.
    """

    replaces: str | None = None
    from_logits = False

    def __init__(self, name: str) -> None:
        self.name = name

    def values(self, y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
        """One number a sample: y_true (n, ...), y_pred (n, ...) to (n, ...)."""
        raise NotImplementedError

    def mean(self, y_true: Tensor, y_pred: Tensor, weight: Tensor | None = None, from_logits: bool = False) -> Tensor:
        """The loss of a batch, 0-d: the sum of values, each times its sample's weight, over their number."""
        values = self.values(y_true, y_pred, from_logits)
        if weight is not None:
            values = values * weight.reshape(*weight.shape, *([1] * (values.ndim - weight.ndim)))
        return values.mean()

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch, 0-d."""
        weight = None if sample_weight is None else as_tensor(sample_weight)
        return self.mean(as_tensor(y_true), as_tensor(y_pred), weight, self.from_logits)

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Refuse answers whose shape does not go with the model's output, both without the batch's axis."""
        if output == target or output == target + (1,) or target == output + (1,):
            return
        hint = "give answers of the shape of the output"
        if len(output) == len(target) + 1:
            hint = "for class numbers use the loss 'sparse_categorical_crossentropy', or make them one-hot"
        raise ShapeError(
            f"loss {self.name!r}: answers of shape (n, {_dims(target)}) do not go with outputs of shape "
            f"(n, {_dims(output)})",
            code="keras.target-shape",
            hint=hint,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


def _dims(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


class SparseCategoricalCrossentropy(Loss):
    """-log p[answer], answers being class numbers (n,) or (n, 1), predictions (n, classes)."""

    replaces = "softmax"

    def __init__(self, from_logits: bool = False, name: str = "sparse_categorical_crossentropy") -> None:
        super().__init__(name)
        self.from_logits = from_logits

    def values(self, y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
        """-log p[answer] of each sample, (n, ...)."""
        return _minus_log_picked(y_true, y_pred, from_logits)

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Answers have the output's shape less its last axis, or 1 there."""
        if target == output[:-1] or target == output[:-1] + (1,):
            return
        hint = "give one class number a sample"
        if target == output:
            hint = "one-hot answers go with the loss 'categorical_crossentropy'"
        raise ShapeError(
            f"loss {self.name!r}: answers of shape (n, {_dims(target)}) are not class numbers for outputs of shape "
            f"(n, {_dims(output)})",
            code="keras.target-shape",
            hint=hint,
        )


class CategoricalCrossentropy(Loss):
    """-Σ y log p, answers being one-hot or probabilities (n, classes).

    Parameters
    ----------
    label_smoothing : s turns answers y into y (1 - s) + s / classes (Szegedy et al. 2016).
    """

    replaces = "softmax"

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, name: str = "categorical_crossentropy"
    ) -> None:
        super().__init__(name)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def values(self, y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
        """-Σ y log p of each sample, (n, ...)."""
        y = y_true.to(y_pred.dtype)
        if self.label_smoothing:
            y = y * (1.0 - self.label_smoothing) + self.label_smoothing / y_pred.shape[-1]
        if from_logits:
            log_p = G.log_softmax(y_pred, -1)
        else:
            p = y_pred / y_pred.sum(-1, keepdim=True)
            log_p = G.log(G.clamp(p, EPSILON, 1.0 - EPSILON))
        return -(y * log_p).sum(-1)


class BinaryCrossentropy(Loss):
    """-y log p - (1 - y) log(1 - p), the mean over the last axis; answers 0 or 1, (n,) or (n, k).

    Parameters
    ----------
    label_smoothing : s turns answers y into y (1 - s) + s / 2.
    """

    replaces = "sigmoid"

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, name: str = "binary_crossentropy"
    ) -> None:
        super().__init__(name)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing

    def values(self, y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
        """The mean over the last axis, (n, ...)."""
        y = match_rank(y_true, y_pred).to(y_pred.dtype)
        if self.label_smoothing:
            y = y * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        if from_logits:
            # log(1 + e^x) - x y, written so that exp never overflows
            each = G.clamp(y_pred, min=0.0) - y_pred * y + G.log1p(G.exp(-G.abs(y_pred)))
        else:
            p = G.clamp(y_pred, EPSILON, 1.0 - EPSILON)
            each = -(y * G.log(p) + (1.0 - y) * G.log(1.0 - p))
        return each.mean(-1) if each.ndim > 1 else each


class MeanSquaredError(Loss):
    """(y_pred - y_true)², the mean over the last axis."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
        """The mean over the last axis, (n, ...)."""
        difference = y_pred - match_rank(y_true, y_pred).to(y_pred.dtype)
        squared = difference * difference
        return squared.mean(-1) if squared.ndim > 1 else squared


class MeanAbsoluteError(Loss):
    """|y_pred - y_true|, the mean over the last axis."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
        """The mean over the last axis, (n, ...)."""
        distance = G.abs(y_pred - match_rank(y_true, y_pred).to(y_pred.dtype))
        return distance.mean(-1) if distance.ndim > 1 else distance


class FunctionLoss(Loss):
    """A loss made of a function ``f(y_true, y_pred)`` that gives a number a sample, or one for the batch."""

    def __init__(self, function: Any) -> None:
        super().__init__(getattr(function, "__name__", "loss"))
        self.function = function

    def values(self, y_true: Tensor, y_pred: Tensor, from_logits: bool) -> Tensor:
        """What the function gives."""
        return self.function(y_true, y_pred)

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Whatever the function takes is right."""


_TABLE: dict[str, type[Loss]] = {
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
}


def get(loss: Any) -> Loss:
    """The loss of a name; an object of :class:`Loss` is itself; a function of (y_true, y_pred) is wrapped."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, type) and issubclass(loss, Loss):
        return loss()  # type: ignore[call-arg]  # each public loss has a default name
    return FunctionLoss(loss) if callable(loss) else lookup("loss", loss, _TABLE)()  # type: ignore[call-arg]
