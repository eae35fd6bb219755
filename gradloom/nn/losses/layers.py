"""Losses with weights of their own, and the layers of the losses that `torch.nn` lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from gradloom import functions as G
from gradloom.errors import ShapeError
from gradloom.nn import functional as F
from gradloom.nn import init
from gradloom.nn.containers import ModuleList, Sequential
from gradloom.nn.linear import Linear
from gradloom.nn.loss import _Loss, _WeightedLoss
from gradloom.nn.losses.classes import LinearCrossEntropyOptions
from gradloom.nn.module import Module, Parameter
from gradloom.tensor import Tensor


def _known_device(device: Any) -> None:
    """Refuse a device that there is not."""
    if device is not None:
        G.empty(0, device=device)


class LinearCrossEntropyLoss(_WeightedLoss):
    """A linear layer and the cross entropy of its scores; see `functional.linear_cross_entropy`.

    Parameters
    ----------
    in_features, num_classes : int
    out_features : tuple of int
        Further axes of the scores, (N, num_classes, *out_features); the layer's weight has them in its first axis.
    bias : bool
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        _known_device(device)
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        count = math.prod(self.out_features, start=num_classes)
        self.linear = Linear(in_features, count, bias=bias, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Inputs (N, in_features) and targets to the loss."""
        shape, bias = (self.num_classes, *self.out_features), self.linear.bias
        return F.linear_cross_entropy(
            input,
            G.reshape(self.linear.weight, (*shape, self.linear.in_features)),
            target,
            linear_bias=None if bias is None else G.reshape(bias, shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )


class ASMoutput(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` gives: log-probabilities of the targets (N,), and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Softmax over many classes in clusters by frequency (Grave et al. 2017).

    Frequent classes, below `cutoffs[0]`, stand in the head beside one entry for each cluster of rarer ones; cluster i
    works on in_features / div_value^(i + 1) features. Which rows need a cluster is known only to the data, and a
    program's shapes are not: every row is sent through every cluster, whose products are narrow.

    Parameters
    ----------
    in_features, n_classes : int
    cutoffs : increasing class numbers at which the clusters begin.
    div_value : float
    head_bias : bool
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cuts = list(cutoffs)
        if not cuts or cuts != sorted(set(cuts)) or cuts[0] <= 0 or cuts[-1] > n_classes - 1:
            raise ValueError(f"cutoffs increase and lie between 1 and n_classes - 1 = {n_classes - 1}, got {cuts}")
        if any(int(c) != c for c in cuts):
            raise ValueError(f"cutoffs are integers, got {cuts}")
        _known_device(device)
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*cuts, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = cuts[0], len(cuts)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, dtype=dtype)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden, size = int(in_features // div_value ** (i + 1)), self.cutoffs[i + 1] - self.cutoffs[i]
            first = Linear(in_features, hidden, bias=False, dtype=dtype)
            self.tail.append(Sequential(first, Linear(hidden, size, bias=False, dtype=dtype)))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> ASMoutput:
        """Inputs (N, in_features) or (in_features,), labels (N,) or () to log-probabilities and loss."""
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1 or input_.shape[:-1] != target_.shape:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: input {tuple(input_.shape)} with target {tuple(target_.shape)}",
                code="shape.loss",
                hint="inputs (N, in_features) with labels (N,), or (in_features,) with one label",
            )
        x, target = (input_, target_) if target_.ndim else (input_.unsqueeze(0), target_.unsqueeze(0))
        G.check_labels(target, self.n_classes, None)
        head = G.log_softmax(self.head(x), dim=1)
        place = target  # where a row looks in the head: at its class, or at its cluster
        output = G.zeros(target.shape[0], dtype=head.dtype)
        for i in range(self.n_clusters):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            inside = G.logical_and(target >= low, target < high)
            scores = G.log_softmax(self.tail[i](x), dim=1)
            own = G.gather(scores, 1, G.unsqueeze(G.where(inside, target - low, 0), 1))
            output = output + G.where(inside, G.squeeze(own, 1), 0.0)
            place = G.where(inside, self.shortlist_size + i, place)
        output = output + G.squeeze(G.gather(head, 1, G.unsqueeze(place, 1)), 1)
        loss = -output.mean()
        return ASMoutput(output if target_.ndim else G.squeeze(output, 0), loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities of all classes: (N, in_features) to (N, n_classes)."""
        head = G.log_softmax(self.head(input), dim=1)
        parts = [G.narrow(head, 1, 0, self.shortlist_size)]
        for i in range(self.n_clusters):
            scores = G.log_softmax(self.tail[i](input), dim=1)
            parts.append(scores + G.narrow(head, 1, self.shortlist_size + i, 1))
        return G.cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The likeliest class: (N, in_features) to (N,). Rows whose head's best is a cluster look at all classes."""
        head = G.argmax(self.head(input), dim=1)
        return G.where(head < self.shortlist_size, head, G.argmax(self.log_prob(input), dim=1))


class SigmoidFocalLoss(_Loss):
    """Binary cross entropy that looks away from easy samples; see `functional.sigmoid_focal_loss`."""

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.alpha, self.gamma = alpha, gamma

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Scores and targets of one shape to the loss."""
        return F.sigmoid_focal_loss(input, target, self.alpha, self.gamma, self.reduction)


class TverskyLoss(_Loss):
    """Overlap of regions with weights for both kinds of error; see `functional.tversky_loss`."""

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        smooth: float = 1.0,
        gamma: float = 1.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.alpha, self.beta, self.smooth, self.gamma = alpha, beta, smooth, gamma

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Probabilities and targets (N, C, ...) to the loss."""
        return F.tversky_loss(input, target, self.alpha, self.beta, self.smooth, self.gamma, self.reduction)


class DiceLoss(_Loss):
    """1 - the Dice coefficient of regions; see `functional.dice_loss`."""

    def __init__(self, smooth: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.smooth = smooth

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Probabilities and targets (N, C, ...) to the loss."""
        return F.dice_loss(input, target, self.smooth, self.reduction)


class ContrastiveLoss(_Loss):
    """Pairs drawn together or pushed beyond a margin; see `functional.contrastive_loss`."""

    def __init__(self, margin: float = 1.0, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin, self.eps = margin, eps

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """Vectors (N, D) and targets 1 (equals) or 0 to the loss."""
        return F.contrastive_loss(input1, input2, target, self.margin, self.eps, self.reduction)


class NTXentLoss(_Loss):
    """Two views of each sample found among all; see `functional.nt_xent_loss`."""

    def __init__(self, temperature: float = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.temperature = temperature

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Embeddings (N, D) of both views to the loss."""
        return F.nt_xent_loss(input1, input2, self.temperature, self.reduction)


class ArcFaceLoss(_Loss):
    """Angles to class directions with a margin; holds the directions; see `functional.arcface_loss`."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: float = 0.5,
        scale: float = 64.0,
        easy_margin: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.margin, self.scale, self.easy_margin = margin, scale, easy_margin
        self.weight = Parameter(G.empty(num_classes, in_features))
        init.xavier_uniform_(self.weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Embeddings (N, in_features) and labels (N,) to the loss."""
        return F.arcface_loss(input, self.weight, target, self.margin, self.scale, self.easy_margin, self.reduction)
