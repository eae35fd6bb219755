"""Training: one loop for all faces, its callbacks, its batches and its progress."""

from gradloom.train.batches import ArrayBatches, IterableBatches
from gradloom.train.callbacks import Callback, CallbackList, History
from gradloom.train.loop import Steps, evaluate, fit, predict
from gradloom.train.trainer import Trainer

__all__ = [
    "ArrayBatches",
    "Callback",
    "CallbackList",
    "History",
    "IterableBatches",
    "Steps",
    "Trainer",
    "evaluate",
    "fit",
    "predict",
]
