"""Softmax over a few classes drawn at random, where there are too many for all (Jean et al. 2015)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from gradloom import dtypes
from gradloom import functions as G
from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions.sampling import rand
from gradloom.nn import init
from gradloom.nn.losses.classes import cross_entropy
from gradloom.nn.losses.common import chosen, reduced
from gradloom.nn.module import Module, Parameter
from gradloom.random import Generator
from gradloom.tensor import Tensor

__all__ = ["Candidates", "SampledSoftmaxLoss", "log_uniform_candidates", "sampled_softmax_loss"]


class Candidates(NamedTuple):
    """Classes (S,), and how often each, and each target (N,), was to be expected among them."""

    classes: Tensor
    expected: Tensor
    expected_target: Tensor


def log_uniform_candidates(
    target: Tensor, num_sampled: int, num_classes: int, generator: Generator | None = None
) -> Candidates:
    """Classes drawn with replacement, class c with probability log((c + 2) / (c + 1)) / log(num_classes + 1).

    That fits words in the order of their frequency, the most frequent first.
    """
    if num_sampled < 1:
        raise ArgumentError(f"log_uniform_candidates: num_sampled is {num_sampled}, expected at least 1")
    whole = math.log(num_classes + 1)
    u = rand(num_sampled, generator=generator, dtype=dtypes.float64)
    drawn = G.clamp(G.cast(G.exp(u * whole), dtypes.int64) - 1, 0, num_classes - 1)

    def expected(c: Tensor) -> Tensor:
        x = G.cast(c, dtypes.float64)
        return G.log1p(1.0 / (x + 1.0)) * (num_sampled / whole)

    return Candidates(drawn, expected(drawn), expected(target))


def sampled_softmax_loss(
    input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, num_sampled: int, *,
    sampled: Candidates | None = None, remove_accidental_hits: bool = True, reduction: str = "mean",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Cross entropy among the target and ``num_sampled`` drawn classes, each logit less the log of its expected number.

    Only the drawn rows of the weight are read, and have a gradient.

    Parameters
    ----------
    input : Tensor of shape (N, features). weight : (classes, features). bias : (classes,). target : integers (N,).
    sampled : drawn by :func:`log_uniform_candidates` unless given.
    remove_accidental_hits : a drawn class that is the row's target does not count against it.
    reduction : {"mean", "sum", "none"}
    """
    chosen(reduction)
    classes = weight.shape[0]
    if input.ndim != 2 or weight.ndim != 2 or input.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"sampled_softmax_loss: input {tuple(input.shape)} and weight {tuple(weight.shape)}", code="shape.loss",
            hint="(N, features) and (classes, features)",
        )  # fmt: skip
    if tuple(target.shape) != tuple(input.shape[:1]):
        raise ShapeError(
            f"sampled_softmax_loss: target {tuple(target.shape)} beside input {tuple(input.shape)}", code="shape.loss",
            hint="one class for each row: (N,)",
        )  # fmt: skip
    G.check_labels(target, classes, None)
    c = log_uniform_candidates(target, num_sampled, classes, generator) if sampled is None else sampled
    own = G.sum(input * G.index_select(weight, 0, target), 1)
    others = G.matmul(input, G.swap_last(G.index_select(weight, 0, c.classes)))
    if bias is not None:
        own, others = own + G.index_select(bias, 0, target), others + G.index_select(bias, 0, c.classes)
    own = own - G.cast(G.log(c.expected_target), own.dtype)
    others = others - G.cast(G.log(c.expected), own.dtype)
    if remove_accidental_hits:
        others = G.where(G.eq(G.unsqueeze(target, 1), c.classes), -math.inf, others)
    logits = G.cat([G.unsqueeze(own, 1), others], 1)
    return reduced(G.PUBLIC["logsumexp"](logits, 1) - own, reduction)


class SampledSoftmaxLoss(Module):
    """A last layer for many classes: trained on a few drawn ones (:func:`sampled_softmax_loss`), exact in evaluation.

    Parameters
    ----------
    in_features, num_classes, num_sampled : int
    bias : bool
    """

    def __init__(
        self, in_features: int, num_classes: int, num_sampled: int, bias: bool = True, reduction: str = "mean",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 1 <= num_sampled:
            raise ArgumentError(f"SampledSoftmaxLoss: num_sampled is {num_sampled}, expected at least 1")
        self.num_sampled, self.reduction = num_sampled, reduction
        self.weight = Parameter(G.empty(num_classes, in_features, device=device, dtype=dtype))
        self.bias: Parameter | None
        self.register_parameter("bias", Parameter(G.zeros(num_classes, device=device, dtype=dtype)) if bias else None)
        init.normal_(self.weight, 0.0, in_features**-0.5)

    def logits(self, input: Tensor) -> Tensor:
        """(N, in_features) to (N, num_classes)."""
        y = G.matmul(input, G.swap_last(self.weight))
        return y if self.bias is None else y + self.bias

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of (N, in_features) and classes (N,)."""
        if self.training:
            return sampled_softmax_loss(
                input, self.weight, self.bias, target, self.num_sampled, reduction=self.reduction
            )
        return cross_entropy(self.logits(input), target, reduction=self.reduction)

    def extra_repr(self) -> str:
        """Sizes."""
        classes, features = self.weight.shape
        return f"{features}, {classes}, num_sampled={self.num_sampled}"
