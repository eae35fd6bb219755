"""What classification metrics are given, brought to one form: labels or scores, one row a decision."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.functions.sorting import topk
from gradloom.metrics.base import given
from gradloom.tensor import Tensor

TASKS = ("binary", "multiclass", "multilabel")


def checked_task(task: str, num_classes: int | None, num_labels: int | None) -> int:
    """How many classes or labels a task has. ValueError where that is missing, or the task unknown."""
    if task not in TASKS:
        raise ValueError(f"task is one of {', '.join(TASKS)}, not {task!r}")
    if task == "binary":
        return 2
    count = num_classes if task == "multiclass" else num_labels
    if not isinstance(count, int) or count < 2:
        name = "num_classes" if task == "multiclass" else "num_labels"
        raise ValueError(f"task {task!r} needs {name}, an integer of at least 2, got {count!r}")
    return count


def same_shapes(name: str, preds: Tensor, target: Tensor) -> None:
    """ShapeError unless both have one shape."""
    if tuple(preds.shape) != tuple(target.shape):
        raise ShapeError(
            f"{name}: preds of shape {tuple(preds.shape)}, target of shape {tuple(target.shape)}",
            code="shape.metric",
            hint="both have one shape, or preds have one axis more, of the classes",
        )


def probabilities(scores: Tensor) -> Tensor:
    """Scores as probabilities: as they are where all lie in [0, 1], else through a sigmoid."""
    outside = G.any(G.logical_or(scores < 0, scores > 1))
    return G.where(outside, G.sigmoid(scores), scores)


def class_probabilities(scores: Tensor) -> Tensor:
    """Scores (rows, C, ...) as probabilities: as they are where all lie in [0, 1], else through a softmax."""
    outside = G.any(G.logical_or(scores < 0, scores > 1))
    return G.where(outside, G.softmax(scores, dim=1), scores)


def valid_labels(target: Tensor, count: int, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Labels with ignored ones as 0, and which count; others out of range are refused when the program runs."""
    if target.dtype.category != 1:
        target = G.cast(target, "int64")
    G.check_labels(target, count, ignore_index)  # before anything else is done with it: the error names the value
    target = G.cast(target, "int64")
    if ignore_index is None:
        return target, G.full_like(target, True, dtype="bool")
    valid = target != ignore_index
    return G.where(valid, target, 0), valid


def binary(name: str, preds: Any, target: Any, threshold: float, ignore_index: int | None) -> tuple[Tensor, ...]:
    """Decisions 0 or 1, labels, and which count; all flat."""
    p, t = given(preds), given(target)
    same_shapes(name, p, t)
    labels, valid = valid_labels(t, 2, ignore_index)
    if p.dtype.is_floating:
        p = probabilities(p) > threshold
    return tuple(G.reshape(x, (x.numel(),)) for x in (G.cast(p, "int64"), labels, valid))


def class_rows(name: str, preds: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Scores (rows, C) and targets (rows,) from (N, C, ...) and (N, ...)."""
    wanted = (*preds.shape[:1], *preds.shape[2:])
    if preds.ndim < 2 or preds.shape[1] != classes or tuple(target.shape) != wanted:
        raise ShapeError(
            f"{name}: preds of shape {tuple(preds.shape)}, target of shape {tuple(target.shape)}, {classes} classes",
            code="shape.metric",
            hint="scores are (N, C, ...), labels (N, ...)",
        )
    if preds.ndim == 2:
        return preds, target
    last = G.permute(preds, (0, *range(2, preds.ndim), 1))
    return G.reshape(last, (target.numel(), classes)), G.reshape(target, (target.numel(),))


def multiclass(
    name: str, preds: Any, target: Any, classes: int, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The class decided for, labels, and which count; all flat."""
    p, t = given(preds), given(target)
    if p.ndim == t.ndim + 1:
        p, t = class_rows(name, p, t, classes)
        decided = G.argmax(p, dim=1)
    else:
        same_shapes(name, p, t)
        decided, _ = valid_labels(p, classes, ignore_index)
    labels, valid = valid_labels(t, classes, ignore_index)
    count = t.numel()
    return G.reshape(decided, (count,)), G.reshape(labels, (count,)), G.reshape(valid, (count,))


def multilabel(
    name: str, preds: Any, target: Any, labels: int, threshold: float | None, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Decisions (probabilities without a threshold), answers, and which count; all (rows, labels)."""
    p, t = given(preds), given(target)
    same_shapes(name, p, t)
    if p.ndim < 2 or p.shape[1] != labels:
        raise ShapeError(
            f"{name}: preds of shape {tuple(p.shape)}, {labels} labels", code="shape.metric", hint="(N, labels, ...)"
        )
    answers, valid = valid_labels(t, 2, ignore_index)
    if p.dtype.is_floating:
        p = probabilities(p)
        p = p if threshold is None else G.cast(p > threshold, "int64")
    elif threshold is not None:
        p = G.cast(p, "int64")
    order = (0, *range(2, p.ndim), 1)
    rows = int(np.prod(tuple(p.shape))) // labels
    out = [G.reshape(G.permute(x, order), (rows, labels)) for x in (p, answers, valid)]
    return out[0], out[1], out[2]


def hits_of_best(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether each label is among the k highest scores: (rows, C), (rows,) to (rows,)."""
    _, best = topk(scores, k, 1)
    return G.any(best == G.unsqueeze(labels, 1), dim=1)
