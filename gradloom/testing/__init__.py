"""Public checks: gradients against finite differences, programs against the reference target."""

from gradloom.testing.checks import assert_close, check_grads, check_reference

__all__ = ["assert_close", "check_grads", "check_reference"]
