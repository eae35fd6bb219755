"""Losses, values and gradients, against PyTorch; and targets that must be refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
import gradloom.nn.functional as F
from gradloom.errors import DTypeError, IndexRangeError, ShapeError

RNG = np.random.default_rng(3)


def both(name: str, x: np.ndarray, t: np.ndarray, tensors: dict | None = None, **options: object) -> None:
    """Compare a loss and its gradient with PyTorch's."""
    tensors = tensors or {}
    a = gl.tensor(x, requires_grad=True)
    b = torch.tensor(x, requires_grad=True)
    ours = getattr(F, name)(a, gl.tensor(t), **{k: gl.tensor(v) for k, v in tensors.items()}, **options)
    theirs = getattr(TF, name)(b, torch.tensor(t), **{k: torch.tensor(v) for k, v in tensors.items()}, **options)
    assert tuple(ours.shape) == tuple(theirs.shape)
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=2e-5, atol=1e-6)


SCORES = RNG.normal(size=(6, 5)).astype(np.float32) * 3
LABELS = np.array([0, 4, 2, 2, 1, 3])
WEIGHT = np.array([0.2, 1.0, 2.0, 0.5, 1.5], np.float32)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignore", [-100, 2])
def test_cross_entropy_of_labels(reduction: str, weighted: bool, smoothing: float, ignore: int) -> None:
    tensors = {"weight": WEIGHT} if weighted else {}
    both("cross_entropy", SCORES, LABELS, tensors, reduction=reduction, label_smoothing=smoothing, ignore_index=ignore)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_probabilities(reduction: str, smoothing: float) -> None:
    target = RNG.dirichlet(np.ones(5), 6).astype(np.float32)
    both("cross_entropy", SCORES, target, reduction=reduction, label_smoothing=smoothing)
    both("cross_entropy", SCORES, target, {"weight": WEIGHT}, reduction=reduction, label_smoothing=smoothing)


def test_cross_entropy_of_one_row_and_of_images() -> None:
    both("cross_entropy", SCORES[0], np.array(3))
    image = RNG.normal(size=(2, 5, 3, 4)).astype(np.float32)
    both("cross_entropy", image, RNG.integers(0, 5, (2, 3, 4)))
    both("nll_loss", image, RNG.integers(0, 5, (2, 3, 4)), {"weight": WEIGHT})


def test_cross_entropy_of_large_scores_is_finite() -> None:
    both("cross_entropy", SCORES * 1000, LABELS)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_differences(reduction: str) -> None:
    x, t = RNG.normal(size=(4, 3)).astype(np.float32) * 2, RNG.normal(size=(4, 3)).astype(np.float32)
    both("mse_loss", x, t, reduction=reduction)
    both("l1_loss", x, t, reduction=reduction)
    both("smooth_l1_loss", x, t, reduction=reduction, beta=0.7)
    both("smooth_l1_loss", x, t, reduction=reduction, beta=0.0)
    both("huber_loss", x, t, reduction=reduction, delta=0.6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_losses(reduction: str) -> None:
    x, t = RNG.normal(size=(4, 3)).astype(np.float32) * 4, RNG.random((4, 3)).astype(np.float32)
    x[0] = 0.0  # a model whose last layer starts as zeros has its first gradient here
    w, p = RNG.random((4, 3)).astype(np.float32), np.array([0.5, 2.0, 3.0], np.float32)
    both("binary_cross_entropy_with_logits", x, t, reduction=reduction)
    both("binary_cross_entropy_with_logits", x, t, {"weight": w, "pos_weight": p}, reduction=reduction)
    both("binary_cross_entropy", 1 / (1 + np.exp(-x)), t, {"weight": w}, reduction=reduction)


def test_binary_cross_entropy_is_finite_at_the_ends() -> None:
    a = gl.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(a, gl.tensor([0.0, 1.0, 1.0, 0.0]), reduction="none")
    loss.sum().backward()
    np.testing.assert_allclose(loss.detach().numpy(), [0, 0, 100, 100])
    assert np.isfinite(a.grad.numpy()).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
def test_kl_div(reduction: str) -> None:
    target = RNG.dirichlet(np.ones(5), 6).astype(np.float32)
    target[0] = [1, 0, 0, 0, 0]
    both("kl_div", SCORES, target, reduction=reduction)
    both("kl_div", SCORES, np.log(target + 0.01), reduction=reduction, log_target=True)


@pytest.mark.parametrize(
    "name",
    [
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "kl_div",
        "soft_margin_loss",
        "binary_cross_entropy_with_logits",
    ],
)  # fmt: skip
def test_a_target_of_another_shape_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(ShapeError, match=r"input has shape \(4, 1\), target has shape \(4,\)") as caught:
        getattr(F, name)(gl.zeros(4, 1), gl.zeros(4))
    assert "squeeze" in str(caught.value)


def test_labels_of_wrong_shape_or_dtype_are_refused() -> None:
    with pytest.raises(ShapeError, match="squeeze"):
        F.cross_entropy(gl.zeros(4, 3), gl.tensor(np.zeros((4, 1), np.int64)))
    with pytest.raises(DTypeError, match="integers"):
        F.cross_entropy(gl.zeros(4, 3), gl.zeros(4))
    with pytest.raises(ValueError, match="reduction"):
        F.cross_entropy(gl.zeros(4, 3), gl.tensor(np.zeros(4, np.int64)), reduction="average")


@pytest.mark.parametrize("label", [5, -1])
def test_a_label_out_of_range_names_the_sample(label: int) -> None:
    labels = LABELS.copy()
    labels[4] = label
    with pytest.raises(IndexRangeError, match=rf"{label}.*4"):
        F.cross_entropy(gl.tensor(SCORES), gl.tensor(labels)).item()
