"""Padding layers: borders put around the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.errors import ShapeError
from gradloom.nn import functional as F
from gradloom.nn.module import Module
from gradloom.tensor import Tensor


class _Pad(Module):
    """Borders around the last axes. A subclass says how many axes and which mode."""

    _spatial = 0
    _mode = "constant"

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        n = 2 * self._spatial
        self.padding = (padding,) * n if isinstance(padding, int) else tuple(int(p) for p in padding)
        if len(self.padding) != n:
            raise ValueError(f"{type(self).__name__} takes one number of padding or {n}, got {padding!r}")

    def _check(self, input: Tensor) -> None:
        n = self._spatial
        if input.ndim not in (n + 1, n + 2):
            raise ShapeError(
                f"expected {n + 1}D or {n + 2}D input (got {input.ndim}D input)", code="shape.pad",
                hint=f"the input has shape {tuple(input.shape)}; axes are batch, channels, then {n} spatial ones",
            )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) or (C, ...) with longer spatial axes."""
        self._check(input)
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        """(before, after) of the last axis, then of the one before, and so on."""
        return str(self.padding)


class _Constant(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """Any shape of enough axes, with the last ones longer."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """Sizes and value."""
        return f"padding={self.padding}, value={self.value}"


class _Zero(_Constant):
    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """(before, after) of the last axis, then of the one before, and so on."""
        return str(self.padding)


class ConstantPad1d(_Constant):
    """One value on both sides of the last axis; padding: (left, right), or one number for both."""

    _spatial = 1


class ConstantPad2d(_Constant):
    """One value around the last two axes; padding: (left, right, top, bottom), or one number for all."""

    _spatial = 2


class ConstantPad3d(_Constant):
    """One value around the last three axes; padding: (left, right, top, bottom, front, back), or one number."""

    _spatial = 3


class ZeroPad1d(_Zero):
    """Zeros on both sides of the last axis; padding: (left, right), or one number for both."""

    _spatial = 1


class ZeroPad2d(_Zero):
    """Zeros around the last two axes; padding: (left, right, top, bottom), or one number for all."""

    _spatial = 2


class ZeroPad3d(_Zero):
    """Zeros around the last three axes; padding: (left, right, top, bottom, front, back), or one number."""

    _spatial = 3


class ReflectionPad1d(_Pad):
    """Signals (N, C, L) mirrored at both ends, the end itself not repeated; padding: (left, right), or one number."""

    _spatial, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Images (N, C, H, W) mirrored at the edges, which are not repeated; padding: (left, right, top, bottom)."""

    _spatial, _mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Volumes (N, C, D, H, W) mirrored at the faces, which are not repeated; padding: six numbers, or one."""

    _spatial, _mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Signals (N, C, L) whose ends are repeated; padding: (left, right), or one number."""

    _spatial, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Images (N, C, H, W) whose edges are repeated; padding: (left, right, top, bottom), or one number."""

    _spatial, _mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Volumes (N, C, D, H, W) whose faces are repeated; padding: six numbers, or one."""

    _spatial, _mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Signals (N, C, L) that go on from the other end; padding: (left, right), or one number."""

    _spatial, _mode = 1, "circular"


class CircularPad2d(_Pad):
    """Images (N, C, H, W) that go on from the other edge; padding: (left, right, top, bottom), or one number."""

    _spatial, _mode = 2, "circular"


class CircularPad3d(_Pad):
    """Volumes (N, C, D, H, W) that go on from the other face; padding: six numbers, or one."""

    _spatial, _mode = 3, "circular"
