"""Every optimiser of Keras with some of its options: the tests, and `make_optimizer_figures.py`, are made of this."""

from __future__ import annotations

import numpy as np

SHAPES = ((4, 3), (3,))

# name, class, options, steps
TABLE = [
    ("sgd", "SGD", {"learning_rate": 0.1}, 5),
    ("sgd_nesterov", "SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, 5),
    ("rmsprop", "RMSprop", {"learning_rate": 0.05, "momentum": 0.3, "centered": True}, 5),
    ("adam", "Adam", {"learning_rate": 0.05, "amsgrad": True}, 5),
    ("adamw", "AdamW", {"learning_rate": 0.05, "weight_decay": 0.1}, 5),
    ("adadelta", "Adadelta", {"learning_rate": 1.0, "rho": 0.9}, 5),
    ("adagrad", "Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.2}, 5),
    ("adamax", "Adamax", {"learning_rate": 0.05}, 5),
    ("nadam", "Nadam", {"learning_rate": 0.05}, 5),
    ("ftrl", "Ftrl", {"learning_rate": 0.2, "l1_regularization_strength": 0.01, "l2_regularization_strength": 0.1,
                      "beta": 0.1, "l2_shrinkage_regularization_strength": 0.05}, 5),
    ("adafactor", "Adafactor", {"learning_rate": 0.5}, 5),
    ("adafactor_plain", "Adafactor", {"learning_rate": 0.2, "relative_step": False, "weight_decay": 0.01}, 5),
    ("lion", "Lion", {"learning_rate": 0.02, "weight_decay": 0.1}, 5),
    ("lamb", "Lamb", {"learning_rate": 0.05}, 5),
    ("muon", "Muon", {"learning_rate": 0.05}, 3),
    ("muon_decay", "Muon", {"learning_rate": 0.05, "weight_decay": 0.1, "nesterov": False}, 3),
    ("schedule_free", "ScheduleFreeAdamW", {"learning_rate": 0.05, "warmup_steps": 2}, 5),
    ("clipnorm", "SGD", {"learning_rate": 0.1, "clipnorm": 0.5}, 3),
    ("clipvalue", "Adam", {"learning_rate": 0.1, "clipvalue": 0.2}, 3),
    ("global_clipnorm", "SGD", {"learning_rate": 0.1, "global_clipnorm": 0.5}, 3),
    ("ema", "SGD", {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.8}, 5),
    ("ema_overwrite", "SGD", {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.8,
                              "ema_overwrite_frequency": 2}, 5),
    ("accumulation", "Adam", {"learning_rate": 0.1, "gradient_accumulation_steps": 2}, 5),

]  # fmt: skip


def start():
    rng = np.random.default_rng(0)
    return [rng.normal(size=s).astype(np.float32) for s in SHAPES]


def gradient(step):
    rng = np.random.default_rng(10 + step)
    return [rng.normal(size=s).astype(np.float32) for s in SHAPES]
