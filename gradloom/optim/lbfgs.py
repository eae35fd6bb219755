"""L-BFGS (Nocedal and Wright, Numerical Optimization, chapter 7) with a line search for the strong Wolfe conditions.

Each direction depends on the values of the last, so this is a method of few, costly evaluations. Its vectors are kept
and combined in NumPy; only the closure runs as a program, always the same one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gradloom.errors import StateError
from gradloom.modes import enable_grad, no_grad
from gradloom.optim.optimizer import Optimizer
from gradloom.optim.options import LearningRate, checked, number
from gradloom.tensor import Tensor, tensor

Vector = np.ndarray
Evaluate = Callable[[float], tuple[float, Vector]]


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last gradients. `step` needs a closure that computes loss and gradients anew.

    Parameters
    ----------
    params : iterable of Tensor
        One group.
    lr : float
    max_iter, max_eval : int
        Iterations and evaluations of a step; max_eval is 5/4·max_iter if not given.
    tolerance_grad, tolerance_change : float
        Stop below these in the largest gradient, and in steps and losses.
    history_size : int
    line_search_fn : {None, "strong_wolfe"}
    """

    _counts = False
    _complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: LearningRate = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        checked("lr", lr)
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError(f"line_search_fn is None or 'strong_wolfe', not {line_search_fn!r}")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS has one parameter group: its curvature is that of all parameters together")

    def _gradient(self, params: list[Tensor]) -> Vector:
        parts = [np.zeros(p.numel(), p.dtype.numpy) if p.grad is None else p.grad.numpy().ravel() for p in params]
        return np.concatenate(parts)

    @staticmethod
    def _place(params: list[Tensor], at: Vector) -> None:
        start = 0
        with no_grad():
            for p in params:
                part = at[start : start + p.numel()].reshape(tuple(p.shape))
                p.copy_(tensor(np.array(part, p.dtype.numpy)))
                start += p.numel()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to max_iter iterations. The closure's first loss is returned."""
        if closure is None:
            raise ValueError("LBFGS.step needs a closure that computes loss and gradients")
        group = self.param_groups[0]
        params: list[Tensor] = group["params"]
        state = self.state[params[0]]
        memory = _Memory(state, group["history_size"])

        def evaluate_at(x: Vector) -> tuple[float, Vector]:
            self._place(params, x)
            with enable_grad():
                loss = float(closure())
            return loss, self._gradient(params)

        with enable_grad():
            first = closure()
        loss, evaluations = float(first), 1
        gradient = self._gradient(params)
        x = np.concatenate([p.detach().numpy().ravel() for p in params])
        if np.abs(gradient).max(initial=0.0) <= group["tolerance_grad"]:
            memory.save(evaluations)
            return first
        iteration = 0
        while iteration < group["max_iter"]:
            iteration += 1
            memory.iterations += 1
            direction = memory.direction(gradient)
            memory.before, loss_before = gradient.copy(), loss
            rate = number(group["lr"])
            if memory.iterations == 1:
                total = float(np.abs(gradient).sum())
                rate *= min(1.0, 1.0 / total) if total else 1.0
            slope = float(gradient @ direction)
            memory.d, memory.t = direction, rate
            if slope > -group["tolerance_change"]:
                break
            used = 1
            if group["line_search_fn"] is None:
                x = _moved(x, rate, direction)
                if iteration == group["max_iter"]:
                    self._place(params, x)
                    used = 0
                else:
                    loss, gradient = evaluate_at(x)
            else:
                here = x
                loss, gradient, rate, used = strong_wolfe(
                    lambda t, here=here, direction=direction: evaluate_at(_moved(here, t, direction)),  # type: ignore[misc]
                    rate,
                    float(np.abs(direction).max()),
                    (loss, gradient, slope),
                    direction,
                    most=group["max_eval"] - evaluations,
                )
                memory.t = rate
                x = _moved(here, rate, direction)
                self._place(params, x)
            evaluations += used
            memory.loss = loss_before
            if evaluations >= group["max_eval"] or iteration == group["max_iter"]:
                break
            if np.abs(gradient).max(initial=0.0) <= group["tolerance_grad"]:
                break
            if np.abs(direction * rate).max() <= group["tolerance_change"]:
                break
            if abs(loss - loss_before) < group["tolerance_change"]:
                break
        memory.save(evaluations)
        return first

    def _saved(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return tensor(value.copy())
            return [plain(v) for v in value] if isinstance(value, list) else value

        return {name: plain(value) for name, value in entries.items()}

    def _restored(self, name: str, value: Any, group: Mapping[str, Any], param: Tensor) -> Any:
        def plain(value: Any) -> Any:
            if isinstance(value, list):
                return [plain(v) for v in value]
            if hasattr(value, "shape"):
                array = np.array(value.detach().numpy() if hasattr(value, "detach") else value)
                return float(array) if array.ndim == 0 else array
            return value

        return plain(value)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As `Optimizer.load_state_dict`. StateError where the vectors have another length than the parameters."""
        super().load_state_dict(state_dict)
        count = sum(p.numel() for p in self.param_groups[0]["params"])
        d = self.state[self.param_groups[0]["params"][0]].get("d")
        if d is not None and np.size(d) != count:
            raise StateError(
                f"the state's vectors have {np.size(d)} entries, the parameters {count}",
                code="state.optimizer",
                hint="the state was saved for another model",
            )


class _Memory:
    """The last steps and changes of the gradient, and PyTorch's names for them in the state."""

    def __init__(self, state: dict[str, Any], size: int) -> None:
        self.state, self.size = state, size
        self.iterations = int(state.get("n_iter", 0))
        self.changes: list[Vector] = list(state.get("old_dirs") or [])
        self.steps: list[Vector] = list(state.get("old_stps") or [])
        self.inverse: list[float] = list(state.get("ro") or [])
        self.scale = float(state.get("H_diag") or 1.0)
        self.d, self.t = state.get("d"), state.get("t")
        self.before, self.loss = state.get("prev_flat_grad"), state.get("prev_loss")

    def direction(self, gradient: Vector) -> Vector:
        """Minus the inverse curvature times the gradient: the two-loop recursion."""
        if self.iterations == 1 or self.before is None or self.d is None or self.t is None:
            self.changes, self.steps, self.inverse, self.scale = [], [], [], 1.0
            return -gradient
        change, step = gradient - self.before, self.d * self.t
        along = float(change @ step)
        if along > 1e-10:
            if len(self.changes) == self.size:
                del self.changes[0], self.steps[0], self.inverse[0]
            self.changes.append(change)
            self.steps.append(step)
            self.inverse.append(1.0 / along)
            self.scale = along / float(change @ change)
        q = -gradient
        shares = []
        for y, s, rho in zip(reversed(self.changes), reversed(self.steps), reversed(self.inverse), strict=True):
            shares.append(float(s @ q) * rho)
            q = q - y * q.dtype.type(shares[-1])
        r = q * q.dtype.type(self.scale)
        for y, s, rho, share in zip(self.changes, self.steps, self.inverse, reversed(shares), strict=True):
            r = r + s * r.dtype.type(share - float(y @ r) * rho)
        return r

    def save(self, evaluations: int) -> None:
        """Write into the optimiser's state."""
        names: dict[str, Any] = {
            "n_iter": self.iterations,
            "d": self.d,
            "t": self.t,
            "old_dirs": self.changes,
            "old_stps": self.steps,
            "ro": self.inverse,
            "H_diag": self.scale,
            "prev_flat_grad": self.before,
            "prev_loss": self.loss,
        }
        self.state["func_evals"] = self.state.get("func_evals", 0) + evaluations
        self.state.update(names)


def _moved(x: Vector, t: float, direction: Vector) -> Vector:
    return x + direction * direction.dtype.type(t)


def _cubic(x1: float, f1: float, g1: float, x2: float, f2: float, g2: float, low: float, high: float) -> float:
    """The minimum of the cubic through two points with slopes, held to [low, high] (Nocedal and Wright, 3.59)."""
    if x1 > x2:
        x1, f1, g1, x2, f2, g2 = x2, f2, g2, x1, f1, g1
    d1 = g1 + g2 - 3.0 * (f1 - f2) / (x1 - x2) if x1 != x2 else math.nan
    square = d1 * d1 - g1 * g2
    if not square >= 0.0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    below = g2 - g1 + 2.0 * d2
    if below == 0.0:
        return (low + high) / 2.0
    return min(max(x2 - (x2 - x1) * ((g2 + d2 - d1) / below), low), high)


def strong_wolfe(
    evaluate: Evaluate,
    t: float,
    size: float,
    start: tuple[float, Vector, float],
    direction: Vector,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance: float = 1e-9,
    most: int = 25,
) -> tuple[float, Vector, float, int]:
    """A step length that satisfies the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6).

    Parameters
    ----------
    evaluate : step length to (loss, gradient)
    t : the first length to try
    size : the direction's largest element
    start : loss, gradient and slope at length 0

    Returns
    -------
    Loss and gradient there, the length, and the number of evaluations.
    """
    f0, g0, slope0 = start

    def point(t: float) -> tuple[float, float, Vector, float]:
        f, g = evaluate(t)
        return t, f, g, float(g @ direction)

    # bracket: walk out until a minimum must lie behind
    last, now, count, tries = (0.0, f0, g0, slope0), point(t), 1, 0
    bracket: list[tuple[float, float, Vector, float]] | None = None
    done = False
    while tries < most:
        t, f, _, slope = now
        if f > f0 + c1 * t * slope0 or (tries > 1 and f >= last[1]):
            bracket = [last, now]
            break
        if abs(slope) <= -c2 * slope0:
            bracket, done = [now], True
            break
        if slope >= 0.0:
            bracket = [last, now]
            break
        low, high = t + 0.01 * (t - last[0]), t * 10.0
        following = _cubic(last[0], last[1], last[3], t, f, slope, low, high)
        last, now = now, point(following)
        count += 1
        tries += 1
    if bracket is None:
        bracket = [(0.0, f0, g0, slope0), now]

    # zoom: shrink the bracket around the lower end
    stuck = False
    low_end, high_end = (0, 1) if bracket[0][1] <= bracket[-1][1] else (1, 0)
    while not done and tries < most:
        a, b = bracket[0], bracket[1]
        if abs(b[0] - a[0]) * size < tolerance:
            break
        left, right = min(a[0], b[0]), max(a[0], b[0])
        t = _cubic(a[0], a[1], a[3], b[0], b[1], b[3], left, right)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near an end: twice running, or on it, move inwards
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        new = point(t)
        count += 1
        tries += 1
        if new[1] > f0 + c1 * t * slope0 or new[1] >= bracket[low_end][1]:
            bracket[high_end] = new
            low_end, high_end = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
        else:
            if abs(new[3]) <= -c2 * slope0:
                done = True
            elif new[3] * (bracket[high_end][0] - bracket[low_end][0]) >= 0.0:
                bracket[high_end] = bracket[low_end]
            bracket[low_end] = new
    best = bracket[low_end] if len(bracket) > 1 else bracket[0]
    return best[1], best[2], best[0], count
