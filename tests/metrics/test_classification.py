"""Classification metrics against scikit-learn, however the batches are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom import metrics as M
from gradloom.errors import IndexRangeError, ShapeError, StateError

RNG = np.random.default_rng(4)
N, C = 60, 4
SCORES = RNG.dirichlet(np.ones(C), N).astype(np.float32)
LABELS = RNG.integers(0, C, N)
DECIDED = SCORES.argmax(1)
P1 = np.round(RNG.random(N), 2).astype(np.float32)  # with ties
BITS = (RNG.random(N) < 0.3 + 0.4 * P1).astype(np.int64)
PL = RNG.random((N, 3)).astype(np.float32)
BITS_L = RNG.integers(0, 2, (N, 3))
TASKS: dict[str, tuple] = {
    "binary": (P1, BITS, {}),
    "multiclass": (SCORES, LABELS, {"num_classes": C}),
    "multilabel": (PL, BITS_L, {"num_labels": 3}),
}


def fed(metric: M.Metric, preds: np.ndarray, target: np.ndarray, cuts: Any = (13, 14, 40)) -> Any:
    for p, t in zip(np.split(preds, list(cuts)), np.split(target, list(cuts))):
        metric.update(gl.tensor(p), gl.tensor(t))
    return metric.compute().numpy()


def decided(task: str) -> tuple[np.ndarray, np.ndarray]:
    preds, target, _ = TASKS[task]
    return (preds.argmax(1) if task == "multiclass" else (preds > 0.5).astype(np.int64)), target


AVERAGED = {
    "Precision": sk.precision_score,
    "Recall": sk.recall_score,
    "F1Score": sk.f1_score,
    "JaccardIndex": sk.jaccard_score,
}


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", AVERAGED)
def test_averages(name: str, task: str, average: str) -> None:
    p, t = decided(task)
    kind = "binary" if task == "binary" else None if average == "none" else average
    expected = AVERAGED[name](t, p, average=kind, zero_division=0)
    ours = fed(getattr(M, name)(task, average=average, **TASKS[task][2]), *TASKS[task][:2])
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_the_rest_by_counts(task: str) -> None:
    preds, target, options = TASKS[task]
    p, t = decided(task)
    np.testing.assert_allclose(fed(M.Accuracy(task, **options), preds, target), (p == t).mean())
    np.testing.assert_allclose(fed(M.HammingDistance(task, **options), preds, target), sk.hamming_loss(t, p))
    beta = fed(M.FBetaScore(task, beta=0.5, average="macro", **options), preds, target)
    kind = "binary" if task == "binary" else "macro"
    np.testing.assert_allclose(beta, sk.fbeta_score(t, p, beta=0.5, average=kind))
    matrix = sk.multilabel_confusion_matrix(t, p) if task == "multilabel" else sk.confusion_matrix(t, p)
    np.testing.assert_array_equal(fed(M.ConfusionMatrix(task, **options), preds, target), matrix)
    if task != "multilabel":
        for normalize in ("true", "pred", "all"):
            ours = fed(M.ConfusionMatrix(task, normalize=normalize, **options), preds, target)
            np.testing.assert_allclose(ours, sk.confusion_matrix(t, p, normalize=normalize))
        for weights in (None, "linear", "quadratic"):
            ours = fed(M.CohenKappa(task, weights=weights, **options), preds, target)
            np.testing.assert_allclose(ours, sk.cohen_kappa_score(t, p, weights=weights))
        np.testing.assert_allclose(fed(M.MatthewsCorrCoef(task, **options), preds, target), sk.matthews_corrcoef(t, p))
    m = sk.multilabel_confusion_matrix(t, p)
    specificity = m[:, 0, 0] / m[:, 0].sum(1)
    ours = fed(M.Specificity(task, average="none", **options), preds, target)
    np.testing.assert_allclose(ours, specificity[1] if task == "binary" else specificity)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k(k: int) -> None:
    ours = fed(M.Accuracy("multiclass", num_classes=C, top_k=k), SCORES, LABELS)
    np.testing.assert_allclose(ours, sk.top_k_accuracy_score(LABELS, SCORES, k=k))
    recall = fed(M.Recall("multiclass", num_classes=C, top_k=k, average="none"), SCORES, LABELS)
    best = np.argsort(-SCORES, 1)[:, :k]
    right = (best == LABELS[:, None]).any(1)
    np.testing.assert_allclose(recall, [right[LABELS == c].mean() for c in range(C)])


def test_classes_that_do_not_occur_do_not_count_in_macro() -> None:
    t, p = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    ours = fed(M.F1Score("multiclass", num_classes=5, average="macro"), p, t, (2,))
    np.testing.assert_allclose(ours, sk.f1_score(t, p, average="macro"))


@pytest.mark.parametrize("task", TASKS)
def test_ignored_answers(task: str) -> None:
    preds, target, options = TASKS[task]
    marked = target.copy()
    marked[::7] = -1
    keep = marked != -1
    ours = fed(M.Accuracy(task, ignore_index=-1, **options), preds, marked)
    p, _ = decided(task)
    np.testing.assert_allclose(ours, (p[keep] == target[keep]).mean())
    if task != "multilabel":
        area = fed(M.AUROC(task, ignore_index=-1, **options), preds, marked)
        extra = {} if task == "binary" else {"multi_class": "ovr"}
        np.testing.assert_allclose(area, sk.roc_auc_score(target[keep], preds[keep], **extra), rtol=1e-9)


def test_scores_before_the_sigmoid_and_images() -> None:
    logits = np.log(P1 + 1e-3) - np.log(1 - P1 + 1e-3)
    ours = fed(M.Accuracy("binary"), (logits * 3).astype(np.float32), BITS)
    np.testing.assert_allclose(ours, ((logits > 0) == BITS).mean())
    image = RNG.random((5, C, 3, 2)).astype(np.float32)
    labels = RNG.integers(0, C, (5, 3, 2))
    ours = fed(M.Accuracy("multiclass", num_classes=C), image, labels, (2,))
    np.testing.assert_allclose(ours, (image.argmax(1) == labels).mean())


# -- curves ---------------------------------------------------------------------------------------------
def test_roc_and_precision_recall_curves() -> None:
    fpr, tpr, thresholds = sk.roc_curve(BITS, P1, drop_intermediate=False)
    metric = M.ROC("binary")
    for p, t in zip(np.split(P1, [20]), np.split(BITS, [20])):
        metric.update(gl.tensor(p), gl.tensor(t))
    for ours, expected in zip(metric.compute(), (fpr, tpr, thresholds)):
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)
    curve = M.PrecisionRecallCurve("multiclass", num_classes=C)
    curve.update(gl.tensor(SCORES), gl.tensor(LABELS))
    precision, recall, _ = curve.compute()
    for c in range(C):
        p, r, _ = sk.precision_recall_curve(LABELS == c, SCORES[:, c])
        np.testing.assert_allclose(precision[c].numpy(), p, rtol=1e-12)
        np.testing.assert_allclose(recall[c].numpy(), r, rtol=1e-12)


@pytest.mark.parametrize("average", ["macro", "weighted", "none", "micro"])
def test_areas(average: str) -> None:
    kind = None if average == "none" else average
    one_hot = np.eye(C, dtype=np.int64)[LABELS]
    for task, (preds, target, options) in TASKS.items():
        if task == "binary":
            continue
        answers = one_hot if task == "multiclass" else target
        ours = fed(M.AUROC(task, average=average, **options), preds, target)
        np.testing.assert_allclose(ours, sk.roc_auc_score(answers, preds, average=kind), rtol=1e-9)
        ours = fed(M.AveragePrecision(task, average=average, **options), preds, target)
        np.testing.assert_allclose(ours, sk.average_precision_score(answers, preds, average=kind), rtol=1e-9)


@pytest.mark.parametrize("limit", [None, 0.1, 0.5])
def test_area_up_to_a_false_positive_rate(limit: float | None) -> None:
    ours = fed(M.AUROC("binary", max_fpr=limit), P1, BITS)
    np.testing.assert_allclose(ours, sk.roc_auc_score(BITS, P1, max_fpr=limit), rtol=1e-9)
    assert np.isnan(fed(M.AUROC("binary"), P1, np.ones_like(BITS)))


# -- probabilities ---------------------------------------------------------------------------------------
def test_brier_log_loss_and_hinge() -> None:
    np.testing.assert_allclose(fed(M.BrierScore("binary"), P1, BITS), sk.brier_score_loss(BITS, P1), rtol=1e-6)
    one_hot = np.eye(C)[LABELS]
    expected = ((SCORES - one_hot) ** 2).sum(1).mean()
    np.testing.assert_allclose(fed(M.BrierScore("multiclass", num_classes=C), SCORES, LABELS), expected, rtol=1e-6)
    np.testing.assert_allclose(fed(M.LogLoss("binary"), P1, BITS), sk.log_loss(BITS, P1), rtol=1e-6)
    wide = SCORES.astype(np.float64) / SCORES.sum(1, dtype=np.float64, keepdims=True)
    ours = fed(M.LogLoss("multiclass", num_classes=C), wide, LABELS)
    np.testing.assert_allclose(ours, sk.log_loss(LABELS, wide), rtol=1e-9)
    raw = RNG.normal(size=(N, C))
    ours = fed(M.HingeLoss("multiclass", num_classes=C), raw, LABELS)
    np.testing.assert_allclose(ours, sk.hinge_loss(LABELS, raw), rtol=1e-9)
    ours = fed(M.HingeLoss("binary"), raw[:, 0], BITS)
    np.testing.assert_allclose(ours, sk.hinge_loss(BITS * 2 - 1, raw[:, 0]), rtol=1e-9)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_calibration(norm: str) -> None:
    confidence, right = SCORES.max(1).astype(np.float64), SCORES.argmax(1) == LABELS
    place = np.minimum((confidence * 10).astype(int), 9)
    gaps, weights = [], []
    for b in range(10):
        here = place == b
        if here.any():
            gaps.append(abs(confidence[here].mean() - right[here].mean()))
            weights.append(here.mean())
    gaps, weights = np.array(gaps), np.array(weights)
    expected = {"l1": gaps @ weights, "l2": np.sqrt(gaps**2 @ weights), "max": gaps.max()}[norm]
    ours = fed(M.CalibrationError("multiclass", n_bins=10, norm=norm, num_classes=C), SCORES, LABELS)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


# -- the life of a metric ----------------------------------------------------------------------------------
MAKE = {
    "accuracy": lambda: M.Accuracy("multiclass", num_classes=C),
    "top_2": lambda: M.Accuracy("multiclass", num_classes=C, top_k=2),
    "auroc": lambda: M.AUROC("multiclass", num_classes=C),
    "calibration": lambda: M.CalibrationError("multiclass", num_classes=C),
    "brier": lambda: M.BrierScore("multiclass", num_classes=C),
}


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, N - 1), max_size=4))
@pytest.mark.parametrize("name", MAKE)
def test_any_cut_gives_the_same(name: str, cuts: list[int]) -> None:
    whole = fed(MAKE[name](), SCORES, LABELS, ())
    np.testing.assert_allclose(fed(MAKE[name](), SCORES, LABELS, sorted(set(cuts))), whole, rtol=1e-12)


@pytest.mark.parametrize("name", MAKE)
def test_merged_saved_and_reset(name: str) -> None:
    whole = fed(MAKE[name](), SCORES, LABELS, ())
    a, b, c = MAKE[name](), MAKE[name](), MAKE[name]()
    a.update(gl.tensor(SCORES[:20]), gl.tensor(LABELS[:20]))
    first = a.clone()
    batch = a.forward(gl.tensor(SCORES[20:45]), gl.tensor(LABELS[20:45])).numpy()
    b.update(gl.tensor(SCORES[45:]), gl.tensor(LABELS[45:]))
    np.testing.assert_allclose(batch, fed(MAKE[name](), SCORES[20:45], LABELS[20:45], ()), rtol=1e-12)
    np.testing.assert_allclose(first.compute().numpy(), fed(MAKE[name](), SCORES[:20], LABELS[:20], ()), rtol=1e-12)
    a.merge_state(b)
    np.testing.assert_allclose(a.compute().numpy(), whole, rtol=1e-12)
    c.load_state_dict(a.state_dict())
    np.testing.assert_allclose(c.compute().numpy(), whole, rtol=1e-12)
    assert c.update_count == 3
    c.reset()
    c.merge_state(MAKE[name]())
    assert c.update_count == 0
    np.testing.assert_allclose(fed(c, SCORES, LABELS), whole, rtol=1e-12)
    with pytest.raises(StateError, match="keeps"):
        a.merge_state(M.SumMetric())


def test_an_evaluation_is_one_program_a_batch() -> None:
    from gradloom.tape import TAPE

    metric = M.Accuracy("multiclass", num_classes=C)
    w = gl.tensor(np.eye(C, dtype=np.float32))
    count = []
    for _ in range(8):
        for k in range(3):
            metric.update(gl.tensor(SCORES[20 * k : 20 * k + 20]) @ w, gl.tensor(LABELS[20 * k : 20 * k + 20]))
        count.append(TAPE.compiled)
    assert count[-1] == count[2]
    np.testing.assert_allclose(metric.compute().numpy(), (DECIDED == LABELS).mean())


def test_in_a_training_step_no_program_is_added() -> None:
    from gradloom import nn, optim
    from gradloom.tape import TAPE

    layer, metric = nn.Linear(3, C), M.Accuracy("multiclass", num_classes=C)
    opt = optim.SGD(layer.parameters(), lr=0.1)
    x, y = gl.tensor(RNG.normal(size=(20, 3)).astype(np.float32)), gl.tensor(LABELS[:20])
    rounds = []
    for _ in range(6):
        opt.zero_grad()
        out = layer(x)
        nn.functional.cross_entropy(out, y).backward()
        metric.update(out, y)
        opt.step()
        rounds.append(TAPE.rounds)
    assert np.diff(rounds).tolist() == [1] * 5


def test_refusals() -> None:
    with pytest.raises(ValueError, match="task"):
        M.Accuracy("ranking")
    with pytest.raises(ValueError, match="num_classes"):
        M.Accuracy("multiclass")
    with pytest.raises(ValueError, match="average"):
        M.Precision("binary", average="mean")
    with pytest.raises(ValueError, match="top_k"):
        M.Precision("multiclass", num_classes=C, top_k=2)
    with pytest.raises(ShapeError, match="preds of shape"):
        M.Accuracy("multiclass", num_classes=3).update(gl.tensor(SCORES), gl.tensor(LABELS))
    metric = M.Accuracy("multiclass", num_classes=C)
    with pytest.raises(IndexRangeError, match="label 4"):
        metric.update(gl.tensor(SCORES), gl.tensor(LABELS + 1))
    with pytest.raises(ValueError, match="before any"):
        M.AUROC("binary").compute()
