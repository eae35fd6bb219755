"""The further losses of PyTorch: values and gradients in every reduction, second order, extremes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

import gradloom as gl
import gradloom.nn.functional as F
from gradloom import nn
from gradloom.errors import DTypeError, IndexRangeError, ShapeError
from gradloom.testing import check_grads

RNG = np.random.default_rng(11)
X, Y, Z = (RNG.normal(size=(5, 4)) for _ in range(3))
SIGNS = np.array([1.0, -1.0, 1.0, 1.0, -1.0])
SIGN_MAP = np.sign(RNG.normal(size=(5, 4)))
COUNTS = RNG.poisson(2.0, (5, 4)).astype(np.float64)
LABELS = np.array([0, 3, 1, 1, 2])
LISTS = np.array([[0, 2, -1, 1], [3, -1, -1, -1], [-1, 0, 0, 0], [0, 1, 2, 3], [1, 1, 3, -1]])
WEIGHT = np.array([0.5, 1.0, 2.0, 0.1])
VAR = RNG.uniform(0.2, 2.0, (5, 4))

# name, operands that are differentiated, others, options
CASES = [
    ("cosine_embedding_loss", (X, Y), (SIGNS,), {"margin": 0.1}),
    ("cosine_embedding_loss", (X[0], Y[0]), (SIGNS[1],), {}),
    ("hinge_embedding_loss", (np.abs(X),), (SIGN_MAP,), {"margin": 0.7}),
    ("margin_ranking_loss", (X, Y), (SIGN_MAP,), {"margin": 0.3}),
    ("soft_margin_loss", (X,), (SIGN_MAP,), {}),
    ("multi_margin_loss", (X,), (LABELS,), {"p": 1, "margin": 0.8}),
    ("multi_margin_loss", (X,), (LABELS,), {"p": 2, "weight": WEIGHT}),
    ("multi_margin_loss", (X[0],), (LABELS[1],), {}),
    ("multilabel_margin_loss", (X,), (LISTS,), {}),
    ("multilabel_margin_loss", (X[0],), (LISTS[0],), {}),
    ("multilabel_soft_margin_loss", (X,), ((SIGN_MAP + 1) / 2,), {"weight": WEIGHT}),
    ("triplet_margin_loss", (X, Y, Z), (), {"margin": 2.0}),
    ("triplet_margin_loss", (X, Y, Z), (), {"margin": 2.0, "p": 3.0, "swap": True}),
    ("triplet_margin_with_distance_loss", (X, Y, Z), (), {"swap": True}),
    ("poisson_nll_loss", (X,), (COUNTS,), {"full": True}),
    ("poisson_nll_loss", (np.abs(X) + 0.1,), (COUNTS,), {"log_input": False}),
    ("gaussian_nll_loss", (X, Y, VAR), (), {"full": True}),
    ("gaussian_nll_loss", (X, Y, VAR[:, :1]), (), {}),
    ("gaussian_nll_loss", (X, Y, VAR[:, 0]), (), {}),
    ("linear_cross_entropy", (X, Y), (LABELS,), {"label_smoothing": 0.1}),
    ("mse_loss", (X, Y), (), {"weight": VAR}),
    ("huber_loss", (X, Y), (), {"weight": VAR, "delta": 0.4}),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0] + "-" + "-".join(c[3]))
def test_values_and_gradients(case: tuple, reduction: str) -> None:
    name, wanted, given, options = case
    a, b = [gl.tensor(x, requires_grad=True) for x in wanted], [torch.tensor(x, requires_grad=True) for x in wanted]

    def run(lib: object, fn: object, xs: list) -> object:
        more = {k: lib.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return fn(*xs, *(lib.tensor(t) for t in given), reduction=reduction, **more)

    ours, theirs = run(gl, getattr(F, name), a), run(torch, getattr(TF, name), b)
    assert tuple(ours.shape) == tuple(theirs.shape)
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-12)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-8, atol=1e-10)


SMOOTH = {
    "cosine_embedding_loss": lambda x, y: F.cosine_embedding_loss(x, y, gl.tensor(np.ones(2))),
    "soft_margin_loss": lambda x, y: F.soft_margin_loss(x, y),
    "poisson_nll_loss": lambda x, y: F.poisson_nll_loss(x * y, gl.tensor(COUNTS[:2, :2])),
    "gaussian_nll_loss": lambda x, y: F.gaussian_nll_loss(x, y, gl.exp(x * 0.3)),
    "multilabel_soft_margin_loss": lambda x, y: F.multilabel_soft_margin_loss(x, gl.sigmoid(y)),
    "linear_cross_entropy": lambda x, y: F.linear_cross_entropy(x, y, gl.tensor([1, 0])),
    "sigmoid_focal_loss": lambda x, y: F.sigmoid_focal_loss(x, gl.sigmoid(y)),
    "tversky_loss": lambda x, y: F.tversky_loss(gl.sigmoid(x), gl.sigmoid(y), 0.3, 0.7, gamma=1.5),
    "nt_xent_loss": lambda x, y: F.nt_xent_loss(x, y, 0.5),
    "arcface_loss": lambda x, y: F.arcface_loss(x, y, gl.tensor([1, 0]), scale=4.0),
    "contrastive_loss": lambda x, y: F.contrastive_loss(x, y, gl.tensor([1.0, 0.0]), margin=9.0),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_second_order(name: str) -> None:
    check_grads(SMOOTH[name], [X[:2, :2], Y[:2, :2]], order=2, rtol=1e-4)


EXTREME = np.array([[1e4, -1e4], [-800.0, 800.0]], np.float32)
FINITE = {
    "soft_margin_loss": lambda x: F.soft_margin_loss(x, gl.tensor([[1.0, 1.0], [1.0, -1.0]])),
    "multilabel_soft_margin_loss": lambda x: F.multilabel_soft_margin_loss(x, gl.tensor([[0.0, 1.0], [1.0, 0.0]])),
    "binary_cross_entropy_with_logits": lambda x: F.binary_cross_entropy_with_logits(
        x, gl.tensor([[0.0, 1.0], [1.0, 0.0]])
    ),
    "sigmoid_focal_loss": lambda x: F.sigmoid_focal_loss(x, gl.tensor([[0.0, 1.0], [1.0, 0.0]]), reduction="mean"),
    "cross_entropy": lambda x: F.cross_entropy(x, gl.tensor([1, 0])),
    "linear_cross_entropy": lambda x: F.linear_cross_entropy(x, gl.eye(2), gl.tensor([1, 0])),
    "nt_xent_loss": lambda x: F.nt_xent_loss(x, -x),
    "arcface_loss": lambda x: F.arcface_loss(x, x, gl.tensor([0, 1])),
}


@pytest.mark.parametrize("name", FINITE)
def test_extreme_scores_stay_finite(name: str) -> None:
    x = gl.tensor(EXTREME, requires_grad=True)
    loss = FINITE[name](x)
    loss.backward()
    assert np.isfinite(loss.item()) and np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_pieces_of_the_batch_change_nothing(reduction: str, weighted: bool) -> None:
    labels = gl.tensor(np.array([0, 3, -100, 1, 2]))
    weight = gl.tensor(WEIGHT) if weighted else None
    results = []
    for options in (None, nn.LinearCrossEntropyOptions(batch_chunk_size=2)):
        x, w = gl.tensor(X, requires_grad=True), gl.tensor(Y[:4], requires_grad=True)
        loss = F.linear_cross_entropy(x, w, labels, weight=weight, reduction=reduction, options=options)
        loss.sum().backward()
        results.append([loss.detach().numpy(), x.grad.numpy(), w.grad.numpy()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_linear_cross_entropy_layer_has_pytorchs_state() -> None:
    ours = nn.LinearCrossEntropyLoss(4, 6, bias=True)
    theirs = torch.nn.LinearCrossEntropyLoss(4, 6, bias=True)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    ours.load_state_dict({k: gl.tensor(v.detach().numpy()) for k, v in theirs.state_dict().items()})
    x = X.astype(np.float32)
    expected = theirs(torch.tensor(x), torch.tensor(LABELS)).item()
    assert ours(gl.tensor(x), gl.tensor(LABELS)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("head_bias", [False, True])
def test_adaptive_log_softmax(head_bias: bool) -> None:
    ours = nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0, head_bias=head_bias)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0, head_bias=head_bias)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: gl.tensor(v.detach().numpy()) for k, v in theirs.state_dict().items()})
    x = RNG.normal(size=(7, 8)).astype(np.float32)
    target = np.array([0, 3, 4, 9, 10, 19, 12])
    a, b = gl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mine, reference = ours(a, gl.tensor(target)), theirs(b, torch.tensor(target))
    mine.loss.backward()
    reference.loss.backward()
    np.testing.assert_allclose(mine.output.detach().numpy(), reference.output.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours.log_prob(a).detach().numpy(), theirs.log_prob(b).detach().numpy(), rtol=1e-5)
    np.testing.assert_array_equal(ours.predict(a).numpy(), theirs.predict(b).numpy())
    one = ours(a[0].detach(), gl.tensor(3))
    assert tuple(one.output.shape) == () and one.loss.item() == pytest.approx(-one.output.item())
    with pytest.raises(IndexRangeError, match="label"):
        ours(a, gl.tensor(target + 1)).loss.item()
    with pytest.raises(ValueError, match="cutoffs"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 20, [10, 4])


@pytest.mark.parametrize("old", [{"size_average": False}, {"reduce": False}, {"size_average": True, "reduce": True}])
def test_the_old_spelling_of_reductions(old: dict) -> None:
    with pytest.warns(UserWarning, match="reduction="):
        ours = F.soft_margin_loss(gl.tensor(X), gl.tensor(SIGN_MAP), **old)
    with pytest.warns(UserWarning, match="deprecated"):
        theirs = TF.soft_margin_loss(torch.tensor(X), torch.tensor(SIGN_MAP), **old)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy())


LAYERS = [
    (nn.CosineEmbeddingLoss(0.2), torch.nn.CosineEmbeddingLoss(0.2), (X, Y, SIGNS)),
    (nn.HingeEmbeddingLoss(), torch.nn.HingeEmbeddingLoss(), (X, SIGN_MAP)),
    (nn.MarginRankingLoss(0.1), torch.nn.MarginRankingLoss(0.1), (X, Y, SIGN_MAP)),
    (nn.SoftMarginLoss(), torch.nn.SoftMarginLoss(), (X, SIGN_MAP)),
    (nn.MultiMarginLoss(2, 0.5), torch.nn.MultiMarginLoss(2, 0.5), (X, LABELS)),
    (nn.MultiLabelMarginLoss(), torch.nn.MultiLabelMarginLoss(), (X, LISTS)),
    (nn.MultiLabelSoftMarginLoss(), torch.nn.MultiLabelSoftMarginLoss(), (X, (SIGN_MAP + 1) / 2)),
    (nn.TripletMarginLoss(swap=True), torch.nn.TripletMarginLoss(swap=True), (X, Y, Z)),
    (nn.TripletMarginWithDistanceLoss(), torch.nn.TripletMarginWithDistanceLoss(), (X, Y, Z)),
    (nn.PoissonNLLLoss(full=True), torch.nn.PoissonNLLLoss(full=True), (X, COUNTS)),
    (nn.GaussianNLLLoss(full=True), torch.nn.GaussianNLLLoss(full=True), (X, Y, VAR)),
    (nn.SmoothL1Loss(beta=0.5), torch.nn.SmoothL1Loss(beta=0.5), (X, Y)),
    (nn.KLDivLoss(reduction="batchmean"), torch.nn.KLDivLoss(reduction="batchmean"), (X, VAR)),
]


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: type(c[0]).__name__)
def test_layers(case: tuple) -> None:
    ours, theirs, operands = case
    expected = theirs(*(torch.tensor(x) for x in operands)).item()
    assert ours(*(gl.tensor(x) for x in operands)).item() == pytest.approx(expected, rel=1e-9)


def test_refusals() -> None:
    x = gl.tensor(X)
    with pytest.raises(ShapeError, match="vectors"):
        F.cosine_embedding_loss(x, x, x)
    with pytest.raises(ShapeError, match="rank"):
        F.margin_ranking_loss(x, x, gl.tensor(SIGNS))
    with pytest.raises(ShapeError, match="labels"):
        F.multi_margin_loss(x, gl.tensor(LABELS[:3]))
    with pytest.raises(IndexRangeError, match="label"):
        F.multi_margin_loss(x, gl.tensor(LABELS + 2)).item()
    with pytest.raises(ValueError, match="p is 1 or 2"):
        F.multi_margin_loss(x, gl.tensor(LABELS), p=3)
    with pytest.raises(ValueError, match="margin"):
        F.triplet_margin_loss(x, x, x, margin=0.0)
    with pytest.raises(ShapeError, match="var has shape"):
        F.gaussian_nll_loss(x, x, gl.zeros(3))
    with pytest.raises(ValueError, match="negative"):
        F.gaussian_nll_loss(x, x, -1.0)
    with pytest.raises(IndexRangeError, match="negative"):
        F.gaussian_nll_loss(x, x, x - 9.0).item()
    with pytest.raises(DTypeError, match="dtype"):
        F.gaussian_nll_loss(gl.tensor(LABELS), gl.tensor(LABELS), 1.0)
    with pytest.raises(ValueError, match="ignore_index"):
        F.linear_cross_entropy(x, x, gl.tensor(np.ones((5, 5))), ignore_index=2)
    with pytest.raises(ValueError, match="reduction"):
        nn.SoftMarginLoss(reduction="average")


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "soft_margin_loss", "hinge_embedding_loss"])
def test_empty_batches(name: str) -> None:
    e, f = gl.tensor(np.zeros((0, 3))), torch.zeros(0, 3)
    assert getattr(F, name)(e, e, reduction="sum").item() == 0.0
    assert np.isnan(getattr(F, name)(e, e).item()) == np.isnan(getattr(TF, name)(f, f).item())
