"""Intersection over union, from a confusion matrix."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras.metrics.base import Metric, number
from gradloom.keras.operations import as_tensor
from gradloom.modes import no_grad
from gradloom.tape import composite
from gradloom.tensor import Tensor


@composite
def _confusion(y: Tensor, p: Tensor, w: Tensor, classes: int) -> Tensor:
    """(classes, classes): answers down, predictions across, as a product of one-hot matrices."""
    numbers = G.arange(classes)
    rows = G.cast(G.eq(G.unsqueeze(y, 1), numbers), dtypes.float32)
    columns = G.cast(G.eq(G.unsqueeze(p, 1), numbers), dtypes.float32)
    return G.matmul(G.transpose(rows * G.unsqueeze(w, 1), 0, 1), columns)


class _Confusion(Metric):
    """Base: the confusion matrix ``total_cm``."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(dtype, name)
        self.num_classes, self.ignore_class, self.axis = num_classes, ignore_class, axis
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        self.total_cm = self.add_variable((num_classes, num_classes), name="total_confusion_matrix")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        with no_grad():
            y, p = as_tensor(y_true), as_tensor(y_pred)
            if not self.sparse_y_true:
                y = y.argmax(self.axis)
            if not self.sparse_y_pred:
                p = p.argmax(self.axis)
            y, p = y.to(dtypes.int64).reshape(-1), p.to(dtypes.int64).reshape(-1)
            w = None if sample_weight is None else as_tensor(sample_weight).to(dtypes.float32).reshape(-1)
            w = G.ones((y.shape[0],), dtype=dtypes.float32) if w is None else w
            if w.shape[0] != y.shape[0]:
                w = w.repeat_interleave(y.shape[0] // max(w.shape[0], 1))
            if self.ignore_class is not None:
                w = w * (y != self.ignore_class).to(dtypes.float32)
            kind = self.total_cm.dtype
            if sample_weight is not None and not kind.is_floating and as_tensor(sample_weight).dtype.is_floating:
                warnings.warn(
                    f"metric {self.name!r}: `sample_weight` is float, and it counts in int ({kind.name}): casting may "
                    "lose fractions", stacklevel=3,
                )  # fmt: skip
            self.total_cm._write(self.total_cm.detach() + _confusion(y, p, w, self.num_classes).to(kind))

    def _shares(self, chosen: Any) -> np.ndarray:
        """Intersection over union of the chosen classes, those that never came up left out."""
        cm = self.total_cm.numpy()
        hits = np.diag(cm)
        union = cm.sum(0) + cm.sum(1) - hits
        hits, union = hits[chosen], union[chosen]
        seen = union > 0
        return hits[seen] / (union[seen] + 1e-7)

    def _base_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


class IoU(_Confusion):
    """The mean over chosen classes of intersection / union."""

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Any,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)
        if max(target_class_ids) >= num_classes:
            raise ValueError(f"class {max(target_class_ids)} is not among the {num_classes} classes 0 to "
                             f"{num_classes - 1}")  # fmt: skip
        self.target_class_ids = list(target_class_ids)

    def result(self) -> Any:
        """The mean."""
        shares = self._shares(self.target_class_ids)
        return number(shares.mean() if shares.size else 0.0)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        return {
            **self._base_config(),
            "num_classes": self.num_classes,
            "target_class_ids": self.target_class_ids,
            "ignore_class": self.ignore_class,
            "sparse_y_true": self.sparse_y_true,
            "sparse_y_pred": self.sparse_y_pred,
            "axis": self.axis,
        }


class BinaryIoU(IoU):
    """Intersection over union of classes 0 and 1, by a threshold."""

    def __init__(
        self, target_class_ids: Any = (0, 1), threshold: float = 0.5, name: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        p = as_tensor(y_pred)
        super().update_state(y_true, (p.detach() >= self.threshold).to(dtypes.int64), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        return {**self._base_config(), "target_class_ids": self.target_class_ids, "threshold": self.threshold}


class MeanIoU(IoU):
    """The mean over all classes of intersection / union."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        ids = list(range(num_classes))
        super().__init__(num_classes, ids, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        found = super().get_config()
        del found["target_class_ids"]
        return found


class OneHotIoU(IoU):
    """As :class:`IoU`, for one-hot answers."""

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Any,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        found = super().get_config()
        del found["sparse_y_true"]
        return found


class OneHotMeanIoU(MeanIoU):
    """As :class:`MeanIoU`, for one-hot answers."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        """Name, dtype and options."""
        found = super().get_config()
        del found["sparse_y_true"]
        return found
