"""The losses as classes, each over its function, and their names."""

from __future__ import annotations

from typing import Any

from gradloom.errors import ShapeError
from gradloom.keras.losses import functions as L
from gradloom.keras.losses.base import FunctionLoss, Loss, LossFunctionWrapper, dims
from gradloom.keras.names import from_identifier, identifier_of

MEAN = "sum_over_batch_size"


def _wrapped(name: str, fn: Any, default: str, doc: str) -> Any:
    """A loss without options of its own."""

    def __init__(self: Any, reduction: str | None = MEAN, name: str = default, dtype: Any = None) -> None:
        LossFunctionWrapper.__init__(self, fn, reduction, name, dtype)

    return type(name, (LossFunctionWrapper,), {"__init__": __init__, "__doc__": doc, "__module__": __name__})


MeanSquaredError: Any = _wrapped(
    "MeanSquaredError", L.mean_squared_error, "mean_squared_error", "(y_pred - y_true)², the mean over the last axis."
)
MeanAbsoluteError: Any = _wrapped(
    "MeanAbsoluteError", L.mean_absolute_error, "mean_absolute_error", "|y_pred - y_true|, mean over the last axis."
)
MeanAbsolutePercentageError: Any = _wrapped(
    "MeanAbsolutePercentageError",
    L.mean_absolute_percentage_error,
    "mean_absolute_percentage_error",
    "100 |(y_true - y_pred) / y_true|.",
)
MeanSquaredLogarithmicError: Any = _wrapped(
    "MeanSquaredLogarithmicError",
    L.mean_squared_logarithmic_error,
    "mean_squared_logarithmic_error",
    "(log(y_true + 1) - log(y_pred + 1))².",
)
KLDivergence: Any = _wrapped("KLDivergence", L.kl_divergence, "kl_divergence", "Σ y_true log(y_true / y_pred).")
Poisson: Any = _wrapped("Poisson", L.poisson, "poisson", "y_pred - y_true log y_pred.")
LogCosh: Any = _wrapped("LogCosh", L.log_cosh, "log_cosh", "log cosh(y_pred - y_true).")
Hinge: Any = _wrapped("Hinge", L.hinge, "hinge", "max(1 - y_true y_pred, 0).")
SquaredHinge: Any = _wrapped("SquaredHinge", L.squared_hinge, "squared_hinge", "max(1 - y_true y_pred, 0)².")
CategoricalHinge: Any = _wrapped("CategoricalHinge", L.categorical_hinge, "categorical_hinge", "max(neg - pos + 1, 0).")
CTC: Any = _wrapped("CTC", L.ctc, "ctc", "Connectionist temporal classification (Graves et al. 2006).")


class Huber(LossFunctionWrapper):
    """d²/2 up to ``delta``, linear above (Huber 1964)."""

    def __init__(
        self, delta: float = 1.0, reduction: str | None = MEAN, name: str = "huber_loss", dtype: Any = None
    ) -> None:
        super().__init__(L.huber, reduction, name, dtype, delta=delta)


class CosineSimilarity(LossFunctionWrapper):
    """Minus the cosine of the angle between answers and predictions."""

    def __init__(
        self, axis: int = -1, reduction: str | None = MEAN, name: str = "cosine_similarity", dtype: Any = None
    ) -> None:
        super().__init__(L.cosine_similarity, reduction, name, dtype, axis=axis)


class _Crossentropy(LossFunctionWrapper):
    """Base of those that take scores or probabilities."""

    @property
    def from_logits(self) -> Any:  # type: ignore[override]
        """Whether predictions are scores before the softmax or sigmoid."""
        return self._options["from_logits"]


class BinaryCrossentropy(_Crossentropy):
    """-y log p - (1 - y) log(1 - p), the mean over the last axis; answers 0 or 1, (n,) or (n, k).

    Parameters
    ----------
    label_smoothing : s turns answers y into y (1 - s) + s / 2.
    """

    replaces = "sigmoid"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(L.binary_crossentropy, reduction, name, dtype, **options)


class BinaryFocalCrossentropy(_Crossentropy):
    """Binary cross-entropy times (1 - p of the answer)^gamma (Lin et al. 2017)."""

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        options = {
            "apply_class_balancing": apply_class_balancing, "alpha": alpha, "gamma": gamma,
            "from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis,
        }  # fmt: skip
        super().__init__(L.binary_focal_crossentropy, reduction, name, dtype, **options)


class CategoricalCrossentropy(_Crossentropy):
    """-Σ y log p, answers being one-hot or probabilities (n, classes).

    Parameters
    ----------
    label_smoothing : s turns answers y into y (1 - s) + s / classes (Szegedy et al. 2016).
    """

    replaces = "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(L.categorical_crossentropy, reduction, name, dtype, **options)


class CategoricalFocalCrossentropy(_Crossentropy):
    """Categorical cross-entropy times alpha (1 - p)^gamma, class by class (Lin et al. 2017)."""

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = MEAN,
        name: str = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        options = {
            "alpha": alpha, "gamma": gamma, "from_logits": from_logits, "label_smoothing": label_smoothing,
            "axis": axis,
        }  # fmt: skip
        super().__init__(L.categorical_focal_crossentropy, reduction, name, dtype, **options)


class SparseCategoricalCrossentropy(_Crossentropy):
    """-log p[answer], answers being class numbers (n,) or (n, 1), predictions (n, classes).

    Parameters
    ----------
    ignore_class : answers of this number count as 0.
    """

    replaces = "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = MEAN,
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(L.sparse_categorical_crossentropy, reduction, name, dtype, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """-log p[answer] of each sample."""
        return L.sparse_categorical_crossentropy(y_true, y_pred, **self._options)

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Answers have the output's shape less its last axis, or 1 there."""
        axis = self._options["axis"]
        plain = output[:-1] if axis in (-1, len(output)) else output[: axis - 1] + output[axis:]
        if target in (plain, plain + (1,)):
            return
        hint = "give one class number a sample"
        if target == output:
            hint = "one-hot answers go with the loss 'categorical_crossentropy'"
        raise ShapeError(
            f"loss {self.name!r}: answers of shape (n, {dims(target)}) are not class numbers for outputs of shape "
            f"(n, {dims(output)})",
            code="keras.target-shape",
            hint=hint,
        )


class CategoricalGeneralizedCrossEntropy(LossFunctionWrapper):
    """(1 - p^q) / q: robust against wrong labels (Zhang and Sabuncu 2018)."""

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = MEAN,
        name: str = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        if not 0 < q < 1:
            raise ValueError(f"q={q}: it must lie in the interval (0, 1)")
        super().__init__(L.categorical_generalized_cross_entropy, reduction, name, dtype, q=q)

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Answers are class numbers."""


class Dice(LossFunctionWrapper):
    """1 - 2 Σ y p / (Σ y + Σ p)."""

    def __init__(self, reduction: str | None = MEAN, name: str = "dice", axis: Any = None, dtype: Any = None) -> None:
        super().__init__(L.dice, reduction, name, dtype, axis=axis)


class Tversky(LossFunctionWrapper):
    """1 - both / (both + alpha false positives + beta false negatives) (Salehi et al. 2017)."""

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = MEAN,
        name: str = "tversky",
        axis: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(L.tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)


class Circle(LossFunctionWrapper):
    """Circle loss of normalised embeddings and their class numbers (Sun et al. 2020)."""

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = MEAN,
        name: str = "circle",
        dtype: Any = None,
    ) -> None:
        options = {"gamma": gamma, "margin": margin, "remove_diagonal": remove_diagonal}
        super().__init__(L.circle, reduction, name, dtype, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One number a sample."""
        return L.circle(y_true, y_pred, **self._options)

    def check_shapes(self, output: tuple[int, ...], target: tuple[int, ...]) -> None:
        """Answers are class numbers."""


_CLASSES = [
    BinaryCrossentropy, BinaryFocalCrossentropy, CTC, CategoricalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy, CategoricalHinge, Circle, CosineSimilarity, Dice, Hinge, Huber, KLDivergence,
    LogCosh, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError, Poisson,
    SparseCategoricalCrossentropy, SquaredHinge, Tversky,
]  # fmt: skip
_SHORT = {
    "mse": MeanSquaredError, "mae": MeanAbsoluteError, "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError, "kld": KLDivergence, "logcosh": LogCosh, "bce": BinaryCrossentropy,
    "log_cosh": LogCosh, "huber": Huber, "kl_divergence": KLDivergence,
}  # fmt: skip
_TABLE: dict[str, Any] = {}
for _cls in _CLASSES:
    _TABLE[_cls.__name__.lower()] = _cls
    _TABLE[_cls().name] = _cls
_TABLE |= _SHORT


def get(identifier: Any) -> Any:
    """The function of a loss's short or snake-case name, the object of a class's name or a configuration.

    Objects and functions are themselves; a class is called without arguments.
    """
    if isinstance(identifier, type):
        return identifier()
    if identifier is None or callable(identifier):
        return identifier
    found = from_identifier("loss", identifier, _TABLE)
    if isinstance(found, type) and isinstance(identifier, str):
        cls = found()
        return cls if identifier.lower() == found.__name__.lower() and identifier not in _SHORT else cls.fn
    return found() if isinstance(found, type) else found


def loss_object(identifier: Any) -> Loss | None:
    """The loss that ``compile(loss=...)`` means: a function of (y_true, y_pred) is wrapped."""
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()  # type: ignore[call-arg]  # the library's have defaults for all
    if callable(identifier):
        for name, fn in vars(L).items():
            if fn is identifier and name in _TABLE:
                return _TABLE[name]()
        return FunctionLoss(identifier)
    found = from_identifier("loss", identifier, _TABLE)
    if isinstance(found, type):
        return found()
    return found if isinstance(found, Loss) else FunctionLoss(found)


def serialize(loss: Any) -> Any:
    """A loss as a configuration."""
    return identifier_of(loss)


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss of a name or a configuration."""
    found = from_identifier("loss", name, _TABLE, custom_objects)
    return found() if isinstance(found, type) else found
