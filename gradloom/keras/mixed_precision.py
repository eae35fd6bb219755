"""``keras.mixed_precision``: dtype policies under their older names."""

from gradloom.keras.config import dtype_policy, set_dtype_policy
from gradloom.keras.dtype_policies import DTypePolicy
from gradloom.keras.optimizers import LossScaleOptimizer

Policy = DTypePolicy
global_policy = dtype_policy
set_global_policy = set_dtype_policy

__all__ = [
    "DTypePolicy",
    "LossScaleOptimizer",
    "Policy",
    "dtype_policy",
    "global_policy",
    "set_dtype_policy",
    "set_global_policy",
]
