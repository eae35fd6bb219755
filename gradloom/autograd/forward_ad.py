"""``torch.autograd.forward_ad``: dual numbers, tensors that carry a tangent along.

Within a ``dual_level`` a dual tensor is its primal under another name; the tangent of a result is computed when it is
unpacked. ``no_grad`` within the level stops tangents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gradloom import functions as G
from gradloom.autodiff.levels import Level, release
from gradloom.autodiff.transforms import push
from gradloom.errors import GradientError, ShapeError
from gradloom.tape import MODES
from gradloom.tensor import Tensor

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """A primal and its tangent, None where it has none."""

    primal: Tensor
    tangent: Tensor | None


class dual_level:
    """The place where dual tensors live: they are ordinary ones afterwards. Levels cannot be nested."""

    current: dual_level | None = None

    def __init__(self) -> None:
        self.levels: list[Level] = []
        self.tangents: list[Tensor] = []

    def __enter__(self) -> int:
        if dual_level.current is not None:
            raise GradientError("dual levels cannot be nested", code="gradient.dual", hint="nest func.jvp instead")
        dual_level.current = self
        self._mode = MODES.grad
        MODES.grad = True
        return 0

    def __exit__(self, *exc: object) -> None:
        for level in reversed(self.levels):
            level.__exit__()
        self.levels.clear()
        MODES.grad = self._mode
        dual_level.current = None


def enter_dual_level() -> int:
    """Begin a level; end it with :func:`exit_dual_level`."""
    return dual_level().__enter__()


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level."""
    _inside("exit_dual_level").__exit__()


def _inside(what: str) -> dual_level:
    if dual_level.current is None:
        raise GradientError(f"{what}: there is no dual level", code="gradient.dual", hint="use it within dual_level()")
    return dual_level.current


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A tensor with a tangent of its shape and dtype."""
    own = _inside("make_dual")
    if tensor.shape != tangent.shape or tensor.dtype is not tangent.dtype:
        raise ShapeError(
            f"make_dual: a primal {tensor.dtype.name}{list(tensor.shape)} with a tangent "
            f"{tangent.dtype.name}{list(tangent.shape)}", code="shape.tangent",
        )  # fmt: skip
    made = Level([tensor])
    made.__enter__()
    own.levels.append(made)
    own.tangents.append(tangent)
    return made.tensors[0]


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The primal and the tangent of a tensor; outside of a level, and where it depends on no dual, there is none."""
    own: Any = dual_level.current
    if own is None or not own.levels or not tensor.requires_grad:
        return UnpackedDualTensor(tensor, None)
    lifted = [lv.tensors[0] for lv in own.levels]
    (tangent,) = push([tensor], lifted, own.tangents)
    before = list(Level.active)
    Level.active[:] = [lv for lv in before if lv not in own.levels]
    try:
        primal, *rest = release([tensor] if tangent is None else [tensor, tangent])
    finally:
        Level.active[:] = before
    return UnpackedDualTensor(primal if primal is not tensor else G.detach(tensor), rest[0] if rest else None)
