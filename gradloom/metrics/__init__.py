"""Metrics: how good the answers are, counted batch by batch and looked at only when somebody asks."""

from gradloom.metrics.accuracy import (
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    accuracy_for,
)
from gradloom.metrics.aggregation import (
    Cat,
    Max,
    Min,
    Sum,
)
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
    F1Score,
    FBetaScore,
    HammingDistance,
    JaccardIndex,
    MatthewsCorrCoef,
    Precision,
    Recall,
    Specificity,
    StatScores,
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
from gradloom.metrics.mean import (
    Mean,
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
)
from gradloom.metrics.regression import (
    ExplainedVariance,
    HuberError,
    MeanAbsolutePercentageError,
    MeanSquaredLogError,
    PearsonCorrCoef,
    R2Score,
    RootMeanSquaredError,
    SpearmanCorrCoef,
    SymmetricMeanAbsolutePercentageError,
)
from gradloom.metrics.retrieval import (
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMetric,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
)
from gradloom.metrics.segmentation import (
    DiceScore,
    MeanIoU,
)
from gradloom.metrics.text import (
    BLEUScore,
    CharErrorRate,
    CHRFScore,
    Perplexity,
    ROUGEScore,
    SacreBLEUScore,
    WordErrorRate,
)

__all__ = [
    "AUROC",
    "Accuracy",
    "AveragePrecision",
    "BLEUScore",
    "BinaryAccuracy",
    "BrierScore",
    "CHRFScore",
    "CalibrationError",
    "Cat",
    "CategoricalAccuracy",
    "CharErrorRate",
    "CohenKappa",
    "ConfusionMatrix",
    "DiceScore",
    "ExplainedVariance",
    "F1Score",
    "FBetaScore",
    "HammingDistance",
    "HingeLoss",
    "HuberError",
    "JaccardIndex",
    "LogLoss",
    "MatthewsCorrCoef",
    "Max",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanAveragePrecision",
    "MeanIoU",
    "MeanMetric",
    "MeanSquaredError",
    "MeanSquaredLogError",
    "Metric",
    "MetricCollection",
    "Min",
    "PearsonCorrCoef",
    "Perplexity",
    "Precision",
    "PrecisionRecallCurve",
    "R2Score",
    "ROC",
    "ROUGEScore",
    "Recall",
    "RetrievalHitRate",
    "RetrievalMAP",
    "RetrievalMRR",
    "RetrievalMetric",
    "RetrievalNormalizedDCG",
    "RetrievalPrecision",
    "RetrievalRecall",
    "RootMeanSquaredError",
    "SacreBLEUScore",
    "SparseCategoricalAccuracy",
    "SpearmanCorrCoef",
    "Specificity",
    "StatScores",
    "Sum",
    "SymmetricMeanAbsolutePercentageError",
    "WordErrorRate",
    "accuracy_for",
]
