"""Loss functions: one number a sample (or a position) from answers and predictions, each a step of the tape.

Cross-entropies take scores before the softmax or sigmoid (``from_logits=True``) or probabilities behind it. From
probabilities they clip by ``epsilon``, as Keras does.
"""

from __future__ import annotations

import math
from typing import Any

from gradloom import dtypes
from gradloom import functions as G
from gradloom.keras import config
from gradloom.keras.operations import as_tensor
from gradloom.tape import composite
from gradloom.tensor import Tensor


def squeeze_or_expand(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """A last axis of size 1 that only one of them has: given to vectors, taken from all else.

    Without this, the difference of (n,) and (n, 1) would broadcast to (n, n) and be silently wrong.
    """
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b.unsqueeze(-1)) if b.ndim == 1 else (a.reshape(*a.shape[:-1]), b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a.unsqueeze(-1), b) if a.ndim == 1 else (a, b.reshape(*b.shape[:-1]))
    return a, b


def _pair(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Both as tensors of the predictions' dtype and rank."""
    p = as_tensor(y_pred)
    if not p.dtype.is_floating:
        p = p.to(config.as_dtype(None))
    y = as_tensor(y_true)
    y = y.to(p.dtype) if y.dtype is not p.dtype else y
    return squeeze_or_expand(y, p)


def _last_mean(x: Tensor) -> Tensor:
    return x.mean(-1) if x.ndim else x


@composite
def _squared(y: Tensor, p: Tensor) -> Tensor:
    d = p - y
    return _last_mean(d * d)


@composite
def _absolute(y: Tensor, p: Tensor) -> Tensor:
    return _last_mean(G.abs(p - y))


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """(y_pred - y_true)², the mean over the last axis."""
    return _squared(*_pair(y_true, y_pred))


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """|y_pred - y_true|, the mean over the last axis."""
    return _absolute(*_pair(y_true, y_pred))


@composite
def _percentage(y: Tensor, p: Tensor, tiny: float) -> Tensor:
    return _last_mean(G.abs((y - p) / G.clamp(G.abs(y), min=tiny))) * 100.0


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """100 |(y_true - y_pred) / y_true|, the mean over the last axis."""
    return _percentage(*_pair(y_true, y_pred), config.epsilon())


@composite
def _logarithmic(y: Tensor, p: Tensor, tiny: float) -> Tensor:
    d = G.log(G.clamp(p, min=tiny) + 1.0) - G.log(G.clamp(y, min=tiny) + 1.0)
    return _last_mean(d * d)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """(log(y_true + 1) - log(y_pred + 1))², the mean over the last axis."""
    return _logarithmic(*_pair(y_true, y_pred), config.epsilon())


@composite
def _huber(y: Tensor, p: Tensor, delta: float) -> Tensor:
    d = G.abs(p - y)
    return _last_mean(G.where(d <= delta, d * d * 0.5, d * delta - 0.5 * delta * delta))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """d²/2 up to ``delta``, linear above (Huber 1964), the mean over the last axis."""
    return _huber(*_pair(y_true, y_pred), float(delta))


@composite
def _log_cosh(y: Tensor, p: Tensor) -> Tensor:
    d = p - y
    soft = G.clamp(d * -2.0, min=0.0) + G.log1p(G.exp(-G.abs(d * 2.0)))
    return _last_mean(d + soft - math.log(2.0))


def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """Log cosh(y_pred - y_true), the mean over the last axis."""
    return _log_cosh(*_pair(y_true, y_pred))


@composite
def _signs(y: Tensor) -> Tensor:
    """Answers 0 and 1 as -1 and 1; others as they are."""
    binary = G.all(G.logical_or(y == 0.0, y == 1.0))
    return G.where(binary, y * 2.0 - 1.0, y)


@composite
def _hinge(y: Tensor, p: Tensor, squared: bool) -> Tensor:
    m = G.clamp(1.0 - y * p, min=0.0)
    return _last_mean(m * m if squared else m)


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """max(1 - y_true y_pred, 0), answers -1 or 1 (0 or 1 are converted), the mean over the last axis."""
    y, p = _pair(y_true, y_pred)
    return _hinge(_signs(y), p, False)


def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """The square of :func:`hinge`, element by element."""
    y, p = _pair(y_true, y_pred)
    return _hinge(_signs(y), p, True)


@composite
def _categorical_hinge(y: Tensor, p: Tensor) -> Tensor:
    positive = G.sum(y * p, -1)
    negative = G.amax((1.0 - y) * p, -1)
    return G.clamp(negative - positive + 1.0, min=0.0)


def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """max(neg - pos + 1, 0): pos the score of the answer, neg the best of the others."""
    p, y = as_tensor(y_pred), as_tensor(y_true)
    return _categorical_hinge(y.to(p.dtype), p)


@composite
def _cosine(y: Tensor, p: Tensor, axis: Any) -> Tensor:
    def unit(x: Tensor) -> Tensor:
        return x * G.rsqrt(G.clamp(G.sum(x * x, axis, True), min=1e-12))

    return G.neg(G.sum(unit(y) * unit(p), axis))


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """Minus the cosine of the angle between answers and predictions along an axis."""
    y, p = _pair(y_true, y_pred)
    return _cosine(y, p, axis)


@composite
def _divergence(y: Tensor, p: Tensor, tiny: float) -> Tensor:
    y, p = G.clamp(y, tiny, 1.0), G.clamp(p, tiny, 1.0)
    return G.sum(y * G.log(y / p), -1)


def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """Σ y_true log(y_true / y_pred) over the last axis."""
    p = as_tensor(y_pred)
    return _divergence(as_tensor(y_true).to(p.dtype), p, config.epsilon())


@composite
def _poisson(y: Tensor, p: Tensor, tiny: float) -> Tensor:
    return _last_mean(p - y * G.log(p + tiny))


def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """y_pred - y_true log y_pred, the mean over the last axis."""
    return _poisson(*_pair(y_true, y_pred), config.epsilon())


# cross-entropies ----------------------------------------------------------------------------------------------------


@composite
def _categorical(y: Tensor, p: Tensor, logits: bool, smoothing: float, axis: int, tiny: float) -> Tensor:
    if smoothing:
        y = y * (1.0 - smoothing) + smoothing / p.shape[axis]
    if logits:
        log_p = G.log_softmax(p, axis)
    else:
        log_p = G.log(G.clamp(p / G.sum(p, axis, True), tiny, 1.0 - tiny))
    return G.neg(G.sum(y * log_p, axis))


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """-Σ y log p, answers being one-hot or probabilities along ``axis``; smoothing as Szegedy et al. 2016."""
    p = as_tensor(y_pred)
    y = as_tensor(y_true).to(p.dtype)
    _same_classes(y, p, axis)
    if from_logits == "auto":
        from_logits = False
    return _categorical(y, p, bool(from_logits), float(label_smoothing), axis, config.epsilon())


def _same_classes(y: Tensor, p: Tensor, axis: int) -> None:
    if tuple(y.shape) != tuple(p.shape) and (y.ndim != p.ndim or y.shape[axis] != p.shape[axis]):
        raise ValueError(
            f"y_true and y_pred must have the same shape, {tuple(y.shape)} and {tuple(p.shape)} were given; for class "
            "numbers use sparse_categorical_crossentropy"
        )
    if p.ndim < 1 or p.shape[axis] < 1:
        raise ValueError(f"y_pred must have classes along axis {axis}, its shape is {tuple(p.shape)}")


@composite
def minus_log_picked(y: Tensor, p: Tensor, logits: bool, axis: int, tiny: float) -> Tensor:
    """-log p at each answer. Compare and sum fuse into the row that makes log p; a gather would not."""
    if axis not in (-1, p.ndim - 1):
        p = G.swapaxes(p, axis, -1)
        y = G.swapaxes(y, axis, -1) if y.ndim == p.ndim else y
    index = y if y.ndim == p.ndim else G.unsqueeze(y, -1)
    index = G.cast(index, dtypes.int64)
    classes = p.shape[-1]
    G.check_labels(index, classes, None)
    chosen = G.eq(G.arange(classes), index)
    if logits:
        z = G.sub(p, G.amax(G.detach(p), -1, True))
        return G.sub(G.log(G.sum(G.exp(z), -1)), G.sum(G.where(chosen, z, 0.0), -1))
    log_p = G.log(G.clamp(p / G.sum(p, -1, True), tiny, 1.0 - tiny))
    return G.neg(G.sum(G.where(chosen, log_p, 0.0), -1))


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Tensor:
    """-log p[answer], answers being class numbers; 0 where the answer is ``ignore_class``."""
    p, y = as_tensor(y_pred), as_tensor(y_true)
    if y.ndim == p.ndim and y.shape[-1] == 1 and p.shape[-1] != 1:
        y = y.reshape(*y.shape[:-1])
    elif y.ndim == p.ndim and y.shape[-1] == 1:
        y = y.reshape(*y.shape[:-1])
    if len(p.shape) < 1 or y.ndim != p.ndim - 1:
        raise ValueError(
            f"class numbers of shape {tuple(y.shape)} do not go with predictions of shape {tuple(p.shape)}"
        )
    logits = bool(from_logits) and from_logits != "auto"
    if ignore_class is None:
        return minus_log_picked(y, p, logits, axis, config.epsilon())
    return _ignoring(y, p, logits, axis, config.epsilon(), int(ignore_class))


@composite
def _ignoring(y: Tensor, p: Tensor, logits: bool, axis: int, tiny: float, ignored: int) -> Tensor:
    y = G.cast(y, dtypes.int64)
    valid = G.ne(y, ignored)
    values = minus_log_picked(G.where(valid, y, G.mul(y, 0)), p, logits, axis, tiny)
    return G.where(valid, values, values * 0.0)


@composite
def _binary(y: Tensor, p: Tensor, logits: bool, smoothing: float, axis: Any, tiny: float) -> Tensor:
    if smoothing:
        y = y * (1.0 - smoothing) + 0.5 * smoothing
    if logits:
        # log(1 + e^x) - x y, written so that exp never overflows
        each = G.clamp(p, min=0.0) - p * y + G.log1p(G.exp(-G.abs(p)))
    else:
        q = G.clamp(p, tiny, 1.0 - tiny)
        each = -(y * G.log(q) + (1.0 - y) * G.log(1.0 - q))
    return each.mean(axis) if each.ndim and axis is not None else each


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Tensor:
    """-y log p - (1 - y) log(1 - p), the mean over ``axis``. ValueError for answers of another shape."""
    y, p = _pair(y_true, y_pred)
    if tuple(y.shape) != tuple(p.shape):
        raise ValueError(f"answers {tuple(y.shape)} and predictions {tuple(p.shape)} must have the same shape")
    return _binary(y, p, bool(from_logits), float(label_smoothing), axis, config.epsilon())


@composite
def _binary_focal(
    y: Tensor, p: Tensor, balance: bool, alpha: float, gamma: float, logits: bool, smoothing: float, axis: int,
    tiny: float,
) -> Tensor:  # fmt: skip
    if smoothing:
        y = y * (1.0 - smoothing) + 0.5 * smoothing
    q = G.sigmoid(p) if logits else p
    entropy = _binary(y, q, False, 0.0, None, tiny)
    p_t = y * q + (1.0 - y) * (1.0 - q)
    each = G.pow(1.0 - p_t, gamma) * entropy
    if balance:
        each = each * (y * alpha + (1.0 - y) * (1.0 - alpha))
    return each.mean(axis)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Binary cross-entropy times (1 - p of the answer)^gamma (Lin et al. 2017)."""
    y, p = _pair(y_true, y_pred)
    options = (bool(apply_class_balancing), float(alpha), float(gamma), bool(from_logits), float(label_smoothing))
    return _binary_focal(y, p, *options, axis, config.epsilon())


@composite
def _categorical_focal(
    y: Tensor, p: Tensor, alpha: Any, gamma: float, logits: bool, smoothing: float, axis: int, tiny: float
) -> Tensor:
    if smoothing:
        y = y * (1.0 - smoothing) + smoothing / p.shape[axis]
    q = G.softmax(p, axis) if logits else p
    q = G.clamp(q / G.sum(q, axis, True), tiny, 1.0 - tiny)
    weight = G.PUBLIC["asarray"](list(alpha), dtype=p.dtype) if isinstance(alpha, tuple) else alpha
    return G.sum(G.pow(1.0 - q, gamma) * weight * (y * G.neg(G.log(q))), axis)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Categorical cross-entropy times alpha (1 - p)^gamma, class by class (Lin et al. 2017)."""
    p = as_tensor(y_pred)
    y = as_tensor(y_true).to(p.dtype)
    weight = tuple(float(a) for a in alpha) if isinstance(alpha, list | tuple) else float(alpha)
    return _categorical_focal(
        y, p, weight, float(gamma), bool(from_logits), float(label_smoothing), axis, config.epsilon()
    )


@composite
def _generalized(y: Tensor, p: Tensor, q: float) -> Tensor:
    classes = p.shape[-1]
    chosen = G.eq(G.arange(classes), G.unsqueeze(G.cast(y, dtypes.int64), -1))
    picked = G.sum(G.where(chosen, p, 0.0), -1)
    return (1.0 - G.pow(picked, q)) / q


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Tensor:
    """(1 - p^q) / q, p the answer's probability: robust against wrong labels (Zhang and Sabuncu 2018)."""
    return _generalized(as_tensor(y_true), as_tensor(y_pred), float(q))


# overlap and metric losses ------------------------------------------------------------------------------------------


@composite
def _overlap(y: Tensor, p: Tensor, alpha: float, beta: float, axis: Any, tiny: float) -> Tensor:
    both = G.sum(y * p, axis)
    false_positive = G.sum((1.0 - y) * p, axis)
    false_negative = G.sum(y * (1.0 - p), axis)
    return 1.0 - both / (both + false_negative * alpha + false_positive * beta + tiny)


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Tensor:
    """1 - both / (both + alpha false negatives + beta false positives), Keras' order (Salehi et al. 2017)."""
    p = as_tensor(y_pred)
    y = as_tensor(y_true).to(p.dtype)
    if axis is None:
        y, p = y.reshape(-1), p.reshape(-1)
    return _overlap(y, p, float(alpha), float(beta), _axes(axis), config.epsilon())


@composite
def _dice(y: Tensor, p: Tensor, axis: Any, tiny: float) -> Tensor:
    both = G.sum(y * p, axis)
    return 1.0 - (both * 2.0 + 0.0) / (G.sum(y, axis) + G.sum(p, axis) + tiny)


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Tensor:
    """1 - 2 Σ y p / (Σ y + Σ p), over ``axis`` or over all."""
    p = as_tensor(y_pred)
    return _dice(as_tensor(y_true).to(p.dtype), p, _axes(axis), config.epsilon())


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list | tuple) else axis


@composite
def _circle(y: Tensor, p: Tensor, ref_y: Tensor, ref: Tensor, remove: bool, gamma: float, margin: float) -> Tensor:
    cosines = G.matmul(p, G.transpose(ref, 0, 1))
    d = G.clamp(1.0 - cosines, min=0.0)
    same = G.eq(G.unsqueeze(y, 1), G.unsqueeze(ref_y, 0))
    other = G.logical_not(same)
    if remove:
        n, m = d.shape
        same = G.logical_and(same, G.ne(G.unsqueeze(G.arange(n), 1), G.unsqueeze(G.arange(m), 0)))
    floats = p.dtype
    positive = G.clamp(d + margin, min=0.0)
    negative = G.clamp((1.0 + margin) - d, min=0.0)
    plus = G.where(same, positive * (d - margin) * gamma, d * 0.0 - 1e9)
    minus = G.where(other, negative * ((1.0 - margin) - d) * gamma, d * 0.0 - 1e9)
    total = G.logsumexp(plus, 1) + G.logsumexp(minus, 1)
    valid = G.logical_and(G.any(same, 1), G.any(other, 1))
    soft = G.clamp(total, min=0.0) + G.log1p(G.exp(-G.abs(total)))
    return G.where(valid, soft, soft * 0.0) * G.cast(valid, floats)


def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> Tensor:
    """Circle loss of normalised embeddings and their class numbers (Sun et al. 2020)."""
    p = as_tensor(y_pred)
    y = as_tensor(y_true).to(dtypes.int64).reshape(-1)
    ref = p if ref_embeddings is None else as_tensor(ref_embeddings).to(p.dtype)
    ref_y = y if ref_labels is None else as_tensor(ref_labels).to(dtypes.int64).reshape(-1)
    values = _circle(y, p, ref_y, ref, bool(remove_diagonal), float(gamma), float(margin))
    values._keras_mask = values > 0.0  # type: ignore[attr-defined]  # samples without pairs do not count
    return values


def ctc(y_true: Any, y_pred: Any) -> Tensor:
    """Connectionist temporal classification (Graves et al. 2006): labels (n, l), scores (n, t, classes), 0 is blank.

    Labels end at the last that is not 0 by their number, so padding belongs behind them.
    """
    from gradloom.keras.ops.networks import ctc_loss

    p, y = as_tensor(y_pred), as_tensor(y_true)
    if y.ndim != 2 or p.ndim != 3:
        raise ValueError(f"ctc: expected y_true (batch, max_length) and y_pred (batch, max_length, num_classes). "
                         f"Received: {tuple(y.shape)} and {tuple(p.shape)}")  # fmt: skip
    frames = G.full((p.shape[0],), p.shape[1], dtype=dtypes.int64)
    found = ctc_loss(y, p, (y != 0).to(dtypes.int64).sum(-1), frames, mask_index=0)
    return found.to(p.dtype) if p.dtype.is_floating else found
