"""Public checks: closeness, gradients against finite differences, programs against the reference target."""

from gradloom.testing.checks import check_grads, check_reference
from gradloom.testing.comparison import assert_close
from gradloom.testing.samples import make_tensor

__all__ = ["assert_close", "check_grads", "check_reference", "make_tensor"]
