"""Metrics of labellings, clusterings, ranks, groups, forecasts, sources, pictures, segments and translations.

The values are those of TorchMetrics 1.9, recorded; wrappers and functions are compared with metrics used by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import metrics as M
from gradloom.errors import ShapeError
from gradloom.metrics import functional as F

RNG = np.random.default_rng(11)
N = 60
P = np.round(RNG.random(N), 2)
BITS = (RNG.random(N) < 0.3 + 0.4 * P).astype(np.int64)
ROWS, LABELS = RNG.dirichlet(np.ones(4), N), RNG.integers(0, 4, N)
FOUND = np.where(RNG.random(N) < 0.5, LABELS, RNG.integers(0, 4, N))
PL, BITS_L = np.round(RNG.random((N, 3)) + np.arange(3) * 1e-3, 4), RNG.integers(0, 2, (N, 3))
GROUPS = RNG.integers(0, 3, N)
POINTS = RNG.normal(size=(N, 3)) + LABELS[:, None]
ENSEMBLE, CAME = RNG.normal(size=(N, 5)), RNG.normal(size=N)
QUERIES = RNG.integers(0, 8, N)
APART = P + np.arange(N) * 1e-4
SOUND = RNG.normal(size=(4, 2, 300))
NOISY = SOUND[:, ::-1] * 0.8 + 0.3 * RNG.normal(size=SOUND.shape)
SPECTRA = RNG.normal(size=(3, 9, 11, 2))
SPECTRA_NEAR = SPECTRA + 0.2 * RNG.normal(size=SPECTRA.shape)
X = RNG.random((4, 3, 48, 44)) + 0.1
Y = np.clip(X + RNG.normal(size=X.shape) * 0.1, 0.05, 1.1)
GREY, GREY_Y = X[:, :1], Y[:, :1]
RATINGS = RNG.multinomial(7, [0.2, 0.3, 0.5], 20)
_categories = np.kron(RNG.integers(0, 5, (4, 4, 4)), np.ones((1, 3, 3), np.int64)).astype(np.int64)
_instances = np.kron(RNG.integers(0, 2, (4, 4, 4)), np.ones((1, 3, 3), np.int64)).astype(np.int64)
SEGMENTS = np.stack([_categories, _instances], -1)
SEGMENTED = np.where(RNG.random((4, 12, 12, 1)) < 0.8, SEGMENTS, RNG.integers(0, 2, SEGMENTS.shape))
TEXTS = ["the cat is on the mat, I think", "it is a guide to action which ensures", "here they are now", "a b c d e f"]
WANTED = [
    ["there is a cat on the mat", "on the mat the cat is"], ["ensures that it is a guide to action"],
    ["now here they are"], ["e f a b c d x"],
]  # fmt: skip
Case = tuple[str, dict[str, Any], tuple]
_t = {
    "binary": (P, BITS, {}),
    "multiclass": (ROWS, LABELS, {"num_classes": 4}),
    "multilabel": (PL, BITS_L, {"num_labels": 3}),
}

CASES: list[Case] = []
for _n in ("CramersV", "TschuprowsT"):
    for _b in (True, False):
        CASES.append((_n, {"num_classes": 4, "bias_correction": _b}, (FOUND, LABELS)))
        CASES.append((_n, {"num_classes": 2, "bias_correction": _b}, (FOUND // 2, LABELS // 2)))
for _n in ("PearsonsContingencyCoefficient", "TheilsU"):
    CASES.append((_n, {"num_classes": 4}, (FOUND, LABELS)))
CASES += [("CramersV", {"num_classes": 4, "nan_strategy": _s}, (np.where(P < 0.1, np.nan, FOUND), LABELS.astype(float)))
          for _s in ("replace", "drop")]  # fmt: skip
CASES.append(("FleissKappa", {}, (RATINGS,)))
for _n in (
    "AdjustedRandScore CompletenessScore FowlkesMallowsIndex HomogeneityScore MutualInfoScore RandScore VMeasureScore"
).split():
    CASES.append((_n, {}, (FOUND, LABELS)))
CASES.append(("VMeasureScore", {"beta": 2.0}, (FOUND, LABELS)))
for _m in ("min", "max", "geometric", "arithmetic"):
    for _n in ("AdjustedMutualInfoScore", "NormalizedMutualInfoScore"):
        CASES.append((_n, {"average_method": _m}, (FOUND, LABELS)))
CASES += [(_n, {}, (POINTS, LABELS)) for _n in ("CalinskiHarabaszScore", "DaviesBouldinScore", "DunnIndex")]
CASES.append(("DunnIndex", {"p": 1}, (POINTS, LABELS)))
for _n in ("MultilabelCoverageError", "MultilabelRankingAveragePrecision", "MultilabelRankingLoss"):
    CASES.append((_n, {"num_labels": 3}, (PL, BITS_L)))
for _task, (_p, _y, _o) in _t.items():
    for _at in (None, 11):
        CASES.append(("EER", {"task": _task, "thresholds": _at, **_o}, (_p, _y)))
    CASES.append(("LogAUC", {"task": _task, "fpr_range": (0.05, 0.6), **_o}, (_p, _y)))
CASES += [
    ("BinaryGroupStatRates", {"num_groups": 3}, (P, BITS, GROUPS)),
    ("BinaryFairness", {"num_groups": 3}, (P, BITS, GROUPS)),
    ("BinaryFairness", {"num_groups": 3, "task": "equal_opportunity"}, (P, BITS, GROUPS)),
    ("ContinuousRankedProbabilityScore", {}, (ENSEMBLE, CAME)),
    ("CriticalSuccessIndex", {"threshold": 0.5}, (P, APART)),
    ("CriticalSuccessIndex", {"threshold": 0.5, "keep_sequence_dim": 0}, (PL, PL[::-1].copy())),
    ("RetrievalAUROC", {}, (APART, BITS, QUERIES)),
    ("RetrievalAUROC", {"top_k": 4, "empty_target_action": "skip"}, (APART, BITS, QUERIES)),
    ("RetrievalPrecisionRecallCurve", {}, (APART, BITS, QUERIES)),
    ("RetrievalPrecisionRecallCurve", {"max_k": 12, "adaptive_k": True}, (APART, BITS, QUERIES)),
    ("RetrievalRecallAtFixedPrecision", {"min_precision": 0.5}, (APART, BITS, QUERIES)),
    ("SignalDistortionRatio", {"filter_length": 32}, (NOISY, SOUND)),
    ("SignalDistortionRatio", {"filter_length": 16, "zero_mean": True, "load_diag": 0.01}, (NOISY, SOUND)),
    ("ComplexScaleInvariantSignalNoiseRatio", {}, (SPECTRA_NEAR, SPECTRA)),
    ("ErrorRelativeGlobalDimensionlessSynthesis", {}, (X, Y)),
    ("ErrorRelativeGlobalDimensionlessSynthesis", {"ratio": 2, "reduction": "none"}, (X, Y)),
    ("RootMeanSquaredErrorUsingSlidingWindow", {}, (X, Y)),
    ("RootMeanSquaredErrorUsingSlidingWindow", {"window_size": 5}, (X, Y)),
    ("RelativeAverageSpectralError", {}, (X, Y)),
    ("RelativeAverageSpectralError", {"window_size": 7}, (X, Y)),
    ("SpectralDistortionIndex", {}, (X, Y)),
    ("SpectralDistortionIndex", {"p": 2}, (X, Y)),
    ("PeakSignalNoiseRatioWithBlockedEffect", {"data_range": 1.0}, (GREY, GREY_Y)),
    ("VisualInformationFidelity", {}, (X * 255, Y * 255)),
    ("VisualInformationFidelity", {"sigma_n_sq": 1.0, "reduction": "none"}, (X * 255, Y * 255)),
    ("TranslationEditRate", {}, (TEXTS, WANTED)),
    ("TranslationEditRate", {"normalize": True, "no_punctuation": True, "lowercase": False}, (TEXTS, WANTED)),
    ("TranslationEditRate", {"return_sentence_level_score": True}, (TEXTS, WANTED)),
    ("ExtendedEditDistance", {}, (TEXTS, WANTED)),
    ("ExtendedEditDistance", {"alpha": 1.5, "rho": 0.1, "return_sentence_level_score": True}, (TEXTS, WANTED)),
]
for _r in ("mean", "sum", "none"):
    CASES.append(("JensenShannonDivergence", {"reduction": _r}, (ROWS[:30], ROWS[30:])))
CASES.append(("JensenShannonDivergence", {"log_prob": True}, (np.log(ROWS[:30]), np.log(ROWS[30:]))))
for _m in ("mean", "range", "std", "l2"):
    CASES.append(("NormalizedRootMeanSquaredError", {"normalization": _m}, (APART, P + 0.3)))
for _s in (True, False):
    CASES.append(("SourceAggregatedSignalDistortionRatio", {"scale_invariant": _s}, (NOISY, SOUND)))
for _o in ({}, {"return_sq_and_rq": True}, {"return_per_class": True, "return_sq_and_rq": True}):
    CASES.append(("PanopticQuality", {"things": [0, 1], "stuffs": [3, 2, 4], **_o}, (SEGMENTED, SEGMENTS)))
CASES.append(
    ("PanopticQuality", {"things": [0, 1], "stuffs": [3], "allow_unknown_preds_category": True}, (SEGMENTED, SEGMENTS))
)
CASES.append(("ModifiedPanopticQuality", {"things": [0, 1], "stuffs": [3, 2, 4]}, (SEGMENTED, SEGMENTS)))
for _k, (_task, (_p, _y, _o)) in enumerate(_t.items()):
    _kind = _task.capitalize()
    for _n in (
        "Accuracy AUROC AveragePrecision ConfusionMatrix F1Score HammingDistance JaccardIndex MatthewsCorrCoef "
        "Precision Recall Specificity StatScores NegativePredictiveValue"
    ).split():
        CASES.append((f"{_kind}{_n}", _o, (_p, _y)))
    CASES.append((f"{_kind}FBetaScore", {"beta": 2.0, **_o}, (_p, _y)))
    CASES.append((f"{_kind}RecallAtFixedPrecision", {"min_precision": 0.4, **_o}, (_p, _y)))
    if _task != "multilabel":
        CASES += [(f"{_kind}{_n}", _o, (_p, _y)) for _n in ("CalibrationError", "CohenKappa", "HingeLoss")]
    if _task != "binary":
        CASES.append((f"{_kind}ExactMatch", _o, (_p, _y)))

RECORDED = Path(__file__).with_name("recorded_families.json")
SINGLE = {"CriticalSuccessIndex", "NormalizedRootMeanSquaredError"}  # not joined as we do by TorchMetrics


def named(case: Case) -> str:
    return " ".join([case[0], *(f"{k}={v}" for k, v in case[1].items()), *([str(case[2][0].shape[0])] if case[0] in (
        "CramersV", "TschuprowsT") and case[1]["num_classes"] == 2 else [])])  # fmt: skip


def halves(case: Case) -> Any:
    """Each operand in two batches; all of it where batches are not joined alike."""
    name, _, operands = case
    cut = len(operands[0]) if name in SINGLE else max(1, len(operands[0]) // 3)
    return [part for part in zip(*((x[:cut], x[cut:]) for x in operands)) if len(part[0])]


def flat(value: Any) -> list[float]:
    """All numbers of a result, in order; dictionaries by their keys."""
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in flat(value[key])]
    if isinstance(value, list | tuple):
        return [x for part in value for x in flat(part)]
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value, np.float64).ravel().tolist()


def operand(x: Any) -> Any:
    return gl.tensor(x) if isinstance(x, np.ndarray) else x


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[float]]:
    return json.loads(RECORDED.read_text())


@pytest.mark.parametrize("case", CASES, ids=named)
def test_values_of_two_metrics_joined(case: Case, recorded: dict[str, list[float]]) -> None:
    name, options, _ = case
    parts = []
    for batch in halves(case):
        parts.append(getattr(M, name)(**options))
        parts[-1].update(*map(operand, batch))
    for other in parts[1:]:
        parts[0].merge_state(other.state_dict())
    np.testing.assert_allclose(flat(parts[0].compute()), recorded[named(case)], rtol=2e-5, atol=2e-6)


def test_accuracy_of_clusters_is_that_of_the_best_pairing() -> None:
    from scipy.optimize import linear_sum_assignment

    from gradloom.metrics.clustering import assignment

    metric = M.ClusterAccuracy(4)
    metric.update(gl.tensor((FOUND + 1) % 4), gl.tensor(LABELS))
    table = np.zeros((4, 4))
    np.add.at(table, (LABELS, (FOUND + 1) % 4), 1)
    rows, columns = linear_sum_assignment(-table)
    assert metric.compute().item() == pytest.approx(table[rows, columns].sum() / N)
    for size in (1, 2, 5, 9):
        cost = RNG.normal(size=(size, size)).round(1)  # with ties
        found = assignment(cost)
        assert sorted(found) == list(range(size))
        assert cost[np.arange(size), found].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum())


@pytest.mark.parametrize("mode", ["speaker-wise", "permutation-wise"])
def test_the_best_order_of_speakers(mode: str) -> None:
    swapped, target = gl.tensor(SOUND[:, ::-1] + 0.01), gl.tensor(SOUND)

    def error(p: Any, t: Any) -> Any:
        return ((p - t) ** 2).reshape(p.shape[0], -1).mean(1)

    value, order = F.permutation_invariant_training(swapped, target, error, mode=mode, eval_func="min")
    np.testing.assert_allclose(value.numpy(), np.full(4, 1e-4), rtol=1e-6)
    assert order.numpy().tolist() == [[1, 0]] * 4
    np.testing.assert_allclose(F.pit_permutate(swapped, order).numpy(), SOUND + 0.01)
    metric = M.PermutationInvariantTraining(F.scale_invariant_signal_noise_ratio)
    metric.update(gl.tensor(NOISY), target)
    best = F.scale_invariant_signal_noise_ratio(gl.tensor(NOISY[:, ::-1].copy()), target)
    assert metric.compute().item() == pytest.approx(float(best.numpy().mean()))
    with pytest.raises(ValueError, match="eval_func is"):
        F.permutation_invariant_training(swapped, target, error, eval_func="best")


def test_functions_are_metrics_of_one_batch() -> None:
    p, t = gl.tensor(ROWS), gl.tensor(LABELS)
    metric = M.MulticlassAccuracy(4)
    metric.update(p, t)
    for found in (
        F.multiclass_accuracy(p, t, num_classes=4), F.accuracy(p, t, task="multiclass", num_classes=4, average="macro"),
    ):  # fmt: skip
        assert found.item() == metric.compute().item()
    assert F.accuracy(p, t, "multiclass", num_classes=4).item() == pytest.approx(
        float((ROWS.argmax(1) == LABELS).mean())
    )
    scores, bits = gl.tensor(APART), gl.tensor(BITS)
    one = M.RetrievalMAP()
    one.update(scores, bits, gl.tensor(np.zeros(N, np.int64)))
    assert F.retrieval_average_precision(scores, bits).item() == one.compute().item()
    assert tuple(F.signal_noise_ratio(gl.tensor(NOISY), gl.tensor(SOUND)).shape) == (4, 2)
    table = F.cramers_v_matrix(gl.tensor(np.stack([FOUND, LABELS, FOUND], 1)))
    assert table.numpy()[0, 1] == pytest.approx(F.cramers_v(gl.tensor(FOUND), gl.tensor(LABELS)).item())
    assert F.word_error_rate(["a b"], ["a c"]).item() == 0.5
    with pytest.raises(TypeError, match="missing"):
        F.accuracy(p, t)
    with pytest.raises(TypeError, match="unexpected"):
        F.accuracy(p, t, task="multiclass", classes=4)


@pytest.mark.parametrize("name", ["cosine_similarity", "euclidean_distance", "manhattan_distance", "linear_similarity"])
def test_pairs_of_rows(name: str) -> None:
    import sklearn.metrics.pairwise as sk

    theirs = getattr(sk, {"euclidean_distance": "euclidean_distances", "manhattan_distance": "manhattan_distances",
                          "linear_similarity": "linear_kernel"}.get(name, name))  # fmt: skip
    function = getattr(F, f"pairwise_{name}")
    a, b = POINTS[:7], POINTS[7:12]
    np.testing.assert_allclose(function(gl.tensor(a), gl.tensor(b)).numpy(), theirs(a, b), rtol=1e-6, atol=1e-9)
    own = theirs(a, a)
    np.fill_diagonal(own, 0)
    np.testing.assert_allclose(function(gl.tensor(a)).numpy(), own, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(function(gl.tensor(a), reduction="mean").numpy(), own.mean(1), rtol=1e-6, atol=1e-9)
    with pytest.raises(ShapeError, match="as many features"):
        function(gl.tensor(a), gl.tensor(b[:, :2]))


def accuracy_of(rows: slice) -> float:
    return float((ROWS.argmax(1)[rows] == LABELS[rows]).mean())


def test_wrappers() -> None:
    p, t = gl.tensor(ROWS), gl.tensor(LABELS)
    named = M.ClasswiseWrapper(M.MulticlassRecall(4, average="none"), labels=["a", "b", "c", "d"])
    found = named(p, t)
    assert list(found) == [f"multiclassrecall_{k}" for k in "abcd"]
    extremes = M.MinMaxMetric(M.Accuracy("multiclass", num_classes=4))
    seen = []
    for k in range(3):
        extremes.update(p[20 * k : 20 * k + 20], t[20 * k : 20 * k + 20])
        seen.append(extremes.compute())
    assert seen[-1]["min"].item() == min(float(s["raw"].item()) for s in seen)
    assert seen[-1]["max"].item() == max(float(s["raw"].item()) for s in seen)
    outputs = M.MultioutputWrapper(M.MeanSquaredError(), 3)
    holes = PL.copy()
    holes[4, 1] = np.nan
    outputs.update(gl.tensor(holes), gl.tensor(PL * 0.5))
    np.testing.assert_allclose(outputs.compute().numpy(), np.nanmean((holes - PL * 0.5) ** 2, 0))
    tasks = M.MultitaskWrapper({"a": M.MeanAbsoluteError(), "b": M.BinaryAccuracy()}, prefix="on_")
    tasks.update({"a": gl.tensor(CAME), "b": gl.tensor(P)}, {"a": gl.tensor(CAME * 2), "b": gl.tensor(BITS)})
    assert tasks.compute()["on_a"].item() == pytest.approx(np.abs(CAME).mean())
    with pytest.raises(ValueError, match="tasks are"):
        tasks.update({"a": gl.tensor(CAME)}, {"a": gl.tensor(CAME)})
    last = M.Running(M.Accuracy("multiclass", num_classes=4), window=2)
    for k in range(3):
        last.update(p[20 * k : 20 * k + 20], t[20 * k : 20 * k + 20])
    assert last.compute().item() == pytest.approx(accuracy_of(slice(20, 60)))
    again = M.Running(M.Accuracy("multiclass", num_classes=4), window=2)
    again.load_state_dict(last.state_dict())
    assert again.compute().item() == last.compute().item()
    epochs = M.MetricTracker(M.Accuracy("multiclass", num_classes=4))
    with pytest.raises(ValueError, match="increment"):
        epochs.update(p, t)
    for k in range(3):
        epochs.increment()
        epochs.update(p[20 * k : 20 * k + 20], t[20 * k : 20 * k + 20])
    values = [accuracy_of(slice(20 * k, 20 * k + 20)) for k in range(3)]
    assert epochs.best_metric(return_step=True) == (pytest.approx(max(values)), int(np.argmax(values)))
    np.testing.assert_allclose(epochs.compute_all().numpy(), values)


@pytest.mark.parametrize("strategy", ["poisson", "multinomial"])
def test_bootstrapped_values_spread_as_they_should(strategy: str) -> None:
    gl.manual_seed(0)
    metric = M.BootStrapper(M.MeanSquaredError(), 200, quantile=[0.05, 0.95], raw=True, sampling_strategy=strategy)
    metric.update(gl.tensor(CAME), gl.tensor(np.zeros(N)))
    found = metric.compute()
    each = CAME**2
    assert found["mean"].item() == pytest.approx(each.mean(), rel=0.1)
    assert found["std"].item() == pytest.approx(each.std() / np.sqrt(N), rel=0.3)
    assert tuple(found["raw"].shape) == (200,)
    low, high = found["quantile"].numpy()
    assert low < each.mean() < high


REFUSED = {
    "a label that is none": (lambda: M.CramersV(3).update(gl.tensor([0, 3]), gl.tensor([0, 1])), ShapeError),
    "a strategy": (lambda: M.TheilsU(3, nan_strategy="guess"), ValueError),
    "ratings": (lambda: M.FleissKappa().update(gl.tensor(ROWS)), ShapeError),
    "one cluster": (lambda: F.dunn_index(gl.tensor(POINTS), gl.tensor(np.zeros(N, np.int64))), ValueError),
    "float labels": (lambda: M.RandScore().update(gl.tensor(P), gl.tensor(LABELS)), ShapeError),
    "a group that is none": (
        lambda: M.BinaryFairness(2).update(gl.tensor(P), gl.tensor(BITS), gl.tensor(GROUPS)), ShapeError),
    "no groups": (lambda: M.BinaryFairness(2).update(gl.tensor(P), gl.tensor(BITS)), TypeError),
    "one member": (lambda: M.ContinuousRankedProbabilityScore().update(gl.tensor(CAME[:, None]), gl.tensor(CAME)),
                   ShapeError),
    "small pictures": (lambda: M.VisualInformationFidelity().update(gl.tensor(X[..., :30]), gl.tensor(Y[..., :30])),
                       ShapeError),
    "colours": (lambda: M.PeakSignalNoiseRatioWithBlockedEffect(1.0).update(gl.tensor(X), gl.tensor(Y)), ShapeError),
    "both thing and stuff": (lambda: M.PanopticQuality([0, 1], [1]), ValueError),
    "an unknown category": (
        lambda: M.PanopticQuality([0], [1]).update(gl.tensor(SEGMENTS), gl.tensor(SEGMENTS)), ValueError),
    "a language": (lambda: M.ExtendedEditDistance("fr"), ValueError),
    "a range": (lambda: M.LogAUC("binary", fpr_range=(0.5, 0.1)), ValueError),
    "an option": (lambda: M.BinaryAUROC(num_classes=3), TypeError),
    "too many values": (lambda: M.MulticlassExactMatch(3, 4, 5, 6, 7), TypeError),
}  # fmt: skip


@pytest.mark.parametrize("made", REFUSED)
def test_refusals(made: str) -> None:
    call, error = REFUSED[made]
    with pytest.raises(error):
        call()
