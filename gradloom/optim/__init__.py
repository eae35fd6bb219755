"""Optimisers and learning rate schedules under the names of `torch.optim`, and some that it lacks."""

from gradloom.optim import lr_scheduler, swa_utils
from gradloom.optim.adam import Adam, AdamW, SparseAdam
from gradloom.optim.adam_kin import Adamax, Adan, NAdam, RAdam
from gradloom.optim.adaptive import Adadelta, Adagrad, RMSprop, Rprop
from gradloom.optim.groups import adaptive_clip_grad_, layerwise_groups, swap_in_optimizer_params_and_state
from gradloom.optim.lbfgs import LBFGS
from gradloom.optim.links import LAMB, Chain, Lion
from gradloom.optim.matrices import Adafactor, Muon
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.schedule_free import AdamWScheduleFree
from gradloom.optim.sgd import ASGD, SGD
from gradloom.optim.wrappers import SAM, Lookahead

__all__ = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamWScheduleFree",
    "Adamax",
    "Adan",
    "Chain",
    "LAMB",
    "LBFGS",
    "Lion",
    "Lookahead",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SAM",
    "SGD",
    "SparseAdam",
    "adaptive_clip_grad_",
    "layerwise_groups",
    "lr_scheduler",
    "swap_in_optimizer_params_and_state",
    "swa_utils",
]
