"""Generated pictures: how far their features are from those of real ones, how sure and how varied a classifier is.

`feature` is a module, or a function, from pictures to features (N, d): the published Inception network of these
metrics is not among gradloom's weights, so a number of features, TorchMetrics' default, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.errors import NotSupportedError, ShapeError, StateError
from gradloom.metrics.base import Metric, gathered, given, result
from gradloom.modes import no_grad
from gradloom.nn.module import Module
from gradloom.random import default_generator
from gradloom.tensor import Tensor

Array = np.ndarray
Feature = Module | Callable[[Tensor], Tensor]


class _OfFeatures(Metric):
    """Base: features of pictures."""

    def __init__(self, feature: Feature, name: str | None = None) -> None:
        super().__init__(name)
        if not callable(feature):
            raise NotSupportedError(
                f"{self.name}(feature={feature!r}) means a published Inception network, whose weights are not here",
                code="metric.feature", hint="give a module, or a function, from pictures to features (N, d)",
            )  # fmt: skip
        self.feature = feature

    def _features(self, imgs: Any) -> Tensor:
        """(N, d), float64."""
        module = self.feature if isinstance(self.feature, Module) else None
        training = module is not None and module.training
        if module is not None:
            module.eval()
        try:
            with no_grad():
                found = self.feature(given(imgs))
        finally:
            if module is not None:
                module.train(training)
        if found.ndim != 2:
            raise ShapeError(
                f"{self.name}: features of shape {tuple(found.shape)}", code="shape.metric", hint="expected is (N, d)"
            )
        return found.detach().double()


class _RealAndFake(_OfFeatures):
    """Base of those that compare: features of both kinds are kept.

    reset_real_features : whether `reset` forgets those of real pictures too.
    """

    real_features: list[Tensor]
    fake_features: list[Tensor]

    def __init__(self, feature: Feature, reset_real_features: bool = True, name: str | None = None) -> None:
        super().__init__(feature, name)
        self.reset_real_features = reset_real_features
        self.add_state("real_features", [])
        self.add_state("fake_features", [])

    def update(self, imgs: Any, real: bool) -> None:
        """Add pictures, real ones or generated ones."""
        (self.real_features if real else self.fake_features).append(self._features(imgs))

    def reset(self) -> None:
        """Forget what was added; of real pictures only where that was asked for."""
        kept = list(getattr(self, "real_features", [])) if not self.reset_real_features else []
        super().reset()
        self.real_features = kept

    def _both(self, least: int = 2) -> tuple[Array, Array]:
        found = []
        for what, parts in (("real", self.real_features), ("fake", self.fake_features)):
            count = sum(int(p.shape[0]) for p in parts)
            if count < least:
                raise StateError(
                    f"{self.name}: {count} {what} pictures, at least {least} are needed", code="metric.few",
                    hint="update(pictures, real=True) and update(pictures, real=False)",
                )  # fmt: skip
            found.append(gathered(parts))
        return found[0], found[1]


def _frechet(a: Array, b: Array) -> float:
    """Between normal distributions with the means and covariances of two sets (Dowson and Landau 1982)."""
    gap = a.mean(0) - b.mean(0)
    first, second = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    both = np.sqrt(np.linalg.eigvals(first @ second).astype(np.complex128)).real.sum()
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2.0 * both)


class FrechetInceptionDistance(_RealAndFake):
    """The Fréchet distance between features of real and generated pictures (Heusel et al. 2017)."""

    def compute(self) -> Tensor:
        """At least 0. StateError for fewer than two pictures of a kind."""
        return result(_frechet(*self._both()))


class MemorizationInformedFrechetInceptionDistance(_RealAndFake):
    """The Fréchet distance over how far generated pictures are from the nearest real ones (Bai et al. 2021).

    cosine_distance_eps : float
        Distances from this on count as none.
    """

    def __init__(
        self,
        feature: Feature,
        reset_real_features: bool = True,
        cosine_distance_eps: float = 0.1,
        name: str | None = None,
    ) -> None:
        super().__init__(feature, reset_real_features, name)
        if not 0 < cosine_distance_eps <= 1:
            raise ValueError(f"cosine_distance_eps lies above 0 and at most at 1, got {cosine_distance_eps}")
        self.cosine_distance_eps = cosine_distance_eps

    def compute(self) -> Tensor:
        """At least 0; large where pictures are copies."""
        real, fake = self._both()
        distance = _frechet(real, fake)
        if distance <= 1e-8:
            return result(0.0)
        real, fake = (x[x.sum(1) != 0] for x in (real, fake))
        real, fake = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (real, fake))
        nearest = float((1.0 - np.abs(real @ fake.T)).min(1).mean())
        return result(distance / ((nearest if nearest < self.cosine_distance_eps else 1.0) + 1e-14))


class KernelInceptionDistance(_RealAndFake):
    """The maximum mean discrepancy of features under a polynomial kernel, over subsets (Bińkowski et al. 2018).

    Parameters
    ----------
    subsets, subset_size : int
        How many, and how many pictures of each kind in each; drawn without replacement.
    degree, gamma, coef : (gamma·x·y + coef)^degree; gamma one over the number of features unless given.
    """

    def __init__(
        self,
        feature: Feature,
        subsets: int = 100,
        subset_size: int = 1000,
        degree: int = 3,
        gamma: float | None = None,
        coef: float = 1.0,
        reset_real_features: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(feature, reset_real_features, name)
        for what, value in (("subsets", subsets), ("subset_size", subset_size), ("degree", degree)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{what} is a positive whole number, not {value!r}")
        self.subsets, self.subset_size, self.degree, self.gamma, self.coef = subsets, subset_size, degree, gamma, coef

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation over the subsets."""
        real, fake = self._both(max(2, self.subset_size))
        draw = np.random.default_rng(list(default_generator.draw()))
        gamma, m = 1.0 / real.shape[1] if self.gamma is None else self.gamma, self.subset_size
        values = []
        for _ in range(self.subsets):
            x, y = (f[draw.permutation(len(f))[:m]] for f in (real, fake))
            xx, yy, xy = ((a @ b.T * gamma + self.coef) ** self.degree for a, b in ((x, x), (y, y), (x, y)))
            own = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
            values.append(own / (m * (m - 1)) - 2.0 * xy.sum() / m**2)
        return result(np.mean(values)), result(np.std(values))


class InceptionScore(_OfFeatures):
    """exp of the mean divergence of each picture's classes from the classes of all (Salimans et al. 2016).

    feature : gives logits of classes (N, C). splits : parts of the pictures, in an order that is drawn.
    """

    features: list[Tensor]

    def __init__(self, feature: Feature, splits: int = 10, name: str | None = None) -> None:
        super().__init__(feature, name)
        if not isinstance(splits, int) or splits < 1:
            raise ValueError(f"splits is a positive whole number, not {splits!r}")
        self.splits = splits
        self.add_state("features", [])

    def update(self, imgs: Any) -> None:
        """Add generated pictures."""
        self.features.append(self._features(imgs))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation over the splits."""
        logits = gathered(self.features)
        logits = logits[np.random.default_rng(list(default_generator.draw())).permutation(len(logits))]
        logs = logits - logits.max(1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        scores = []
        size = -(-len(logs) // self.splits)
        for start in range(0, len(logs), size):
            part = logs[start : start + size]
            p = np.exp(part)
            scores.append(np.exp((p * (part - np.log(p.mean(0)))).sum(1).mean()))
        return result(np.mean(scores)), result(np.std(scores, ddof=1) if len(scores) > 1 else np.nan)
