"""Metrics over chosen thresholds, of pictures, sounds, ranks and edits: the values of TorchMetrics 1.9, or formulas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk

import gradloom as gl
from gradloom import metrics as M
from gradloom.errors import ShapeError
from gradloom.metrics.text import tokens_intl

RNG = np.random.default_rng(3)
N = 57
P1 = np.round(RNG.random(N), 2).astype(np.float32)
BITS = (RNG.random(N) < 0.3 + 0.4 * P1).astype(np.int64)
ROWS, LABELS = RNG.dirichlet(np.ones(4), N).astype(np.float32), RNG.integers(0, 4, N)
PL, BITS_L = RNG.random((N, 3)).astype(np.float32), RNG.integers(0, 2, (N, 3))
X = RNG.random((4, 3, 40, 36))
Y = np.clip(X + RNG.normal(size=X.shape) * 0.1, 0, 1)
LARGE = RNG.random((2, 1, 180, 177))
LARGE_Y = np.clip(LARGE + RNG.normal(size=LARGE.shape) * 0.1, 0, 1)
A = RNG.gamma(2.0, 2.0, N)
NEAR = A * np.exp(RNG.normal(size=N) * 0.2)
SOUND = RNG.normal(size=(3, 200))
NOISY = SOUND * 0.7 + 0.2 * RNG.normal(size=SOUND.shape) + 0.1
QUERIES = RNG.integers(0, 8, N)
APART = P1.astype(np.float64) + np.arange(N) * 1e-4
REGIONS = np.concatenate([np.arange(4).repeat(5)[None].repeat(5, 0), RNG.integers(0, 4, (5, 20))], 1)
FOUND = np.where(RNG.random(REGIONS.shape) < 0.6, REGIONS, RNG.integers(0, 3, REGIONS.shape))
TEXTS = ["this is the prediction", "there is an other sample", "a b"]
WANTED = ["this is the reference", "there is another one", "a c d"]
ANSWERS = [{"prediction_text": t, "id": str(k)} for k, t in enumerate(["1976", "the big cat", "Nothing at all!"])]
QUESTIONS = [
    {"answers": {"answer_start": [0], "text": t}, "id": str(k)}
    for k, t in enumerate([["1976"], ["a cat", "big dog"], ["none"]])
]
TASKS: dict[str, tuple] = {
    "binary": (P1, BITS, {}),
    "multiclass": (ROWS, LABELS, {"num_classes": 4}),
    "multilabel": (PL, BITS_L, {"num_labels": 3}),
}
Case = tuple[str, dict[str, Any], tuple]

CASES: list[Case] = []
for _task, (_p, _t, _o) in TASKS.items():
    for _at in (11, [0.1, 0.5, 0.9]):
        CASES += [(_n, {"task": _task, "thresholds": _at, **_o}, (_p, _t)) for _n in ("ROC", "PrecisionRecallCurve")]
        for _n in ("AUROC", "AveragePrecision"):
            for _average in ("macro", "weighted", "none"):
                CASES.append((_n, {"task": _task, "thresholds": _at, "average": _average, **_o}, (_p, _t)))
    for _at in (None, 11):
        CASES.append(
            ("RecallAtFixedPrecision", {"task": _task, "thresholds": _at, "min_precision": 0.3, **_o}, (_p, _t))
        )
        CASES.append(("PrecisionAtFixedRecall", {"task": _task, "thresholds": _at, "min_recall": 0.6, **_o}, (_p, _t)))
        CASES.append(
            ("SensitivityAtSpecificity", {"task": _task, "thresholds": _at, "min_specificity": 0.6, **_o}, (_p, _t))
        )
    for _average in ("micro", "macro", "weighted", "none"):
        CASES.append(("NegativePredictiveValue", {"task": _task, "average": _average, **_o}, (_p, _t)))
CASES += [
    ("AUROC", {"task": "binary", "max_fpr": 0.3, "thresholds": 21}, (P1, BITS)),
    ("WeightedMeanAbsolutePercentageError", {}, (NEAR, A)),
    ("LogCoshError", {}, (NEAR, A)),
    ("ConcordanceCorrCoef", {}, (NEAR, A)),
    ("RelativeSquaredError", {}, (NEAR, A)),
    ("RelativeSquaredError", {"squared": False}, (NEAR, A)),
    ("MinkowskiDistance", {"p": 3}, (NEAR, A)),
    ("PeakSignalNoiseRatio", {"data_range": 1.0}, (X, Y)),
    ("PeakSignalNoiseRatio", {"data_range": (0.1, 0.8), "base": 2}, (X, Y)),
    ("StructuralSimilarityIndexMeasure", {"data_range": 1.0}, (X, Y)),
    ("StructuralSimilarityIndexMeasure", {"reduction": "none"}, (X, Y)),
    (
        "StructuralSimilarityIndexMeasure",
        {"gaussian_kernel": False, "kernel_size": 7, "data_range": (0.1, 0.9), "reduction": "sum"},
        (X, Y),
    ),
    ("MultiScaleStructuralSimilarityIndexMeasure", {"data_range": 1.0}, (LARGE, LARGE_Y)),
    ("MultiScaleStructuralSimilarityIndexMeasure", {"betas": (0.6, 0.4), "normalize": "simple"}, (LARGE, LARGE_Y)),
    ("UniversalImageQualityIndex", {}, (X, Y)),
    ("SpectralAngleMapper", {}, (X, Y)),
    ("SignalNoiseRatio", {}, (NOISY, SOUND)),
    ("SignalNoiseRatio", {"zero_mean": True}, (NOISY, SOUND)),
    ("ScaleInvariantSignalDistortionRatio", {}, (NOISY, SOUND)),
    ("ScaleInvariantSignalNoiseRatio", {}, (NOISY, SOUND)),
    ("RetrievalRPrecision", {}, (APART, BITS, QUERIES)),
    ("MatchErrorRate", {}, (TEXTS, WANTED)),
    ("WordInfoLost", {}, (TEXTS, WANTED)),
    ("WordInfoPreserved", {}, (TEXTS, WANTED)),
    ("EditDistance", {"substitution_cost": 2}, (TEXTS, WANTED)),
    ("EditDistance", {"reduction": "none"}, (TEXTS, WANTED)),
    ("SQuAD", {}, (ANSWERS, QUESTIONS)),
]
for _r in ("sum", "mean", "none"):
    CASES.append(("CosineSimilarity", {"reduction": _r}, (PL.astype(np.float64)[:5], PL[5:10].astype(np.float64))))
    CASES.append(("KLDivergence", {"reduction": _r}, (ROWS[:5].astype(np.float64), ROWS[5:10].astype(np.float64))))
    CASES.append(("TotalVariation", {"reduction": _r}, (X,)))
for _k in (None, 2):
    for _e in ("neg", "pos", "skip"):
        CASES.append(("RetrievalFallOut", {"top_k": _k, "empty_target_action": _e}, (APART, BITS, QUERIES)))
for _w in ("square", "simple", "linear"):
    for _each in (False, True):
        _o = {"num_classes": 4, "per_class": _each, "weight_type": _w, "input_format": "index"}
        CASES.append(("GeneralizedDiceScore", _o, (FOUND[:, None], REGIONS[:, None])))

RECORDED = Path(__file__).with_name("recorded.json")


def named(case: Case) -> str:
    return " ".join([case[0], *(f"{k}={v}" for k, v in case[1].items())])


def halves(operands: tuple) -> Any:
    """Each operand in two batches."""
    cut = max(1, len(operands[0]) // 3)
    return zip(*((x[:cut], x[cut:]) for x in operands))


def flat(value: Any) -> list[float]:
    """All numbers of a result, in order; dictionaries by their keys."""
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in flat(value[key])]
    if isinstance(value, list | tuple):
        return [x for part in value for x in flat(part)]
    return np.asarray(value, np.float64).ravel().tolist()


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[float]]:
    return json.loads(RECORDED.read_text())


@pytest.mark.parametrize("case", CASES, ids=named)
def test_values_of_two_metrics_joined(case: Case, recorded: dict[str, list[float]]) -> None:
    name, options, operands = case
    parts = []
    for batch in halves(operands):
        parts.append(getattr(M, name)(**options))
        parts[-1].update(*(gl.tensor(x) if isinstance(x, np.ndarray) else x for x in batch))
    parts[0].merge_state(parts[1].state_dict())
    value = parts[0].compute()
    value = {k: v.numpy() for k, v in value.items()} if isinstance(value, dict) else value
    value = [v.numpy() for v in value] if isinstance(value, tuple) else value
    found = flat(value.numpy() if isinstance(value, gl.Tensor) else value)
    np.testing.assert_allclose(found, recorded[named(case)], rtol=2e-6, atol=1e-6)


# -- against other libraries and formulas -------------------------------------------------------------------
def value(metric: M.Metric, *operands: Any) -> np.ndarray:
    metric.update(*(gl.tensor(x) if isinstance(x, np.ndarray) else x for x in operands))
    return metric.compute().numpy()


@pytest.mark.parametrize("power", [-1, 0, 1, 1.5, 2, 3])
def test_tweedie(power: float) -> None:
    np.testing.assert_allclose(
        value(M.TweedieDevianceScore(power), NEAR, A), sk.mean_tweedie_deviance(A, NEAR, power=power)
    )


def test_tweedie_says_what_is_outside() -> None:
    with pytest.raises(ValueError, match="1 pairs are outside; power 2 takes preds positive, target positive"):
        value(M.TweedieDevianceScore(2), np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="no Tweedie distribution"):
        M.TweedieDevianceScore(0.5)
    zero = value(M.TweedieDevianceScore(1), np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(zero, sk.mean_poisson_deviance([0.0, 1.0], [1.0, 2.0]))


@pytest.mark.parametrize("variant", ["b", "c"])
def test_kendall(variant: str) -> None:
    a, b = RNG.integers(0, 5, 1500), RNG.integers(0, 6, 1500)
    b = np.where(RNG.random(1500) < 0.5, a, b)
    expected = scipy.stats.kendalltau(a, b, variant=variant)[0]
    np.testing.assert_allclose(value(M.KendallRankCorrCoef(variant), a, b), expected, rtol=1e-12)


def test_kendall_without_ties_and_without_spread() -> None:
    a, b = RNG.permutation(20), RNG.permutation(20)
    np.testing.assert_allclose(value(M.KendallRankCorrCoef("a"), a, b), scipy.stats.kendalltau(a, b)[0])
    assert np.isnan(value(M.KendallRankCorrCoef(), a, np.ones(20)))


@pytest.mark.parametrize("task", TASKS)
def test_many_thresholds_come_near_to_all(task: str) -> None:
    preds, target, options = TASKS[task]
    for kind in (M.AUROC, M.AveragePrecision):
        exact = value(kind(task, average="none", **options), preds, target)
        binned = value(kind(task, average="none", thresholds=20001, **options), preds, target)
        np.testing.assert_allclose(binned, exact, atol=2e-3)
    micro = value(M.AUROC(task, average="micro", thresholds=20001, **options), preds, target)
    np.testing.assert_allclose(micro, value(M.AUROC(task, average="micro", **options), preds, target), atol=2e-3)


def test_thresholds_ignore_and_are_checked() -> None:
    marked = np.where(np.arange(N) % 5 == 0, -1, BITS)
    ours = value(M.AUROC("binary", thresholds=101, ignore_index=-1), P1, marked)
    np.testing.assert_allclose(ours, sk.roc_auc_score(BITS[marked >= 0], P1[marked >= 0]), rtol=1e-9)
    assert np.isnan(value(M.AUROC("binary", thresholds=5), P1, np.ones_like(BITS)))
    assert np.isnan(value(M.AveragePrecision("binary", thresholds=5), P1, np.zeros_like(BITS)))
    for bad in (1, [], [0.5, 1.5], [[0.1]]):
        with pytest.raises(ValueError, match="thresholds"):
            M.ROC("binary", thresholds=bad)


def test_operating_points_out_of_reach() -> None:
    metric = M.RecallAtFixedPrecision("binary", min_precision=1.0)
    metric.update(gl.tensor([0.9, 0.8]), gl.tensor([0, 1]))
    recall, threshold = metric.compute()
    assert recall.item() == 0.0 and np.isnan(threshold.item())
    point = M.SpecificityAtSensitivity("binary", min_sensitivity=0.5)
    point.update(gl.tensor([0.9, 0.8, 0.3, 0.1]), gl.tensor([1, 0, 1, 0]))
    assert [x.item() for x in point.compute()] == [1.0, pytest.approx(0.9)]
    with pytest.raises(ValueError, match="min_recall lies in"):
        M.PrecisionAtFixedRecall("binary", min_recall=2.0)


def test_log_cosh_and_divergence_at_the_edges() -> None:
    np.testing.assert_allclose(value(M.LogCoshError(), np.array([1000.0]), np.array([0.0])), 1000 - np.log(2))
    p, q = np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.75, 0.0]])
    np.testing.assert_allclose(value(M.KLDivergence(), p, q), scipy.stats.entropy(p[0], q[0]))
    assert value(M.KLDivergence(), q, np.array([[1.0, 0.0, 0.0]])) == np.inf
    logs = value(M.KLDivergence(log_prob=True), np.log(ROWS.astype(np.float64)), np.log(ROWS[::-1].astype(np.float64)))
    np.testing.assert_allclose(logs, scipy.stats.entropy(ROWS.T, ROWS[::-1].T).mean(), rtol=1e-5)


def test_dice_of_a_class_that_a_sample_lacks() -> None:
    # the class weighs as in the sample that has it: 1/2² there, and so its two wrong pixels count in the other
    t, p = np.array([[0, 0, 1, 1], [0, 0, 0, 0]]), np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    second = (2 * 2 / 16) / ((4 + 2) / 16 + 2 / 4)
    np.testing.assert_allclose(value(M.GeneralizedDiceScore(2, input_format="index"), p, t), (1 + second) / 2)


UNFED = {
    "PeakSignalNoiseRatio": (1.0,), "StructuralSimilarityIndexMeasure": (), "SpectralAngleMapper": (),
    "SignalNoiseRatio": (), "WeightedMeanAbsolutePercentageError": (), "TweedieDevianceScore": (), "KLDivergence": (),
    "SQuAD": (), "WordInfoLost": (), "GeneralizedDiceScore": (2,), "TotalVariation": ("mean",), "MatchErrorRate": (),
    "ConcordanceCorrCoef": (),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFED)
def test_nothing_added_is_nan(name: str) -> None:
    found = getattr(M, name)(*UNFED[name]).compute()
    assert all(np.isnan(v.item()) for v in (found.values() if isinstance(found, dict) else [found]))


def test_what_does_not_fit_is_refused() -> None:
    small = gl.zeros(1, 1, 8, 8)
    with pytest.raises(ShapeError, match="a window of 11"):
        M.StructuralSimilarityIndexMeasure().update(small, small)
    with pytest.raises(ShapeError, match=r"pictures are \(N, C, H, W\)"):
        M.TotalVariation().update(small[0])
    assert value(M.PeakSignalNoiseRatio(1.0), X, X) == np.inf
    for make in (
        lambda: M.PeakSignalNoiseRatio(0.0),
        lambda: M.StructuralSimilarityIndexMeasure(kernel_size=4),
        lambda: M.MultiScaleStructuralSimilarityIndexMeasure(normalize="abs"),
        lambda: M.GeneralizedDiceScore(2, weight_type="cube"),
        lambda: M.MinkowskiDistance(0.5),
        lambda: M.KendallRankCorrCoef("d"),
        lambda: M.CosineSimilarity("max"),
        lambda: M.EditDistance(-1),
        lambda: M.TotalVariation("max"),
    ):
        with pytest.raises(ValueError):
            make()


def test_squad_counts_what_was_not_answered() -> None:
    metric = M.SQuAD()
    metric.update(ANSWERS[:1], QUESTIONS[:2])
    assert {k: v.item() for k, v in metric.compute().items()} == {"exact_match": 50.0, "f1": 50.0}
    empty = M.SQuAD()
    empty.update({"prediction_text": "the", "id": "0"}, {"answers": {"text": ["an"]}, "id": "0"})
    assert empty.compute()["f1"].item() == 100.0


def test_exact_matches() -> None:
    ours = value(M.ExactMatch("multilabel", num_labels=3), PL, BITS_L)
    np.testing.assert_allclose(ours, sk.accuracy_score(BITS_L, PL > 0.5))
    t, p = np.array([[0, 1], [2, 1], [0, 0]]), np.array([[0, 1], [2, 2], [0, 0]])
    np.testing.assert_allclose(value(M.ExactMatch("multiclass", num_classes=3), p, t), 2 / 3)
    scores = np.eye(3)[p].transpose(0, 2, 1)
    t[1, 1] = -1
    assert value(M.ExactMatch("multiclass", num_classes=3, ignore_index=-1), scores, t) == 1.0
    assert np.isnan(M.ExactMatch("multiclass", num_classes=3).compute().item())
    with pytest.raises(ValueError, match="multilabel"):
        M.ExactMatch("binary")


def test_tokens_of_any_script() -> None:
    assert tokens_intl("“Ça coûte 1,5€ (ou 2)…”") == ["“", "Ça", "coûte", "1,5", "€", "(", "ou", "2", ")", "…", "”"]
    assert tokens_intl("in 1999.") == ["in", "1999."]  # so it stands in the original
    metric = M.SacreBLEUScore(tokenize="intl")
    metric.update(["«Oui», dit-il."], [["« Oui » , dit - il ."]])
    assert metric.compute().item() == pytest.approx(1.0)
