"""Metrics as functions of one batch, under TorchMetrics' names: `accuracy(preds, target, task="binary")`.

Each takes the operands of its metric's `update`, then the metric's own parameters. Those of sound give one value a
signal; those of retrieval judge one query.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom import metrics
from gradloom.errors import ShapeError
from gradloom.metrics.base import Metric, given
from gradloom.metrics.nominal import CramersV, PearsonsContingencyCoefficient, TheilsU, TschuprowsT
from gradloom.metrics.overlaps import box_overlaps
from gradloom.metrics.pairwise import (
    pairwise_cosine_similarity,
    pairwise_euclidean_distance,
    pairwise_linear_similarity,
    pairwise_manhattan_distance,
    pairwise_minkowski_distance,
)
from gradloom.metrics.sources import permutation_invariant_training, pit_permutate
from gradloom.metrics.surfaces import procrustes
from gradloom.metrics.tasks import TASK_METRICS, _options
from gradloom.tensor import Tensor, tensor

_BY_TASK = {
    "accuracy": "Accuracy", "auroc": "AUROC", "average_precision": "AveragePrecision",
    "calibration_error": "CalibrationError", "cohen_kappa": "CohenKappa", "confusion_matrix": "ConfusionMatrix",
    "eer": "EER", "exact_match": "ExactMatch", "f1_score": "F1Score", "fbeta_score": "FBetaScore",
    "hamming_distance": "HammingDistance", "hinge_loss": "HingeLoss", "jaccard_index": "JaccardIndex",
    "logauc": "LogAUC", "matthews_corrcoef": "MatthewsCorrCoef",
    "negative_predictive_value": "NegativePredictiveValue", "precision": "Precision",
    "precision_at_fixed_recall": "PrecisionAtFixedRecall", "precision_recall_curve": "PrecisionRecallCurve",
    "recall": "Recall", "recall_at_fixed_precision": "RecallAtFixedPrecision", "roc": "ROC",
    "sensitivity_at_specificity": "SensitivityAtSpecificity", "specificity": "Specificity",
    "specificity_at_sensitivity": "SpecificityAtSensitivity", "stat_scores": "StatScores",
}  # fmt: skip
_OTHERS = {
    "adjusted_mutual_info_score": "AdjustedMutualInfoScore", "adjusted_rand_score": "AdjustedRandScore",
    "binary_fairness": "BinaryFairness", "binary_groups_stat_rates": "BinaryGroupStatRates",
    "bleu_score": "BLEUScore",
    "calinski_harabasz_score": "CalinskiHarabaszScore", "char_error_rate": "CharErrorRate",
    "chrf_score": "CHRFScore", "cluster_accuracy": "ClusterAccuracy", "completeness_score": "CompletenessScore",
    "concordance_corrcoef": "ConcordanceCorrCoef",
    "continuous_ranked_probability_score": "ContinuousRankedProbabilityScore", "cosine_similarity": "CosineSimilarity",
    "critical_success_index": "CriticalSuccessIndex", "davies_bouldin_score": "DaviesBouldinScore",
    "dunn_index": "DunnIndex", "edit_distance": "EditDistance",
    "error_relative_global_dimensionless_synthesis": "ErrorRelativeGlobalDimensionlessSynthesis",
    "explained_variance": "ExplainedVariance", "extended_edit_distance": "ExtendedEditDistance",
    "fleiss_kappa": "FleissKappa", "fowlkes_mallows_index": "FowlkesMallowsIndex",
    "homogeneity_score": "HomogeneityScore", "jensen_shannon_divergence": "JensenShannonDivergence",
    "kendall_rank_corrcoef": "KendallRankCorrCoef", "kl_divergence": "KLDivergence",
    "lip_vertex_error": "LipVertexError", "log_cosh_error": "LogCoshError", "match_error_rate": "MatchErrorRate",
    "mean_absolute_error": "MeanAbsoluteError", "mean_absolute_percentage_error": "MeanAbsolutePercentageError",
    "mean_squared_error": "MeanSquaredError", "mean_squared_log_error": "MeanSquaredLogError",
    "minkowski_distance": "MinkowskiDistance", "modified_panoptic_quality": "ModifiedPanopticQuality",
    "multilabel_coverage_error": "MultilabelCoverageError",
    "multilabel_ranking_average_precision": "MultilabelRankingAveragePrecision",
    "multilabel_ranking_loss": "MultilabelRankingLoss",
    "multiscale_structural_similarity_index_measure": "MultiScaleStructuralSimilarityIndexMeasure",
    "mutual_info_score": "MutualInfoScore", "normalized_mutual_info_score": "NormalizedMutualInfoScore",
    "normalized_root_mean_squared_error": "NormalizedRootMeanSquaredError", "panoptic_quality": "PanopticQuality",
    "peak_signal_noise_ratio": "PeakSignalNoiseRatio",
    "peak_signal_noise_ratio_with_blocked_effect": "PeakSignalNoiseRatioWithBlockedEffect",
    "pearson_corrcoef": "PearsonCorrCoef", "perplexity": "Perplexity", "r2_score": "R2Score",
    "rand_score": "RandScore", "relative_average_spectral_error": "RelativeAverageSpectralError",
    "relative_squared_error": "RelativeSquaredError",
    "root_mean_squared_error_using_sliding_window": "RootMeanSquaredErrorUsingSlidingWindow",
    "rouge_score": "ROUGEScore", "sacre_bleu_score": "SacreBLEUScore", "spearman_corrcoef": "SpearmanCorrCoef",
    "spectral_angle_mapper": "SpectralAngleMapper", "spectral_distortion_index": "SpectralDistortionIndex",
    "squad": "SQuAD", "structural_similarity_index_measure": "StructuralSimilarityIndexMeasure",
    "symmetric_mean_absolute_percentage_error": "SymmetricMeanAbsolutePercentageError",
    "total_variation": "TotalVariation", "translation_edit_rate": "TranslationEditRate",
    "tweedie_deviance_score": "TweedieDevianceScore",
    "universal_image_quality_index": "UniversalImageQualityIndex", "v_measure_score": "VMeasureScore",
    "visual_information_fidelity": "VisualInformationFidelity",
    "weighted_mean_absolute_percentage_error": "WeightedMeanAbsolutePercentageError",
    "word_error_rate": "WordErrorRate", "word_information_lost": "WordInfoLost",
    "word_information_preserved": "WordInfoPreserved",
}  # fmt: skip
_QUERIES = {
    "retrieval_auroc": "RetrievalAUROC", "retrieval_average_precision": "RetrievalMAP",
    "retrieval_fall_out": "RetrievalFallOut", "retrieval_hit_rate": "RetrievalHitRate",
    "retrieval_normalized_dcg": "RetrievalNormalizedDCG", "retrieval_precision": "RetrievalPrecision",
    "retrieval_precision_recall_curve": "RetrievalPrecisionRecallCurve",
    "retrieval_r_precision": "RetrievalRPrecision", "retrieval_recall": "RetrievalRecall",
    "retrieval_reciprocal_rank": "RetrievalMRR",
}  # fmt: skip
_OVERLAPS = {
    "iou": "intersection_over_union", "giou": "generalized_intersection_over_union",
    "diou": "distance_intersection_over_union", "ciou": "complete_intersection_over_union",
}  # fmt: skip
_SAMPLES = {
    "dice_score": "DiceScore", "generalized_dice_score": "GeneralizedDiceScore", "mean_iou": "MeanIoU",
}  # fmt: skip
_SIGNALS = {
    "complex_scale_invariant_signal_noise_ratio": "ComplexScaleInvariantSignalNoiseRatio",
    "hausdorff_distance": "HausdorffDistance",
    "scale_invariant_signal_distortion_ratio": "ScaleInvariantSignalDistortionRatio",
    "scale_invariant_signal_noise_ratio": "ScaleInvariantSignalNoiseRatio",
    "signal_distortion_ratio": "SignalDistortionRatio", "signal_noise_ratio": "SignalNoiseRatio",
    "source_aggregated_signal_distortion_ratio": "SourceAggregatedSignalDistortionRatio",
}  # fmt: skip
_NOMINAL = {
    "cramers_v": CramersV, "pearsons_contingency_coefficient": PearsonsContingencyCoefficient, "theils_u": TheilsU,
    "tschuprows_t": TschuprowsT,
}  # fmt: skip


def _function(name: str, cls: type[Metric], kind: str = "batch") -> Callable[..., Any]:
    """A function of a batch: the metric made, given the batch, and asked."""
    operands = {k: p for k, p in inspect.signature(cls.update).parameters.items() if k not in ("self", "indexes")}
    options = {k: p for k, p in _parameters(cls).items() if k not in ("name", "empty_target_action")}
    if kind == "labels":
        options.pop("num_classes")

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs).arguments
        batch = [bound.pop(k) for k in operands if k in bound]
        if kind == "labels":
            bound["num_classes"] = 1 + int(max(np.nanmax(np.nan_to_num(given(x).numpy())) for x in batch))
        metric = cls(**bound)
        if kind == "signals":
            return metric.of_each(*batch)  # type: ignore[attr-defined]
        if kind == "samples" and bound.get("aggregation_level") != "global":
            each = [[given(x)[k : k + 1] for x in batch] for k in range(given(batch[0]).shape[0])]
            return G.stack([_once(cls(**bound), one) for one in each])
        if kind == "query":
            batch.append(tensor(np.zeros(tuple(given(batch[0]).shape), np.int64)))
        return _once(metric, batch)

    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given_ = [p.replace(kind=either) for p in operands.values()]
    plain = all(p.default is p.empty for p in given_)
    named = [p.replace(kind=either if plain else inspect.Parameter.KEYWORD_ONLY) for p in options.values()]
    named.sort(key=lambda p: p.default is not p.empty)
    signature = inspect.Signature([*given_, *named])
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`{cls.__name__}` of one batch; its operands, then its parameters.\n\n{cls.__doc__ or ''}"
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__module__ = __name__
    return call


def _once(metric: Metric, batch: list[Any]) -> Any:
    metric.update(*batch)
    return metric.compute()


def _parameters(cls: type[Metric]) -> dict[str, inspect.Parameter]:
    signature = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in signature.values()):
        own = {k: p for k, p in signature.items() if p.kind is not p.VAR_KEYWORD}
        return own | {k: p for k, p in _options(cls).items() if k not in own}
    return dict(signature)


def _matrix(name: str, cls: type[Metric]) -> Callable[..., Tensor]:
    """Of each two columns of a matrix of labels (n, variables): (variables, variables), 1 of each to itself."""
    of_two = _function(name, cls, "labels")

    def call(matrix: Any, **options: Any) -> Tensor:
        x = given(matrix)
        count = x.shape[1]
        found = np.ones((count, count))
        for a in range(count):
            for b in range(count):
                if a != b:
                    found[a, b] = of_two(x[:, a], x[:, b], **options).item()
        return tensor(found)

    call.__name__ = call.__qualname__ = f"{name}_matrix"
    call.__doc__ = f"`{name}` of each two columns of a matrix of labels (n, variables); 1 of each to itself."
    call.__module__ = __name__
    return call


def _boxes(kind: str, name: str, long: str) -> Callable[..., Tensor]:
    def call(
        preds: Any, target: Any, iou_threshold: float | None = None, replacement_val: float = 0, aggregate: bool = True
    ) -> Tensor:
        found, wanted = (given(x).numpy().astype(np.float64) for x in (preds, target))
        for boxes in (found, wanted):
            if boxes.ndim != 2 or boxes.shape[1] != 4:
                raise ShapeError(f"{name}: boxes of shape {boxes.shape}", code="shape.metric", hint="boxes are (n, 4)")
        each = box_overlaps(found, wanted, kind)
        if iou_threshold is not None:
            each = np.where(each < iou_threshold, replacement_val, each)
        return tensor(each) if not aggregate else tensor(np.diag(each).mean() if each.size else np.float64(0.0))

    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = f"""{long} of boxes (n, 4) and (m, 4), as corners: the mean over pairs of one place, or all (n, m).

    iou_threshold : below it stands `replacement_val`. aggregate : whether the mean is given.
    """
    return call


def _groups(groups: Any) -> int:
    return 1 + int(given(groups).numpy().max(initial=0))


def demographic_parity(preds: Any, groups: Any, threshold: float = 0.5, ignore_index: int | None = None) -> Any:
    """The lowest group's share of positive decisions over the highest group's: "DP_a_b"; see `BinaryFairness`."""
    metric = metrics.BinaryFairness(_groups(groups), "demographic_parity", threshold, ignore_index)
    return _once(metric, [preds, None, groups])


def equal_opportunity(
    preds: Any, target: Any, groups: Any, threshold: float = 0.5, ignore_index: int | None = None
) -> Any:  # fmt: skip
    """The lowest group's share of positives found over the highest group's, by name "EO_a_b"; see `BinaryFairness`."""
    metric = metrics.BinaryFairness(_groups(groups), "equal_opportunity", threshold, ignore_index)
    return _once(metric, [preds, target, groups])


def procrustes_disparity(point_cloud1: Any, point_cloud2: Any, return_all: bool = False) -> Any:
    """(N,) of two batches of points (N, points, axes), with `return_all` scales and rotations too."""
    found = procrustes("procrustes_disparity", point_cloud1, point_cloud2)
    return tuple(tensor(x) for x in found) if return_all else tensor(found[0])


def spatial_correlation_coefficient(
    preds: Any, target: Any, hp_filter: Any = None, window_size: int = 8, reduction: str | None = "mean"
) -> Tensor:
    """Of pictures (N, C, H, W) or (N, H, W): their mean, or (N,) with reduction "none"."""
    if reduction not in ("mean", "none", None):
        raise ValueError(f"reduction is 'mean' or 'none', not {reduction!r}")
    each = metrics.SpatialCorrelationCoefficient(hp_filter, window_size).of_each(preds, target)
    return each.mean() if reduction == "mean" else each


def spatial_distortion_index(
    preds: Any, ms: Any, pan: Any, pan_lr: Any = None, norm_order: int = 1, window_size: int = 7,
    reduction: str | None = "elementwise_mean",
) -> Tensor:  # fmt: skip
    """`SpatialDistortionIndex` of one batch."""
    metric = metrics.SpatialDistortionIndex(norm_order, window_size, reduction)
    return _once(metric, [preds, {"ms": ms, "pan": pan, "pan_lr": pan_lr}])  # type: ignore[no-any-return]


def quality_with_no_reference(
    preds: Any, ms: Any, pan: Any, pan_lr: Any = None, alpha: float = 1, beta: float = 1, norm_order: int = 1,
    window_size: int = 7, reduction: str | None = "elementwise_mean",
) -> Tensor:  # fmt: skip
    """`QualityWithNoReference` of one batch."""
    metric = metrics.QualityWithNoReference(alpha, beta, norm_order, window_size, reduction)
    return _once(metric, [preds, {"ms": ms, "pan": pan, "pan_lr": pan_lr}])  # type: ignore[no-any-return]


def image_gradients(img: Any) -> tuple[Tensor, Tensor]:
    """Differences to the next pixel down and across, 0 at the last: two tensors of the pictures' shape (N, C, H, W)."""
    x = given(img)
    if x.ndim != 4:
        raise ValueError(f"image_gradients: pictures are (N, C, H, W), got {tuple(x.shape)}")
    down = G.cat([x[:, :, 1:] - x[:, :, :-1], G.zeros_like(x[:, :, :1])], 2)
    across = G.cat([x[..., 1:] - x[..., :-1], G.zeros_like(x[..., :1])], 3)
    return down, across


_made: dict[str, Callable[..., Any]] = {}
for _name, _class in {**_BY_TASK, **_OTHERS}.items():
    _made[_name] = _function(_name, getattr(metrics, _class))
for _name, _class in _BY_TASK.items():
    for _kind in ("binary", "multiclass", "multilabel"):
        _one = TASK_METRICS.get(f"{_kind.capitalize()}{_class}")
        if _one is not None:
            _made[f"{_kind}_{_name}"] = _function(f"{_kind}_{_name}", _one)
for _name, _class in _QUERIES.items():
    _made[_name] = _function(_name, getattr(metrics, _class), "query")
for _name, _long in _OVERLAPS.items():
    _made[_long] = _boxes(_name, _long, _long.replace("_", " ").capitalize())
for _name, _class in _SAMPLES.items():
    _made[_name] = _function(_name, getattr(metrics, _class), "samples")
for _name, _class in _SIGNALS.items():
    _made[_name] = _function(_name, getattr(metrics, _class), "signals")
for _name, _cls in _NOMINAL.items():
    _made[_name], _made[f"{_name}_matrix"] = _function(_name, _cls, "labels"), _matrix(_name, _cls)
globals().update(_made)
__all__ = [
    *_made,
    "demographic_parity",
    "equal_opportunity",
    "image_gradients",
    "pairwise_cosine_similarity",
    "pairwise_euclidean_distance",
    "pairwise_linear_similarity",
    "pairwise_manhattan_distance",
    "pairwise_minkowski_distance",
    "permutation_invariant_training",
    "pit_permutate",
    "procrustes_disparity",
    "quality_with_no_reference",
    "spatial_correlation_coefficient",
    "spatial_distortion_index",
]
