"""Connectionist temporal classification (Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradloom import functions as G
from gradloom.errors import DTypeError, ShapeError
from gradloom.nn.losses.common import chosen, reduced
from gradloom.ops import ctc as C
from gradloom.tape import composite
from gradloom.tensor import Tensor, tensor

C.GRADIENTS()


def _lengths(name: str, lengths: Tensor | Sequence[int] | int, batch: int, limit: int | None) -> Tensor:
    t = lengths if isinstance(lengths, Tensor) else tensor(np.asarray(lengths, np.int64))
    if t.dtype.category != 1:
        raise DTypeError(f"ctc_loss: {name} of dtype {t.dtype.name}", code="dtype.ctc", hint="lengths are integers")
    t = t if t.ndim else G.reshape(t, (1,))
    if tuple(t.shape) != (batch,):
        raise ShapeError(
            f"ctc_loss: {name} has shape {tuple(t.shape)}, the batch has {batch} rows",
            code="shape.ctc",
            hint=f"{name} has one entry for each row",
        )
    if limit is not None:
        G.check_range(t, 0, limit + 1, name, "index.ctc")
    return t


@composite
def _ctc(
    scores: Tensor, targets: Tensor, times: Tensor, lengths: Tensor, blank: int, reduction: str, zero_infinity: bool
) -> Tensor:
    rows = G.apply(C.ctc_loss, (scores, targets, times, lengths), (blank, 0.0 if zero_infinity else float("nan")))
    if zero_infinity:
        rows = G.where(G.isinf(rows), 0.0, rows)
    if reduction == "mean":
        return (rows / G.cast(G.clamp(lengths, 1), rows.dtype)).mean()
    return reduced(rows, reduction)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-likelihood of labellings whose alignment in time is not known.

    Parameters
    ----------
    log_probs : Tensor of shape (T, N, C) or (T, C)
        The result of `log_softmax` over the last axis; float32 or float64.
    targets : integer Tensor of shape (N, S), or (sum of target_lengths,)
        Labels, padded, or one row behind the other. None of them is `blank`.
    input_lengths, target_lengths : integers of shape (N,) or ()
        How much of each row counts; at most T and S.
    blank : int
        The class that stands for nothing.
    reduction : {"mean", "sum", "none"}
        "mean" divides each row by its target's length first.
    zero_infinity : bool
        Rows that have no alignment, because the target is too long, cost 0 instead of infinity.

    Notes
    -----
    As in PyTorch the gradient is that by the scores before `log_softmax`: it is right where `log_probs` is normalised.
    It can be differentiated once more.
    """
    chosen(reduction)
    if log_probs.dtype.name not in ("float32", "float64"):
        raise DTypeError(
            f"ctc_loss: log_probs of dtype {log_probs.dtype.name}", code="dtype.ctc", hint="use .float(): it is float32"
        )
    if log_probs.ndim not in (2, 3):
        raise ShapeError(
            f"ctc_loss: log_probs has shape {tuple(log_probs.shape)}", code="shape.ctc", hint="(T, N, C) or (T, C)"
        )
    if targets.dtype.category != 1:
        raise DTypeError(f"ctc_loss: targets of dtype {targets.dtype.name}", code="dtype.ctc", hint="targets.long()")
    single = log_probs.ndim == 2
    scores = G.unsqueeze(log_probs, 1) if single else log_probs
    labels = G.reshape(targets, (1, targets.numel())) if single else targets
    steps, batch, classes = scores.shape
    if not 0 <= blank < classes:
        raise ValueError(f"ctc_loss: blank {blank} is none of the {classes} classes")
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[0] != batch):
        raise ShapeError(
            f"ctc_loss: targets of shape {tuple(targets.shape)} beside a batch of {batch}",
            code="shape.ctc",
            hint="(N, S) padded, or all labels one after the other",
        )
    times = _lengths("input_lengths", input_lengths, batch, steps)
    lengths = _lengths("target_lengths", target_lengths, batch, labels.shape[1] if labels.ndim == 2 else None)
    if labels.ndim == 1:
        total = G.reshape(G.sum(lengths), (1,))
        G.check_range(total, 0, labels.shape[0] + 1, "sum of target_lengths", "index.ctc")
    loss = _ctc(scores, labels, times, lengths, int(blank), reduction, bool(zero_infinity))
    return G.reshape(loss, ()) if single and reduction == "none" else loss
