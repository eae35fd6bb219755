"""Maps from all real numbers into a domain, chosen by the domain: ``biject_to`` and ``transform_to``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.distributions import constraints as C
from gradloom.distributions import transforms as T
from gradloom.errors import DTypeError, NotSupportedError

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]

Factory = Callable[[Any], T.Transform]


class ConstraintRegistry:
    """Called with a constraint, gives a transform onto it. Constraints are known by themselves or by their class."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._factories: dict[Any, Factory] = {}

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """Have ``factory(constraint)`` make the transform for a constraint, or a class of them; also a decorator."""
        if factory is None:
            return lambda fn: self.register(constraint, fn)
        if not isinstance(constraint, C.Constraint) and not (
            isinstance(constraint, type) and issubclass(constraint, C.Constraint)
        ):
            raise DTypeError(
                f"{self.name}.register: expected a constraint or a class of them, got {constraint!r}",
                code="dtype.constraint", hint="see gradloom.distributions.constraints",
            )  # fmt: skip
        self._factories[constraint] = factory
        return factory

    def __call__(self, constraint: Any) -> T.Transform:
        """The transform for a constraint. Raises NotSupportedError where none is registered."""
        found = self._factories.get(constraint)
        for cls in type(constraint).__mro__ if found is None else ():
            found = self._factories.get(cls)
            if found is not None:
                break
        if found is None or constraint.is_discrete:
            raise NotSupportedError(
                f"{self.name}: there is no transform for {constraint!r}", code="distributions.constraint",
                hint=f"register one with {self.name}.register",
            )  # fmt: skip
        return found(constraint)


biject_to = ConstraintRegistry("biject_to")  # bijections: densities can be carried over
transform_to = ConstraintRegistry("transform_to")  # whatever is cheap and covers the domain, for optimising


def _shifted(bound: Any, sign: int) -> T.Transform:
    if sign > 0 and isinstance(bound, (int, float)) and bound == 0:
        return T.ExpTransform()
    return T.ComposeTransform([T.ExpTransform(), T.AffineTransform(bound, sign)])


def _stretched(c: Any) -> T.Transform:
    if c is C.unit_interval or (isinstance(c.upper_bound, (int, float)) and (c.lower_bound, c.upper_bound) == (0, 1)):
        return T.SigmoidTransform()
    return T.ComposeTransform([T.SigmoidTransform(), T.AffineTransform(c.lower_bound, c.upper_bound - c.lower_bound)])


def _both(to: ConstraintRegistry) -> None:
    """Register what both have."""
    to.register(C.real, lambda c: T.identity_transform)
    to.register(C.independent, lambda c: T.IndependentTransform(to(c.base_constraint), c.reinterpreted_batch_ndims))
    to.register(C.greater_than, lambda c: _shifted(c.lower_bound, 1))
    to.register(C.greater_than_eq, lambda c: _shifted(c.lower_bound, 1))
    to.register(C.less_than, lambda c: _shifted(c.upper_bound, -1))
    to.register(C.interval, _stretched)
    to.register(C.corr_cholesky, lambda c: T.CorrCholeskyTransform())
    to.register(C.cat, lambda c: T.CatTransform([to(part) for part in c.cseq], c.dim, c.lengths))
    to.register(C.stack, lambda c: T.StackTransform([to(part) for part in c.cseq], c.dim))


_both(biject_to)
_both(transform_to)
biject_to.register(C.simplex, lambda c: T.StickBreakingTransform())
transform_to.register(C.simplex, lambda c: T.SoftmaxTransform())
transform_to.register(C.lower_cholesky, lambda c: T.LowerCholeskyTransform())
transform_to.register(C.positive_definite, lambda c: T.PositiveDefiniteTransform())
transform_to.register(C.positive_semidefinite, lambda c: T.PositiveDefiniteTransform())
