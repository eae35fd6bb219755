"""CTC against PyTorch: padded and concatenated targets, any blank, empty and impossible rows; and all paths by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import nn
from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.testing import check_grads

RNG = np.random.default_rng(5)
SCORES = RNG.normal(size=(12, 4, 6)) * 2
TIMES, LENGTHS = [12, 9, 12, 7], [3, 5, 0, 2]


def targets(blank: int) -> np.ndarray:
    labels = np.array([k for k in range(6) if k != blank])
    padded = labels[RNG.integers(0, 5, (4, 5))]
    padded[0, 1] = padded[0, 0]  # a label repeated needs a blank between
    return padded


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("blank", [0, 3, 5])
@pytest.mark.parametrize("concatenated", [False, True])
def test_against_pytorch(reduction: str, blank: int, concatenated: bool) -> None:
    t = targets(blank)
    flat = np.concatenate([row[:n] for row, n in zip(t, LENGTHS)]) if concatenated else t
    a, b = gl.tensor(SCORES, requires_grad=True), torch.tensor(SCORES, requires_grad=True)
    ours = F.ctc_loss(gl.log_softmax(a, 2), gl.tensor(flat), TIMES, LENGTHS, blank, reduction)
    theirs = TF.ctc_loss(torch.log_softmax(b, 2), torch.tensor(flat), TIMES, LENGTHS, blank, reduction)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9)
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-7, atol=1e-10)


def test_the_sum_over_all_paths() -> None:
    """Every path of five steps over three classes, collapsed by hand."""
    p = gl.softmax(gl.tensor(RNG.normal(size=(5, 3))), 1).numpy()
    for wanted in ([], [1], [1, 2], [1, 1], [2, 1, 2]):
        total = 0.0
        for path in itertools.product(range(3), repeat=5):
            merged = [k for k, _ in itertools.groupby(path)]
            if [k for k in merged if k != 0] == wanted:
                total += np.prod(p[np.arange(5), list(path)])
        loss = F.ctc_loss(gl.log(gl.tensor(p)), gl.tensor(np.array(wanted, np.int64)), [5], [len(wanted)])
        assert loss.item() == pytest.approx(-np.log(total) / max(len(wanted), 1), rel=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_rows_without_a_path(reduction: str) -> None:
    t = np.array([[1, 1, 1, 1], [1, 2, 1, 2]])
    scores = SCORES[:4, :2]
    for zero in (False, True):
        a, b = gl.tensor(scores, requires_grad=True), torch.tensor(scores, requires_grad=True)
        ours = F.ctc_loss(gl.log_softmax(a, 2), gl.tensor(t), [4, 4], [4, 4], reduction=reduction, zero_infinity=zero)
        theirs = TF.ctc_loss(
            torch.log_softmax(b, 2), torch.tensor(t), [4, 4], [4, 4], reduction=reduction, zero_infinity=zero
        )
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9)
        if zero:
            ours.sum().backward()
            theirs.sum().backward()
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-7, atol=1e-10)


def test_second_order() -> None:
    t, x = gl.tensor(np.array([[1, 2], [3, 0]])), SCORES[:4, :2, :4]
    check_grads(lambda s: F.ctc_loss(gl.log_softmax(s, 2), t, [4, 3], [2, 1]), [x], order=2, rtol=1e-4)


def test_a_single_row_and_the_layer() -> None:
    t = np.array([1, 2, 2])
    for reduction in ("mean", "none"):
        ours = nn.CTCLoss(reduction=reduction)(gl.log_softmax(gl.tensor(SCORES[:, 0]), 1), gl.tensor(t), [12], [3])
        theirs = TF.ctc_loss(
            torch.log_softmax(torch.tensor(SCORES[:, 0]), 1),
            torch.tensor(t),
            torch.tensor(12),
            torch.tensor(3),
            reduction=reduction,
        )
        assert tuple(ours.shape) == tuple(theirs.shape)
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)


def test_probabilities_of_nothing_and_single_precision() -> None:
    certain = np.full((3, 1, 3), -np.inf, np.float32)
    certain[[0, 1, 2], 0, [1, 0, 2]] = 0.0
    x = gl.tensor(certain, requires_grad=True)
    loss = F.ctc_loss(x, gl.tensor(np.array([[1, 2]])), [3], [2])
    loss.backward()
    assert loss.item() == 0.0 and loss.dtype.name == "float32"
    np.testing.assert_allclose(x.grad.numpy(), 0.0, atol=1e-6)


def test_refusals() -> None:
    x, t = gl.tensor(torch.log_softmax(torch.tensor(SCORES), 2).numpy()), gl.tensor(targets(0))
    with pytest.raises(IndexRangeError, match="input_lengths"):
        F.ctc_loss(x, t, [13, 1, 1, 1], LENGTHS).item()
    with pytest.raises(IndexRangeError, match="target_lengths"):
        F.ctc_loss(x, t, TIMES, [6, 1, 1, 1]).item()
    with pytest.raises(IndexRangeError, match="sum of target_lengths"):
        F.ctc_loss(x, t.flatten()[:9], TIMES, [3, 3, 3, 1]).item()
    with pytest.raises(ShapeError, match="4 rows"):
        F.ctc_loss(x, t, [12, 12], LENGTHS)
    with pytest.raises(ValueError, match="blank"):
        F.ctc_loss(x, t, TIMES, LENGTHS, blank=6)
    with pytest.raises(DTypeError, match="float16"):
        F.ctc_loss(x.half(), t, TIMES, LENGTHS)
    with pytest.raises(DTypeError, match="targets"):
        F.ctc_loss(x, t.float(), TIMES, LENGTHS)


def test_long_and_extreme_scores_in_single_precision() -> None:
    scores = (np.random.default_rng(3).normal(size=(300, 2, 9)) * 40).astype(np.float32)
    t = np.random.default_rng(4).integers(1, 9, (2, 40))
    a, b = gl.tensor(scores, requires_grad=True), torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    ours = F.ctc_loss(gl.log_softmax(a, 2), gl.tensor(t), [300, 300], [40, 40])
    theirs = TF.ctc_loss(torch.log_softmax(b, 2), torch.tensor(t), [300, 300], [40, 40])
    ours.backward()
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=1e-6)


def test_a_label_of_the_blanks_class_is_a_label() -> None:
    """Outside of what is documented, and as PyTorch has it, which Keras' figures rest on."""
    scores = ((np.arange(24).reshape(2, 4, 3) - 12) / 100).astype(np.float32)
    rows = np.array([[1, 2, 1], [1, 2, 0]])
    both = []
    for L in (gl, torch):
        x = L.tensor(scores).log_softmax(-1).transpose(0, 1)
        lengths = (L.tensor([4, 4]), L.tensor([3, 3]))
        both.append(L.nn.functional.ctc_loss(x, L.tensor(rows), *lengths, reduction="none").numpy())
    np.testing.assert_allclose(*both, rtol=1e-5)
