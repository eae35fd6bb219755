"""TorchMetrics' names: all of them are here, or there is a reason; and the values of those that the other files lack.

The list is of the classes that the modules of TorchMetrics 1.9.0 export, those included that need an extra package
there. The values in recorded_names.json are its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import metrics as M
from gradloom import nn
from gradloom.errors import NotSupportedError, ShapeError, StateError
from gradloom.metrics import functional as F
from gradloom.vision import ops

NAMES = {
    "aggregation": """
        BaseAggregator CatMetric MaxMetric MeanMetric MinMetric RunningMean RunningSum SumMetric
    """,
    "classification": """
        AUROC Accuracy AveragePrecision BinaryAUROC BinaryAccuracy BinaryAveragePrecision BinaryCalibrationError
        BinaryCohenKappa BinaryConfusionMatrix BinaryEER BinaryF1Score BinaryFBetaScore BinaryFairness
        BinaryGroupStatRates BinaryHammingDistance BinaryHingeLoss BinaryJaccardIndex BinaryLogAUC
        BinaryMatthewsCorrCoef BinaryNegativePredictiveValue BinaryPrecision BinaryPrecisionAtFixedRecall
        BinaryPrecisionRecallCurve BinaryROC BinaryRecall BinaryRecallAtFixedPrecision
        BinarySensitivityAtSpecificity BinarySpecificity BinarySpecificityAtSensitivity BinaryStatScores
        CalibrationError CohenKappa ConfusionMatrix EER ExactMatch F1Score FBetaScore HammingDistance HingeLoss
        JaccardIndex LogAUC MatthewsCorrCoef MulticlassAUROC MulticlassAccuracy MulticlassAveragePrecision
        MulticlassCalibrationError MulticlassCohenKappa MulticlassConfusionMatrix MulticlassEER
        MulticlassExactMatch MulticlassF1Score MulticlassFBetaScore MulticlassHammingDistance MulticlassHingeLoss
        MulticlassJaccardIndex MulticlassLogAUC MulticlassMatthewsCorrCoef MulticlassNegativePredictiveValue
        MulticlassPrecision MulticlassPrecisionAtFixedRecall MulticlassPrecisionRecallCurve MulticlassROC
        MulticlassRecall MulticlassRecallAtFixedPrecision MulticlassSensitivityAtSpecificity MulticlassSpecificity
        MulticlassSpecificityAtSensitivity MulticlassStatScores MultilabelAUROC MultilabelAccuracy
        MultilabelAveragePrecision MultilabelConfusionMatrix MultilabelCoverageError MultilabelEER
        MultilabelExactMatch MultilabelF1Score MultilabelFBetaScore MultilabelHammingDistance
        MultilabelJaccardIndex MultilabelLogAUC MultilabelMatthewsCorrCoef MultilabelNegativePredictiveValue
        MultilabelPrecision MultilabelPrecisionAtFixedRecall MultilabelPrecisionRecallCurve MultilabelROC
        MultilabelRankingAveragePrecision MultilabelRankingLoss MultilabelRecall MultilabelRecallAtFixedPrecision
        MultilabelSensitivityAtSpecificity MultilabelSpecificity MultilabelSpecificityAtSensitivity
        MultilabelStatScores NegativePredictiveValue Precision PrecisionAtFixedRecall PrecisionRecallCurve ROC
        Recall RecallAtFixedPrecision SensitivityAtSpecificity Specificity SpecificityAtSensitivity StatScores
    """,
    "clustering": """
        AdjustedMutualInfoScore AdjustedRandScore CalinskiHarabaszScore ClusterAccuracy CompletenessScore
        DaviesBouldinScore DunnIndex FowlkesMallowsIndex HomogeneityScore MutualInfoScore
        NormalizedMutualInfoScore RandScore VMeasureScore
    """,
    "detection": """
        CompleteIntersectionOverUnion DistanceIntersectionOverUnion GeneralizedIntersectionOverUnion
        IntersectionOverUnion MeanAveragePrecision ModifiedPanopticQuality PanopticQuality
    """,
    "image": """
        DeepImageStructureAndTextureSimilarity ErrorRelativeGlobalDimensionlessSynthesis FrechetInceptionDistance
        InceptionScore KernelInceptionDistance LearnedPerceptualImagePatchSimilarity
        MemorizationInformedFrechetInceptionDistance MultiScaleStructuralSimilarityIndexMeasure
        PeakSignalNoiseRatio PeakSignalNoiseRatioWithBlockedEffect PerceptualPathLength QualityWithNoReference
        RelativeAverageSpectralError RootMeanSquaredErrorUsingSlidingWindow SpatialCorrelationCoefficient
        SpatialDistortionIndex SpectralAngleMapper SpectralDistortionIndex StructuralSimilarityIndexMeasure
        TotalVariation UniversalImageQualityIndex VisualInformationFidelity
    """,
    "multimodal": """
        CLIPImageQualityAssessment CLIPScore LipVertexError
    """,
    "nominal": """
        CramersV FleissKappa PearsonsContingencyCoefficient TheilsU TschuprowsT
    """,
    "regression": """
        ConcordanceCorrCoef ContinuousRankedProbabilityScore CosineSimilarity CriticalSuccessIndex
        ExplainedVariance JensenShannonDivergence KLDivergence KendallRankCorrCoef LogCoshError MeanAbsoluteError
        MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogError MinkowskiDistance
        NormalizedRootMeanSquaredError PearsonCorrCoef R2Score RelativeSquaredError SpearmanCorrCoef
        SymmetricMeanAbsolutePercentageError TweedieDevianceScore WeightedMeanAbsolutePercentageError
    """,
    "retrieval": """
        RetrievalAUROC RetrievalFallOut RetrievalHitRate RetrievalMAP RetrievalMRR RetrievalNormalizedDCG
        RetrievalPrecision RetrievalPrecisionRecallCurve RetrievalRPrecision RetrievalRecall
        RetrievalRecallAtFixedPrecision
    """,
    "segmentation": """
        DiceScore GeneralizedDiceScore HausdorffDistance MeanIoU
    """,
    "shape": """
        ProcrustesDisparity
    """,
    "text": """
        BERTScore BLEUScore CHRFScore CharErrorRate EditDistance ExtendedEditDistance InfoLM MatchErrorRate
        Perplexity ROUGEScore SQuAD SacreBLEUScore TranslationEditRate WordErrorRate WordInfoLost
        WordInfoPreserved
    """,
    "video": """
        VideoMultiMethodAssessmentFusion
    """,
    "wrappers": """
        BinaryTargetTransformer BootStrapper ClasswiseWrapper FeatureShare LambdaInputTransformer
        MetricInputTransformer MetricTracker MinMaxMetric MultioutputWrapper MultitaskWrapper Running
    """,
    "audio": """
        ComplexScaleInvariantSignalNoiseRatio DeepNoiseSuppressionMeanOpinionScore
        NonIntrusiveSpeechQualityAssessment PerceptualEvaluationSpeechQuality PermutationInvariantTraining
        ScaleInvariantSignalDistortionRatio ScaleInvariantSignalNoiseRatio ShortTimeObjectiveIntelligibility
        SignalDistortionRatio SignalNoiseRatio SourceAggregatedSignalDistortionRatio
        SpeechReverberationModulationEnergyRatio
    """,
}
NETWORK = "judges by a published network whose weights gradloom does not bring"
PROGRAM = "is the measure of a program of its own, which TorchMetrics calls"
LEFT_OUT = {
    "BERTScore": NETWORK, "InfoLM": NETWORK, "CLIPScore": NETWORK, "CLIPImageQualityAssessment": NETWORK,
    "DeepImageStructureAndTextureSimilarity": NETWORK, "LearnedPerceptualImagePatchSimilarity": NETWORK,
    "PerceptualPathLength": NETWORK, "DeepNoiseSuppressionMeanOpinionScore": NETWORK,
    "NonIntrusiveSpeechQualityAssessment": NETWORK, "PerceptualEvaluationSpeechQuality": PROGRAM,
    "ShortTimeObjectiveIntelligibility": PROGRAM, "SpeechReverberationModulationEnergyRatio": PROGRAM,
    "VideoMultiMethodAssessmentFusion": PROGRAM,
    "FeatureShare": "shares the networks of the metrics above between each other",
    "BaseAggregator": "is a base class; ours is Metric",
}  # fmt: skip


def test_every_name_is_here_or_has_a_reason() -> None:
    names = {name for listed in NAMES.values() for name in listed.split()}
    assert len(names) == 241
    missing = {name for name in names if not hasattr(M, name)}
    assert missing == set(LEFT_OUT)
    assert not {name for name in names - missing if name not in M.__all__}


def test_of_which_metrics_more_is_better() -> None:
    rising = {n for n in M.__all__ if getattr(getattr(M, n), "higher_is_better", None) is True}
    falling = {n for n in M.__all__ if getattr(getattr(M, n), "higher_is_better", None) is False}
    assert {"BinaryAUROC", "BLEUScore", "R2Score", "MeanAveragePrecision", "CohenKappa", "WordInfoPreserved"} <= rising
    assert {
        "BinaryHingeLoss",
        "WordErrorRate",
        "MeanSquaredError",
        "DaviesBouldinScore",
        "HausdorffDistance",
    } <= falling
    for name in ("ROC", "ConfusionMatrix", "MeanMetric", "BinaryStatScores"):
        assert getattr(M, name).higher_is_better is None


RNG = np.random.default_rng(23)
BITS = RNG.integers(0, 2, (5, 3, 9, 9))
HOT = np.moveaxis(np.eye(3, dtype=np.int64)[RNG.integers(0, 3, (5, 9, 9))], -1, 1)
NEAR = np.where(RNG.random((5, 3, 9, 9)) < 0.8, HOT, 1 - HOT)
PICTURES, ALIKE = RNG.random((3, 2, 20, 18)), RNG.random((3, 2, 20, 18))
ALIKE = np.float64(0.7) * PICTURES + 0.3 * ALIKE
PAN, LOW = RNG.random((3, 2, 32, 32)), RNG.random((3, 2, 16, 16))
SHARP = PAN * 0.5 + np.kron(LOW, np.ones((1, 1, 2, 2))) * 0.5
CLOUDS, TURNED = RNG.normal(size=(4, 10, 3)), RNG.normal(size=(4, 10, 3))
FACES, TALKING = RNG.normal(size=(7, 12, 3)), RNG.normal(size=(7, 12, 3))
P, T = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 3))
SCORES, LABELS = RNG.dirichlet(np.ones(4), (12, 6)).swapaxes(1, 2), RNG.integers(0, 4, (12, 6))
CHANCES, WHETHER = RNG.random((12, 5)), RNG.integers(0, 2, (12, 5))
LABELS3, CHANCES3 = RNG.integers(0, 2, (12, 3, 4)), RNG.random((12, 3, 4))
HITS, RELEVANT, QUERIES = RNG.permutation(60) / 60.0, RNG.integers(-1, 2, 60), RNG.integers(0, 7, 60)
SPARSE = np.where(np.arange(6) == 1, 0, LABELS)

Case = tuple[str, dict[str, Any], tuple]
CASES: list[Case] = [
    ("HausdorffDistance", {"num_classes": 3}, (NEAR, HOT)),
    ("HausdorffDistance", {"num_classes": 3, "include_background": True, "directed": True}, (NEAR, HOT)),
    ("HausdorffDistance", {"num_classes": 3, "distance_metric": "taxicab", "input_format": "index"},
     (NEAR.argmax(1), HOT.argmax(1))),
    ("HausdorffDistance", {"num_classes": 3, "distance_metric": "chessboard"}, (NEAR, HOT)),
    ("ProcrustesDisparity", {}, (CLOUDS, TURNED)),
    ("ProcrustesDisparity", {"reduction": "sum"}, (CLOUDS, TURNED)),
    ("LipVertexError", {"mouth_map": [0, 3, 5]}, (FACES, TALKING)),
    ("SpatialCorrelationCoefficient", {}, (PICTURES, ALIKE)),
    ("SpatialCorrelationCoefficient", {"window_size": 5}, (PICTURES, ALIKE)),
    ("MeanSquaredError", {"squared": False}, (P, T)),
    ("MeanSquaredError", {"num_outputs": 3}, (P, T)),
    ("MeanSquaredError", {"num_outputs": 3, "squared": False}, (P, T)),
    ("MeanAbsoluteError", {"num_outputs": 3}, (P, T)),
    ("LogCoshError", {"num_outputs": 3}, (P, T)),
]  # fmt: skip
for _average in ("micro", "macro", "weighted", "none"):
    for _level in ("samplewise", "global"):
        CASES.append(("DiceScore", {"num_classes": 3, "average": _average, "aggregation_level": _level}, (NEAR, HOT)))
    for _name in ("Accuracy", "F1Score", "Precision", "StatScores", "Specificity"):
        _options = {"num_classes": 4, "average": _average, "multidim_average": "samplewise"}
        CASES.append((f"Multiclass{_name}", _options, (SCORES, LABELS)))
    CASES.append(("MulticlassF1Score", {"num_classes": 4, "average": _average, "zero_division": 1}, (SPARSE, LABELS)))
CASES.append(("DiceScore", {"num_classes": 3, "input_format": "mixed", "include_background": False},
              (NEAR, HOT.argmax(1))))  # fmt: skip
CASES += [
    ("BinaryRecall", {"multidim_average": "samplewise"}, (CHANCES, WHETHER)),
    ("BinaryHammingDistance", {"multidim_average": "samplewise"}, (CHANCES, WHETHER)),
    ("MultilabelPrecision", {"num_labels": 3, "multidim_average": "samplewise"}, (CHANCES3, LABELS3)),
    ("MultilabelF1Score", {"num_labels": 3, "multidim_average": "samplewise", "average": "none"}, (CHANCES3, LABELS3)),
]
for _name in ("RetrievalMAP", "RetrievalRecall", "RetrievalNormalizedDCG", "RetrievalFallOut", "RetrievalAUROC"):
    CASES.append((_name, {"ignore_index": -1}, (HITS, RELEVANT, QUERIES)))
    CASES.append((_name, {"ignore_index": -1, "top_k": 3}, (HITS, RELEVANT, QUERIES)))
for _how in ("median", "min", "max"):
    CASES.append(("RetrievalMAP", {"ignore_index": -1, "aggregation": _how}, (HITS, RELEVANT, QUERIES)))
CASES.append(("RetrievalPrecision", {"ignore_index": -1, "top_k": 9, "adaptive_k": True}, (HITS, RELEVANT, QUERIES)))
for _options in ({}, {"norm_order": 2}):
    for _name in ("SpatialDistortionIndex", "QualityWithNoReference"):
        CASES.append((_name, _options, (SHARP, {"ms": LOW, "pan": PAN, "pan_lr": LOW * 0.9 + 0.05})))
        CASES.append((_name, _options, (SHARP, {"ms": LOW, "pan": PAN})))

RECORDED = Path(__file__).with_name("recorded_names.json")


def named(case: Case) -> str:
    lone = [] if not isinstance(case[2][1], dict) or "pan_lr" in case[2][1] else ["blurred"]
    return " ".join([case[0], *(f"{k}={v}" for k, v in case[1].items()), *lone])


def halves(case: Case) -> list[tuple]:
    """Each operand in two batches."""
    cut = len(case[2][0]) // 3
    both = []
    for rows in (slice(0, cut), slice(cut, None)):
        both.append(tuple({k: v[rows] for k, v in x.items()} if isinstance(x, dict) else x[rows] for x in case[2]))
    return both


def operand(x: Any) -> Any:
    return {k: gl.tensor(v) for k, v in x.items()} if isinstance(x, dict) else gl.tensor(x)


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
    parts[0].merge_state(parts[1].state_dict())
    found = np.asarray(parts[0].compute().numpy(), np.float64).ravel()
    np.testing.assert_allclose(found, recorded[named(case)], rtol=2e-5, atol=2e-6)


def boxes(count: int) -> np.ndarray:
    low = RNG.random((count, 2)) * 10
    return np.concatenate([low, low + 1 + RNG.random((count, 2)) * 8], 1)


@pytest.mark.parametrize("kind, name", [
    ("iou", "box_iou"), ("giou", "generalized_box_iou"), ("diou", "distance_box_iou"), ("ciou", "complete_box_iou"),
])  # fmt: skip
def test_overlaps_of_boxes(kind: str, name: str) -> None:
    long = {"iou": "IntersectionOverUnion", "giou": "GeneralizedIntersectionOverUnion",
            "diou": "DistanceIntersectionOverUnion", "ciou": "CompleteIntersectionOverUnion"}[kind]  # fmt: skip
    found, wanted = boxes(5), boxes(4)
    table = getattr(ops, name)(gl.tensor(found), gl.tensor(wanted)).numpy()
    function = getattr(F, "".join(f"_{c.lower()}" if c.isupper() else c for c in long)[1:])
    got = function(gl.tensor(found), gl.tensor(wanted), aggregate=False).numpy()
    np.testing.assert_allclose(got, table, rtol=1e-6, atol=1e-7)
    assert function(gl.tensor(found), gl.tensor(wanted)).item() == pytest.approx(np.diag(table).mean())
    own, labels = np.array([0, 1, 1, 0, 2]), np.array([1, 0, 1, 3])
    metric = getattr(M, long)(class_metrics=True)
    one = {"boxes": gl.tensor(found), "labels": gl.tensor(own)}
    metric.update([one], [{"boxes": gl.tensor(wanted), "labels": gl.tensor(labels)}])
    metric.update([one], [{"boxes": gl.zeros(0, 4), "labels": gl.zeros(0, dtype="int64")}])  # five boxes that count 0
    pairs = own[:, None] == labels[None]
    values = {k: v.item() for k, v in metric.compute().items()}
    assert values.pop(kind) == pytest.approx(table[pairs].sum() / (pairs.sum() + 5))
    of_one = table[:, labels == 1][pairs[:, labels == 1]].mean()
    assert values.pop(f"{kind}/cl_1") == pytest.approx(of_one)
    assert values.pop(f"{kind}/cl_0") == pytest.approx(table[own == 0, 1].mean())
    assert values == {f"{kind}/cl_2": 0.0, f"{kind}/cl_3": 0.0}
    with pytest.raises(ShapeError, match="images"):
        metric.update([one], [])
    with pytest.raises(ShapeError, match="labels"):
        metric.update([{"boxes": gl.tensor(found), "labels": gl.tensor(labels)}], [one])


def test_boxes_far_from_each_other_and_of_other_formats() -> None:
    corners, wide = boxes(3), boxes(3)
    sizes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    labels = gl.zeros(3, dtype="int64")
    values = []
    for box_format, given in (("xyxy", corners), ("xywh", sizes)):
        metric = M.IntersectionOverUnion(box_format, iou_threshold=0.2)
        metric.update([{"boxes": gl.tensor(given), "labels": labels}], [{"boxes": gl.tensor(given), "labels": labels}])
        values.append(metric.compute()["iou"].item())
    table = ops.box_iou(gl.tensor(corners), gl.tensor(corners)).numpy()
    assert values == pytest.approx([table[table >= 0.2].mean()] * 2)
    assert M.IntersectionOverUnion().compute()["iou"].item() == 0.0 and len(wide) == 3


def test_numbers_that_are_nan() -> None:
    batch = gl.tensor([1.0, float("nan"), 3.0])
    for cls, value, filled in ((M.SumMetric, 4.0, 14.0), (M.MeanMetric, 2.0, 14 / 3), (M.MaxMetric, 3.0, 10.0),
                               (M.MinMetric, 1.0, 1.0)):  # fmt: skip
        made = {s: cls(nan_strategy=s) for s in ("warn", "error", "ignore", "disable", 10.0)}
        for metric in made.values():
            metric.update(batch)
        with pytest.warns(UserWarning, match="1 of the numbers"):
            assert made["warn"].compute().item() == value
        with pytest.raises(StateError, match="NaN"):
            made["error"].compute()
        assert made["ignore"].compute().item() == value and made[10.0].compute().item() == pytest.approx(filled)
        assert np.isnan(made["disable"].compute().item())
    listed = M.CatMetric("ignore")
    listed.update(batch)
    assert listed.compute().tolist() == [1.0, 3.0]
    weighed = M.MeanMetric("ignore")
    weighed.update(value=batch, weight=gl.tensor([1.0, 5.0, 3.0]))
    assert weighed.compute().item() == 2.5
    for cls, values in ((M.RunningMean, [1.0, 1.5, 3.0]), (M.RunningSum, [1.0, 3.0, 6.0])):
        running = cls(window=2)
        found = []
        for x in (1.0, 2.0, 4.0):
            running.update(x)
            found.append(running.compute().item())
        assert found == values
    with pytest.raises(ValueError, match="nan_strategy"):
        M.SumMetric("skip")


@pytest.mark.parametrize("name", ["AUROC", "AveragePrecision", "EER", "CalibrationError"])
def test_scores_before_a_softmax(name: str) -> None:
    scores, labels = gl.tensor(RNG.normal(size=(60, 4)) * 2), gl.tensor(RNG.integers(0, 4, 60))
    found = []
    for given in (scores, gl.softmax(scores, 1)):
        metric = getattr(M, name)("multiclass", num_classes=4)
        metric.update(given, labels)
        found.append(metric.compute().numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_operands_made_anew() -> None:
    p, t = gl.tensor([0.9, 0.2, 0.7]), gl.tensor([2.5, 0.0, 1.0])
    binary = M.BinaryTargetTransformer(M.BinaryAccuracy(), threshold=1.5)
    binary.update(p, t)
    assert binary.compute().item() == pytest.approx(2 / 3)
    turned = M.LambdaInputTransformer(M.MeanSquaredError(), lambda x: x + 1.0, lambda x: x * 2.0)
    assert turned(p, t).item() == pytest.approx(float(np.mean((p.numpy() + 1 - 2 * t.numpy()) ** 2)))
    turned.reset()
    turned.update(p, t * 0.0)
    assert turned.compute().item() == pytest.approx(float(np.mean((p.numpy() + 1) ** 2)))
    with pytest.raises(TypeError, match="transform_pred"):
        M.LambdaInputTransformer(M.MeanSquaredError(), 3)


def test_functions_by_sample_and_by_group() -> None:
    near, hot = gl.tensor(NEAR), gl.tensor(HOT)
    for function, metric in ((F.dice_score, M.DiceScore(3)), (F.mean_iou, M.MeanIoU(3))):
        each = function(near, hot, num_classes=3).numpy()
        for k in range(len(NEAR)):
            metric.reset()
            metric.update(near[k : k + 1], hot[k : k + 1])
            assert each[k] == pytest.approx(metric.compute().item())
    whole = F.dice_score(near, hot, num_classes=3, aggregation_level="global", average="micro")
    assert whole.item() == pytest.approx(2 * (NEAR * HOT).sum() / (NEAR.sum() + HOT.sum()))
    assert F.hausdorff_distance(near, hot, num_classes=3).shape == (5, 2)
    groups, yes, right = np.array([0, 0, 1, 1, 1]), np.array([1, 0, 1, 1, 0]), np.array([1, 1, 1, 0, 0])
    found = F.demographic_parity(gl.tensor(yes), gl.tensor(groups))
    assert {k: v.item() for k, v in found.items()} == {"DP_0_1": pytest.approx((1 / 2) / (2 / 3))}
    found = F.equal_opportunity(gl.tensor(yes), gl.tensor(right), gl.tensor(groups))
    assert {k: v.item() for k, v in found.items()} == {"EO_0_1": pytest.approx(0.5)}
    disparity, scale, turn = F.procrustes_disparity(gl.tensor(CLOUDS), gl.tensor(2 * CLOUDS[..., ::-1] + 1), True)
    np.testing.assert_allclose(disparity.numpy(), 0.0, atol=1e-12)
    np.testing.assert_allclose(scale.numpy(), 1.0)
    assert turn.shape == (4, 3, 3)


def test_edges_that_one_side_lacks() -> None:
    none, some = np.zeros((1, 2, 4, 4), np.int64), np.zeros((1, 2, 4, 4), np.int64)
    some[0, 1, 1, 1] = 1
    one, other = gl.tensor(none), gl.tensor(some)
    assert F.hausdorff_distance(one, one, num_classes=2).tolist() == [[0.0]]
    assert F.hausdorff_distance(one, other, num_classes=2).tolist() == [[np.inf]]
    far = some.copy()
    far[0, 1] = np.roll(some[0, 1], 2, 1)
    spaced = F.hausdorff_distance(other, gl.tensor(far), num_classes=2, spacing=[1.0, 2.5])
    assert spaced.tolist() == [[5.0]]


def features(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1) @ WEIGHTS


WEIGHTS = RNG.normal(size=(12, 4))
REAL, FAKE = RNG.normal(size=(50, 3, 2, 2)), RNG.normal(size=(50, 3, 2, 2)) * 1.3 + 0.4


def test_generated_pictures_beside_real_ones() -> None:
    from scipy.linalg import sqrtm

    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False), nn.Dropout(0.5)).double()
    with gl.no_grad():
        network[1].weight.copy_(gl.tensor(WEIGHTS.T))
    a, b = features(REAL), features(FAKE)
    first, second = np.cov(a.T), np.cov(b.T)
    distance = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first + second - 2 * sqrtm(first @ second).real)

    def fed(metric: Any) -> Any:
        for part in (slice(0, 20), slice(20, 50)):
            metric.update(gl.tensor(REAL[part]), real=True)
            metric.update(gl.tensor(FAKE[part]), real=False)
        return metric

    metric = fed(M.FrechetInceptionDistance(network, reset_real_features=False))
    assert metric.compute().item() == pytest.approx(distance, rel=1e-6) and network.training
    metric.reset()
    metric.update(gl.tensor(FAKE), real=False)
    assert metric.compute().item() == pytest.approx(distance, rel=1e-6)
    away = 1 - np.abs((a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T)
    informed = fed(M.MemorizationInformedFrechetInceptionDistance(network, cosine_distance_eps=1.0)).compute().item()
    assert informed == pytest.approx(distance / away.min(1).mean(), rel=1e-6)
    kernel = lambda x, y: (x @ y.T / 4 + 1) ** 3  # noqa: E731
    xx, yy, n = kernel(a, a), kernel(b, b), len(a)
    whole = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (n * (n - 1)) - 2 * kernel(a, b).mean()
    mean, spread = fed(M.KernelInceptionDistance(network, subsets=3, subset_size=50)).compute()
    assert mean.item() == pytest.approx(whole, rel=1e-6) and spread.item() == pytest.approx(0.0, abs=1e-9)
    score = M.InceptionScore(network, splits=1)
    score.update(gl.tensor(FAKE))
    p = np.exp(b) / np.exp(b).sum(1, keepdims=True)
    wanted = np.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert score.compute()[0].item() == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(NotSupportedError, match="published"):
        M.FrechetInceptionDistance(2048)
    with pytest.raises(StateError, match="pictures"):
        M.FrechetInceptionDistance(network).compute()
    with pytest.raises(StateError, match="at least 1000"):
        fed(M.KernelInceptionDistance(network)).compute()


REFUSED = {
    "regions": (ShapeError, "input_format", lambda: M.MeanIoU(3).update(gl.zeros(2, 5, 5), gl.zeros(2, 5, 5))),
    "outputs": (ShapeError, "num_outputs", lambda: M.MeanSquaredError(num_outputs=2).update(gl.zeros(4), gl.zeros(4))),
    "samplewise": (ValueError, "multidim", lambda: M.BinaryRecall(multidim_average="rows")),
    "aggregation": (ValueError, "aggregation", lambda: M.RetrievalMAP(aggregation="sum")),
    "metric": (ValueError, "distance_metric", lambda: M.HausdorffDistance(3, distance_metric="l3")),
    "points": (ShapeError, "points", lambda: M.ProcrustesDisparity().update(gl.zeros(4, 3), gl.zeros(4, 3))),
    "mouth": (ShapeError, "mouth_map", lambda: M.LipVertexError([9]).update(gl.zeros(2, 4, 3), gl.zeros(2, 4, 3))),
    "window": (ShapeError, "window", lambda: M.SpatialCorrelationCoefficient().update(
        gl.zeros(1, 1, 4, 4), gl.zeros(1, 1, 4, 4))),
    "sharp": (ValueError, "'pan'", lambda: M.SpatialDistortionIndex().update(gl.zeros(1, 1, 8, 8), {})),
    "sizes": (ShapeError, "shapes", lambda: M.QualityWithNoReference().update(
        gl.zeros(1, 1, 32, 32), {"ms": gl.zeros(1, 1, 15, 15), "pan": gl.zeros(1, 1, 32, 32)})),
    "format": (ValueError, "box_format", lambda: M.IntersectionOverUnion("corners")),
}  # fmt: skip


@pytest.mark.parametrize("error, text, call", REFUSED.values(), ids=REFUSED)
def test_refusals(error: type[Exception], text: str, call: Any) -> None:
    with pytest.raises(error, match=text):
        call()
