"""Training: one loop for all faces, its callbacks, its batches and its progress."""

from gradloom.train.actions import LambdaCallback, LearningRateScheduler, SwapEMAWeights, TerminateOnNaN
from gradloom.train.batches import ArrayBatches, IterableBatches
from gradloom.train.callbacks import Callback, CallbackList, History
from gradloom.train.ensembles import Ensemble, Snapshots, bagged_ensemble, deep_ensemble, greedy_ensemble
from gradloom.train.estimate import Estimate
from gradloom.train.loop import Steps, evaluate, fit, predict
from gradloom.train.monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from gradloom.train.reporting import CSVLogger, RemoteMonitor, TensorBoard
from gradloom.train.trainer import Trainer

__all__ = [
    "ArrayBatches",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "Ensemble",
    "Estimate",
    "History",
    "IterableBatches",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "Snapshots",
    "Steps",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
    "Trainer",
    "bagged_ensemble",
    "deep_ensemble",
    "evaluate",
    "fit",
    "greedy_ensemble",
    "predict",
]
