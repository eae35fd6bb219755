"""Losses of regions, boxes and embeddings that PyTorch lacks, against their formulas in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import nn
from gradloom.errors import ShapeError
from gradloom.testing import check_grads

RNG = np.random.default_rng(2)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2), (-1, 2), (0.6, 0.5)])
def test_focal(alpha: float, gamma: float) -> None:
    x, t = RNG.normal(size=(4, 3)) * 2, (RNG.random((4, 3)) > 0.5).astype(float)
    p = np.where(t == 1, sigmoid(x), 1 - sigmoid(x))
    factor = np.where(t == 1, alpha, 1 - alpha) if alpha >= 0 else 1.0
    expected = -factor * (1 - p) ** gamma * np.log(p)
    ours = F.sigmoid_focal_loss(gl.tensor(x), gl.tensor(t), alpha, gamma)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)
    layer = nn.SigmoidFocalLoss(alpha, gamma)(gl.tensor(x), gl.tensor(t))
    assert layer.item() == pytest.approx(expected.mean())


def test_focal_without_focus_is_cross_entropy() -> None:
    x, t = RNG.normal(size=(4, 3)), (RNG.random((4, 3)) > 0.5).astype(float)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(x), torch.tensor(t), reduction="none")
    np.testing.assert_allclose(F.sigmoid_focal_loss(gl.tensor(x), gl.tensor(t), -1, 0).numpy(), expected.numpy())


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 3, 4, 5)])
def test_tversky_and_dice(shape: tuple) -> None:
    p, t = RNG.random(shape), (RNG.random(shape) > 0.5).astype(float)
    axes = tuple(range(2, len(shape)))
    hit, false, missed = (p * t).sum(axes), (p * (1 - t)).sum(axes), ((1 - p) * t).sum(axes)
    expected = (1 - (hit + 1) / (hit + 0.3 * false + 0.7 * missed + 1)) ** 1.5
    ours = F.tversky_loss(gl.tensor(p), gl.tensor(t), 0.3, 0.7, gamma=1.5, reduction="none")
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)
    dice = 1 - (2 * hit + 1) / (p.sum(axes) + t.sum(axes) + 1)
    assert nn.DiceLoss()(gl.tensor(p), gl.tensor(t)).item() == pytest.approx(dice.mean(), rel=1e-9)
    assert nn.TverskyLoss()(gl.tensor(t), gl.tensor(t)).item() == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ShapeError, match="unsqueeze"):
        F.dice_loss(gl.zeros(3), gl.zeros(3))


def boxes(n: int) -> np.ndarray:
    corner = RNG.uniform(0, 5, (n, 2))
    return np.concatenate([corner, corner + RNG.uniform(0.5, 4, (n, 2))], 1)


def overlap(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common, (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common


def by_hand(kind: str, a: np.ndarray, b: np.ndarray) -> float:
    common, union = overlap(a, b)
    iou = common / (union + 1e-7)
    wide, high = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    if kind == "box_iou_loss":
        return 1 - iou
    if kind == "generalized_box_iou_loss":
        return 1 - iou + (wide * high - union) / (wide * high + 1e-7)
    centres = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    distance = 1 - iou + centres / (wide**2 + high**2 + 1e-7)
    if kind == "distance_box_iou_loss":
        return distance
    angle = math.atan((b[2] - b[0]) / (b[3] - b[1])) - math.atan((a[2] - a[0]) / (a[3] - a[1]))
    v = 4 / math.pi**2 * angle**2
    return distance + v * v / (1 - iou + v + 1e-7)


BOX_LOSSES = ["box_iou_loss", "generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss"]


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_boxes(name: str) -> None:
    a, b = boxes(12), boxes(12)
    expected = [by_hand(name, x, y) for x, y in zip(a, b)]
    ours = getattr(F, name)(gl.tensor(a), gl.tensor(b))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)
    assert getattr(F, name)(gl.tensor(a), gl.tensor(a), "sum").item() == pytest.approx(0.0, abs=1e-5)
    if name != "complete_box_iou_loss":  # its share is a constant in the derivative
        check_grads(lambda x, y: getattr(F, name)(x, y, "mean"), [a[:3], b[:3]], order=2, rtol=1e-4)
    with pytest.raises(ShapeError, match="x1"):
        getattr(F, name)(gl.zeros(3, 5), gl.zeros(3, 5))


def test_boxes_that_do_not_touch_still_pull() -> None:
    a = gl.tensor([[0.0, 0.0, 1.0, 1.0]], requires_grad=True)
    F.generalized_box_iou_loss(a, gl.tensor([[3.0, 3.0, 4.0, 4.0]]), "sum").backward()
    assert np.abs(a.grad.numpy()).min() > 0


def test_contrastive() -> None:
    x, y, t = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3)), np.array([1.0, 0, 1, 0, 0])
    d = np.sqrt(((x - y + 1e-6) ** 2).sum(1))
    expected = t * d**2 + (1 - t) * np.maximum(2.5 - d, 0) ** 2
    ours = F.contrastive_loss(gl.tensor(x), gl.tensor(y), gl.tensor(t), 2.5, reduction="none")
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)
    with pytest.raises(ShapeError, match="pair"):
        nn.ContrastiveLoss()(gl.tensor(x), gl.tensor(y), gl.tensor(x))


def test_nt_xent() -> None:
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    z = np.concatenate([x, y])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    s = z @ z.T / 0.3
    rows = []
    for i in range(8):
        others = np.delete(s[i], i)
        rows.append(np.log(np.exp(others).sum()) - s[i, (i + 4) % 8])
    ours = F.nt_xent_loss(gl.tensor(x), gl.tensor(y), 0.3, "none")
    np.testing.assert_allclose(ours.numpy(), rows, rtol=1e-9)
    assert nn.NTXentLoss(0.3)(gl.tensor(x), gl.tensor(y)).item() == pytest.approx(np.mean(rows), rel=1e-9)


@pytest.mark.parametrize("easy", [False, True])
def test_arcface(easy: bool) -> None:
    x, w, t = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3)), np.array([0, 1, 2, 3, 0, 1])
    cos = x / np.linalg.norm(x, axis=1, keepdims=True) @ (w / np.linalg.norm(w, axis=1, keepdims=True)).T
    own = cos[np.arange(6), t]
    moved = np.cos(np.arccos(own) + 0.5)
    if easy:
        moved = np.where(own > 0, moved, own)
    else:
        moved = np.where(np.arccos(own) + 0.5 < np.pi, moved, own - 0.5 * np.sin(0.5))
    cos[np.arange(6), t] = moved
    expected = torch.nn.functional.cross_entropy(torch.tensor(cos * 8), torch.tensor(t)).item()
    ours = F.arcface_loss(gl.tensor(x), gl.tensor(w), gl.tensor(t), 0.5, 8.0, easy)
    assert ours.item() == pytest.approx(expected, rel=1e-8)
    layer = nn.ArcFaceLoss(3, 4)
    layer(gl.tensor(x.astype(np.float32)), gl.tensor(t)).backward()
    assert np.isfinite(layer.weight.grad.numpy()).all()
