"""Networks as scikit-learn estimators: for pipelines, grid searches, calibration, ensembles and fairness tools.

    pipe = make_pipeline(StandardScaler(), Classifier(epochs=30))
    search = GridSearchCV(pipe, {"classifier__hidden": [(32,), (64, 64)]})

Needs scikit-learn (the extra `sklearn`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np

from gradloom import nn, optim
from gradloom.data import DataLoader, TensorDataset
from gradloom.errors import NotSupportedError
from gradloom.modes import no_grad
from gradloom.random import drawn_from
from gradloom.tensor import from_numpy, tensor
from gradloom.train import EarlyStopping, Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError:
    raise NotSupportedError(
        "gradloom.estimators needs scikit-learn 1.6 or later",
        code="estimators.sklearn",
        hint="pip install scikit-learn",
    ) from None

__all__ = ["Classifier", "Network", "Regressor"]


_EXPECTED = {
    "epochs": "expected is a number of at least 1",
    "batch_size": "expected is a number of at least 1",
    "hidden": "expected are numbers of at least 1",
    "validation_fraction": "expected is a share of at least 0 and less than 1",
    "patience": "expected is None or a number of at least 0",
}
REPEATS = 8  # how many times as many samples weights may make of them, to be taken for repetitions


def _repeated(X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Samples whose weights are whole numbers so many times, without weights; others as they are."""
    if (weight < 0).any() or (weight != np.floor(weight)).any() or not 0 < weight.sum() <= REPEATS * len(weight):
        return X, y, weight
    times = weight.astype(np.int64)
    return np.repeat(X, times, axis=0), np.repeat(y, times, axis=0), None


def _order(parts: Sequence[np.ndarray]) -> np.ndarray:
    """An order of samples that hangs on what they are, and not on how they were given."""
    keys = np.empty(len(parts[0]), np.uint64)
    rows = [np.ascontiguousarray(part).reshape(len(part), -1) for part in parts]
    for k in range(len(keys)):
        digest = blake2b(digest_size=8)
        for part in rows:
            digest.update(part[k])
        keys[k] = int.from_bytes(digest.digest(), "little")
    return np.argsort(keys, kind="stable")


class Network(BaseEstimator):
    """What both estimators are.

    What is learnt does not hang on the order of the samples. Weights of samples that are whole numbers say how often
    a sample is there; others scale its loss.

    Parameters
    ----------
    module : Module, or a function of (inputs, outputs) that gives one; optional
        The network, from (N, inputs) to (N, outputs). Unless given, linear layers of `hidden` sizes with ReLU between.
        A module is copied for each `fit`.
    hidden : sequence of int
    loss : callable, optional
        Of outputs and targets.
    optimizer : callable
        From parameters, with `lr` and `weight_decay`.
    learning_rate, weight_decay : float
    batch_size, epochs : int
    validation_fraction : float
        Share of the samples that are not trained on; their loss decides when to stop.
    patience : int, optional
        Stop after so many epochs without a better loss, with the best weights.
    precision : {"float32", "bfloat16", "float16"}, optional
    class_weight : dict or "balanced", optional
        For classifiers.
    random_state : int, RandomState or None
        What initial weights, order and dropout are drawn from.
    verbose : int
        0 silent, 1 progress, 2 a line an epoch.

    Attributes
    ----------
    module_ : Module
        The trained network.
    history_ : dict of list
        Values of each epoch.
    n_iter_ : int
        Epochs.
    """

    module_: nn.Module
    _outputs: int

    def __init__(
        self,
        module: nn.Module | Callable[[int, int], nn.Module] | None = None,
        hidden: Sequence[int] = (64,),
        *,
        loss: Any = None,
        optimizer: Callable[..., Any] = optim.AdamW,
        learning_rate: float = 0.01,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        epochs: int = 50,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        precision: str | None = None,
        class_weight: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.module, self.hidden, self.loss, self.optimizer = module, hidden, loss, optimizer
        self.learning_rate, self.weight_decay, self.batch_size, self.epochs = (
            learning_rate,
            weight_decay,
            batch_size,
            epochs,
        )
        self.validation_fraction, self.patience, self.precision = validation_fraction, patience, precision
        self.class_weight, self.random_state, self.verbose = class_weight, random_state, verbose

    # -- the network ----------------------------------------------------------------------------------

    def _built(self, inputs: int, outputs: int) -> nn.Module:
        if isinstance(self.module, nn.Module):
            return copy.deepcopy(self.module)
        if self.module is not None:
            return self.module(inputs, outputs)
        sizes = [inputs, *self.hidden]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))

    def _check_parameters(self) -> None:
        """ValueError for what no network can be trained with."""
        sizes = self.hidden if self.module is None else ()
        wrong = {
            "epochs": self.epochs < 1,
            "batch_size": self.batch_size < 1,
            "hidden": any(not isinstance(n, (int, np.integer)) or n < 1 for n in sizes),
            "validation_fraction": not 0 <= self.validation_fraction < 1,
            "patience": self.patience is not None and self.patience < 0,
        }
        for name, bad in wrong.items():
            if bad:
                raise ValueError(f"{name}={getattr(self, name)!r}: {_EXPECTED[name]}")

    def _train(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None, loss: Any, outputs: int) -> None:
        self._check_parameters()
        seed = int(check_random_state(self.random_state).randint(2**31))
        if weight is not None:
            X, y, weight = _repeated(X, y, weight)
        parts = [np.ascontiguousarray(X, np.float32), y]
        if weight is not None:
            parts.append(np.ascontiguousarray(weight, np.float32))
        order = _order(parts)[np.random.default_rng(seed).permutation(len(X))]
        kept = round(len(X) * self.validation_fraction)
        if kept == len(X):
            raise ValueError(f"validation_fraction={self.validation_fraction} leaves no samples to train on")
        # nothing here draws from, or moves, the generator that the rest of the program uses
        with drawn_from(seed):
            self._outputs = outputs
            self.module_ = self._built(X.shape[1], outputs)
            optimizer = self.optimizer(self.module_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
            trainer = Trainer(self.module_, optimizer, loss, precision=self.precision, weighted=weight is not None)

            def loader(rows: np.ndarray, shuffle: bool) -> DataLoader:
                data = TensorDataset(*(tensor(p[rows]) for p in parts))
                return DataLoader(data, min(self.batch_size, len(rows)), shuffle=shuffle, generator=seed)

            callbacks = []
            if self.patience is not None:
                monitor = "val_loss" if kept else "loss"
                callbacks.append(EarlyStopping(monitor, patience=self.patience + 1, restore_best_weights=True))
            history = trainer.fit(
                loader(order[kept:], True), self.epochs, validation=loader(order[:kept], False) if kept else None,
                callbacks=callbacks, verbose=self.verbose,
            )  # fmt: skip
        self.history_ = history.history
        self.n_iter_ = len(history.epoch)

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        # the plain network predicts in float64, so that a row's prediction does not hang on the rows beside it
        wide = self.module is None
        X = np.ascontiguousarray(validate_data(self, X, reset=False, dtype=np.float64 if wide else np.float32))
        module = copy.deepcopy(self.module_).double() if wide else self.module_
        module.eval()
        with no_grad():
            parts = [module(from_numpy(X[k : k + 1024])).numpy() for k in range(0, len(X), 1024)]
        return np.concatenate(parts)

    def __getstate__(self) -> dict[str, Any]:
        # tensors are not pickled: weights travel as arrays, and the network is built again around them
        state = dict(super().__getstate__())
        module = state.pop("module_", None)
        if module is not None:
            state["_weights"] = {name: np.array(value.detach().numpy()) for name, value in module.state_dict().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            with drawn_from(0):
                self.module_ = self._built(self.n_features_in_, self._outputs)
            self.module_.load_state_dict({name: tensor(value) for name, value in weights.items()})


class Classifier(ClassifierMixin, Network):
    """A network that classifies; its outputs are logits, one for each class. Parameters: see :class:`Network`."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Classifier:
        """Train on samples (N, inputs) and their classes (N,)."""
        from sklearn.utils.class_weight import compute_sample_weight

        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, target = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"Classifier needs samples of at least 2 classes, but the data has one class: {self.classes_[0]!r}"
            )
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float32)
        if self.class_weight is not None:
            of_class = compute_sample_weight(self.class_weight, y)
            weight = of_class if weight is None else weight * of_class
        loss = nn.CrossEntropyLoss() if self.loss is None else self.loss
        self._train(X, target.astype(np.int64), weight, loss, len(self.classes_))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits (N, classes); of two classes the difference, (N,)."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, classes), float64, each row sums to 1."""
        scores = self._scores(X).astype(np.float64)
        grown = np.exp(scores - scores.max(1, keepdims=True))
        return grown / grown.sum(1, keepdims=True)  # type: ignore[no-any-return]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of `predict_proba`."""
        scores = self._scores(X).astype(np.float64)
        scores -= scores.max(1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(1, keepdims=True))  # type: ignore[no-any-return]

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class of each sample."""
        which = self._scores(X).argmax(1)
        return self.classes_[which]  # type: ignore[no-any-return]


class Regressor(RegressorMixin, Network):
    """A network that predicts numbers, one or several for each sample. Parameters: see :class:`Network`."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Regressor:
        """Train on samples (N, inputs) and numbers (N,) or (N, outputs)."""
        X, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=np.float32)
        self._flat = y.ndim == 1
        target = np.ascontiguousarray(y, np.float32).reshape(len(y), -1)
        loss = nn.MSELoss() if self.loss is None else self.loss
        self._train(X, target, weight, loss, target.shape[1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers of each sample, float64, (N,) or (N, outputs) as they were in `fit`."""
        found = self._scores(X).astype(np.float64)
        return found[:, 0] if self._flat else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
