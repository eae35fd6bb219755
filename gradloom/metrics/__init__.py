"""Metrics: how good the answers are, counted batch by batch and looked at only when somebody asks."""

import importlib
from typing import Any

from gradloom.metrics.aggregation import CatMetric, MaxMetric, MeanMetric, MinMetric, SumMetric
from gradloom.metrics.base import (
    Metric,
)
from gradloom.metrics.calibration import (
    BrierScore,
    CalibrationError,
    HingeLoss,
    LogLoss,
)
from gradloom.metrics.classification import (
    Accuracy,
    CohenKappa,
    ConfusionMatrix,
    ExactMatch,
    F1Score,
    FBetaScore,
    HammingDistance,
    JaccardIndex,
    MatthewsCorrCoef,
    NegativePredictiveValue,
    Precision,
    Recall,
    Specificity,
    StatScores,
)
from gradloom.metrics.clustering import (
    AdjustedMutualInfoScore,
    AdjustedRandScore,
    CalinskiHarabaszScore,
    ClusterAccuracy,
    CompletenessScore,
    DaviesBouldinScore,
    DunnIndex,
    FowlkesMallowsIndex,
    HomogeneityScore,
    MutualInfoScore,
    NormalizedMutualInfoScore,
    RandScore,
    VMeasureScore,
)
from gradloom.metrics.collection import (
    MetricCollection,
)
from gradloom.metrics.curves import (
    AUROC,
    ROC,
    AveragePrecision,
    PrecisionRecallCurve,
)
from gradloom.metrics.detection import (
    MeanAveragePrecision,
)
from gradloom.metrics.deviations import (
    ConcordanceCorrCoef,
    CosineSimilarity,
    KendallRankCorrCoef,
    KLDivergence,
    LogCoshError,
    MinkowskiDistance,
    RelativeSquaredError,
    TweedieDevianceScore,
    WeightedMeanAbsolutePercentageError,
)
from gradloom.metrics.dice import DiceScore
from gradloom.metrics.edits import (
    EditDistance,
    MatchErrorRate,
    SQuAD,
    WordInfoLost,
    WordInfoPreserved,
)
from gradloom.metrics.forecasts import (
    ContinuousRankedProbabilityScore,
    CriticalSuccessIndex,
    JensenShannonDivergence,
    NormalizedRootMeanSquaredError,
)
from gradloom.metrics.generative import (
    FrechetInceptionDistance,
    InceptionScore,
    KernelInceptionDistance,
    MemorizationInformedFrechetInceptionDistance,
)
from gradloom.metrics.groups import BinaryFairness, BinaryGroupStatRates
from gradloom.metrics.images import (
    MultiScaleStructuralSimilarityIndexMeasure,
    PeakSignalNoiseRatio,
    SpectralAngleMapper,
    StructuralSimilarityIndexMeasure,
    TotalVariation,
    UniversalImageQualityIndex,
)
from gradloom.metrics.nominal import CramersV, FleissKappa, PearsonsContingencyCoefficient, TheilsU, TschuprowsT
from gradloom.metrics.operating import (
    PrecisionAtFixedRecall,
    RecallAtFixedPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
)
from gradloom.metrics.overlaps import (
    CompleteIntersectionOverUnion,
    DistanceIntersectionOverUnion,
    GeneralizedIntersectionOverUnion,
    IntersectionOverUnion,
)
from gradloom.metrics.panoptic import ModifiedPanopticQuality, PanopticQuality
from gradloom.metrics.ranking import MultilabelCoverageError, MultilabelRankingAveragePrecision, MultilabelRankingLoss
from gradloom.metrics.rates import EER, LogAUC
from gradloom.metrics.regression import (
    ExplainedVariance,
    HuberError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogError,
    PearsonCorrCoef,
    R2Score,
    RootMeanSquaredError,
    SpearmanCorrCoef,
    SymmetricMeanAbsolutePercentageError,
)
from gradloom.metrics.remote import (
    ErrorRelativeGlobalDimensionlessSynthesis,
    PeakSignalNoiseRatioWithBlockedEffect,
    RelativeAverageSpectralError,
    RootMeanSquaredErrorUsingSlidingWindow,
    SpectralDistortionIndex,
    VisualInformationFidelity,
)
from gradloom.metrics.retrieval import (
    RetrievalFallOut,
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMetric,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
    RetrievalRPrecision,
)
from gradloom.metrics.retrieval_curves import (
    RetrievalAUROC,
    RetrievalPrecisionRecallCurve,
    RetrievalRecallAtFixedPrecision,
)
from gradloom.metrics.segmentation import GeneralizedDiceScore, MeanIoU
from gradloom.metrics.sharpening import QualityWithNoReference, SpatialCorrelationCoefficient, SpatialDistortionIndex
from gradloom.metrics.signals import (
    ScaleInvariantSignalDistortionRatio,
    ScaleInvariantSignalNoiseRatio,
    SignalNoiseRatio,
)
from gradloom.metrics.sources import (
    ComplexScaleInvariantSignalNoiseRatio,
    PermutationInvariantTraining,
    SignalDistortionRatio,
    SourceAggregatedSignalDistortionRatio,
)
from gradloom.metrics.surfaces import HausdorffDistance, LipVertexError, ProcrustesDisparity
from gradloom.metrics.tasks import TASK_METRICS
from gradloom.metrics.text import (
    BLEUScore,
    CharErrorRate,
    CHRFScore,
    Perplexity,
    ROUGEScore,
    SacreBLEUScore,
    WordErrorRate,
)
from gradloom.metrics.translation import ExtendedEditDistance, TranslationEditRate
from gradloom.metrics.wrappers import (
    BinaryTargetTransformer,
    BootStrapper,
    ClasswiseWrapper,
    LambdaInputTransformer,
    MetricInputTransformer,
    MetricTracker,
    MinMaxMetric,
    MultioutputWrapper,
    MultitaskWrapper,
    Running,
    RunningMean,
    RunningSum,
)

globals().update(TASK_METRICS)


def __getattr__(name: str) -> Any:
    """`functional`, made when it is asked for: it needs the whole of this module."""
    if name == "functional":
        return importlib.import_module("gradloom.metrics.functional")
    raise AttributeError(f"module 'gradloom.metrics' has no attribute {name!r}")


__all__ = [
    *TASK_METRICS,
    "AUROC",
    "Accuracy",
    "AdjustedMutualInfoScore",
    "AdjustedRandScore",
    "AveragePrecision",
    "BLEUScore",
    "BinaryFairness",
    "BinaryGroupStatRates",
    "BinaryTargetTransformer",
    "BootStrapper",
    "BrierScore",
    "CHRFScore",
    "CalibrationError",
    "CalinskiHarabaszScore",
    "CatMetric",
    "CharErrorRate",
    "ClasswiseWrapper",
    "ClusterAccuracy",
    "CohenKappa",
    "CompleteIntersectionOverUnion",
    "CompletenessScore",
    "ComplexScaleInvariantSignalNoiseRatio",
    "ConcordanceCorrCoef",
    "ConfusionMatrix",
    "ContinuousRankedProbabilityScore",
    "CosineSimilarity",
    "CramersV",
    "CriticalSuccessIndex",
    "DaviesBouldinScore",
    "DiceScore",
    "DistanceIntersectionOverUnion",
    "DunnIndex",
    "EER",
    "EditDistance",
    "ErrorRelativeGlobalDimensionlessSynthesis",
    "ExactMatch",
    "ExplainedVariance",
    "ExtendedEditDistance",
    "F1Score",
    "FBetaScore",
    "FleissKappa",
    "FowlkesMallowsIndex",
    "FrechetInceptionDistance",
    "GeneralizedDiceScore",
    "GeneralizedIntersectionOverUnion",
    "HammingDistance",
    "HausdorffDistance",
    "HingeLoss",
    "HomogeneityScore",
    "HuberError",
    "InceptionScore",
    "IntersectionOverUnion",
    "JaccardIndex",
    "JensenShannonDivergence",
    "KLDivergence",
    "KendallRankCorrCoef",
    "KernelInceptionDistance",
    "LambdaInputTransformer",
    "LipVertexError",
    "LogAUC",
    "LogCoshError",
    "LogLoss",
    "MatchErrorRate",
    "MatthewsCorrCoef",
    "MaxMetric",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanAveragePrecision",
    "MeanIoU",
    "MeanMetric",
    "MeanSquaredError",
    "MeanSquaredLogError",
    "MemorizationInformedFrechetInceptionDistance",
    "Metric",
    "MetricCollection",
    "MetricInputTransformer",
    "MetricTracker",
    "MinMaxMetric",
    "MinMetric",
    "MinkowskiDistance",
    "ModifiedPanopticQuality",
    "MultiScaleStructuralSimilarityIndexMeasure",
    "MultilabelCoverageError",
    "MultilabelRankingAveragePrecision",
    "MultilabelRankingLoss",
    "MultioutputWrapper",
    "MultitaskWrapper",
    "MutualInfoScore",
    "NegativePredictiveValue",
    "NormalizedMutualInfoScore",
    "NormalizedRootMeanSquaredError",
    "PanopticQuality",
    "PeakSignalNoiseRatio",
    "PeakSignalNoiseRatioWithBlockedEffect",
    "PearsonCorrCoef",
    "PearsonsContingencyCoefficient",
    "PermutationInvariantTraining",
    "Perplexity",
    "Precision",
    "PrecisionAtFixedRecall",
    "PrecisionRecallCurve",
    "ProcrustesDisparity",
    "QualityWithNoReference",
    "R2Score",
    "ROC",
    "ROUGEScore",
    "RandScore",
    "Recall",
    "RecallAtFixedPrecision",
    "RelativeAverageSpectralError",
    "RelativeSquaredError",
    "RetrievalAUROC",
    "RetrievalFallOut",
    "RetrievalHitRate",
    "RetrievalMAP",
    "RetrievalMRR",
    "RetrievalMetric",
    "RetrievalNormalizedDCG",
    "RetrievalPrecision",
    "RetrievalPrecisionRecallCurve",
    "RetrievalRPrecision",
    "RetrievalRecall",
    "RetrievalRecallAtFixedPrecision",
    "RootMeanSquaredError",
    "RootMeanSquaredErrorUsingSlidingWindow",
    "Running",
    "RunningMean",
    "RunningSum",
    "SQuAD",
    "SacreBLEUScore",
    "ScaleInvariantSignalDistortionRatio",
    "ScaleInvariantSignalNoiseRatio",
    "SensitivityAtSpecificity",
    "SignalDistortionRatio",
    "SignalNoiseRatio",
    "SourceAggregatedSignalDistortionRatio",
    "SpatialCorrelationCoefficient",
    "SpatialDistortionIndex",
    "SpearmanCorrCoef",
    "Specificity",
    "SpecificityAtSensitivity",
    "SpectralAngleMapper",
    "SpectralDistortionIndex",
    "StatScores",
    "StructuralSimilarityIndexMeasure",
    "SumMetric",
    "SymmetricMeanAbsolutePercentageError",
    "TheilsU",
    "TotalVariation",
    "TranslationEditRate",
    "TschuprowsT",
    "TweedieDevianceScore",
    "UniversalImageQualityIndex",
    "VMeasureScore",
    "VisualInformationFidelity",
    "WeightedMeanAbsolutePercentageError",
    "WordErrorRate",
    "WordInfoLost",
    "WordInfoPreserved",
]
