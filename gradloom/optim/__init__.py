"""Optimisers and learning rate schedules under the names of `torch.optim`."""

from gradloom.optim import lr_scheduler
from gradloom.optim.adam import Adam, AdamW
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.sgd import SGD

__all__ = ["Adam", "AdamW", "Optimizer", "SGD", "lr_scheduler"]
