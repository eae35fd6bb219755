"""Ensembles: several models as one, which is trained on, evaluated, saved and exported as any module.

Members come from different seeds (deep ensembles, Lakshminarayanan et al. 2017), from samples drawn with replacement
(bagging, Breiman 1996), from the ends of cycles of one run (snapshots, Huang et al. 2017), or are chosen one by one for
what they add (greedy selection, Caruana et al. 2004).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gradloom import functions as G
from gradloom.data import Subset
from gradloom.errors import StateError
from gradloom.modes import no_grad
from gradloom.nn import Module, ModuleList
from gradloom.random import manual_seed
from gradloom.tensor import Tensor, as_tensor, tensor
from gradloom.train.callbacks import Callback

__all__ = ["Ensemble", "Snapshots", "bagged_ensemble", "deep_ensemble", "greedy_ensemble"]

ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda x: x,
    "softmax": lambda x: G.softmax(x, -1),
    "sigmoid": G.sigmoid,
}


class Ensemble(Module):
    """The weighted mean of its members' outputs.

    Parameters
    ----------
    members : modules that take the same inputs and give one tensor of the same shape.
    weights : share of each member, brought to a sum of 1; equal unless given.
    activation : {None, "softmax", "sigmoid"}
        What is done with outputs before the mean: scores of classes are averaged as probabilities.
    """

    weights: Tensor

    def __init__(
        self, members: Iterable[Module], weights: Sequence[float] | None = None, activation: str | None = None
    ) -> None:
        super().__init__()
        self.members = ModuleList(members)
        if not len(self.members):
            raise ValueError("an ensemble has at least one member")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is None, 'softmax' or 'sigmoid', not {activation!r}")
        shares = np.ones(len(self.members)) if weights is None else np.asarray(weights, np.float64)
        if shares.shape != (len(self.members),) or not (shares >= 0).all() or not shares.sum() > 0:
            raise ValueError(f"weights are one number for each of {len(self.members)} members, not negative: {weights}")
        self.activation = activation
        self.register_buffer("weights", tensor((shares / shares.sum()).astype(np.float32)))

    def outputs(self, *inputs: Any) -> Tensor:
        """Each member's output behind the activation, (members, ...): their spread tells how sure they are."""
        activate = ACTIVATIONS[self.activation]
        return G.stack([activate(member(*inputs)) for member in self.members])

    def forward(self, *inputs: Any) -> Tensor:
        """The mean."""
        found = self.outputs(*inputs)
        shares = G.reshape(self.weights, (len(self.members), *(1,) * (found.ndim - 1)))
        return G.sum(found * G.cast(shares, found.dtype), dim=0)

    def extra_repr(self) -> str:
        """What stands between the brackets of the layer's line."""
        return f"activation={self.activation!r}"


def deep_ensemble(
    make: Callable[[], Module], train: Callable[[Module], Any], count: int = 5, *, seed: int = 0,
    activation: str | None = None,
) -> Ensemble:  # fmt: skip
    """Models that differ in their seeds alone.

    Parameters
    ----------
    make : gives a new model.
    train : trains a model.
    count : models. seed : of the first; each next one's is one more. It is set before `make`, for training too.
    """
    if count < 1:
        raise ValueError(f"count must be positive, got {count}")
    members = []
    for k in range(count):
        manual_seed(seed + k)
        members.append(make())
        train(members[-1])
    return Ensemble(members, activation=activation)


def bagged_ensemble(
    make: Callable[[], Module], train: Callable[[Module, Subset], Any], dataset: Any, count: int = 5, *,
    seed: int = 0, activation: str | None = None,
) -> Ensemble:  # fmt: skip
    """Models each trained on as many samples as there are, drawn with replacement.

    Parameters
    ----------
    train : trains a model on a data set.
    Others : as for :func:`deep_ensemble`. A member's samples depend on seed and number alone.
    """
    if count < 1:
        raise ValueError(f"count must be positive, got {count}")
    members = []
    for k in range(count):
        manual_seed(seed + k)
        members.append(make())
        chosen = np.random.default_rng([seed, k]).integers(0, len(dataset), len(dataset))
        train(members[-1], Subset(dataset, chosen.tolist()))
    return Ensemble(members, activation=activation)


def greedy_ensemble(
    members: Sequence[Module], batches: Iterable[tuple[Any, Any]], score: Callable[[Tensor, Tensor], Any], *,
    size: int = 20, maximize: bool = True, activation: str | None = None,
) -> Ensemble:  # fmt: skip
    """Members chosen one after the other, again and again, each the one with which the mean scores best.

    Parameters
    ----------
    members : trained models.
    batches : (inputs, targets) that none of them was trained on; inputs one tensor.
    score : of the mean outputs and the targets of all batches together.
    size : choices; the best number of them up to that is taken. maximize : whether more is better.

    Returns
    -------
    Ensemble : of the members that were chosen, weighted by how often.
    """
    if not members or size < 1:
        raise ValueError(f"greedy_ensemble: {len(members)} members, size {size}; both are at least 1")
    whole = Ensemble(members, activation=activation).eval()
    parts: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    with no_grad():
        for inputs, target in batches:
            parts.append(whole.outputs(as_tensor(inputs)).numpy())
            targets.append(as_tensor(target).numpy())
    if not parts:
        raise ValueError("greedy_ensemble: there are no batches")
    outputs, wanted = np.concatenate(parts, 1), tensor(np.concatenate(targets))
    sign = 1.0 if maximize else -1.0
    total, chosen = np.zeros_like(outputs[0]), []
    best, best_count = -np.inf, 0
    for k in range(1, size + 1):
        values = [sign * float(score(tensor((total + one) / k), wanted)) for one in outputs]
        at = int(np.argmax(values))
        total = total + outputs[at]
        chosen.append(at)
        if values[at] > best:
            best, best_count = values[at], k
    counts = np.bincount(chosen[:best_count], minlength=len(members))
    kept = np.nonzero(counts)[0]
    return Ensemble([members[int(i)] for i in kept], counts[kept].tolist(), activation)


class Snapshots(Callback):
    """Keeps a copy of the model at the end of each cycle of epochs, as `CosineAnnealingWarmRestarts(optimizer, cycle)`
    makes them: a rate near zero, then a new start.

    cycle : epochs.
    """

    def __init__(self, cycle: int) -> None:
        super().__init__()
        if cycle < 1:
            raise ValueError(f"cycle must be positive, got {cycle}")
        self.cycle = cycle
        self.members: list[Module] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Take a copy where a cycle ends."""
        if (epoch + 1) % self.cycle == 0:
            module = getattr(self.model, "module", self.model)  # a trainer's handle has the module
            self.members.append(copy.deepcopy(module))

    def ensemble(self, last: int | None = None, activation: str | None = None) -> Ensemble:
        """The copies as one model; of the `last` cycles, where given. StateError before the first cycle has ended."""
        if not self.members:
            raise StateError(
                f"no cycle of {self.cycle} epochs has ended yet", code="train.snapshots",
                hint="give the callback to fit(), for at least one cycle",
            )  # fmt: skip
        return Ensemble(self.members[-last:] if last else self.members, activation=activation)
