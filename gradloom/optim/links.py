"""Links: pieces of an optimiser that are chained, each a pure function from updates to updates.

A `Chain` starts from the gradients, sends them through its links, and adds what comes out to the parameters. Each link
says which options it reads from the parameter group, which state it keeps, and which numbers change with the step;
the whole chain runs inside the step's one program. `Lion` and `LAMB` are chains.

>>> Chain(params, clip_norm(1.0), scale_by_adam(), decay_weights(1e-2), descend(1e-3))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradloom import functions as G
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import LearningRate, checked, number
from gradloom.tensor import Tensor

Rows = list[list[Tensor]]


class Link:
    """Base class: takes the updates of a group's parameters and gives others."""

    def __init__(self, **options: Any) -> None:
        self.options = options  # defaults of the group's options

    names: tuple[str, ...] = ()
    """The state tensors kept for each parameter, of its shape, zero at the start."""

    def key(self, group: Mapping[str, Any]) -> Any:
        """What changes the formula."""
        return type(self)

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The numbers of a step, counted from 1."""
        return []

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """New updates, and the new state of each parameter (by name)."""
        raise NotImplementedError


class clip_value(Link):
    """Elements cut to [-limit, limit]."""

    def __init__(self, limit: float) -> None:
        super().__init__(clip_value=checked("limit", limit))

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The limit."""
        return [float(group["clip_value"])]

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Cut."""
        (limit,) = numbers
        return [G.minimum(G.maximum(u, -limit), limit) for u in updates], state


class clip_norm(Link):
    """The norm of a group's updates together held at or below a limit (Pascanu et al. 2013)."""

    def __init__(self, max_norm: float) -> None:
        super().__init__(max_norm=checked("max_norm", max_norm))

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The limit."""
        return [float(group["max_norm"])]

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Scale all by one factor."""
        total = G.sum(updates[0] * updates[0])
        for u in updates[1:]:
            total = total + G.sum(u * u)
        factor = G.minimum(numbers[0] / (G.sqrt(total) + 1e-6), 1.0)
        return [u * factor for u in updates], state


class clip_adaptive(Link):
    """Each unit's update held below `clipping` times the unit's norm (Brock et al. 2021)."""

    def __init__(self, clipping: float = 0.01, eps: float = 1e-3) -> None:
        super().__init__(clipping=checked("clipping", clipping), clipping_eps=checked("eps", eps))

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The share and the least norm."""
        return [float(group["clipping"]), float(group["clipping_eps"])]

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Scale units."""
        return [adaptively_clipped(p, u, *numbers) for p, u in zip(params, updates, strict=True)], state


def unit_norm(x: Tensor) -> Tensor:
    """The norm of each unit: of all axes but the first; a vector's or number's elements count as one unit."""
    dims = None if x.ndim < 2 else tuple(range(1, x.ndim))
    return G.sqrt(G.sum(x * x) if dims is None else G.sum(x * x, dim=dims, keepdim=True))


def adaptively_clipped(param: Tensor, grad: Tensor, clipping: Any, eps: Any) -> Tensor:
    """A gradient with each unit's norm held at or below clipping·max(the parameter's, eps)."""
    most = G.maximum(unit_norm(param), eps) * clipping
    size = unit_norm(grad)
    return G.where(size > most, grad * (most / G.maximum(size, 1e-6)), grad)


class trace(Link):
    """Momentum: t ← g + momentum·t."""

    names = ("momentum_buffer",)

    def __init__(self, momentum: float = 0.9, nesterov: bool = False) -> None:
        super().__init__(momentum=checked("momentum", momentum))
        self.nesterov = nesterov

    def key(self, group: Mapping[str, Any]) -> Any:
        """Nesterov's or not."""
        return (trace, self.nesterov)

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The momentum."""
        return [float(group["momentum"])]

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Add the past."""
        (momentum,) = numbers
        new = [s[0] * momentum + u for s, u in zip(state, updates, strict=True)]
        out = [u + n * momentum for u, n in zip(updates, new, strict=True)] if self.nesterov else new
        return out, [[n] for n in new]


class scale_by_adam(Link):
    """Adam's direction: the mean over the root mean square, both without their bias."""

    names = ("exp_avg", "exp_avg_sq")

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        for k, beta in enumerate(betas):
            checked(f"betas[{k}]", beta, high=1.0)
        super().__init__(betas=betas, eps=checked("eps", eps))

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """Shares and bias corrections."""
        beta1, beta2 = group["betas"]
        corrections = [1.0 / (1.0 - beta1**step), 1.0 / (1.0 - beta2**step) ** 0.5]
        return [1.0 - beta1, float(beta2), 1.0 - beta2, *corrections, float(group["eps"])]

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Divide."""
        share1, beta2, share2, whole, root, eps = numbers
        out, new = [], []
        for u, (mean, square) in zip(updates, state, strict=True):
            mean = mean + (u - mean) * share1
            square = square * beta2 + u * u * share2
            out.append(mean * whole / (G.sqrt(square) * root + eps))
            new.append([mean, square])
        return out, new


class sign_of_momentum(Link):
    """Lion's direction: the sign between gradient and momentum (Chen et al. 2023)."""

    names = ("exp_avg",)

    def __init__(self, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        for k, beta in enumerate(betas):
            checked(f"betas[{k}]", beta, high=1.0)
        super().__init__(betas=betas)

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """Both decays and their complements."""
        beta1, beta2 = group["betas"]
        return [float(beta1), 1.0 - beta1, float(beta2), 1.0 - beta2]

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Take the sign, then go on with the mean."""
        beta1, share1, beta2, share2 = numbers
        out = [G.sign(s[0] * beta1 + u * share1) for s, u in zip(state, updates, strict=True)]
        return out, [[s[0] * beta2 + u * share2] for s, u in zip(state, updates, strict=True)]


class decay_weights(Link):
    """weight_decay·p added to the update: decoupled where it stands behind the link that scales."""

    def __init__(self, weight_decay: float = 1e-2) -> None:
        super().__init__(weight_decay=checked("weight_decay", weight_decay))

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The decay."""
        return [float(group["weight_decay"])]

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Add."""
        return [u + p * numbers[0] for u, p in zip(updates, params, strict=True)], state


class trust_ratio(Link):
    """Each update brought to the norm of its parameter; left alone where one of the two is zero (You et al. 2020)."""

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Scale."""
        out = []
        for u, p in zip(updates, params, strict=True):
            size, step = G.sqrt(G.sum(p * p)), G.sqrt(G.sum(u * u))
            both = G.logical_and(size > 0.0, step > 0.0)
            out.append(u * G.where(both, size / G.where(step > 0.0, step, 1.0), 1.0))
        return out, state


class descend(Link):
    """The update times -lr; `maximize` climbs."""

    def __init__(self, lr: LearningRate = 1e-3) -> None:
        super().__init__(lr=checked("lr", lr))

    def numbers(self, group: Mapping[str, Any], step: int) -> list[float]:
        """The rate, negative."""
        return [-number(group["lr"])]

    def update(
        self, updates: list[Tensor], params: list[Tensor], state: Rows, numbers: list[Tensor]
    ) -> tuple[list[Tensor], Rows]:
        """Scale."""
        return [u * numbers[0] for u in updates], state


class Chain(Optimizer):
    """An optimiser made of links.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    *links : Link
        In order; what the last gives is added to the parameters. Their options are options of the groups.
    maximize : bool
        Climb: the first link gets the negative gradient.

    Raises
    ------
    ValueError
        Where two links name the same option or state.
    """

    def __init__(self, params: Iterable[Any], *links: Link, maximize: bool = False) -> None:
        self.links = links
        defaults: dict[str, Any] = {"maximize": maximize}
        names: list[str] = []
        for link in links:
            for name in link.options:
                if name in defaults:
                    raise ValueError(f"two links have the option {name!r}")
            defaults.update(link.options)
            names += link.names
        if len(set(names)) != len(names):
            raise ValueError(f"two links keep a state of the same name: {names}")
        self._names = tuple(names)
        super().__init__(params, defaults)

    def _state_names(self, group: Mapping[str, Any], param: Tensor) -> tuple[str, ...]:
        return self._names

    def _flags(self, group: Mapping[str, Any]) -> tuple[Any, ...]:
        return (bool(group["maximize"]), tuple(link.key(group) for link in self.links), self._counted(group))

    def _counted(self, group: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(len(link.numbers(group, 1)) for link in self.links)

    def _scalars(self, group: Mapping[str, Any], step: int, numbers: Mapping[str, float]) -> list[float]:
        return [x for link in self.links for x in link.numbers(group, step)]

    def _update_all(
        self, flags: Any, params: list[Tensor], grads: list[Tensor], states: Rows, scalars: list[Tensor]
    ) -> list[tuple[Tensor, ...]]:
        maximize, _, counted = flags
        updates = [-g for g in grads] if maximize else list(grads)
        kept: Rows = [[] for _ in params]
        state = number_at = 0
        for link, count in zip(self.links, counted, strict=True):
            own = [row[state : state + len(link.names)] for row in states]
            updates, new = link.update(updates, params, own, scalars[number_at : number_at + count])
            for row, tensors in zip(kept, new, strict=True):
                row += tensors
            state, number_at = state + len(link.names), number_at + count
        return [(p + u, *row) for p, u, row in zip(params, updates, kept, strict=True)]


class Lion(Chain):
    """Steps of one size along the sign of the momentum, with decoupled decay (Chen et al. 2023).

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr : float
        Three to ten times smaller than for AdamW.
    betas : (float, float)
        Share of the momentum in the sign, and its decay.
    weight_decay : float
    maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, sign_of_momentum(betas), decay_weights(weight_decay), descend(lr), maximize=maximize)


class LAMB(Chain):
    """Adam's direction with decay, brought to the norm of each parameter, for large batches (You et al. 2020).

    Parameters
    ----------
    params : iterable of Tensor, or of dict
    lr, betas, eps, weight_decay : float, (float, float), float, float
    maximize : bool
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        links = (scale_by_adam(betas, eps), decay_weights(weight_decay), trust_ratio(), descend(lr))
        super().__init__(params, *links, maximize=maximize)
